//! The limit of any log: rows appended to a file by group commit, one write and one fdatasync a batch, nothing else.
//! `written`: into blocks that were written before, so that no sync commits the file system's journal.

use crate::store::{Row, Store};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};

const CHUNK: usize = 1 << 20;
/// Bytes written ahead; the log begins again at the start when they are used up.
const AHEAD: u64 = 64 << 20;

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    queued: u64,
    durable: u64,
    syncing: bool,
}

pub struct Limit {
    queue: Mutex<Queue>,
    done: Condvar,
    file: File,
    /// Where the next write goes. Only the thread that syncs takes this lock.
    position: Mutex<u64>,
    written: bool,
}

impl Limit {
    pub fn open(dir: &Path, written: bool) -> Limit {
        let path = dir.join("log");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).expect("a file");
        if written && file.metadata().expect("a length").len() < AHEAD {
            for chunk in 0..AHEAD / CHUNK as u64 {
                file.write_all_at(&vec![0; CHUNK], chunk * CHUNK as u64).expect("room on the disk");
            }
            file.sync_all().expect("a sync");
        }
        Limit { queue: Mutex::default(), done: Condvar::new(), file, position: Mutex::new(0), written }
    }

    fn write(&self, bytes: &[u8]) {
        let mut position = self.position.lock().expect("no panic");
        if self.written && *position + bytes.len() as u64 > AHEAD {
            *position = 0;
        }
        self.file.write_all_at(bytes, *position).expect("room on the disk");
        *position += bytes.len() as u64;
        self.file.sync_data().expect("a sync");
    }
}

impl Store for Limit {
    fn commit(&self, rows: &[Row]) {
        let mut queue = self.queue.lock().expect("no panic");
        for (key, value) in rows {
            queue.bytes.extend_from_slice(&key.to_le_bytes());
            queue.bytes.extend_from_slice(value);
        }
        queue.queued += 1;
        let mine = queue.queued;
        while queue.durable < mine {
            if queue.syncing {
                queue = self.done.wait(queue).expect("no panic");
                continue;
            }
            queue.syncing = true;
            let (bytes, up_to) = (std::mem::take(&mut queue.bytes), queue.queued);
            drop(queue);
            self.write(&bytes);
            queue = self.queue.lock().expect("no panic");
            queue.durable = up_to;
            queue.syncing = false;
            self.done.notify_all();
        }
    }

    /// Reads the log once: what any recovery must do at least.
    fn last_key(&self) -> u64 {
        let len = self.file.metadata().expect("a length").len();
        let (mut buffer, mut offset, mut last) = (vec![0; 208 * 4096], 0, 0);
        while offset < len {
            let count = self.file.read_at(&mut buffer, offset).expect("a read");
            for row in buffer[..count].chunks_exact(208) {
                last = last.max(u64::from_le_bytes(row[..8].try_into().expect("eight bytes")));
            }
            offset += count as u64;
        }
        last
    }
}
