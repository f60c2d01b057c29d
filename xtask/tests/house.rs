//! The house's rules: which crate may depend on which, who may name what, one arrow for all.
//!
//! Manifests are read as lines, not as TOML: a form that these tests do not know is an error, not a gap.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each member, and the members it may depend on, tests and benchmarks included.
const ARROWS: [(&str, &[&str]); 10] = [
    ("wal", &[]),
    ("mvcc", &[]),
    ("engine", &["wal", "mvcc"]),
    ("fuse", &["engine"]),
    ("sql", &["engine"]),
    ("archive", &["wal", "engine"]),
    ("torture", &["wal", "engine"]),
    ("tools", &["engine", "fuse", "sql", "archive", "torture"]),
    ("benches", &["wal", "mvcc", "engine", "fuse", "tools"]),
    ("xtask", &[]),
];

/// Each crate from outside that only some members may name.
const NAMED_BY: [(&str, &[&str]); 13] = [
    ("fuser", &["fuse"]),
    ("clap", &["tools"]),
    ("clap_complete", &["tools"]),
    ("indicatif", &["tools"]),
    ("bincode", &["engine"]),
    ("arrow", &["mvcc", "engine"]),
    ("parquet", &["engine"]),
    ("criterion", &["wal", "benches"]),
    ("datafusion", &["sql"]),
    ("futures", &["sql", "archive"]),
    ("tokio", &["sql", "archive"]),
    ("object_store", &["archive"]),
    ("rustyline", &["tools"]),
];

/// Crates of which the lock file has one version.
const ONE_VERSION: [&str; 11] = [
    "arrow",
    "datafusion",
    "object_store",
    "sqlparser",
    "arrow-array",
    "arrow-buffer",
    "arrow-ipc",
    "arrow-schema",
    "bincode",
    "parquet",
    "zstd-sys",
];

/// What the sources of a member may not say, but in the files named, each for its reason.
struct Absence {
    member: &'static str,
    module: &'static str,
    item: &'static str,
    allowed: &'static [(&'static str, &'static str)],
}

const ABSENCES: &[Absence] = &[
    Absence { member: "mvcc", module: "std", item: "fs", allowed: &[] },
    Absence { member: "mvcc", module: "std", item: "net", allowed: &[] },
    Absence { member: "mvcc", module: "std", item: "thread", allowed: &[] },
    Absence { member: "mvcc", module: "std::time", item: "SystemTime", allowed: &[] },
    Absence { member: "mvcc", module: "std::time", item: "Instant", allowed: &[] },
    Absence { member: "wal", module: "std", item: "fs", allowed: &[("disk/real.rs", "the disk itself")] },
    Absence { member: "wal", module: "std::time", item: "SystemTime", allowed: &[] },
    Absence {
        member: "engine",
        module: "std",
        item: "fs",
        allowed: &[
            ("view.rs", "hands out the sealed file behind a view"),
            ("view/cache.rs", "rendered files lie outside the database"),
            ("view/cache/draft.rs", "so do those that are being rendered"),
            ("view/cache/temporary.rs", "and all that has no name yet"),
            ("view/stitched.rs", "what is filled of a stitched file lies outside the database"),
            ("inspect.rs", "the kernel's table of locks tells who holds a lease"),
            ("commit.rs", "the name of the user who commits"),
        ],
    },
    Absence {
        member: "engine",
        module: "std::time",
        item: "SystemTime",
        allowed: &[("clock.rs", "the clock itself"), ("view/cache.rs", "ages of rendered files")],
    },
    Absence {
        member: "engine",
        module: "bincode",
        item: "*",
        allowed: &[
            ("codec.rs", "the codec itself"),
            ("codec/records.rs", "records derive their encoding"),
            ("manifest.rs", "records derive their encoding"),
        ],
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in the sections of a manifest whose headers end in `dependencies`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            // `[dependencies.name]`
            if let Some((_, name)) = header.rsplit_once("dependencies.") {
                names.insert(name.trim_matches('"').to_string());
            }
        } else if inside && !line.is_empty() && !line.starts_with(['#', ']', '}']) {
            let end = line.find(|c: char| !(c.is_alphanumeric() || "-_\"".contains(c))).unwrap_or(line.len());
            assert!(line[end..].trim_start().starts_with(['.', '=']), "a form unknown here: {line}");
            assert!(!line.contains("package ="), "a renamed crate hides from the rules: {line}");
            names.insert(line[..end].trim_matches('"').to_string());
        }
    }
    names
}

fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    list.split(',').map(|name| name.trim().trim_matches('"').to_string()).filter(|n| !n.is_empty()).collect()
}

fn forbidden_arrows(member: &str, manifest: &str) -> Vec<String> {
    let (_, allowed) = ARROWS.iter().find(|(name, _)| *name == member).unwrap();
    let ours = |name: &str| name == "xtask" || name.starts_with("asof-");
    let names = dependencies(manifest);
    let arrows = names.iter().filter(|name| ours(name));
    let wrong = arrows
        .filter(|name| name.strip_prefix("asof-").is_none_or(|name| !allowed.contains(&name)))
        .map(|name| format!("{member} may not depend on {name}"));
    let named = NAMED_BY.iter().filter(|(name, by)| names.contains(*name) && !by.contains(&member));
    wrong.chain(named.map(|(name, _)| format!("{member} may not name {name}"))).collect()
}

