//! Rehearsing recoveries: what is recovered is compared, row by row, with the archive read directly, which goes another
//! way to the same rows.

use crate::recover::{Recovered, Source};
use crate::ship::Progress;
use asof_engine::{Database, Error, ErrorKind, Options, Result, ScanOptions, Version, text};
use asof_wal::RealDisk;
use std::path::Path;
use std::sync::Arc;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// What was recovered.
    pub recovered: Recovered,
    /// Versions compared: those that the archive's newest state still gives. Retention may have let go what an older one
    /// of its manifests leads to.
    pub versions: u64,
    /// Tables compared, over all of these.
    pub tables: u64,
    /// Rows of them.
    pub rows: u64,
}

/// Recovers a version into a directory and compares its content, and that of these earlier versions. What another
/// rehearsal left there is used again, as a recovery does.
pub fn rehearse(
    source: &Source,
    target: Version,
    earlier: &[Version],
    dir: &Path,
    progress: Progress<'_>,
) -> Result<Rehearsed> {
    let recovered = source.recover(&source.plan(target)?, dir, progress)?;
    let options = Options { disk: Arc::new(RealDisk), ..source.database().options().clone() };
    let made = Database::open_read_only(dir, options)?;
    let (mut versions, mut tables, mut rows) = (0, 0, 0);
    for version in earlier.iter().chain([&target]).filter(|version| **version <= target) {
        let expected = match content(source.database(), *version) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            expected => expected?,
        };
        let found = content(&made, *version)?;
        if expected != found {
            let differs = expected.iter().zip(&found).find(|(expected, found)| expected != found);
            let table = differs.map_or("the tables", |(expected, _)| &expected.name);
            return Err(Error::corrupt(format!(
                "{}: recovered to version {target}, {table} at version {version} differ from the archive read directly",
                source.name()
            )));
        }
        versions += 1;
        tables += found.len() as u64;
        rows += found.iter().map(|table| table.rows).sum::<u64>();
    }
    Ok(Rehearsed { recovered, versions, tables, rows })
}

/// A table's content at a version.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    name: String,
    rows: u64,
    digest: blake3::Hash,
}

/// The content of every table at a version.
fn content(database: &Database, version: Version) -> Result<Vec<Content>> {
    let snapshot = database.snapshot(version)?;
    let content = |name: String| {
        let schema = snapshot.schema(&name)?;
        let mut hasher = blake3::Hasher::new();
        // Types and keys, which text does not tell.
        hasher.update(format!("{:?} {:?} {:?}", schema.columns, schema.key, schema.checks).as_bytes());
        let mut rows = 0;
        for batch in snapshot.scan(&name, ScanOptions::default())? {
            let batch = batch?;
            let mut bytes = Vec::new();
            text::write_jsonl_rows(&schema, &batch, &mut bytes);
            hasher.update(&bytes);
            rows += batch.num_rows() as u64;
        }
        Ok(Content { name, rows, digest: hasher.finalize() })
    };
    snapshot.table_names()?.into_iter().map(content).collect()
}
