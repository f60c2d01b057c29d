//! What libraries have to say: warnings on standard error, and more of it with `-v`.

use crate::print::{escape_controls, status_line};
use log::{LevelFilter, Log, Metadata, Record};

struct Logger;

static LOGGER: Logger = Logger;

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

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            status_line::above(&format!("asof: {level}: {}\n", escape_controls(&record.args().to_string())));
        }
    }

    fn flush(&self) {}
}
