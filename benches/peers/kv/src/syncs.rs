//! Counts syncs: these symbols win over the C library's in everything that is linked in here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Syncs since the process began.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Counts, then asks the kernel.
///
/// # Safety
/// As fdatasync(2): any descriptor may be given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(descriptor: libc::c_int) -> libc::c_int {
    COUNT.fetch_add(1, Relaxed);
    unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) as libc::c_int }
}

/// Counts, then asks the kernel.
///
/// # Safety
/// As fsync(2): any descriptor may be given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(descriptor: libc::c_int) -> libc::c_int {
    COUNT.fetch_add(1, Relaxed);
    unsafe { libc::syscall(libc::SYS_fsync, descriptor) as libc::c_int }
}
