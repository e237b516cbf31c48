//! What was typed, set in the environment or written into a file, made into a [`Config`]; and the process around a gateway.
//!
//! | file | what it owns |
//! |---|---|
//! | `cli/flags.rs` | what can be typed |
//! | `cli/file.rs` | the configuration file |
//! | `cli/sources.rs` | which of flag, environment, file and default counts |
//! | `cli/meaning.rs` | what all of it means |
//! | `cli/tls.rs` | the certificates and keys that it names |
//! | `cli/print.rs` | saying what is in effect |
//! | `cli/log.rs`, `cli/log_queue.rs` | the log, and what waits for whoever reads it |
//! | `cli/process.rs` | the process around a gateway, and the signals that end it |
//! | `cli/reload.rs` | reading the settings again |
//! | `cli/pid_file.rs` | the file that names the process |
//! | `cli/notify.rs` | what the service manager is told |
//!
//! Exit codes: 0 stopped in good order, 2 could not start (wrong usage or configuration, a port that is taken), 130 or 143
//! ended at once by a second signal.

#[cfg(test)]
mod example;
mod file;
mod flags;
mod log;
mod log_queue;
mod meaning;
mod notify;
mod pid_file;
mod print;
mod process;
mod reload;
mod sources;
#[cfg(test)]
mod testing;
mod tls;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use self::flags::Action;
use self::log::Log;
use self::pid_file::PidFile;
use self::process::run;
use self::sources::{Settings, Sources};
use crate::config::Config;

const NOT_STARTED: u8 = 2;

/// Runs the process: finds its settings, and does with them what it was asked for.
pub(crate) fn main() -> ExitCode {
    let sources = Sources::new(std::env::args_os());
    let settings = match sources.load() {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    match settings.action {
        Action::Run => with_log(&settings, |log| {
            let pid_file = settings.cli.process.pid_file.as_deref();
            pid_file.map_or(Ok(()), PidFile::check)?;
            run(sources, &settings, log)?;
            Ok(ExitCode::SUCCESS)
        }),
        Action::Check => with_log(&settings, |_| {
            settings.log_warnings();
            Ok(say(valid(&settings)))
        }),
        Action::Config => say(print::effective(&settings).trim_end()),
    }
}

/// What has to be done while there is a log. All of it is written at the end, with the sentence about what went wrong as the last.
fn with_log(settings: &Settings, act: impl FnOnce(Log) -> anyhow::Result<ExitCode>) -> ExitCode {
    let log = match Log::start(&settings.cli.log) {
        Ok(log) => log,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("there is no thread for the log"));
        }
    };
    let code = act(log.clone()).unwrap_or_else(|error| {
        log.say(&format!("error: {error:#}"));
        ExitCode::from(NOT_STARTED)
    });
    log.flush();
    code
}

/// What these arguments mean, the first of which is the name of the program. Reads the environment too.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Config> {
    Ok(Sources::new(args).load()?.config)
}

/// What a configuration file with this text means, where nothing else is set.
pub(crate) fn parse_file(text: &[u8]) -> anyhow::Result<Config> {
    Ok(Sources::new(["gateway".into()]).load_text(text)?.config)
}

fn valid(settings: &Settings) -> String {
    match settings.file() {
        Some(file) => format!("{} is valid", file.display()),
        None => "the configuration is valid".to_owned(),
    }
}

fn say(words: impl Display) -> ExitCode {
    // If nobody reads it, there is still the exit code.
    let _ = writeln!(std::io::stdout(), "{words}");
    ExitCode::SUCCESS
}

/// Says why there are no settings; or what was asked for, such as help.
fn refuse(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<clap::Error>() {
        Some(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(NOT_STARTED) } else { ExitCode::SUCCESS }
        }
        None => fail(error),
    }
}

/// The one sentence that says why there is no gateway, where there is no log yet.
fn fail(error: &anyhow::Error) -> ExitCode {
    // If nobody reads it, there is still the exit code.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(NOT_STARTED)
}
