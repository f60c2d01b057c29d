//! Tells why a name is not there, for people who look at what the mount says. Crawlers ask for many names: of these a few
//! are told of, and how many were not.
//!
//! Invariants: what was told is not told again within [`SILENCE`]; no more than [`LINES_MAX`] lines come at once, and
//! one each [`REFILL`] from then on. Nothing is told under the lock.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lines that may come at once.
const LINES_MAX: u32 = 16;
/// How long it takes until one more may come.
const REFILL: Duration = Duration::from_secs(4);
/// How long one line is not repeated.
const SILENCE: Duration = Duration::from_secs(60);
/// Lines that are remembered.
const REMEMBERED_MAX: usize = 64;

/// What was told lately.
#[derive(Debug, Default)]
pub struct Told(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lately: VecDeque<(Instant, String)>,
    /// Lines told since the budget was full, and when the first of them was.
    spent: u32,
    since: Option<Instant>,
    withheld: u64,
}

impl Told {
    /// Tells a line unless it was told lately or there were too many.
    pub fn tell(&self, line: String) {
        if let Some(line) = self.filter(line, Instant::now()) {
            log::warn!("{line}");
        }
    }

    /// The line to tell, if it is to be told.
    fn filter(&self, line: String, now: Instant) -> Option<String> {
        let mut state = self.0.lock();
        while state.lately.front().is_some_and(|(told, _)| now.duration_since(*told) >= SILENCE) {
            state.lately.pop_front();
        }
        if state.lately.iter().any(|(_, known)| *known == line) {
            return None;
        }
        let since = *state.since.get_or_insert(now);
        let refilled = (now.duration_since(since).as_millis() / REFILL.as_millis()) as u32;
        if refilled > 0 {
            state.spent = state.spent.saturating_sub(refilled);
            state.since = Some(now);
        }
        if state.spent >= LINES_MAX {
            state.withheld += 1;
            return None;
        }
        state.spent += 1;
        if state.lately.len() >= REMEMBERED_MAX {
            state.lately.pop_front();
        }
        state.lately.push_back((now, line.clone()));
        Some(match std::mem::take(&mut state.withheld) {
            0 => line,
            withheld => format!("{line} (and {withheld} more since the last line)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_until_it_is_forgotten() {
        let (told, start) = (Told::default(), Instant::now());
        let tell = |after: u64| told.filter("a".to_string(), start + Duration::from_secs(after)).is_some();
        assert!(tell(0) && !tell(1) && !tell(59));
        assert!(tell(60) && !tell(61));
    }

    #[test]
    fn a_crawler_is_told_of_a_few_names_and_then_of_their_number() {
        let (told, start) = (Told::default(), Instant::now());
        let lines = |first: u64, count: u64, at: Duration| -> Vec<String> {
            (first..first + count).filter_map(|name| told.filter(name.to_string(), start + at)).collect()
        };
        assert_eq!(lines(0, 1000, Duration::ZERO).len(), LINES_MAX as usize);
        assert_eq!(lines(1000, 1000, REFILL / 2), [""; 0]);
        let (later, last) = (lines(2000, 10, REFILL), LINES_MAX as u64);
        assert_eq!(later, [format!("2000 (and {} more since the last line)", 2000 - last)]);
        // Memory of what was told stays small.
        assert!(told.0.lock().lately.len() <= REMEMBERED_MAX);
        assert_eq!(lines(3000, 100, REFILL * 1000).len(), LINES_MAX as usize);
    }
}
