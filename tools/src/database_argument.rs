//! Where the database is: the first word of most commands, or `$ASOF_DB`.
//!
//! The rule, where `$ASOF_DB` is set. A command line that is complete only with DB added gets it from
//! there. One that can be read both ways (because what stands last is optional) is read as typed if
//! its first word is a database, and gets DB from `$ASOF_DB` otherwise. `import` and `apply` may make
//! databases, so for them a word stands for DB unless the words then leave a file in the place before
//! FILE's: `apply changes.jsonl` is `apply $ASOF_DB changes.jsonl`.

use crate::args::Cli;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Reads a command line, with `database` (the value of `$ASOF_DB`) in DB's place where that is left out.
pub fn parse(words: &[OsString], database: Option<&OsStr>) -> Result<Cli, clap::Error> {
    let matches = matches(words, database, &has_database)?;
    Cli::from_arg_matches(&matches)
}

/// Whether a database, or an archive of one, is where a path leads. What cannot be looked at counts: the command's error says more.
fn has_database(path: &Path) -> bool {
    #[cfg(feature = "archive")]
    if asof_archive::is_archive(path) {
        return true;
    }
    asof_engine::Database::exists(path, &asof_engine::Options::default()).unwrap_or(true)
}

fn matches(
    words: &[OsString],
    database: Option<&OsStr>,
    has_database: &dyn Fn(&Path) -> bool,
) -> Result<ArgMatches, clap::Error> {
    let mut cli = Cli::command();
    let typed = cli.try_get_matches_from_mut(words);
    let Some(added) =
        database.filter(|name| !name.is_empty()).and_then(|name| with_database(&cli, words, name))
    else {
        return typed;
    };
    match typed {
        Ok(typed) => {
            if let Some((name, command)) = typed.subcommand() {
                let place = cli.find_subcommand(name).map(|known| FirstWord::of(known, command));
                if place.is_some_and(|first| first.is_database(has_database)) {
                    return Ok(typed);
                }
            }
            Ok(cli.try_get_matches_from_mut(added).unwrap_or(typed))
        }
        // Help and version.
        Err(error) if !error.use_stderr() => Err(error),
        Err(error) => cli.try_get_matches_from_mut(added).map_err(|with_database| {
            let only_that_was_missing = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
            if only_that_was_missing { with_database } else { error }
        }),
    }
}

/// The words with the database put after the command's name; `None` where the command takes no DB.
fn with_database(cli: &Command, words: &[OsString], database: &OsStr) -> Option<Vec<OsString>> {
    let at = command_at(cli, words)?;
    let command = cli.find_subcommand(&words[at])?;
    let first = command.get_positionals().next()?;
    if first.get_value_names()?.first()?.as_str() != "DB" {
        return None;
    }
    let mut added = words.to_vec();
    added.insert(at + 1, database.to_os_string());
    Some(added)
}

/// The place of the command's name: the first word that is neither an option nor an option's value.
fn command_at(cli: &Command, words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while at < words.len() {
        let word = words[at].to_str()?;
        let takes_next = cli.get_arguments().any(|option| {
            option.get_action().takes_values()
                && (option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
                    || option.get_short().is_some_and(|short| word == format!("-{short}")))
        });
        match word {
            _ if takes_next => at += 2,
            _ if word.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

/// What stands where DB does, in a command line that can be read without adding it.
struct FirstWord<'a> {
    command: &'a str,
    words: Vec<&'a OsStr>,
}

impl<'a> FirstWord<'a> {
    fn of(command: &'a Command, matches: &'a ArgMatches) -> FirstWord<'a> {
        let words = command
            .get_positionals()
            .filter_map(|place| matches.get_raw(place.get_id().as_str()))
            .flatten()
            .collect();
        FirstWord { command: command.get_name(), words }
    }

    fn is_database(&self, has_database: &dyn Fn(&Path) -> bool) -> bool {
        let before_file = match self.command {
            "import" => self.words.get(1),
            "apply" => self.words.first(),
            _ => return self.words.first().is_some_and(|word| has_database(Path::new(word))),
        };
        !before_file
            .is_some_and(|word| *word == "-" || (Path::new(word).exists() && !Path::new(word).is_dir()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values in DB's place and after, with `$ASOF_DB` = `env` and databases at `here` and `env`.
    fn check(line: &str, expected: &str) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let found = matches(&words, Some(OsStr::new("env")), &|path| path == "here" || path == "env");
        let found = match &found {
            Ok(found) => {
                let (name, command) = found.subcommand().unwrap();
                let cli = Cli::command();
                let words = FirstWord::of(cli.find_subcommand(name).unwrap(), command).words;
                words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
            }
            Err(error) => format!("{:?}", error.kind()),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn what_is_missing_comes_from_the_environment() {
        check("asof info", "env");
        check("asof info here", "here");
        check("asof info elsewhere", "elsewhere");
        check("asof doctor", "env");
        check("asof cat sp500", "env sp500");
        check("asof --tz +02:00 -q cat sp500 --as-of -1h", "env sp500");
        check("asof cat here sp500", "here sp500");
        check("asof resolve -1h", "env -1h");
        check("asof diff 3 5", "env 3 5");
        check("asof diff 3 5 sp500", "env 3 5 sp500");
        check("asof diff here 3 5", "here 3 5");
        check("asof history sp500 AAPL", "env sp500 AAPL");
        check("asof history here sp500", "here sp500");
        check("asof tag q3 42", "env q3 42");
        check("asof tag", "env");
        check("asof mount somewhere", "env somewhere");
    }

    #[test]
    fn what_is_wrong_either_way_stays_wrong() {
        check("asof cat", "MissingRequiredArgument");
        check("asof cat here sp500 more", "UnknownArgument");
        check("asof umount", "MissingRequiredArgument");
        check("asof info --nonsense", "UnknownArgument");
    }
}
