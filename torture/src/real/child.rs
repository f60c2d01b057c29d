//! What the tests start as processes of their own: a writer that may be killed at a call, and a reader that follows.
//!
//! They are told everything by their arguments and say on standard output, line by line, what they were told by the
//! engine: what stands there was acknowledged.

use super::call::WatchedDisk;
use super::killer::{KillAt, Killer, Moment};
use super::workload;
use super::writer::{Done, Writer};
use crate::{Crew, Model, Trouble};
use asof_engine::{CommitOptions, Database, Error, Options, Upkeep, Version};
use asof_wal::RealDisk;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Longer than any turn here takes: who waits that long has met a lock that nobody gives back.
pub const WAIT: Duration = Duration::from_secs(60);

/// Longer than any child here works.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to start this program as a child.
#[derive(Clone, Debug)]
pub struct ChildProgram {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments: those that lead to [`main`], which gets the ones behind them.
    pub arguments: Vec<String>,
}

/// A child's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Does some steps of a writer.
    Write {
        /// Of all steps.
        seed: u64,
        /// Which writer.
        writer: u64,
        /// The first step.
        first: u64,
        /// How many.
        count: u64,
        /// When it dies.
        kill: KillAt,
    },
    /// Plays a scenario from nothing, with two handles that take turns.
    Play {
        /// The scenario's.
        seed: u64,
        /// How many steps.
        steps: u64,
        /// When it dies.
        kill: KillAt,
    },
    /// Takes the log over from whoever left it, some after a checkpoint, and does nothing else.
    Repair {
        /// When it dies.
        kill: KillAt,
    },
    /// Reads each version as it comes, until its standard input ends.
    Follow,
}

impl ChildProgram {
    /// The command that starts a child on a database.
    pub fn command(&self, database: &Path, part: &Part) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        match part {
            Part::Follow => command.arg("follow"),
            Part::Play { seed, steps, kill } => command
                .arg("play")
                .args([seed, steps, &kill.call].map(u64::to_string))
                .arg(kill.moment.word()),
            Part::Repair { kill } => command.arg("repair").arg(kill.call.to_string()).arg(kill.moment.word()),
            Part::Write { seed, writer, first, count, kill } => command
                .arg("write")
                .args([seed, writer, first, count, &kill.call].map(u64::to_string))
                .arg(kill.moment.word()),
        };
        command
    }
}

/// A child that does not outlive a failure.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    /// All that a child says, and how it ended. One that hangs is killed, and that is a failure.
    pub fn listen(mut self) -> Result<(String, ExitStatus), String> {
        let mut out = self.0.stdout.take().ok_or("its output is read already")?;
        let id = rustix::process::Pid::from_child(&self.0);
        let (done, watched) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let hangs = watched.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
            if hangs {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
            hangs
        });
        let mut text = String::new();
        let read = out.read_to_string(&mut text);
        let status = self.0.wait();
        drop(done);
        if watch.join().unwrap_or(true) {
            return Err(format!("a process hung for {PATIENCE:?}; it had said: {text}"));
        }
        read.and(status).map(|status| (text, status)).map_err(|error| error.to_string())
    }
}

impl ChildProgram {
    /// Starts a child on a database.
    pub fn spawn(&self, database: &Path, part: &Part) -> Result<Guard, String> {
        let child = self.command(database, part).spawn();
        child.map(Guard).map_err(|error| format!("{} cannot be started: {error}", self.program.display()))
    }

    /// Starts a child and waits for its end: all that it said, and how it ended.
    pub fn listen(&self, database: &Path, part: &Part) -> Result<(String, ExitStatus), String> {
        self.spawn(database, part)?.listen()
    }
}

/// Plays a part: the arguments are those that [`ChildProgram::command`] adds. Gives the exit status.
pub fn main(arguments: &[String]) -> u8 {
    let Some((database, part)) = parse(arguments) else {
        eprintln!("a process of the fault tests is not started by hand");
        return 2;
    };
    let played = match part {
        Part::Write { seed, writer, first, count, kill } => {
            write(&database, seed, writer, first..first + count, kill)
        }
        Part::Play { seed, steps, kill } => play(&database, seed, steps, kill),
        Part::Repair { kill } => repair(&database, kill),
        Part::Follow => follow(&database),
    };
    match played {
        Ok(()) => 0,
        Err(error) => {
            say(format_args!("failed {error}"));
            1
        }
    }
}

