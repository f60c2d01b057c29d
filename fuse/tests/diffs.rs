//! `diff/<a>..<b>/`, without a kernel.

use crate::support::{
    Place, commit_at, commit_price, content, listing, order_columns, orders, tag, view_of, view_with, walk,
};
use asof_engine::view::Format;
use asof_engine::{CommitOptions, Database, DiffKind, Version, json};
use asof_fuse::answer::Answer;
use asof_fuse::attributes::{IMMUTABLE_TTL, MOVING_TTL};
use asof_fuse::tree::Kind;
use std::ffi::OsStr;

fn text(view: &std::sync::Arc<asof_fuse::view::FileSystem>, path: &str) -> String {
    String::from_utf8(content(view, path)).unwrap()
}

const HEADER: &str = "_change_type,_commit_version,_commit_timestamp,id,item,price\n";

#[test]
fn a_diff_has_the_images_before_and_after() {
    let place = Place::new();
    let view = view_of(&place.example());
    let update = "update_preimage,3,2025-08-26T10:00:00.000001Z,1,tea,2.5\n\
                  update_postimage,3,2025-08-26T10:00:00.000001Z,1,tea,2.75\n";
    assert_eq!(text(&view, "diff/1..3/orders.csv"), format!("{HEADER}{update}"));
    assert_eq!(
        text(&view, "diff/0..1/orders.jsonl").lines().next().unwrap(),
        r#"{"_change_type":"insert","_commit_version":1,"_commit_timestamp":"2025-08-01T09:00:00.000000Z","id":1,"item":"tea","price":2.5}"#
    );
    assert_eq!(
        text(&view, "diff/1..2/gold/customers.csv"),
        "_change_type,_commit_version,_commit_timestamp,id,name\n\
         insert,2,2025-08-01T17:30:00.000000Z,7,Ada\n"
    );
    assert_eq!(&content(&view, "diff/1..3/orders.parquet")[..4], b"PAR1");
    assert_eq!(&content(&view, "diff/1..3/orders.arrow")[..6], b"ARROW1");
    // A table that did not change has a file without changes, by name alone.
    assert_eq!(text(&view, "diff/1..2/orders.csv"), HEADER);
    assert_eq!(text(&view, "diff/3..3/orders.jsonl"), "");
    for missing in [
        "diff/1..3/missing.csv",
        "diff/0..1/gold",
        "diff/0..1/gold/customers.csv",
        "diff/1..2/gold.customers.csv",
        "diff/1..2/customers.csv",
        "diff/1..2/gold/.stat.json",
        "diff/1..3/orders.schema.json",
        "diff/1..3/orders.csv.sha256",
        "diff/1..3/.commit.json",
        "diff/3..1",
        "diff/1..4",
        "diff/1..tag:nothing",
        "diff/1",
        "diff/..",
        "diff/1..",
        "diff/..1",
        "diff/.git",
        "diff/desktop.ini",
    ] {
        assert!(walk(&view, missing).is_none(), "{missing}");
    }
}

#[test]
fn a_diff_lists_what_changed() {
    let place = Place::new();
    let database = place.example();
    let view = view_with(&database, None, &[Format::Csv, Format::JsonLines]);
    assert_eq!(listing(&view, "diff", 10), [""; 0]);
    assert_eq!(listing(&view, "diff/1..3", 1), [".stat.json", "gold", "orders.csv", "orders.jsonl"]);
    assert_eq!(listing(&view, "diff/1..3/gold", 10), ["customers.csv", "customers.jsonl"]);
    assert_eq!(listing(&view, "diff/2..3", 10), [".stat.json", "orders.csv", "orders.jsonl"]);
    assert_eq!(listing(&view, "diff/3..3", 10), [".stat.json"]);
    let stat: serde_json::Value = serde_json::from_str(&text(&view, "diff/1..3/.stat.json")).unwrap();
    let mut tables = database.tables_between(Version(1), Version(3), None).unwrap();
    database.count_changes(Version(1), Version(3), &mut tables).unwrap();
    assert_eq!(stat, json::diff_stat_to_json(Version(1), Version(3), &tables));
    assert_eq!(stat["tables"]["orders"]["updated"], 1);
    assert_eq!(stat["tables"]["gold.customers"]["schema_changes"][0]["change"], "create_table");
    assert_eq!(text(&view, "diff/3..3/.stat.json"), "{\n  \"from\": 3,\n  \"to\": 3,\n  \"tables\": {}\n}\n");
    // What is listed has the numbers that lookups give.
    for directory in ["diff/1..3", "diff/1..3/gold"] {
        let inode = walk(&view, directory).unwrap().attributes.inode;
        let opened = view.open_directory(inode).unwrap();
        view.read_directory(opened.handle, 0, &mut |listed| {
            if !listed.name.starts_with("..") && listed.name != "." {
                let found = walk(&view, &format!("{directory}/{}", listed.name)).unwrap().attributes;
                assert_eq!((found.inode, found.kind), (listed.inode, listed.kind), "{}", listed.name);
            }
            false
        })
        .unwrap();
    }
}

