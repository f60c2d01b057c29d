use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<AsOf> {
    AsOf::parse(text, &TimeZone::UTC)
}

fn in_zone(text: &str, zone: &str) -> String {
    match AsOf::parse(text, &TimeZone::get(zone).unwrap()) {
        Ok(asof) => asof.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn check_time(text: &str, expected: &str) {
    match parse(text) {
        Ok(AsOf::Time(time)) => assert_eq!(format_time(time), expected, "{text}"),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn versions_and_latest() {
    assert_eq!(parse("42").unwrap(), AsOf::Version(Version(42)));
    assert_eq!(parse(" 0 ").unwrap(), AsOf::Version(Version(0)));
    assert_eq!(parse("2025").unwrap(), AsOf::Version(Version(2025)));
    assert_eq!(parse("latest").unwrap(), AsOf::Latest { back: 0 });
    assert_eq!(parse("latest~3").unwrap(), AsOf::Latest { back: 3 });
    for text in ["99999999999999999999", "latest~", "latest~x", "latest~-1", "latest~+1", "", " "] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn tags_by_prefix_and_bare() {
    for (text, name) in [
        ("tag:audit-q3", "audit-q3"),
        ("audit-q3", "audit-q3"),
        ("tag:42", "42"),
        ("2025-q3", "2025-q3"),
        ("2025-08-26-release", "2025-08-26-release"),
        ("v1.2", "v1.2"),
        ("Ärger", "Ärger"),
        ("hourly", "hourly"),
        ("ago", "ago"),
        ("Paris", "Paris"),
    ] {
        assert_eq!(parse(text).unwrap(), AsOf::Tag(name.into()), "{text}");
    }
    for text in [
        "tag:",
        "tag:a/b",
        "a/b",
        "a:b",
        "../x",
        "foo~2",
        "eod:x",
        "bar..baz",
        "tag: a",
        "a\nb",
        "nonsense:1",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn instants_in_every_form() {
    for (text, expected) in [
        ("2025-08-26T10:00:00Z", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26t10:00:00z", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26T10:00:00.123456Z", "2025-08-26T10:00:00.123456Z"),
        ("2025-08-26T10:00:00.123456789Z", "2025-08-26T10:00:00.123456Z"),
        ("2025-08-26T10:00:00+02:00", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10:00+0200", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26 10:00:00-05:30", "2025-08-26T15:30:00.000000Z"),
        ("2025-08-26T10:00-05:00", "2025-08-26T15:00:00.000000Z"),
        ("2025-08-26T10:00", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26 10:00", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26T10:00:30", "2025-08-26T10:00:30.000000Z"),
        ("2025-08-26T10:00:30.5", "2025-08-26T10:00:30.500000Z"),
        ("2025-08-26", "2025-08-26T00:00:00.000000Z"),
        ("2025-08", "2025-08-01T00:00:00.000000Z"),
        // Names of files.
        ("2025-08-26T10-00", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26T10-00-30", "2025-08-26T10:00:30.000000Z"),
        ("2025-08-26T10-00-30.25", "2025-08-26T10:00:30.250000Z"),
        ("2025-08-26T10-00-00Z", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26T10-00Z", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26T10-00+02-00", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10-00-30+02-00", "2025-08-26T08:00:30.000000Z"),
        ("2025-08-26T10-00-05-00", "2025-08-26T15:00:00.000000Z"),
        ("2025-08-26T10-00-30-05-00", "2025-08-26T15:00:30.000000Z"),
        ("2025-08-26T10-00-30.5-05-00", "2025-08-26T15:00:30.500000Z"),
        ("2025-08-26T10:00[Europe/Paris]", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10:00[Europe,Paris]", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10-00-00[Europe,Paris]", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10:00+02:00[Europe/Paris]", "2025-08-26T08:00:00.000000Z"),
        ("2025-08-26T10:00Z[Europe/Paris]", "2025-08-26T10:00:00.000000Z"),
        ("2025-08-26[Europe/Paris]", "2025-08-25T22:00:00.000000Z"),
        ("2025-08-26T10:00[+02:00]", "2025-08-26T08:00:00.000000Z"),
        ("@1756202400", "2025-08-26T10:00:00.000000Z"),
        ("@1756202400123ms", "2025-08-26T10:00:00.123000Z"),
        ("@1756202400123456us", "2025-08-26T10:00:00.123456Z"),
        ("@1756202400.5", "2025-08-26T10:00:00.500000Z"),
        ("@-1", "1969-12-31T23:59:59.000000Z"),
        ("@-0.0000001", "1969-12-31T23:59:59.999999Z"),
        ("@0", "1970-01-01T00:00:00.000000Z"),
    ] {
        check_time(text, expected);
    }
    for text in [
        "2025-13",
        "2025-00-01",
        "2025-02-30",
        "2025-08-26T",
        "2025-08-26T10",
        "2025-08-26T24:00",
        "2025-08-26T10:60",
        "2025-08-26T10:00:60",
        "2025-08-26T10-00:30",
        "2025-08-26T10:00:30.",
        "2025-08-26T10:00+25:00",
        "2025-08-26Z",
        "2025-08-26T10:00+02",
        "2025-08-26T10:00[Nowhere/City]",
        "2025-08-26T10:00[Europe/Paris",
        "2025-08-26+02:00",
        "2025-08-26T10:00+03:00[Europe/Paris]",
        "2025-08-26T10:00 PM",
        "@",
        "@x",
        "@1.",
        "@.5",
        "@1h",
        "@--1",
        "@99999999999999999999999",
        "2025-08-26T10:00[../../etc/passwd]",
    ] {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
}

#[test]
fn civil_times_are_those_of_the_zone() {
    assert_eq!(in_zone("2025-08-26T10:00", "Europe/Paris"), "2025-08-26T08:00:00.000000Z");
    assert_eq!(in_zone("2025-08-26T10:00Z", "Europe/Paris"), "2025-08-26T10:00:00.000000Z");
    assert_eq!(in_zone("2025-08-26", "America/New_York"), "2025-08-26T04:00:00.000000Z");
    // A gap: 02:30 does not exist, the clock shows 03:30 then. A fold: 02:30 comes twice, the earlier is meant.
    assert_eq!(in_zone("2025-03-30T02:30", "Europe/Paris"), "2025-03-30T01:30:00.000000Z");
    assert_eq!(in_zone("2025-10-26T02:30", "Europe/Paris"), "2025-10-26T00:30:00.000000Z");
    // A day whose midnight does not exist begins when the clock was put forward.
    assert_eq!(in_zone("2018-11-04", "America/Sao_Paulo"), "2018-11-04T03:00:00.000000Z");
}

#[test]
fn the_end_of_a_day_is_before_the_next() {
    assert_eq!(parse("eod:2025-08-26").unwrap(), AsOf::Before(CommitTime(1_756_252_800_000_000)));
    assert_eq!(parse("eod:2025-08-26").unwrap().to_string(), "2025-08-26T23:59:59.999999Z");
    assert_eq!(in_zone("eod:2025-03-30", "Europe/Paris"), "2025-03-30T21:59:59.999999Z");
    assert_eq!(parse("eod:2025-08-26[Europe,Paris]").unwrap().to_string(), "2025-08-26T21:59:59.999999Z");
    for text in
        ["eod:", "eod:2025-08", "eod:2025-08-26T10:00", "eod:9999-12-31", "eod:latest", "eod:2025-02-29"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn relative_times_need_a_direction() {
    let now = CommitTime(1_756_202_400_000_000);
    for (text, expected) in [
        ("1h-ago", "2025-08-26T09:00:00.000000Z"),
        ("1h ago", "2025-08-26T09:00:00.000000Z"),
        ("-1h", "2025-08-26T09:00:00.000000Z"),
        ("90m ago", "2025-08-26T08:30:00.000000Z"),
        ("1h30m-ago", "2025-08-26T08:30:00.000000Z"),
        ("-1h30m", "2025-08-26T08:30:00.000000Z"),
        ("2d-ago", "2025-08-24T10:00:00.000000Z"),
        ("2 weeks ago", "2025-08-12T10:00:00.000000Z"),
        ("-PT10M", "2025-08-26T09:50:00.000000Z"),
        ("1mo-ago", "2025-07-26T10:00:00.000000Z"),
        ("now", "2025-08-26T10:00:00.000000Z"),
        ("today", "2025-08-26T00:00:00.000000Z"),
        ("yesterday", "2025-08-25T00:00:00.000000Z"),
    ] {
        match parse(text) {
            Ok(AsOf::Relative(relative)) => {
                assert_eq!(format_time(relative.instant(now)), expected, "{text}")
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in
        ["1h30m", "1h", "5 days", "PT10M", "P1D", "+1h", "-1h-ago", "-", "--1h", "x-ago", "-x", "-1h ago"]
    {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
    let paris = TimeZone::get("Europe/Paris").unwrap();
    let today = Relative::Day { days_back: 0, zone: paris.clone() };
    assert_eq!(format_time(today.instant(now)), "2025-08-25T22:00:00.000000Z");
    // A day that the clock was put forward in has 23 hours.
    let day = Relative::Ago { span: 1.day().fieldwise(), zone: paris };
    let noon_after = CommitTime(1_743_330_600_000_000);
    assert_eq!(format_time(day.instant(noon_after)), "2025-03-29T11:30:00.000000Z");
    let Ok(AsOf::Relative(ages)) = parse("15000y-ago") else { panic!("a long span is a span") };
    assert_eq!(ages.instant(now), CommitTime::MIN);
}

#[test]
fn before_and_commit() {
    assert_eq!(parse("before:42").unwrap(), AsOf::Previous(Box::new(AsOf::Version(Version(42)))));
    assert_eq!(parse("before:before:tag:x").unwrap().to_string(), "before:before:tag:x");
    let id = "0198e5d2-7c00-7000-8000-000000000001";
    assert_eq!(parse(&format!("commit:{id}")).unwrap().to_string(), format!("commit:{id}"));
    for text in ["before:", "commit:", "commit:xyz", "before:before:"] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(parse(&"before:".repeat(100)).is_err());
}

#[test]
fn only_fixed_answers_are_immutable() {
    for text in [
        "42",
        "2025-08-26",
        "eod:2025-08-26",
        "before:42",
        "commit:0198e5d2-7c00-7000-8000-000000000001",
        "@5",
    ] {
        assert!(parse(text).unwrap().is_immutable_form(), "{text}");
    }
    for text in
        ["latest", "latest~1", "x", "tag:x", "1h-ago", "today", "now", "before:latest", "before:tag:x"]
    {
        assert!(!parse(text).unwrap().is_immutable_form(), "{text}");
    }
}

#[test]
fn names_that_read_as_something_else_cannot_be_tags() {
    for name in
        ["audit-q3", "v1", "2025-q3", "release 7", "a", "Latest", "é", "1st", "x".repeat(255).as_str()]
    {
        assert!(validate_tag_name(name).is_ok(), "{name}: {:?}", validate_tag_name(name));
    }
    for name in [
        "",
        "42",
        "latest",
        "today",
        "yesterday",
        "now",
        "2025-08-26",
        "2025-08",
        "2025-13-45",
        "2025-08-26T10-00",
        "1h",
        "1h-ago",
        "-1h",
        "5 days",
        "@5",
        "@x",
        "P1D",
        "a/b",
        "..",
        ".",
        ".git",
        "a..b",
        "a:b",
        "tag:a",
        "a~1",
        "a\0b",
        "a\nb",
        " a",
        "a ",
        "x".repeat(256).as_str(),
        "-x",
        "before:1",
        "x-ago",
        "+1",
    ] {
        assert!(validate_tag_name(name).is_err(), "{name}");
    }
}

#[test]
fn the_ends_of_time_have_a_text() {
    assert_eq!(format_time(CommitTime::MIN), "-290308-12-21T19:59:05.224192Z");
    assert_eq!(AsOf::Time(CommitTime::MIN).to_string(), "@-9223372036854775808us");
    assert_eq!(parse("@-9223372036854775808us").unwrap(), AsOf::Time(CommitTime::MIN));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = parse(&text);
        let _ = validate_tag_name(&text);
    }

    #[test]
    fn no_near_miss_makes_the_parser_panic(
        text in "(before:|eod:|tag:|@|-|latest~|commit:)?[0-9+:.,TZ \\[\\]/~hmdyagoP-]{0,40}"
    ) {
        let now = CommitTime(1_756_202_400_000_000);
        if let Ok(asof) = parse(&text) {
            if let AsOf::Relative(relative) = &asof {
                relative.instant(now);
            }
            // What was read is shown in a form that reads back as the same.
            match (parse(&asof.to_string()), asof) {
                (Ok(AsOf::Time(again)), AsOf::Before(time)) => prop_assert_eq!(again.0, time.0 - 1),
                (again, asof) => prop_assert_eq!(again.unwrap(), asof),
            }
        }
    }

    #[test]
    fn a_valid_tag_name_reads_as_that_tag(name in "\\PC{0,12}") {
        if validate_tag_name(&name).is_ok() {
            prop_assert_eq!(parse(&name).unwrap(), AsOf::Tag(name.clone()));
            prop_assert_eq!(parse(&format!("tag:{name}")).unwrap(), AsOf::Tag(name));
        }
    }
}
