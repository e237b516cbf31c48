//! Inputs from files: the corpus, and what once found a bug.

use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Panics so far, also those that a runtime catches because they happen in a task.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Calls `target` with every file in the folders `corpus/NAME` and `crashes/NAME` of the fuzz crate at `root`.
///
/// # Panics
///
/// If an input panics, or if there is no corpus.
pub fn all(root: &str, name: &str, target: fn(&[u8])) {
    count_panics();
    let corpus = files(&Path::new(root).join("corpus").join(name));
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let crashes = files(&Path::new(root).join("crashes").join(name));
    for path in corpus.iter().chain(&crashes) {
        let input = fs::read(path).expect("it was listed");
        let before = PANICS.load(Ordering::SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let panics = PANICS.load(Ordering::SeqCst) - before;
        assert!(outcome.is_ok() && panics == 0, "{} panics", path.display());
    }
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            usual(info);
        }));
    });
}

/// The files in a folder, in the order of their names; none if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    files
}
