//! A mount served by this process until somebody ends it: a signal, `umount`, or the kernel.

use crate::interrupt::SIGNALS;
use crate::{Context, Error, Result};
use asof_engine::Database;
use asof_fuse::{Ended, MountOptions};
use signal_hook::iterator::Signals;
use std::path::Path;

/// Mounts, calls `ready`, and serves until the mount ends. A directory that is missing is made, and removed again.
pub fn serve(
    context: &Context,
    database: Database,
    directory: &Path,
    options: MountOptions,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    // Before the mount is there: a signal that comes from now on is answered once it is.
    let mut signals = Signals::new(SIGNALS)?;
    let made = make_directory(directory)?;
    let served = serve_mount(context, database, directory, options, &mut signals, || {
        if made {
            context.note(format_args!("made the directory {}", directory.display()));
        }
        ready()
    });
    if made {
        // If something lies in it by now, it is not ours to remove.
        let _ = std::fs::remove_dir(directory);
    }
    served
}

fn make_directory(directory: &Path) -> Result<bool> {
    match std::fs::create_dir(directory) {
        Ok(()) => Ok(true),
        // A dead mount point cannot even be looked at; the mount says what is wrong with it.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            Err(Error::from(error).at(format_args!("cannot make the directory {}", directory.display())))
        }
    }
}

fn serve_mount(
    context: &Context,
    database: Database,
    directory: &Path,
    options: MountOptions,
    signals: &mut Signals,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if let (readable, Some(error)) = database.readable()? {
        context.note(format_args!("versions up to {readable} are mounted, and 'latest' is none: {error}"));
    }
    let mount = asof_fuse::mount(database, directory, options)?;
    let unmounter = mount.unmounter();
    let asked_to_end = signals.handle();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in signals.forever() {
                if let Err(error) = unmounter.unmount() {
                    context.note(error);
                }
            }
        });
        let told = ready();
        if told.is_err() {
            // Nobody would know that the mount is there.
            unmounter.unmount()?;
        }
        let ended = mount.wait();
        asked_to_end.close();
        told?;
        if ended? == Ended::Detached {
            context.note(format_args!("{} was in use: what is open in it ends now", directory.display()));
        }
        Ok(())
    })
}
