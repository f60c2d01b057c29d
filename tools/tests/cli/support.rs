//! A scratch directory, the real `asof` in it, and a small database with a known history.

use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for something that takes no time, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own for each test, in which `asof` runs.
pub struct Scratch {
    dir: tempfile::TempDir,
}

/// What a run gave.
pub struct Ran {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `asof` with words, in this directory, untouched by the environment of whoever runs the tests.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asof"));
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["ASOF_DB", "ASOF_TZ", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    pub fn run(&self, words: &[&str]) -> Ran {
        self.command(words).output().unwrap().into()
    }

    pub fn run_with_input(&self, words: &[&str], input: &str) -> Ran {
        let mut child = self.spawn_piped(words);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    pub fn spawn_piped(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs, expects success, gives standard output.
    pub fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.status, 0, "{words:?}: {}", ran.stderr);
        ran.text().to_string()
    }

    /// Runs with `--json`, expects success and one document.
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.ok(&[words, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// Runs with `--json`, expects success and JSON Lines.
    pub fn json_lines(&self, words: &[&str]) -> Vec<Value> {
        lines_of_json(&self.ok(&[words, &["--json"]].concat()))
    }

    /// Runs, expects a status, gives standard error: one line.
    pub fn fails(&self, status: i32, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.status, status, "{words:?}: {} {}", ran.text(), ran.stderr);
        assert_eq!(ran.text(), "", "{words:?}");
        assert!(
            ran.stderr.starts_with("asof: ") && ran.stderr.ends_with('\n'),
            "{words:?}: {:?}",
            ran.stderr
        );
        ran.stderr
    }

    pub fn apply(&self, lines: &str) {
        let ran = self.run_with_input(&["apply", "db"], lines);
        assert_eq!(ran.status, 0, "{} {}", ran.text(), ran.stderr);
    }
}

pub fn lines_of_json(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A database `db` of four versions:
///
/// 1. 2025-01-01: customers Ada and Bob
/// 2. 2025-02-01: Bob moves, Cy comes; by Dora, "February"
/// 3. 2025-03-01: Ada goes
/// 4. 2025-04-01: `gold.parts` with a compound key
pub fn shop() -> Scratch {
    let scratch = Scratch::new();
    scratch.apply(concat!(
        r#"{"time":"2025-01-01T00:00:00Z","message":"January","ops":[{"op":"create_table","table":"customers","schema":"id int64, name text, city text, primary key (id)"},{"op":"upsert","table":"customers","rows":[{"id":1,"name":"Ada","city":"London"},{"id":2,"name":"Bob","city":null}]}]}"#,
        "\n",
        r#"{"time":"2025-02-01T00:00:00Z","message":"February","author":"Dora","meta":{"ticket":"7"},"ops":[{"op":"upsert","table":"customers","rows":[{"id":2,"name":"Bob","city":"Rome"},{"id":3,"name":"Cy","city":""}]}]}"#,
        "\n",
        r#"{"time":"2025-03-01T00:00:00Z","ops":[{"op":"delete","table":"customers","keys":[{"id":1}]}]}"#,
        "\n",
        r#"{"time":"2025-04-01T00:00:00Z","ops":[{"op":"create_table","table":"gold.parts","schema":"kind text, number int64, price decimal(8,2), primary key (kind, number)"},{"op":"upsert","table":"gold.parts","rows":[{"kind":"bolt","number":-1,"price":1.5},{"kind":"nut, brass","number":2,"price":null}]}]}"#,
        "\n",
    ));
    scratch
}

/// The customers at each version.
pub const CUSTOMERS_1: &str = "id,name,city\n1,Ada,London\n2,Bob,\n";
pub const CUSTOMERS_2: &str = "id,name,city\n1,Ada,London\n2,Bob,Rome\n3,Cy,\"\"\n";
pub const CUSTOMERS_3: &str = "id,name,city\n2,Bob,Rome\n3,Cy,\"\"\n";

/// Waits until something is so; fails with what was waited for.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends a process as Ctrl-C does.
pub fn interrupt(child: &Child) {
    signal(child.id(), libc::SIGINT);
}

pub fn signal(pid: u32, signal: i32) {
    // SAFETY: the process is a child that has not been waited for, or a mount's server that a test started.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

/// A child that is killed where a test fails before it has ended.
pub struct Guard(pub Option<Child>);

impl Guard {
    pub fn get(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for the end and gives what was written.
    pub fn finish(mut self) -> Ran {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A mount that is taken away where a test fails before it has ended.
pub struct MountGuard(pub PathBuf);

impl MountGuard {
    pub fn is_mounted(&self) -> bool {
        let path = self.0.to_str().unwrap();
        std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .any(|line| line.split(' ').nth(4) == Some(path))
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = Command::new(env!("CARGO_BIN_EXE_asof")).arg("umount").arg(&self.0).output();
        }
    }
}

/// A terminal of so many columns: our side of it, and that of a process.
pub fn terminal(columns: u16) -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: all pointers are valid for the call; name and settings may be null.
    let opened =
        unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(opened, 0);
    // SAFETY: the call has just opened both, and nobody else owns them.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    (File::from(ours), theirs)
}

/// Reads what a terminal is sent until that is as wanted, or the other side has ended; `sent` is what came before.
pub fn read_terminal(ours: &mut File, sent: &mut String, wanted: impl Fn(&str) -> bool) {
    let mut buffer = [0; 4096];
    while !wanted(sent) {
        // The end of the other side is an error on Linux.
        match ours.read(&mut buffer) {
            Ok(count) if count > 0 => sent.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
            _ => break,
        }
    }
}

/// Runs with a terminal as standard output; gives status and what the terminal was sent.
pub fn run_on_terminal(mut command: Command) -> (i32, String) {
    let (mut ours, theirs) = terminal(80);
    let mut child = command.stdout(theirs).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let mut sent = Vec::new();
    // The end of the other side is an error on Linux.
    let _ = ours.read_to_end(&mut sent);
    let status = child.wait().unwrap().code().unwrap();
    (status, String::from_utf8(sent).unwrap().replace("\r\n", "\n"))
}

/// All files below a directory.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
