//! What every bench is around what it does.

use std::process::ExitCode;

use clap::Parser;

/// Runs it with the flags that were given: 0 everything is as wanted, 1 something is not, 2 it could not be done.
pub(crate) fn run<O: Parser>(bench: impl FnOnce(&O) -> anyhow::Result<bool>) -> ExitCode {
    // `cargo test` builds benches and may run them with this flag: then there is nothing to do.
    if std::env::args().any(|arg| arg == "--test") {
        return ExitCode::SUCCESS;
    }
    match bench(&O::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
