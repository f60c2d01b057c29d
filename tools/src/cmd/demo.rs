//! `demo`: a database from bundled real data, mounted, with things to try.

use crate::args::DemoArgs;
use crate::error::CODE_CANNOT_MOUNT;
use crate::print::Paint;
use crate::{Context, Error, Result, Status, bundled, interrupt, session};
use asof_engine::{Database, Options};
use asof_fuse::MountOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory that goes with the demo. A thread that answered the last requests of the mount may still settle what it
/// has of the database: the directory is removed again until it is gone.
struct Removed(Option<tempfile::TempDir>);

const REMOVALS_MAX: usize = 50;
const REMOVAL_WAIT: Duration = Duration::from_millis(100);

impl Removed {
    /// It stays.
    fn keep(&mut self) {
        let _ = self.0.take().map(tempfile::TempDir::keep);
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let Some(directory) = self.0.take().map(tempfile::TempDir::keep) else { return };
        for _ in 0..REMOVALS_MAX {
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(REMOVAL_WAIT)
                }
                _ => return,
            }
        }
    }
}

/// Loads the bundled data, mounts it, and serves until Ctrl-C. Where nothing can be mounted, shows `asof cat` instead.
pub fn run(args: DemoArgs, context: &Context) -> Result {
    let (directory, temporary) = match args.directory {
        Some(directory) => (std::path::absolute(directory)?, None),
        None => {
            let temporary = tempfile::Builder::new().prefix("asof-demo-").tempdir()?;
            (temporary.path().to_path_buf(), Some(Removed(Some(temporary))))
        }
    };
    std::fs::create_dir_all(&directory)
        .map_err(|error| Error::from(error).at(format_args!("cannot make {}", directory.display())))?;
    let places = Places { database: directory.join("db"), mount: directory.join("mnt") };
    // A Ctrl-C while loading is answered after it, a second one at once.
    let interrupted = interrupt::flag()?;
    let mut options = context.options();
    if temporary.is_some() {
        // What is rendered goes with the database.
        options.view_cache_dir = Some(directory.join("cache"));
    }
    let database = load(&places.database, options, context)?;
    if interrupted.is_set() {
        return Ok(Status::Done);
    }
    let removed = temporary.is_some();
    let served = session::serve(context, database, &places.mount, MountOptions::default(), || {
        places.print(context, Door::Mount { removed })
    });
    match served {
        Ok(place) => {
            // Who waits for the mount's end finds nothing of the demo any more.
            drop((temporary, place));
            let fate = if removed { "removed" } else { "kept" };
            context.note(format_args!("unmounted {}; the database is {fate}", places.mount.display()));
        }
        Err(error) if error.is_pipe_closed() => return Err(error),
        Err(error) if error.code() == CODE_CANNOT_MOUNT => {
            context.note(format_args!(
                "{error}\nThe past can be read without a mount (see also `asof doctor`):"
            ));
            // What is printed shall work.
            if let Some(mut temporary) = temporary {
                temporary.keep();
                context.note(format_args!("the database stays in {}", directory.display()));
            }
            places.print(context, Door::CommandLine)?;
        }
        Err(error) => return Err(error),
    }
    Ok(Status::Done)
}

