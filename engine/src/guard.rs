//! Calls libraries that read bytes and may panic on some, whatever their checksums say of them.
//!
//! Invariant: such a panic becomes an error. Its text is reported as any other's, unless the program asked for
//! [`silence`]; every panic outside of a guarded call stays what it is.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is in a guarded call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of a call; the error that `damaged` makes if it panics. What the call changed is not to be used then.
pub fn guarded<T>(call: impl FnOnce() -> Result<T>, damaged: impl FnOnce() -> Error) -> Result<T> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    result.unwrap_or_else(|_| Err(damaged()))
}

/// Puts a hook before the one that this process has for panics, once, so that those of guarded calls are not reported:
/// the error tells of them.
pub fn silence() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_within_becomes_an_error_and_one_outside_stays() {
        silence();
        let refused = || Error::corrupt("the file is damaged");
        assert_eq!(guarded(|| Ok(7), refused).unwrap(), 7);
        let inner = || guarded(|| -> Result<()> { panic!("within") }, || Error::invalid("inner"));
        assert_eq!(guarded(inner, refused).unwrap_err().kind(), ErrorKind::Invalid);
        let outer: Result<()> = guarded(|| panic!("within"), refused);
        assert_eq!(outer.unwrap_err().to_string(), "the file is damaged");
        assert!(!GUARDED.get());
    }
}
