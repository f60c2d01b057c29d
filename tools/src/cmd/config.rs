//! `config`: settings that are kept in the database, shown, made and removed.

use crate::print::grid::Grid;
use crate::{Context, Error, Result, Status, print};
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// `config`
#[derive(Debug, Args)]
#[command(
    after_help = "Settings: retention.database, retention.namespace.NAME and retention.table.NAME have a policy, such\n\
    as 'last 30, within 7d, hourly 90d, monthly forever, tagged', or the name of one: high-frequency, compliance.\n\
    retention.tag.PATTERN has a length of time, after which tags of such names protect nothing any more."
)]
pub struct ConfigArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Name of a setting; all are shown where it is not given
    pub key: Option<String>,
    /// Its new value; the present one is shown where it is not given
    #[arg(conflicts_with = "unset")]
    pub value: Option<String>,
    /// Remove the setting
    #[arg(long, requires = "key")]
    pub unset: bool,
    /// Check, and tell what would be done, but do not do it
    #[arg(long)]
    pub dry_run: bool,
}

/// Shows, makes or removes settings.
pub fn run(args: ConfigArgs, context: &Context) -> Result {
    match (&args.key, &args.value) {
        (Some(key), value) if value.is_some() || args.unset => set(&args, key, value.as_deref(), context),
        (key, _) => show(&args, key.as_deref(), context),
    }
}

fn show(args: &ConfigArgs, key: Option<&str>, context: &Context) -> Result {
    let database = context.open_read_only(&args.database)?;
    let settings = database.settings()?;
    let Some(key) = key else {
        if context.json {
            context.print_json(&json!(settings))?;
            return Ok(Status::Done);
        }
        let mut out = context.out();
        if !settings.is_empty() {
            let mut grid = Grid::new(&["setting", "value"]);
            for (name, value) in &settings {
                grid.add(vec![context.shown(name).into_owned(), context.shown(value).into_owned()]);
            }
            write!(out, "{grid}")?;
        }
        out.flush()?;
        return Ok(Status::Done);
    };
    let value = settings.get(key).ok_or_else(|| asof_engine::retention::settings::not_set(key))?;
    if context.json {
        context.print_json(&json!({ key: value }))?;
        return Ok(Status::Done);
    }
    let mut out = context.out();
    writeln!(out, "{}", context.shown(value))?;
    out.flush()?;
    Ok(Status::Done)
}

fn set(args: &ConfigArgs, key: &str, value: Option<&str>, context: &Context) -> Result {
    let value = value.map(|value| asof_engine::retention::settings::checked(key, value)).transpose();
    let value = value.map_err(|error| match error.kind() {
        asof_engine::ErrorKind::Invalid => Error::usage(error.to_string()),
        _ => error.into(),
    })?;
    if args.dry_run {
        context.open_read_only(&args.database)?;
        let what = match &value {
            Some(value) => format!("set {key} to {value}"),
            None => format!("remove the setting {key}"),
        };
        print::dry_run(context, &what)?;
        return Ok(Status::Done);
    }
    let database = context.open(&args.database)?;
    let before = database.set_setting(key, value.as_deref())?;
    if context.json {
        let before = before.map_or(Value::Null, Value::from);
        context.print_json(&json!({ "setting": key, "value": value, "before": before }))?;
        return Ok(Status::Done);
    }
    let was = before.map(|before| format!("; it was {}", context.shown(&before))).unwrap_or_default();
    match value {
        Some(value) => {
            context.say(format_args!("{} is {}{was}", context.shown(key), context.shown(&value)))?;
            context.note(
                "'asof retain DB' shows what goes by it; a writer that stays open lets it go by itself",
            );
        }
        None => context.say(format_args!("{} is not set{was}", context.shown(key)))?,
    }
    Ok(Status::Done)
}
