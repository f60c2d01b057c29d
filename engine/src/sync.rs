//! The locks that are held while the log is written: parking_lot's, and with the feature `model` those of shuttle,
//! which tries many schedules of the threads that meet at them.

#[cfg(not(feature = "model"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(feature = "model")]
pub(crate) use asof_wal::model::{Condvar, Mutex, MutexGuard};
