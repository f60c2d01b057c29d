//! A value that is made once, by who needs it first, while others who need it wait. Making it may fail, and is then
//! tried again by the next.

use crate::error::Result;
use parking_lot::Mutex;
use std::sync::OnceLock;

/// A value that may have to be made.
#[derive(Debug)]
pub struct Once<T> {
    value: OnceLock<T>,
    /// Held by whoever makes it.
    turn: Mutex<()>,
}

impl<T> Default for Once<T> {
    fn default() -> Once<T> {
        Once { value: OnceLock::new(), turn: Mutex::new(()) }
    }
}

impl<T> From<T> for Once<T> {
    fn from(value: T) -> Once<T> {
        Once { value: value.into(), turn: Mutex::new(()) }
    }
}

impl<T> Once<T> {
    /// The value, if it was made.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, made now if it was not.
    pub fn get_or_make(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _turn = self.turn.lock();
        match self.value.get() {
            Some(value) => Ok(value),
            None => make().map(|value| self.value.get_or_init(|| value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn what_could_not_be_made_is_tried_again_and_what_was_is_not() {
        let once = Once::default();
        assert!(once.get_or_make(|| Err(Error::invalid("not yet"))).is_err());
        assert_eq!(once.get(), None);
        assert_eq!(once.get_or_make(|| Ok(1)).unwrap(), &1);
        assert_eq!(once.get_or_make(|| Ok(2)).unwrap(), &1);
        assert_eq!(Once::from(3).get(), Some(&3));
    }
}
