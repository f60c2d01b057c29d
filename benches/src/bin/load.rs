//! asof's side of the bulk load benchmark: record batches, in memory before the clock starts, to durable, keys checked.
//!
//!     load --data FILE.arrow --store DIR [--key id]

use asof_benches::arguments::Arguments;
use asof_benches::data::{Failure, arrow_batches, columns};
use asof_benches::report::{Stopwatch, directory_bytes, print};
use asof_engine::{CommitOptions, Database, Options, ScanOptions};
use serde_json::{Map, json};

const TABLE: &str = "t";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read("usage: load run --data FILE.arrow --store DIR [--key id]");
    let (data, store) = (arguments.path("data"), arguments.path("store"));
    let key = arguments.get_or("key", "id".to_string());
    if Database::exists(&store, &Options::default())? {
        std::fs::remove_dir_all(&store)?;
    }
    std::fs::create_dir_all(&store)?;
    let batches = arrow_batches(&data)?;
    let first = batches.first().ok_or("a file of no batches")?;
    let (columns, width) = (columns(first)?, first.num_columns());
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let raw: usize = batches.iter().map(|batch| batch.get_array_memory_size()).sum();
    let watch = Stopwatch::start();
    let database = Database::create(&store, Options::default())?;
    let mut transaction = database.begin()?;
    transaction.create_table(TABLE, columns, &[key])?;
    transaction.load(TABLE, batches.into_iter().map(Ok))?;
    transaction.commit(CommitOptions::default())?;
    let (seconds, cpu) = (watch.seconds(), watch.cpu_ms() / 1e3);
    drop(database);
    let database = Database::open_read_only(&store, Options::default())?;
    let options = ScanOptions { columns: Some(Vec::new()), ordered: false, ..ScanOptions::default() };
    let mut found = 0;
    for batch in database.at("latest")?.scan(TABLE, options)? {
        found += batch?.num_rows();
    }
    let line = json!({
        "workload": "load", "system": "asof", "rows": rows, "columns": width, "seconds": seconds, "cpu_seconds": cpu,
        "rows_per_second": rows as f64 / seconds, "raw_bytes": raw, "bytes": directory_bytes(&store),
        "ok": found == rows,
    });
    print(line, Map::new());
    Ok(())
}
