//! What users should not do, and do: keys that swap, statements without end, values at the edge, sessions that race.

use crate::support::Bench;
use asof_engine::{Options, Upkeep};
use asof_sql::SessionOptions;
use std::sync::Barrier;

fn by_hand() -> Options {
    Options { upkeep: Upkeep::Off, ..Options::default() }
}

#[test]
fn keys_may_swap_and_move_but_not_meet() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    bench.run("INSERT INTO t SELECT value, value * 10 FROM generate_series(1, 20000)");
    bench.run("UPDATE t SET id = CASE id WHEN 1 THEN 2 ELSE 1 END WHERE id < 3");
    bench.expect("SELECT id, n FROM t WHERE id < 4 ORDER BY id", &["1|20", "2|10", "3|30"]);
    bench.run("UPDATE t SET id = id + 1");
    bench.expect("SELECT count(*), min(id), max(id), sum(n) FROM t", &["20000|2|20001|2000100000"]);
    bench.run("UPDATE t SET id = 20003 - id");
    bench.expect("SELECT n FROM t WHERE id = 2", &["200000"]);
    bench.run("UPDATE t SET id = -id WHERE id % 2 = 0");
    bench.expect("SELECT count(*), count(*) FILTER (WHERE id < 0) AS negative FROM t", &["20000|10000"]);
    let before = bench.newest();
    for wrong in [
        "UPDATE t SET id = 3 WHERE id = 5",
        "UPDATE t SET id = 3",
        "UPDATE t SET id = NULL WHERE id = 3",
        "INSERT INTO t VALUES (3, 1)",
        "INSERT INTO t VALUES (100000, 1), (100000, 2)",
        "MERGE INTO t USING (VALUES (100000, 1), (100000, 2)) s(i, n) ON t.id = s.i WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.i, s.n)",
        "MERGE INTO t USING (VALUES (3, 1), (3, 2)) s(i, n) ON t.id = s.i WHEN MATCHED THEN UPDATE SET n = s.n",
        "MERGE INTO t USING (VALUES (3, 1), (3, 2)) s(i, n) ON t.id = s.i WHEN MATCHED THEN DELETE",
        "UPDATE t SET n = s.n FROM (VALUES (3, 1), (3, 2)) s(i, n) WHERE s.i = t.id",
    ] {
        bench.fails(wrong);
        assert_eq!(bench.newest(), before, "{wrong}");
    }
    bench.run("DELETE FROM t USING (VALUES (3), (3)) s(i) WHERE s.i = t.id");
    bench.expect("SELECT count(*) FROM t", &["19999"]);
}

#[test]
fn tables_without_a_key_hold_the_same_row_twice() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (a INT, b TEXT)");
    bench.run("INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (NULL, NULL)");
    bench.run("UPDATE t SET b = 'y' WHERE a = 1");
    bench.expect(
        "SELECT a, b, count(*) FROM t GROUP BY a, b ORDER BY a NULLS LAST",
        &["1|y|3", "2|NULL|1", "NULL|NULL|1"],
    );
    bench.run("DELETE FROM t WHERE a IS NULL");
    bench.run("UPDATE t SET a = a + 1");
    bench.expect("SELECT sum(a), count(*) FROM t", &["9|4"]);
    bench.run("MERGE INTO t USING (VALUES (3, 'z'), (9, 'n')) s(a, b) ON t.a = s.a AND t.b IS NULL WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b) WHEN NOT MATCHED BY SOURCE THEN DELETE");
    bench.expect("SELECT a, b FROM t ORDER BY a", &["3|z", "9|n"]);
    bench.run("INSERT INTO t SELECT * FROM t");
    bench.run("INSERT INTO t SELECT * FROM t");
    bench.expect("SELECT count(*) FROM t", &["8"]);
    bench.run("BEGIN");
    bench.run("DELETE FROM t WHERE a = 3");
    bench.run("INSERT INTO t VALUES (3, 'own'), (3, 'own')");
    bench.expect("SELECT a, b, count(*) FROM t GROUP BY a, b ORDER BY a", &["3|own|2", "9|n|4"]);
    bench.run("COMMIT");
    bench.run("BEGIN");
    bench.run("DELETE FROM t USING (SELECT 1) one WHERE b = 'own'");
    bench.expect("SELECT count(*) FROM t", &["4"]);
    bench.run("COMMIT");
    // Rows without a name cannot be told from others before they are committed.
    bench.run("BEGIN");
    bench.run("INSERT INTO t VALUES (8, 'new')");
    assert!(bench.fails("UPDATE t SET b = 'x' WHERE a = 8").contains("committed"));
    bench.run("ROLLBACK");
    bench.expect("SELECT a, b, count(*) FROM t GROUP BY a, b ORDER BY a", &["9|n|4"]);
    bench.run("INSERT OVERWRITE t SELECT * FROM t VERSION AS OF 2");
    bench.expect("SELECT count(*) FROM t", &["5"]);
    bench.run("TRUNCATE TABLE t");
    bench.expect("SELECT count(*) FROM t", &["0"]);
    for wrong in
        ["INSERT OR REPLACE INTO t VALUES (1, 'x')", "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING"]
    {
        bench.fails(wrong);
    }
}

