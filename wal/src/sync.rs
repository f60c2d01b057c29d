//! The locks of the log: parking_lot's, and with the feature `model` those of shuttle, which tries many schedules of the
//! threads that meet at them.

#[cfg(not(feature = "model"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(feature = "model")]
pub(crate) use model::{Condvar, Mutex, MutexGuard};

/// Shuttle's locks as parking_lot has them.
#[cfg(feature = "model")]
#[allow(missing_docs, reason = "as parking_lot documents them")]
pub mod model {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    #[derive(Debug)]
    pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    #[derive(Debug, Default)]
    pub struct Condvar(shuttle::sync::Condvar);

    /// No schedule waits long.
    #[derive(Debug)]
    pub struct InTime;

    impl InTime {
        pub fn timed_out(&self) -> bool {
            false
        }
    }

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("only a wait takes it, and gives it back")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("only a wait takes it, and gives it back")
        }
    }

    impl Condvar {
        pub fn new() -> Condvar {
            Condvar::default()
        }

        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let taken = guard.0.take().expect("it is held");
            guard.0 = Some(self.0.wait(taken).unwrap_or_else(|poisoned| poisoned.into_inner()));
        }

        pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _deadline: Instant) -> InTime {
            self.wait(guard);
            InTime
        }

        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
