//! SQL over every version of a database.
//!
//! A [`Session`] runs statements, each at one version: queries by DataFusion, whose tables are the engine's
//! snapshots, and changes as transactions of the engine. Time travel is read in the spellings of many dialects (the
//! table in `docs/sql.md`); what is read in none of them is refused.
//!
//! Invariant of absence: only this crate knows DataFusion, and only it has an asynchronous runtime, which does not show.

mod catalog;
mod checks;
mod clause;
mod commands;
mod condition;
mod error;
mod exec;
mod filter;
mod functions;
mod moment;
mod names;
mod outcome;
mod parts;
mod scans;
mod scope;
mod script;
mod session;
mod shadow;
mod system;
mod table;
mod vacuum;
mod write;

pub use checks::Checks;
pub use condition::Condition;
pub use error::{Error, Place, Result};
pub use outcome::{Outcome, Rows};
pub use script::is_complete;
pub use session::{Prepared, Session, SessionOptions};