#[test]
fn a_diff_is_known_by_its_versions() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&database);
    let inode = |path: &str| walk(&view, path).unwrap_or_else(|| panic!("{path}")).attributes;
    for name in ["orders.csv", "orders.parquet", ".stat.json"] {
        let first = inode(&format!("diff/1..3/{name}"));
        assert_eq!((first.links, first.kind), (2, Kind::File));
        for same in ["diff/1..latest", "diff/latest~2..3", "diff/2025-08-01T09:00..eod:2025-08-26"] {
            assert_eq!(inode(&format!("{same}/{name}")), first, "{same}");
        }
        assert_ne!(inode(&format!("diff/2..3/{name}")).inode, first.inode);
        assert_eq!(first.unix_time().0, 1_756_202_400);
    }
    for (path, ttl) in [
        ("diff", IMMUTABLE_TTL),
        ("diff/1..3", IMMUTABLE_TTL),
        ("diff/eod:2025-08-01..before:3", IMMUTABLE_TTL),
        ("diff/1..3/orders.csv", IMMUTABLE_TTL),
        ("diff/1..latest", MOVING_TTL),
        ("diff/tag:audit..3", MOVING_TTL),
        ("diff/1..latest/orders.csv", IMMUTABLE_TTL),
    ] {
        assert_eq!(walk(&view, path).unwrap().name_ttl, ttl, "{path}");
    }
    // Its files are the same after a remount, and rendered once.
    let before = inode("diff/1..3/orders.csv").inode;
    let again = view_of(&place.open());
    let pages = || again.database().counters().rows_decoded;
    let (was, found) = (pages(), walk(&again, "diff/1..3/orders.csv").unwrap().attributes);
    assert_eq!((found.inode, pages()), (before, was));
}

#[test]
fn a_diff_that_moves_leads_elsewhere_and_an_open_file_keeps_its_bytes() {
    let place = Place::new();
    let database = place.example();
    let view = view_of(&place.open());
    let first = walk(&view, "diff/2..latest/orders.csv").unwrap().attributes;
    let directory = walk(&view, "diff/2..latest").unwrap().attributes;
    let bytes = content(&view, "diff/2..latest/orders.csv");
    let opened = view.open(first.inode, libc::O_RDONLY).and_then(Answer::wait).unwrap();
    commit_price(&database, 9.75);
    let moved = walk(&view, "diff/2..latest").unwrap().attributes;
    assert_ne!(moved.inode, directory.inode);
    assert!(text(&view, "diff/2..latest/orders.csv").contains("9.75"));
    let still = view.read(opened.handle, 0, 1 << 20).and_then(Answer::wait).unwrap();
    assert_eq!(still, bytes);
    // The directory that was entered is still the diff it was.
    let found = view.lookup(directory.inode, OsStr::new("orders.csv")).and_then(Answer::wait).unwrap();
    assert!(matches!(found, asof_fuse::view::Found::Entry(entry) if entry.attributes.inode == first.inode));
}

