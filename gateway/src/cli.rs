//! What was typed: flags and environment, parsed into a [`Config`], and the process around a gateway.
//!
//! Exit codes: 0 stopped in good order, 1 could not run (a port is taken), 2 wrong usage or configuration, found
//! before anything is bound, 130 or 143 ended at once by a second signal.

mod flags;
mod meaning;
mod process;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::flags::Cli;
use self::process::{run, start_log};
use crate::config::Config;

const USAGE_ERROR: u8 = 2;

/// Runs the process: parses, checks, binds, serves, stops.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.log);
    let config = match cli.config() {
        Ok(config) => config,
        Err(error) => return fail(USAGE_ERROR, &error),
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

/// What these arguments mean, the first of which is the name of the program. Reads the environment too.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Config> {
    Cli::try_parse_from(args)?.config()
}

/// The one sentence that says why there is no gateway.
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    // If nobody reads it, there is still the exit code.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}
