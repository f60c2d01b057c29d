//! `cat`, `get`, `resolve`, `tables`.

use super::support::*;
use asof_engine::arrow::ipc::reader::FileReader;
use asof_engine::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

#[test]
fn cat_gives_the_newest_version_and_any_older_one() {
    let shop = shop();
    assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_3);
    for (expression, expected) in [
        ("1", CUSTOMERS_1),
        ("2", CUSTOMERS_2),
        ("2025-02-15", CUSTOMERS_2),
        ("2025-02-01T00:00:00Z", CUSTOMERS_2),
        ("eod:2025-01-31", CUSTOMERS_1),
        ("before:3", CUSTOMERS_2),
        ("latest~2", CUSTOMERS_2),
        ("-1h", CUSTOMERS_3),
        ("1h-ago", CUSTOMERS_3),
        ("yesterday", CUSTOMERS_3),
    ] {
        assert_eq!(shop.ok(&["cat", "db", "customers", "--as-of", expression]), expected, "{expression}");
    }
}

#[test]
fn what_an_expression_became_is_told_on_standard_error() {
    let shop = shop();
    let ran = shop.run(&["cat", "db", "customers", "--as-of", "2025-02-15"]);
    assert_eq!(ran.stderr, "2025-02-15 is version 2 (2025-02-01T00:00:00.000000Z)\n");
    let ran = shop.run(&["cat", "db", "customers", "--as-of", "2025-02-15", "-q"]);
    assert_eq!((ran.stderr.as_str(), ran.text()), ("", CUSTOMERS_2));
}

#[test]
fn times_without_offset_are_in_the_zone_asked_for() {
    let shop = shop();
    // The commit was at 00:00 UTC, which is 01:00 in Paris.
    for (zone, expected) in [("UTC", 2), ("Europe/Paris", 1), ("+01:00", 1), ("-01:00", 2)] {
        let resolve = ["resolve", "db", "2025-02-01T00:30", "--tz", zone];
        assert_eq!(shop.json(&resolve)["version"], expected, "{zone}");
    }
    let mut command = shop.command(&["resolve", "db", "2025-02-01T00:30"]);
    let ran: Ran = command.env("ASOF_TZ", "Europe/Paris").output().unwrap().into();
    assert!(ran.text().starts_with("1 "), "{}", ran.text());
    assert_eq!(shop.run(&["resolve", "db", "1", "--tz", "Nowhere/Land"]).status, 2);
}

#[test]
fn every_format_shows_the_same_rows() {
    let shop = shop();
    let rows = vec![json!({"id":1,"name":"Ada","city":"London"}), json!({"id":2,"name":"Bob","city":null})];
    let cat = |format: &str| shop.run(&["cat", "db", "customers", "--as-of", "1", "-q", "--format", format]);
    assert_eq!(cat("csv").text(), CUSTOMERS_1);
    assert_eq!(lines_of_json(cat("jsonl").text()), rows);
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&cat("json").stdout).unwrap(), rows);
    let table = cat("table");
    for shown in ["│ id ┆ name ┆ city   │", "│  1 ┆ Ada  ┆ London │", "│  2 ┆ Bob  ┆ NULL   │", "2 rows"]
    {
        assert!(table.text().contains(shown), "{shown}: {}", table.text());
    }
    let parquet = shop.write("x.parquet", cat("parquet").stdout);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(parquet).unwrap()).unwrap();
    let parquet: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let arrow = shop.write("x.arrow", cat("arrow").stdout);
    let arrow: Vec<_> =
        FileReader::try_new(std::fs::File::open(arrow).unwrap(), None).unwrap().map(Result::unwrap).collect();
    for batches in [&parquet, &arrow] {
        assert_eq!(batches.len(), 1);
        let shown = format!("{:?}", batches[0].columns());
        assert_eq!((batches[0].num_rows(), shown.contains("\"Ada\"")), (2, true), "{shown}");
    }
    assert_eq!(parquet[0].columns(), arrow[0].columns());
}

#[test]
fn json_is_an_array_also_of_nothing() {
    let shop = shop();
    assert_eq!(shop.ok(&["cat", "db", "customers", "--format", "json", "--limit", "0"]), "[]\n");
    assert_eq!(shop.json_lines(&["cat", "db", "customers"]).len(), 2);
}

#[test]
fn columns_and_limit_choose() {
    let shop = shop();
    assert_eq!(shop.ok(&["cat", "db", "customers", "--columns", "city,id", "-n", "1"]), "city,id\nRome,2\n");
    let error = shop.fails(1, &["cat", "db", "customers", "--columns", "town"]);
    assert!(error.contains("no column 'town'") && error.contains("city"), "{error}");
}

