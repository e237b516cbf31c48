//! The log of the process: standard error, in one of two formats, from a level on that can be changed.

use std::io::{self, IsTerminal as _, Write as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use super::flags::{LogFlags, LogFormat, LogLevel};
use super::log_queue::LogQueue;

/// The log of this process. A clone is the same one.
#[derive(Clone, Debug)]
pub(super) struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    queue: Option<LogQueue>,
}

impl Log {
    /// Everything that is logged from here on goes to standard error, and nobody waits for whoever reads it. To be
    /// [flushed](Self::flush) before the process ends.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub(super) fn start(flags: &LogFlags) -> io::Result<Self> {
        let queue = LogQueue::to_stderr()?;
        let writer = queue.clone();
        let (filter, level) = reload::Layer::new(LevelFilter::from(flags.log_level));
        // Whoever reads the log may go away. By default that is reported on standard error, which panics then.
        let lines = fmt::layer().with_writer(move || writer.clone()).log_internal_errors(false);
        let lines = match flags.log_format {
            LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self { level, queue: Some(queue) })
    }

    /// A line as it is, behind all that was logged: the sentence that says why there is no gateway.
    pub(super) fn say(&self, sentence: &str) {
        if let Some(mut queue) = self.queue.clone() {
            // It takes everything.
            let _ = writeln!(queue, "{sentence}");
        }
    }

    /// Waits until everything is written, for a second at most: somebody may have stopped to read.
    pub(super) fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }

    /// For tests: the log of nobody.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        Self { level: reload::Layer::new(LevelFilter::INFO).1, queue: None }
    }

    /// From now on this and everything graver is worth a line.
    pub(super) fn set_level(&self, level: LevelFilter) {
        // It fails only where there is no log any more.
        let _ = self.level.reload(level);
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
