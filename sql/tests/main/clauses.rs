//! Every spelling of time travel, in every place: the rows of the version that it names, or an error with its place;
//! never the newest rows by mistake.
//!
//! The oracle is what each version holds: `t` at version v has the rows of ids 1 to v - 1, with `n` a power of two, so
//! that a sum of `n` tells which rows it was made of. Every table of the database is of that shape.

use crate::support::Bench;
use asof_sql::SessionOptions;
use std::time::Duration;

/// The last version of [`bench`].
const NEWEST: u64 = 7;
/// The version that clauses name.
const THEN: u64 = 4;

/// The sum of `n` at a version, of a table made at version 1 with one row each commit.
fn sum(version: u64) -> i64 {
    (1..version).map(|id| 1 << id).sum()
}

/// Versions 1 to 7, each at its own microsecond at least; version 4 has a tag.
fn bench() -> Bench {
    let mut bench = Bench::new();
    grow(&mut bench, "t");
    bench
}

fn grow(bench: &mut Bench, table: &str) {
    bench.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, n BIGINT, side BIGINT DEFAULT 0)"));
    for id in 1..NEWEST {
        std::thread::sleep(Duration::from_millis(2));
        bench.run(&format!("INSERT INTO {table} (id, n) VALUES ({id}, {})", 1 << id));
        if table == "t" && id + 1 == THEN {
            bench.tag("q3", bench.newest().0);
        }
    }
}

/// How the version before and the one at [`THEN`] are named: (clause behind a name, the version that it means).
fn spellings(bench: &mut Bench) -> Vec<(String, u64)> {
    let one = |bench: &mut Bench, sql: &str| bench.run(sql).remove(0);
    let time = one(bench, &format!("SELECT CAST(time AS TEXT) FROM commits() WHERE version = {THEN}"));
    let time = time.trim_end_matches('Z').to_string();
    let id = one(bench, &format!("SELECT id FROM commits() WHERE version = {THEN}"));
    let (then, before) = (THEN, THEN - 1);
    let mut all: Vec<(String, u64)> = Vec::new();
    for prefix in ["", "FOR "] {
        for word in ["VERSION", "SYSTEM_VERSION"] {
            all.push((format!("{prefix}{word} AS OF {then}"), then));
            all.push((format!("{prefix}{word} AS OF {before} + 1"), then));
            all.push((format!("{prefix}{word} AS OF 'q3'"), then));
            all.push((format!("{prefix}{word} AS OF 'tag:q3'"), then));
            all.push((format!("{prefix}{word} AS OF 'latest~3'"), then));
        }
        for word in ["TIMESTAMP", "SYSTEM_TIME"] {
            all.push((format!("{prefix}{word} AS OF '{time}Z'"), then));
            all.push((format!("{prefix}{word} AS OF TIMESTAMP '{time}'"), then));
            all.push((format!("{prefix}{word} AS OF CAST('{time}Z' AS TIMESTAMP)"), then));
            all.push((format!("{prefix}{word} AS OF TIMESTAMP '{time}' - INTERVAL '1' MICROSECOND"), before));
        }
    }
    for (keyword, version) in [("AT", then), ("BEFORE", before)] {
        all.push((format!("{keyword} (VERSION => {then})"), version));
        all.push((format!("{keyword}(VERSION=>'q3')"), version));
        all.push((format!("{keyword} (SNAPSHOT => {then})"), version));
        all.push((format!("{keyword} (TAG => 'q3')"), version));
        all.push((format!("{keyword} (STATEMENT => '{id}')"), version));
        all.push((format!("{keyword} (TIMESTAMP => '{time}Z')"), version));
        all.push((format!("{keyword} (TIMESTAMP => '{time}'::timestamp)"), version));
    }
    all.push(("AT (OFFSET => 0)".to_string(), NEWEST));
    all.push(("AT (OFFSET => -86400)".to_string(), 0));
    all.push((format!("AS OF '{then}'"), then));
    all.push(("AS OF 'q3'".to_string(), then));
    all.push((format!("AS OF '{time}Z'"), then));
    all.push((format!("AS OF {then}"), then));
    all.push((format!("AS OF TIMESTAMP '{time}'"), then));
    all.push((format!("AS OF SCN {then}"), then));
    all.push((format!("AS OF VERSION {then}"), then));
    // Keywords are keywords in any case, and white space is white space.
    let lower: Vec<_> = all.iter().map(|(text, version)| (text.to_lowercase(), *version)).collect();
    let spaced = [
        (format!("VERSION\n\tAS /* of */ OF -- then\n {then}"), then),
        (format!("vErSiOn aS oF {then}"), then),
    ];
    all.extend(
        lower.into_iter().step_by(5).filter(|(text, _)| !text.contains("z'") && !text.contains("=> '01")),
    );
    all.extend(spaced);
    all
}

