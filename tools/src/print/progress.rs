//! How far long work is, for people at a terminal: what is done, of how much, and how long the rest takes.
//!
//! Who works takes note of numbers as often as it likes, or leaves it to the database to count the rows that it reads; a
//! thread of its own draws them a few times a second. Where nobody looks on there is no thread, and totals are not asked
//! for. Invariant: the line has gone when a [`Progress`] has, and work that takes no time shows none.

use super::{bytes_text, count_text, status_line};
use crate::Context;
use crate::interrupt::Interrupted;
use asof_engine::Database;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that takes less than this shows nothing.
const SHOWN_AFTER: Duration = Duration::from_millis(300);
/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// Something that takes a while.
#[derive(Debug)]
pub struct Progress {
    told: Arc<Told>,
    drawer: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    done: AtomicU64,
    /// Of how much; 0 where that is not known.
    total: AtomicU64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Bytes,
    Rows,
    /// Rows as the database counts them: the total is the most that there may be.
    RowsRead,
}

impl Progress {
    /// Work that tells how many bytes are done, and of how many.
    pub fn bytes(context: &Context, verb: &'static str) -> Progress {
        let told = Arc::<Told>::default();
        let source = told.clone();
        Progress::begin(context, told, Line { verb, unit: Unit::Bytes }, move || source.get())
    }

    /// Work that tells of rows as it goes; 0 of them in all where that is not known.
    pub fn rows(context: &Context, verb: &'static str, total: impl FnOnce() -> u64) -> Progress {
        let told = Arc::<Told>::default();
        if context.shows_progress() {
            told.total.store(total(), Ordering::Relaxed);
        }
        let source = told.clone();
        Progress::begin(context, told, Line { verb, unit: Unit::Rows }, move || source.get())
    }

    /// Work that reads data files of a database, and at most so many rows of them. Nothing need be told.
    pub fn reading(context: &Context, database: &Database, total: impl FnOnce() -> u64) -> Progress {
        let shows = context.shows_progress();
        let (total, database) = (if shows { total() } else { 0 }, database.clone());
        let before = if shows { database.counters().rows_decoded } else { 0 };
        let read = move || (database.counters().rows_decoded.saturating_sub(before), total);
        Progress::begin(context, Arc::default(), Line { verb: "read", unit: Unit::RowsRead }, read)
    }

    fn begin(
        context: &Context,
        told: Arc<Told>,
        line: Line,
        source: impl Fn() -> (u64, u64) + Send + 'static,
    ) -> Progress {
        let draw = || {
            let (end, ended) = channel();
            let draw = move || {
                let mut since = Since::now();
                let mut wait = SHOWN_AFTER;
                while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                    let (done, total) = source();
                    match line.text(done, total, since.elapsed(done, total)) {
                        Some(text) => status_line::draw(&text),
                        None => status_line::erase(),
                    }
                    wait = INTERVAL;
                }
                status_line::erase();
            };
            // Without it nothing is shown, and all else is as ever.
            let thread = std::thread::Builder::new().name("asof-progress".to_string()).spawn(draw);
            Some((end, thread.ok()?))
        };
        let drawer = if context.shows_progress() { draw() } else { None };
        Progress { told, drawer }
    }

    /// So much is done, of so much.
    pub fn tell(&self, done: u64, total: u64) {
        self.told.done.store(done, Ordering::Relaxed);
        self.told.total.store(total, Ordering::Relaxed);
    }

    /// So much more is done.
    pub fn add(&self, count: u64) {
        self.told.done.fetch_add(count, Ordering::Relaxed);
    }

    /// For work that tells what is done and of how much, and asks whether to go on.
    pub fn watch(self, interrupted: Interrupted) -> impl Fn(u64, u64) -> bool + Sync {
        move |done, total| {
            self.tell(done, total);
            !interrupted.is_set()
        }
    }

    /// For work that tells of each bit that is done, and asks whether to go on.
    pub fn pace<'a>(&'a self, interrupted: &'a Interrupted) -> impl FnMut(u64) -> bool + 'a {
        move |count| {
            self.add(count);
            !interrupted.is_set()
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.drawer.take() {
            drop(end);
            // It panics where standard error does, and then there is nothing to be said.
            let _ = thread.join();
        }
    }
}

