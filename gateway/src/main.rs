//! The binary `gateway`. What it does is in [`fastway_gateway`]; what can be typed is in its module `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fastway_gateway::cli_main()
}
