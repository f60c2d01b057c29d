//! The locks of what is checked under every schedule: models put others in their place.

pub(crate) use parking_lot::{Condvar, Mutex};
