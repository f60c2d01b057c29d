//! The commands in `docs/taking-back.md` print what it says.

use super::support::*;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../../docs/taking-back.md");

/// The page with what its commands print now.
fn run(page: &str) -> String {
    let scratch = Scratch::new();
    let program = Path::new(env!("CARGO_BIN_EXE_asof")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut printed = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ => {}
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| inside) else {
            if !inside || line == "```console" {
                printed.push_str(line);
                printed.push('\n');
            }
            continue;
        };
        printed.push_str(&format!("$ {command}\n"));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(scratch.path("")).env("PATH", &path);
        for name in ["ASOF_DB", "ASOF_TZ", "ASOF_MEMORY"] {
            shell.env_remove(name);
        }
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        printed.push_str(std::str::from_utf8(&output.stdout).unwrap());
    }
    printed
}

#[test]
fn the_page_about_a_bad_import_shows_what_happens() {
    let printed = run(PAGE);
    if let Some(file) = std::env::var_os("ASOF_WRITE_PAGE") {
        std::fs::write(file, &printed).unwrap();
    }
    let different = PAGE.lines().zip(printed.lines()).find(|(shown, printed)| shown != printed);
    assert_eq!(different, None, "the page, and what is printed now:\n{printed}");
    assert_eq!(PAGE, printed);
    assert!(PAGE.matches("\n$ asof ").count() > 15);
}
