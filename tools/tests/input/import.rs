//! `import`: modes, keys, types, gates, bad rows, evolution.

use crate::cli::support::{Ran, Scratch};
use serde_json::{Value, json};

fn import(scratch: &Scratch, words: &[&str]) -> Value {
    scratch.json(&[&["import", "db"], words].concat())
}

fn fails(scratch: &Scratch, status: i32, words: &[&str]) -> String {
    if !scratch.path("db").exists() {
        scratch.ok(&["init", "db"]);
    }
    scratch.fails(status, &[&["import", "db"], words].concat())
}

fn cat(scratch: &Scratch, table: &str) -> String {
    scratch.ok(&["cat", "db", table])
}

fn counts(report: &Value) -> (u64, u64, u64) {
    let count = |name: &str| report[name].as_u64().unwrap();
    (count("inserted"), count("updated"), count("deleted"))
}

/// A table `t` with the rows 1 to 4.
fn four_rows() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("four.csv", "id,name\n1,a\n2,b\n3,c\n4,d\n");
    let report = import(&scratch, &["t", "four.csv", "--key", "id"]);
    assert_eq!(counts(&report), (4, 0, 0));
    assert_eq!((&report["version"], &report["created"]), (&json!(1), &json!(true)));
    scratch
}

fn version(scratch: &Scratch) -> u64 {
    scratch.json(&["resolve", "db", "latest"])["version"].as_u64().unwrap()
}

#[test]
fn upsert_is_the_default_with_a_key_and_keeps_other_rows() {
    let scratch = four_rows();
    scratch.write("more.csv", "name,id\nB,2\ne,5\n");
    let report = import(&scratch, &["t", "more.csv"]);
    assert_eq!(counts(&report), (1, 1, 0));
    assert_eq!(cat(&scratch, "t"), "id,name\n1,a\n2,B\n3,c\n4,d\n5,e\n");
}

#[test]
fn insert_fails_where_a_key_is_there_and_changes_nothing() {
    let scratch = four_rows();
    scratch.write("more.csv", "id,name\n5,e\n2,B\n");
    let error = fails(&scratch, 1, &["t", "more.csv", "--mode", "insert"]);
    assert!(error.contains("more.csv: line 3 (byte 12): ") && error.contains("key 2"), "{error}");
    assert_eq!(version(&scratch), 1);
    scratch.write("new.csv", "id,name\n5,e\n");
    assert_eq!(counts(&import(&scratch, &["t", "new.csv", "--mode", "insert"])), (1, 0, 0));
}

#[test]
fn tables_without_key_need_append_or_replace() {
    let scratch = Scratch::new();
    scratch.write("t.csv", "a,b\n1,x\n1,x\n,\"\"\n");
    let error = fails(&scratch, 1, &["t", "t.csv"]);
    assert!(error.contains("--key") && error.contains("append"), "{error}");
    assert_eq!(counts(&import(&scratch, &["t", "t.csv", "--mode", "append"])), (3, 0, 0));
    assert_eq!(counts(&import(&scratch, &["t", "t.csv", "--mode", "append"])), (3, 0, 0));
    assert_eq!(cat(&scratch, "t"), "a,b\n1,x\n1,x\n,\"\"\n1,x\n1,x\n,\"\"\n");
    assert!(fails(&scratch, 1, &["t", "t.csv", "--mode", "upsert"]).contains("no key"));
    scratch.write("less.csv", "a,b\n,\"\"\n1,x\n2,y\n");
    let report = import(&scratch, &["t", "less.csv", "--mode", "replace", "--max-deletes", "100%"]);
    assert_eq!(counts(&report), (1, 0, 4), "compared as a multiset");
    let keyed = four_rows();
    assert!(fails(&keyed, 1, &["t", "four.csv", "--mode", "append"]).contains("has a key"));
}

