//! Work handed to a process in the background, and word from it when it is ready or has failed.
//!
//! The process forks while it has one thread and nothing open, so that the child owns all that it
//! opens. Word comes through a pipe: `ready`, or a JSON document with the error; a pipe that closes
//! without word means that the child died.

use crate::{Error, Result, Status};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;

/// What a child that is ready writes.
const READY: &[u8] = b"ready";
/// The longest word a child may send.
const WORD_BYTES_MAX: u64 = 1 << 20;

/// Which process this is, after [`start`].
pub enum Side {
    /// The one that was called; its child is ready.
    Parent {
        /// The child's process id.
        pid: u32,
    },
    /// The one in the background.
    Child(Ready),
}

/// The child's way to tell that it is ready.
pub struct Ready {
    pipe: PipeWriter,
}

/// Forks. The parent comes back when the child is ready, or with the child's error.
pub fn start() -> Result<Side> {
    let (reader, writer) = std::io::pipe()?;
    // SAFETY: the process has one thread here, so the child may call anything.
    match unsafe { libc::fork() } {
        -1 => {
            Err(Error::from(std::io::Error::last_os_error()).at("cannot start a process in the background"))
        }
        0 => {
            drop(reader);
            // SAFETY: no arguments; it fails only for a leader of a process group, which a new child is not.
            unsafe { libc::setsid() };
            Ok(Side::Child(Ready { pipe: writer }))
        }
        pid => {
            drop(writer);
            wait_for_word(reader, pid)
        }
    }
}

fn wait_for_word(reader: PipeReader, pid: libc::pid_t) -> Result<Side> {
    let mut word = Vec::new();
    reader.take(WORD_BYTES_MAX).read_to_end(&mut word)?;
    if word == READY {
        return Ok(Side::Parent { pid: pid.unsigned_abs() });
    }
    let mut status = 0;
    // SAFETY: `status` is valid for the call; the child is ours and not waited for elsewhere.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    Err(decode_error(&word).unwrap_or_else(|| {
        Error::failed(format!(
            "the process in the background died (wait status {status}); try without --background"
        ))
    }))
}

impl Ready {
    /// Runs the child's work; an error before it is ready goes to the parent, later ones have nobody to go to.
    pub fn serve(self, work: impl FnOnce(&Ready) -> Result<()>) -> Result {
        match work(&self) {
            Ok(()) => Ok(Status::Done),
            Err(error) => {
                let _ = (&self.pipe).write_all(encode_error(&error).to_string().as_bytes());
                // The parent reports it.
                Ok(error.status())
            }
        }
    }

    /// Tells the parent, and lets go of what belongs to its terminal. What goes to standard error goes to `errors` then, if
    /// there is such a file: above all what is said by who panics.
    pub fn tell(&self, errors: Option<&File>) -> Result<()> {
        std::env::set_current_dir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        (&self.pipe).write_all(READY)?;
        let places = [
            (libc::STDIN_FILENO, &null),
            (libc::STDOUT_FILENO, &null),
            (libc::STDERR_FILENO, errors.unwrap_or(&null)),
            (self.pipe.as_raw_fd(), &null),
        ];
        for (standard, file) in places {
            // SAFETY: both descriptors are open. What was open at `standard` is closed; for the pipe that is the end
            // of the word, and its number stays taken by /dev/null until `Ready` is dropped.
            if unsafe { libc::dup2(file.as_raw_fd(), standard) } < 0 {
                return Err(std::io::Error::last_os_error().into());
            }
        }
        Ok(())
    }
}

fn encode_error(error: &Error) -> Value {
    json!({"status": error.status().code(), "error": error.to_json()})
}

fn decode_error(word: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(word).ok()?;
    let code = value["status"].as_u64()?;
    let statuses = [Status::Usage, Status::NotFound, Status::Damaged, Status::Locked, Status::Differs];
    let status =
        statuses.into_iter().find(|status| u64::from(status.code()) == code).unwrap_or(Status::Failed);
    let error = &value["error"];
    let nearest =
        error["nearest"].as_array()?.iter().filter_map(|name| name.as_str().map(str::to_string)).collect();
    Some(Error::new(status, error["code"].as_str()?, error["message"].as_str()?).with_nearest(nearest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_error_arrives_as_it_was() {
        let error = Error::not_found("there is no tag 'q4'").with_nearest(vec!["q3".to_string()]);
        assert_eq!(decode_error(encode_error(&error).to_string().as_bytes()), Some(error));
        assert_eq!(decode_error(b""), None);
        assert_eq!(decode_error(b"read"), None);
    }
}
