//! What people and scripts do with files, by the tools they use.

use crate::support::{Place, shell};
use asof_engine::view::Format;
use asof_fuse::MountOptions;

/// Runs a command that must print nothing, on either output.
fn quiet(directory: &std::path::Path, command: &str) {
    assert_eq!(shell(directory, command), "", "$ {command}");
}

#[test]
fn trees_are_copied_archived_and_searched() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let out = place.join("out");
    std::fs::create_dir(&out).unwrap();
    let out = out.display();
    let at = mount.path();

    let listed = shell(at, "ls -lR . && echo done");
    assert!(listed.ends_with("done\n") && listed.contains("orders.parquet"), "{listed}");
    // Copies are what was copied, attributes and all; `latest` stays a link.
    quiet(at, &format!("cp -r version {out}/cp && diff -r version {out}/cp"));
    quiet(at, &format!("cp -a latest version {out}/ && diff -r version {out}/version"));
    assert_eq!(shell(at, &format!("readlink {out}/latest")), "version/3\n");
    assert_eq!(shell(at, &format!("stat -c %Y {out}/version/1/orders.csv")), "1754038800\n");
    quiet(
        at,
        &format!("tar cf {out}/all.tar version && mkdir {out}/tar && tar xf {out}/all.tar -C {out}/tar"),
    );
    quiet(at, &format!("diff -r version {out}/tar/version"));
    // A table that is the same in two versions is stored once.
    assert_eq!(
        shell(
            at,
            &format!("tar tvf {out}/all.tar | grep -c 'version/2/orders.csv link to version/1/orders.csv'")
        ),
        "1\n"
    );
    assert_eq!(shell(at, "grep -rl milk version asof --include=*.csv | wc -l"), "5\n");
    assert_eq!(shell(at, "wc -c < version/3/orders.csv; cat version/3/orders.csv | wc -c"), "53\n53\n");
    assert_eq!(
        shell(at, "tail -c 9 version/1/orders.csv; head -n 1 version/1/orders.csv"),
        "5\n3,,0.5\nid,item,price\n"
    );
    assert_eq!(
        shell(at, "sha256sum < version/1/orders.csv"),
        shell(at, "cat version/2/orders.csv | sha256sum")
    );
    assert_eq!(shell(at, "find version -name orders.csv -size 1 | sort | head -1"), "version/1/orders.csv\n");
    assert_eq!(shell(at, "find version -newermt 2025-08-20 -name orders.csv"), "version/3/orders.csv\n");
    // The same file counts once.
    assert_eq!(
        shell(at, "du --apparent-size -b -c version/1/orders.csv version/2/orders.csv | tail -1"),
        "52\ttotal\n"
    );
    assert_eq!(shell(at, "df . | tail -1 | awk '{print $2}'"), "0\n");
    mount.unmount().unwrap();
}

#[test]
fn rsync_copies_once_and_then_finds_nothing_to_do() {
    let place = Place::new();
    if shell(&place.join(""), "command -v rsync").is_empty() {
        // Not everywhere installed, and nothing of ours: the copies above have tested the same calls.
        return;
    }
    let mount = place.mount(&place.example());
    let copy = format!("rsync -aHi --no-owner --no-group version/ {}/", place.join("copy").display());
    assert!(shell(mount.path(), &copy).contains("2/orders.csv"));
    quiet(mount.path(), &copy);
    quiet(mount.path(), &format!("diff -r version {}", place.join("copy").display()));
    mount.unmount().unwrap();
}

#[test]
fn all_forms_can_be_listed() {
    let place = Place::new();
    let formats = vec![Format::Parquet, Format::Csv, Format::JsonLines, Format::Arrow];
    let mount = place.mount_with(&place.example(), MountOptions { formats, ..MountOptions::default() });
    assert_eq!(
        shell(mount.path(), "cd latest; for f in orders*; do test -s $f && echo $f; done"),
        "orders.arrow\norders.csv\norders.jsonl\norders.parquet\norders.schema.json\n"
    );
    mount.unmount().unwrap();
}
