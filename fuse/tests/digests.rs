//! `<table>.csv.sha256`: beside the file, by name, and true.

use crate::support::{Place, content, listing, order_columns, orders, shell, view_of, walk};
use asof_engine::CommitOptions;
use asof_fuse::answer::Answer;
use asof_fuse::view::Found;
use std::ffi::OsStr;

#[test]
fn sha256sum_checks_what_the_mount_says() {
    let place = Place::new();
    let database = place.example();
    let mut transaction = database.begin().unwrap();
    for name in ["back\\slash", "a b", "100%", "-n", "*"] {
        transaction.create_table(name, order_columns(), &["id".to_string()]).unwrap();
        transaction.insert(name, &orders(&[(1, Some("x"), 0.5)])).unwrap();
    }
    transaction.commit(CommitOptions::default()).unwrap();
    let mount = place.mount(&database);
    let at = mount.path();
    assert_eq!(
        shell(at, "cd version/2 && sha256sum -c orders.csv.sha256 orders.jsonl.sha256"),
        "orders.csv: OK\norders.jsonl: OK\n"
    );
    assert_eq!(shell(at, "cd version/2/gold && sha256sum -c customers.csv.sha256"), "customers.csv: OK\n");
    assert_eq!(
        shell(at, "cat version/1/orders.csv.sha256"),
        shell(at, "cd version/1 && sha256sum orders.csv")
    );
    assert_eq!(
        shell(
            at,
            "cd latest && for f in *.csv; do sha256sum --quiet -c -- \"$f.sha256\" || echo \"$f\"; done"
        ),
        ""
    );
    // The digest is of these bytes, not of others.
    assert_eq!(shell(at, "cat version/1/orders.csv.sha256"), shell(at, "cat version/2/orders.csv.sha256"));
    assert_ne!(shell(at, "cat version/1/orders.csv.sha256"), shell(at, "cat version/3/orders.csv.sha256"));
    assert_eq!(
        shell(at, "ls version/1; ls diff/0..1"),
        "orders.csv\norders.parquet\norders.schema.json\norders.csv\norders.parquet\n"
    );
    mount.unmount().unwrap();
}

#[test]
fn stat_of_a_digest_hashes_nothing() {
    let place = Place::new();
    let view = view_of(&place.example());
    let directory = walk(&view, "version/1").unwrap().attributes.inode;
    for (name, size) in [("orders.csv.sha256", 64 + 2 + 10 + 1), ("orders.jsonl.sha256", 64 + 2 + 12 + 1)] {
        let Answer::Now(Found::Entry(entry)) = view.lookup(directory, OsStr::new(name)).unwrap() else {
            panic!("{name} takes work")
        };
        assert_eq!((entry.attributes.size, entry.attributes.links), (size, 2), "{name}");
        assert!(matches!(view.open(entry.attributes.inode, 0).unwrap(), Answer::Later(_)));
    }
    for name in
        ["orders.parquet.sha256", "orders.arrow.sha256", "orders.schema.json.sha256", "missing.csv.sha256"]
    {
        assert!(walk(&view, &format!("version/1/{name}")).is_none(), "{name}");
    }
    assert!(!listing(&view, "version/1", 100).iter().any(|name| name.contains("sha256")));
}

#[test]
fn a_digest_is_kept_and_one_that_was_damaged_is_made_again() {
    let place = Place::new();
    let database = place.example();
    let digest = content(&view_of(&database), "version/1/orders.csv.sha256");
    let kept: Vec<_> = std::fs::read_dir(place.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::read(path).unwrap() == digest[..64])
        .collect();
    assert_eq!(kept.len(), 1);
    let again = view_of(&place.open());
    let before = again.database().counters().rows_decoded;
    assert_eq!(content(&again, "version/1/orders.csv.sha256"), digest);
    assert_eq!(again.database().counters().rows_decoded, before);
    for damaged in [vec![b'0'; 64], Vec::new(), vec![0xFF; 64]] {
        std::fs::remove_file(&kept[0]).unwrap();
        std::fs::write(&kept[0], damaged).unwrap();
        assert_eq!(content(&view_of(&place.open()), "version/1/orders.csv.sha256"), digest);
    }
}