fn parse(arguments: &[String]) -> Option<(PathBuf, Part)> {
    let number = |index: usize| arguments.get(index)?.parse().ok();
    let part = match arguments.get(1)?.as_str() {
        "follow" => Part::Follow,
        "play" => Part::Play {
            seed: number(2)?,
            steps: number(3)?,
            kill: KillAt { call: number(4)?, moment: Moment::parse(arguments.get(5)?)? },
        },
        "repair" => {
            Part::Repair { kill: KillAt { call: number(2)?, moment: Moment::parse(arguments.get(3)?)? } }
        }
        "write" => Part::Write {
            seed: number(2)?,
            writer: number(3)?,
            first: number(4)?,
            count: number(5)?,
            kill: KillAt { call: number(6)?, moment: Moment::parse(arguments.get(7)?)? },
        },
        _ => return None,
    };
    Some((arguments.first()?.into(), part))
}

/// One write call a line: a killed process has said it whole or not at all.
fn say(line: std::fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    let mut out = std::io::stdout().lock();
    // Who started this may be gone: then there is nobody to tell.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

fn options(killer: &Arc<Killer>) -> Options {
    let disk = Arc::new(WatchedDisk::new(Arc::new(RealDisk), Arc::clone(killer)));
    super::busy_options(disk)
}

fn play(path: &Path, seed: u64, steps: u64, kill: KillAt) -> asof_engine::Result<()> {
    let killer = Arc::new(Killer::new(kill));
    let for_crew = Arc::clone(&killer);
    // Whoever makes a checkpoint due makes it: a call's number means the same call each time.
    let options = move |_| Options { upkeep: Upkeep::Inline, read_threads: 1, ..options(&for_crew) };
    let mut crew = Crew::new(path, 2, options);
    let (mut model, mut scenario) = (Model::default(), super::sweep::scenario(seed));
    for _ in 0..steps {
        let step = scenario.step(&model);
        match crew.play(&step, &mut model) {
            Ok(done) => say(format_args!("{}", serde_json::to_string(&done).unwrap_or_default())),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Wrong(what)) => return Err(Error::invalid(what)),
        }
    }
    Ok(())
}

fn repair(database: &Path, kill: KillAt) -> asof_engine::Result<()> {
    let killer = Arc::new(Killer::new(kill));
    let database = Database::open(database, options(&killer))?;
    // Some begin with a checkpoint: garbage is collected before anybody has looked at what the dead left.
    if kill.call.is_multiple_of(2) {
        database.checkpoint()?;
    }
    database.begin()?.commit(CommitOptions::default())?;
    drop(database);
    say(format_args!("calls {} 0", killer.calls()));
    Ok(())
}

fn write(
    database: &Path,
    seed: u64,
    writer: u64,
    steps: std::ops::Range<u64>,
    kill: KillAt,
) -> asof_engine::Result<()> {
    let killer = Arc::new(Killer::new(kill));
    let mut writer = Writer::open(database, options(&killer), seed, writer)?;
    for number in steps {
        match writer.step(number)? {
            Done::Committed(version) => say(format_args!("committed {number} {version}")),
            Done::Tagged(version) => say(format_args!("tagged {number} {version}")),
            Done::Other => say(format_args!("done {number} 0")),
        }
    }
    drop(writer);
    say(format_args!("calls {} 0", killer.calls()));
    Ok(())
}

fn follow(database: &Path) -> asof_engine::Result<()> {
    let database = Database::open_read_only(database, Options::default())?;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stopped.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let mut seen = database.refresh()?;
    say(format_args!("following {seen} 0"));
    loop {
        // Looked at first: what was there when it was set is read below.
        let last = stop.load(std::sync::atomic::Ordering::SeqCst);
        let newest = database.refresh()?;
        while seen < newest {
            seen = Version(seen.0 + 1);
            let shown = workload::Shown::read(&database, seen)?;
            let hex: String = shown.digest().iter().map(|byte| format!("{byte:02x}")).collect();
            say(format_args!("saw {seen} {hex}"));
        }
        if last {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
