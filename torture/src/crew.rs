//! Several processes at work on one database: who has it open, and what they do, checked against the model.
//!
//! Each may hold a snapshot. It is read again whenever somebody has removed files, and shows what it did at first, whatever
//! has been compacted or let go meanwhile.

use crate::model::Model;
use crate::perform::{Done, WRONG, perform, texts};
use crate::step::{Action, Step};
use asof_engine::{Database, Error, Options, Snapshot, Version};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a step was not done.
#[derive(Debug)]
pub enum Trouble {
    /// The engine said no. Where no fault was planned that is wrong too.
    Failed(Error),
    /// The engine's answer cannot be.
    Wrong(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Failed(error) => error.fmt(f),
            Trouble::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        let message = error.to_string();
        match message.strip_prefix(WRONG) {
            Some(what) => Trouble::Wrong(what.to_string()),
            None => Trouble::Failed(error),
        }
    }
}

/// A snapshot that a process has kept, and what it shows.
struct Held {
    snapshot: Snapshot,
    texts: BTreeMap<String, Arc<str>>,
}

/// Processes and their handles.
pub struct Crew {
    path: PathBuf,
    options: Box<dyn Fn(usize) -> Options + Send>,
    handles: Vec<Option<Database>>,
    held: Vec<Option<Held>>,
}

impl Crew {
    /// So many processes on the database at `path`, which is made where it is missing; `options` says how each opens it.
    pub fn new(path: &Path, processes: usize, options: impl Fn(usize) -> Options + Send + 'static) -> Crew {
        Crew {
            path: path.to_path_buf(),
            options: Box::new(options),
            handles: (0..processes).map(|_| None).collect(),
            held: (0..processes).map(|_| None).collect(),
        }
    }

    /// A process's handle, opened where it is not.
    pub fn database(&mut self, process: usize) -> Result<Database, Error> {
        if let Some(database) = &self.handles[process] {
            return Ok(database.clone());
        }
        let database = Database::open_or_create(&self.path, (self.options)(process))?;
        self.handles[process] = Some(database.clone());
        Ok(database)
    }

    /// Closes a process's handle, and lets its snapshot go.
    pub fn close(&mut self, process: usize) {
        self.handles[process] = None;
        self.held[process] = None;
    }

    /// Closes all handles.
    pub fn close_all(&mut self) {
        (0..self.handles.len()).for_each(|process| self.close(process));
    }

    /// Does a step and tells the model.
    pub fn play(&mut self, step: &Step, model: &mut Model) -> Result<Done, Trouble> {
        if step.action == Action::Reopen {
            self.close(step.process);
        }
        let database = self.database(step.process)?;
        let other = (step.process + 1) % self.handles.len();
        let two = matches!(step.action, Action::Race { .. } | Action::Beside { .. });
        let other = two.then(|| self.database(other)).transpose()?;
        let done = perform(&database, other.as_ref(), &step.action)?;
        match &step.action {
            Action::Hold { version } => {
                let snapshot = database.snapshot(Version(*version))?;
                self.held[step.process] = Some(Held { snapshot, texts: model.readable(*version) });
            }
            Action::Checkpoint | Action::Compact { .. } | Action::Retain { .. } | Action::Beside { .. } => {
                self.held.iter().flatten().try_for_each(Held::reads_on)?;
            }
            _ => {}
        }
        model.accept(&step.action, &done).map_err(Trouble::Wrong)?;
        Ok(done)
    }
}

impl Held {
    /// Whether it shows what it did at first.
    fn reads_on(&self) -> Result<(), Trouble> {
        let found = texts(&self.snapshot)?;
        let expected = self.texts.iter().map(|(name, text)| (name.as_str(), &**text));
        if found.iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(expected) {
            return Ok(());
        }
        let version = self.snapshot.version();
        Err(Trouble::Wrong(format!("a snapshot of version {version} reads {found:?}, not {:?}", self.texts)))
    }
}
