//! Rehearsing recoveries: what is recovered is compared, row by row, with the archive read directly, which goes another
//! way to the same rows.

use crate::recover::{Recovered, Source};
use crate::ship::Progress;
use asof_engine::{Database, Error, Options, Result, Snapshot, Version};
use asof_wal::RealDisk;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// What was recovered.
    pub recovered: Recovered,
    /// Versions compared, as far as their tables are there both in what was recovered and in the archive's newest state:
    /// retention may have let go what an older one of its manifests leads to.
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
        let archived = source.database().snapshot(*version)?;
        let recovered = made.snapshot(*version)?;
        // The one was read from a newer manifest than the other was made of: retention may have run between.
        let gone: BTreeSet<String> =
            archived.gone_tables().into_iter().chain(recovered.gone_tables()).collect();
        let names = |snapshot: &Snapshot| -> Result<BTreeSet<String>> {
            Ok(snapshot.table_names()?.into_iter().filter(|name| !gone.contains(name)).collect())
        };
        let expected = names(&archived)?;
        let differ = |what: &str| {
            Error::corrupt(format!(
                "{}: recovered to version {target}, {what} at version {version} differ from the archive read directly",
                source.name()
            ))
        };
        if expected != names(&recovered)? {
            return Err(differ("the tables"));
        }
        for name in &expected {
            let checksum = archived.checksum(name)?;
            if archived.schema(name)? != recovered.schema(name)? || checksum != recovered.checksum(name)? {
                return Err(differ(name));
            }
            rows += checksum.rows;
        }
        versions += u64::from(gone.is_empty() || !expected.is_empty());
        tables += expected.len() as u64;
    }
    Ok(Rehearsed { recovered, versions, tables, rows })
}
