//! What was typed: the options of every command, as clap sees them.
//!
//! Where a command begins with DB, it may be left out if `$ASOF_DB` is set: see [`crate::database_argument`].

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::time::Duration;

/// A table store that never forgets.
#[derive(Debug, Parser)]
#[command(
    name = "asof",
    version,
    about,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "DB is a directory; it may be left out where $ASOF_DB names one. TABLE is a name or namespace.name.\n\
        EXPR names a version: 42, latest, latest~3, tag:NAME, 2025-08-26, 2025-08-26T10:00, eod:2025-08-26,\n\
        yesterday, 2d-ago, -1h, @1756202400, before:EXPR, commit:ID.\n\
        Exit status: 0 done, 1 failed, 2 wrong usage, 3 nothing there, 4 damage found, 5 locked, 10 differs."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// Never
    Never,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Report as JSON; errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell bytes, pages and syncs at the end
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Zone of times typed without an offset
    #[arg(long, global = true, env = "ASOF_TZ", value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    pub tz: TimeZone,
    /// How long to wait for another writer's turn
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub wait: Duration,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an empty database
    Init(InitArgs),
    /// Commit files as rows of a table
    Import(crate::cmd::import::ImportArgs),
    /// Commit many versions of many tables in time order
    ImportHistory(crate::cmd::import_history::ImportHistoryArgs),
    /// Commit transactions from JSON Lines
    Apply(crate::cmd::apply::ApplyArgs),
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory, missing or empty
    #[arg(value_name = "DB")]
    pub database: PathBuf,
}

/// Reads the zone of `--tz`.
fn parse_zone(text: &str) -> Result<TimeZone, String> {
    match text {
        "local" | "system" => Ok(TimeZone::system()),
        "Z" => Ok(TimeZone::UTC),
        _ => TimeZone::get(text)
            .or_else(|_| TimeZone::posix(text))
            .or_else(|_| parse_offset(text).map(TimeZone::fixed).ok_or(()))
            .map_err(|()| "is no time zone; give one such as Europe/Paris, +02:00, UTC or local".to_string()),
    }
}

/// Reads `+02:00`, `-0330`, `+5`.
fn parse_offset(text: &str) -> Option<jiff::tz::Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None if rest.len() > 2 => rest.split_at_checked(rest.len() - 2)?,
        None => (rest, "0"),
    };
    let digits = |text: &str| (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
    let (hours, minutes): (i32, i32) = (digits(hours)??, digits(minutes)??);
    if minutes >= 60 || hours >= 26 {
        return None;
    }
    jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// Reads `5s`, `500ms`, `2m`, or a bare number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "is no length of time; give one such as 5s, 500ms or 2m".to_string())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_unit() {
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["", "-1", "-5s", "soon", "inf"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let offset = |text: &str| parse_zone(text).unwrap().to_offset(jiff::Timestamp::UNIX_EPOCH).seconds();
        assert_eq!(offset("UTC"), 0);
        assert_eq!(offset("+02:00"), 7200);
        assert_eq!(offset("-0330"), -12_600);
        assert_eq!(offset("+5"), 18_000);
        for bad in ["Nowhere/Land", "", "+99", "+02:99", "+", "+a"] {
            assert!(parse_zone(bad).is_err(), "{bad}");
        }
    }
}
