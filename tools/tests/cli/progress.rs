//! The line on a terminal that tells how far long work is.

use super::support::*;
use std::io::Read;
use std::process::Stdio;

/// More than are decoded ahead of who writes them.
const ROWS: u64 = 600_000;

#[test]
fn a_terminal_shows_how_far_it_is_and_the_line_goes_with_the_work() {
    let scratch = Scratch::new();
    let rows: String = (0..ROWS).map(|id| format!("{id},the value of row {id:010}\n")).collect();
    scratch.write("t.csv", format!("id,name\n{rows}"));
    scratch.ok(&["import", "db", "t", "t.csv", "--key", "id"]);
    scratch.ok(&["checkpoint", "db"]);
    // Who writes to it waits for its reader: the work is under way for as long as that takes.
    let pipe = scratch.path("pipe.csv");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let (mut terminal, theirs) = terminal(70);
    let mut command = scratch.command(&["cat", "db", "t", "-o", "pipe.csv"]);
    let mut child = Guard(Some(command.stderr(theirs).stdout(Stdio::null()).spawn().unwrap()));
    drop(command);
    let mut pipe = std::fs::File::open(pipe).unwrap();
    let mut sent = String::new();
    read_terminal(&mut terminal, &mut sent, |sent| sent.contains(" left"));
    let line = sent.split("\r\x1b[2K").find(|line| line.ends_with(" left")).unwrap();
    let of = line.strip_prefix("read ").and_then(|rest| rest.split_once(" of at most 600000 rows, at most "));
    let (done, left) = of.unwrap_or_else(|| panic!("{sent:?}"));
    assert!((1..ROWS).contains(&done.parse::<u64>().unwrap()), "{sent:?}");
    assert!(left.ends_with(" left") && line.chars().count() < 70, "{sent:?}");
    let mut csv = String::new();
    pipe.read_to_string(&mut csv).unwrap();
    assert_eq!(csv, std::fs::read_to_string(scratch.path("t.csv")).unwrap());
    read_terminal(&mut terminal, &mut sent, |_| false);
    assert!(sent.ends_with("\r\x1b[2K") && !sent.contains('\n'), "{sent:?}");
    assert!(child.get().wait().unwrap().success());
    // Nobody looks on.
    assert_eq!(scratch.run(&["cat", "db", "t", "-o", "t2.csv"]).stderr, "");
}
