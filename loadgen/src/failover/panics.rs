//! Panics of this process. The runtime catches those of tasks, and what a run comes to without one of them is worth nothing.

use std::panic::{set_hook, take_hook};
use std::sync::Arc;

use parking_lot::Mutex;

/// What panicked first.
#[derive(Debug)]
pub(super) struct Panics(Arc<Mutex<Option<String>>>);

impl Panics {
    /// Watches until the process ends: every task and every thread, those of the library too. What was done about panics
    /// before is done as well.
    pub(super) fn watch() -> Self {
        let first = Arc::new(Mutex::new(None));
        let (note, before) = (first.clone(), take_hook());
        set_hook(Box::new(move |panic| {
            note.lock().get_or_insert_with(|| panic.to_string());
            before(panic);
        }));
        Self(first)
    }

    /// The first one, as a sentence.
    pub(super) fn first(&self) -> Option<String> {
        self.0.lock().as_ref().map(|panic| format!("this tool {panic}; that is a bug of it"))
    }
}