#[test]
fn replace_commits_only_what_differs() {
    let scratch = four_rows();
    scratch.write("next.csv", "name,id\na,1\nB,2\nd,4\ne,5\n");
    let report = import(&scratch, &["t", "next.csv", "--mode", "replace"]);
    assert_eq!(counts(&report), (1, 1, 1));
    assert_eq!(report["columns_added"], json!([]), "another order of columns is no change");
    assert_eq!(cat(&scratch, "t"), "id,name\n1,a\n2,B\n4,d\n5,e\n");
    let again = import(&scratch, &["t", "next.csv", "--mode", "replace"]);
    assert_eq!((&again["unchanged"], &again["version"]), (&json!(true), &json!(2)));
    assert_eq!(version(&scratch), 2);
    let forced = import(&scratch, &["t", "next.csv", "--mode", "replace", "--allow-empty"]);
    assert_eq!((counts(&forced), &forced["version"]), ((0, 0, 0), &json!(3)));
}

/// An import under an id is remembered also where it changed nothing: done again later, it must not undo what came
/// since.
#[test]
fn an_import_with_an_id_that_changes_nothing_is_not_done_again_later() {
    let scratch = four_rows();
    scratch.write("same.csv", "id,name\n1,a\n2,b\n3,c\n4,d\n");
    let same = ["t", "same.csv", "--mode", "replace", "--id", "monday"];
    let report = import(&scratch, &same);
    assert_eq!((counts(&report), &report["version"]), ((0, 0, 0), &json!(2)));
    scratch.write("next.csv", "id,name\n1,changed\n");
    import(&scratch, &["t", "next.csv"]);
    let again = import(&scratch, &same);
    assert_eq!((&again["version"], &again["repeated"]), (&json!(2), &json!(true)));
    assert_eq!(cat(&scratch, "t"), "id,name\n1,changed\n2,b\n3,c\n4,d\n");
}

#[test]
fn replace_drops_columns_that_vanish_and_adds_new_ones() {
    let scratch = four_rows();
    scratch.write("next.csv", "id,size\n1,5\n2,\n3,7\n4,8\n");
    let report = import(&scratch, &["t", "next.csv", "--mode", "replace"]);
    assert_eq!((&report["columns_added"], &report["columns_dropped"]), (&json!(["size"]), &json!(["name"])));
    assert_eq!(cat(&scratch, "t"), "id,size\n1,5\n2,\n3,7\n4,8\n");
    assert_eq!(scratch.ok(&["cat", "db", "t", "--as-of", "1"]), "id,name\n1,a\n2,b\n3,c\n4,d\n");
    scratch.write("nokey.csv", "size\n5\n");
    let error = fails(&scratch, 1, &["t", "nokey.csv", "--mode", "replace"]);
    assert!(error.contains("key column 'id'"), "{error}");
}

#[test]
fn renamed_columns_keep_their_rows() {
    let scratch = four_rows();
    scratch.write("next.csv", "id,title\n1,a\n2,b\n3,c\n4,D\n");
    let report = import(&scratch, &["t", "next.csv", "--mode", "replace", "--rename", "name=title"]);
    assert_eq!(counts(&report), (0, 1, 0));
    assert_eq!(report["columns_renamed"], json!({"name": "title"}));
    assert_eq!((&report["columns_added"], &report["columns_dropped"]), (&json!([]), &json!([])));
}

#[test]
fn another_key_with_replace_rekeys() {
    let scratch = four_rows();
    let error = fails(&scratch, 1, &["t", "four.csv", "--key", "name"]);
    assert!(error.contains("--mode replace"), "{error}");
    let report = import(&scratch, &["t", "four.csv", "--key", "name", "--mode", "replace"]);
    assert_eq!(report["rekeyed"], json!(true));
    assert_eq!(counts(&report), (4, 0, 4));
    assert_eq!(scratch.ok(&["get", "db", "t", "c"]).matches('3').count(), 1);
    assert_eq!(
        counts(&import(&scratch, &["t", "four.csv", "--key", "name"])),
        (0, 4, 0),
        "the same key is no change"
    );
}

