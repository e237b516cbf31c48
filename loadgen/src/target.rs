//! A process, the gateway's or our own, as far as the kernel tells: how much CPU time and memory it uses.

use procfs::process::Process;

use crate::clock::{Nanos, SECOND};
use crate::stats::TargetUse;

/// What a process has used until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads, in ns.
    pub cpu_ns: Nanos,
    /// Its resident memory, in bytes.
    pub rss_bytes: u64,
}

impl Usage {
    /// Looks at a process now. `None` if there is no such process.
    ///
    /// Of its threads the kernel tells the CPU time to the ns; of the whole process, with what its ended threads have used,
    /// only in ticks of 10 ms, rounded down. The larger one is nearer to the truth.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        let stat = process.stat().ok()?;
        let ticks = (stat.utime + stat.stime) * (SECOND / procfs::ticks_per_second());
        let threads = process.tasks().into_iter().flatten().filter_map(Result::ok);
        let used = threads.filter_map(|thread| thread.schedstat().ok()).map(|stat| stat.sum_exec_runtime);
        Some(Self { cpu_ns: used.sum::<Nanos>().max(ticks), rss_bytes: stat.rss * procfs::page_size() })
    }
}

/// Watches one process.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: i32,
    first: Option<(Nanos, Usage)>,
    last: Option<(Nanos, Usage)>,
}

/// The resident memory of this process now, in bytes; 0 if the kernel does not tell.
pub(crate) fn own_memory() -> u64 {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.map_or(0, |stat| stat.rss * procfs::page_size())
}

impl Watch {
    pub(crate) fn new(pid: i32) -> Self {
        Self { pid, first: None, last: None }
    }

    /// Looks at the process now. One that is gone keeps what was seen before.
    pub(crate) fn look(&mut self, now: Nanos) {
        let Some(usage) = Usage::of(self.pid) else { return };
        self.first.get_or_insert((now, usage));
        self.last = Some((now, usage));
    }

    /// What it used from the first look to the last.
    pub(crate) fn used(&self) -> Option<TargetUse> {
        let ((from, first), (to, last)) = (self.first?, self.last?);
        let (cpu_ns, wall_ns) = (last.cpu_ns.saturating_sub(first.cpu_ns), to - from);
        let cpu_cores = if wall_ns > 0 { cpu_ns as f64 / wall_ns as f64 } else { 0.0 };
        Some(TargetUse { pid: self.pid, cpu_ns, wall_ns, cpu_cores, rss_bytes: last.rss_bytes })
    }
}
