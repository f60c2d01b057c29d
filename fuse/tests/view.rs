//! The file system without a kernel.

use crate::support::{
    Place, commit_at, commit_price, content, listing, order_columns, orders, tag, view_of, view_with, walk,
};
use asof_engine::view::{Format, render};
use asof_engine::{CommitOptions, Database, Options, ScanOptions, Version};
use asof_fuse::answer::Answer;
use asof_fuse::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use asof_fuse::error::Refusal;
use asof_fuse::tree::{Kind, ROOT_INODE};
use asof_fuse::view::{FileSystem, Found};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

fn missing_ttl(view: &Arc<FileSystem>, directory: &str, name: impl AsRef<OsStr>) -> Option<Duration> {
    let inode =
        if directory.is_empty() { ROOT_INODE } else { walk(view, directory).unwrap().attributes.inode };
    match view.lookup(inode, name.as_ref()).and_then(|answer| answer.wait()).unwrap() {
        Found::Missing(ttl) => Some(ttl),
        Found::Entry(_) => None,
    }
}

fn inode(view: &Arc<FileSystem>, path: &str) -> u64 {
    walk(view, path).unwrap_or_else(|| panic!("{path} is not there")).attributes.inode
}

#[test]
fn every_form_of_a_table_has_its_exact_size_at_lookup() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&database);
    for version in 1..=3 {
        let snapshot = database.snapshot(Version(version)).unwrap();
        for (file, table) in [("orders", "orders"), ("gold/customers", "gold.customers")] {
            if version == 1 && table != "orders" {
                continue;
            }
            for format in [Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow] {
                let mut rendered = Vec::new();
                snapshot.view(table, format).unwrap().copy_to(&mut rendered).unwrap();
                let path = format!("version/{version}/{file}.{}", format.extension());
                assert_eq!(content(&view, &path), rendered, "{path}");
            }
            let schema: serde_json::Value =
                serde_json::from_slice(&content(&view, &format!("version/{version}/{file}.schema.json")))
                    .unwrap();
            assert!(schema.to_string().contains("\"id\""), "{schema}");
        }
        let commit: serde_json::Value =
            serde_json::from_slice(&content(&view, &format!("version/{version}/.commit.json"))).unwrap();
        assert_eq!(commit["version"], version);
        assert_eq!(commit.get("tags"), None);
    }
    for format in ["csv", "parquet", "jsonl", "arrow"] {
        assert!(!content(&view, &format!("log.{format}")).is_empty());
    }
    assert!(String::from_utf8(content(&view, "README.md")).unwrap().contains("asof/<expression>/"));
}

#[test]
fn what_is_not_there_is_not_there() {
    let place = Place::new();
    let view = view_of(&place.example());
    for path in [
        "nothing",
        "log.json",
        "version/4",
        "version/01",
        "version/-1",
        "version/x",
        "version/0/.commit.json",
        "version/0/orders.csv",
        "version/1/gold",
        "version/1/gold.customers.csv",
        "version/2/customers.csv",
        "version/2/gold.customers.csv",
        "version/2/gold/orders.csv",
        "version/2/gold/.commit.json",
        "version/2/gold/gold",
        "version/2/orders",
        "version/2/orders.json",
        "version/2/orders.CSV",
        "asof/2999-01-01",
        "asof/tag:nothing",
        "asof/nothing",
        "asof/version:2",
        "tag/nothing",
        "diff/nothing",
    ] {
        assert!(walk(&view, path).is_none(), "{path}");
    }
    for path in ["README.md/x", "latest/x", "version/1/orders.csv/x"] {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let refusal = view.lookup(inode(&view, parent), OsStr::new(name)).err().unwrap();
        assert!(matches!(refusal, Refusal::NotDirectory), "{path}");
    }
}