#[test]
fn tables_made_dropped_and_made_again_have_diffs() {
    let place = Place::new();
    let database = Database::create(place.database_path(), place.options()).unwrap();
    let key = ["id".to_string()];
    let create = |rows: &[(i64, Option<&str>, f64)]| {
        let mut transaction = database.begin().unwrap();
        transaction.create_table("t", order_columns(), &key).unwrap();
        transaction.insert("t", &orders(rows)).unwrap();
        transaction.commit(CommitOptions::default()).unwrap();
    };
    let drop_table = || {
        let mut transaction = database.begin().unwrap();
        transaction.drop_table("t").unwrap();
        transaction.commit(CommitOptions::default()).unwrap();
    };
    create(&[(1, Some("a"), 1.0), (2, Some("b"), 2.0)]);
    drop_table();
    create(&[(2, Some("b"), 2.0), (3, Some("c"), 3.0)]);
    drop_table();
    let view = view_with(&database, None, &[Format::Csv]);
    let changes = |path: &str| -> Vec<String> {
        let text = text(&view, path);
        let lines = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
        lines.map(|cells| format!("{} {}", cells[0], cells[3])).collect()
    };
    assert_eq!(changes("diff/0..1/t.csv"), ["insert 1", "insert 2"]);
    assert_eq!(changes("diff/1..2/t.csv"), ["delete 1", "delete 2"]);
    assert_eq!(changes("diff/1..3/t.csv"), ["delete 1", "insert 3"]);
    assert_eq!(changes("diff/0..3/t.csv"), ["insert 2", "insert 3"]);
    assert_eq!(changes("diff/1..4/t.csv"), ["delete 1", "delete 2"]);
    assert!(walk(&view, "diff/0..2/t.csv").is_none());
    assert!(walk(&view, "diff/2..4/t.csv").is_none());
    assert_eq!(listing(&view, "diff/0..4", 10), [".stat.json"]);
    assert_eq!(listing(&view, "diff/1..3", 10), [".stat.json", "t.csv"]);
}

/// A small generator of numbers (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

#[test]
fn the_files_of_a_diff_are_renderings_of_the_engines_diff() {
    let place = Place::new();
    let database = Database::create(place.database_path(), place.options()).unwrap();
    let mut chance = Chance(42);
    for version in 1..=30u64 {
        let mut transaction = database.begin().unwrap();
        if version == 1 {
            transaction.create_table("t", order_columns(), &["id".to_string()]).unwrap();
        }
        let ids: std::collections::BTreeSet<i64> = (0..5).map(|_| chance.below(40) as i64).collect();
        let rows: Vec<(i64, Option<&str>, f64)> =
            ids.iter().map(|id| (*id, Some("a, \"b\"\n"), chance.below(4) as f64)).collect();
        transaction.upsert("t", &orders(&rows)).unwrap();
        transaction.commit(CommitOptions::default()).unwrap();
        if chance.below(6) == 0 {
            database.checkpoint().unwrap();
        }
    }
    let view = view_of(&database);
    for _ in 0..60 {
        let (a, b) = (chance.below(31), chance.below(31));
        let (from, to) = (a.min(b), a.max(b).max(1));
        for format in [Format::Csv, Format::JsonLines, Format::Parquet, Format::Arrow] {
            let diff = database.diff(Version(from), Version(to), "t", DiffKind::Net).unwrap();
            let mut expected = Vec::new();
            asof_engine::view::render_diff(format, &diff.schema(), diff, &mut expected).unwrap();
            let path = format!("diff/{from}..{to}/t.{}", format.extension());
            assert!(content(&view, &path) == expected, "{path}");
        }
    }
}