/// Where a table with a clause may stand: `{t}` is the table with the clause, `{x}` the same under the alias x.
/// Each query gives the sum of the version's `n`.
const PLACES: &[&str] = &[
    "SELECT sum(n) FROM {t}",
    "SELECT sum(t.n) FROM {t}",
    "SELECT sum(x.n) FROM {x}",
    "SELECT sum(x.n) FROM {x} WHERE x.id > 0 AND x.n >= 0",
    "SELECT sum(n) FROM ({t})",
    "SELECT s FROM (SELECT sum(n) AS s FROM {t}) AS q",
    "WITH c AS (SELECT * FROM {t}) SELECT sum(n) FROM c",
    "WITH t AS (SELECT * FROM {t}) SELECT sum(n) FROM t",
    "WITH a AS (WITH b AS (SELECT * FROM {t}) SELECT * FROM b), d AS (SELECT * FROM a) SELECT sum(n) FROM d",
    "SELECT (SELECT sum(n) FROM {t})",
    "SELECT sum(n) FROM t WHERE id IN (SELECT id FROM {t})",
    "SELECT sum(n) FROM t WHERE EXISTS (SELECT 1 FROM {x} WHERE x.id = t.id)",
    "SELECT sum(n) FROM t WHERE NOT (NOT EXISTS (SELECT 1 FROM {x} WHERE x.id = t.id)) AND id IN (SELECT id FROM {t}) HAVING count(*) >= 0",
    "SELECT sum(x.n) FROM {x} JOIN t ON t.id = x.id",
    "SELECT sum(x.n) FROM t JOIN {x} ON t.id = x.id",
    "SELECT sum(x.n) FROM t JOIN {x} USING (id)",
    "SELECT sum(x.n) FROM t LEFT JOIN {x} ON t.id = x.id",
    "SELECT sum(x.n) FROM t RIGHT JOIN {x} ON t.id = x.id",
    "SELECT sum(x.n) FROM t FULL OUTER JOIN {x} ON t.id = x.id",
    "SELECT sum(x.n) FROM t NATURAL JOIN {x}",
    "SELECT sum(x.n) FROM {x}, t WHERE t.id = x.id",
    "SELECT sum(x.n) FROM t, {x} WHERE t.id = x.id",
    "SELECT sum(x.n) FROM {x} CROSS JOIN (SELECT 1) AS one",
    "SELECT sum(x.n) FROM {x} JOIN t AS y VERSION AS OF 7 ON y.id = x.id JOIN u ON u.id = x.id",
    "SELECT sum(n) FROM (SELECT n FROM {t} UNION ALL SELECT n FROM t WHERE false) AS q",
    "SELECT sum(n) FROM (SELECT n FROM t WHERE false UNION SELECT n FROM {t}) AS q",
    "SELECT sum(n) FROM (SELECT id, n FROM t INTERSECT SELECT id, n FROM {t}) AS q",
    "SELECT (SELECT sum(n) FROM t) - coalesce(sum(n), 0) FROM (SELECT id, n FROM t EXCEPT SELECT id, n FROM {t}) AS q",
    "SELECT CASE WHEN (SELECT sum(n) FROM t) IS NOT NULL THEN (SELECT sum(n) FROM {t}) END",
    "SELECT sum(n) OVER (ORDER BY id) AS s FROM {t} ORDER BY s DESC LIMIT 1",
    "SELECT n FROM (SELECT sum(n) AS n, 1 AS id FROM {t} GROUP BY 2) AS q",
    "SELECT sum(version.n) FROM {t} AS version",
    "SELECT sum(at.n) FROM {t} AS at",
    "SELECT sum(before.n) FROM {t} before",
    "SELECT sum(timestamp) FROM (SELECT n AS timestamp, id AS version FROM {t}) AS system WHERE version > 0",
    "SELECT sum(n) FROM {t} LIMIT 5",
    "SELECT max(s) FROM (SELECT sum(n) AS s, 'VERSION AS OF 2' AS text FROM {t}) AS \"t AT (VERSION => 2)\"",
];

/// A table with a clause, in all orders of alias and clause.
fn aliased(clause: &str) -> [String; 4] {
    [format!("t {clause} x"), format!("t {clause} AS x"), format!("t x {clause}"), format!("t AS x {clause}")]
}

fn shown(sum: i64) -> String {
    if sum == 0 { "NULL".to_string() } else { sum.to_string() }
}

/// Runs a query that may find no table, where the version is 0: an error then, with its place.
fn check(bench: &mut Bench, sql: &str, version: u64) {
    match version {
        0 => bench.refused(sql),
        _ => bench.expect(sql, &[shown(sum(version))]),
    }
}

#[test]
fn every_spelling_in_every_place_reads_the_version_that_it_names() {
    let mut bench = bench();
    grow(&mut bench, "u");
    // `u` was made after `t`: versions are counted on, and those of `t` stay what they were.
    let spellings = spellings_of_t(&mut bench);
    for (at, (clause, version)) in spellings.iter().enumerate() {
        for (number, place) in PLACES.iter().enumerate() {
            let table = place.replace("{t}", &format!("t {clause}"));
            match place.contains("{x}") {
                false => check(&mut bench, &table, *version),
                true => {
                    // Over all clauses every place sees all orders.
                    let aliased = &aliased(clause)[(at + number) % 4];
                    check(&mut bench, &table.replace("{x}", aliased), *version);
                }
            }
        }
    }
}

/// The spellings, where other tables came after `t`: those that count from the newest version left out.
fn spellings_of_t(bench: &mut Bench) -> Vec<(String, u64)> {
    let all = spellings(bench).into_iter();
    all.filter(|(clause, _)| !clause.to_lowercase().contains("latest")).collect()
}

