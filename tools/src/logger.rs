//! What libraries have to say: warnings on standard error, and more of it with `-v`; or at the end of a file.

use crate::print::{escape_controls, status_line};
use crate::{Error, Result};
use log::{LevelFilter, Log, Metadata, Record};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

struct Logger;

static LOGGER: Logger = Logger;
/// Where lines go instead of standard error.
static LOG_FILE: OnceLock<File> = OnceLock::new();

/// From now on, warnings are shown: none with `-q`, more than warnings with each `-v`.
pub fn start(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::Off,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, _) => LevelFilter::Debug,
    };
    // A second run in one process (a test) finds the first one's logger, which is the same.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// From now on, lines go to the end of a file, also those that `-q` keeps from standard error. It is made where it is
/// missing, for its owner alone.
pub fn write_to(path: &Path) -> Result<File> {
    let open = || {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOCTTY)
            .open(path)?;
        Ok::<_, std::io::Error>((file.try_clone()?, file))
    };
    let (file, other) = open().map_err(|error| {
        Error::from(error).at(format_args!("the log {} cannot be written; name another file", path.display()))
    })?;
    let _ = LOG_FILE.set(file);
    log::set_max_level(log::max_level().max(LevelFilter::Warn));
    Ok(other)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = record.level().as_str().to_lowercase();
        let message = record.args().to_string();
        let message = escape_controls(&message);
        match LOG_FILE.get() {
            // A line is written at once, so that those of several processes do not mix. A disk that is full is no
            // reason to end what is served.
            Some(mut file) => {
                let now = jiff::Timestamp::now();
                let _ = file.write_all(format!("{now:.3} {level}: {message}\n").as_bytes());
            }
            None => status_line::above(&format!("asof: {level}: {message}\n")),
        }
    }

    fn flush(&self) {}
}
