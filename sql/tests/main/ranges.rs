//! Row versions over ranges, against the lives that the statements gave them; from memory, from files, and compacted;
//! with the table dropped and made again, and columns that come, change their names and go.

use crate::support::Bench;
use asof_engine::{Options, Upkeep};
use asof_sql::SessionOptions;

/// A row version: from its begin, to the version that ended it.
#[derive(Clone, Debug)]
struct Life {
    id: i64,
    n: i64,
    begin: u64,
    end: Option<u64>,
}

/// The lives of all rows, and when there was a table.
#[derive(Default)]
struct Model {
    lives: Vec<Life>,
    tables: Vec<(u64, Option<u64>)>,
}

impl Model {
    fn end(&mut self, version: u64, which: impl Fn(&Life) -> bool) -> Vec<Life> {
        let living = self.lives.iter_mut().filter(|life| life.end.is_none() && which(life));
        let ended = living.map(|life| {
            life.end = Some(version);
            life.clone()
        });
        ended.collect()
    }

    fn begin(&mut self, version: u64, id: i64, n: i64) {
        self.lives.push(Life { id, n, begin: version, end: None });
    }

    /// The lines of the lives that a condition keeps.
    fn lines(&self, keeps: impl Fn(&Life) -> bool) -> Vec<String> {
        let mut lives: Vec<&Life> = self.lives.iter().filter(|life| keeps(life)).collect();
        lives.sort_by_key(|life| (life.id, life.begin));
        let end = |life: &Life| life.end.map_or("NULL".to_string(), |end| end.to_string());
        lives.iter().map(|life| format!("{}|{}|{}|{}", life.id, life.n, life.begin, end(life))).collect()
    }

    fn had_table(&self, from: u64, to: u64) -> bool {
        self.tables.iter().any(|(begin, end)| *begin <= to && end.is_none_or(|end| end > from))
    }
}

const MAKE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)";

/// A history whose every step is one version.
fn history(bench: &mut Bench, model: &mut Model) {
    let insert = |bench: &mut Bench, model: &mut Model, ids: std::ops::Range<i64>| {
        let rows: Vec<String> = ids.clone().map(|id| format!("({id}, {})", id * 10)).collect();
        bench.run(&format!("INSERT INTO t (id, n) VALUES {}", rows.join(", ")));
        let version = bench.newest().0;
        ids.for_each(|id| model.begin(version, id, id * 10));
    };
    bench.run(MAKE);
    model.tables.push((bench.newest().0, None));
    insert(bench, model, 1..7);
    bench.run("UPDATE t SET n = n + 1 WHERE id < 4");
    let version = bench.newest().0;
    for life in model.end(version, |life| life.id < 4) {
        model.begin(version, life.id, life.n + 1);
    }
    bench.run("ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x'");
    bench.run("DELETE FROM t WHERE id = 2");
    model.end(bench.newest().0, |life| life.id == 2);
    insert(bench, model, 2..3);
    bench.run("ALTER TABLE t RENAME COLUMN extra TO other");
    bench.run("UPDATE t SET id = 9, other = 'y' WHERE id = 5");
    let version = bench.newest().0;
    for life in model.end(version, |life| life.id == 5) {
        model.begin(version, 9, life.n);
    }
    bench.run("ALTER TABLE t DROP COLUMN other");
    bench.run("DROP TABLE t");
    let version = bench.newest().0;
    model.end(version, |_| true);
    model.tables.last_mut().unwrap().1 = Some(version);
    bench.run("CREATE TABLE between_them (id INT PRIMARY KEY)");
    bench.run(MAKE);
    model.tables.push((bench.newest().0, None));
    insert(bench, model, 4..8);
    bench.run("DELETE FROM t");
    model.end(bench.newest().0, |_| true);
    insert(bench, model, 6..9);
}

fn check(bench: &mut Bench, model: &Model) {
    let newest = bench.newest().0;
    let columns = "id, n, _begin_version, _end_version";
    let order = "ORDER BY id, _begin_version";
    let all = model.lines(|_| true);
    for ranges in ["t FOR SYSTEM_TIME ALL", "history('t')", "t VERSIONS BETWEEN MINVALUE AND MAXVALUE"] {
        bench.expect(&format!("SELECT {columns} FROM {ranges} {order}"), &all);
    }
    for from in 0..=newest {
        for to in from..=newest {
            let alive = |life: &Life| life.begin <= to && life.end.is_none_or(|end| end > from);
            let expected = model.lines(alive);
            let forms = [
                format!("t FOR SYSTEM_TIME BETWEEN {from} AND {to}"),
                format!("t AS x VERSIONS BETWEEN VERSION {from} AND {to}"),
                format!("t FOR SYSTEM_TIME FROM {from} TO {} AS x", to + 1),
                format!("t x VERSIONS BETWEEN SCN {from} AND {to}"),
            ];
            let form = &forms[((from + to) % 4) as usize];
            let form = if to == newest && form.contains(" TO ") { &forms[0] } else { form };
            let sql = format!("SELECT {columns} FROM {form} {order}");
            match model.had_table(from, to) {
                true => bench.expect(&sql, &expected),
                false => bench.refused(&sql),
            }
            let within = model.lines(|life| life.begin >= from && life.end.is_some_and(|end| end <= to));
            if model.had_table(from, to) {
                let sql =
                    format!("SELECT {columns} FROM t FOR SYSTEM_TIME CONTAINED IN ({from}, {to}) {order}");
                bench.expect(&sql, &within);
            }
        }
        // Each row version is alive at the versions of its life: what AS OF shows.
        if model.had_table(from, from) {
            let mut then: Vec<String> = model
                .lives
                .iter()
                .filter(|life| life.begin <= from && life.end.is_none_or(|end| end > from))
                .map(|life| format!("{}|{}", life.id, life.n))
                .collect();
            then.sort();
            let mut found = bench.run(&format!("SELECT id, n FROM t VERSION AS OF {from}"));
            found.sort();
            assert_eq!(found, then, "version {from}");
        }
    }
}

#[test]
fn ranges_give_the_row_versions_that_lived_in_them() {
    let options = Options { upkeep: Upkeep::Off, ..Options::default() };
    let mut bench = Bench::on(options, SessionOptions::default());
    let mut model = Model::default();
    history(&mut bench, &mut model);
    check(&mut bench, &model);
    bench.database.checkpoint().unwrap();
    check(&mut bench, &model);
    bench.run("OPTIMIZE");
    check(&mut bench, &model);
    // More on top of files.
    bench.run("UPDATE t SET n = -n WHERE id = 8");
    let version = bench.newest().0;
    for life in model.end(version, |life| life.id == 8) {
        model.begin(version, life.id, -life.n);
    }
    check(&mut bench, &model);
}