#[test]
fn two_versions_of_a_table_in_one_query_stay_two() {
    let mut bench = bench();
    let (old, new) = (sum(THEN), sum(NEWEST));
    for (clause, version) in spellings(&mut bench) {
        if version != THEN {
            continue;
        }
        let both = format!("{old}|{new}");
        for sql in [
            format!("SELECT (SELECT sum(n) FROM t {clause}) AS a, (SELECT sum(n) FROM t)"),
            format!(
                "SELECT a.s, b.s FROM (SELECT sum(n) AS s FROM t {clause}) a, (SELECT sum(n) AS s FROM t) b"
            ),
            format!(
                "WITH a AS (SELECT sum(n) AS s FROM t {clause}), b AS (SELECT sum(n) AS s FROM t) SELECT a.s, b.s FROM a, b"
            ),
            format!(
                "SELECT min(s), max(s) FROM (SELECT sum(n) AS s FROM t {clause} UNION SELECT sum(n) FROM t) q"
            ),
            format!("SELECT sum(x.n), sum(t.n) FROM t LEFT JOIN t x {clause} ON x.id = t.id"),
            format!("SELECT sum(x.n), sum(t.n) FROM t {clause} x RIGHT JOIN t ON x.id = t.id"),
        ] {
            bench.expect(&sql, &[both.as_str()]);
        }
        let same = format!("SELECT (SELECT sum(n) FROM t {clause}) = (SELECT sum(n) FROM t)");
        bench.expect(&same, &["false"]);
        let within = format!(
            "SELECT sum(n) FROM t WHERE id IN (SELECT id FROM t) AND id IN (SELECT id FROM t {clause})"
        );
        bench.expect(&within, &[old.to_string()]);
        let exists = format!(
            "SELECT count(*) FROM t WHERE EXISTS (SELECT 1 FROM t y WHERE y.id = 5) AND EXISTS (SELECT 1 FROM t y {clause} WHERE y.id = 5)"
        );
        bench.expect(&exists, &["0"]);
    }
    for (one, other) in [("asof('t', 4)", "asof('t', 7)"), ("\"t@4\"", "\"t@7\""), ("asof('t', 4)", "t")] {
        let sql = format!("SELECT (SELECT sum(n) FROM {one}) AS a, (SELECT sum(n) FROM {other})");
        bench.expect(&sql, &[format!("{old}|{new}")]);
        let same = format!("SELECT (SELECT sum(n) FROM {one}) = (SELECT sum(n) FROM {other})");
        bench.expect(&same, &["false"]);
    }
    // A rule of the optimizer joins the sides of a UNION that read the same.
    bench.run("SET datafusion.optimizer.enable_unions_to_filter = true");
    for (one, other) in [("t VERSION AS OF 2", "t"), ("asof('t', 2)", "asof('t', 7)"), ("t", "\"t@2\"")] {
        let sql = format!("SELECT id FROM {one} WHERE id = 1 UNION SELECT id FROM {other} WHERE id = 6");
        let lines = bench.sorted(&sql);
        let expected: &[&str] = if other == "\"t@2\"" { &["1"] } else { &["1", "6"] };
        assert_eq!(lines, expected, "{sql}");
    }
}

#[test]
fn views_read_the_version_of_their_clause_or_that_of_the_statement() {
    let mut bench = bench();
    for (clause, version) in spellings(&mut bench) {
        if version == 0 {
            continue;
        }
        let lines = [sum(version).to_string()];
        let newest = [sum(NEWEST).to_string()];
        // The clause within the view, the clause on the view, on a view of a view, and a newer one on a view that has one.
        bench.run(&format!("CREATE OR REPLACE VIEW inside AS SELECT * FROM t {clause}"));
        bench.run("CREATE OR REPLACE VIEW plain AS SELECT * FROM t");
        bench.run("CREATE OR REPLACE VIEW nested (i, m) AS SELECT id, n FROM plain");
        bench.run(&format!("CREATE OR REPLACE VIEW outer_one AS SELECT * FROM plain {clause}"));
        bench.expect("SELECT sum(n) FROM inside", &lines);
        bench.expect("SELECT sum(n) FROM inside VERSION AS OF 2", &lines);
        bench.expect("SELECT sum(n) FROM outer_one", &lines);
        bench.expect("SELECT sum(n) FROM outer_one VERSION AS OF 6", &lines);
        bench.expect(&format!("SELECT sum(n) FROM plain {clause}"), &lines);
        bench.expect(&format!("SELECT sum(x.m) FROM nested x {clause}"), &lines);
        bench.expect("SELECT sum(n) FROM plain", &newest);
        let both = format!(
            "SELECT (SELECT sum(n) FROM plain {clause}) AS a, (SELECT sum(n) FROM plain VERSION AS OF 2)"
        );
        bench.expect(&both, &[format!("{}|{}", sum(version), sum(2))]);
    }
}

#[test]
fn a_view_at_a_version_lists_the_tables_of_that_version() {
    let mut bench = bench();
    bench.run("CREATE TABLE later (id INT PRIMARY KEY)");
    bench.run(
        "CREATE VIEW names AS SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'",
    );
    bench.run("CREATE VIEW known AS SELECT name FROM system.tables");
    assert_eq!(bench.sorted("SELECT name FROM known"), ["later", "t"]);
    assert_eq!(bench.sorted("SELECT name FROM known VERSION AS OF 4"), ["t"]);
    assert!(bench.run("SELECT * FROM names").contains(&"later".to_string()));
    assert!(!bench.run("SELECT * FROM names VERSION AS OF 4").contains(&"later".to_string()));
    let whole = bench.run("SELECT table_name FROM information_schema.tables AS OF SYSTEM TIME '-1000d'");
    assert!(!whole.contains(&"later".to_string()), "{whole:?}");
}

