//! How a command ends: the exit statuses, and the one line that says what went wrong.
//!
//! Scripts rely on the numbers of [`Status`] and on the codes of JSON errors. The one table that
//! turns an engine's [`ErrorKind`] into a status is [`Status::of_kind`].

use asof_engine::ErrorKind;
use std::fmt;

/// What every command gives.
pub type Result<T = Status> = std::result::Result<T, Error>;

/// The exit status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Done,
    /// Failed; also when a line of `apply` failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Nothing there: unknown or expired table, key, version, tag; future time.
    NotFound,
    /// Damage found.
    Damaged,
    /// Another process holds the write lock.
    Locked,
    /// Differs: `diff --exit-code`, `--fail-if`, a gate that refused.
    Differs,
}

impl Status {
    /// The number the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::NotFound => 3,
            Status::Damaged => 4,
            Status::Locked => 5,
            Status::Differs => 10,
        }
    }

    /// The status of each kind of error.
    pub fn of_kind(kind: ErrorKind) -> Status {
        match kind {
            ErrorKind::NotFound => Status::NotFound,
            ErrorKind::Corrupt => Status::Damaged,
            ErrorKind::Locked => Status::Locked,
            _ => Status::Failed,
        }
    }
}

/// One line saying what, where, and what to do; with a code for scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    code: String,
    message: String,
    nearest: Vec<String>,
}

/// The code of an error that means: this machine, or this user, cannot mount.
pub const CODE_CANNOT_MOUNT: &str = "cannot_mount";
/// The code of an error that means: nobody reads our output any more.
const CODE_PIPE_CLOSED: &str = "pipe_closed";

impl Error {
    /// An error with the status to exit with and a code for scripts.
    pub fn new(status: Status, code: impl Into<String>, message: impl Into<String>) -> Error {
        Error { status, code: code.into(), message: message.into(), nearest: Vec::new() }
    }

    /// The command failed (status 1).
    pub fn failed(message: impl Into<String>) -> Error {
        Error::new(Status::Failed, "failed", message)
    }

    /// What was typed makes no sense (status 2).
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Status::Usage, "usage", message)
    }

    /// What was asked for is not there (status 3).
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Status::NotFound, ErrorKind::NotFound.code(), message)
    }

    /// A gate refused, and nothing was changed (status 10).
    pub fn refused(message: impl Into<String>) -> Error {
        Error::new(Status::Differs, "refused", message)
    }

    /// Nobody reads our output any more: a quiet success.
    pub fn pipe_closed() -> Error {
        Error::new(Status::Done, CODE_PIPE_CLOSED, "standard output was closed")
    }

    /// Whether this is [`Error::pipe_closed`].
    pub fn is_pipe_closed(&self) -> bool {
        self.code == CODE_PIPE_CLOSED
    }

    /// Adds the names of what is there instead, nearest first.
    pub fn with_nearest(mut self, nearest: Vec<String>) -> Error {
        self.nearest = nearest;
        self
    }

    /// Puts "where: " before the message.
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        if !self.is_pipe_closed() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// The status to exit with.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The code for scripts.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Names of what is there instead, nearest first.
    pub fn nearest(&self) -> &[String] {
        &self.nearest
    }

    /// `{"code":..,"message":..,"nearest":[..]}`
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"code": self.code, "message": self.message, "nearest": self.nearest})
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(feature = "sql")]
impl From<asof_sql::Error> for Error {
    fn from(error: asof_sql::Error) -> Error {
        let (status, code, nearest) = match error.engine() {
            Some(engine) => (Status::of_kind(engine.kind()), engine.kind().code(), engine.nearest().to_vec()),
            None => (Status::Failed, "sql", Vec::new()),
        };
        Error::new(status, code, error.to_string()).with_nearest(nearest)
    }
}

impl From<asof_engine::Error> for Error {
    fn from(error: asof_engine::Error) -> Error {
        if is_broken_pipe(&error) {
            return Error::pipe_closed();
        }
        Error::new(Status::of_kind(error.kind()), error.kind().code(), error.to_string())
            .with_nearest(error.nearest().to_vec())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        asof_engine::Error::from(error).into()
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        match error.io_error_kind() {
            Some(kind) => std::io::Error::from(kind).into(),
            None => Error::failed(error.to_string()),
        }
    }
}

impl From<asof_fuse::Error> for Error {
    fn from(error: asof_fuse::Error) -> Error {
        let message = error.to_string();
        match error {
            asof_fuse::Error::Engine(error) => error.into(),
            asof_fuse::Error::NotOurs { .. } => Error::not_found(message),
            asof_fuse::Error::NotPossible(_) => Error::new(Status::Failed, CODE_CANNOT_MOUNT, message),
            _ => Error::new(Status::Failed, "mount", message),
        }
    }
}

/// Whether an error was caused, at any depth, by a write to a pipe that nobody reads.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_success_however_deep_it_lies() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let inner = asof_engine::Error::from(pipe);
        let outer = asof_engine::Error::new(ErrorKind::Io, "cannot render").with_source(inner);
        let error = Error::from(outer);
        assert!(error.is_pipe_closed());
        assert_eq!(error.status(), Status::Done);
    }

    #[test]
    fn kinds_have_the_promised_statuses() {
        let status = |kind| Error::from(asof_engine::Error::new(kind, "x")).status().code();
        assert_eq!(status(ErrorKind::NotFound), 3);
        assert_eq!(status(ErrorKind::Corrupt), 4);
        assert_eq!(status(ErrorKind::Locked), 5);
        for kind in
            [ErrorKind::Invalid, ErrorKind::Exists, ErrorKind::Conflict, ErrorKind::Io, ErrorKind::Full]
        {
            assert_eq!(status(kind), 1);
        }
    }
}