#[test]
fn deep_statements_are_errors_and_no_end_of_the_process() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    bench.run("INSERT INTO t VALUES (1, 1)");
    let deep = |count: usize| {
        let not = "NOT ".repeat(count);
        [
            format!("SELECT {}1{} FROM t", "(".repeat(count), ")".repeat(count)),
            format!("SELECT {}1 FROM t", "- ".repeat(count)),
            format!("SELECT {}1 FROM t", "-".to_string() + &" -".repeat(count)),
            format!("SELECT * FROM t WHERE {not}true"),
            format!("SELECT 1{} FROM t", " + 1".repeat(count)),
            format!("SELECT n{} FROM t", " + n".repeat(count)),
            format!("SELECT * FROM t WHERE n = 0{}", " OR n = 1".repeat(count)),
            format!("SELECT * FROM t WHERE n = 1{}", " AND id = 1".repeat(count)),
            format!("SELECT n{} FROM t", " || 'x'".repeat(count)),
            format!("SELECT {}1{} FROM t", "abs(".repeat(count), ")".repeat(count)),
            format!("SELECT {}n{} FROM t", "CASE WHEN true THEN ".repeat(count), " END".repeat(count)),
            format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(count), ") AS q".repeat(count)),
            format!("SELECT * FROM {}t{}", "(".repeat(count), ")".repeat(count)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(count)),
            format!("SELECT {}1{}", "(SELECT ".repeat(count), ")".repeat(count)),
            format!("SELECT {}1{}", "[".repeat(count), "]".repeat(count)),
            format!("CREATE TABLE d (a INT{})", "[]".repeat(count)),
            format!("CREATE TABLE d (a {}INT{})", "STRUCT<x ".repeat(count), ">".repeat(count)),
            format!("SELECT * FROM t VERSION AS OF {}2{}", "(".repeat(count), ")".repeat(count)),
            format!("SELECT * FROM t VERSION AS OF 0{}", " + 0".repeat(count)),
            format!("UPDATE t SET n = n{}", " + 0".repeat(count)),
            format!("SELECT CAST({}1{} AS INT)", "CAST(".repeat(count), " AS INT)".repeat(count)),
        ]
    };
    for count in [30, 1_000, 20_000] {
        for sql in deep(count) {
            // Done or refused, within the stack of a thread of a test.
            println!("{count}: {}", &sql[..sql.len().min(60)]);
            let _ = bench.try_run(&sql);
        }
    }
    bench.expect("SELECT n FROM t", &["1"]);
}