#[test]
fn as_of_system_time_is_of_all_tables_of_the_statement() {
    let mut bench = bench();
    let time = bench.run("SELECT CAST(time AS TEXT) FROM commits() WHERE version = 4").remove(0);
    for value in [format!("'{time}'"), format!("CAST('{time}' AS TIMESTAMP)")] {
        let old = [sum(THEN).to_string()];
        for sql in [
            format!("SELECT sum(n) FROM t AS OF SYSTEM TIME {value}"),
            format!("SELECT sum(x.n) FROM t x AS OF SYSTEM TIME {value} WHERE id > 0"),
            format!("SELECT sum(x.n) FROM t x JOIN t y ON x.id = y.id AS OF SYSTEM TIME {value}"),
            format!("SELECT sum(n) FROM t WHERE id IN (SELECT id FROM t) AS OF SYSTEM TIME {value}"),
            format!("WITH c AS (SELECT * FROM t) SELECT sum(n) FROM c AS OF SYSTEM TIME {value}"),
        ] {
            bench.expect(&sql, &old);
        }
        let both = format!(
            "SELECT (SELECT sum(n) FROM t) AS a, (SELECT sum(n) FROM t VERSION AS OF 6) AS OF SYSTEM TIME {value}"
        );
        bench.expect(&both, &[format!("{}|{}", sum(THEN), sum(6))]);
        // A view keeps what its query says.
        bench
            .run(&format!("CREATE OR REPLACE VIEW v AS SELECT sum(n) AS s FROM t AS OF SYSTEM TIME {value}"));
        bench.expect("SELECT s FROM v", &old);
        bench.expect("SELECT s FROM v VERSION AS OF 6", &old);
        // What is written is there now, what is read was there then.
        bench.run("CREATE OR REPLACE TABLE target (id BIGINT PRIMARY KEY, n BIGINT)");
        bench.run(&format!("INSERT INTO target SELECT id, n FROM t AS OF SYSTEM TIME {value}"));
        bench.expect("SELECT sum(n) FROM target", &old);
        bench.run(&format!(
            "INSERT INTO target SELECT id, n FROM t AS OF SYSTEM TIME {value} ON CONFLICT DO NOTHING"
        ));
        bench.expect("SELECT sum(n) FROM target", &old);
        bench.run(&format!("INSERT OR IGNORE INTO target SELECT id, n FROM t AS OF SYSTEM TIME {value}"));
        bench.expect("SELECT sum(n) FROM target", &old);
        bench.run(&format!("CREATE OR REPLACE TABLE copied AS SELECT * FROM t AS OF SYSTEM TIME {value}"));
        bench.expect("SELECT sum(n) FROM copied", &old);
        assert!(bench.run(&format!("EXPLAIN SELECT * FROM t AS OF SYSTEM TIME {value}"))[1].contains("t@4"));
    }
    let newest = bench.newest();
    for wrong in [
        "SELECT sum(n) FROM t AS OF SYSTEM TIME '2' AS OF SYSTEM TIME '3'",
        "UPDATE t SET n = 0 AS OF SYSTEM TIME '4'",
        "DELETE FROM t AS OF SYSTEM TIME '4'",
        "DELETE FROM t WHERE id = 1 AS OF SYSTEM TIME '4'",
        "INSERT INTO t AS OF SYSTEM TIME '4' VALUES (9, 9, 9)",
        "INSERT INTO t VALUES (9, 9, 9) AS OF SYSTEM TIME '4'",
        "INSERT INTO t AS OF SYSTEM TIME '4' SELECT * FROM t",
        "MERGE INTO t USING t s ON t.id = s.id AS OF SYSTEM TIME '4' WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE t AS OF SYSTEM TIME '4'",
        "DROP TABLE t AS OF SYSTEM TIME '4'",
        "ALTER TABLE t AS OF SYSTEM TIME '4' ADD COLUMN z INT",
        "CREATE TABLE z (a INT) AS OF SYSTEM TIME '4'",
        "BEGIN AS OF SYSTEM TIME '4'",
        "BEGIN TRANSACTION AS OF SYSTEM TIME '4'",
        "SET datafusion.execution.batch_size = 1 AS OF SYSTEM TIME '4'",
        "OPTIMIZE t AS OF SYSTEM TIME '4'",
        "SELECT sum(n) FROM t AS OF SYSTEM TIME '99'",
        "SELECT sum(n) FROM t AS OF SYSTEM TIME 'nosuch'",
        "SELECT sum(n) FROM t AS OF SYSTEM TIME",
    ] {
        bench.refused(wrong);
        assert!(!bench.session.in_transaction(), "{wrong}");
        assert_eq!(bench.newest(), newest, "{wrong}");
    }
}

/// Statements that change `{t}`, a table with a clause: all are refused, with the place.
const TARGETS: &[&str] = &[
    "INSERT INTO {t} VALUES (99, 0, 0)",
    "INSERT INTO {t} (id, n) VALUES (99, 0)",
    "INSERT INTO {t} SELECT * FROM u",
    "INSERT INTO {t} VALUES (99, 0, 0) ON CONFLICT DO NOTHING",
    "INSERT OVERWRITE {t} SELECT * FROM u",
    "INSERT OVERWRITE TABLE {t} SELECT * FROM u",
    "INSERT INTO TABLE {t} SELECT * FROM u",
    "INSERT OR REPLACE INTO {t} VALUES (1, 0, 0)",
    "REPLACE INTO {t} VALUES (1, 0, 0)",
    "UPDATE {t} SET n = 0",
    "UPDATE {t} SET n = 0 WHERE id = 1",
    "UPDATE {t} SET n = u.n FROM u WHERE u.id = t.id",
    "DELETE FROM {t}",
    "DELETE FROM {t} WHERE id = 1",
    "DELETE FROM {t} USING u WHERE u.id = t.id",
    "DELETE {t}",
    "MERGE INTO {t} USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
    "MERGE INTO {t} USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET n = 0",
    "MERGE {t} USING u ON t.id = u.id WHEN NOT MATCHED THEN INSERT (id) VALUES (u.id + 100)",
    "TRUNCATE {t}",
    "TRUNCATE TABLE {t}",
    "TRUNCATE TABLE u, {t}",
    "DROP TABLE {t}",
    "DROP TABLE IF EXISTS {t}",
    "DROP TABLE u, {t}",
    "ALTER TABLE {t} ADD COLUMN z INT",
    "ALTER TABLE {t} DROP COLUMN n",
    "CREATE TABLE {t} (a INT)",
    "CREATE OR REPLACE TABLE {t} AS SELECT 1 AS a",
    "CREATE TABLE IF NOT EXISTS {t} AS SELECT 1 AS a",
    "CREATE TABLE z LIKE {t}",
    "OPTIMIZE {t}",
];

