//! `recover`: a database from an archive, at any version or time; which targets there are, and rehearsals.

use crate::output::check_outside;
use crate::print::grid::Grid;
use crate::print::{Progress, bytes_text, count_text, time_json, time_or_start};
use crate::{Context, Error, Result, Status, interrupt};
use asof_archive::Plan;
use asof_archive::plan::Range;
use asof_archive::recover::Source;
use asof_archive::rehearse::rehearse;
use asof_engine::{AsOf, CommitTime, Version};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Targets that are rehearsed where no number is given.
const REHEARSED_DEFAULT: &str = "10";

/// `recover`
#[derive(Debug, Args)]
#[command(
    after_help = "A run that was interrupted is gone on with by the same command. Into a directory that a recovery from \
    the same archive\nmade, and that was not written since, only what differs is fetched: to another target within \
    seconds."
)]
pub struct RecoverArgs {
    /// Directory or URL of the archive
    #[arg(value_name = "DEST")]
    pub archive: PathBuf,
    /// Directory of the new database, missing or empty, or of one that was recovered before
    #[arg(value_name = "DB", required_unless_present_any = ["list", "verify", "dry_run"])]
    pub database: Option<PathBuf>,
    /// The version or time to recover; the newest one without it
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Tell which versions and times can be recovered, and from what
    #[arg(long, conflicts_with_all = ["verify", "to", "database"])]
    pub list: bool,
    /// Recover this many random versions into a temporary directory, and compare them with the archive
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = REHEARSED_DEFAULT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["to", "database"])]
    pub verify: Option<u64>,
    /// Print the plan, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Recovers, lists or rehearses.
pub fn run(args: RecoverArgs, context: &Context) -> Result {
    if let Some(directory) = &args.database {
        check_outside(directory, &args.archive)?;
    }
    let source = Source::open(&args.archive, context.options())?;
    if args.list {
        return list(&source, context);
    }
    if let Some(count) = args.verify {
        return verify(&source, count, context);
    }
    let expression = args.to.as_deref().unwrap_or("latest");
    let target = source.resolve(&AsOf::parse(expression, &context.tz)?)?;
    let plan = source.plan(target)?;
    let time = source.database().commit_time(target)?;
    tell_plan(&plan, time, expression, args.dry_run, context)?;
    if args.dry_run {
        return Ok(Status::Done);
    }
    let Some(directory) = &args.database else {
        return Err(Error::usage("DB is missing: name the directory of the new database"));
    };
    let watch = Progress::bytes(context, "recovered").watch(interrupt::flag()?);
    let recovered = source.recover(&plan, directory, &watch);
    drop(watch);
    let recovered = recovered?;
    if context.json {
        context.print_json(&json!({
            "version": recovered.version.0,
            "time": time_json(CommitTime(recovered.time)),
            "fetched_bytes": recovered.fetched,
            "kept_bytes": recovered.kept,
            "newest": plan.newest.version,
        }))?;
        return Ok(Status::Done);
    }
    context.note(format_args!("made the database {}", directory.display()));
    context.say(format_args!(
        "recovered version {} ({}): fetched {}, {} were there",
        recovered.version,
        time_or_start(CommitTime(recovered.time)),
        bytes_text(recovered.fetched),
        bytes_text(recovered.kept)
    ))?;
    Ok(Status::Done)
}

/// Tells the plan: as data where nothing else is done, else on standard error.
fn tell_plan(plan: &Plan, time: CommitTime, expression: &str, is_dry: bool, context: &Context) -> Result<()> {
    let base = &plan.base.manifest;
    if context.json {
        if !is_dry {
            return Ok(());
        }
        return context.print_json(&json!({
            "target": plan.target,
            "time": time_json(time),
            "base": {"manifest": base.number, "version": base.version, "time": time_json(CommitTime(base.time))},
            "replays": !plan.base.cuts,
            "log_bytes": plan.log_bytes(),
            "files": plan.files.len(),
            "bytes": plan.bytes(),
            "stored_bytes": plan.stored(),
            "beyond": plan.newest.version - plan.target,
            "newest": plan.newest.version,
            "taken": time_json(CommitTime(plan.taken)),
        }));
    }
    let mut lines =
        vec![format!("target   version {} ({}), which {expression} names", plan.target, time_or_start(time))];
    let how = match plan.base.cuts {
        false => format!("and {} of log after it", bytes_text(plan.log_bytes())),
        true => "of which the later versions are cut off, for the log between is not there".to_string(),
    };
    lines.push(format!("base     manifest {} of version {}, {how}", base.number, base.version));
    lines.push(format!(
        "fetches  {}, {} from {} of objects, less what is there already",
        count_text(plan.files.len() as u64, "file"),
        bytes_text(plan.bytes()),
        bytes_text(plan.stored())
    ));
    let beyond = plan.newest.version - plan.target;
    if beyond > 0 {
        let newest = plan.newest.version;
        lines.push(format!("beyond   {} up to {newest} stay in the archive", count_text(beyond, "version")));
    }
    let taken = time_or_start(CommitTime(plan.taken));
    lines.push(format!("shipped  last at {taken}: what was committed later is not in the archive"));
    if !is_dry {
        lines.into_iter().for_each(|line| context.note(line));
        return Ok(());
    }
    let mut out = context.out();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(out.flush()?)
}