#[test]
fn crates_depend_on_one_another_one_way() {
    let members = members();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(members.iter().map(String::as_str).collect::<BTreeSet<_>>(), known, "members without a rule");
    for member in &members {
        let manifest = read(Path::new(member).join("Cargo.toml"));
        assert_eq!(forbidden_arrows(member, &manifest), Vec::<String>::new());
    }
    let shared = dependencies(&read("Cargo.toml"));
    assert!(
        !shared.contains("asof-benches") && !shared.contains("asof-fuzz") && !shared.contains("asof-tools")
    );
}

#[test]
fn an_arrow_that_points_back_is_found() {
    let manifest = "[package]\nname = \"asof-wal\"\n\n[dependencies]\ncrc32fast.workspace = true\n";
    assert_eq!(forbidden_arrows("wal", manifest), Vec::<String>::new());
    let planted = manifest.to_string() + "asof-engine = { path = \"../engine\" }\n";
    assert_eq!(forbidden_arrows("wal", &planted), ["wal may not depend on asof-engine"]);
    let planted = manifest.to_string() + "[dev-dependencies.asof-mvcc]\npath = \"../mvcc\"\n";
    assert_eq!(forbidden_arrows("wal", &planted), ["wal may not depend on asof-mvcc"]);
    let planted = manifest.to_string() + "\n[target.'cfg(unix)'.dependencies]\nfuser.workspace = true\n";
    assert_eq!(forbidden_arrows("engine", &planted), ["engine may not name fuser"]);
}

#[test]
fn one_version_of_arrow_and_parquet_is_locked() {
    let lock = read("Cargo.lock");
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let field = |name: &str| {
            let start = format!("{name} = \"");
            package.lines().find_map(|line| line.strip_prefix(&start)).map(|rest| rest.trim_end_matches('"'))
        };
        versions.entry(field("name").unwrap()).or_default().push(field("version").unwrap());
    }
    for name in ONE_VERSION {
        assert_eq!(versions.get(name).map_or(0, Vec::len), 1, "{name}: {:?}", versions.get(name));
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether the file is part of the crate's own unit tests.
fn is_test(file: &str) -> bool {
    file == "tests.rs" || file.ends_with("/tests.rs") || file.contains("tests/") || file.starts_with("test_")
}

/// Whether a source says `module::item`, or takes the item out of the module with others; comments do not count.
fn says(source: &str, module: &str, item: &str) -> bool {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: String = code.collect::<Vec<_>>().join("\n");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let bounded = |text: &str, at: usize, length: usize| {
        !text[..at].ends_with(is_word) && !text[at + length..].starts_with(is_word)
    };
    let start = format!("{module}::");
    code.match_indices(&start).filter(|(at, found)| bounded(&code, *at, found.len() - 2)).any(
        |(at, found)| {
            let rest = &code[at + found.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                return item == "*" || (rest.starts_with(item) && bounded(rest, 0, item.len()));
            };
            let list = list.split_once(';').map_or(list, |(list, _)| list);
            item == "*" || list.match_indices(item).any(|(at, found)| bounded(list, at, found.len()))
        },
    )
}

#[test]
fn files_time_and_encodings_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for absence in ABSENCES {
        let dir = root().join(absence.member).join("src");
        let mut files = Vec::new();
        sources(&dir, &mut files);
        let mut unused: BTreeSet<&str> = absence.allowed.iter().map(|(file, _)| *file).collect();
        for path in files {
            let file = path.strip_prefix(&dir).unwrap().to_str().unwrap();
            if is_test(file) || !says(&fs::read_to_string(&path).unwrap(), absence.module, absence.item) {
                continue;
            }
            if !unused.remove(file) {
                let Absence { member, module, item, .. } = absence;
                wrong.push(format!("{member}/src/{file} names {module}::{item}"));
            }
        }
        wrong.extend(unused.iter().map(|file| format!("the allowance for {file} is needed no more")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_belongs_elsewhere_is_found_in_every_form() {
    assert!(says("use std::fs::File;", "std", "fs"));
    assert!(says("use std::{fs, io};", "std", "fs"));
    assert!(says("use std::{\n    fs::{self},\n    io,\n};", "std", "fs"));
    assert!(says("let f = std::fs::read(p);", "std", "fs"));
    assert!(says("use std::time::{Duration, SystemTime};", "std::time", "SystemTime"));
    assert!(says("#[derive(bincode::Encode)]", "bincode", "*"));
    assert!(!says("// std::fs is not used", "std", "fs"));
    assert!(!says("use std::fmt;", "std", "fs"));
    assert!(!says("use std::time::Duration; let s = SystemTimes;", "std::time", "SystemTime"));
}