#[test]
fn no_statement_writes_to_the_past() {
    let mut bench = bench();
    bench.run("CREATE TABLE u (id BIGINT PRIMARY KEY, n BIGINT, side BIGINT)");
    bench.run("INSERT INTO u VALUES (1, 5, 5), (6, 6, 6)");
    let newest = bench.newest();
    let mut spellings = spellings(&mut bench);
    let periods = ["FOR SYSTEM_TIME ALL", "FOR SYSTEM_TIME BETWEEN 1 AND 3", "VERSIONS BETWEEN 1 AND 3"];
    spellings.extend(periods.map(|period| (period.to_string(), 0)));
    for (at, (clause, _)) in spellings.into_iter().enumerate() {
        let targets = [
            format!("t {clause}"),
            format!("t {clause} x"),
            format!("t AS x {clause}"),
            format!("main.t {clause}"),
        ];
        for (number, template) in TARGETS.iter().enumerate() {
            {
                let sql = template.replace("{t}", &targets[(at + number) % 4]);
                bench.refused(&sql);
                assert_eq!(bench.newest(), newest, "{sql}");
            }
        }
        // Nor in a transaction.
        for template in ["UPDATE {t} SET n = 0", "DELETE FROM {t}", "INSERT INTO {t} VALUES (99, 0, 0)"] {
            bench.run("BEGIN");
            let sql = template.replace("{t}", &format!("t {clause}"));
            bench.error(&sql);
            bench.run("ROLLBACK");
        }
    }
    bench.expect("SELECT sum(n), count(*) FROM t", &[format!("{}|6", sum(NEWEST))]);
    for name in ["t@4", "t@latest", "t@q3"] {
        for template in TARGETS.iter().filter(|template| !template.starts_with("CREATE")) {
            let sql = template.replace("{t}", &format!("\"{name}\""));
            if sql.starts_with("DROP TABLE IF EXISTS") {
                continue;
            }
            bench.error(&sql);
            assert_eq!(bench.newest(), newest, "{sql}");
        }
    }
}

#[test]
fn what_is_read_for_a_change_may_be_of_the_past() {
    let mut bench = bench();
    let changes: &[(&str, &str)] = &[
        ("INSERT INTO w SELECT id, n FROM {t}", ""),
        ("INSERT INTO w (n, id) SELECT n, id FROM {t} x", ""),
        ("INSERT INTO w SELECT id, n FROM {t} ON CONFLICT DO NOTHING", ""),
        ("INSERT INTO w SELECT id, n FROM {t} ON CONFLICT (id) DO UPDATE SET n = excluded.n", ""),
        ("INSERT OR REPLACE INTO w SELECT id, n FROM {t}", ""),
        ("INSERT OVERWRITE w SELECT id, n FROM {t}", "INSERT INTO w VALUES (77, 77)"),
        ("INSERT INTO w WITH c AS (SELECT * FROM {t}) SELECT id, n FROM c", ""),
        ("INSERT INTO w SELECT id, n FROM t WHERE id IN (SELECT id FROM {t})", ""),
        ("DROP TABLE w; CREATE TABLE w AS SELECT id, n FROM {t}", ""),
        ("CREATE OR REPLACE TABLE w (id BIGINT PRIMARY KEY, n BIGINT) AS SELECT id, n FROM {t}", ""),
        ("MERGE INTO w USING {t} ON w.id = t.id WHEN NOT MATCHED THEN INSERT (id, n) VALUES (t.id, t.n)", ""),
        (
            "MERGE INTO w USING {t} AS s ON w.id = s.id WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
            "",
        ),
        (
            "MERGE INTO w USING (SELECT * FROM {t}) s ON w.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE",
            "INSERT INTO w SELECT id, n FROM t",
        ),
        ("UPDATE w SET n = t.n FROM {t} WHERE t.id = w.id", "INSERT INTO w SELECT id, 0 FROM t"),
        ("UPDATE w SET n = s.n FROM {t} AS s WHERE s.id = w.id", "INSERT INTO w SELECT id, 0 FROM t"),
        ("UPDATE w SET n = 0 WHERE id NOT IN (SELECT id FROM {t})", "INSERT INTO w SELECT id, n FROM t"),
        (
            "UPDATE w SET n = coalesce((SELECT n FROM {t} x WHERE x.id = w.id), 0)",
            "INSERT INTO w SELECT id, 0 FROM t",
        ),
        (
            "DELETE FROM w USING (SELECT * FROM t EXCEPT SELECT * FROM {t}) s WHERE s.id = w.id",
            "INSERT INTO w SELECT id, n FROM t",
        ),
        ("DELETE FROM w WHERE id NOT IN (SELECT id FROM {t})", "INSERT INTO w SELECT id, n FROM t"),
        (
            "DELETE FROM w WHERE NOT EXISTS (SELECT 1 FROM {t} x WHERE x.id = w.id)",
            "INSERT INTO w SELECT id, n FROM t",
        ),
    ];
    let some: Vec<_> = spellings(&mut bench)
        .into_iter()
        .filter(|(clause, version)| *version == THEN && !clause.contains("latest"))
        .step_by(4)
        .collect();
    for in_transaction in [false, true] {
        for (clause, version) in &some {
            for (change, before) in changes {
                if in_transaction && change.starts_with("INSERT OVERWRITE") {
                    // The engine takes it as the first change of a table alone.
                    continue;
                }
                bench.run("CREATE OR REPLACE TABLE w (id BIGINT PRIMARY KEY, n BIGINT)");
                if in_transaction {
                    bench.run("BEGIN");
                    // What the transaction itself changed is not of that version.
                    bench.run("INSERT INTO t (id, n) VALUES (50, 1073741824)");
                }
                if !before.is_empty() {
                    bench.run(before);
                }
                // `t c x` for `{t} x`, and so on.
                let sql = change.replace("{t}", &format!("t {clause}"));
                bench.run(&sql);
                let lines = bench.run("SELECT sum(n) FROM w");
                assert_eq!(lines, [sum(*version).to_string()], "{sql}");
                if in_transaction {
                    bench.run("ROLLBACK");
                }
            }
        }
    }
    // The table that is changed, from its own past.
    bench.run("UPDATE t SET side = 1");
    bench.run("UPDATE t SET n = o.n + 1 FROM t VERSION AS OF 4 AS o WHERE o.id = t.id");
    bench.expect("SELECT sum(n) FROM t", &[(sum(NEWEST) + 3).to_string()]);
    bench.run("INSERT OVERWRITE t SELECT * FROM t VERSION AS OF 4");
    bench.expect("SELECT sum(n) FROM t", &[sum(THEN).to_string()]);
    bench.run("MERGE INTO t USING t VERSION AS OF 7 AS o ON t.id = o.id WHEN NOT MATCHED THEN INSERT (id, n, side) VALUES (o.id, o.n, o.side)");
    bench.expect("SELECT sum(n) FROM t", &[sum(NEWEST).to_string()]);
    bench.run("CREATE OR REPLACE TABLE t AS SELECT * FROM t WHERE id < 3");
    bench.expect("SELECT sum(n) FROM t", &[sum(3).to_string()]);
}

