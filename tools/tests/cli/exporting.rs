//! `export`.

use super::support::*;
use serde_json::{Value, json};
use std::process::Command;

fn check_sums(scratch: &Scratch, directory: &str) {
    let mut command = Command::new("sha256sum");
    let output = command
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(scratch.path(directory))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn manifest(scratch: &Scratch, directory: &str) -> Value {
    serde_json::from_slice(&std::fs::read(scratch.path(directory).join("MANIFEST.json")).unwrap()).unwrap()
}

/// Paths below a directory, relative to it.
fn paths(scratch: &Scratch, directory: &str) -> Vec<String> {
    let root = scratch.path(directory);
    let files = files_below(&root).into_iter();
    files.map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_string()).collect()
}

#[test]
fn tables_of_one_version_are_exported_with_digests() {
    let shop = shop();
    for (format, extension) in
        [("csv", "csv"), ("jsonl", "jsonl"), ("parquet", "parquet"), ("arrow", "arrow")]
    {
        let out = format!("out-{format}");
        shop.ok(&["export", "db", &out, "--format", format, "--as-of", "4"]);
        let expected = [
            "MANIFEST.json".to_string(),
            "SHA256SUMS".to_string(),
            format!("customers.{extension}"),
            format!("gold/parts.{extension}"),
        ];
        assert_eq!(paths(&shop, &out), expected);
        check_sums(&shop, &out);
        let manifest = manifest(&shop, &out);
        assert_eq!(
            (&manifest["version"], &manifest["time"]),
            (&json!(4), &json!("2025-04-01T00:00:00.000000Z"))
        );
        let customers = &manifest["tables"][0];
        assert_eq!((&customers["table"], &customers["rows"]), (&json!("customers"), &json!(2)));
        assert_eq!(customers["checksum"], shop.json(&["checksum", "db", "customers"])["checksum"]);
        assert_eq!(customers["schema"], "id int64 not null, name text, city text, primary key (id)");
        if format == "csv" || format == "jsonl" {
            let file =
                std::fs::read_to_string(shop.path(&out).join(format!("customers.{extension}"))).unwrap();
            assert_eq!(file, shop.ok(&["cat", "db", "customers", "--format", format]));
        } else {
            // It comes back as it was.
            let file = format!("{out}/customers.{extension}");
            shop.ok(&["import", &format!("copy-{format}"), "customers", &file, "--key", "id"]);
            let copy = shop.json(&["checksum", &format!("copy-{format}"), "customers"]);
            assert_eq!(copy["checksum"], customers["checksum"]);
        }
    }
    shop.ok(&["export", "db", "then", "customers", "--as-of", "1", "--format", "csv"]);
    assert_eq!(std::fs::read_to_string(shop.path("then/customers.csv")).unwrap(), CUSTOMERS_1);
    assert_eq!(shop.json(&["export", "db", "empty", "--as-of", "0"])["tables"], json!([]));
    check_sums(&shop, "empty");
}

#[test]
fn what_is_there_is_not_overwritten_and_a_failed_export_leaves_nothing() {
    let shop = shop();
    std::fs::create_dir(shop.path("full")).unwrap();
    shop.write("full/mine", "x");
    assert!(shop.fails(1, &["export", "db", "full"]).contains("not empty"));
    assert!(shop.fails(1, &["export", "db", "full/mine"]).contains("not empty"));
    assert!(shop.fails(1, &["export", "db", "nowhere/out"]).contains("nowhere"));
    shop.fails(3, &["export", "db", "out", "nobody"]);
    shop.fails(1, &["export", "db", "out", "customers", "--partition-by", "nothing"]);
    shop.fails(2, &["export", "db", "out", "customers", "--partition-by", "id,name,city"]);
    assert!(!shop.path("out").exists());
    std::fs::create_dir(shop.path("out")).unwrap();
    shop.ok(&["export", "db", "out", "customers"]);
    let hidden = std::fs::read_dir(shop.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(hidden.filter(|name| name.to_str().unwrap().starts_with(".asof")).count(), 0);
}

#[test]
fn rows_are_parted_by_values_as_hive_does() {
    let scratch = Scratch::new();
    scratch.write(
        "events.csv",
        "id,country,day,what\n1,DE,2025-01-01,a\n2,FR,2025-01-02,b\n3,DE,2025-01-01,c\n4,,2025-01-01,d\n5,a/b=c,2025-01-01,e\n",
    );
    scratch.ok(&["import", "db", "events", "events.csv", "--key", "id"]);
    scratch.ok(&["export", "db", "out", "--format", "csv", "--partition-by", "country,day"]);
    assert_eq!(
        paths(&scratch, "out"),
        [
            "MANIFEST.json",
            "SHA256SUMS",
            "events/country=DE/day=2025-01-01/part-00000.csv",
            "events/country=FR/day=2025-01-02/part-00000.csv",
            "events/country=__HIVE_DEFAULT_PARTITION__/day=2025-01-01/part-00000.csv",
            "events/country=a%2Fb%3Dc/day=2025-01-01/part-00000.csv",
        ]
    );
    let germany = scratch.path("out/events/country=DE/day=2025-01-01/part-00000.csv");
    assert_eq!(std::fs::read_to_string(germany).unwrap(), "id,what\n1,a\n3,c\n");
    check_sums(&scratch, "out");
    let manifest = manifest(&scratch, "out");
    assert_eq!(manifest["partition_by"], json!(["country", "day"]));
    let files = manifest["tables"][0]["files"].as_array().unwrap();
    assert_eq!(files[0]["partition"], json!({"country": null, "day": "2025-01-01"}));
    assert_eq!(files.iter().map(|file| file["rows"].as_u64().unwrap()).sum::<u64>(), 5);
    scratch.ok(&["export", "db", "parquet", "--partition-by", "country"]);
    check_sums(&scratch, "parquet");
    // NULL, the empty text and the name of their directory, before and behind another column's values.
    scratch.write(
        "odd.csv",
        "id,a,b,what\n1,,x,p\n2,\"\",x,q\n3,,y,r\n4,\"\",y,s\n5,__HIVE_DEFAULT_PARTITION__,x,t\n",
    );
    scratch.ok(&["import", "db", "odd", "odd.csv", "--key", "id"]);
    scratch.ok(&["export", "db", "odd-out", "odd", "--format", "csv", "--partition-by", "a,b"]);
    let part = |b: &str| {
        let path = format!("odd-out/odd/a=__HIVE_DEFAULT_PARTITION__/b={b}/part-00000.csv");
        std::fs::read_to_string(scratch.path(&path)).unwrap()
    };
    assert_eq!((part("x"), part("y")), ("id,what\n1,p\n2,q\n5,t\n".into(), "id,what\n3,r\n4,s\n".into()));
}
