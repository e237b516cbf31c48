//! What the operating system knows about this process.

use parking_lot::Mutex;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Looks at this process when it is asked.
#[derive(Debug)]
pub(super) struct Process(Mutex<Option<(System, Pid)>>);

/// What it uses at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) open_files: Option<usize>,
    pub(super) max_open_files: Option<usize>,
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
    /// Since 1970.
    pub(super) start_seconds: u64,
}

impl Default for Process {
    fn default() -> Self {
        Self(Mutex::new(System::new().ok().zip(sysinfo::get_current_pid().ok())))
    }
}

impl Process {
    /// None where the system does not tell.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut known = self.0.lock();
        let (system, pid) = known.as_mut()?;
        // Not its threads, which would be looked at one by one.
        let what = ProcessRefreshKind::nothing().without_tasks().with_memory().with_cpu();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[*pid]), false, what);
        let process = system.process(*pid)?;
        Some(Usage {
            open_files: process.open_files(),
            max_open_files: process.open_files_limit(),
            resident_bytes: process.memory(),
            cpu_seconds: process.accumulated_cpu_time() as f64 / 1000.0,
            start_seconds: process.start_time(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_uses_is_told_anew_each_time() {
        let process = Process::default();
        let before = process.usage().unwrap();
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let mut numbers = 0..;
        // A tenth of a second of work, at a hundredth's grain.
        let after = loop {
            let after = process.usage().unwrap();
            if after.cpu_seconds > before.cpu_seconds + 0.1 {
                break after;
            }
            std::hint::black_box(numbers.by_ref().take(1_000_000).sum::<u64>());
        };
        assert!(after.open_files.unwrap() >= before.open_files.unwrap() + files.len() / 2);
        assert!(after.max_open_files.unwrap() > after.open_files.unwrap());
        assert!(after.resident_bytes > 1 << 20 && after.resident_bytes < 1 << 40);
        assert_eq!(after.start_seconds, before.start_seconds);
        assert!(before.start_seconds > 1_700_000_000);
    }
}