#[test]
fn a_clause_where_none_can_stand_is_an_error_with_its_place() {
    let mut bench = bench();
    for (clause, _) in spellings(&mut bench) {
        for place in [
            "SELECT * FROM (SELECT * FROM t) {c}",
            "SELECT * FROM (SELECT * FROM t) AS x {c}",
            "SELECT * FROM (SELECT * FROM t) x {c}",
            "SELECT * FROM (t) {c}",
            "SELECT * FROM (t JOIN t AS y ON t.id = y.id) {c}",
            "SELECT * FROM (VALUES (1)) AS x {c}",
            "SELECT * FROM asof('t', 2) {c}",
            "SELECT * FROM asof('t', 2) AS x {c}",
            "SELECT * FROM t {c} {c}",
            "SELECT * FROM t {c} AS x {c}",
            "SELECT * FROM t AS x (a, b, c) {c}",
            "SELECT id, n {c} FROM t",
            "SELECT n {c} FROM t",
            "SELECT sum(n {c}) FROM t",
            "SELECT sum(n) FROM t WHERE id {c} = 1",
            "SELECT sum(n) FROM t WHERE id IN (1, id {c})",
            "SELECT sum(n) FROM t GROUP BY side {c}",
            "SELECT sum(n) FROM t GROUP BY id, side {c}",
            "SELECT n FROM t ORDER BY n {c}",
            "SELECT n FROM t ORDER BY id, n {c}",
            "WITH c AS (SELECT * FROM t) SELECT * FROM c {c}",
            "WITH t AS (SELECT 1 AS id, 2 AS n) SELECT * FROM t {c}",
            "WITH t AS (SELECT 1 AS id, 2 AS n), d AS (SELECT * FROM t {c}) SELECT * FROM d",
            "WITH t AS (SELECT 1 AS id, 2 AS n) SELECT (SELECT sum(n) FROM t {c})",
            "WITH t {c} AS (SELECT * FROM t) SELECT * FROM t",
            "SELECT * FROM \"t@2\" {c}",
            "SELECT * FROM information_schema.tables {c}",
            "SELECT * FROM nosuch {c}",
            "VALUES (1) {c}",
            "SHOW TABLES {c}",
        ] {
            let sql = place.replace("{c}", &clause);
            bench.refused(&sql);
        }
    }
    for sql in [
        "SELECT * FROM t VERSION AS OF",
        "SELECT * FROM t VERSION AS",
        "SELECT * FROM t FOR SYSTEM_TIME",
        "SELECT * FROM t FOR SYSTEM_TIME AS",
        "SELECT * FROM t FOR SYSTEM_TIME AS OF",
        "SELECT * FROM t FOR SYSTEM_TIME BETWEEN 1",
        "SELECT * FROM t FOR SYSTEM_TIME BETWEEN 1 AND",
        "SELECT * FROM t FOR SYSTEM_TIME FROM 1",
        "SELECT * FROM t FOR SYSTEM_TIME CONTAINED IN (1)",
        "SELECT * FROM t FOR VERSION 3",
        "SELECT * FROM t AT (VERSION => )",
        "SELECT * FROM t AT (VERSION => 3",
        "SELECT * FROM t AT (VERSION => 3, TAG => 'q3')",
        "SELECT * FROM t AT (NOSUCH => 3)",
        "SELECT * FROM t AT (OFFSET => 3600)",
        "SELECT * FROM t AT (OFFSET => 'x')",
        "SELECT * FROM t AT (TAG => 3)",
        "SELECT * FROM t AT (STATEMENT => 3)",
        "SELECT * FROM t AT (STATEMENT => 'nosuch')",
        "SELECT * FROM t BEFORE (VERSION => 0)",
        "SELECT * FROM t VERSION AS OF -1",
        "SELECT * FROM t VERSION AS OF 1.5",
        "SELECT * FROM t VERSION AS OF 99",
        "SELECT * FROM t VERSION AS OF 99999999999999999999999999",
        "SELECT * FROM t VERSION AS OF NULL",
        "SELECT * FROM t VERSION AS OF latest",
        "SELECT * FROM t VERSION AS OF (SELECT 4)",
        "SELECT * FROM t VERSION AS OF (SELECT max(version) FROM commits())",
        "SELECT * FROM t VERSION AS OF n",
        "SELECT * FROM t VERSION AS OF '2020-01-01'",
        "SELECT * FROM t TIMESTAMP AS OF 4",
        "SELECT * FROM t TIMESTAMP AS OF 'q3'",
        "SELECT * FROM t TIMESTAMP AS OF '4'",
        "SELECT * FROM t TIMESTAMP AS OF 'garbage at noon'",
        "SELECT * FROM t TIMESTAMP AS OF '2999-01-01'",
        "SELECT * FROM t TIMESTAMP AS OF NULL",
        "SELECT * FROM t TIMESTAMP AS OF now() + INTERVAL '1' DAY",
        "SELECT * FROM t AS OF 'no such tag'",
        "SELECT * FROM t AS OF CLOSED",
        "SELECT * FROM t CHANGES (INFORMATION => DEFAULT)",
        "SELECT * FROM t AT (VERSION => 2) CHANGES (INFORMATION => DEFAULT)",
        "SELECT * FROM t TABLESAMPLE (10)",
        "SELECT * FROM t WITH (NOLOCK)",
        "SELECT * FROM t PARTITION (p0)",
        "SELECT * FROM t VERSIONS BETWEEN 1 AND",
        "SELECT * FROM t FOR SYSTEM_TIME BETWEEN 1 AND 99",
        "SHOW COLUMNS FROM t VERSION AS OF 2",
        "SELECT * FROM t FOR UPDATE",
    ] {
        bench.refused(sql);
    }
}

