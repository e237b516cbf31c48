//! A process, the gateway's or our own, as far as the kernel tells: how much CPU time and memory it uses.

use procfs::process::Process;

use crate::clock::{Nanos, SECOND};
use crate::stats::TargetUse;

/// Watches one process.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: i32,
    first: Option<Seen>,
    last: Option<Seen>,
}

/// The resident memory of this process now, in bytes; 0 if the kernel does not tell.
pub(crate) fn own_memory() -> u64 {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.map_or(0, |stat| stat.rss * procfs::page_size())
}

/// What was seen of a process at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Nanos,
    cpu_ticks: u64,
    rss_bytes: u64,
}

impl Watch {
    pub(crate) fn new(pid: i32) -> Self {
        Self { pid, first: None, last: None }
    }

    /// Looks at the process now. One that is gone keeps what was seen before.
    pub(crate) fn look(&mut self, now: Nanos) {
        let Ok(stat) = Process::new(self.pid).and_then(|process| process.stat()) else { return };
        let seen =
            Seen { at: now, cpu_ticks: stat.utime + stat.stime, rss_bytes: stat.rss * procfs::page_size() };
        self.first.get_or_insert(seen);
        self.last = Some(seen);
    }

    /// What it used from the first look to the last.
    pub(crate) fn used(&self) -> Option<TargetUse> {
        let (first, last) = (self.first?, self.last?);
        let seconds = (last.at - first.at) as f64 / SECOND as f64;
        let cpu = (last.cpu_ticks - first.cpu_ticks) as f64 / procfs::ticks_per_second() as f64;
        let cpu_cores = if seconds > 0.0 { cpu / seconds } else { 0.0 };
        Some(TargetUse { pid: self.pid, cpu_cores, rss_bytes: last.rss_bytes })
    }
}
