//! Salvage of a log that is damaged in its middle: what it gives up is put aside, never removed.
//!
//! Invariant. The log behind the damage may name data files of loads. They get names that are never read before the log
//! is cut: until then the damage hides the records that name them, and afterwards nobody does, so that garbage
//! collection would take them.

use crate::api::Salvage;
use crate::checkpoint::{lock, unlock};
use crate::database::{Database, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::files::io_error;
use crate::garbage::{data_files_named_by, unlocked_data_files_but};
use crate::layout::{DATA_DIR, TEMPORARY_SUFFIX};
use crate::manifest::{self, Manifest};
use asof_wal::Disk;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Where the names of files that a salvage has put aside say so.
const ASIDE: &str = ".cut";

impl Database {
    /// Cuts a log that is damaged in its middle before the damage, so that it can be written again; none where the log
    /// is whole. What is cut off is put aside, and [`Database::verify`] names it. Open the database anew afterwards.
    pub fn salvage(&self) -> Result<Option<Salvage>> {
        let inner = &self.inner;
        // Nobody collects garbage meanwhile.
        let lock = lock(inner, Duration::ZERO)?.ok_or_else(|| {
            let message = "another process makes a checkpoint or compacts; try again when it is done";
            Error::new(ErrorKind::Locked, message)
        })?;
        // As far as the damage: what is read tells which loads stay.
        let _ = inner.follow();
        let mut failed = None;
        let before = || {
            put_loads_aside(inner).map_err(|error| {
                let source = io::Error::other(error.to_string());
                failed = Some(error);
                asof_wal::Error::Io {
                    operation: "put aside files of",
                    path: inner.layout.join(DATA_DIR),
                    source,
                }
            })
        };
        let salvaged = inner.log()?.salvage_after(inner.options.wait, before);
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(salvaged) = salvaged? else { return Ok(None) };
        unlock(inner, &*lock)?;
        let version = Database::open_read_only(self.path(), inner.options.clone())?.refresh()?;
        Ok(Some(Salvage { version, damage: salvaged.damage.to_string() }))
    }
}

/// Whether a file has the name of one that was put aside.
pub(crate) fn is_aside(name: &str) -> bool {
    name.contains(ASIDE)
}

/// Renames every finished data file that neither a manifest nor the log before the damage names.
fn put_loads_aside(inner: &Inner) -> Result<()> {
    let disk: &dyn Disk = &*inner.disk;
    let mut manifests = Vec::new();
    for number in manifest::list(disk, &inner.layout)? {
        match Manifest::read(disk, &inner.layout, number) {
            Ok(manifest) => manifests.push(manifest),
            // What it names is unknown. No garbage is collected while it is there.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let mut named = data_files_named_by(&manifests);
    named.extend(inner.state().memory.read().loaded.values().flatten().map(|file| file.record.id));
    let mut renamed = false;
    for (path, _, _handle) in unlocked_data_files_but(inner, &named)? {
        let name = path.to_string_lossy().into_owned();
        if !name.ends_with(TEMPORARY_SUFFIX) {
            let aside = free_name(disk, &name)?;
            disk.rename(&path, &aside).map_err(|error| io_error("rename", &path, error))?;
            renamed = true;
        }
    }
    let dir = inner.layout.join(DATA_DIR);
    if renamed {
        disk.sync_dir(&dir).map_err(|error| io_error("sync", &dir, error))?;
    }
    Ok(())
}

/// The first free name with `.cut` and a number behind it.
fn free_name(disk: &dyn Disk, name: &str) -> Result<PathBuf> {
    let mut number = 0_u32;
    loop {
        let aside = PathBuf::from(format!("{name}{ASIDE}{number}"));
        if !disk.exists(&aside).map_err(|error| io_error("look for", &aside, error))? {
            return Ok(aside);
        }
        number += 1;
    }
}
