//! One file in memory, served to the kernel by FUSE: what a loop device lies on, so that every write and flush of the
//! file system on it is seen.
//!
//! The mount point is a file, the file system's root is that file. Few requests are needed, so they are spoken
//! directly, without a library: `linux/fuse.h` has the layouts. Needs root. The serving thread touches memory alone:
//! it never waits for the file system that lies on it.

use super::journal::Journal;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
const WRITE_MAX: usize = 1 << 20;

const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const FORGET: u32 = 2;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;

const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
const MODE: u32 = 0o100_600;

/// A served file; unmounted when dropped.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves a journal's image at `path`, which becomes a file of its size.
    pub fn new(path: &Path, journal: Arc<Journal>) -> io::Result<Served> {
        File::create(path)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let options =
            format!("fd={},rootmode={MODE:o},user_id=0,group_id=0,max_read={WRITE_MAX}", device.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("numbers and words hold no zero byte");
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount("asof-torture", path, "fuse", flags, options.as_c_str())?;
        let thread = std::thread::spawn(move || {
            if let Err(error) = serve(device, &journal) {
                log::error!("the logged block device ended: {error}");
            }
        });
        Ok(Served { path: path.to_path_buf(), thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Detached where somebody still has it open: the serving thread ends with the last user.
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers until the file is unmounted.
fn serve(mut device: File, journal: &Journal) -> io::Result<()> {
    let mut request = vec![0; WRITE_MAX + 4096];
    loop {
        let count = match device.read(&mut request) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                return Ok(());
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let request = Request(&request[..count]);
        let answer = match request.opcode() {
            FORGET | INTERRUPT => continue,
            INIT => Ok(init()),
            GETATTR | SETATTR => Ok(attributes(journal.bytes())),
            OPEN => Ok([0; 16].to_vec()),
            READ => Ok(journal.read(request.u64_at(8), request.u32_at(16) as usize)),
            WRITE => {
                let size = request.u32_at(16) as usize;
                journal.write(request.u64_at(8), &request.body()[40..40 + size]);
                Ok([size as u32, 0].map(u32::to_le_bytes).concat())
            }
            FSYNC => {
                journal.flush();
                Ok(Vec::new())
            }
            STATFS => Ok(vec![0; 80]),
            RELEASE | FLUSH => Ok(Vec::new()),
            DESTROY => Ok(Vec::new()),
            _ => Err(rustix::io::Errno::NOSYS),
        };
        let mut out = Vec::with_capacity(OUT_HEADER + 128);
        let (body, error) = match answer {
            Ok(body) => (body, 0),
            Err(error) => (Vec::new(), -error.raw_os_error()),
        };
        out.extend_from_slice(&((OUT_HEADER + body.len()) as u32).to_le_bytes());
        out.extend_from_slice(&error.to_le_bytes());
        out.extend_from_slice(&request.unique().to_le_bytes());
        out.extend_from_slice(&body);
        match device.write_all(&out) {
            Ok(()) => {}
            // The request was interrupted meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A request as the kernel wrote it.
struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn opcode(&self) -> u32 {
        u32::from_le_bytes(self.0[4..8].try_into().expect("four bytes"))
    }

    fn unique(&self) -> u64 {
        u64::from_le_bytes(self.0[8..16].try_into().expect("eight bytes"))
    }

    fn body(&self) -> &[u8] {
        &self.0[IN_HEADER..]
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.body()[offset..offset + 4].try_into().expect("four bytes"))
    }

    fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.body()[offset..offset + 8].try_into().expect("eight bytes"))
    }
}

fn init() -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    // Version 7.31, read-ahead, what is understood.
    for word in [7, 31, 128 << 10, BIG_WRITES | MAX_PAGES] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    // Requests in the background, and from where on the kernel holds back.
    out.extend_from_slice(&[16_u16, 12].map(u16::to_le_bytes).concat());
    // Longest write, granularity of times, pages in a request (low half).
    let pages = (WRITE_MAX / 4096) as u32;
    out.extend_from_slice(&[WRITE_MAX as u32, 1, pages].map(u32::to_le_bytes).concat());
    out.resize(64, 0);
    out
}

fn attributes(bytes: u64) -> Vec<u8> {
    // Valid for an hour.
    let mut out = [3600_u64, 0].map(u64::to_le_bytes).concat();
    out.extend_from_slice(&[1, bytes, bytes / 512, 0, 0, 0].map(u64::to_le_bytes).concat());
    // Nanoseconds of three times, mode, links, owner, group, device, block size, flags.
    out.extend_from_slice(&[0, 0, 0, MODE, 1, 0, 0, 0, 4096, 0].map(u32::to_le_bytes).concat());
    out
}
