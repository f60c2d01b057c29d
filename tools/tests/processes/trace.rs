//! What `asof` asks of the kernel, and in which order: nothing is acknowledged before a sync that covers it, no file is
//! named by a manifest before it and its name are durable, nothing is removed before its successor is.
//!
//! The system calls are recorded by strace. [`Checker`] replays them on a model of what a loss of power would leave: a
//! write is safe once a sync of its file has begun after it and ended, a name once a sync of its directory has.

use super::Chance;
use crate::cli::support::{Scratch, files_below};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CALLS: &str = "trace=openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,\
                     mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,unlink,unlinkat,rmdir,sync_file_range,\
                     copy_file_range,sendfile,msync,truncate";

/// One system call of a trace: where it begins and ends among its lines.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    failed: bool,
    start: usize,
    end: usize,
}

/// The calls in the order in which they ended.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let (process, rest) = line.split_once(' ').unwrap_or_else(|| panic!("strace wrote: {line}"));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(process, (number, begun.to_string()));
            continue;
        }
        let (start, whole) = match rest.strip_prefix("<... ") {
            None => (number, rest.to_string()),
            Some(resumed) => {
                let (start, begun) = open.remove(process).expect("what is resumed has begun");
                (start, begun + resumed.split_once(" resumed>").expect("strace says what is resumed").1)
            }
        };
        let (name, rest) = whole.split_once('(').unwrap_or_else(|| panic!("strace wrote: {line}"));
        let (arguments, result) = rest
            .rsplit_once(") = ")
            .or_else(|| {
                // Columns may be padded.
                let at = rest.rfind(" = ")?;
                Some((rest[..at].trim_end().strip_suffix(')')?, &rest[at + 3..]))
            })
            .unwrap_or_else(|| panic!("strace wrote: {line}"));
        calls.push(Call {
            name: name.to_string(),
            arguments: arguments.to_string(),
            failed: result.trim_start().starts_with('-'),
            start,
            end: number,
        });
    }
    calls
}

impl Call {
    /// The file of the descriptor that comes first.
    fn descriptor(&self) -> (&str, &str) {
        let (number, rest) = self.arguments.split_once('<').unwrap_or((&self.arguments, ""));
        (number, rest.split_once('>').map_or("", |(path, _)| path))
    }

    /// The paths in quotes.
    fn paths(&self) -> Vec<&str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }
}

/// Replays calls on what is durable.
#[derive(Debug, Default)]
struct Checker {
    root: PathBuf,
    /// Files with writes that no sync covers, and where the last one ended.
    unsynced: BTreeMap<PathBuf, usize>,
    /// Directories with names that no sync covers, and the last of them.
    unnamed: BTreeMap<PathBuf, (PathBuf, usize)>,
    known: BTreeSet<PathBuf>,
    /// Files and directories of which a sync had something to make durable.
    covered: BTreeSet<String>,
    logged: bool,
    faults: Vec<String>,
    acknowledged: usize,
    segments: usize,
    manifests: usize,
    removed: usize,
}

impl Checker {
    /// A checker for a database; what is there already is durable.
    fn new(root: &Path) -> Checker {
        let known = if root.exists() { files_below(root).into_iter().collect() } else { BTreeSet::new() };
        Checker { root: root.to_path_buf(), known, ..Checker::default() }
    }

    fn fault(&mut self, call: &Call, what: String) {
        self.faults.push(format!("line {}: {}: {what}", call.end + 1, call.name));
    }

    /// Whether a path is of the database and holds something that may not be lost: no lock, and not the durable head,
    /// which is a hint that another boot does not use.
    fn matters(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_hint = ["LOCK", "NEXT", "head"].contains(&&*name) || name.ends_with(".lock");
        path.starts_with(&self.root) && !is_hint
    }

    fn named(&mut self, path: &Path, end: usize) {
        self.known.insert(path.to_path_buf());
        if self.matters(path) && !is_temporary(path) {
            let parent = path.parent().expect("it lies in a directory").to_path_buf();
            self.unnamed.insert(parent, (path.to_path_buf(), end));
        }
    }

