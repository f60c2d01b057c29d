//! The command line of the benchmark programs: `--name value` pairs and one directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was typed.
#[derive(Debug, Default)]
pub struct Arguments {
    options: BTreeMap<String, String>,
    directory: Option<PathBuf>,
}

/// Where a program works: a directory that was named, or one that goes with the program.
pub enum Directory {
    /// Named: it stays.
    Named(PathBuf),
    /// Removed at the end.
    Temporary(tempfile::TempDir),
}

impl Directory {
    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Directory::Named(path) => path,
            Directory::Temporary(directory) => directory.path(),
        }
    }
}

impl Arguments {
    /// Reads the command line of this process.
    pub fn from_command_line() -> Result<Arguments, String> {
        Arguments::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    arguments.options.insert(name.to_string(), value);
                }
                None if arguments.directory.is_none() => arguments.directory = Some(word.into()),
                None => return Err(format!("one directory is enough, {word} is a second one")),
            }
        }
        Ok(arguments)
    }

    /// A text, or what stands for it.
    pub fn text(&self, name: &str, otherwise: &str) -> String {
        self.options.get(name).cloned().unwrap_or_else(|| otherwise.to_string())
    }

    /// A number, or what stands for it.
    pub fn number(&self, name: &str, otherwise: f64) -> Result<f64, String> {
        match self.options.get(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text} is not a number")),
        }
    }

    /// The directory to work in; a temporary one in the working directory where none was named, for the system's own is
    /// not on a disk everywhere.
    pub fn directory(&self) -> std::io::Result<Directory> {
        match &self.directory {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                Ok(Directory::Named(path.clone()))
            }
            None => Ok(Directory::Temporary(tempfile::tempdir_in(".")?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_a_directory_are_told_apart() {
        let parse = |words: &[&str]| Arguments::parse(words.iter().map(|word| word.to_string()));
        let arguments = parse(&["--seconds", "0.5", "here"]).unwrap();
        assert_eq!(arguments.number("seconds", 9.0), Ok(0.5));
        assert_eq!(arguments.number("rounds", 9.0), Ok(9.0));
        assert_eq!(arguments.directory, Some(PathBuf::from("here")));
        assert!(parse(&["--seconds"]).is_err() && parse(&["a", "b"]).is_err());
        assert!(parse(&["--seconds", "x"]).unwrap().number("seconds", 0.0).is_err());
    }
}
