//! TPC-H over a history: loads it, changes it by fifty commits, and asks its 22 queries of the first, a middle and the
//! newest version, beside DataFusion by itself over plain Parquet files of the same versions. Answers are compared with
//! one another, and written as CSV files so that another engine's can be compared with them (`compare.py`).
//!
//! `cargo run --release -p asof-sql --example tpch -- DIR [SCALE [RUNS]]`

use asof_engine::{Database, Options, text};
use asof_sql::{Outcome, Rows, Session, SessionOptions};
use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tpchgen::{csv, generators as g};

/// Hash joins do not go to disk: as much as the largest takes, which DataFusion by itself takes unasked.
const MEMORY_BYTES: u64 = 8 << 30;
/// Commits that change it.
const REFRESHES: u64 = 50;
const TABLES: [&str; 8] =
    ["nation", "region", "part", "supplier", "partsupp", "customer", "orders", "lineitem"];

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("give a directory")?);
    let scale: f64 = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
    let runs: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    fs::create_dir_all(&dir)?;
    let path = dir.join("tpch.db");
    if !Database::exists(&path, &Options::default())? {
        load(&dir, &path, scale)?;
    }
    let database = Database::open(&path, Options::default())?;
    let newest = database.latest()?.0;
    let first = newest - REFRESHES;
    let queries: Vec<&str> =
        include_str!("queries.sql").split(';').map(str::trim).filter(|q| q.contains("select")).collect();
    assert_eq!(queries.len(), 22);
    let mut session =
        Session::new(database.clone(), SessionOptions { allow_files: true, ..SessionOptions::default() })?;
    println!("version,query,asof_ms,datafusion_ms,ratio");
    for (name, version) in [("first", first), ("middle", first + REFRESHES / 2), ("newest", newest)] {
        let plain = dir.join(name);
        if !plain.exists() {
            fs::create_dir_all(&plain)?;
            for table in TABLES {
                let file = plain.join(format!("{table}.parquet"));
                run(
                    &mut session,
                    &format!("COPY (SELECT * FROM {table} VERSION AS OF {version}) TO '{}'", file.display()),
                )?;
            }
        }
        measure(&dir, &database, name, version, &plain, &queries, runs)?;
    }
    Ok(())
}