#[test]
fn only_what_can_never_come_true_is_remembered_as_missing() {
    let place = Place::new();
    let view = view_of(&place.example());
    for (directory, name) in [
        ("", "nothing"),
        ("", ".Trash"),
        ("", "autorun.inf"),
        ("version", "x"),
        ("version", ".git"),
        ("version/2", "missing.csv"),
        ("version/2", ".git"),
        ("version/2", "desktop.ini"),
        ("version/2/gold", ".hidden"),
        ("asof", ".git"),
        ("asof", ".Trash-1000"),
        ("asof", ".DS_Store"),
        ("asof", "desktop.ini"),
        ("asof", "Thumbs.db"),
        ("tag", ".git"),
        ("diff", ".git"),
        ("diff", "Thumbs.db"),
        ("diff", "7"),
        ("diff/1..3", "missing.csv"),
        ("diff/1..3/gold", ".hidden"),
    ] {
        assert_eq!(missing_ttl(&view, directory, name), Some(IMMUTABLE_TTL), "{directory}/{name}");
    }
    for (directory, name) in [
        ("version", "4"),
        ("version", "99999999999"),
        ("asof", "someday"),
        ("asof", "2999-01-01"),
        ("tag", "later"),
        ("diff", "1..4"),
        ("diff", "someday..3"),
    ] {
        assert_eq!(missing_ttl(&view, directory, name), Some(MOVING_TTL), "{directory}/{name}");
    }
    use std::os::unix::ffi::OsStrExt;
    assert_eq!(missing_ttl(&view, "asof", OsStr::from_bytes(b"\xff")), Some(IMMUTABLE_TTL));
    let long = view.lookup(ROOT_INODE, OsStr::new(&"x".repeat(256))).err().unwrap();
    assert!(matches!(long, Refusal::NameTooLong));
}

#[test]
fn names_that_move_are_asked_for_again_and_others_are_not() {
    let place = Place::new();
    let view = view_of(&place.example());
    for path in [
        "version/1",
        "version/1/orders.csv",
        "asof/2025-08-01T12:00",
        "asof/eod:2025-08-01",
        "asof/2",
        "asof/before:2",
        "tag",
    ] {
        let entry = walk(&view, path).unwrap();
        assert_eq!(entry.name_ttl, IMMUTABLE_TTL, "{path}");
    }
    for path in [
        "asof/latest",
        "asof/latest~1",
        "asof/1h-ago",
        "asof/today",
        "asof/tag:audit",
        "asof/audit",
        "tag/audit",
        "log.parquet",
    ] {
        let entry = walk(&view, path).unwrap();
        assert_eq!(entry.name_ttl, MOVING_TTL, "{path}");
        // What the name leads to now stays what it is.
        assert_eq!(entry.attributes_ttl, IMMUTABLE_TTL, "{path}");
    }
    assert_eq!(walk(&view, "latest").unwrap().attributes_ttl, MOVING_TTL);
}

#[test]
fn an_unchanged_table_is_one_file_in_all_its_versions() {
    let place = Place::new();
    let view = view_of(&place.example());
    for name in ["orders.csv", "orders.parquet", "orders.schema.json"] {
        let first = inode(&view, &format!("version/1/{name}"));
        for same in ["version/2", "asof/eod:2025-08-01", "tag/audit", "asof/2025-08-26T09:59"] {
            assert_eq!(inode(&view, &format!("{same}/{name}")), first, "{same}/{name}");
        }
        assert_ne!(inode(&view, &format!("version/3/{name}")), first);
    }
    assert_eq!(inode(&view, "version/2/.commit.json"), inode(&view, "tag/audit/.commit.json"));
    // Directories have one name each.
    let doors = ["version/2", "tag/audit", "asof/tag:audit", "asof/audit", "asof/2"];
    let numbers: HashSet<u64> = doors.iter().map(|door| inode(&view, door)).collect();
    assert_eq!(numbers.len(), doors.len());
    let namespaces: HashSet<u64> = doors.iter().map(|door| inode(&view, &format!("{door}/gold"))).collect();
    assert_eq!(namespaces.len(), doors.len());
}

#[test]
fn inode_numbers_are_the_same_in_another_mount() {
    let place = Place::new();
    let database = place.example();
    let paths = [
        "version/1",
        "version/2/gold",
        "version/2/gold/customers.csv",
        "asof/eod:2025-08-01",
        "log.csv",
        "latest",
    ];
    let numbers = |view| paths.map(|path| inode(&view, path));
    assert_eq!(numbers(view_of(&database)), numbers(view_of(&place.open())));
}

