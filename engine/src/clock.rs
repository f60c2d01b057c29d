//! The one door to time.

use asof_mvcc::CommitTime;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time and hands out randomness for ids, so that tests can replay both.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// Now, in microseconds since 1970 UTC.
    fn now(&self) -> CommitTime;
    /// Sixteen random bytes.
    fn random(&self) -> [u8; 16];
}

/// The machine's clock and randomness.
///
/// The kernel is asked for randomness once a process; what follows is that seed and a counter, mixed: good for ids,
/// not for secrets. A child that a fork made has another process id, and so other numbers.
#[derive(Debug, Default)]
pub struct SystemClock;

/// What is counted, and the seed.
static COUNTER: AtomicU64 = AtomicU64::new(0);
static SEED: OnceLock<[u64; 2]> = OnceLock::new();
/// 2^64 divided by the golden ratio: its multiples spread over all numbers.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

fn seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is valid for its length; a short or failed read is handled below.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, bytes.len() as isize, "the kernel gives sixteen random bytes at once");
    [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")))
}

/// Mixes a number so that each bit depends on every one (the finalizer of SplitMix64, a bijection).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

impl Clock for SystemClock {
    fn now(&self) -> CommitTime {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        CommitTime(micros)
    }

    fn random(&self) -> [u8; 16] {
        let [first, second] = SEED.get_or_init(seed);
        let process = u64::from(std::process::id());
        let count = COUNTER.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        let low = mix(first.wrapping_add(count) ^ mix(process));
        let high = mix(second.wrapping_add(count) ^ low.rotate_left(32));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..].copy_from_slice(&high.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_drawn_by_several_threads_differ_in_the_bytes_that_are_used() {
        let draw = || (0..20_000).map(|_| SystemClock.random()[..10].to_vec()).collect::<Vec<_>>();
        let drawn: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let ones: u32 = drawn.iter().flatten().map(|byte| byte.count_ones()).sum();
        let bits = drawn.len() as f64 * 80.0;
        assert!((f64::from(ones) / bits - 0.5).abs() < 0.01, "{ones} of {bits} bits are set");
        let count = drawn.len();
        assert_eq!(drawn.into_iter().collect::<HashSet<_>>().len(), count);
    }
}
