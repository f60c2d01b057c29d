//! Turns of several processes: a lock file, and a turnstile before it that keeps the order fair.
//!
//! Whoever wants the lock and finds it taken stands in the turnstile `NEXT`, says so in the durable head, and takes
//! `LOCK` from there; a holder that sees the word gives the lock back after its burst and queues up behind. Both
//! locks die with their process. While nobody waits the turnstile is passed by.

use crate::disk::{Disk, DiskFile, LockKind, OpenMode};
use crate::error::Error;
use crate::head::Head;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lock's file name.
pub(crate) const LOCK_NAME: &str = "LOCK";
const NEXT_NAME: &str = "NEXT";
const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(2);
/// The holder's number in decimal, filled up with blanks, and a line feed: one write replaces it.
const PID_BYTES: usize = 11;

/// The two lock files of a log.
#[derive(Debug)]
pub(crate) struct Turnstile {
    lock: Arc<dyn DiskFile>,
    next: Arc<dyn DiskFile>,
    lock_path: PathBuf,
    next_path: PathBuf,
    pid: u32,
}

impl Turnstile {
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Turnstile, Error> {
        let [lock_path, next_path] = [LOCK_NAME, NEXT_NAME].map(|name| dir.join(name));
        let lock = disk.open(&lock_path, OpenMode::Create).map_err(Error::io("open", &lock_path))?;
        let next = disk.open(&next_path, OpenMode::Create).map_err(Error::io("open", &next_path))?;
        Ok(Turnstile { lock, next, lock_path, next_path, pid: disk.process_id() })
    }

    /// Takes the lock, waiting until the deadline.
    pub fn acquire(&self, head: &Head, deadline: Instant) -> Result<(), Error> {
        if !head.someone_waits() && self.try_lock(&self.lock, &self.lock_path)? {
            return Ok(());
        }
        self.poll(&self.next, &self.next_path, deadline)?;
        head.set_waiting(self.pid);
        let taken = self.poll(&self.lock, &self.lock_path, deadline);
        head.set_waiting(0);
        let left = self.next.unlock().map_err(Error::io("unlock", &self.next_path));
        if taken.is_ok() && left.is_err() {
            self.release()?;
        }
        taken.and(left)
    }

    /// Gives the lock back.
    pub fn release(&self) -> Result<(), Error> {
        self.lock.unlock().map_err(Error::io("unlock", &self.lock_path))
    }

    /// The file whose lock counts.
    pub fn lock_file(&self) -> &dyn DiskFile {
        &*self.lock
    }

    /// Names this process as the holder.
    pub fn write_pid(&self) -> Result<(), Error> {
        let text = format!("{:<width$}\n", self.pid, width = PID_BYTES - 1);
        self.lock.write_all_at(text.as_bytes(), 0).map_err(Error::io("write", &self.lock_path))
    }

    fn poll(&self, file: &Arc<dyn DiskFile>, path: &Path, deadline: Instant) -> Result<(), Error> {
        let mut pause = PAUSE_MIN;
        while !self.try_lock(file, path)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Locked { pid: read_pid(&*self.lock) });
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    fn try_lock(&self, file: &Arc<dyn DiskFile>, path: &Path) -> Result<bool, Error> {
        file.try_lock(LockKind::Exclusive).map_err(Error::io("lock", path))
    }
}

/// The process that took the lock last, for who has no turnstile at hand.
pub(crate) fn holder(disk: &dyn Disk, dir: &Path) -> Option<u32> {
    read_pid(&*disk.open(&dir.join(LOCK_NAME), OpenMode::Read).ok()?)
}

fn read_pid(lock: &dyn DiskFile) -> Option<u32> {
    let mut text = [0; PID_BYTES];
    let count = lock.read_up_to_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..count]).ok()?.trim().parse().ok()
}
