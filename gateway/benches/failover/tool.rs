//! The load-testing tool as a process of its own: this program once more.

use std::ffi::OsString;
use std::process::ExitCode;

/// What the tool is told, separated like this.
const ARGS: &str = "LOADGEN_ARGS";
const SEPARATOR: char = '\u{1f}';

/// Whether this program is the tool; then it has been that.
pub(crate) fn be() -> Option<ExitCode> {
    let args = std::env::var(ARGS).ok()?;
    let args = std::iter::once("loadgen").chain(args.split(SEPARATOR)).map(OsString::from);
    Some(fastway_loadgen::cli::main_of(args.collect::<Vec<_>>()))
}

/// The variable that makes it the tool.
pub(crate) fn variable(args: &[String]) -> (&'static str, String) {
    (ARGS, args.join(&SEPARATOR.to_string()))
}
