//! How many files a process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: for this process, and for those that it starts.
pub(crate) fn raise_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it cannot be raised, connecting fails, and says why.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
