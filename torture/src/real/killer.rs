//! Kills its own process with SIGKILL at the N-th call that changes something on disk: before it, after half of it
//! (of a write), or after it and before anybody learns of that.

use super::call::{Call, Watcher};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where within a call the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call.
    Before,
    /// When half of a write is done; other calls are done whole.
    Within,
    /// When the call is done, before it returns.
    After,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 3] = [Moment::Before, Moment::Within, Moment::After];

    /// The word for it on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::Within => "within",
            Moment::After => "after",
        }
    }

    /// The moment of a word.
    pub fn parse(word: &str) -> Option<Moment> {
        Moment::ALL.into_iter().find(|moment| moment.word() == word)
    }
}

/// When a process dies: at this call, counted from 1; never where the number is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillAt {
    /// The call's number.
    pub call: u64,
    /// Where within it.
    pub moment: Moment,
}

impl KillAt {
    /// Not at all.
    pub const NEVER: KillAt = KillAt { call: 0, moment: Moment::Before };
}

/// Counts calls and kills this process at one of them.
#[derive(Debug)]
pub struct Killer {
    at: KillAt,
    calls: AtomicU64,
}

impl Killer {
    /// A killer of this process.
    pub fn new(at: KillAt) -> Killer {
        Killer { at, calls: AtomicU64::new(0) }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Watcher for Killer {
    fn call(
        &self,
        _file: u64,
        call: Call<'_>,
        perform: &mut dyn FnMut(Option<usize>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if number != self.at.call {
            return perform(None);
        }
        match (self.at.moment, call) {
            (Moment::Before, _) => {}
            (Moment::Within, Call::Write(_, bytes)) => drop(perform(Some(bytes.len() / 2))),
            (Moment::Within | Moment::After, _) => drop(perform(None)),
        }
        kill_this_process()
    }

    fn opened(&self, _path: &Path) -> u64 {
        0
    }
}

/// SIGKILL: nothing is flushed, dropped or unlocked but by the kernel.
fn kill_this_process() -> ! {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