impl Told {
    fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

/// Since when the numbers count: work that begins anew is another one.
struct Since {
    began: Instant,
    done: u64,
    total: u64,
}

impl Since {
    fn now() -> Since {
        Since { began: Instant::now(), done: 0, total: 0 }
    }

    fn elapsed(&mut self, done: u64, total: u64) -> Duration {
        if done < self.done || (self.done > 0 && total != self.total) {
            self.began = Instant::now();
        }
        (self.done, self.total) = (done, total);
        self.began.elapsed()
    }
}

/// What the line says.
#[derive(Clone, Copy, Debug)]
struct Line {
    verb: &'static str,
    unit: Unit,
}

impl Line {
    /// The line; none where nothing is under way. Where more is done than was thought, no end is told.
    fn text(self, done: u64, total: u64, elapsed: Duration) -> Option<String> {
        if done == 0 || done == total {
            return None;
        }
        let Line { verb, unit } = self;
        let text = match unit {
            Unit::Bytes => bytes_text(done),
            Unit::Rows | Unit::RowsRead if done > total => count_text(done, "row"),
            Unit::Rows | Unit::RowsRead => done.to_string(),
        };
        if done > total {
            return Some(format!("{verb} {text} in {}", time_text(elapsed.as_secs_f64())));
        }
        let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
        let left = time_text((total - done) as f64 / rate);
        Some(match unit {
            Unit::Bytes => format!("{verb} {text} of {}, {left} left", bytes_text(total)),
            Unit::Rows => format!("{verb} {text} of {}, {left} left", count_text(total, "row")),
            Unit::RowsRead => {
                format!("{verb} {text} of at most {}, at most {left} left", count_text(total, "row"))
            }
        })
    }
}

fn time_text(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unit: Unit, done: u64, total: u64) -> Option<String> {
        Line { verb: "read", unit }.text(done, total, Duration::from_secs(10))
    }

    #[test]
    fn the_line_tells_what_is_done_and_how_long_the_rest_takes() {
        assert_eq!(text(Unit::Bytes, 1_000, 4_000).as_deref(), Some("read 1.0 kB of 4.0 kB, 30 s left"));
        assert_eq!(text(Unit::Rows, 20, 1_000).as_deref(), Some("read 20 of 1000 rows, 8 min left"));
        let most = "read 1 of at most 10000 rows, at most 28 h left";
        assert_eq!(text(Unit::RowsRead, 1, 10_000).as_deref(), Some(most));
    }

    #[test]
    fn where_more_is_done_than_was_thought_no_end_is_told() {
        assert_eq!(text(Unit::RowsRead, 5, 4).as_deref(), Some("read 5 rows in 10 s"));
        assert_eq!(text(Unit::Bytes, 5, 0).as_deref(), Some("read 5 B in 10 s"));
    }

    #[test]
    fn nothing_is_told_before_the_first_and_after_the_last() {
        assert_eq!(
            (text(Unit::Rows, 0, 4), text(Unit::Rows, 4, 4), text(Unit::Bytes, 0, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn work_that_begins_anew_has_a_rate_of_its_own() {
        let mut since = Since { began: Instant::now() - Duration::from_secs(100), done: 0, total: 0 };
        assert!(since.elapsed(5, 10) >= Duration::from_secs(100));
        assert!(since.elapsed(6, 10) >= Duration::from_secs(100));
        assert!(since.elapsed(1, 10) < Duration::from_secs(50));
        since.began -= Duration::from_secs(100);
        assert!(since.elapsed(2, 30) < Duration::from_secs(50));
    }
}
