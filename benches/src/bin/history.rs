//! asof's side of the history benchmark: a table, then commits to it, then questions about any version.
//!
//!     history ingest     --data DIR --store DIR [--from N] [--versions N]      durable commits, one after the other
//!     history checkpoint --store DIR
//!     history compact    --store DIR                                           a checkpoint, then all that can be better
//!     history read       --data DIR --store DIR --what open|scan|lookup|diff --at V [--to V]
//!     history plain      --data FILE.parquet --threads N            the limit of a scan: that column of a plain file
//!
//! Every read is a process of its own: nothing of the store is in memory but what the page cache has. Answers are
//! checked against the data set; `ok` tells. Versions are those of the data set: asof's are one more.

use asof_benches::arguments::Arguments;
use asof_benches::data::{Failure, History, columns, same_sum, sum};
use asof_benches::report::{Stopwatch, mean, print, quantile, sizes, work};
use asof_engine::arrow::array::{RecordBatch, StringArray};
use asof_engine::arrow::compute::filter_record_batch;
use asof_engine::compact::Parameters;
use asof_engine::{CommitOptions, Database, DiffKind, Options, ScanOptions, Version};
use serde_json::{Map, json};
use std::path::Path;

const TABLE: &str = "t";
const USAGE: &str = "usage: history ingest|checkpoint|compact|read|plain --data DIR --store DIR [--versions N] \
                     [--what open|scan|lookup|diff --at V [--to V]]";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    match arguments.command.as_str() {
        "ingest" => ingest(&arguments),
        "checkpoint" => checkpoint(&arguments),
        "compact" => compact(&arguments),
        "read" => read(&arguments),
        "plain" => plain(&arguments),
        other => arguments.refuse(&format!("unknown command {other}")),
    }
}

fn ingest(arguments: &Arguments) -> Result<(), Failure> {
    let history = History::open(arguments.path("data"))?;
    let store = arguments.path("store");
    let from = arguments.get_or("from", 0);
    let base = if from == 0 { Some(history.base()?) } else { None };
    let watch = Stopwatch::start();
    let database = match base {
        Some(base) => create(&store, base, &history.key())?,
        None => Database::open(&store, Options::default())?,
    };
    let base_seconds = watch.seconds();
    let watch = Stopwatch::start();
    let versions = arguments.get_or("versions", history.versions());
    let (mut times, mut preparing) = (Vec::new(), 0.0);
    for version in from.max(1)..=versions {
        let preparation = Stopwatch::start();
        let operations = history.operations(version)?;
        preparing += preparation.cpu_ms();
        let commit = Stopwatch::start();
        let mut transaction = database.begin()?;
        transaction.upsert(TABLE, &operations.upserts)?;
        transaction.delete(TABLE, &operations.deletes)?;
        let committed = transaction.commit(CommitOptions::default())?;
        times.push(commit.ms());
        if committed.version != Version(version + 1) {
            return Err(format!("commit {version} made version {}", committed.version).into());
        }
    }
    let (seconds, cpu) = (watch.seconds(), watch.cpu_ms() - preparing);
    let closing = Stopwatch::start();
    let sizes = sizes(&database)?;
    drop(database);
    let ten = times.len().min(10);
    let line = json!({
        "workload": "history", "command": "ingest", "system": "asof", "base_seconds": base_seconds,
        "versions": versions, "seconds": seconds, "cpu_ms_per_commit": cpu / versions as f64,
        "ms_first_10": mean(&times[..ten]), "ms_last_10": mean(&times[times.len() - ten..]),
        "ms_median": quantile(&times, 0.5), "ms_p99": quantile(&times, 0.99), "ms_most": quantile(&times, 1.0),
        "close_seconds": closing.seconds(), "bytes": asof_benches::report::directory_bytes(&store), "sizes": sizes,
    });
    print(line, Map::new());
    Ok(())
}

