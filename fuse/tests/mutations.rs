//! Every call that would change something is refused and changes nothing: also where root has mounted it again for
//! writing, so that the kernel refuses nothing by itself.

use crate::support::{Place, is_root, shell};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, IFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps,
    XattrFlags,
};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A call, what it gave, and what it may give.
type Tried = (&'static str, Result<(), Errno>, &'static [Errno]);

const READ_ONLY: &[Errno] = &[Errno::ROFS];

fn times() -> Timestamps {
    let then = Timespec { tv_sec: 1, tv_nsec: 2 };
    Timestamps { last_access: then, last_modification: then }
}

fn by_name(state: &Path) -> Vec<Tried> {
    let (file, new, directory) = (&state.join("orders.csv"), &state.join("new"), &state.join("gold"));
    let link = &state.join("../../latest");
    let mode = Mode::from_raw_mode(0o600);
    let open = |path: &Path, flags| rustix::fs::open(path, flags, mode).map(drop);
    let rename = |to: &Path, flags| rustix::fs::renameat_with(CWD, file, CWD, to, flags);
    let node = |kind| rustix::fs::mknodat(CWD, new, kind, mode, rustix::fs::makedev(1, 3));
    vec![
        ("open for writing", open(file, OFlags::WRONLY), READ_ONLY),
        ("open for both", open(file, OFlags::RDWR), READ_ONLY),
        ("open to append", open(file, OFlags::WRONLY | OFlags::APPEND), READ_ONLY),
        ("open to truncate", open(file, OFlags::RDONLY | OFlags::TRUNC), READ_ONLY),
        ("create", open(new, OFlags::CREATE | OFlags::WRONLY), READ_ONLY),
        ("create for reading", open(new, OFlags::CREATE | OFlags::RDONLY), READ_ONLY),
        ("create what is there", open(file, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY), &[Errno::EXIST]),
        ("open a directory for writing", open(directory, OFlags::WRONLY), &[Errno::ISDIR]),
        (
            "a file without a name",
            open(state, OFlags::TMPFILE | OFlags::RDWR),
            &[Errno::ROFS, Errno::OPNOTSUPP],
        ),
        ("truncate", truncate(file), READ_ONLY),
        ("link", rustix::fs::link(file, new), READ_ONLY),
        ("symlink", rustix::fs::symlink("x", new), READ_ONLY),
        ("rename", rename(new, RenameFlags::empty()), READ_ONLY),
        ("rename over another", rename(&state.join("orders.parquet"), RenameFlags::empty()), READ_ONLY),
        ("rename without replacing", rename(new, RenameFlags::NOREPLACE), READ_ONLY),
        ("exchange", rename(&state.join("orders.parquet"), RenameFlags::EXCHANGE), READ_ONLY),
        ("rename with a whiteout", rename(new, RenameFlags::WHITEOUT), &[Errno::ROFS, Errno::INVAL]),
        (
            "rename elsewhere",
            rename(Path::new("/dev/shm/asof-test-new"), RenameFlags::empty()),
            &[Errno::XDEV],
        ),
        ("rename a directory", rustix::fs::rename(directory, new), READ_ONLY),
        ("rename a link", rustix::fs::rename(link, new), READ_ONLY),
        ("unlink", rustix::fs::unlink(file), READ_ONLY),
        ("unlink a link", rustix::fs::unlink(link), READ_ONLY),
        ("rmdir", rustix::fs::rmdir(directory), &[Errno::ROFS, Errno::NOTEMPTY]),
        ("mkdir", rustix::fs::mkdir(new, mode), READ_ONLY),
        ("mkdir of what is there", rustix::fs::mkdir(directory, mode), &[Errno::EXIST]),
        ("mknod of a file", node(FileType::RegularFile), READ_ONLY),
        ("mknod of a pipe", node(FileType::Fifo), READ_ONLY),
        ("mknod of a device", node(FileType::CharacterDevice), READ_ONLY),
        ("a socket", listen(new), READ_ONLY),
        ("chmod", rustix::fs::chmod(file, mode), READ_ONLY),
        ("chmod of a directory", rustix::fs::chmod(state, mode), READ_ONLY),
        ("chown", chown(file, AtFlags::empty()), READ_ONLY),
        ("chown of a link", chown(link, AtFlags::SYMLINK_NOFOLLOW), READ_ONLY),
        ("utimens", rustix::fs::utimensat(CWD, file, &times(), AtFlags::empty()), READ_ONLY),
        (
            "utimens of a link",
            rustix::fs::utimensat(CWD, link, &times(), AtFlags::SYMLINK_NOFOLLOW),
            READ_ONLY,
        ),
        ("setxattr", rustix::fs::setxattr(file, "user.x", b"y", XattrFlags::empty()), READ_ONLY),
        (
            "setxattr of a directory",
            rustix::fs::setxattr(state, "user.x", b"y", XattrFlags::empty()),
            READ_ONLY,
        ),
        ("removexattr", rustix::fs::removexattr(file, "user.x"), READ_ONLY),
    ]
}

fn truncate(path: &Path) -> Result<(), Errno> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends with a zero byte and lives on.
    match unsafe { libc::truncate(path.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).expect("an error of the system")),
    }
}

fn listen(path: &Path) -> Result<(), Errno> {
    let listening = UnixListener::bind(path);
    listening.map(drop).map_err(|error| Errno::from_io_error(&error).expect("an error of the system"))
}

