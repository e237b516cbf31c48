//! What this machine can do, before anything is loaded.

use std::process::ExitCode;

use clap::Args;

/// Flags of the doctor.
#[derive(Debug, Args)]
pub(crate) struct Flags {}

/// Examines the machine.
pub(crate) fn run(_: &Flags) -> ExitCode {
    ExitCode::SUCCESS
}
