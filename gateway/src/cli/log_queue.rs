//! Between those who log and where the log goes: a thread that waits for the reader, so that nobody else does.
//!
//! Standard error is often a pipe, and whoever reads it may stop. Lines wait here then, up to a limit; those that come later are
//! lost, and it is said how many, as soon as there is room again.
//!
//! tracing-appender does much the same, but tells nobody what it lost, and when its queue is full at the end, it writes to standard
//! output, which may be the very pipe that nobody reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::error;

/// What may wait for the reader: some ten thousand lines.
const WAITING_BYTES: usize = 1 << 20;

/// At its end the process waits for the reader so long at most.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes lines, and never waits. They are written in the order in which they came. A clone is the same queue.
#[derive(Clone, Debug)]
pub(super) struct LogQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    limit_bytes: usize,
    /// There is something to write.
    filled: Condvar,
    /// Everything has been written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// The thread is writing what was taken from here.
    is_writing: bool,
    /// Lines for which there was no room since it was last said.
    lost: u64,
}

impl LogQueue {
    /// For what goes to standard error. Until it ends, the thread has that locked: nobody else may write there.
    pub(super) fn to_stderr() -> io::Result<Self> {
        Self::start(io::stderr(), WAITING_BYTES, |lost| {
            error!(lost, "lines of the log were lost here: whoever reads it was too slow");
        })
    }

    /// `say_lost` is told how many were lost, and has a line written that says so.
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for whoever reads the log, which nothing that serves may"
    )]
    fn start(
        log: impl Write + Send + 'static,
        limit_bytes: usize,
        say_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (filled, emptied) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { queue: Mutex::default(), limit_bytes, filled, emptied });
        let queue = Self(shared.clone());
        let write = move || shared.write_all(log, say_lost);
        std::thread::Builder::new().name("fastway-log".to_owned()).spawn(write)?;
        Ok(queue)
    }

    /// Waits until all that came is written, but not for ever. Whoever ends the process calls it last.
    pub(super) fn flush(&self) {
        let mut queue = self.0.queue.lock();
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.waiting.is_empty();
        self.0.emptied.wait_while_for(&mut queue, is_busy, FLUSH_TIMEOUT);
    }
}

impl Shared {
    /// The thread. It never ends.
    fn write_all(&self, mut log: impl Write, say_lost: impl Fn(u64)) {
        let mut taken = Vec::new();
        loop {
            let lost = self.take(&mut taken);
            // Before what was taken is written, which may take long: so it stands behind that, and before all that comes later.
            if lost > 0 {
                say_lost(lost);
            }
            // If the reader has gone, nobody can be told so.
            let _ = log.write_all(&taken);
            taken.clear();
        }
    }

    /// Waits until there is something, and takes it; and how many lines were lost after that.
    fn take(&self, taken: &mut Vec<u8>) -> u64 {
        let mut queue = self.queue.lock();
        queue.is_writing = false;
        while queue.waiting.is_empty() {
            self.emptied.notify_all();
            self.filled.wait(&mut queue);
        }
        queue.is_writing = true;
        std::mem::swap(&mut queue.waiting, taken);
        std::mem::take(&mut queue.lost)
    }
}

/// Each write is a line.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Shared { queue, limit_bytes, filled, .. } = &*self.0;
        let mut queue = queue.lock();
        // What is lost is lost in one piece: no short line gets in between long ones.
        if queue.lost == 0 && queue.waiting.len() + line.len() <= *limit_bytes {
            queue.waiting.extend_from_slice(line);
            filled.notify_one();
        } else {
            queue.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been written. Whoever holds the lock is a reader who has stopped to read.
    #[derive(Clone, Debug, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    /// A queue with so much room, and what comes out of it.
    fn queue(limit_bytes: usize) -> (LogQueue, Written) {
        let written = Written::default();
        let own: Arc<Mutex<Option<LogQueue>>> = Arc::default();
        let say_lost = {
            let own = own.clone();
            move |lost| writeln(own.lock().as_mut().unwrap(), &format!("lost {lost}"))
        };
        let queue = LogQueue::start(written.clone(), limit_bytes, say_lost).unwrap();
        *own.lock() = Some(queue.clone());
        (queue, written)
    }

    fn writeln(queue: &mut LogQueue, line: &str) {
        queue.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[test]
    fn what_came_before_a_flush_is_written_in_order() {
        let (mut queue, written) = queue(WAITING_BYTES);
        let lines: Vec<_> = (0..50_000).map(|number| number.to_string()).collect();
        lines.iter().for_each(|line| writeln(&mut queue, line));
        queue.flush();
        assert!(written.lines() == lines);
    }

    /// Nor does the end wait for ever.
    #[test]
    fn whoever_logs_never_waits_and_what_is_lost_is_counted_where_it_is_missing() {
        let (mut queue, written) = queue(10_000);
        let unread = written.0.lock();
        let mut lines = vec!["the first one".to_owned()];
        writeln(&mut queue, &lines[0]);
        while !queue.0.queue.lock().is_writing {
            std::thread::yield_now();
        }
        while queue.0.queue.lock().lost < 1000 {
            let line = lines.len().to_string();
            writeln(&mut queue, &line);
            lines.push(line);
        }
        queue.flush();
        drop(unread);
        queue.flush();
        writeln(&mut queue, "once more");
        queue.flush();
        lines.truncate(lines.len() - 1000);
        lines.extend(["lost 1000", "once more"].map(str::to_owned));
        assert_eq!(written.lines(), lines);
    }
}