#[test]
fn listings_agree_with_lookups() {
    let place = Place::new();
    let database = place.example();
    let view = view_with(&database, None, &[Format::Csv, Format::JsonLines]);
    for directory in [
        "",
        "version",
        "asof",
        "tag",
        "diff",
        "version/0",
        "version/2",
        "version/2/gold",
        "tag/audit",
        "asof/1",
    ] {
        let number = if directory.is_empty() { ROOT_INODE } else { inode(&view, directory) };
        let opened = view.open_directory(number).unwrap();
        let mut listed = Vec::new();
        view.read_directory(opened.handle, 0, &mut |entry| {
            listed.push(entry.clone());
            false
        })
        .unwrap();
        for entry in listed {
            if entry.name == "." {
                assert_eq!(entry.inode, number);
            } else if entry.name == ".." {
                let parent = directory.rsplit_once('/').map(|(parent, _)| inode(&view, parent));
                assert_eq!(entry.inode, parent.unwrap_or(ROOT_INODE), "{directory}/..");
            } else {
                let path = format!("{directory}/{}", entry.name);
                let found = walk(&view, path.trim_start_matches('/')).unwrap_or_else(|| panic!("{path}"));
                assert_eq!(
                    (found.attributes.inode, found.attributes.kind),
                    (entry.inode, entry.kind),
                    "{path}"
                );
            }
        }
        view.release(opened.handle).unwrap();
    }
    assert_eq!(
        listing(&view, "version/2", 100),
        [".commit.json", "gold", "orders.csv", "orders.jsonl", "orders.schema.json"]
    );
    assert_eq!(
        listing(&view, "", 100),
        ["README.md", "asof", "diff", "latest", "log.csv", "log.jsonl", "tag", "version"]
    );
    assert_eq!(view.open_count(), 0);
}

#[test]
fn listings_are_the_same_however_they_are_cut() {
    let place = Place::new();
    let database = place.example();
    for _ in 0..30 {
        commit_price(&database, 1.0);
    }
    let view = view_of(&database);
    for directory in ["", "version", "asof", "tag", "version/3", "version/3/gold"] {
        let whole = listing(&view, directory, usize::MAX);
        for batch in [1, 2, 3, 7] {
            assert_eq!(listing(&view, directory, batch), whole, "{directory} by {batch}");
        }
    }
    let numbers: Vec<String> = (0..=33).map(|version| version.to_string()).collect();
    assert_eq!(listing(&view, "version", 5), numbers);
}

#[test]
fn days_are_listed_once_each_and_lead_to_their_last_version() {
    let place = Place::new();
    let database = Database::create(place.database_path(), place.options()).unwrap();
    let times = [
        "1914-07-28T11:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00Z",
        "2024-02-29T00:00:00Z",
        "2024-02-29T23:59:59.999999Z",
        "2024-03-01T00:00:00Z",
    ];
    for (index, time) in times.iter().enumerate() {
        let mut transaction = database.begin().unwrap();
        transaction.create_table(&format!("t{index}"), order_columns(), &["id".to_string()]).unwrap();
        commit_at(transaction, time);
    }
    let view = view_of(&database);
    let expected = [
        ("eod:1914-07-28", 1),
        ("eod:1969-12-31", 2),
        ("eod:1970-01-01", 3),
        ("eod:2024-02-29", 5),
        ("eod:2024-03-01", 6),
    ];
    for batch in [1, 100] {
        assert_eq!(listing(&view, "asof", batch), expected.map(|(name, _)| name));
    }
    for (name, version) in expected {
        let commit: serde_json::Value =
            serde_json::from_slice(&content(&view, &format!("asof/{name}/.commit.json"))).unwrap();
        assert_eq!(commit["version"], version, "{name}");
    }
}

#[test]
fn an_empty_database_has_version_0_and_no_days() {
    let place = Place::new();
    let view = view_of(&Database::create(place.database_path(), place.options()).unwrap());
    assert_eq!(listing(&view, "version", 10), ["0"]);
    assert_eq!(listing(&view, "asof", 10), [""; 0]);
    assert_eq!(listing(&view, "version/0", 10), [""; 0]);
    assert_eq!(view.read_link(inode(&view, "latest")).unwrap(), "version/0");
    assert_eq!(walk(&view, "version/0").unwrap().attributes.unix_time(), (0, 0));
}

#[test]
fn names_with_any_characters_lead_to_their_tables() {
    let place = Place::new();
    let database = Database::create(place.database_path(), place.options()).unwrap();
    let (long, longer) = ("long".repeat(60) + "name one", "long".repeat(60) + "name two");
    let in_long = format!("{long}.{longer}");
    let names = [
        "a/b",
        "100%",
        "straße",
        "%2F",
        "x.schema",
        "schema.csv",
        " ",
        "-n",
        "☃",
        "a b/c.d/e%",
        &long,
        &longer,
        &in_long,
    ];
    for name in names {
        let mut transaction = database.begin().unwrap();
        transaction.create_table(name, order_columns(), &["id".to_string()]).unwrap();
        transaction.insert(name, &orders(&[(name.len() as i64, None, 0.0)])).unwrap();
        transaction.commit(CommitOptions::default()).unwrap();
    }
    let view = view_with(&database, None, &[Format::Csv]);
    let state = format!("version/{}", names.len());
    for table in names {
        let (namespace, name) = asof_fuse::names::split_table_name(table);
        let mut path = format!("{state}/");
        if let Some(namespace) = namespace {
            path.push_str(&asof_fuse::names::encode(namespace));
            path.push('/');
        }
        path.push_str(&asof_fuse::names::encode(name));
        path.push_str(".csv");
        assert_eq!(
            content(&view, &path),
            format!("id,item,price\n{},,0.0\n", table.len()).into_bytes(),
            "{path}"
        );
        let (directory, file) = path.rsplit_once('/').unwrap();
        assert!(listing(&view, directory, 100).contains(&file.to_string()), "{path}");
    }
}

