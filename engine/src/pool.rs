//! A few threads that decode: shared by all databases of a process, started when first needed.
//!
//! A job waits for no other one, or (a merge) for jobs alone that do not wait themselves and that it may
//! do itself, so that any number of threads gets all of them done. What a consumer has asked for ahead of time is bounded by the consumer. With a width of one nothing here
//! is used: everything happens in the caller, in order, as deterministic tests need it.

use crate::error::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

struct Job {
    work: Box<dyn FnOnce() + Send>,
    /// Whether it waits for other jobs.
    waits: bool,
}

thread_local! {
    /// Whether this thread is at a job that waits for others.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

impl Job {
    /// A job that panics leaves its result behind unsent, which its consumer reports.
    fn run(self) {
        let before = WAITS.replace(self.waits);
        let _ = catch_unwind(AssertUnwindSafe(self.work));
        WAITS.set(before);
    }
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
}

/// How many threads decode where nothing else is said.
pub fn default_width() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

fn queue() -> &'static Queue {
    static QUEUE: OnceLock<&'static Queue> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let queue: &'static Queue = Box::leak(Box::default());
        for nth in 0..default_width() {
            let name = format!("asof decode {nth}");
            // Where no thread can be had, the others or the caller do the work.
            if let Err(error) = std::thread::Builder::new().name(name).spawn(move || work(queue)) {
                log::warn!("a decoding thread cannot be started: {error}");
            }
        }
        queue
    })
}

fn work(queue: &'static Queue) {
    loop {
        let job = {
            let mut jobs = queue.jobs.lock();
            loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => queue.more.wait(&mut jobs),
                }
            }
        };
        job.run();
    }
}

/// A result that a thread is working on.
pub struct Pending<T>(Receiver<T>);

/// Has a thread do something that waits for no other job.
pub fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
    enqueue(work, false)
}

fn enqueue<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static, waits: bool) -> Pending<T> {
    let (send, receive) = sync_channel(1);
    let queue = queue();
    // Who no longer waits for the result has dropped the other end.
    let work = Box::new(move || drop(send.send(work())));
    queue.jobs.lock().push_back(Job { work, waits });
    queue.more.notify_one();
    Pending(receive)
}

/// A job for a thread that waits.
fn next_job() -> Option<Job> {
    let mut jobs = queue().jobs.lock();
    match WAITS.get() {
        false => jobs.pop_front(),
        true => jobs.iter().position(|job| !job.waits).and_then(|at| jobs.remove(at)),
    }
}

impl<T> Pending<T> {
    /// Waits for the result. While there are other jobs to do, does them: within a job, those that do not wait.
    pub fn wait(self) -> Result<T> {
        loop {
            if let Ok(result) = self.0.try_recv() {
                return Ok(result);
            }
            let Some(job) = next_job() else { break };
            job.run();
        }
        self.0.recv().map_err(|_| Error::invalid("a thread that decodes rows panicked; see its message"))
    }
}

/// Does all jobs, some ahead of time on other threads; results come in the order of jobs.
pub struct Ahead<J, T, W> {
    jobs: J,
    work: W,
    width: usize,
    pending: VecDeque<Pending<T>>,
}

/// Results of `work` for each of `jobs`, in order, up to `width` of them under way at a time.
pub fn ahead<J, T, W>(width: usize, jobs: J, work: W) -> Ahead<J, T, W>
where
    J: Iterator,
    J::Item: Send + 'static,
    T: Send + 'static,
    W: Fn(J::Item) -> T + Clone + Send + 'static,
{
    Ahead { jobs, work, width, pending: VecDeque::new() }
}

impl<J, T, W> Iterator for Ahead<J, T, W>
where
    J: Iterator,
    J::Item: Send + 'static,
    T: Send + 'static,
    W: Fn(J::Item) -> T + Clone + Send + 'static,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.width < 2 {
            return self.jobs.next().map(|job| Ok((self.work)(job)));
        }
        while self.pending.len() <= self.width
            && let Some(job) = self.jobs.next()
        {
            let work = self.work.clone();
            self.pending.push_back(start(move || work(job)));
        }
        self.pending.pop_front().map(Pending::wait)
    }
}

/// An iterator whose next item is made by another thread while the last one is used.
pub struct Stepped<I: Iterator> {
    next: Option<Pending<(I, Option<I::Item>)>>,
    waits: bool,
}

/// Runs an iterator that waits for no job one item ahead of its consumer.
pub fn one_ahead<I>(iterator: I) -> Stepped<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    Stepped { next: Some(step(iterator, false)), waits: false }
}

/// Runs an iterator over results of jobs, which do not wait themselves, one item ahead of its consumer.
pub fn merged_ahead<I>(iterator: I) -> Stepped<I>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    Stepped { next: Some(step(iterator, true)), waits: true }
}

fn step<I>(mut iterator: I, waits: bool) -> Pending<(I, Option<I::Item>)>
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
{
    let next = move || {
        let item = iterator.next();
        (iterator, item)
    };
    enqueue(next, waits)
}

impl<T, I> Iterator for Stepped<I>
where
    T: Send + 'static,
    I: Iterator<Item = Result<T>> + Send + 'static,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match self.next.take()?.wait() {
            Ok((iterator, Some(item))) => {
                if item.is_ok() {
                    self.next = Some(step(iterator, self.waits));
                }
                Some(item)
            }
            Ok((_, None)) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_thread_made_them() {
        for width in [1, 2, 5] {
            let squares: Vec<u64> =
                ahead(width, 0..1_000u64, |n| n * n).collect::<Result<_>>().expect("no job fails");
            assert_eq!(squares, (0..1_000).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_in_a_job_is_an_error_and_the_threads_go_on() {
        let failed: Result<Vec<()>> = ahead(2, 0..3, |_| panic!("on purpose")).collect();
        assert!(failed.is_err());
        let sums: Result<Vec<i32>> = ahead(2, 0..3, |n| n + 1).collect();
        assert_eq!(sums.expect("no job fails"), [1, 2, 3]);
    }

    #[test]
    fn an_iterator_one_ahead_gives_the_same_items_and_ends_at_an_error() {
        let items: Vec<Result<i32>> = one_ahead((0..100).map(Ok)).collect();
        assert_eq!(items.len(), 100);
        let stopped = one_ahead((0..100).map(|n| if n == 3 { Err(Error::invalid("no")) } else { Ok(n) }));
        assert_eq!(stopped.count(), 4);
    }

    #[test]
    fn merges_that_wait_for_jobs_get_done_however_many_there_are() {
        let merge = || {
            let sources: Vec<_> = (0..3).map(|n| one_ahead((n..n + 50).map(Ok))).collect();
            merged_ahead(sources.into_iter().flatten())
        };
        let merges: Vec<_> = (0..100).map(|_| merge()).collect();
        let sums: Result<Vec<i32>> = merges.into_iter().map(|merge| merge.sum::<Result<i32>>()).collect();
        let one: i32 = (0..3).flat_map(|n| n..n + 50).sum();
        assert_eq!(sums.expect("no job fails"), [one; 100]);
    }
}
