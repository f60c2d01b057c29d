//! Threads for work that may be long, so that the event loops stay free for everybody else.
//!
//! Invariant: work of one key runs on one thread at a time. A hundred readers of one file that is being rendered
//! take one thread, not all.

use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long the first thread waits for work before it calls the idle function.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads. Dropping it drops the work that has not begun; what runs is finished without waiting for it.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs to run, their keys being in `busy`.
    ready: VecDeque<(u64, Job)>,
    /// Keys with a job that is ready or running, and the jobs that wait for it.
    busy: HashMap<u64, VecDeque<Job>>,
    stopped: bool,
}

impl Pool {
    /// A pool of `threads` threads; `idle` is called every few seconds.
    pub fn new(threads: usize, idle: impl Fn() + Send + 'static) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let pool = Pool { shared: shared.clone() };
        let mut idle: Option<Box<dyn Fn() + Send>> = Some(Box::new(idle));
        for index in 0..threads.max(1) {
            let (shared, idle) = (shared.clone(), idle.take());
            std::thread::Builder::new().name(format!("asof-work-{index}")).spawn(move || shared.run(idle))?;
        }
        Ok(pool)
    }

    /// Runs a job after those of the same key.
    pub fn submit(&self, key: u64, job: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if let Some(waiting) = state.busy.get_mut(&key) {
            waiting.push_back(Box::new(job));
            return;
        }
        state.busy.insert(key, VecDeque::new());
        state.ready.push_back((key, Box::new(job)));
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn run(&self, idle: Option<Box<dyn Fn() + Send>>) {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return;
            }
            let Some((key, job)) = state.ready.pop_front() else {
                match &idle {
                    None => self.wake.wait(&mut state),
                    Some(idle) => {
                        if self.wake.wait_for(&mut state, IDLE_INTERVAL).timed_out() {
                            drop(state);
                            idle();
                            state = self.state.lock();
                        }
                    }
                }
                continue;
            };
            drop(state);
            // A job that panics has dropped its reply, which is an I/O error for the one who asked.
            let _ = catch_unwind(AssertUnwindSafe(job));
            state = self.state.lock();
            match state.busy.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(next) => state.ready.push_back((key, next)),
                None => {
                    state.busy.remove(&key);
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        let dropped = (std::mem::take(&mut state.ready), std::mem::take(&mut state.busy));
        drop(state);
        drop(dropped);
        self.shared.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_of_one_key_waits_for_itself_and_for_nothing_else() {
        let pool = Pool::new(2, || {}).unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (done, results) = mpsc::channel();
        // Three jobs of one key, the first of which waits: they take one of two threads.
        let first = done.clone();
        pool.submit(1, move || {
            released.recv().unwrap();
            first.send("slow").unwrap();
        });
        for _ in 0..2 {
            let done = done.clone();
            pool.submit(1, move || done.send("after slow").unwrap());
        }
        let other = done.clone();
        pool.submit(2, move || other.send("other").unwrap());
        assert_eq!(results.recv().unwrap(), "other");
        release.send(()).unwrap();
        assert_eq!(results.recv().unwrap(), "slow");
        assert_eq!(results.recv().unwrap(), "after slow");
        assert_eq!(results.recv().unwrap(), "after slow");
    }

    #[test]
    fn a_job_that_panics_ends_alone() {
        let pool = Pool::new(1, || {}).unwrap();
        let (done, results) = mpsc::channel();
        pool.submit(1, || panic!("on purpose"));
        pool.submit(1, move || done.send(()).unwrap());
        assert_eq!(results.recv(), Ok(()));
    }

    #[test]
    fn dropping_the_pool_drops_what_has_not_begun() {
        let pool = Pool::new(1, || {}).unwrap();
        let (release, released) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        pool.submit(1, move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        begins.recv().unwrap();
        let (never, dropped) = mpsc::channel::<()>();
        pool.submit(2, move || never.send(()).unwrap());
        drop(pool);
        assert!(dropped.recv().is_err());
        release.send(()).unwrap();
    }
}