fn load(path: &Path, options: Options, context: &Context) -> Result<Database> {
    let database = context.open_or_create_with(path, options)?;
    let bar = context.shows_progress().then(|| {
        let style = indicatif::ProgressStyle::with_template("loading {bar:40} {pos}/{len} commits")
            .expect("the template is well formed");
        indicatif::ProgressBar::new(0).with_style(style)
    });
    bundled::load(&database, &mut |done, all| {
        if let Some(bar) = &bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(database)
}

/// How the past is looked at.
enum Door {
    Mount { removed: bool },
    CommandLine,
}

struct Places {
    database: PathBuf,
    mount: PathBuf,
}

impl Places {
    fn print(&self, context: &Context, door: Door) -> Result<()> {
        let paint = Paint::new(context.colors_stdout());
        let mut out = context.out();
        let (asof, db) = (quoted(&own_command()), quoted(&self.database));
        writeln!(out, "database   {}", self.database.display())?;
        match door {
            Door::Mount { removed } => {
                writeln!(out, "mounted at {}", self.mount.display())?;
                self.print_things(&mut out, paint, &self.things_in_the_mount())?;
                writeln!(out, "\n{}", paint.bold("And without the mount:"))?;
                self.print_things(&mut out, paint, &things_to_ask(&asof, &db))?;
                let fate = if removed { "removes the database" } else { "keeps the database" };
                writeln!(out, "\nCtrl-C unmounts and {fate}.")?;
            }
            Door::CommandLine => {
                self.print_things(&mut out, paint, &things_to_cat(&asof, &db))?;
                self.print_things(&mut out, paint, &things_to_ask(&asof, &db))?;
            }
        }
        Ok(out.flush()?)
    }

    fn print_things(&self, out: &mut dyn Write, paint: Paint, things: &[(&str, String)]) -> Result<()> {
        for (why, command) in things {
            writeln!(out, "\n{}", paint.cyan(&format!("# {why}")))?;
            writeln!(out, "{command}")?;
        }
        Ok(())
    }

    fn things_in_the_mount(&self) -> Vec<(&'static str, String)> {
        let path = |rest: &str| quoted(&self.mount.join(rest));
        let parquet = self.mount.join("asof/2024-01-01/airport_frequencies.parquet");
        let parquet = parquet.display();
        vec![
            ("every state is a directory", format!("ls -l {} {}", path(""), path("latest/"))),
            (
                "what changed in two weeks",
                format!(
                    "diff {} {}",
                    path("asof/2024-01-01/airport_frequencies.csv"),
                    path("asof/2024-01-15/airport_frequencies.csv")
                ),
            ),
            ("a bank that latest/ no longer has", format!("grep ^FRC {}", path("asof/2023-05-01/sp500.csv"))),
            (
                "any tool that reads Parquet",
                format!(
                    "duckdb -c \"select type, count(*) from '{parquet}' group by all order by 2 desc limit 5\""
                ),
            ),
            (
                "the same in pandas",
                format!("python3 -c \"import pandas; print(pandas.read_parquet('{parquet}'))\""),
            ),
        ]
    }
}

fn things_to_cat(asof: &str, db: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "a bank that the newest version no longer has",
            format!("{asof} cat {db} sp500 --as-of 2023-05-01 | grep ^FRC"),
        ),
        (
            "a past state as Parquet",
            format!("{asof} cat {db} airport_frequencies --as-of 2024-01-01 -o airport_frequencies.parquet"),
        ),
        ("what changed in two weeks", format!("{asof} diff {db} 2024-01-01 2024-01-15 airport_frequencies")),
    ]
}

fn things_to_ask(asof: &str, db: &str) -> Vec<(&'static str, String)> {
    vec![
        ("the newest commits of a table", format!("{asof} log {db} --table sp500 --oneline -n 5")),
        ("the life of one row", format!("{asof} history {db} sp500 FRC")),
        ("what changed since then", format!("{asof} diff {db} 2023-05-01 latest --stat")),
    ]
}

/// How this program is called: `asof` where that is what the shell finds.
fn own_command() -> PathBuf {
    let short = PathBuf::from("asof");
    let Ok(own) = std::env::current_exe() else { return short };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("asof")).find(|file| file.is_file());
    match found.and_then(|found| found.canonicalize().ok()) {
        Some(found) if own.canonicalize().is_ok_and(|own| own == found) => short,
        _ => own,
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "/._-+=:@%,".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new("/tmp/asof-demo-x/db")), "/tmp/asof-demo-x/db");
        assert_eq!(quoted(Path::new("/tmp/it's here")), "'/tmp/it'\\''s here'");
    }
}