#[test]
fn moving_names_follow_commits_of_another_handle_and_open_files_do_not() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&place.open());
    assert_eq!(view.read_link(inode(&view, "latest")).unwrap(), "version/3");
    let before = walk(&view, "asof/latest/orders.csv").unwrap();
    let old = content(&view, "asof/latest/orders.csv");
    let open = view.open(before.attributes.inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();
    let log = walk(&view, "log.parquet").unwrap();
    let open_log = view.open(log.attributes.inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();

    assert_eq!(commit_price(&database, 9.75), Version(4));
    database.tag(tag("audit", 4), true).unwrap();

    assert_eq!(view.read_link(inode(&view, "latest")).unwrap(), "version/4");
    let new = content(&view, "asof/latest/orders.csv");
    assert!(String::from_utf8(new.clone()).unwrap().contains("9.75"));
    assert_eq!(content(&view, "tag/audit/orders.csv"), new);
    assert_eq!(content(&view, "version/4/orders.csv"), new);
    assert_eq!(listing(&view, "version", 10), ["0", "1", "2", "3", "4"]);
    assert_ne!(inode(&view, "log.parquet"), log.attributes.inode);
    assert!(content(&view, "log.parquet").len() as u64 != log.attributes.size);

    let still = view.read(open.handle, 0, 1 << 20).and_then(Answer::wait).unwrap();
    assert_eq!(still, old);
    let still = view.read(open_log.handle, 0, 1 << 20).and_then(Answer::wait).unwrap();
    assert_eq!(still.len() as u64, log.attributes.size);
    // The directory that was entered is still the state it was.
    assert_eq!(view.attributes(before.attributes.inode).unwrap().0, before.attributes);
}

#[test]
fn one_state_alone_lies_at_the_root() {
    let place = Place::new();
    let database = place.example();
    let view = view_with(&database, Some(2), &[Format::Csv]);
    assert_eq!(listing(&view, "", 100), [".commit.json", "gold", "orders.csv", "orders.schema.json"]);
    assert_eq!(content(&view, "orders.csv"), content(&view_of(&database), "version/2/orders.csv"));
    assert_eq!(content(&view, "gold/customers.csv"), b"id,name\n7,Ada\n");
    for path in ["version", "asof", "latest", "README.md", "log.csv"] {
        assert!(walk(&view, path).is_none(), "{path}");
    }
    let root = view.attributes(ROOT_INODE).unwrap();
    assert_eq!((root.0.kind, root.1), (Kind::Directory, IMMUTABLE_TTL));
    assert_eq!(root.0.unix_time().0, 1_754_069_400);
}

#[test]
fn reads_give_what_is_asked_for_and_end_where_the_file_ends() {
    let place = Place::new();
    let view = view_of(&place.example());
    for path in ["version/1/orders.csv", "version/1/orders.parquet", "version/1/.commit.json", "README.md"] {
        let whole = content(&view, path);
        let opened = view.open(inode(&view, path), libc::O_RDONLY).and_then(Answer::wait).unwrap();
        let read = |offset, length| view.read(opened.handle, offset, length).and_then(Answer::wait).unwrap();
        assert_eq!(read(3, 5), whole[3..8]);
        assert_eq!(read(whole.len() as u64 - 2, 100), whole[whole.len() - 2..]);
        assert_eq!(read(whole.len() as u64, 100), [0u8; 0]);
        assert_eq!(read(u64::MAX, u32::MAX), [0u8; 0]);
        assert_eq!(read(0, 0), [0u8; 0]);
        view.release(opened.handle).unwrap();
        assert!(matches!(view.read(opened.handle, 0, 1).err(), Some(Refusal::NotOpen)));
    }
}

#[test]
fn what_would_write_is_refused() {
    let place = Place::new();
    let view = view_of(&place.example());
    let file = inode(&view, "version/1/orders.csv");
    for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_RDONLY | libc::O_TRUNC] {
        assert!(matches!(view.open(file, flags).err(), Some(Refusal::ReadOnly)), "{flags:o}");
    }
    assert!(matches!(view.open(inode(&view, "version/1"), 0).err(), Some(Refusal::IsDirectory)));
    assert!(matches!(view.open_directory(file).err(), Some(Refusal::NotDirectory)));
    assert!(matches!(view.read_link(file).err(), Some(Refusal::NotLink)));
    assert!(matches!(view.attributes(12345).err(), Some(Refusal::Stale)));
}

