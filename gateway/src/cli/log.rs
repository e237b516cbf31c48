//! The log of the process: standard error, in one of two formats, from a level on that can be changed.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use super::flags::{LogFlags, LogFormat, LogLevel};

/// The log of this process.
#[derive(Clone, Debug)]
pub(super) struct Log(reload::Handle<LevelFilter, Registry>);

impl Log {
    /// Everything that is logged from here on goes to standard error.
    pub(super) fn start(flags: &LogFlags) -> Self {
        let (level, handle) = reload::Layer::new(LevelFilter::from(flags.log_level));
        // Whoever reads the log may go away. By default that is reported on standard error, which panics then.
        let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
        let lines = match flags.log_format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(level).with(lines).init();
        Self(handle)
    }

    /// For tests: the log of nobody.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        Self(reload::Layer::new(LevelFilter::INFO).1)
    }

    /// From now on this and everything graver is worth a line.
    pub(super) fn set_level(&self, level: LevelFilter) {
        // It fails only where there is no log any more.
        let _ = self.0.reload(level);
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
