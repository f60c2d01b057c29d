//! Which columns and types inputs have.

use asof_tools::input::reader::{Input, InputOptions};
use asof_tools::input::source::Source;
use asof_tools::input::survey::Survey;

fn survey(files: &[(&str, &str)]) -> Vec<String> {
    let mut survey = Survey::default();
    for (name, text) in files {
        let input = Input::new(Source::memory(*name, text.as_bytes()), InputOptions::default()).unwrap();
        survey.add(&input, &|_| true, &mut |row| Err(row.to_error(name))).unwrap();
    }
    survey.names().iter().map(|name| format!("{name} {}", survey.column_type(name).unwrap())).collect()
}

fn json_type(values: &str) -> String {
    let lines: Vec<String> = values.split('|').map(|value| format!("{{\"a\":{value}}}")).collect();
    survey(&[("t.jsonl", &lines.join("\n"))])[0].strip_prefix("a ").unwrap().to_string()
}

#[test]
fn the_whole_file_counts() {
    let mut text = "id,code,price,day,empty,flag\n".to_string();
    for row in 0..30_000 {
        text.push_str(&format!("{row},{row},{row}.5,2024-01-01,,true\n"));
    }
    assert_eq!(
        survey(&[("t.csv", &text)]),
        ["id int64", "code int64", "price float64", "day date", "empty text", "flag bool"]
    );
    text.push_str("30000,007,1,2024-02-30,,maybe\n");
    assert_eq!(
        survey(&[("t.csv", &text)]),
        ["id int64", "code text", "price float64", "day text", "empty text", "flag text"]
    );
}

#[test]
fn quoted_cells_count_by_their_text_and_the_empty_string_is_text() {
    assert_eq!(survey(&[("t.csv", "a,b\n\"1\",\"\"\n\"2\",\n")]), ["a int64", "b text"]);
}

#[test]
fn files_are_put_together() {
    assert_eq!(
        survey(&[("1.csv", "a,b\n1,1\n"), ("2.csv", "b,c\n1.5,x\n")]),
        ["a int64", "b float64", "c text"]
    );
    assert_eq!(survey(&[("1.csv", "a\n1\n"), ("2.jsonl", "{\"a\":2.5}")]), ["a float64"]);
    assert_eq!(survey(&[("1.csv", "a\n1\n"), ("2.jsonl", "{\"a\":\"x\"}")]), ["a text"]);
    assert_eq!(survey(&[("1.csv", "a\n"), ("2.jsonl", "{\"a\":2}")]), ["a int64"]);
}

#[test]
fn json_values_have_the_types_they_show() {
    for (values, expected) in [
        ("1|-2|null", "int64"),
        ("18446744073709551615|1", "uint64"),
        ("18446744073709551616|1", "decimal(38,0)"),
        ("1.0|1", "float64"),
        ("9007199254740993|0.5", "float64"),
        ("true|false", "bool"),
        ("\"007\"|\"7\"", "text"),
        ("\"2024-01-01\"|null", "date"),
        ("\"2024-01-01T00:00:00Z\"", "timestamp(us,UTC)"),
        ("1|\"NaN\"|\"-inf\"", "float64"),
        ("\"NaN\"", "text"),
        ("\"NaN\"|\"x\"|1", "text"),
        ("\"true\"", "text"),
        ("null", "text"),
        ("1|\"x\"", "text"),
        ("1|true", "text"),
        ("[1]|[2.5,null]|[]", "list(float64)"),
        ("[]", "list(text)"),
        ("[[1]]", "list(list(int64))"),
        ("{\"x\":1}|{\"y\":[\"a\"]}", "struct(x int64, y list(text))"),
        ("{}", "text"),
        ("[1]|1", "text"),
    ] {
        assert_eq!(json_type(values), expected, "{values}");
    }
}

#[test]
fn columns_come_in_the_order_of_their_first_appearance() {
    assert_eq!(survey(&[("t.jsonl", "{\"b\":1}\n{\"a\":1,\"b\":2}\n")]), ["b int64", "a int64"]);
}
