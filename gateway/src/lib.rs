//! placeholder

mod alarm;
mod batch;
mod cli;
mod config;
mod conn;
mod dispatch;
mod gateway;
mod listener;
mod log_limit;
mod outbox;
mod router;
mod session;
mod shard;
mod size;

pub use config::{
    ClientConfig, Config, ConfigError, MemPoolConfig, MemPoolType, QueueLimits, ServerConfig, ServerKey, Threads,
};
pub use gateway::{BindError, Gateway, Handle};
pub use router::Counts;

/// Runs the binary `gateway`: flags and environment in, exit code out.
#[must_use]
pub fn cli_main() -> std::process::ExitCode {
    cli::main()
}