fn list(source: &Source, context: &Context) -> Result {
    let database = source.database();
    let ranges = source.ranges()?;
    let mut out = context.out();
    let mut grid = Grid::new(&[">from", ">to", "first committed", "last committed", "base"]);
    for range in &ranges {
        let [first, last] = [range.first, range.last].map(|version| database.commit_time(Version(version)));
        let (first, last) = (first?, last?);
        let base = &range.base.manifest;
        if context.json {
            let line = json!({
                "from": range.first,
                "to": range.last,
                "from_time": time_json(first),
                "to_time": time_json(last),
                "base": base.number,
                "base_version": base.version,
                "replays": !range.base.cuts,
            });
            writeln!(out, "{line}")?;
            continue;
        }
        let how = if range.base.cuts { "cut" } else { "log after it" };
        grid.add(vec![
            range.first.to_string(),
            range.last.to_string(),
            time_or_start(first),
            time_or_start(last),
            format!("manifest {} of version {}, {how}", base.number, base.version),
        ]);
    }
    if !context.json {
        write!(out, "{grid}")?;
    }
    out.flush()?;
    context.note(format_args!(
        "last shipped at {}; times up to {} name a version",
        time_or_start(CommitTime(source.index().taken)),
        time_or_start(source.known_until())
    ));
    Ok(Status::Done)
}

fn verify(source: &Source, count: u64, context: &Context) -> Result {
    let interrupted = interrupt::flag()?;
    let directory = tempfile::Builder::new().prefix("asof-rehearsal-").tempdir()?;
    let clock = source.database().options().clock.clone();
    let random = move |limit: u64| {
        let bytes = clock.random();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight of sixteen bytes")) % limit
    };
    let (newest, ranges) = (source.index().version(), source.ranges()?);
    let mut out = context.out();
    for number in 0..count {
        // The newest one first: that is what is asked for when a disk died.
        let target = Version(if number == 0 { newest } else { nth_of(&ranges, random(count_of(&ranges))) });
        let earlier = [Version(random(target.0.saturating_add(1)))];
        let watch = Progress::bytes(context, "rehearsed").watch(interrupted.clone());
        let rehearsed = rehearse(source, target, &earlier, &directory.path().join("db"), &watch);
        drop(watch);
        let rehearsed = rehearsed?;
        let time = CommitTime(rehearsed.recovered.time);
        if context.json {
            let line = json!({
                "version": target.0,
                "time": time_json(time),
                "compared_versions": rehearsed.versions,
                "tables": rehearsed.tables,
                "rows": rehearsed.rows,
                "fetched_bytes": rehearsed.recovered.fetched,
                "equal": if rehearsed.versions > 0 { true.into() } else { serde_json::Value::Null },
            });
            writeln!(out, "{line}")?;
        } else {
            let (tables, rows) = (count_text(rehearsed.tables, "table"), count_text(rehearsed.rows, "row"));
            let found = match rehearsed.versions {
                0 => "recovered; not compared, for retention has let it go since".to_string(),
                1 => format!("{tables}, {rows}, equal"),
                versions => format!("at {versions} versions {tables}, {rows}, equal"),
            };
            writeln!(out, "version {target} ({}): {found}", time_or_start(time))?;
        }
        out.flush()?;
    }
    if !context.json {
        let name = context.shown(source.name()).into_owned();
        writeln!(
            out,
            "{} of {name} rehearsed, no difference",
            if count == 1 { "1 recovery".to_string() } else { format!("{count} recoveries") }
        )?;
    }
    out.flush()?;
    Ok(Status::Done)
}

/// How many versions are in these ranges.
fn count_of(ranges: &[Range]) -> u64 {
    ranges
        .iter()
        .fold(0, |count: u64, range| count.saturating_add(range.last - range.first).saturating_add(1))
        .max(1)
}

/// One of them.
fn nth_of(ranges: &[Range], mut number: u64) -> u64 {
    for range in ranges {
        if number <= range.last - range.first {
            return range.first + number;
        }
        number -= range.last - range.first + 1;
    }
    ranges.last().map_or(0, |range| range.last)
}
