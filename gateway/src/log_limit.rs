//! Log lines that a peer can cause are limited, so that nobody can fill a disk from outside.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);
/// Unless there is more to say.
const LINES_PER_WINDOW: u32 = 5;

/// Lets so many lines a second through, and counts the others.
#[derive(Debug)]
pub(crate) struct LogLimit {
    lines_per_window: u32,
    window: Mutex<Window>,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new(LINES_PER_WINDOW)
    }
}

#[derive(Debug, Default)]
struct Window {
    begun: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    pub(crate) fn new(lines_per_second: u32) -> Self {
        Self { lines_per_window: lines_per_second, window: Mutex::default() }
    }

    /// Whether a line may be written now; if so, how many were left out since the last one.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        if window.begun.is_none_or(|begun| now >= begun + WINDOW) {
            window.begun = Some(now);
            window.lines = 0;
        }
        if window.lines == self.lines_per_window {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gives_five_lines_a_second_and_a_count() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let allowed: Vec<_> = (0..100).filter_map(|_| limit.allow(start)).collect();
        assert_eq!(allowed, [0; 5]);
        assert_eq!(limit.allow(start + WINDOW), Some(95));
        assert_eq!(limit.allow(start + WINDOW), Some(0));
    }
}
