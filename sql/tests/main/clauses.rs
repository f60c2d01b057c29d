//! Every spelling of time travel, in every place: the rows of the version that it names, or an error; never the newest
//! rows by mistake.

use crate::support::Bench;

/// Three versions of a table `t`: sums of `n` are 1, 11 and 111; version 1 makes it, the newest is version 4.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)");
    bench.run("INSERT INTO t VALUES (1, 1)");
    bench.run("INSERT INTO t VALUES (2, 10)");
    bench.run("INSERT INTO t VALUES (3, 100)");
    bench
}

#[test]
fn smoke() {
    let mut bench = bench();
    assert_eq!(bench.run("SELECT sum(n) FROM t"), ["111"]);
    assert_eq!(bench.run("SELECT sum(n) FROM t VERSION AS OF 2"), ["1"]);
    assert_eq!(bench.run("SELECT sum(n) FROM t FOR VERSION AS OF 3"), ["11"]);
    assert_eq!(bench.run("SELECT sum(n) FROM t AT (VERSION => 3)"), ["11"]);
    assert_eq!(bench.run("SELECT sum(n) FROM t BEFORE (VERSION => 3) AS x"), ["1"]);
    assert_eq!(bench.run("SELECT sum(x.n) FROM t AS x FOR SYSTEM_TIME AS OF now()"), ["111"]);
    assert_eq!(bench.run("SELECT sum(n) FROM asof('t', 2)"), ["1"]);
    assert_eq!(bench.run("SELECT sum(n) FROM \"t@2\""), ["1"]);
    assert_eq!(
        bench.run("SELECT a.n, b.n FROM t VERSION AS OF 3 a JOIN t b ON a.id = b.id ORDER BY 1"),
        ["1|1", "10|10"]
    );
    assert_eq!(bench.run("UPDATE t SET n = n + 1 WHERE id < 3"), ["version 5"]);
    assert_eq!(bench.sorted("SELECT id, n FROM t"), ["1|2", "2|11", "3|100"]);
    assert_eq!(bench.run("DELETE FROM t WHERE id = 2"), ["version 6"]);
    assert_eq!(
        bench.run("MERGE INTO t USING (VALUES (1, 7), (9, 9)) AS s(id, n) ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n) WHEN NOT MATCHED BY SOURCE THEN DELETE"),
        ["version 7"]
    );
    assert_eq!(bench.sorted("SELECT id, n FROM t"), ["1|7", "9|9"]);
    assert_eq!(bench.run("SELECT count(*) FROM t FOR SYSTEM_TIME ALL"), ["7"]);
    assert_eq!(bench.run("SELECT count(*) FROM commits()"), ["7"]);
    println!("{:?}", bench.run("DESCRIBE HISTORY t LIMIT 2"));
    println!("{:?}", bench.run("SHOW TABLES"));
    println!("{:?}", bench.run("DESCRIBE t"));
    println!("{:?}", bench.run("SHOW CREATE TABLE t"));
    println!("{:?}", bench.run("EXPLAIN SELECT count(*) FROM t WHERE id = 1"));
    for wrong in [
        "UPDATE t VERSION AS OF 1 SET n = 9",
        "DELETE FROM t VERSION AS OF 1",
        "INSERT INTO t VERSION AS OF 1 VALUES (9, 9)",
        "SELECT * FROM t VERSION AS OF 99",
        "SELECT * FROM t VERSION AS OF 'nosuch'",
        "SELECT * FROM nosuch",
        "SELECT nosuch FROM t",
        "SELECT N FROM T VERSION AS OF",
        "SELECT 1 +",
        "SELECT * FROM t TIMESTAMP AS OF 5",
        "INSERT INTO t VALUES (1, 'x')",
        "INSERT INTO t VALUES (1, 1.5)",
        "INSERT INTO t VALUES (1, 1)",
        "COPY t TO 'x.csv'",
    ] {
        println!("{wrong}  ->  {}", bench.fails(wrong));
    }
}
