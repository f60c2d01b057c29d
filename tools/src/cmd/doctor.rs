//! `doctor`: what this machine can do, and what to do about the rest.

use crate::args::DoctorArgs;
use crate::print::Paint;
use crate::print::bytes_text;
use crate::{Context, Result, Status};
use rustix::fs::{FlockOperation, flock, statvfs};
use serde_json::json;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Free space below which a database is not at ease.
const FREE_BYTES_LOW: u64 = 256 << 20;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check: what was found, and what to do about it.
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    advice: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Ok, found: found.into(), advice: None }
}

fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
}

fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
}

/// Checks the machine, and the database or the directory that shall hold one; status 1 where something fails.
pub fn run(args: DoctorArgs, context: &Context) -> Result {
    let mut checks = vec![fuse_device(), unmounting(), allow_other()];
    let directory = args.database.clone().unwrap_or_else(|| PathBuf::from("."));
    checks.extend(directory_checks(&directory));
    checks.push(cache_directory());
    if args.database.is_some() {
        checks.push(database(&directory, context));
    }
    let mut out = context.out();
    let paint = Paint::new(context.colors_stdout());
    for check in &checks {
        let (word, painted) = match check.verdict {
            Verdict::Ok => ("ok", paint.green("ok  ")),
            Verdict::Warn => ("warn", paint.yellow("warn")),
            Verdict::Fail => ("fail", paint.red("fail")),
        };
        if context.json {
            let line =
                json!({"check": check.name, "status": word, "found": check.found, "advice": check.advice});
            serde_json::to_writer(&mut out, &line)?;
            writeln!(out)?;
            continue;
        }
        writeln!(out, "{painted} {:<16} {}", check.name, context.shown(&check.found))?;
        if let Some(advice) = &check.advice {
            writeln!(out, "     {:<16} -> {}", "", context.shown(advice))?;
        }
    }
    out.flush()?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Status::Failed } else { Status::Done })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn fuse_device() -> Check {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => ok("fuse device", "/dev/fuse can be opened"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => warn(
            "fuse device",
            "/dev/fuse is missing, so nothing can be mounted",
            "load the kernel's module (modprobe fuse), or give the container the device (--device /dev/fuse \
             --cap-add SYS_ADMIN); without it, read the past with `asof cat --as-of`",
        ),
        Err(error) => warn(
            "fuse device",
            format!("/dev/fuse cannot be opened: {error}"),
            "see its permissions (ls -l /dev/fuse); without it, read the past with `asof cat --as-of`",
        ),
    }
}