#[test]
fn spreadsheet_formulas_are_defused_on_request() {
    let shop = Scratch::new();
    shop.apply(
        "{\"ops\":[{\"op\":\"upsert\",\"table\":\"t\",\"key\":[\"id\"],\"rows\":[{\"id\":-1,\"=x\":\"=1+1\"},{\"id\":2,\"=x\":\"a=b\"}]}]}\n",
    );
    assert_eq!(shop.ok(&["cat", "db", "t"]), "id,=x\n-1,=1+1\n2,a=b\n");
    assert_eq!(shop.ok(&["cat", "db", "t", "--csv-safe"]), "id,'=x\n-1,'=1+1\n2,a=b\n");
    shop.fails(2, &["cat", "db", "t", "--csv-safe", "--format", "jsonl"]);
}

#[test]
fn a_row_is_found_by_its_key() {
    let shop = shop();
    assert_eq!(shop.json(&["get", "db", "customers", "2"]), json!({"id":2,"name":"Bob","city":"Rome"}));
    assert_eq!(
        shop.json(&["get", "db", "customers", "2", "--as-of", "1"]),
        json!({"id":2,"name":"Bob","city":null})
    );
    let text = shop.ok(&["get", "db", "customers", "2"]);
    assert!(text.contains("name") && text.contains("Rome"), "{text}");
    for key in ["bolt,-1", "[\"bolt\",-1]"] {
        let row = shop.ok(&["get", "db", "gold.parts", key, "--json"]);
        assert_eq!(row, "{\"kind\":\"bolt\",\"number\":-1,\"price\":1.50}\n", "{key}");
    }
    assert_eq!(shop.json(&["get", "db", "gold.parts", "[\"nut, brass\",2]"])["price"], Value::Null);
    shop.fails(3, &["get", "db", "customers", "1"]);
    shop.fails(3, &["get", "db", "customers", "-5"]);
    shop.fails(1, &["get", "db", "customers", "x"]);
    shop.fails(1, &["get", "db", "gold.parts", "bolt"]);
}

#[test]
fn resolve_prints_version_and_time() {
    let shop = shop();
    assert_eq!(shop.ok(&["resolve", "db", "2025-03-15"]), "3 2025-03-01T00:00:00.000000Z\n");
    let resolved = shop.json(&["resolve", "db", "2"]);
    assert_eq!(resolved, json!({"version":2,"time":"2025-02-01T00:00:00.000000Z","moving":false}));
    assert_eq!(shop.json(&["resolve", "db", "-1h"])["version"], 4);
    let start = shop.json(&["resolve", "db", "2024-12-31"]);
    assert_eq!((&start["version"], &start["time"]), (&json!(0), &Value::Null));
    assert_eq!(shop.json(&["resolve", "db", "latest"])["moving"], true);
}

#[test]
fn tables_are_those_of_the_version() {
    let shop = shop();
    let tables = shop.json_lines(&["tables", "db"]);
    let names: Vec<&Value> = tables.iter().map(|table| &table["table"]).collect();
    assert_eq!(names, ["customers", "gold.parts"]);
    assert_eq!(tables[0]["rows"], 2);
    assert_eq!(shop.json_lines(&["tables", "db", "--as-of", "2"]).len(), 1);
    let text = shop.ok(&["tables", "db"]);
    assert!(text.contains("customers") && text.contains("2025-03-01T00:00:00.000000Z"), "{text}");
    let ran = shop.run(&["tables", "db", "--as-of", "0"]);
    assert_eq!((ran.status, ran.text()), (0, ""));
}

#[test]
fn commands_name_what_is_nearest() {
    let shop = shop();
    shop.ok(&["tag", "db", "audit", "2", "-q"]);
    for (expression, nearest) in [
        ("9", "4"),
        ("latest~9", "0"),
        ("before:0", "0"),
        ("2999-01-01", "4"),
        ("audti", "audit"),
        ("tag:audti", "audit"),
        ("commit:00000000-0000-7000-8000-000000000000", "0"),
    ] {
        for words in [
            vec!["resolve", "db", expression],
            vec!["cat", "db", "customers", "--as-of", expression],
            vec!["diff", "db", "0", expression],
        ] {
            let error = shop.run(&[&words[..], &["--json"]].concat()).stderr;
            let error: Value = serde_json::from_str(&error).unwrap_or_else(|_| panic!("{words:?}: {error}"));
            assert_eq!(error["error"]["nearest"][0], nearest, "{words:?}: {error}");
            assert!(shop.fails(3, &words).contains(nearest), "{words:?}");
        }
    }
    let error = shop.fails(3, &["cat", "db", "gold.parts", "--as-of", "2", "-q"]);
    assert_eq!(error, "asof: version 2 has no table 'gold.parts'; version 4 has it\n");
    let error = shop.fails(3, &["cat", "db", "customers", "--as-of", "2019-01-01", "-q"]);
    assert_eq!(error, "asof: version 0 has no table 'customers'; version 1 has it\n");
    shop.ok(&["drop-table", "db", "customers"]);
    let error = shop.fails(3, &["cat", "db", "customers", "-q"]);
    assert_eq!(error, "asof: version 5 has no table 'customers'; version 4 has it\n");
}