fn create(store: &Path, base: RecordBatch, key: &[String]) -> Result<Database, Failure> {
    if Database::exists(store, &Options::default())? {
        std::fs::remove_dir_all(store)?;
    }
    std::fs::create_dir_all(store)?;
    let database = Database::create(store, Options::default())?;
    let mut transaction = database.begin()?;
    transaction.create_table(TABLE, columns(&base)?, key)?;
    transaction.insert(TABLE, &base)?;
    transaction.commit(CommitOptions::default())?;
    Ok(database)
}

fn checkpoint(arguments: &Arguments) -> Result<(), Failure> {
    let store = arguments.path("store");
    let watch = Stopwatch::start();
    let database = Database::open(&store, Options::default())?;
    let report = database.checkpoint()?;
    let seconds = watch.seconds();
    let sizes = sizes(&database)?;
    drop(database);
    let line = json!({
        "workload": "history", "command": "checkpoint", "system": "asof", "seconds": seconds,
        "files_written": report.files, "bytes_written": report.bytes, "rows_written": report.rows,
        "bytes": asof_benches::report::directory_bytes(&store), "sizes": sizes,
    });
    print(line, Map::new());
    Ok(())
}

fn compact(arguments: &Arguments) -> Result<(), Failure> {
    let store = arguments.path("store");
    let watch = Stopwatch::start();
    let database = Database::open(&store, Options::default())?;
    database.checkpoint()?;
    let report = database.compact(None, &Parameters::BY_HAND)?;
    // Removes what the manifest before the last was the last to name.
    database.checkpoint()?;
    let (seconds, cpu) = (watch.seconds(), watch.cpu_ms() / 1e3);
    let sizes = sizes(&database)?;
    drop(database);
    let line = json!({
        "workload": "history", "command": "compact", "system": "asof", "seconds": seconds, "cpu_seconds": cpu,
        "files_read": report.files_read, "files_written": report.files_written, "rows_written": report.rows,
        "bytes_read": report.bytes_read, "bytes_written": report.bytes_written,
        "bytes": asof_benches::report::directory_bytes(&store), "sizes": sizes,
    });
    print(line, Map::new());
    Ok(())
}

fn read(arguments: &Arguments) -> Result<(), Failure> {
    let history = History::open(arguments.path("data"))?;
    let store = arguments.path("store");
    let (what, at) = (arguments.need::<String>("what"), arguments.need::<u64>("at"));
    let mut line =
        json!({"workload": "history", "command": "read", "system": "asof", "what": what, "at": at});
    let more = match what.as_str() {
        "diff" => diff(&history, &store, at, arguments.need("to"), &mut line)?,
        _ => {
            let probes = history.probes(at)?;
            let watch = Stopwatch::start();
            let database = Database::open_read_only(&store, Options::default())?;
            let snapshot = database.snapshot(Version(at + 1))?;
            line["open_ms"] = watch.ms().into();
            match what.as_str() {
                "open" => line["ok"] = true.into(),
                "scan" => {
                    let columns = Some(vec!["price".to_string()]);
                    let options = ScanOptions { columns, ordered: false, ..ScanOptions::default() };
                    let (mut rows, mut prices) = (0, 0.0);
                    for batch in snapshot.scan(TABLE, options)? {
                        let batch = batch?;
                        rows += batch.num_rows() as u64;
                        prices += sum(&batch, "price");
                    }
                    finish(&mut line, &watch);
                    let (expected_rows, expected_prices) = history.at(at);
                    line["ok"] = (rows == expected_rows && same_sum(prices, expected_prices)).into();
                    line["rows"] = rows.into();
                }
                "lookup" => {
                    // The third key is of a row in the middle; the others are looked up in what is warm by then.
                    let (key, price) = &probes[2];
                    let row = snapshot.get(TABLE, key)?;
                    finish(&mut line, &watch);
                    let mut ok = matches(row, *price);
                    let first = work(&database);
                    let warm = Stopwatch::start();
                    for (key, price) in &probes {
                        ok &= matches(snapshot.get(TABLE, key)?, *price);
                    }
                    line["warm_ms"] = (warm.ms() / probes.len() as f64).into();
                    line["ok"] = ok.into();
                    print(line, first);
                    return Ok(());
                }
                other => arguments.refuse(&format!("unknown question {other}")),
            }
            if line.get("ms").is_none() {
                finish(&mut line, &watch);
            }
            work(&database)
        }
    };
    print(line, more);
    Ok(())
}