/// Makes the data, loads it in one commit a table, and changes it.
fn load(dir: &Path, path: &Path, scale: f64) -> Done {
    let start = Instant::now();
    let data = dir.join("csv");
    fs::create_dir_all(&data)?;
    macro_rules! write {
        ($name:literal, $generator:expr, $row:ident) => {
            write_csv(&data.join($name), csv::$row::header(), $generator.iter().map(csv::$row::new))?
        };
    }
    write!("nation", g::NationGenerator::new(scale, 1, 1), NationCsv);
    write!("region", g::RegionGenerator::new(scale, 1, 1), RegionCsv);
    write!("part", g::PartGenerator::new(scale, 1, 1), PartCsv);
    write!("supplier", g::SupplierGenerator::new(scale, 1, 1), SupplierCsv);
    write!("partsupp", g::PartSuppGenerator::new(scale, 1, 1), PartSuppCsv);
    write!("customer", g::CustomerGenerator::new(scale, 1, 1), CustomerCsv);
    write!("orders", g::OrderGenerator::new(scale, 1, 1), OrderCsv);
    write!("lineitem", g::LineItemGenerator::new(scale, 1, 1), LineItemCsv);
    eprintln!("data made: {:.1} s", start.elapsed().as_secs_f64());
    let database = Database::create(path, Options::default())?;
    let mut session =
        Session::new(database.clone(), SessionOptions { allow_files: true, ..SessionOptions::default() })?;
    run(&mut session, include_str!("schema.sql"))?;
    for table in TABLES {
        let columns = run(&mut session, &format!("SHOW CREATE TABLE {table}"))?;
        let definition = columns[0].column(1);
        let definition = datafusion::arrow::util::display::array_value_to_string(definition, 0)?;
        let inner = &definition
            [definition.find('(').ok_or("no columns")? + 1..definition.find("PRIMARY").ok_or("no key")?];
        let inner = inner.replace("NOT NULL", "");
        let inner = inner.trim().trim_end_matches(',');
        let file = data.join(table);
        run(
            &mut session,
            &format!(
                "CREATE EXTERNAL TABLE {table}_csv ({inner}) STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true');
                 INSERT INTO {table} SELECT * FROM {table}_csv",
                file.display()
            ),
        )?;
    }
    eprintln!("loaded: {:.1} s", start.elapsed().as_secs_f64());
    fs::remove_dir_all(&data)?;
    let orders = (1_500_000.0 * scale) as u64;
    // Keys are in blocks of 32 of which eight are used.
    let (last, step) = (orders * 4, orders * 4 / 1000);
    for refresh in 0..REFRESHES {
        // A thousandth of the orders comes with other keys, and another one goes, each with its lines.
        let (from, gone, shift) = (refresh * 2 * step, (refresh * 2 + 1) * step, last * 2);
        run(
            &mut session,
            &format!(
                "BEGIN;
                 INSERT INTO orders SELECT o_orderkey + {shift}, o_custkey, o_orderstatus, o_totalprice, o_orderdate,
                     o_orderpriority, o_clerk, o_shippriority, o_comment
                 FROM orders WHERE o_orderkey > {from} AND o_orderkey <= {from} + {step};
                 INSERT INTO lineitem SELECT l_orderkey + {shift}, l_partkey, l_suppkey, l_linenumber, l_quantity,
                     l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, l_commitdate, l_receiptdate,
                     l_shipinstruct, l_shipmode, l_comment
                 FROM lineitem WHERE l_orderkey > {from} AND l_orderkey <= {from} + {step};
                 DELETE FROM lineitem WHERE l_orderkey > {gone} AND l_orderkey <= {gone} + {step};
                 DELETE FROM orders WHERE o_orderkey > {gone} AND o_orderkey <= {gone} + {step};
                 COMMIT COMMENT 'refresh {refresh}'"
            ),
        )?;
    }
    database.checkpoint()?;
    eprintln!("changed: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn write_csv(path: &Path, header: &str, rows: impl Iterator<Item = impl Display>) -> Done {
    let mut out = BufWriter::new(fs::File::create(path.with_extension("csv"))?);
    writeln!(out, "{header}")?;
    for row in rows {
        writeln!(out, "{row}")?;
    }
    out.flush()?;
    // A directory for each table: all files in it are read.
    fs::create_dir_all(path)?;
    let name = path.with_extension("csv");
    fs::rename(&name, path.join(name.file_name().ok_or("no name")?))?;
    Ok(())
}

fn run(session: &mut Session, sql: &str) -> Done<Vec<RecordBatch>> {
    let mut last = Vec::new();
    session.run(sql, |outcome| {
        if let Outcome::Rows(rows) = outcome {
            last = rows.collect::<asof_sql::Result<Vec<_>>>()?;
        }
        Ok(())
    })?;
    Ok(last)
}

fn measure(
    dir: &Path,
    database: &Database,
    name: &str,
    version: u64,
    plain: &Path,
    queries: &[&str],
    runs: usize,
) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let threads = std::thread::available_parallelism()?.get();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    for table in TABLES {
        let file = plain.join(format!("{table}.parquet"));
        runtime.block_on(context.register_parquet(
            table,
            file.display().to_string(),
            ParquetReadOptions::default(),
        ))?;
    }
    let options = SessionOptions {
        as_of: Some(version.to_string()),
        memory_bytes: Some(MEMORY_BYTES),
        ..SessionOptions::default()
    };
    let mut session = Session::new(database.clone(), options)?;
    let answers = dir.join("answers").join(name);
    fs::create_dir_all(&answers)?;
    let (mut ours, mut theirs) = (0.0, 0.0);
    for (number, query) in queries.iter().enumerate() {
        let number = number + 1;
        let (mut mine, mut other) = (Vec::new(), Vec::new());
        let (mut answer, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let start = Instant::now();
            answer = run(&mut session, query)?;
            mine.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            expected = runtime.block_on(async { context.sql(query).await?.collect().await })?;
            other.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let (mine, other) = (median(&mut mine), median(&mut other));
        (ours, theirs) = (ours + mine, theirs + other);
        println!("{name},{number},{mine:.1},{other:.1},{:.2}", mine / other);
        let found = lines(&answer)?;
        if found != lines(&expected)? {
            return Err(format!(
                "query {number} at version {version} ({name}): another answer than DataFusion's"
            )
            .into());
        }
        // In the forms of the command line.
        let Outcome::Rows(rows) = session.execute(&session.prepare(query)?[0])? else {
            return Err("no rows".into());
        };
        write_answer(&answers.join(format!("{number:02}.csv")), rows)?;
    }
    println!("{name},total,{ours:.0},{theirs:.0},{:.2}", ours / theirs);
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn lines(batches: &[RecordBatch]) -> Done<Vec<String>> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|array| {
                let text = datafusion::arrow::util::display::array_value_to_string(array, row)?;
                // Sums of doubles depend on the order of rows in their last digits.
                let is_double = array.data_type().is_floating();
                Ok(if is_double {
                    text.parse::<f64>().map_or(text, |value| format!("{value:.6e}"))
                } else {
                    text
                })
            });
            lines.push(cells.collect::<Done<Vec<String>>>()?.join("|"));
        }
    }
    Ok(lines)
}

fn write_answer(path: &Path, rows: Rows) -> Done {
    let schema = rows.schema().clone();
    let mut bytes = Vec::new();
    text::write_csv_header(&schema, &mut bytes);
    for batch in rows {
        text::write_csv_rows(&schema, &batch?, &mut bytes);
    }
    fs::write(path, bytes)?;
    Ok(())
}