#[test]
fn a_replacement_that_deletes_too_much_is_refused() {
    let scratch = four_rows();
    scratch.write("one.csv", "id,name\n1,a\n");
    let error = fails(&scratch, 10, &["t", "one.csv", "--mode", "replace"]);
    assert!(error.contains("3 of 4 rows") && error.contains("50%"), "{error}");
    assert_eq!(version(&scratch), 1);
    scratch.write("two.csv", "id,name\n1,a\n2,b\n");
    fails(&scratch, 10, &["t", "two.csv", "--mode", "replace", "--max-deletes", "1"]);
    fails(&scratch, 10, &["t", "two.csv", "--mode", "replace", "--max-deletes", "49.9%"]);
    assert_eq!(
        counts(&import(&scratch, &["t", "two.csv", "--mode", "replace"])),
        (0, 0, 2),
        "half is not more than half"
    );
    assert_eq!(
        counts(&import(&scratch, &["t", "one.csv", "--mode", "replace", "--max-deletes", "1"])),
        (0, 0, 1)
    );
    scratch.write("none.csv", "id,name\n");
    let error = scratch.run(&["import", "db", "t", "none.csv", "--mode", "replace", "--json"]);
    assert_eq!(error.status, 10);
    let error: Value = serde_json::from_str(&error.stderr).unwrap();
    assert_eq!(error["error"]["code"], "refused");
    import(&scratch, &["t", "none.csv", "--mode", "replace", "--max-deletes", "100%"]);
    assert_eq!(
        counts(&import(&scratch, &["t", "four.csv", "--mode", "replace"])),
        (4, 0, 0),
        "an empty table has no gate"
    );
}

#[test]
fn a_misfit_names_line_column_and_value() {
    let scratch = four_rows();
    scratch.write("bad.csv", "id,name\n5,e\nsix,f\n");
    let error = fails(&scratch, 1, &["t", "bad.csv"]);
    assert!(error.contains("bad.csv: line 3 (byte 12), column 'id': 'six'"), "{error}");
    scratch.write("null.csv", "id,name\n,e\n");
    let error = fails(&scratch, 1, &["t", "null.csv"]);
    assert!(error.contains("null.csv: line 2 (byte 8), column 'id'") && error.contains("null"), "{error}");
    scratch.write("unknown.csv", "id,nam\n5,e\n");
    let error = fails(&scratch, 1, &["t", "unknown.csv"]);
    assert!(error.contains("'nam'") && error.contains("id, name") && error.contains("--evolve"), "{error}");
    scratch.write("unknown.jsonl", "{\"id\":5}\n{\"id\":6,\"nam\":1}\n");
    let error = fails(&scratch, 1, &["t", "unknown.jsonl"]);
    assert!(error.contains("unknown.jsonl: line 2 (byte 9), column 'nam'"), "{error}");
    assert_eq!(version(&scratch), 1);
}

#[test]
fn bad_rows_can_be_skipped_into_a_file_of_rejects() {
    let scratch = four_rows();
    scratch.write("bad.csv", "id,name\n5,e\nsix,f\n7\n,\"x,\ny\"\n8,h\n");
    assert_eq!(scratch.run(&["import", "db", "t", "bad.csv", "--rejects", "r.csv"]).status, 2);
    let words = ["t", "bad.csv", "--on-bad-row", "skip", "--rejects", "r.csv"];
    let report = import(&scratch, &words);
    assert_eq!((counts(&report), &report["rows_skipped"]), ((2, 0, 0), &json!(3)));
    assert_eq!(cat(&scratch, "t"), "id,name\n1,a\n2,b\n3,c\n4,d\n5,e\n8,h\n");
    let rejects = std::fs::read_to_string(scratch.path("r.csv")).unwrap();
    let mut lines = rejects.lines();
    assert_eq!(lines.next(), Some("file,line,byte,column,error,record"));
    assert_eq!(lines.next(), Some("bad.csv,4,18,,\"1 cell, where 2 belong\",7"), "{rejects}");
    assert!(
        lines.next().unwrap().starts_with("bad.csv,3,12,id,'six' is not an int64,\"six,f\""),
        "{rejects}"
    );
    assert!(rejects.ends_with("bad.csv,5,20,id,the key column is null,\",\"\"x,\ny\"\"\"\n"), "{rejects}");
    scratch.write("bad.jsonl", "{\"id\":9}\n{\"id\":\n{\"id\":\"x\"}\n{\"id\":10,\"z\":1}\n");
    let report = import(&scratch, &["t", "bad.jsonl", "--on-bad-row", "skip"]);
    assert_eq!((counts(&report), &report["rows_skipped"]), ((1, 0, 0), &json!(3)));
}

