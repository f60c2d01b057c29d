//! `retain`: which versions stay and by which reason, which go and what that frees; `--execute` lets them go, after an
//! archive has them if one is named.

mod archiving;

use crate::print::grid::Grid;
use crate::print::{Progress, bytes_text, count_text, time_or_start};
use crate::{Context, Error, Result, Status, interrupt};
use asof_engine::json::lease_to_json;
use asof_engine::retention::plan::Fate;
use asof_engine::retention::verdict::Reason;
use asof_engine::retention::{Policy, RetentionPlan, RetentionRequest, Stretch, TablePlan, Window};
use asof_engine::{Database, LeaseInfo, Version};
use clap::Args;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::io::Write;
use std::path::PathBuf;

/// Reasons that are shown of versions that follow one another.
const REASONS_SHOWN: usize = 4;

/// `retain`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --keep options the policies in the settings hold (asof config); with any, these alone, for \
    this run.\nD is a length of time such as 90d (s, m, h, d, w, y), or forever. Tags keep what they name."
)]
pub struct RetainArgs {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub database: PathBuf,
    /// Table; all tables where it is not given
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    /// Keep the newest N states of each table
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_last: Option<u64>,
    /// Keep every version of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_within: Option<Window>,
    /// Keep the last version of each hour of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_hourly: Option<Window>,
    /// Keep the last version of each day of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_daily: Option<Window>,
    /// Keep the last version of each week of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_weekly: Option<Window>,
    /// Keep the last version of each month of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_monthly: Option<Window>,
    /// Keep the last version of each year of the last D
    #[arg(long, value_name = "D", value_parser = parse_window)]
    pub keep_yearly: Option<Window>,
    /// Tags of such names protect what they name for D after they were made; may be repeated
    #[arg(long, value_name = "P=D", value_parser = parse_pattern)]
    pub tag_pattern: Vec<(String, Window)>,
    /// Ship everything to the archive at DEST first, a directory or URL; made where missing
    #[cfg(feature = "archive")]
    #[arg(long, value_name = "DEST")]
    pub archive_to: Option<PathBuf>,
    /// Do what the plan says
    #[arg(long, conflicts_with = "dry_run")]
    pub execute: bool,
    /// Print the plan: what is done without --execute
    #[arg(long)]
    pub dry_run: bool,
}

fn parse_window(text: &str) -> std::result::Result<Window, String> {
    Window::parse(text).map_err(|error| error.to_string())
}

fn parse_pattern(text: &str) -> std::result::Result<(String, Window), String> {
    let (pattern, window) = text.rsplit_once('=').ok_or("is no PATTERN=D, such as production_*=90d")?;
    Ok((pattern.to_string(), parse_window(window)?))
}

impl RetainArgs {
    fn request(&self) -> RetentionRequest {
        use asof_engine::retention::policy::Tier;
        let tiers = [
            (Tier::Hourly, self.keep_hourly),
            (Tier::Daily, self.keep_daily),
            (Tier::Weekly, self.keep_weekly),
            (Tier::Monthly, self.keep_monthly),
            (Tier::Yearly, self.keep_yearly),
        ];
        let policy = Policy {
            last: self.keep_last,
            within: self.keep_within,
            tiers: tiers.into_iter().filter_map(|(tier, window)| Some((tier, window?))).collect(),
        };
        RetentionRequest {
            table: self.table.clone(),
            policy: (policy != Policy::default()).then_some(policy),
            tag_patterns: self.tag_pattern.clone(),
            archived: None,
        }
    }
}

/// Prints the plan, or does it.
pub fn run(args: RetainArgs, context: &Context) -> Result {
    let request = args.request();
    if args.execute {
        return execute(&context.open(&args.database)?, request, &args, context);
    }
    let database = context.open_read_only(&args.database)?;
    let plan = {
        let _progress =
            Progress::reading(context, &database, || database.row_versions(args.table.as_deref()));
        database.retention_plan(&request)?
    };
    let newest = database.latest()?;
    let archive = archiving::look(&args, &database)?;
    if context.json {
        let mut document = plan_to_json(&plan);
        document["newest"] = newest.0.into();
        if let Some(archive) = archive {
            document["archive"] = archive.json;
        }
        context.print_json(&document)?;
        return Ok(Status::Done);
    }
    print_plan(&plan, context)?;
    if let Some(unsettled) = unsettled_text(plan.settled, newest) {
        context.note(unsettled);
    }
    if let Some(archive) = archive {
        context.say(archive.text)?;
    }
    if plan.freed_bytes() > 0 {
        context.say("--execute lets it go, for good")?;
    }
    Ok(Status::Done)
}