#[test]
fn stat_renders_nothing_and_gathers_what_a_parquet_file_is_made_of_only_once() {
    let place = Place::new();
    let view = view_of(&place.example());
    let directory = inode(&view, "version/3");
    for (name, gathers) in [
        ("orders.csv", false),
        ("orders.jsonl", false),
        ("orders.schema.json", false),
        ("orders.parquet", true),
        ("orders.arrow", false),
    ] {
        let first = view.lookup(directory, OsStr::new(name)).unwrap();
        assert_eq!(matches!(first, Answer::Later(_)), gathers, "{name}");
        first.wait().unwrap();
        let second = view.lookup(directory, OsStr::new(name)).unwrap();
        assert!(matches!(second, Answer::Now(_)), "{name}");
        second.wait().unwrap();
    }
}

#[test]
fn opening_text_renders_nothing_and_a_part_of_it_does_not_wait_for_others() {
    let place = Place::new();
    place.numbers(20_000);
    let options = Options { text_section_bytes: 32 << 10, ..place.options() };
    let database = Database::open(place.database_path(), options).unwrap();
    let mut expected = Vec::new();
    let snapshot = database.snapshot(Version(1)).unwrap();
    let rows = snapshot.scan("numbers", ScanOptions::default()).unwrap();
    render(Format::Csv, &snapshot.schema("numbers").unwrap(), rows, &mut expected).unwrap();
    let view = view_of(&database);
    let opened = view.open(inode(&view, "version/1/numbers.csv"), 0).unwrap().wait().unwrap();
    let size = expected.len() as u64;
    let read = |offset: u64| view.read(opened.handle, offset, 4_096).unwrap();
    let part = |offset: u64| expected[offset as usize..][..4_096.min((size - offset) as usize)].to_vec();
    let Answer::Later(first) = read(0) else { panic!("nothing is rendered when it is opened") };
    assert!(first.run().unwrap() == part(0));
    let Answer::Later(last) = read(size - 4_096) else {
        panic!("the end is not rendered with the beginning")
    };
    let Answer::Now(again) = read(0) else { panic!("what was rendered is there") };
    assert!(again == part(0));
    let Answer::Later(middle) = read(size / 2) else { panic!("nor is the middle") };
    assert!(last.run().unwrap() == part(size - 4_096));
    assert!(middle.run().unwrap() == part(size / 2));
    // Parts that are known to lie apart are rendered beside each other.
    let Answer::Later(one) = read(size / 4) else { panic!("nor is a quarter") };
    let Answer::Later(other) = read(40_000) else { panic!("nor is the second part") };
    assert_ne!(one.key, other.key);
    let all: Vec<u8> = (0..size).step_by(4_096).flat_map(|offset| read(offset).wait().unwrap()).collect();
    assert!(all == expected);
    view.release(opened.handle).unwrap();
}

#[test]
fn forgotten_inodes_leave_nothing_behind() {
    let place = Place::new();
    let view = view_of(&place.example());
    let mut entries = Vec::new();
    for path in
        ["version", "version/2", "version/2/orders.csv", "version/2/gold", "asof", "asof/latest", "tag/audit"]
    {
        let mut inode = ROOT_INODE;
        for name in path.split('/') {
            let Found::Entry(entry) = view.lookup(inode, OsStr::new(name)).and_then(Answer::wait).unwrap()
            else {
                panic!("{path}")
            };
            inode = entry.attributes.inode;
            entries.push(inode);
        }
    }
    assert!(view.inode_count() > 5);
    for inode in entries {
        view.forget(inode, 1);
    }
    assert_eq!(view.inode_count(), 1);
}

#[test]
fn a_checkpoint_changes_no_file() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&database);
    let paths = [
        "version/1/orders.csv",
        "version/2/orders.jsonl",
        "version/3/orders.csv",
        "version/3/gold/customers.csv",
        "version/2/.commit.json",
    ];
    let before = paths.map(|path| (inode(&view, path), content(&view, path)));
    database.checkpoint().unwrap();
    let view = view_of(&place.open());
    assert_eq!(paths.map(|path| (inode(&view, path), content(&view, path))), before);
}
