//! The binary `loadgen`: everything is in [`fastway_loadgen::cli`].

fn main() -> std::process::ExitCode {
    fastway_loadgen::cli::main()
}
