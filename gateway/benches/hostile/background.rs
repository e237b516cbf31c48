//! What goes on beside a measurement, on a thread and a runtime of its own.

use std::thread::JoinHandle;

use anyhow::anyhow;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Work that goes on until it is told to stop.
#[derive(Debug)]
pub(crate) struct Background {
    thread: JoinHandle<anyhow::Result<()>>,
    stop: DropGuard,
}

impl Background {
    /// Starts it. It has to end soon after the token is cancelled.
    pub(crate) fn start<F>(work: impl FnOnce(CancellationToken) -> F + Send + 'static) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let token = stop.clone();
        let thread = std::thread::spawn(move || runtime.block_on(work(token)));
        Ok(Self { thread, stop: stop.drop_guard() })
    }

    /// Stops it, and says how it went.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        drop(self.stop);
        join(self.thread)
    }

    /// Waits until it ends by itself, and says how it went.
    pub(crate) fn wait(self) -> anyhow::Result<()> {
        join(self.thread)
    }
}

fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    thread.join().map_err(|_| anyhow!("what went on in the background panicked"))?
}