#[test]
fn rows_of_one_key_are_an_error_unless_one_is_chosen() {
    let scratch = Scratch::new();
    scratch.write("a.csv", "id,v\n1,first\n2,x\n1,second\n");
    scratch.write("b.csv", "id,v\n1,third\n");
    let error = fails(&scratch, 1, &["t", "a.csv", "b.csv", "--key", "id"]);
    assert!(
        error.contains("a.csv: line 4 (byte 17): key id=1 is there already in line 2 (byte 5)"),
        "{error}"
    );
    scratch.write("c.csv", "id,v\n2,x\n1,first\n");
    let error = fails(&scratch, 1, &["t", "c.csv", "b.csv", "--key", "id"]);
    assert!(error.contains("b.csv: line 2") && error.contains("line 3 (byte 9) of c.csv"), "{error}");
    for mode in ["upsert", "insert", "replace"] {
        let words = |policy| ["t", "a.csv", "b.csv", "--key", "id", "--mode", mode, "--on-duplicate", policy];
        let scratch = &scratch;
        let first = import(scratch, &words("first"));
        assert_eq!((counts(&first), &first["duplicates_skipped"]), ((2, 0, 0), &json!(2)), "{mode}");
        assert_eq!(cat(scratch, "t"), "id,v\n1,first\n2,x\n", "{mode}");
        scratch.ok(&["drop-table", "db", "t"]);
        assert_eq!(counts(&import(scratch, &words("last"))), (2, 0, 0), "{mode}");
        assert_eq!(cat(scratch, "t"), "id,v\n1,third\n2,x\n", "{mode}");
        scratch.ok(&["drop-table", "db", "t"]);
    }
}

#[test]
fn types_are_inferred_once_or_given() {
    let scratch = Scratch::new();
    scratch.write(
        "t.csv",
        "id,code,price,day,at,ok,none\n1,007,1.5,2024-02-29,2024-01-01T00:00:00Z,true,\n2,8,2,,,,\n",
    );
    import(&scratch, &["inferred", "t.csv", "--key", "id"]);
    let schema = scratch.ok(&["schema", "db", "inferred"]);
    for column in [
        "id int64 not null",
        "code text",
        "price float64",
        "day date",
        "at timestamp(us,UTC)",
        "ok bool",
        "none text",
    ] {
        assert!(schema.contains(column), "{column}: {schema}");
    }
    import(&scratch, &["texts", "t.csv", "--key", "id", "--types", "string"]);
    assert_eq!(cat(&scratch, "texts"), std::fs::read_to_string(scratch.path("t.csv")).unwrap());
    import(&scratch, &["given", "t.csv", "--key", "id", "--types", "id:int16,price:decimal(9,2)"]);
    let schema = scratch.ok(&["schema", "db", "given"]);
    assert!(
        schema.contains("id int16 not null")
            && schema.contains("price decimal(9,2)")
            && schema.contains("day date"),
        "{schema}"
    );
    assert!(fails(&scratch, 1, &["x", "t.csv", "--key", "id", "--types", "nam:text"]).contains("'nam'"));
    assert!(
        fails(&scratch, 1, &["given", "t.csv", "--types", "id:int64"]).contains("--types is for new columns")
    );
    assert_eq!(scratch.run(&["import", "db", "x", "t.csv", "--types", "id:what"]).status, 2);
}

