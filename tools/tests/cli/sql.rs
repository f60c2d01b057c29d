//! `sql`, and `cat --where`: the ways in and out; what statements mean is tested where they are run.

use super::support::*;
use serde_json::json;

#[test]
fn a_query_reads_the_version_that_it_names() {
    let shop = shop();
    let count = |sql: &str| shop.ok(&["sql", "db", sql, "-q"]);
    assert_eq!(
        count("SELECT count(*) AS n FROM customers VERSION AS OF 1"),
        count("SELECT count(*) AS n FROM \"customers@1\"")
    );
    let newest = shop.ok(&["sql", "db", "SELECT * FROM customers ORDER BY 1", "-q"]);
    assert_eq!(newest, shop.ok(&["cat", "db", "customers", "-q"]));
    let then = shop.ok(&["sql", "db", "SELECT * FROM customers ORDER BY 1", "--as-of", "2", "-q"]);
    assert_eq!(then, CUSTOMERS_2);
    assert_ne!(then, newest);
}

#[test]
fn results_are_written_in_every_format() {
    let shop = shop();
    let query = "SELECT 1 AS a, 'x,y' AS b";
    assert_eq!(shop.ok(&["sql", "db", query]), "a,b\n1,\"x,y\"\n");
    assert_eq!(shop.ok(&["sql", "db", query, "--format", "jsonl"]), "{\"a\":1,\"b\":\"x,y\"}\n");
    assert_eq!(shop.json_lines(&["sql", "db", query]), [json!({"a": 1, "b": "x,y"})]);
    assert!(shop.ok(&["sql", "db", query, "--format", "table"]).contains("x,y"));
    shop.ok(&["sql", "db", query, "-o", "out.parquet"]);
    assert_eq!(&std::fs::read(shop.path("out.parquet")).unwrap()[..4], b"PAR1");
    shop.fails(2, &["sql", "db", "SELECT 1; SELECT 2", "-o", "two.csv"]);
}

#[test]
fn a_statement_that_changes_something_is_a_commit_with_what_is_said_of_it() {
    let shop = shop();
    let made =
        "CREATE TABLE notes (id INT PRIMARY KEY, note TEXT CHECK (note <> '')) COMMENT 'for the audit'";
    assert_eq!(shop.json_lines(&["sql", "db", made, "--author", "Ada"])[0]["version"], 5);
    let log = shop.json_lines(&["log", "db", "-n", "1"]);
    assert_eq!((&log[0]["message"], &log[0]["author"]), (&json!("for the audit"), &json!("Ada")));
    assert_eq!(log[0]["parameters"]["statement"], made);
    let both = "BEGIN; INSERT INTO notes VALUES (1, 'a'); UPDATE notes SET note = 'b'; COMMIT COMMENT 'both'";
    let lines = shop.json_lines(&["sql", "db", both]);
    assert_eq!(lines.last().unwrap()["version"], 6);
    assert_eq!(shop.ok(&["cat", "db", "notes", "-q"]), "id,note\n1,b\n");
    // Nothing is half done.
    shop.fails(1, &["sql", "db", "BEGIN; INSERT INTO notes VALUES (2, 'c')", "-q"]);
    shop.fails(1, &["sql", "db", "INSERT INTO notes VALUES (3, 'd'), (1, 'e')"]);
    shop.fails(1, &["sql", "db", "UPDATE notes SET note = 'x'", "--as-of", "5"]);
    assert_eq!(shop.ok(&["cat", "db", "notes", "-q"]), "id,note\n1,b\n");
}

#[test]
fn checks_hold_for_every_way_in() {
    let shop = shop();
    shop.ok(&[
        "create-table",
        "db",
        "prices",
        "id int64, price float64, primary key (id), constraint positive check (price > 0)",
        "-q",
    ]);
    let definition = shop.ok(&["schema", "db", "prices"]);
    assert!(definition.contains("constraint positive check (price > 0)"), "{definition}");
    shop.write("bad.csv", "id,price\n1,-1\n");
    let error = shop.fails(1, &["import", "db", "prices", "bad.csv"]);
    assert!(error.contains("'positive'"), "{error}");
    shop.write("good.csv", "id,price\n1,1.5\n2,\n");
    shop.ok(&["import", "db", "prices", "good.csv", "-q"]);
    shop.fails(1, &["sql", "db", "UPDATE prices SET price = 0"]);
    shop.fails(1, &["alter-table", "db", "prices", "add constraint small check (price < 1)"]);
    shop.ok(&["alter-table", "db", "prices", "drop constraint positive", "-q"]);
    shop.ok(&["import", "db", "prices", "bad.csv", "-q"]);
}

#[test]
fn errors_tell_the_place_and_the_status() {
    let shop = shop();
    let error = shop.fails(1, &["sql", "db", "SELECT *\nFROM customers WHERE nosuch = 1"]);
    assert!(error.contains("line 2, column 22"), "{error}");
    shop.fails(3, &["sql", "db", "SELECT * FROM nosuch"]);
    shop.fails(3, &["sql", "db", "SELECT * FROM customers VERSION AS OF 99"]);
    shop.fails(1, &["sql", "db", "COPY customers TO 'x.csv'"]);
    assert!(!shop.path("x.csv").exists());
    shop.ok(&["sql", "db", "COPY customers TO 'x.csv'", "--allow-files", "-q"]);
    assert!(shop.path("x.csv").exists());
}

#[test]
fn statements_come_from_files_and_standard_input_too() {
    let shop = shop();
    shop.write("q.sql", "-- two\nSELECT 1 AS a;\nSELECT 2 AS b;\n");
    assert_eq!(shop.ok(&["sql", "db", "-f", "q.sql"]), "a\n1\nb\n2\n");
    shop.fails(2, &["sql", "db", "SELECT 1", "-f", "q.sql"]);
}

#[test]
fn cat_shows_the_rows_that_a_condition_holds_for() {
    let shop = shop();
    let all = shop.ok(&["cat", "db", "customers", "-q"]);
    let (header, rows) = all.split_once('\n').unwrap();
    let first = rows.lines().next().unwrap();
    let key = first.split(',').next().unwrap();
    let column = header.split(',').next().unwrap();
    let simple = format!("{column} = {key}");
    assert_eq!(
        shop.ok(&["cat", "db", "customers", "-q", "--where", &simple]),
        format!("{header}\n{first}\n")
    );
    let computed = format!("{column} + 0 = {key}");
    assert_eq!(
        shop.ok(&["cat", "db", "customers", "-q", "--where", &computed]),
        format!("{header}\n{first}\n")
    );
    assert_eq!(shop.ok(&["cat", "db", "customers", "-q", "--where", "1 = 1"]), all);
    assert_eq!(
        shop.ok(&["cat", "db", "customers", "-q", "--where", "abs(1) = 1", "--limit", "1"]),
        format!("{header}\n{first}\n")
    );
    shop.fails(1, &["cat", "db", "customers", "--where", "nosuch = 1"]);
}