#[test]
fn words_of_clauses_are_names_where_they_are_none() {
    let mut bench = bench();
    bench.run("CREATE TABLE words (version INT PRIMARY KEY, timestamp INT, at INT, before INT, of INT, system INT, versions INT, system_time INT)");
    bench.run("INSERT INTO words VALUES (1, 2, 3, 4, 5, 6, 7, 8)");
    bench.run("INSERT INTO words VALUES (2, 20, 30, 40, 50, 60, 70, 80)");
    let made = bench.newest().0 - 1;
    for (sql, expected) in [
        (
            "SELECT version, timestamp, at, before, of, system, versions, system_time FROM words WHERE version = 1",
            "1|2|3|4|5|6|7|8",
        ),
        ("SELECT version AS of, timestamp AS at FROM words WHERE version = 1", "1|2"),
        ("SELECT timestamp AS of FROM words WHERE version = 1", "2"),
        ("SELECT (version) AS version, at AS before FROM words AS timestamp WHERE version < 2", "1|3"),
        ("SELECT version.version FROM words AS version WHERE version.at = 3", "1"),
        ("SELECT at.at FROM words at WHERE at.at = 3", "3"),
        ("SELECT of.of FROM words AS of WHERE of.of = 5", "5"),
        (
            "SELECT count(*) FROM words WHERE versions BETWEEN 1 AND 10 AND NOT versions BETWEEN 60 AND 80",
            "1",
        ),
        ("SELECT count(*) FROM words WHERE version BETWEEN 1 AND 2 AND (versions BETWEEN 7 AND 7)", "1"),
        ("SELECT CASE WHEN versions BETWEEN 1 AND 7 THEN 'a' ELSE 'b' END FROM words WHERE at = 3", "a"),
        (
            "SELECT sum(version) FROM words GROUP BY version, timestamp HAVING sum(versions) BETWEEN 1 AND 9",
            "1",
        ),
        ("SELECT 't VERSION AS OF 2' AS text FROM words WHERE at = 3", "t VERSION AS OF 2"),
        ("SELECT max(version) FROM words -- VERSION AS OF 2", "2"),
        ("SELECT max(version) FROM words /* AT (VERSION => 2) */", "2"),
    ] {
        bench.expect(sql, &[expected]);
    }
    for clause in
        [format!("VERSION AS OF {made}"), format!("AT (VERSION => {made})"), format!("AS OF '{made}'")]
    {
        for table in
            ["words", "words version", "words AS at", "words AS \"FROM\"", "main.words", "asof.main.words"]
        {
            let sql = format!("SELECT max(version), max(of) FROM {table} {clause}");
            bench.expect(&sql, &["1|5"]);
        }
    }
}

#[test]
fn tables_with_any_name_have_a_past() {
    let mut bench = Bench::new();
    let names = [
        ("\"Capital\"", "Capital"),
        ("\"with space\"", "with space"),
        ("\"quote\"\"d\"", "quote\"d"),
        ("\"select\"", "select"),
        ("\"version\"", "version"),
        ("\"at@home\"", "at@home"),
        ("\"ünïcödé\"", "ünïcödé"),
        ("\"x'y\"", "x'y"),
        ("ns.t", "ns.t"),
        ("\"Ns\".\"T\"", "Ns.T"),
        ("\"asof\"", "asof"),
        ("main.m", "m"),
        ("asof.main.m2", "m2"),
        ("system", "system"),
        ("before", "before"),
        ("\"1\"", "1"),
    ];
    for (name, plain) in names {
        bench.run(&format!("CREATE TABLE {name} (id INT PRIMARY KEY, n INT)"));
        bench.run(&format!("INSERT INTO {name} VALUES (1, 1)"));
        let then = bench.newest();
        bench.run(&format!("INSERT INTO {name} VALUES (2, 10)"));
        bench.run(&format!("UPDATE {name} SET n = n + 100 WHERE id = 2"));
        let quoted = plain.replace('\'', "''");
        for (clause, alias) in [
            (format!("{name} VERSION AS OF {then}"), ""),
            (format!("{name} FOR VERSION AS OF {then} AS x"), "x."),
            (format!("{name} x AT (VERSION => {then})"), "x."),
            (format!("{name} AS \"X\" AS OF '{then}'"), "\"X\"."),
            (format!("asof('{quoted}', {then})"), ""),
        ] {
            let sql = format!("SELECT sum({alias}n) FROM {clause}");
            bench.expect(&sql, &["1"]);
        }
        if !name.contains('.') && name.starts_with('"') {
            let sql = format!("SELECT sum(n) FROM \"{}@{then}\"", &name[1..name.len() - 1]);
            bench.expect(&sql, &["1"]);
        }
        bench.expect(&format!("SELECT sum(n) FROM {name}"), &["111"]);
        let qualified = format!(
            "SELECT sum(o.n), sum({name}.n) FROM {name} JOIN {name} VERSION AS OF {then} o ON o.id = {name}.id"
        );
        bench.expect(&qualified, &["1|1"]);
        bench.expect(&format!("SELECT count(*) FROM history('{quoted}')"), &["3"]);
        bench.expect(&format!("SELECT count(*) FROM {name} FOR SYSTEM_TIME ALL"), &["3"]);
        bench.run(&format!("DROP TABLE {name}"));
        let before = bench.run(&format!("SELECT sum(n) FROM {name} VERSION AS OF {then}"));
        assert_eq!(before, ["1"], "a dropped table has a past: {name}");
    }
}