#[test]
fn every_expression_is_a_name_in_asof_and_at_both_ends_of_a_diff() {
    let place = Place::new();
    let database = place.example();
    for name in ["v1.", "v1.2", "50% off", "straße", "a b", "~", "2025-q3", "x.csv"] {
        // A name with a tilde is no tag's.
        if name != "~" {
            database.tag(tag(name, 2), false).unwrap();
        }
    }
    let id = database.commit_info(Version(2)).unwrap().id;
    let view = view_of(&database);
    let mut expressions: Vec<(String, u64)> = [
        ("2", 2),
        ("0", 0),
        ("latest", 3),
        ("latest~1", 2),
        ("tag:audit", 2),
        ("audit", 2),
        ("tag:v1.", 2),
        ("v1.", 2),
        ("v1.2", 2),
        ("tag:50% off", 2),
        ("50% off", 2),
        ("straße", 2),
        ("a b", 2),
        ("2025-q3", 2),
        ("tag:x.csv", 2),
        ("2025-08-01T17:30:00Z", 2),
        ("2025-08-01T17:29:59.999999Z", 1),
        ("2025-08-01T17-30", 2),
        ("2025-08-01 17:30", 2),
        ("2025-08-01T19:30+02:00", 2),
        ("2025-08-01T19-30-00+02-00", 2),
        ("2025-08-01T13-30-04-00", 2),
        ("2025-08-01T19:30[Europe,Paris]", 2),
        ("2025-08-01T19-30+02-00[Europe,Paris]", 2),
        ("2025-08-02", 2),
        ("2025-09", 3),
        ("2025-08", 0),
        ("1914-07-28", 0),
        ("eod:2025-08-01", 2),
        ("eod:2025-07-31", 0),
        ("@1754069400", 2),
        ("@1754069400.5", 2),
        ("@1754069400000ms", 2),
        ("@1754069400000000us", 2),
        ("now", 3),
        ("today", 3),
        ("yesterday", 3),
        ("1h-ago", 3),
        ("90m ago", 3),
        ("-1h", 3),
        ("1.5h-ago", 3),
        ("P1DT2H-ago", 3),
        ("100y-ago", 0),
        ("before:3", 2),
        ("before:before:latest", 1),
        ("before:tag:audit", 1),
        ("before:eod:2025-08-26", 2),
    ]
    .map(|(expression, version)| (expression.to_string(), version))
    .to_vec();
    expressions.push((format!("commit:{id}"), 2));
    for (expression, version) in &expressions {
        let path = format!("asof/{expression}");
        let entry = walk(&view, &path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(entry.attributes.kind, Kind::Directory);
        if *version > 0 {
            let commit: serde_json::Value =
                serde_json::from_slice(&content(&view, &format!("{path}/.commit.json"))).unwrap();
            assert_eq!(commit["version"], *version, "{path}");
        }
        for (name, from, to) in
            [(format!("0..{expression}"), 0, *version), (format!("{expression}..3"), *version, 3)]
        {
            let stat: serde_json::Value =
                serde_json::from_slice(&content(&view, &format!("diff/{name}/.stat.json"))).unwrap();
            assert_eq!((&stat["from"], &stat["to"]), (&from.into(), &to.into()), "{name}");
        }
    }
    for expression in ["", " ", "nonsense:", "latest~", "latest~9", "before:0", "2999-01-01", "+1h", "a..b"] {
        assert!(
            expression.is_empty() || walk(&view, &format!("asof/{expression}")).is_none(),
            "{expression}"
        );
        assert!(walk(&view, &format!("diff/0..{expression}")).is_none(), "{expression}");
        assert!(walk(&view, &format!("diff/{expression}..3")).is_none(), "{expression}");
    }
}

#[test]
fn names_with_any_characters_have_diffs() {
    let place = Place::new();
    let database = Database::create(place.database_path(), place.options()).unwrap();
    let long = "long".repeat(62);
    let names = ["a/b", "100%", "straße", "x.csv", " ", "-n", "a b/c.d/e%", "back\\slash", &long];
    for name in names {
        let mut transaction = database.begin().unwrap();
        transaction.create_table(name, order_columns(), &["id".to_string()]).unwrap();
        transaction.insert(name, &orders(&[(name.len() as i64, None, 0.0)])).unwrap();
        commit_at(transaction, &format!("2025-01-01T00:00:{:02}Z", database.latest().unwrap().0));
    }
    let view = view_with(&database, None, &[Format::Csv]);
    let newest = database.latest().unwrap();
    for table in names {
        let (namespace, name) = asof_fuse::names::split_table_name(table);
        let mut directory = format!("diff/0..{newest}");
        if let Some(namespace) = namespace {
            directory = format!("{directory}/{}", asof_fuse::names::encode(namespace));
        }
        let file = format!("{}.csv", asof_fuse::names::encode(name));
        assert!(listing(&view, &directory, 100).contains(&file), "{directory}/{file}");
        let text = text(&view, &format!("{directory}/{file}"));
        assert!(text.ends_with(&format!("Z,{},,0.0\n", table.len())), "{text}");
    }
}