fn chown(path: &Path, flags: AtFlags) -> Result<(), Errno> {
    // To whom it belongs already: even that is a change.
    let owner = rustix::process::getuid();
    rustix::fs::chownat(CWD, path, Some(owner), None, flags)
}

fn by_open_file(state: &Path, other: &File) -> Vec<Tried> {
    const NOT_FOR_WRITING: &[Errno] = &[Errno::BADF];
    let file = &File::open(state.join("orders.csv")).unwrap();
    let directory = &File::open(state).unwrap();
    let page = 4096;
    // SAFETY: a new mapping at a place of the kernel's choice; it is refused.
    let mapped = unsafe {
        let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        rustix::mm::mmap(std::ptr::null_mut(), page, protection, rustix::mm::MapFlags::SHARED, file, 0)
    };
    // SAFETY: as above; this one is made, and taken away where it is made writable after all.
    let made_writable = unsafe {
        let place = rustix::mm::mmap(
            std::ptr::null_mut(),
            page,
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::SHARED,
            file,
            0,
        )
        .unwrap();
        let made = rustix::mm::mprotect(place, page, rustix::mm::MprotectFlags::WRITE);
        rustix::mm::munmap(place, page).unwrap();
        made
    };
    let copied = rustix::fs::copy_file_range(other, None, file, Some(&mut 0), 4).map(drop);
    let sent = rustix::fs::sendfile(file, other, Some(&mut 0), 4).map(drop);
    vec![
        ("write", rustix::io::write(file, b"x").map(drop), NOT_FOR_WRITING),
        ("pwrite", rustix::io::pwrite(file, b"x", 1).map(drop), NOT_FOR_WRITING),
        ("ftruncate", rustix::fs::ftruncate(file, 0), &[Errno::INVAL]),
        ("fallocate", rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 4096), NOT_FOR_WRITING),
        (
            "punching a hole",
            rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 16),
            NOT_FOR_WRITING,
        ),
        ("copy_file_range into", copied, NOT_FOR_WRITING),
        ("sendfile into", sent, NOT_FOR_WRITING),
        (
            "cloning into",
            rustix::fs::ioctl_ficlone(file, other),
            &[Errno::BADF, Errno::OPNOTSUPP, Errno::XDEV],
        ),
        ("mapping to write", mapped.map(drop), &[Errno::ACCESS]),
        ("making a mapping writable", made_writable, &[Errno::ACCESS]),
        ("fchmod", rustix::fs::fchmod(file, Mode::from_raw_mode(0o777)), READ_ONLY),
        ("fchown", rustix::fs::fchown(file, Some(rustix::process::getuid()), None), READ_ONLY),
        ("futimens", rustix::fs::futimens(file, &times()), READ_ONLY),
        ("fsetxattr", rustix::fs::fsetxattr(file, "user.x", b"y", XattrFlags::empty()), READ_ONLY),
        ("fremovexattr", rustix::fs::fremovexattr(file, "user.x"), READ_ONLY),
        (
            "setting flags",
            rustix::fs::ioctl_setflags(file, IFlags::IMMUTABLE),
            &[Errno::ROFS, Errno::NOTTY, Errno::PERM],
        ),
        (
            "setting flags of a directory",
            rustix::fs::ioctl_setflags(directory, IFlags::APPEND),
            &[Errno::ROFS, Errno::NOTTY, Errno::PERM],
        ),
        (
            "create in an open directory",
            rustix::fs::openat(directory, "new", OFlags::CREATE | OFlags::RDWR, Mode::RUSR).map(drop),
            READ_ONLY,
        ),
        ("linking an open file", link_open(file, &state.join("new")), READ_ONLY),
    ]
}

fn link_open(file: &File, to: &Path) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, path.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW)
}

#[test]
fn no_call_changes_anything_not_even_where_the_kernel_lets_it_pass() {
    let place = Place::new();
    let mount = place.mount(&place.example());
    let state = mount.path().join("version/2");
    let other_path = place.join("other");
    std::fs::write(&other_path, "some bytes").unwrap();
    let other = File::options().read(true).write(true).open(&other_path).unwrap();
    let look =
        || shell(mount.path(), "ls -lR . | grep -v log; sha256sum version/*/*.csv version/*/gold/*.csv");
    let before = look();
    let ways: &[(&str, Option<MountFlags>)] = match is_root() {
        true => &[("as mounted", None), ("mounted again to write", Some(MountFlags::empty()))],
        false => &[("as mounted", None)],
    };
    for (way, flags) in ways {
        if let Some(flags) = flags {
            rustix::mount::mount_remount(mount.path(), *flags, "").unwrap();
        }
        for (call, result, allowed) in by_name(&state).into_iter().chain(by_open_file(&state, &other)) {
            match result {
                Ok(()) => panic!("{way}: {call} succeeded"),
                Err(error) => assert!(allowed.contains(&error), "{way}: {call} gives {error}"),
            }
        }
        assert_eq!(look(), before, "{way}");
    }
    // What is private is nobody else's.
    let file = File::open(state.join("orders.csv")).unwrap();
    // SAFETY: a private mapping of a file that never changes.
    let mut private = unsafe { memmap2::MmapOptions::new().map_copy(&file).unwrap() };
    private.fill(b'x');
    assert_eq!(look(), before);
    assert!(!Path::new("/dev/shm/asof-test-new").exists());
    drop((private, file));
    mount.unmount().unwrap();
}
