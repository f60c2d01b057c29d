//! A table's Parquet file as a mount shows it, without the mount: how long it takes to know its size, and to read one of
//! its columns for the first time and again.
//!
//!     view read --store DIR --table T --column NAME --at V [--threads N] [--rounds N]
//!
//! Versions are asof's own. Every round opens the database anew.

use asof_benches::arguments::Arguments;
use asof_benches::data::Failure;
use asof_benches::report::{Stopwatch, peak_resident_mb, print, quantile, work};
use asof_engine::parquet::file::metadata::{FooterTail, ParquetMetaDataReader};
use asof_engine::view::{Format, View};
use asof_engine::{Database, Options, Version};
use serde_json::json;
use std::ops::Range;
use std::sync::Mutex;

const USAGE: &str = "usage: view read --store DIR --table T --column NAME --at V [--threads N] [--rounds N]";
const FOOTER_TAIL_BYTES: u64 = 8;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(USAGE);
    match arguments.command.as_str() {
        "read" => read(&arguments),
        other => arguments.refuse(&format!("unknown command {other}")),
    }
}

fn read(arguments: &Arguments) -> Result<(), Failure> {
    let (table, column): (String, String) = (arguments.need("table"), arguments.need("column"));
    let store = arguments.path("store");
    let (at, threads) = (arguments.get_or("at", 0), arguments.get_or("threads", 1));
    let (mut sizes_ms, mut open_ms, mut first_ms, mut again_ms, mut cpu_ms) =
        (vec![], vec![], vec![], vec![], vec![]);
    let mut line = json!({ "workload": "view", "command": "read", "system": "asof", "version": at });
    for _ in 0..arguments.get_or("rounds", 1) {
        let database = Database::open(&store, Options::default())?;
        let snapshot = database.snapshot(Version(at))?;
        let watch = Stopwatch::start();
        let view = snapshot.view(&table, Format::Parquet)?;
        sizes_ms.push(watch.ms());
        let watch = Stopwatch::start();
        view.prepare()?;
        open_ms.push(watch.ms());
        let chunks = chunks_of(&view, &column)?;
        let watch = Stopwatch::start();
        read_all(&view, &chunks, threads)?;
        first_ms.push(watch.ms());
        cpu_ms.push(watch.cpu_ms());
        let watch = Stopwatch::start();
        read_all(&view, &chunks, threads)?;
        again_ms.push(watch.ms());
        let bytes: u64 = chunks.iter().map(|chunk| chunk.end - chunk.start).sum();
        line["bytes"] = view.size().into();
        line["chunks"] = chunks.len().into();
        line["chunk_bytes"] = bytes.into();
        line["work"] = work(&database).into();
        if let Some(made_of) = view.composition() {
            line["copied"] = made_of.copied.into();
            line["slots"] = made_of.slots.into();
            line["filled"] = made_of.filled.into();
            line["filled_copied"] = made_of.filled_copied.into();
            line["padding"] = made_of.padding.into();
        }
    }
    let median = |values: &[f64]| quantile(values, 0.5);
    line["size_ms"] = median(&sizes_ms).into();
    line["open_ms"] = median(&open_ms).into();
    line["first_ms"] = median(&first_ms).into();
    line["first_cpu_ms"] = median(&cpu_ms).into();
    line["again_ms"] = median(&again_ms).into();
    line["peak_resident_mb"] = peak_resident_mb().into();
    print(line, Default::default());
    Ok(())
}

/// Where the chunks of a column lie.
fn chunks_of(view: &View, column: &str) -> Result<Vec<Range<u64>>, Failure> {
    let mut tail = [0; FOOTER_TAIL_BYTES as usize];
    read_exact(view, &mut tail, view.size() - FOOTER_TAIL_BYTES)?;
    let mut footer = vec![0; FooterTail::try_new(&tail)?.metadata_length()];
    let start = view.size() - FOOTER_TAIL_BYTES - footer.len() as u64;
    read_exact(view, &mut footer, start)?;
    let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
    let leaf =
        metadata.file_metadata().schema_descr().columns().iter().position(|leaf| leaf.name() == column);
    let leaf = leaf.ok_or_else(|| format!("there is no column {column}"))?;
    let groups = metadata.row_groups().iter();
    Ok(groups
        .map(|group| group.column(leaf).byte_range())
        .map(|(start, bytes)| start..start + bytes)
        .collect())
}

fn read_all(view: &View, chunks: &[Range<u64>], threads: usize) -> Result<(), Failure> {
    let left = Mutex::new(chunks.iter());
    let work = || -> Result<(), String> {
        let mut buffer = Vec::new();
        loop {
            let next = left.lock().expect("nobody panics with it").next();
            let Some(chunk) = next else { return Ok(()) };
            buffer.resize((chunk.end - chunk.start) as usize, 0);
            read_exact(view, &mut buffer, chunk.start).map_err(|error| error.to_string())?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    Ok(())
}

fn read_exact(view: &View, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Failure> {
    while !buffer.is_empty() {
        let count = view.read_at(buffer, offset)?;
        if count == 0 {
            return Err("the file ends before its size".into());
        }
        (buffer, offset) = (&mut buffer[count..], offset + count as u64);
    }
    Ok(())
}