#[test]
fn evolve_adds_and_widens_on_record() {
    let scratch = Scratch::new();
    scratch.ok(&[
        "create-table",
        "db",
        "t",
        "id int8, n uint16, d date, p decimal(4,2), s text, primary key (id)",
    ]);
    scratch.write("t.csv", "id,n,d,p,s,extra\n1000,70000,2024-01-01T10:00:00,123.45,x,5\n");
    let error = fails(&scratch, 1, &["t", "t.csv"]);
    assert!(error.contains("'extra'"), "{error}");
    let report = import(&scratch, &["t", "t.csv", "--evolve"]);
    assert_eq!(report["columns_added"], json!(["extra"]));
    assert_eq!(
        report["columns_widened"],
        json!({"id": "int16", "n": "uint32", "d": "timestamp(us)", "p": "decimal(5,2)"})
    );
    assert_eq!(cat(&scratch, "t"), "id,n,d,p,s,extra\n1000,70000,2024-01-01T10:00:00.000000,123.45,x,5\n");
    scratch.write("bad.csv", "id,n\n1,x\n");
    assert!(fails(&scratch, 1, &["t", "bad.csv", "--evolve"]).contains("line 2"));
}

#[test]
fn json_gets_defaults_where_members_are_absent() {
    let scratch = Scratch::new();
    scratch.ok(&["create-table", "db", "t", "id int64, n int64 default 7, primary key (id)"]);
    scratch.write("t.json", "[{\"id\":1},{\"id\":2,\"n\":null},\n{\"id\":3,\"n\":4}]");
    import(&scratch, &["t", "t.json"]);
    assert_eq!(cat(&scratch, "t"), "id,n\n1,7\n2,\n3,4\n");
    scratch.write("ids.csv", "id\n4\n");
    import(&scratch, &["t", "ids.csv"]);
    assert!(cat(&scratch, "t").ends_with("4,7\n"));
}

#[test]
fn what_it_writes_it_reads_in_every_format() {
    let scratch = Scratch::new();
    let definition = "id int64, t text, f float64, d decimal(9,2), b binary, day date, at timestamp(us,UTC), l list(int64), s struct(x text), primary key (id)";
    for table in ["t", "csv", "jsonl", "parquet", "arrow"] {
        scratch.ok(&["create-table", "db", table, definition]);
    }
    scratch.write(
        "t.jsonl",
        concat!(
            "{\"id\":1,\"t\":\"\",\"f\":\"NaN\",\"d\":1.5,\"b\":\"00ff\",\"day\":\"2024-02-29\",\"at\":\"2024-01-01T00:00:00.5Z\",\"l\":[1,null],\"s\":{\"x\":\"a,\\\"\\n\"}}\n",
            "{\"id\":-2,\"t\":null,\"f\":-0.0,\"l\":[]}\n",
            "{\"id\":3,\"t\":\"NULL\",\"f\":1e300,\"s\":{\"x\":null}}\n",
        ),
    );
    import(&scratch, &["t", "t.jsonl"]);
    let expected = cat(&scratch, "t");
    for format in ["csv", "jsonl", "parquet", "arrow"] {
        scratch.ok(&["cat", "db", "t", "--format", format, "-o", &format!("out.{format}")]);
        import(&scratch, &[format, &format!("out.{format}")]);
        assert_eq!(cat(&scratch, format), expected, "{format}");
        let fresh = format!("fresh_{format}");
        import(&scratch, &[&fresh, &format!("out.{format}"), "--key", "id"]);
        if matches!(format, "parquet" | "arrow") {
            assert_eq!(cat(&scratch, &fresh), expected, "{format}");
            assert_eq!(scratch.ok(&["schema", "db", &fresh]), scratch.ok(&["schema", "db", "t"]), "{format}");
        }
    }
}

#[test]
fn one_column_tables_read_their_own_null() {
    let scratch = Scratch::new();
    scratch.write("t.csv", "a\nx\nNULL\n\"NULL\"\n\"\"\n");
    import(&scratch, &["t", "t.csv", "--mode", "append"]);
    assert_eq!(cat(&scratch, "t"), "a\nx\nNULL\n\"NULL\"\n\"\"\n");
}

