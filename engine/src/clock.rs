//! The one door to time.

use asof_mvcc::CommitTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time and hands out randomness for ids, so that tests can replay both.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Now, in microseconds since 1970 UTC.
    fn now(&self) -> CommitTime;
    /// Sixteen random bytes.
    fn random(&self) -> [u8; 16];
}

/// The machine's clock and randomness.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> CommitTime {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        CommitTime(micros)
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // SAFETY: the buffer is valid for its length; a short or failed read is handled below.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        assert_eq!(got, bytes.len() as isize, "the kernel gives sixteen random bytes at once");
        bytes
    }
}
