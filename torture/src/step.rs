//! What a scenario does, as plain data: it can be sent to another process and printed.

use serde::{Deserialize, Serialize};

/// A cell, or part of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// An integer of either width.
    Number(i64),
    /// A text.
    Text(String),
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `int32`; may widen to `int64`.
    Int32,
    /// `int64`.
    Int64,
    /// `text`.
    Text,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnOf {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// Columns of a table's key, and its other columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Columns {
    /// Key columns; empty for a table without a key.
    pub key: Vec<ColumnOf>,
    /// The other columns.
    pub rest: Vec<ColumnOf>,
}

/// A row: its key, empty in tables without one, and its other cells.
pub type Row = (Vec<Value>, Vec<Value>);

/// A change of one table within a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Makes the table.
    Create(Columns),
    /// Drops it.
    Drop,
    /// Adds rows whose keys are not there. Rows go with the columns they are of.
    Insert(Columns, Vec<Row>),
    /// Adds rows whose keys are not there, straight to data files, as they come in batches: all that a transaction does
    /// to the rows of the table.
    Load(Columns, Vec<Vec<Row>>),
    /// Adds rows or replaces those with the same keys.
    Upsert(Columns, Vec<Row>),
    /// Changes the columns given of rows that are there.
    Update(Columns, Vec<Row>),
    /// Removes rows that are there, by key.
    Delete(Columns, Vec<Row>),
    /// Removes all rows.
    Truncate,
    /// Makes these the whole table.
    Replace(Columns, Vec<Row>),
    /// A new last column, and what rows that are there have in it.
    AddColumn(ColumnOf, Value),
    /// Removes a column.
    DropColumn(String),
    /// Renames a column.
    RenameColumn(String, String),
    /// Widens a column from `int32` to `int64`.
    WidenColumn(String),
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// One transaction.
    Commit {
        /// Changes by table, in order.
        changes: Vec<(String, Change)>,
        /// Whether a version is made even if nothing changes.
        allow_empty: bool,
        /// The idempotency id.
        id: Option<String>,
    },
    /// A transaction that must be refused, with nothing changed.
    Refused {
        /// What it wants.
        changes: Vec<(String, Change)>,
    },
    /// A transaction that another one gets ahead of: the other commits, this one is refused.
    Race {
        /// What the first to commit does.
        first: Vec<(String, Change)>,
        /// What the other one wants: a change of the same rows.
        second: Vec<(String, Change)>,
    },
    /// A transaction that a checkpoint comes between: it is begun and filled before, and committed after another
    /// process has made one and removed what is not needed.
    Beside {
        /// What it does.
        changes: Vec<(String, Change)>,
    },
    /// The same id again: the first answer, and nothing new.
    Repeat {
        /// The idempotency id.
        id: String,
    },
    /// Names a version, or moves the name.
    Tag {
        /// The name.
        name: String,
        /// The version.
        version: u64,
    },
    /// Removes a name.
    Untag {
        /// The name.
        name: String,
    },
    /// Makes a checkpoint.
    Checkpoint,
    /// Compacts whatever it pays to, or as somebody would by hand whose tables are large: each of a few rows then has
    /// many cells and runs.
    Compact {
        /// Whether as by hand.
        by_hand: bool,
    },
    /// Lets go what neither the newest states of a table nor tags keep, and the files with it.
    Retain {
        /// The table; all of them where there is none.
        table: Option<String>,
        /// How many states of it stay; 0 for those alone that the newest version and tags show.
        last: u64,
    },
    /// Keeps a snapshot of a version, and lets that go which the process kept before.
    Hold {
        /// The version.
        version: u64,
    },
    /// Closes the process's database; the next step opens it again.
    Reopen,
    /// Reads a version.
    Read {
        /// The version.
        version: u64,
    },
}

/// What one of several processes does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The process, from 0.
    pub process: usize,
    /// What it does.
    pub action: Action,
}