fn unmounting() -> Check {
    if is_root() {
        return ok("mounting", "root mounts without a helper");
    }
    let helper = ["fusermount3", "fusermount"].into_iter().find_map(find_program);
    match helper {
        None => {
            warn("mounting", "fusermount3 is missing, so only root can mount", "install the package fuse3")
        }
        Some(path) => match path.metadata() {
            Ok(found) if found.mode() & 0o4000 != 0 && found.uid() == 0 => {
                ok("mounting", format!("{} mounts for users", path.display()))
            }
            Ok(_) => warn(
                "mounting",
                format!("{} is not setuid root, so only root can mount", path.display()),
                "install the package fuse3 again, or run as root",
            ),
            Err(error) => {
                warn("mounting", format!("{}: {error}", path.display()), "install the package fuse3 again")
            }
        },
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

fn allow_other() -> Check {
    let name = "--allow-other";
    if is_root() {
        return ok(name, "root may let other users in");
    }
    match std::fs::read_to_string("/etc/fuse.conf") {
        Ok(text) if allows_other(&text) => ok(name, "/etc/fuse.conf has user_allow_other"),
        _ => warn(
            name,
            "/etc/fuse.conf does not have user_allow_other, so other users cannot be let in",
            "if they should be, let root add the line user_allow_other to /etc/fuse.conf",
        ),
    }
}

fn allows_other(fuse_conf: &str) -> bool {
    fuse_conf.lines().any(|line| line.split('#').next().is_some_and(|line| line.trim() == "user_allow_other"))
}

/// The nearest directory that exists: the one given, or the one that it would be made in.
fn existing(directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    absolute.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn directory_checks(directory: &Path) -> Vec<Check> {
    let directory = existing(directory);
    let mut checks = vec![file_system(&directory)];
    checks.push(match statvfs(&directory) {
        Ok(found) => free_space(&directory, found.f_bavail.saturating_mul(found.f_frsize)),
        Err(error) => warn("space", format!("{}: {error}", directory.display()), "see df"),
    });
    match tempfile::Builder::new().prefix(".asof-doctor-").tempfile_in(&directory) {
        Err(error) => checks.push(warn(
            "writing",
            format!("{} cannot be written: {error}", directory.display()),
            "databases here can be read but not written; see the permissions",
        )),
        Ok(file) => {
            checks.push(ok("writing", format!("{} can be written", directory.display())));
            checks.push(locks(file.path()));
            checks.push(syncing(&directory, file.as_file()));
        }
    }
    checks
}

fn free_space(directory: &Path, bytes: u64) -> Check {
    let found = format!("{} free at {}", bytes_text(bytes), directory.display());
    if bytes < FREE_BYTES_LOW {
        return warn("space", found, "make room: a full disk refuses commits");
    }
    ok("space", found)
}

fn locks(path: &Path) -> Check {
    let second_is_refused = || -> io::Result<bool> {
        let (first, second) = (File::open(path)?, File::open(path)?);
        flock(&first, FlockOperation::NonBlockingLockExclusive)?;
        Ok(flock(&second, FlockOperation::NonBlockingLockExclusive).is_err())
    };
    match second_is_refused() {
        Ok(true) => ok("locks", "flock works"),
        Ok(false) => fail(
            "locks",
            "flock is granted twice: two writers would not see each other",
            "put the database on a local file system",
        ),
        Err(error) => {
            fail("locks", format!("flock fails: {error}"), "put the database on a local file system")
        }
    }
}

fn syncing(directory: &Path, file: &File) -> Check {
    let synced = file.sync_data().and_then(|()| File::open(directory)?.sync_all());
    match synced {
        Ok(()) => ok("sync", "files and directories can be synced"),
        Err(error) => fail(
            "sync",
            format!("sync fails: {error}"),
            "put the database elsewhere: commits here would not be durable",
        ),
    }
}

fn file_system(directory: &Path) -> Check {
    let name = "file system";
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let device = directory.metadata().map(|found| found.dev()).ok();
    let Some(kind) = device.and_then(|device| file_system_of(&mounts, device, directory)) else {
        return warn(name, format!("{}: its kind is not known", directory.display()), "see findmnt");
    };
    let found = format!("{} is on {kind}", directory.display());
    match kind.as_str() {
        "tmpfs" | "ramfs" => {
            warn(name, found, "this is memory: what is committed here does not survive a reboot")
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "glusterfs" | "virtiofs" => warn(
            name,
            found,
            "over a network, locks and syncs are only as good as the server's; prefer a local disk",
        ),
        kind if kind.starts_with("fuse") => {
            warn(name, found, "locks and syncs are only as good as this file system's; prefer a local disk")
        }
        _ => ok(name, found),
    }
}

/// The kind of the file system that holds a directory: by device, and among several by the longest mount point.
fn file_system_of(mountinfo: &str, device: u64, directory: &Path) -> Option<String> {
    let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(2);
        let same_device = fields.next()? == numbers;
        let point = fields.nth(1)?;
        Some((same_device, directory.starts_with(point), point.len(), right.split(' ').next()?))
    });
    // Some file systems (btrfs, overlayfs) show files under another device than their mount's.
    mounts
        .filter(|mount| mount.0 || mount.1)
        .max_by_key(|mount| (mount.1, mount.0, mount.2))
        .map(|m| m.3.to_string())
}

fn cache_directory() -> Check {
    let name = "cache";
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".cache"),
        _ => std::env::temp_dir(),
    };
    let directory = existing(&base.join("asof"));
    match tempfile::Builder::new().prefix(".asof-doctor-").tempfile_in(&directory) {
        Ok(_) => ok(name, format!("rendered files are kept in {}", base.join("asof").display())),
        Err(error) => warn(
            name,
            format!("{} cannot be written: {error}", directory.display()),
            "rendered files are made again each time; set XDG_CACHE_HOME to a directory that can be written",
        ),
    }
}

fn database(directory: &Path, context: &Context) -> Check {
    let name = "database";
    match asof_engine::Database::exists(directory, &context.options()) {
        Ok(false) => ok(name, format!("{} holds none yet", directory.display())),
        Ok(true) => match context.open_read_only(directory).and_then(|database| Ok(database.latest()?)) {
            Ok(version) => ok(name, format!("{} opens at version {version}", directory.display())),
            Err(error) => fail(name, error.to_string(), "see `asof verify`"),
        },
        Err(error) => fail(name, error.to_string(), "see the permissions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - btrfs /dev/sdb rw,subvol=/home
31 22 0:41 / /tmp rw - tmpfs tmpfs rw
";

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let of = |device, path: &str| file_system_of(MOUNTS, device, Path::new(path));
        assert_eq!(of(rustix::fs::makedev(8, 1), "/var/db").as_deref(), Some("ext4"));
        assert_eq!(of(rustix::fs::makedev(0, 41), "/tmp/db").as_deref(), Some("tmpfs"));
        assert_eq!(of(rustix::fs::makedev(0, 99), "/home/db").as_deref(), Some("btrfs"));
        assert_eq!(file_system_of("", 0, Path::new("/")), None);
    }

    #[test]
    fn a_comment_does_not_allow_others() {
        assert!(allows_other("mount_max = 10\n user_allow_other # yes\n"));
        assert!(!allows_other("#user_allow_other\n# user_allow_other\n"));
    }
}