#[test]
fn numbers_at_the_edge_are_kept_or_refused() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE f (id INT PRIMARY KEY, x DOUBLE, y REAL)");
    bench.run("INSERT INTO f VALUES (1, CAST('NaN' AS DOUBLE), CAST('NaN' AS REAL)), (2, CAST('inf' AS DOUBLE), CAST('-inf' AS REAL)), (3, -0.0, 0.0), (4, 0.0, -0.0), (5, NULL, NULL), (6, 1e308, 3e38), (7, 5e-324, 1e-45)");
    for pass in 0..2 {
        // The same from memory and from files, with a filter below or above the scan.
        for (condition, above) in [
            ("x = 'NaN'", "x + 0 = 'NaN'"),
            ("x > 1e307", "x + 0 > 1e307"),
            ("x >= 0", "x * 1 >= 0"),
            ("x < 0", "x * 1 < 0"),
            ("x = 0", "x * 1 = 0"),
            ("x <> 0", "x * 1 <> 0"),
            ("x IN (0, 1e308)", "x * 1 IN (0, 1e308)"),
            ("NOT x > 0", "NOT x * 1 > 0"),
            ("x BETWEEN -1 AND 1", "x * 1 BETWEEN -1 AND 1"),
            ("y < 0", "y * CAST(1 AS REAL) < 0"),
            ("y = 0", "y * CAST(1 AS REAL) = 0"),
            ("x IS NULL", "x * 1 IS NULL"),
        ] {
            let below = bench.run(&format!("SELECT id FROM f WHERE {condition} ORDER BY id"));
            bench.expect(&format!("SELECT id FROM f WHERE {above} ORDER BY id"), &below);
        }
        bench.expect("SELECT id FROM f WHERE x > 1e307 ORDER BY id", &["1", "2", "6"]);
        bench.expect("SELECT x FROM f ORDER BY id LIMIT 2", &["NaN", "inf"]);
        if pass == 0 {
            bench.database.checkpoint().unwrap();
        }
    }
    bench.run("CREATE TABLE d (id INT PRIMARY KEY, d DECIMAL(10, 2), e DECIMAL(38, 10), i TINYINT, u BIGINT UNSIGNED)");
    bench.run("INSERT INTO d VALUES (1, 99999999.99, 9999999999999999999999999999.9999999999, 127, 18446744073709551615)");
    bench.run("INSERT INTO d VALUES (2, -99999999.99, -1, -128, 0), (3, 1.10, 0.0000000001, NULL, NULL)");
    bench.expect(
        "SELECT d, i, u FROM d ORDER BY id",
        &["99999999.99|127|18446744073709551615", "-99999999.99|-128|0", "1.10|NULL|NULL"],
    );
    bench.expect("SELECT id FROM d WHERE d = 1.1", &["3"]);
    bench.expect("SELECT id FROM d WHERE u = 18446744073709551615", &["1"]);
    bench.expect("SELECT id FROM d WHERE e = 0.0000000001", &["3"]);
    for wrong in [
        "INSERT INTO d (id, d) VALUES (9, 100000000)",
        "INSERT INTO d (id, d) VALUES (9, '1.005')",
        "INSERT INTO d (id, d) VALUES (9, 'x')",
        "INSERT INTO d (id, i) VALUES (9, 128)",
        "INSERT INTO d (id, i) VALUES (9, 1.5)",
        "INSERT INTO d (id, i) VALUES (9, '1.5')",
        "INSERT INTO d (id, u) VALUES (9, -1)",
        "INSERT INTO d (id, u) VALUES (9, 18446744073709551616)",
        "INSERT INTO d (id) VALUES (2147483648)",
        "INSERT INTO d (id) VALUES (1e300)",
        "INSERT INTO d (id) VALUES (NULL)",
        "INSERT INTO d (id, i) VALUES (9, true AND NULL = 'x')",
        "INSERT INTO d (id, d) VALUES (9, CAST('NaN' AS DOUBLE))",
        "INSERT INTO d (id, d) VALUES (9, 1e400)",
        "INSERT INTO d (id, i) VALUES (9, CAST('inf' AS DOUBLE))",
    ] {
        let done = bench.try_run(wrong);
        if let Ok(lines) = done {
            let row = bench.run("SELECT * FROM d WHERE id = 9");
            // A NULL is a value of its own; nothing else may have changed on the way.
            assert!(row == ["9|NULL|NULL|NULL|NULL"], "{wrong}: {lines:?} {row:?}");
            bench.run("DELETE FROM d WHERE id = 9");
        }
    }
    let huge = "9".repeat(5_000);
    for sql in [
        format!("SELECT {huge}"),
        format!("INSERT INTO d (id) VALUES ({huge})"),
        format!("SELECT * FROM d VERSION AS OF {huge}"),
        format!("SELECT 1e{huge}"),
        format!("SELECT * FROM d LIMIT {huge}"),
    ] {
        let _ = bench.try_run(&sql);
    }
    let text = "ab'c\"\u{0}\u{1F600}\n".repeat(20_000);
    bench.run("CREATE TABLE s (id INT PRIMARY KEY, t TEXT)");
    bench.run(&format!("INSERT INTO s VALUES (1, '{}')", text.replace('\'', "''")));
    bench.expect("SELECT t FROM s", std::slice::from_ref(&text));
    bench.expect("SELECT count(*) FROM s WHERE t LIKE 'ab''c%'", &["1"]);
}

