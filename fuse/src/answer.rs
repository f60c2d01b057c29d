//! An answer that is there, or work that makes it.
//!
//! The view never works long inside a request. What may take long (rendering a file) it hands back as [`Work`] with
//! a key; who serves requests runs it elsewhere, one at a time for each key, and answers then.

use crate::error::Refusal;

/// An answer, now or after some work.
pub enum Answer<T> {
    /// Here it is.
    Now(T),
    /// It takes work that may be long.
    Later(Work<T>),
}

/// Work that makes an answer.
pub struct Work<T> {
    /// What is worked on. Work of one key runs one after the other, for it would wait for itself anyway.
    pub key: u64,
    run: Box<dyn FnOnce() -> Result<T, Refusal> + Send>,
}

impl<T> Work<T> {
    /// Work on `key`.
    pub fn new(key: u64, run: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Work<T> {
        Work { key, run: Box::new(run) }
    }

    /// Does it.
    pub fn run(self) -> Result<T, Refusal> {
        (self.run)()
    }
}

impl<T> Answer<T> {
    /// The answer, working on this thread where it takes work.
    pub fn wait(self) -> Result<T, Refusal> {
        match self {
            Answer::Now(answer) => Ok(answer),
            Answer::Later(work) => work.run(),
        }
    }
}
