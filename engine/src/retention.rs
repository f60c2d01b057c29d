//! Retention: which versions of which tables may go, why the others stay, and letting them go.
//!
//! Everything is kept unless a policy says otherwise. [`policy`] reads policies, [`settings`] keeps them in the database
//! and finds the nearest, [`verdict`] gives the reasons for which states of a table stay, `decide` asks it for each table,
//! `survey` counts the rows that only what goes has shown, [`plan`] tells all of that, `run` does it, and [`usage`] says
//! what takes the room. `docs/retention.md` is for who uses it.
//!
//! Invariants. A version is gone as soon as a manifest says so (`gone.rs`); rows follow file by file, by the steps
//! that compaction takes. Nobody's files are taken away: who reads by an older manifest keeps it, with all it names. The
//! newest version of each table that is there is never gone, nor is any that is not settled. The last version of a table
//! that was dropped may be, and then the table cannot be brought back.

mod decide;
pub mod plan;
pub mod policy;
mod run;
pub mod settings;
mod survey;
pub mod usage;
pub mod verdict;

pub(crate) use run::{Applied, apply_stored};

pub use plan::{RetentionPlan, Stretch, TablePlan};
pub use policy::{Policy, Window};
pub use run::RetentionReport;
pub use usage::Usage;

use asof_mvcc::Version;

/// What a retention run is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetentionRequest {
    /// One table, by full name; all where there is none.
    pub table: Option<String>,
    /// A policy instead of those that settings have.
    pub policy: Option<Policy>,
    /// Patterns of tags, and how long such tags protect what they name, before those that settings have.
    pub tag_patterns: Vec<(String, Window)>,
    /// The newest version that an archive holds: what ended after it stays. No archive is asked for where there is none.
    pub archived: Option<Version>,
}
