//! Mounts as somebody runs them: by fstab, by a service manager, by users who are not root; and how they end.

mod endings;
mod fstab;
mod programs;
mod service;
mod users;

use crate::cli::support::{Guard, MountGuard, Scratch};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

/// Starts a mount of `db` at `mnt` in the foreground and waits until it is ready.
fn mount(scratch: &Scratch, words: &[&str]) -> (Guard, MountGuard) {
    let place = MountGuard(scratch.path("mnt"));
    let mut command = scratch.command(&[&["mount", "db", "mnt", "--json"], words].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard(Some(command.spawn().unwrap()));
    let mut line = String::new();
    BufReader::new(child.get().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        panic!("no mount: {}", child.finish().stderr);
    }
    (child, place)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a script in a mount namespace of its own, so that what it does to the machine is seen by nobody else. Every
/// command of it must succeed. `$ASOF` is this binary, where everybody can run it.
fn in_own_namespace(scratch: &Scratch, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(scratch.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    scratch.write("asof", "");
    // The namespace begins with copies of the mounts of tests that run beside, which must not outlive those.
    let all = format!(
        "findmnt -rnt fuse.asof -o TARGET | xargs -r umount -l || true; set -eu; exec 2>&1; mount --bind {} asof; export ASOF=$PWD/asof HOME=$PWD/home; mkdir -p home\n{script}",
        env!("CARGO_BIN_EXE_asof")
    );
    let output: Output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &all])
        .current_dir(scratch.path(""))
        .env_remove("ASOF_DB")
        .env_remove("XDG_CACHE_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}
