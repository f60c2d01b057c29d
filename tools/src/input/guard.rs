//! Calls readers of bytes that nobody checked, which may panic on some.
//!
//! Invariant: such a panic becomes an error, and its text reaches nobody; every other panic is reported as before.

use asof_engine::{Error, Result};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in a guarded call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of a call; an error that names the input if it panics.
pub fn guarded<T>(name: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(outer);
    result.unwrap_or_else(|_| Err(Error::invalid(format!("{name}: the file is damaged; write it again"))))
}
