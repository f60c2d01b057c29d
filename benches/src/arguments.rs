//! What was typed to one of the programs: a command, and `--name value` pairs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// The command and its options.
pub struct Arguments {
    /// The first word.
    pub command: String,
    options: BTreeMap<String, String>,
    usage: &'static str,
}

impl Arguments {
    /// Reads the command line; ends the process with the usage where it makes no sense.
    pub fn read(usage: &'static str) -> Arguments {
        let mut words = std::env::args().skip(1);
        let command = words.next().unwrap_or_default();
        let mut arguments = Arguments { command, options: BTreeMap::new(), usage };
        while let Some(word) = words.next() {
            let (Some(name), Some(value)) = (word.strip_prefix("--"), words.next()) else {
                arguments.refuse(&format!("{word}: not an option with a value"));
            };
            arguments.options.insert(name.to_string(), value);
        }
        arguments
    }

    /// Ends the process with what is wrong and how it is done.
    pub fn refuse(&self, problem: &str) -> ! {
        eprintln!("{problem}\n{}", self.usage);
        std::process::exit(2)
    }

    /// An option's value, if it was given.
    pub fn get<T: FromStr>(&self, name: &str) -> Option<T> {
        let value = self.options.get(name)?;
        let Ok(value) = value.parse() else { self.refuse(&format!("--{name} {value}: not a value of it")) };
        Some(value)
    }

    /// An option's value, or else.
    pub fn get_or<T: FromStr>(&self, name: &str, default: T) -> T {
        self.get(name).unwrap_or(default)
    }

    /// An option that must be there.
    pub fn need<T: FromStr>(&self, name: &str) -> T {
        self.get(name).unwrap_or_else(|| self.refuse(&format!("--{name} is needed")))
    }

    /// A path that must be there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.need(name)
    }
}