#[test]
fn explain_names_the_version_of_each_scan() {
    let mut bench = bench();
    let plan = bench.run("EXPLAIN SELECT sum(x.n) FROM t VERSION AS OF 4 x JOIN t ON t.id = x.id").join("\n");
    assert!(plan.contains("t@4") && plan.contains("t@7"), "{plan}");
    for sql in [
        "EXPLAIN ANALYZE SELECT * FROM t VERSION AS OF 4",
        "EXPLAIN VERBOSE SELECT * FROM t AT (VERSION => 4)",
        "EXPLAIN FORMAT TREE SELECT * FROM t AT (VERSION => 4)",
    ] {
        let plan = bench.run(sql).join("\n");
        assert!(plan.contains("t@4") && !plan.contains("t@7"), "{sql}: {plan}");
    }
    for sql in [
        "EXPLAIN DELETE FROM t",
        "EXPLAIN UPDATE t SET n = 0",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (9, 9, 9)",
    ] {
        bench.fails(sql);
    }
    bench.expect("SELECT sum(n) FROM t", &[sum(NEWEST).to_string()]);
}

#[test]
fn a_session_of_the_past_reads_it_everywhere_and_writes_nothing() {
    let bench = bench();
    for as_of in ["4", "q3", "tag:q3", "latest~3"] {
        let mut past =
            bench.other(SessionOptions { as_of: Some(as_of.to_string()), ..SessionOptions::default() });
        past.expect("SELECT sum(n) FROM t", &[sum(THEN).to_string()]);
        past.expect(
            "SELECT (SELECT sum(n) FROM t) AS a, (SELECT sum(n) FROM t VERSION AS OF 6)",
            &[format!("{}|{}", sum(THEN), sum(6))],
        );
        past.expect("SELECT max(version) FROM commits()", &["4"]);
        past.expect("SELECT count(*) FROM t FOR SYSTEM_TIME ALL", &["3"]);
        for sql in [
            "INSERT INTO t VALUES (99, 1, 1)",
            "DELETE FROM t",
            "DROP TABLE t",
            "BEGIN",
            "OPTIMIZE",
            "CREATE TABLE z (a INT)",
        ] {
            past.fails(sql);
        }
    }
    let mut readers = bench.other(SessionOptions { read_only: true, ..SessionOptions::default() });
    for sql in ["INSERT INTO t VALUES (99, 1, 1)", "BEGIN", "OPTIMIZE t", "TRUNCATE t"] {
        readers.fails(sql);
    }
    assert_eq!(bench.newest().0, NEWEST);
}

#[test]
fn statements_of_a_long_session_leave_nothing_behind() {
    let mut bench = bench();
    bench.run("CREATE VIEW v AS SELECT sum(n) AS s FROM t VERSION AS OF 4");
    for version in (2..=NEWEST).cycle().take(300) {
        let sql = format!("SELECT sum(n), (SELECT s FROM v) FROM t VERSION AS OF {version}");
        bench.expect(&sql, &[format!("{}|{}", sum(version), sum(THEN))]);
        bench.fails("SELECT nosuch FROM t VERSION AS OF 3");
    }
}

#[test]
fn a_transaction_reads_its_own_changes_but_no_past_version_has_them() {
    let mut bench = bench();
    bench.run("CREATE VIEW v AS SELECT * FROM t");
    bench.run("BEGIN");
    bench.run("INSERT INTO t (id, n) VALUES (50, 1000000)");
    let changed = (sum(NEWEST) + 1_000_000).to_string();
    let newest = sum(NEWEST).to_string();
    bench.expect("SELECT sum(n) FROM t", &[changed.as_str()]);
    bench.expect("SELECT sum(n) FROM v", &[changed.as_str()]);
    bench.expect("SELECT sum(n) FROM t VERSION AS OF 7", &[newest.as_str()]);
    bench.expect("SELECT sum(n) FROM v VERSION AS OF 7", &[newest.as_str()]);
    bench.expect("SELECT sum(n) FROM t AS OF SYSTEM TIME now()", &[newest.as_str()]);
    bench.expect("SELECT sum(n) FROM \"t@latest\"", &[newest.as_str()]);
    let both = "SELECT (SELECT sum(n) FROM t) = (SELECT sum(n) FROM t VERSION AS OF 7)";
    bench.expect(both, &["false"]);
    bench.expect(
        "SELECT count(*) FROM t a JOIN t VERSION AS OF 7 b ON a.id = b.id JOIN t c ON c.id = a.id",
        &["6"],
    );
    bench.run("ROLLBACK");
    bench.expect("SELECT sum(n) FROM t", &[newest.as_str()]);
}

#[test]
fn offsets_are_counted_from_now() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY)");
    bench.run("INSERT INTO t VALUES (1)");
    std::thread::sleep(Duration::from_millis(1_500));
    bench.run("INSERT INTO t VALUES (2)");
    bench.expect("SELECT count(*) FROM t AT (OFFSET => -1)", &["1"]);
    bench.expect("SELECT count(*) FROM t AT (OFFSET => -1.0)", &["1"]);
    bench.expect("SELECT count(*) FROM t AT (OFFSET => -(1))", &["1"]);
    bench.expect("SELECT count(*) FROM t AT (OFFSET => 0)", &["2"]);
    bench.expect("SELECT count(*) FROM t TIMESTAMP AS OF now() - INTERVAL '1' SECOND", &["1"]);
    bench.expect("SELECT count(*) FROM t TIMESTAMP AS OF now()", &["2"]);
}