#[test]
fn times_keep_their_zone_and_their_digits() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, z TIMESTAMP WITH TIME ZONE, p TIMESTAMP, d DATE, s TIMESTAMP(0), n TIMESTAMP(9), h TIME)");
    bench.run("INSERT INTO t VALUES (1, '2024-03-31T02:30:00+02:00', '2024-03-31 02:30:00.123456', '2024-02-29', '2024-03-31 02:30:00', '2024-03-31 02:30:00.123456789', '23:59:59.999999')");
    bench.run("INSERT INTO t (id, z) VALUES (2, '1969-12-31T23:59:59.999999Z'), (3, '0001-01-01T00:00:00Z'), (4, '9999-12-31T23:59:59Z')");
    bench.expect("SELECT z, p, d, s, n, h FROM t WHERE id = 1", &["2024-03-31T00:30:00.000000Z|2024-03-31T02:30:00.123456|2024-02-29|2024-03-31T02:30:00|2024-03-31T02:30:00.123456789|23:59:59.999999"]);
    bench.expect("SELECT id FROM t WHERE z = '2024-03-31T00:30:00Z'", &["1"]);
    bench.expect("SELECT id FROM t WHERE z = TIMESTAMP '2024-03-31 00:30:00'", &["1"]);
    bench.expect("SELECT id FROM t WHERE z < '1970-01-01T00:00:00Z' ORDER BY id", &["2", "3"]);
    bench.expect("SELECT id FROM t WHERE p > '2024-03-31 02:30:00.123455' AND d = DATE '2024-02-29'", &["1"]);
    for wrong in [
        "INSERT INTO t (id, d) VALUES (9, '2023-02-29')",
        "INSERT INTO t (id, p) VALUES (9, 'yesterday')",
        "INSERT INTO t (id, d) VALUES (9, TIMESTAMP '2024-01-01 10:00:00')",
        "INSERT INTO t (id, p) VALUES (9, 5.5)",
        "INSERT INTO t (id, h) VALUES (9, '25:00:00')",
    ] {
        bench.fails(wrong);
    }
}

