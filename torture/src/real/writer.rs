//! One writer at work: in a thread with its own handle, or in a process of its own.

use super::workload::{self, Own, Step};
use asof_engine::{Database, Options, Result, Version};
use std::path::{Path, PathBuf};

/// A writer, with its own handle on a database.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    options: Options,
    database: Option<Database>,
    seed: u64,
    writer: u64,
    own: Own,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Made a version.
    Committed(Version),
    /// Named a version.
    Tagged(Version),
    /// Something that is not seen in what the tables hold.
    Other,
}

impl Writer {
    /// Opens the database for a writer.
    pub fn open(path: &Path, options: Options, seed: u64, writer: u64) -> Result<Writer> {
        let database = Database::open(path, options.clone())?;
        let own = Own::read(&database, writer)?;
        Ok(Writer { path: path.to_path_buf(), options, database: Some(database), seed, writer, own })
    }

    /// Does the step with this number.
    pub fn step(&mut self, number: u64) -> Result<Done> {
        let database = match self.database.take() {
            Some(database) => database,
            None => Database::open(&self.path, self.options.clone())?,
        };
        let done = match workload::step(self.seed, self.writer, number, &self.own) {
            Step::Write(write) => {
                let version = workload::commit(&database, self.writer, number, &write)?;
                self.own.apply(&write);
                Done::Committed(version)
            }
            Step::Tag(name) => Done::Tagged(workload::tag(&database, &name)?),
            Step::Checkpoint => {
                database.checkpoint()?;
                Done::Other
            }
            Step::Compact => {
                workload::compact(&database)?;
                Done::Other
            }
            Step::Retain => {
                workload::retain(&database)?;
                Done::Other
            }
            Step::Reopen => return Ok(Done::Other),
        };
        self.database = Some(database);
        Ok(done)
    }
}
