//! `torture`: the fault tests, on this disk. Nothing but its own directory is touched.

use crate::args::TortureArgs;
use crate::{Context, Error, Result, Status};
use asof_torture::real::child::{self, ChildProgram};
use asof_torture::real::suite::{self, Part};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs every part, and tells what was done; status 4 where something was lost or wrong.
pub fn run(args: TortureArgs, context: &Context) -> Result {
    if let Some(arguments) = args.child {
        return Ok(if child::main(&arguments) == 0 { Status::Done } else { Status::Failed });
    }
    let seed = args.seed.unwrap_or_else(any_seed);
    let directory = make_directory(&args.directory, seed)?;
    context.note(format_args!("seed {seed}, about {} s, in {}", args.seconds, directory.display()));
    let program = std::env::current_exe()?;
    let child = ChildProgram { program, arguments: ["torture", "--child"].map(str::to_string).to_vec() };
    let begun = Instant::now();
    let time = Duration::from_secs(args.seconds);
    let mut told = Ok(());
    let parts = suite::run(&child, &directory, seed, time, |part| {
        if told.is_ok() && !context.json {
            told = tell(part, context);
        }
    });
    told?;
    let faults: u64 = parts.iter().map(|part| part.faults).sum();
    let failure = parts.iter().find_map(|part| part.failure.as_ref());
    if failure.is_none() {
        std::fs::remove_dir_all(&directory)
            .map_err(|error| Error::from(error).at(format_args!("cannot remove {}", directory.display())))?;
    }
    let again = format!("asof torture {} --seed {seed} --seconds {}", args.directory.display(), args.seconds);
    if context.json {
        let kept = failure.map(|_| directory.display().to_string());
        let parts: Vec<Value> = parts.iter().map(part_to_json).collect();
        context.print_json(&json!({
            "ok": kept.is_none(),
            "seed": seed,
            "seconds": begun.elapsed().as_secs_f64(),
            "faults": faults,
            "parts": parts,
            "kept": kept,
            "repeat": again,
        }))?;
    } else {
        let mut out = context.out();
        match failure {
            None => writeln!(out, "{faults} faults: 0 lost, 0 wrong. Again: {again}")?,
            Some(failure) => {
                writeln!(out, "SOMETHING IS WRONG: {}", context.shown(&failure.to_string()))?;
                writeln!(out, "what was found is kept in {}. Again: {again}", directory.display())?;
            }
        }
        out.flush()?;
    }
    Ok(if failure.is_none() { Status::Done } else { Status::Damaged })
}

fn tell(part: &Part, context: &Context) -> Result<()> {
    let mut out = context.out();
    writeln!(out, "{:<11} {}", part.name, part.done)?;
    Ok(out.flush()?)
}

fn part_to_json(part: &Part) -> Value {
    json!({
        "part": part.name,
        "faults": part.faults,
        "done": part.done,
        "failure": part.failure.as_ref().map(|failure| failure.to_string()),
    })
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Few digits: people type it again.
    u64::from(now.subsec_nanos()) ^ (now.as_secs() % 1_000_000)
}

/// A directory of its own, that was not there before.
fn make_directory(below: &Path, seed: u64) -> Result<PathBuf> {
    let directory = below.join(format!("asof-torture-{seed}-{}", std::process::id()));
    std::fs::create_dir(&directory)
        .map_err(|error| Error::from(error).at(format_args!("cannot make {}", directory.display())))?;
    Ok(directory.canonicalize()?)
}