#[test]
fn counters_of_racing_sessions_are_exact() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    bench.run("INSERT INTO t VALUES (1, 0), (2, 0)");
    let (threads, rounds) = (4, 12);
    let barrier = Barrier::new(threads);
    let lost: u64 = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (mut own, barrier) = (bench.other(SessionOptions::default()), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut lost = 0;
                    for round in 0..rounds {
                        let changes = [
                            "UPDATE t SET n = n + 1 WHERE id = 1",
                            "MERGE INTO t USING (VALUES (2)) s(i) ON t.id = s.i WHEN MATCHED THEN UPDATE SET n = t.n + 1",
                        ];
                        for sql in changes {
                            // A session that lost too often says so, and has changed nothing.
                            match own.try_run(sql) {
                                Ok(_) => {}
                                Err(error) => {
                                    assert!(error.message().contains("conflict") || error.engine().is_some(), "{error}");
                                    lost += 1;
                                }
                            }
                        }
                        own.run(&format!("INSERT INTO t VALUES ({}, 1)", 1_000 * (thread + 1) + round));
                    }
                    lost
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    });
    let total = bench.run("SELECT sum(n) FROM t WHERE id < 3").remove(0).parse::<u64>().unwrap();
    assert_eq!(total + lost, (2 * threads * rounds) as u64);
    bench.expect("SELECT count(*) FROM t WHERE id > 3", &[(threads * rounds).to_string()]);
}

#[test]
fn of_two_transactions_on_one_row_the_second_fails() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    bench.run("INSERT INTO t VALUES (1, 0), (2, 0)");
    let mut other = bench.other(SessionOptions::default());
    bench.run("BEGIN");
    other.run("BEGIN");
    bench.run("UPDATE t SET n = 1 WHERE id = 1");
    other.run("UPDATE t SET n = 2 WHERE id = 1");
    bench.run("COMMIT");
    other.expect("SELECT n FROM t WHERE id = 1", &["2"]);
    let error = other.error("COMMIT");
    assert_eq!(error.engine().map(|error| error.kind()), Some(asof_engine::ErrorKind::Conflict), "{error}");
    assert!(!other.session.in_transaction());
    other.expect("SELECT n FROM t WHERE id = 1", &["1"]);
    // A transaction that failed does nothing more.
    other.run("BEGIN");
    other.run("UPDATE t SET n = 5 WHERE id = 2");
    other.fails("INSERT INTO t VALUES (2, 2)");
    assert!(other.fails("SELECT 1").contains("ROLLBACK"));
    assert!(other.fails("COMMIT").contains("nothing was committed"));
    other.expect("SELECT n FROM t WHERE id = 2", &["0"]);
}

#[test]
fn more_than_memory_is_grouped_and_written() {
    let options = Options { memory_bytes: 16 << 20, ..Options::default() };
    let mut bench =
        Bench::on(options, SessionOptions { memory_bytes: Some(48 << 20), ..SessionOptions::default() });
    bench.run("CREATE TABLE t (id BIGINT PRIMARY KEY, text TEXT)");
    bench.run("INSERT INTO t SELECT value, repeat('x', 60) || value FROM generate_series(1, 1000000)");
    bench.expect("SELECT count(*), sum(id) FROM t", &["1000000|500000500000"]);
    bench.expect(
        "SELECT count(*) FROM (SELECT text, count(*) FROM t GROUP BY text HAVING count(*) = 1) q",
        &["1000000"],
    );
    bench.run("BEGIN");
    bench.run("UPDATE t SET text = text || '!' WHERE id % 2 = 0");
    // Too large to be read before it is committed, and said so; never a part of it.
    assert!(bench.fails("SELECT count(*) FROM t WHERE text LIKE '%!'").contains("commit before reading it"));
    bench.run("ROLLBACK");
    bench.run("UPDATE t SET text = text || '!' WHERE id % 2 = 0");
    bench.run("DELETE FROM t WHERE id % 4 = 0");
    bench.expect(
        "SELECT count(*), count(*) FILTER (WHERE text LIKE '%!') AS changed FROM t",
        &["750000|250000"],
    );
}