/// What a plan does not tell of: commits that no checkpoint has settled.
fn unsettled_text(settled: Version, newest: Version) -> Option<String> {
    let first = settled.next();
    let what = match first.cmp(&newest) {
        Ordering::Less => format!("versions {first} to {newest} are"),
        Ordering::Equal => format!("version {first} is"),
        Ordering::Greater => return None,
    };
    Some(format!(
        "{what} not settled yet, and no part of this plan: --execute settles them first, and may let more go; 'asof \
         checkpoint DB' settles them now"
    ))
}

fn execute(
    database: &Database,
    mut request: RetentionRequest,
    args: &RetainArgs,
    context: &Context,
) -> Result {
    let plan = database.retention_plan(&request)?;
    // Tables that are not settled yet are in no plan: they are settled first.
    if !plan.tables.is_empty() && plan.tables.iter().all(|table| table.policy.is_none()) {
        let message = "no policy says what may go: give --keep-last N or the like, or set one (asof config DB \
                       retention.database 'last 30, monthly forever')";
        return Err(Error::usage(message));
    }
    let interrupted = interrupt::flag()?;
    let archived = archiving::ship(args, database, &interrupted, context);
    let archived = archived.map_err(|error| error.at("nothing was let go"))?;
    request.archived = archived.as_ref().map(|archived| archived.version);
    let report = {
        // Rows are read twice: when they lived, then all of them.
        let rows = || plan.tables.iter().map(|table| 2 * table.rewritten_rows).sum();
        let progress = Progress::rows(context, "rewrote", rows);
        database.retain(&request, &mut progress.pace(&interrupted))?
    };
    let stopped = interrupted.is_set();
    if context.json {
        let mut document = json!({
            "executed": true,
            "stopped": stopped,
            "states": report.states,
            "rows": report.rows,
            "files": report.files,
            "bytes_before": report.bytes_before,
            "bytes_after": report.bytes_after,
            "leases": report.leases.iter().map(lease_to_json).collect::<Vec<Value>>(),
        });
        if let Some(archived) = archived {
            document["archive"] = archived.json;
        }
        context.print_json(&document)?;
    } else if report.states == 0 && report.files == 0 {
        if !stopped {
            context
                .say("nothing to do: every version is kept, or gone already; 'asof retain DB' says why")?;
        }
    } else {
        context.say(format_args!(
            "let go: {} of tables, {} in {}; {} on disk, {} before",
            count_text(report.states, "state"),
            count_text(report.rows, "row version"),
            count_text(report.files, "file"),
            bytes_text(report.bytes_after),
            bytes_text(report.bytes_before),
        ))?;
        print_leases(&report.leases, context)?;
    }
    match stopped {
        true => Err(Error::failed("stopped; what is left is done by the next run")),
        false => Ok(Status::Done),
    }
}

fn print_plan(plan: &RetentionPlan, context: &Context) -> Result<()> {
    let mut out = context.out();
    for table in &plan.tables {
        let policy = match &table.policy {
            Some((source, policy)) => format!("{policy} ({source})"),
            None => "no policy: everything is kept".to_string(),
        };
        writeln!(out, "{}: {}", context.shown(&table.table), context.shown(&policy))?;
        let mut grid = Grid::new(&[">versions", "from", ">states", "fate", "why"]);
        for stretch in shown(table) {
            grid.add(vec![
                range_text(&stretch.stretch),
                time_or_start(stretch.stretch.time),
                stretch.stretch.states.to_string(),
                fate_text(stretch.stretch.fate).to_string(),
                context.shown(&stretch.why).into_owned(),
            ]);
        }
        writeln!(out, "{grid}")?;
    }
    let mut grid = Grid::new(&["table", ">bytes", ">freed", ">", ">row versions", ">freed"]);
    for table in &plan.tables {
        grid.add(vec![
            context.shown(&table.table).into_owned(),
            bytes_text(table.bytes),
            bytes_text(table.freed_bytes),
            percent(table.freed_bytes, table.bytes),
            table.rows.to_string(),
            table.freed_rows.to_string(),
        ]);
    }
    let rows = |of: &dyn Fn(&TablePlan) -> u64| plan.tables.iter().map(of).sum::<u64>();
    grid.add(vec![
        "all".to_string(),
        bytes_text(plan.bytes()),
        bytes_text(plan.freed_bytes()),
        percent(plan.freed_bytes(), plan.bytes()),
        rows(&|table| table.rows).to_string(),
        rows(&|table| table.freed_rows).to_string(),
    ]);
    write!(out, "{grid}")?;
    out.flush()?;
    drop(out);
    print_leases(&plan.leases, context)
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / all.max(1) as f64)
}

