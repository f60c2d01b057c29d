//! A few things at a time: most of the time of an upload or a fetch is spent waiting.

use asof_engine::Result;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many at a time.
pub const WORKERS: usize = 6;

/// Does something for each of these, and gives the results in order; the first error ends it.
pub fn for_each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    done.lock().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use asof_engine::Error;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_it() {
        let items: Vec<u64> = (0..100).collect();
        let squares = for_each(&items, |item| Ok(item * item)).ok();
        assert_eq!(squares, Some(items.iter().map(|item| item * item).collect()));
        let done = AtomicUsize::new(0);
        let failed = for_each(&items, |item| {
            done.fetch_add(1, Ordering::Relaxed);
            if *item == 3 { Err(Error::invalid("three")) } else { Ok(()) }
        });
        assert!(failed.is_err() && done.into_inner() < 100);
    }
}
