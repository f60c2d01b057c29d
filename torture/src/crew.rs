//! Several processes at work on one database: who has it open, and what they do, checked against the model.

use crate::model::Model;
use crate::perform::{Done, WRONG, perform};
use crate::step::{Action, Step};
use asof_engine::{Database, Error, Options};
use std::path::{Path, PathBuf};

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

/// Processes and their handles.
pub struct Crew {
    path: PathBuf,
    options: Box<dyn Fn(usize) -> Options + Send>,
    handles: Vec<Option<Database>>,
}

impl Crew {
    /// So many processes on the database at `path`, which is made where it is missing; `options` says how each opens it.
    pub fn new(path: &Path, processes: usize, options: impl Fn(usize) -> Options + Send + 'static) -> Crew {
        Crew {
            path: path.to_path_buf(),
            options: Box::new(options),
            handles: (0..processes).map(|_| None).collect(),
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

    /// Closes a process's handle.
    pub fn close(&mut self, process: usize) {
        self.handles[process] = None;
    }

    /// Closes all handles.
    pub fn close_all(&mut self) {
        self.handles.iter_mut().for_each(|handle| *handle = None);
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
        model.accept(&step.action, &done).map_err(Trouble::Wrong)?;
        Ok(done)
    }
}