    /// What would be lost now, but for files that have no name of their own yet.
    fn would_be_lost(&self) -> Vec<String> {
        let writes = self.unsynced.keys().filter(|path| !is_temporary(path));
        let writes = writes.map(|path| format!("{} is not synced", path.display()));
        let names =
            self.unnamed.values().map(|(path, _)| format!("the name {} is not synced", path.display()));
        writes.chain(names).collect()
    }

    fn replay(&mut self, trace: &str) {
        for call in calls(trace) {
            if !call.failed {
                self.replay_call(&call);
            }
        }
    }

    fn replay_call(&mut self, call: &Call) {
        let (number, descriptor) = call.descriptor();
        let file = PathBuf::from(descriptor);
        let paths: Vec<PathBuf> = call.paths().into_iter().map(PathBuf::from).collect();
        match call.name.as_str() {
            "write" if number == "1" => {
                // A line of `apply` acknowledges a commit, a report of `checkpoint` what it did.
                if call.arguments.contains(r#"{\"line\":"#) {
                    self.acknowledged += 1;
                    if !std::mem::take(&mut self.logged) {
                        self.fault(call, "acknowledged without a write to the log".to_string());
                    }
                }
                self.would_be_lost().into_iter().for_each(|lost| self.fault(call, lost));
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "ftruncate" | "fallocate" => {
                if self.matters(&file) {
                    self.logged |= file.extension().is_some_and(|extension| extension == "wal");
                    self.unsynced.insert(file, call.end);
                }
            }
            "fsync" | "fdatasync" => {
                if self.unsynced.get(&file).is_some_and(|end| *end < call.start) {
                    self.unsynced.remove(&file);
                    self.covered.insert(descriptor.to_string());
                }
                if self.unnamed.get(&file).is_some_and(|(_, end)| *end < call.start) {
                    self.unnamed.remove(&file);
                    self.covered.insert(descriptor.to_string());
                }
            }
            "openat" | "open" | "creat" => {
                if call.arguments.contains("O_CREAT") && !self.known.contains(&paths[0]) {
                    self.named(&paths[0], call.end);
                }
            }
            "mkdir" | "mkdirat" => self.named(&paths[0], call.end),
            "rename" | "renameat" | "renameat2" => self.renamed(call, &paths[0], &paths[1]),
            "unlink" | "unlinkat" => {
                if self.matters(&paths[0]) && !is_temporary(&paths[0]) {
                    self.removed += 1;
                    self.would_be_lost().into_iter().for_each(|lost| {
                        self.fault(call, format!("{} is removed while {lost}", paths[0].display()));
                    });
                }
                self.known.remove(&paths[0]);
                self.unsynced.remove(&paths[0]);
            }
            // A way to write that this model does not know.
            _ => {
                let ours = paths.iter().chain([&file]).any(|path| self.matters(path));
                assert!(!ours, "teach the checker this call: {call:?}");
            }
        }
    }

    fn renamed(&mut self, call: &Call, from: &Path, to: &Path) {
        if !self.matters(to) {
            return;
        }
        if self.unsynced.contains_key(from) {
            self.fault(call, format!("{} takes its name before it is synced", to.display()));
        }
        match to.extension().and_then(|extension| extension.to_str()) {
            Some("manifest") => {
                self.manifests += 1;
                // It names files: they must be there, and so must their names.
                self.would_be_lost()
                    .into_iter()
                    .for_each(|lost| self.fault(call, format!("the manifest comes while {lost}")));
            }
            Some("wal") => self.segments += 1,
            _ => {}
        }
        self.known.remove(from);
        self.named(to, call.end);
    }
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// Runs `asof` under strace and gives what it asked of the kernel.
fn trace_of(scratch: &Scratch, words: &[&str]) -> String {
    let record = scratch.path("trace.txt");
    let plain = scratch.command(words);
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "16", "-e", "signal=none", "-e", CALLS, "-o"]).arg(&record);
    command.arg(plain.get_program()).args(plain.get_args());
    command.current_dir(scratch.path("")).env("XDG_CACHE_HOME", scratch.path("cache")).env_remove("ASOF_TZ");
    // The answers go to a pipe, as they do for a program that waits for them.
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("strace cannot be run ({error}); `cargo xtask setup` installs it where it runs as root")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "strace {words:?}: {stderr}");
    std::fs::read_to_string(&record).unwrap()
}

