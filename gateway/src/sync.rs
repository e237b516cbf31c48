//! What threads synchronize by: in production parking_lot's mutexes and the atomics of `std`, as they are; in the models
//! (`models.rs`) those of loom, which tries every order in which threads can take their steps.
//!
//! Whatever sessions of several shards change uses this. What belongs to one thread, or is behind one lock and nothing
//! else, need not.

#[cfg(not(all(test, fastway_model)))]
pub(crate) use {
    parking_lot::{Mutex, MutexGuard},
    std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, fence},
    std::thread_local,
};

#[cfg(all(test, fastway_model))]
pub(crate) use self::model::{AtomicBool, AtomicIsize, AtomicU32, Mutex, MutexGuard, fence, thread_local};

#[cfg(all(test, fastway_model))]
mod model {
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicIsize, AtomicU32, fence};

    use std::sync::atomic::Ordering;

    /// loom's mutex with the interface of parking_lot's.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics has failed")
        }
    }

    /// loom's, but for a store that other threads' swaps meet: loom lets the second of two swaps miss a store that came
    /// between them and happened before it. No machine does, since nothing comes between a swap and what it read. A
    /// store that is a swap itself is not missed; loads still bring old values.
    #[derive(Debug)]
    pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            Self(loom::sync::atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> bool {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: bool, ordering: Ordering) {
            self.0.swap(value, ordering);
        }

        pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
            self.0.swap(value, ordering)
        }
    }

    impl Default for AtomicBool {
        fn default() -> Self {
            Self::new(false)
        }
    }

    /// loom's does not take the `const` of the standard library's.
    macro_rules! local {
        ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };) => {
            loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
        };
    }
    pub(crate) use local as thread_local;
}
