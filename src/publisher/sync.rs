//! The locks under the hand-over, or their models when a test tries every order of events (`make test-loom`).

#[cfg(not(all(test, loom_model)))]
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, loom_model))]
pub(super) use self::model::{Condvar, Mutex, MutexGuard};

/// loom's locks, with the methods of those that are used otherwise.
#[cfg(all(test, loom_model))]
mod model {
    use std::{
        ops::{Deref, DerefMut},
        time::{Duration, Instant},
    };

    use loom::sync;

    #[derive(Debug)]
    pub(in crate::publisher) struct Mutex<T>(sync::Mutex<T>);

    /// `None` only while a [`Condvar`] has it.
    pub(in crate::publisher) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

    #[derive(Debug, Default)]
    pub(in crate::publisher) struct Condvar(sync::Condvar);

    /// Whether the time was up: it does not pass in a model.
    pub(in crate::publisher) struct WaitTimeoutResult(bool);

    impl<T> Mutex<T> {
        pub(in crate::publisher) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(in crate::publisher) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("a model ends with its first panic")))
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("a guard in use has its lock")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("a guard in use has its lock")
        }
    }

    impl Condvar {
        pub(in crate::publisher) fn new() -> Self {
            Self::default()
        }

        pub(in crate::publisher) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let lock = guard.0.take().expect("a guard in use has its lock");
            guard.0 = Some(self.0.wait(lock).expect("a model ends with its first panic"));
        }

        pub(in crate::publisher) fn wait_until<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            _: Instant,
        ) -> WaitTimeoutResult {
            self.wait(guard);
            WaitTimeoutResult(false)
        }

        pub(in crate::publisher) fn wait_while<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            mut condition: impl FnMut(&mut T) -> bool,
        ) {
            while condition(guard) {
                self.wait(guard);
            }
        }

        pub(in crate::publisher) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            condition: impl FnMut(&mut T) -> bool,
            _: Duration,
        ) {
            self.wait_while(guard, condition);
        }

        pub(in crate::publisher) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl WaitTimeoutResult {
        pub(in crate::publisher) fn timed_out(&self) -> bool {
            self.0
        }
    }
}