#[test]
fn reading_options_reach_the_reader() {
    let scratch = Scratch::new();
    scratch.write("t.txt", b"note\n\xe9;NA;1\n\"\";-;2\n");
    let words = [
        "--delimiter",
        ";",
        "--no-header",
        "--skip",
        "1",
        "--encoding",
        "latin1",
        "--null",
        "NA",
        "--null",
        "-",
    ];
    import(&scratch, &[&["t", "t.txt", "--mode", "append"][..], &words].concat());
    assert_eq!(cat(&scratch, "t"), "column1,column2,column3\né,,1\n\"\",,2\n");
    import(&scratch, &[&["t", "t.txt", "--mode", "append"][..], &words].concat());
    let ran = scratch
        .run_with_input(&["import", "db", "j", "-", "--key", "id", "--json"], "{\"id\":1}\n{\"id\":2}\n");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(cat(&scratch, "j"), "id\n1\n2\n");
}

#[test]
fn the_same_id_gets_the_first_answer() {
    let scratch = four_rows();
    scratch.write("more.csv", "id,name,size\n5,e,1\n");
    let words = ["t", "more.csv", "--mode", "insert", "--evolve", "--id", "load-7"];
    let first = import(&scratch, &words);
    assert_eq!((&first["version"], &first["repeated"]), (&json!(2), &json!(false)));
    let again = import(&scratch, &words);
    assert_eq!((&again["version"], &again["repeated"]), (&json!(2), &json!(true)));
    for field in ["time", "inserted", "updated", "deleted", "columns_added", "columns_dropped"] {
        assert_eq!(first[field], again[field], "{field}");
    }
    assert_eq!(version(&scratch), 2);
    scratch.write("more.csv", "id,name,size\n6,f,1\n");
    let error = fails(&scratch, 1, &words);
    assert!(error.contains("load-7") && error.contains("other content"), "{error}");
}