/// Transactions of more bytes than the first segments of the log hold.
fn lines(chance: &mut Chance, count: u64) -> String {
    let mut lines = String::new();
    for nth in 0..count {
        let note: String = (0..300).map(|_| format!("{:016x}", chance.next())).collect();
        let mut op = json!({"op": "upsert", "table": "t", "rows": [{"id": nth % 40, "note": note}]});
        if nth == 0 {
            op["key"] = json!(["id"]);
        }
        lines += &(json!({"ops": [op], "id": format!("{:x}", chance.next())}).to_string() + "\n");
    }
    lines
}

/// The trace without the syncs of one file or directory.
fn without_syncs(trace: &str, of: &str) -> String {
    let is_that = |line: &&str| {
        let sync = line.contains("fsync(") || line.contains("fdatasync(");
        sync && line.contains(&format!("<{of}>"))
    };
    trace.lines().filter(|line| !is_that(line)).map(|line| line.to_string() + "\n").collect()
}

/// Replays a trace, finds nothing, and finds something in it as soon as the syncs of any one file or directory are left
/// out: so each of them is needed, and seen.
fn check(root: &Path, known: &BTreeSet<PathBuf>, trace: &str) -> Checker {
    let replayed = |trace: &str| {
        let mut checker = Checker { root: root.to_path_buf(), known: known.clone(), ..Checker::default() };
        checker.replay(trace);
        checker
    };
    let checker = replayed(trace);
    assert_eq!(checker.faults, Vec::<String>::new());
    for file in &checker.covered {
        let faults = replayed(&without_syncs(trace, file)).faults;
        assert!(!faults.is_empty(), "nobody would miss the syncs of {file}:\n{trace}");
    }
    checker
}

#[test]
fn syncs_come_before_the_acknowledgements_and_manifests_that_need_them() {
    let scratch = Scratch::new();
    let root = scratch.path("db");
    let database = root.to_str().unwrap().to_string();
    let mut chance = Chance(7);
    const LINES: u64 = 120;
    for round in 0..3 {
        let input = scratch.write("lines.jsonl", lines(&mut chance, LINES));
        let known = Checker::new(&root).known;
        let trace = trace_of(&scratch, &["apply", &database, input.to_str().unwrap()]);
        let checker = check(&root, &known, &trace);
        assert_eq!(checker.acknowledged as u64, LINES);
        assert!(checker.segments >= 1 || round > 0, "the log did not grow: {}", checker.segments);
        // A long tail is settled when the last handle goes.
        let made = usize::from(round == 0);
        let (settled, removed) = (checker.manifests - made, checker.removed);

        let known = Checker::new(&root).known;
        let trace = trace_of(&scratch, &["checkpoint", &database]);
        let checker = check(&root, &known, &trace);
        assert_eq!(settled + checker.manifests, 1, "one checkpoint, by the one or the other");
        assert!(round == 0 || removed + checker.removed > 0, "no old file was removed");
    }
    let versions: Value = serde_json::from_str(&scratch.ok(&["resolve", "db", "latest", "--json"])).unwrap();
    assert_eq!(versions["version"], LINES * 3);
}

#[test]
fn a_call_that_another_thread_interrupts_is_one_call() {
    let trace = "\
7 fdatasync(3</db/wal/1.wal> <unfinished ...>
8 pwrite64(4</db/wal/1.wal>, \"x\"..., 512, 0) = 512
7 <... fdatasync resumed>) = 0
8 write(1<pipe:[5]>, \"{\\\"line\\\":1\"..., 60) = 60
";
    let calls = calls(trace);
    assert_eq!(calls.iter().map(|call| (call.start, call.end)).collect::<Vec<_>>(), [(1, 1), (0, 2), (3, 3)]);
    let mut checker = Checker::new(Path::new("/db"));
    checker.replay(trace);
    // The sync had begun before the write: it does not cover it.
    assert_eq!(checker.faults, ["line 4: write: /db/wal/1.wal is not synced"]);
}
