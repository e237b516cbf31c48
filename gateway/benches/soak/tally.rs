//! What has happened until now.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::text::grouped;

/// Counters that everybody shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Clients that came, talked, and went.
    pub(crate) visits: Arc<AtomicU64>,
    /// Messages that came back as they were sent.
    pub(crate) echoes: Arc<AtomicU64>,
    /// Virtual connections that servers dialled.
    pub(crate) calls: Arc<AtomicU64>,
    /// Clients that never read, and were cut off.
    pub(crate) cut_offs: Arc<AtomicU64>,
    /// Floods whose messages were all counted at both ends.
    pub(crate) floods: Arc<AtomicU64>,
    /// Servers whose ID was taken over.
    pub(crate) takeovers: Arc<AtomicU64>,
    /// Peers that broke the protocol.
    pub(crate) garbage: Arc<AtomicU64>,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |counter: &AtomicU64| grouped(counter.load(Ordering::Relaxed));
        write!(
            f,
            "{} visits, {} echoes, {} calls, {} cut-offs, {} floods, {} takeovers, {} garbage",
            number(&self.visits),
            number(&self.echoes),
            number(&self.calls),
            number(&self.cut_offs),
            number(&self.floods),
            number(&self.takeovers),
            number(&self.garbage)
        )
    }
}

/// Those that have to be above zero, or the run has proved nothing.
impl Tally {
    pub(crate) fn idle(&self) -> Vec<&'static str> {
        let all = [
            ("visits", &self.visits),
            ("echoes", &self.echoes),
            ("calls", &self.calls),
            ("cut-offs", &self.cut_offs),
            ("floods", &self.floods),
            ("takeovers", &self.takeovers),
            ("garbage", &self.garbage),
        ];
        all.into_iter()
            .filter(|(_, count)| count.load(Ordering::Relaxed) == 0)
            .map(|(name, _)| name)
            .collect()
    }
}
