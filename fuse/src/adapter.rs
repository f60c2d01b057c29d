//! fuser's calls to the view, and the view's answers to fuser's replies. Thin: it decides nothing but where work runs
//! and which opens the kernel may serve by itself.
//!
//! Invariant: every request is answered once. Work that panics drops its reply, and a dropped reply is an I/O error
//! for the one who asked; the event loop goes on.

use crate::answer::Answer;
use crate::attributes::Attributes;
use crate::errno::errno;
use crate::error::Refusal;
use crate::passthrough::Passthrough;
use crate::pool::Pool;
use crate::tree::Kind;
use crate::view::{FileSystem, Found, Opened};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Requests that the kernel may have in the air by itself, readahead above all.
const BACKGROUND_REQUESTS_MAX: u16 = 64;

/// The file system as fuser calls it.
pub struct Adapter {
    view: Arc<FileSystem>,
    pool: Arc<Pool>,
    passthrough: Arc<Passthrough>,
}

impl Adapter {
    /// An adapter that does long work on `pool`.
    pub fn new(view: Arc<FileSystem>, pool: Pool) -> Adapter {
        Adapter { view, pool: Arc::new(pool), passthrough: Arc::new(Passthrough::default()) }
    }

    /// What the kernel reads by itself.
    pub(crate) fn passthrough(&self) -> Arc<Passthrough> {
        self.passthrough.clone()
    }

    /// Answers now, or has the pool do the work and answer then.
    fn answer<T: 'static, R: Refuse>(
        &self,
        answer: Result<Answer<T>, Refusal>,
        reply: R,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        match answer {
            Ok(Answer::Now(answer)) => send(reply, answer),
            Ok(Answer::Later(work)) => self.pool.submit(work.key, move || match work.run() {
                Ok(answer) => send(reply, answer),
                Err(refusal) => refuse(reply, &refusal),
            }),
            Err(refusal) => refuse(reply, &refusal),
        }
    }
}

/// Runs what answers a request; a panic in it has dropped the reply, which answers with an I/O error.
fn guarded(request: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(request));
}

fn refuse(reply: impl Refuse, refusal: &Refusal) {
    if let Refusal::Engine(error) = refusal {
        log::warn!("{error}");
    }
    reply.refuse(Errno::from_i32(errno(refusal)));
}

/// A reply that can be an error.
trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse_by_error {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse_by_error!(ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen);

fn system_time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH - whole,
        false => SystemTime::UNIX_EPOCH + whole,
    };
    second + Duration::from_nanos(u64::from(nanoseconds))
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Link => FileType::Symlink,
    }
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    let time = system_time(attributes.unix_time());
    FileAttr {
        ino: INodeNo(attributes.inode),
        size: attributes.size,
        blocks: attributes.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// An entry with inode number 0: the kernel remembers that nothing is there.
fn send_found(reply: ReplyEntry, found: Found) {
    match found {
        Found::Entry(entry) => reply.entry_with_ttls(
            &entry.attributes_ttl,
            &entry.name_ttl,
            &file_attr(&entry.attributes),
            Generation(0),
        ),
        Found::Missing(ttl) if ttl.is_zero() => reply.error(Errno::ENOENT),
        Found::Missing(ttl) => {
            let nothing = Attributes {
                inode: 0,
                kind: Kind::File,
                size: 0,
                hole_bytes: 0,
                time: asof_engine::CommitTime(0),
                mode: 0,
                links: 0,
                uid: 0,
                gid: 0,
            };
            reply.entry(&ttl, &file_attr(&nothing), Generation(0));
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let offered = config.capabilities();
        // Lookups in one directory at the same time: one that renders does not hold up the others.
        // Logs that grow are cached nowhere, and mapped all the same where the kernel can.
        let wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP;
        if let Err(missing) = config.add_capabilities(wanted & offered) {
            log::debug!("the kernel does not offer {missing:?}");
        }
        if offered.contains(InitFlags::FUSE_PASSTHROUGH)
            && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(1).is_ok()
        {
            self.passthrough.enable();
        }
        // Any number above 0 is accepted.
        let _ = config.set_max_background(BACKGROUND_REQUESTS_MAX);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        guarded(|| self.answer(self.view.lookup(parent.0, name), reply, send_found));
    }

    fn forget(&self, _request: &Request, inode: INodeNo, lookups: u64) {
        guarded(|| self.view.forget(inode.0, lookups));
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        guarded(|| match self.view.attributes(inode.0) {
            Ok((attributes, ttl)) => reply.attr(&ttl, &file_attr(&attributes)),
            Err(refusal) => refuse(reply, &refusal),
        });
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        guarded(|| match self.view.read_link(inode.0) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(refusal) => refuse(reply, &refusal),
        });
    }

    fn open(&self, _request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (view, passthrough) = (self.view.clone(), self.passthrough.clone());
        guarded(|| {
            self.answer(self.view.open(inode.0, flags.0), reply, move |reply, opened: Opened| {
                passthrough.reply(&view, inode.0, opened, reply);
            });
        });
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        guarded(|| {
            self.answer(self.view.read(handle.0, offset, size), reply, |reply, bytes: Vec<u8>| {
                reply.data(&bytes)
            });
        });
    }

    fn lseek(
        &self,
        _: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        guarded(|| match self.view.seek(handle.0, offset, whence) {
            // Sizes are below 2^63.
            Ok(found) => reply.offset(found as i64),
            Err(refusal) => refuse(reply, &refusal),
        });
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        guarded(|| {
            self.passthrough.release(inode.0);
            match self.view.release(handle.0) {
                Ok(()) => reply.ok(),
                Err(refusal) => refuse(reply, &refusal),
            }
        });
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        guarded(|| match self.view.open_directory(inode.0) {
            Ok(opened) => {
                let cached = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
                let flags = if opened.keep_cache { cached } else { FopenFlags::empty() };
                reply.opened(FileHandle(opened.handle), flags);
            }
            Err(refusal) => refuse(reply, &refusal),
        });
    }

    fn readdir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        guarded(|| {
            let read = self.view.read_directory(handle.0, offset, &mut |listed| {
                reply.add(INodeNo(listed.inode), listed.next, file_type(listed.kind), &listed.name)
            });
            match read {
                Ok(()) => reply.ok(),
                Err(refusal) => refuse(reply, &refusal),
            }
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        guarded(|| match self.view.release(handle.0) {
            Ok(()) => reply.ok(),
            Err(refusal) => refuse(reply, &refusal),
        });
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        // No blocks at all, as of /proc: what is here takes its space elsewhere.
        reply.statfs(0, 0, 0, 0, 0, 4096, crate::names::NAME_BYTES_MAX as u32, 4096);
    }

    // What there is nothing to do for. "Not implemented" tells the kernel not to ask again.

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _inode: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn getxattr(&self, _request: &Request, _inode: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _inode: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _request: &Request, _inode: INodeNo, _block_size: u32, _index: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    // What would change something. The kernel refuses most of it before, for the mount is read-only.

    fn setattr(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(
        &self,
        _: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _inode: INodeNo, _parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _request: &Request, _inode: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _from_handle: FileHandle,
        _from_offset: u64,
        _to: INodeNo,
        _to_handle: FileHandle,
        _to_offset: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_around_1970_survive_the_way_to_the_kernel() {
        let before = system_time((-1, 999_999_000));
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(before).unwrap(), Duration::from_nanos(1_000));
        assert_eq!(system_time((5, 7)), SystemTime::UNIX_EPOCH + Duration::new(5, 7));
    }
}
