//! Begins again when another writer was first, for a bounded time.

use crate::Error;
use asof_engine::ErrorKind;
use std::time::{Duration, Instant};

/// Until when to try again.
#[derive(Debug)]
pub struct Retry {
    until: Instant,
}

impl Retry {
    /// Tries again for so long.
    pub fn new(wait: Duration) -> Retry {
        let now = Instant::now();
        Retry { until: now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400)) }
    }

    /// Whether an error says that another writer was first, and there is time to begin again.
    pub fn again(&mut self, error: &Error) -> bool {
        let first = [ErrorKind::Conflict, ErrorKind::TooOld].iter().any(|kind| error.code() == kind.code());
        first && Instant::now() < self.until
    }
}