fn finish(line: &mut serde_json::Value, watch: &Stopwatch) {
    line["ms"] = watch.ms().into();
    line["cpu_ms"] = watch.cpu_ms().into();
}

fn matches(row: Option<RecordBatch>, price: Option<f64>) -> bool {
    match (row, price) {
        (Some(row), Some(price)) => row.num_rows() == 1 && sum(&row, "price") == price,
        (Some(row), None) => row.num_rows() == 1,
        (None, _) => false,
    }
}

fn diff(
    history: &History,
    store: &Path,
    from: u64,
    to: u64,
    line: &mut serde_json::Value,
) -> Result<Map<String, serde_json::Value>, Failure> {
    let watch = Stopwatch::start();
    let database = Database::open_read_only(store, Options::default())?;
    let changes = database.diff(Version(from + 1), Version(to + 1), TABLE, DiffKind::Net)?;
    let (mut before, mut after) = ((0, 0.0), (0, 0.0));
    for batch in changes {
        let batch = batch?;
        let kinds =
            batch.column(0).as_any().downcast_ref::<StringArray>().ok_or("a change's type is a text")?;
        for (gone, part) in [(true, &mut before), (false, &mut after)] {
            let chosen = kinds
                .iter()
                .map(|kind| kind.map(|kind| matches!(kind, "delete" | "update_preimage") == gone))
                .collect();
            let rows = filter_record_batch(&batch, &chosen)?;
            part.0 += rows.num_rows() as u64;
            part.1 += sum(&rows, "price");
        }
    }
    finish(line, &watch);
    line["to"] = to.into();
    line["rows"] = (before.0 + after.0).into();
    let expected = history.diff(from, to);
    line["ok"] = expected.map(|[old, new]| same(before, old) && same(after, new)).into();
    Ok(work(&database))
}

fn same(found: (u64, f64), expected: (u64, f64)) -> bool {
    found.0 == expected.0 && same_sum(found.1, expected.1)
}

/// Reads one column of a plain Parquet file with the same Parquet reader as asof's, row groups on several threads.
fn plain(arguments: &Arguments) -> Result<(), Failure> {
    use asof_engine::parquet::arrow::ProjectionMask;
    use asof_engine::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
    let path = arguments.path("data");
    let threads = arguments.get_or("threads", std::thread::available_parallelism()?.get());
    let watch = Stopwatch::start();
    let metadata = ArrowReaderMetadata::load(&std::fs::File::open(&path)?, Default::default())?;
    let groups = metadata.metadata().num_row_groups();
    let open_ms = watch.ms();
    let part = |thread: usize| -> Result<(u64, f64), String> {
        let file = std::fs::File::open(&path).map_err(|error| error.to_string())?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["price"]);
        let mine = (0..groups).filter(|group| group % threads == thread).collect();
        let reader =
            builder.with_projection(mask).with_row_groups(mine).build().map_err(|error| error.to_string())?;
        let mut total = (0, 0.0);
        for batch in reader {
            let batch = batch.map_err(|error| error.to_string())?;
            total.0 += batch.num_rows() as u64;
            total.1 += sum(&batch, "price");
        }
        Ok(total)
    };
    let totals: Result<Vec<_>, String> = std::thread::scope(|scope| {
        let part = &part;
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let rows: u64 = totals?.iter().map(|total| total.0).sum();
    let mut line = json!({"workload": "history", "command": "read", "system": "plain-rust", "what": "scan"});
    finish(&mut line, &watch);
    line["open_ms"] = open_ms.into();
    line["rows"] = rows.into();
    line["groups"] = groups.into();
    print(line, Map::new());
    Ok(())
}