fn print_leases(leases: &[LeaseInfo], context: &Context) -> Result<()> {
    for lease in leases {
        let holder = lease.pid.map_or("an unknown process".to_string(), |pid| format!("process {pid}"));
        let age = lease.age_seconds.map(|age| format!(", running for {age} s,")).unwrap_or_default();
        context.say(format_args!(
            "{holder}{age} reads by manifest {}: what goes stays on disk until it has gone on or ended",
            lease.manifest
        ))?;
    }
    Ok(())
}

/// A line of the plan: versions that share a fate, whatever keeps each of them.
struct Shown {
    stretch: Stretch,
    why: String,
}

/// The plan of a table for people: versions that are kept by the same kinds of rules are one line.
fn shown(table: &TablePlan) -> Vec<Shown> {
    let mut lines: Vec<(Stretch, Vec<Reason>)> = Vec::new();
    let kinds = |reasons: &[Reason]| reasons.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    for stretch in &table.stretches {
        match lines.last_mut() {
            Some((line, reasons))
                if line.fate == stretch.fate && kinds(&line.reasons) == kinds(&stretch.reasons) =>
            {
                line.last = stretch.last;
                line.states += stretch.states;
                for reason in &stretch.reasons {
                    if !reasons.contains(reason) {
                        reasons.push(reason.clone());
                    }
                }
            }
            _ => lines.push((stretch.clone(), stretch.reasons.clone())),
        }
    }
    let line = |(stretch, reasons): (Stretch, Vec<Reason>)| {
        let mut why: Vec<String> = reasons.iter().take(REASONS_SHOWN).map(Reason::to_string).collect();
        if reasons.len() > REASONS_SHOWN {
            why.push(format!("and {} more", reasons.len() - REASONS_SHOWN));
        }
        Shown { stretch, why: why.join(", ") }
    };
    lines.into_iter().map(line).collect()
}

fn range_text(stretch: &Stretch) -> String {
    match stretch.from == stretch.last {
        true => stretch.from.to_string(),
        false => format!("{}-{}", stretch.from, stretch.last),
    }
}

fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Goes => "goes",
        Fate::Gone => "gone",
    }
}

fn plan_to_json(plan: &RetentionPlan) -> Value {
    let tables = plan.tables.iter().map(|table| {
        json!({
            "table": table.table,
            "policy": table.policy.as_ref().map(|(_, policy)| policy.to_string()),
            "policy_from": table.policy.as_ref().map(|(source, _)| source),
            "bytes": table.bytes,
            "freed_bytes": table.freed_bytes,
            "rows": table.rows,
            "freed_rows": table.freed_rows,
            "versions": table.stretches.iter().map(stretch_to_json).collect::<Vec<Value>>(),
        })
    });
    json!({
        "executed": false,
        "settled": plan.settled.0,
        "now": crate::print::time_json(plan.now),
        "tables": tables.collect::<Vec<Value>>(),
        "bytes": plan.bytes(),
        "freed_bytes": plan.freed_bytes(),
        "leases": plan.leases.iter().map(lease_to_json).collect::<Vec<Value>>(),
    })
}

fn stretch_to_json(stretch: &Stretch) -> Value {
    json!({
        "from": stretch.from.0,
        "last": stretch.last.0,
        "time": crate::print::time_json(stretch.time),
        "states": stretch.states,
        "fate": fate_text(stretch.fate),
        "reasons": stretch.reasons.iter().map(Reason::to_string).collect::<Vec<String>>(),
    })
}
