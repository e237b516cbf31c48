//! The binary `sim`: everything is in [`fastway_sim::cli`].

fn main() -> std::process::ExitCode {
    fastway_sim::cli::main()
}