#[test]
fn what_is_said_of_the_commit_is_kept() {
    let scratch = Scratch::new();
    scratch.write("t.csv", "id\n1\n");
    let words = [
        "t",
        "t.csv",
        "--key",
        "id",
        "--message",
        "why",
        "--author",
        "who",
        "--meta",
        "a=b=c",
        "--commit-time",
        "2020-05-01T12:00:00Z",
    ];
    let report = import(&scratch, &words);
    assert_eq!(report["time"], "2020-05-01T12:00:00.000000Z");
    let commit = scratch.json(&["show", "db", "1"]);
    assert_eq!(
        (&commit["message"], &commit["author"], &commit["operation"]),
        (&json!("why"), &json!("who"), &json!("import"))
    );
    assert_eq!(commit["meta"], json!({"a": "b=c"}));
    assert_eq!(commit["parameters"]["files"], "t.csv");
    fails(&scratch, 1, &["t", "t.csv", "--commit-time", "2020-05-01T12:00:00Z"]);
    fails(&scratch, 2, &["t", "t.csv", "--commit-time", "soon"]);
    assert_eq!(version(&scratch), 1);
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let scratch = four_rows();
    scratch.write("next.csv", "id,size\n1,5\n2,6\n");
    let report = import(&scratch, &["t", "next.csv", "--mode", "replace", "--dry-run"]);
    assert_eq!(
        (counts(&report), &report["version"], &report["dry_run"]),
        ((0, 2, 2), &Value::Null, &json!(true))
    );
    assert_eq!(report["columns_added"], json!(["size"]));
    assert_eq!(version(&scratch), 1);
    let ran: Ran = scratch.run(&["import", "nowhere", "t", "next.csv", "--key", "id", "--dry-run"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(ran.text().starts_with("dry run: t: 2 inserted"), "{}", ran.text());
    assert!(!scratch.path("nowhere").exists());
}

#[test]
fn a_missing_file_makes_no_database() {
    let scratch = Scratch::new();
    let error = scratch.fails(1, &["import", "db", "t", "missing.csv", "--key", "id"]);
    assert!(error.contains("missing.csv"), "{error}");
    assert!(!scratch.path("db").exists());
}

#[test]
fn an_import_waits_for_nobody_and_begins_again_after_a_conflict() {
    let scratch = four_rows();
    let mut files = Vec::new();
    for writer in 0..4 {
        let name = format!("w{writer}.csv");
        scratch.write(&name, format!("id,name\n1,w{writer}\n{},x\n", 100 + writer));
        files.push(name);
    }
    let children: Vec<_> =
        files.iter().map(|file| scratch.spawn_piped(&["import", "db", "t", file, "--wait", "60s"])).collect();
    for child in children {
        let ran = child.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    assert_eq!(version(&scratch), 5);
    assert_eq!(cat(&scratch, "t").lines().count(), 9);
}

#[test]
fn a_value_that_does_not_fit_comes_with_a_way_out_that_works() {
    let scratch = Scratch::new();
    scratch.write("a.csv", "id,n\n1,5\n2,6\n");
    scratch.write("b.csv", "id,n\n1,5.5\n2,6\n");
    let ran = scratch.run(&["import", "db", "t", "a.csv", "--key", "id"]);
    assert!(
        ran.stderr.contains("schema of t: id int64 not null, n int64, primary key (id)\n"),
        "{}",
        ran.stderr
    );
    let way_out = "asof alter-table DB t 'drop n, add n float64', then import --mode replace";
    let error = scratch.fails(1, &["import", "db", "t", "b.csv"]);
    assert!(error.contains("'5.5' is not an int64") && error.contains(way_out), "{error}");
    let error = scratch.fails(1, &["import", "db", "t", "b.csv", "--types", "n:float64"]);
    assert!(error.contains("--types is for new columns") && error.contains(way_out), "{error}");
    scratch.ok(&["alter-table", "db", "t", "drop n, add n float64"]);
    scratch.ok(&["import", "db", "t", "b.csv", "--mode", "replace"]);
    assert_eq!(scratch.ok(&["cat", "db", "t"]), "id,n\n1,5.5\n2,6.0\n");
    assert_eq!(scratch.ok(&["cat", "db", "t", "--as-of", "1"]), "id,n\n1,5\n2,6\n");
    scratch.ok(&["create-table", "db", "narrow", "id int64, n int8, primary key (id)"]);
    scratch.write("c.csv", "id,n\n1,300\n");
    let error = scratch.fails(1, &["import", "db", "narrow", "c.csv"]);
    assert!(error.contains("--evolve widens the column to int16"), "{error}");
    scratch.ok(&["import", "db", "narrow", "c.csv", "--evolve"]);
}

/// Many rows for an empty table go straight to data files; what is checked and reported is the same.
#[test]
fn many_rows_for_an_empty_table_go_straight_to_data_files() {
    let scratch = Scratch::new();
    const ROWS: u64 = 60_000;
    let line = |nth: u64| format!("{},name {}\n", nth * 7_919 % ROWS, nth * 7_919 % ROWS);
    let rows: String = (0..ROWS).map(line).collect();
    scratch.write("many.csv", format!("id,name\n{rows}"));
    let report = import(&scratch, &["t", "many.csv", "--key", "id"]);
    assert_eq!(counts(&report), (ROWS, 0, 0));
    assert_eq!((&report["version"], &report["created"]), (&json!(1), &json!(true)));
    let info = scratch.json(&["info", "db"]);
    assert_eq!(info["checkpoint_version"], json!(0), "no checkpoint was needed");
    assert_eq!(info["row_versions"], json!(ROWS), "all rows are in data files");
    let sorted: String = (0..ROWS).map(|id| format!("{id},name {id}\n")).collect();
    assert!(cat(&scratch, "t") == format!("id,name\n{sorted}"));
    assert_eq!(scratch.json(&["verify", "db"])["findings"], json!([]));
    // A key that comes twice is told with both lines, and nothing is made.
    scratch.write("twice.csv", format!("id,name\n{rows}7,again\n"));
    let error = fails(&scratch, 1, &["u", "twice.csv", "--key", "id"]);
    assert!(
        error.contains("twice.csv: line 60002") && error.contains("key id=7 is there already"),
        "{error}"
    );
    assert_eq!(version(&scratch), 1);
    // The same request again is answered, not committed, under an id.
    let words = ["w", "many.csv", "--key", "id", "--id", "load-1"];
    assert_eq!(import(&scratch, &words)["version"], json!(2));
    assert_eq!(import(&scratch, &words)["version"], json!(2));
    assert_eq!(version(&scratch), 2);
}
