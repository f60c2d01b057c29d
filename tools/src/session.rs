//! A mount served by this process until somebody ends it: a signal, `umount`, or the kernel. Meanwhile it tells how it
//! goes: people on a terminal by a line that is written anew, the service manager where there is one.

use crate::interrupt::SIGNALS;
use crate::print::{bytes_text, count_text, status_line};
use crate::service::{self, ServiceManager};
use crate::{Context, Error, Result};
use asof_engine::Database;
use asof_fuse::{Ended, Mount, MountOptions, Place};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the line on the terminal is written anew, if anything changed.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the service manager is told, if anything changed.
const SERVICE_INTERVAL: Duration = Duration::from_secs(10);

/// Mounts, calls `ready`, and serves until the mount ends. A directory that is missing is made, and removed with the
/// place that is given back; who waits for the mount's end waits until that is dropped.
pub fn serve(
    context: &Context,
    database: Database,
    directory: &Path,
    options: MountOptions,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Arc<Place>> {
    // Before the mount is there: a signal that comes from now on is answered once it is.
    let mut signals = Signals::new(SIGNALS)?;
    let service = Arc::new(ServiceManager::of_environment());
    let place = Arc::new(Place::take(directory, database.path(), true)?);
    let mut report = Report {
        draws: context.shows_progress(),
        service: service.clone(),
        what: format!("{} at {}", database.path().display(), directory.display()),
        told: String::new(),
        told_at: Instant::now(),
    };
    if let (readable, Some(error)) = database.readable()? {
        context.note(format_args!("versions up to {readable} are mounted, and 'latest' is none: {error}"));
    }
    let mount = asof_fuse::mount_at_place(database, place.clone(), options)?;
    if place.is_made() {
        context.note(format_args!("made the directory {}", directory.display()));
    }
    let unmounter = mount.unmounter();
    let asked_to_end = signals.handle();
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in signals.forever() {
                service.tell("STOPPING=1");
                if let Err(error) = unmounter.unmount() {
                    context.note(error);
                }
            }
        });
        let told = ready();
        match &told {
            Ok(()) => {
                service.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
                if let Some(interval) = service::watchdog_interval().filter(|_| service.listens()) {
                    give_signs_of_life(&service, mount.path(), interval);
                }
            }
            // Nobody would know that the mount is there.
            Err(_) => {
                if let Err(error) = unmounter.unmount() {
                    context.note(error);
                }
            }
        }
        let ended = report.until_the_end(&mount);
        asked_to_end.close();
        told.and(ended.map_err(Error::from))
    })?;
    if ended == Ended::Detached {
        context.note(format_args!("{} was in use: what is open in it ends now", directory.display()));
    }
    Ok(place)
}

/// Tells how a mount goes.
struct Report {
    /// Whether people look on.
    draws: bool,
    service: Arc<ServiceManager>,
    /// What is mounted where.
    what: String,
    /// What the service manager was told last, and when.
    told: String,
    told_at: Instant,
}

impl Report {
    fn until_the_end(&mut self, mount: &Mount) -> asof_fuse::Result<Ended> {
        if !self.draws && !self.service.listens() {
            return mount.wait();
        }
        let interval = if self.draws { LINE_INTERVAL } else { SERVICE_INTERVAL };
        loop {
            let status = status_text(mount);
            if self.draws {
                status_line::draw(&format!("{status}; {}", self.what));
            }
            if (self.told_at.elapsed() >= SERVICE_INTERVAL || self.told.is_empty()) && self.told != status {
                self.service.tell(&format!("STATUS={}: {status}", self.what.escape_debug()));
                (self.told, self.told_at) = (status, Instant::now());
            }
            if let Some(ended) = mount.wait_for(interval) {
                status_line::erase();
                return ended;
            }
        }
    }
}

/// `version 42, 3 open, 1204 requests, 85.1 MB of memory`
fn status_text(mount: &Mount) -> String {
    let memory = memory_bytes().map(|bytes| format!(", {} of memory", bytes_text(bytes))).unwrap_or_default();
    match mount.status() {
        Ok(status) => format!(
            "version {}, {} open, {}{memory}",
            status.newest,
            status.open,
            count_text(status.requests.total(), "request")
        ),
        Err(error) => format!("{error}{memory}"),
    }
}

/// What this process has in memory, as far as the kernel tells.
fn memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    kibibytes.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// From now on, signs of life as long as the mount answers. On a thread of its own, for where the mount is stuck, so is
/// who asks it.
fn give_signs_of_life(service: &Arc<ServiceManager>, directory: &Path, interval: Duration) {
    let (service, directory) = (service.clone(), directory.to_path_buf());
    let give = move || {
        loop {
            match rustix::fs::statfs(&directory) {
                Ok(_) => service.tell("WATCHDOG=1"),
                Err(error) => log::warn!("{} does not answer: {error}", directory.display()),
            }
            std::thread::sleep(interval);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("asof-watchdog".to_string()).spawn(give) {
        log::warn!("no signs of life can be given: {error}");
    }
}