#[test]
fn counts_of_any_version_read_no_data() {
    let mut bench = Bench::on(by_hand(), SessionOptions::default());
    bench.run("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT, text TEXT)");
    bench.run("INSERT INTO t SELECT value, value, repeat('y', 20) FROM generate_series(1, 300000)");
    bench.run("DELETE FROM t WHERE id % 3 = 0");
    bench.database.checkpoint().unwrap();
    bench.run("DELETE FROM t WHERE id % 7 = 0");
    let pages = |bench: &Bench| bench.database.counters().pages_decoded;
    for (version, count) in [(1, 0), (2, 300_000), (3, 200_000), (4, 171_428)] {
        let before = pages(&bench);
        bench.expect(&format!("SELECT count(*) FROM t VERSION AS OF {version}"), &[count.to_string()]);
        bench.expect(&format!("SELECT count(*) FROM asof('t', {version})"), &[count.to_string()]);
        bench.expect(&format!("SELECT count(id) FROM t VERSION AS OF {version}"), &[count.to_string()]);
        assert_eq!(pages(&bench), before, "count(*) of version {version} read data");
    }
    let before = pages(&bench);
    bench.expect("SELECT count(*) FROM t", &["171428"]);
    assert_eq!(pages(&bench), before);
    // A key is looked up: a page or two of each column, not a table.
    let before = pages(&bench);
    bench.expect("SELECT n FROM t VERSION AS OF 2 WHERE id = 200001", &["200001"]);
    let one = pages(&bench) - before;
    let before = pages(&bench);
    bench.expect("SELECT count(text), sum(n) FROM t VERSION AS OF 2", &["300000|45000150000"]);
    let all = pages(&bench) - before;
    assert!(one <= 4 && one * 4 < all, "a lookup decoded {one} pages, a scan {all}");
    let before = pages(&bench);
    bench.run("SELECT * FROM t VERSION AS OF 2 LIMIT 3");
    let few = pages(&bench) - before;
    assert!(few * 2 < all, "a limit decoded {few} pages, a scan {all}");
}

#[test]
fn queries_that_feed_on_themselves_end() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE edges (a INT, b INT)");
    bench.run("INSERT INTO edges VALUES (1, 2), (2, 3), (3, 4)");
    bench.run("INSERT INTO edges VALUES (4, 5)");
    let walk = |clause: &str| {
        format!(
            "WITH RECURSIVE w AS (SELECT 1 AS at UNION ALL SELECT b FROM w JOIN edges {clause} e ON e.a = w.at) SELECT count(*) FROM w"
        )
    };
    bench.expect(&walk(""), &["5"]);
    bench.expect(&walk("VERSION AS OF 2"), &["4"]);
    bench.run("BEGIN");
    bench.run("INSERT INTO edges VALUES (5, 6)");
    bench.expect(&walk(""), &["6"]);
    bench.expect(
        "SELECT count(*) FROM edges x JOIN edges y ON x.b = y.a JOIN edges VERSION AS OF 2 z ON z.a = y.b",
        &["1"],
    );
    bench.run("ROLLBACK");
    bench.run("CREATE VIEW v AS SELECT * FROM edges");
    bench.run("CREATE OR REPLACE VIEW w AS SELECT * FROM v");
    bench.fails("CREATE OR REPLACE VIEW v AS SELECT * FROM w");
    bench.expect("SELECT count(*) FROM w", &["4"]);
}

#[test]
fn statements_on_tables_without_rows_change_nothing() {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT DEFAULT 7)");
    for sql in [
        "UPDATE t SET n = 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "INSERT INTO t SELECT * FROM t",
        "MERGE INTO t USING t s ON s.id = t.id WHEN MATCHED THEN DELETE",
        "INSERT OVERWRITE t SELECT * FROM t",
    ] {
        bench.run(sql);
        bench.expect("SELECT count(*) FROM t", &["0"]);
    }
    bench.expect("SELECT sum(n), min(id), max(n) FROM t", &["NULL|NULL|NULL"]);
    bench.expect("SELECT * FROM t LEFT JOIN t u ON t.id = u.id", &[] as &[&str]);
    for nothing in ["", ";", " ; ; ", "-- only words", "/* nothing */"] {
        assert!(bench.run(nothing).is_empty());
    }
}
