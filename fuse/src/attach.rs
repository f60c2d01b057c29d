//! Makes and ends mounts: by the kernel's own calls where that is allowed, through `fusermount3` otherwise.
//!
//! fuser is handed the open device and never mounts or unmounts, because version 0.18 cannot be trusted with that:
//! after someone else's unmount it unmounts whatever lies at the path by then, and it leaves busy mounts where they
//! are. Here, nothing is unmounted unless the mount table shows that it is ours.

use crate::error::{Error, Result};
use crate::mount_table::{self, FILE_SYSTEM_TYPE, MountEntry};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::{CString, OsStr, OsString};
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

const DEVICE: &str = "/dev/fuse";
/// Names another program to use for `fusermount3`.
const HELPER_VARIABLE: &str = "FUSERMOUNT_PATH";
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
/// Tells the helper which descriptor is the socket to send the device through.
const HELPER_SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

/// How to mount.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// What the mount table shows as the source.
    pub source: String,
    /// Whether users other than the mounter may use it.
    pub allow_other: bool,
}

/// A mount that was just made.
#[derive(Debug)]
pub struct Attached {
    /// The device through which the kernel's requests come.
    pub device: OwnedFd,
    /// Its line in the mount table.
    pub entry: MountEntry,
}

/// Mounts at an empty directory, given by its canonical path.
pub fn attach(path: &Path, options: &AttachOptions) -> Result<Attached> {
    let device = match attach_directly(path, options)? {
        Some(device) => device,
        None => attach_by_helper(path, options)?,
    };
    let entry = mount_table::mount_at(path)?.filter(MountEntry::is_ours);
    let entry =
        entry.ok_or_else(|| Error::NotPossible(format!("{} was unmounted at once", path.display())))?;
    Ok(Attached { device, entry })
}

/// Mounts by the kernel's call; `None` where that is not permitted and the helper may be.
fn attach_directly(path: &Path, options: &AttachOptions) -> Result<Option<OwnedFd>> {
    let device =
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(DEVICE);
    let device: OwnedFd = match device {
        Ok(device) => device.into(),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NotPossible(format!(
                "there is no {DEVICE}; load the kernel's module with: modprobe fuse (in a container, give it the device)"
            )));
        }
        Err(error) => return Err(Error::system(format!("opening {DEVICE}"), error)),
    };
    // Standard input, output and error stay what they are, even where the process was started without them.
    let device = match device.as_raw_fd() {
        0..=2 => rustix::io::fcntl_dupfd_cloexec(&device, 3)
            .map_err(|errno| Error::system(format!("duplicating {DEVICE}"), errno))?,
        _ => device,
    };
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).expect("the options have no zero byte");
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match rustix::mount::mount(options.source.as_str(), path, FILE_SYSTEM_TYPE, flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM) => Ok(None),
        Err(Errno::NODEV) => {
            Err(Error::NotPossible("the kernel has no FUSE; load it with: modprobe fuse".to_string()))
        }
        Err(errno) => Err(Error::system(format!("mounting at {}", path.display()), errno)),
    }
}

/// Has `fusermount3`, which is installed setuid root, mount for an ordinary user.
fn attach_by_helper(path: &Path, options: &AttachOptions) -> Result<OwnedFd> {
    // A comma would end the option, whatever escapes the helper's version knows.
    let source = options.source.replace([',', '\\'], "_");
    let mut list = format!(
        "ro,nosuid,nodev,noexec,default_permissions,fsname={source},subtype={}",
        &FILE_SYSTEM_TYPE[5..]
    );
    if options.allow_other {
        list.push_str(",allow_other");
    }
    let system = |what: &str, error: std::io::Error| Error::system(what.to_string(), error);
    let (ours, theirs) =
        UnixStream::pair().map_err(|error| system("making a socket for fusermount3", error))?;
    // The socket is the helper's standard input, so that no descriptor has to be let through exec by hand.
    let mut child = start_helper(|command| {
        let theirs = OwnedFd::from(theirs.try_clone()?);
        command
            .env(HELPER_SOCKET_VARIABLE, "0")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .args([OsStr::new("-o"), OsStr::new(&list), OsStr::new("--"), path.as_os_str()])
            .spawn()
    })?;
    drop(theirs);
    let device = receive_device(&ours);
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What cannot be read is not worth an error of its own.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let status = child.wait().map_err(|error| system("waiting for fusermount3", error))?;
    let complaint = complaint.trim().replace('\n', "; ");
    match device {
        Ok(Some(device)) if status.success() => Ok(device),
        Ok(_) if complaint.contains("user_allow_other") => Err(Error::NotPossible(format!(
            "{complaint}; have user_allow_other put into /etc/fuse.conf, or mount without --allow-other"
        ))),
        Ok(_) => Err(Error::NotPossible(format!("fusermount3 failed ({status}): {complaint}"))),
        Err(error) => Err(system("receiving the device from fusermount3", error)),
    }
}

fn receive_device(socket: &UnixStream) -> std::io::Result<Option<OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut byte = [0u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let device = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(device)
}

/// Starts the first helper there is.
fn start_helper<T>(start: impl Fn(&mut Command) -> std::io::Result<T>) -> Result<T> {
    let named = std::env::var_os(HELPER_VARIABLE).map(|path| vec![path]);
    for helper in named.unwrap_or_else(|| HELPERS.map(OsString::from).to_vec()) {
        match start(&mut Command::new(&helper)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::system(format!("starting {}", helper.to_string_lossy()), error)),
            Ok(started) => return Ok(started),
        }
    }
    Err(Error::NotPossible("it takes root, or fusermount3: install the package fuse3".to_string()))
}

/// Ends a mount of ours that lies on top at its path. `lazy` takes it out of the tree even while it is in use.
/// [`Error::Busy`] where it is in use and `lazy` is not set.
pub fn detach(entry: &MountEntry, lazy: bool) -> Result<()> {
    match mount_table::mount_at(&entry.path)? {
        Some(top) if top.id == entry.id && top.is_ours() => {}
        Some(top) => {
            let found = format!(": {} ({}) is mounted over it", top.source, top.file_system);
            return Err(Error::NotOurs { path: entry.path.clone(), found });
        }
        None => {
            return Err(Error::NotOurs {
                path: entry.path.clone(),
                found: ": nothing is mounted there".into(),
            });
        }
    }
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(entry.path.as_path(), flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(Error::Busy { path: entry.path.clone() }),
        Err(Errno::PERM) => detach_by_helper(entry, lazy),
        Err(errno) => Err(Error::system(format!("unmounting {}", entry.path.display()), errno)),
    }
}

fn detach_by_helper(entry: &MountEntry, lazy: bool) -> Result<()> {
    let output = start_helper(|command| {
        command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(&entry.path).stdin(Stdio::null()).output()
    })?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    match complaint.to_ascii_lowercase().contains("busy") {
        true => Err(Error::Busy { path: entry.path.clone() }),
        false => {
            Err(Error::NotPossible(format!("fusermount3 -u {} failed: {complaint}", entry.path.display())))
        }
    }
}

/// Lets the kernel read ahead as much as one request can hold. A matter of speed alone, and of root: where it is not
/// allowed, nothing happens.
pub fn raise_readahead(entry: &MountEntry) {
    const READAHEAD_KIB: &str = "1024";
    let setting = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
    if let Err(error) = std::fs::write(&setting, READAHEAD_KIB) {
        log::debug!("{setting} stays as it is: {error}");
    }
}
