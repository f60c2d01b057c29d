//! Being asked to end: SIGINT, SIGTERM, SIGHUP, or a reader of standard output that went away.

use crate::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The signals that ask a command to end.
pub const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Set once somebody asked this process to end.
#[derive(Clone, Debug)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Whether somebody asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// From now on, signals that ask to end set a flag; a second one ends the process at once.
pub fn flag() -> Result<Interrupted> {
    let set = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // The order matters: the first signal finds the flag unset and only then sets it.
        signal_hook::flag::register_conditional_default(signal, set.clone())?;
        signal_hook::flag::register(signal, set.clone())?;
    }
    Ok(Interrupted(set))
}

/// Waits, and tells whether nobody reads standard output any more. A signal ends the wait.
pub fn stdout_closed_within(wait: Duration) -> bool {
    let mut watched = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
    let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `watched` is one valid pollfd for the length of the call.
    let found = unsafe { libc::poll(&mut watched, 1, milliseconds) };
    found > 0 && watched.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
}
