//! The fastway gateway as a library: what the binary `gateway` runs, and what tests, simulations and tools embed.
//!
//! ```
//! use fastway::net::MemoryNetwork;
//! use fastway_gateway::{Config, Gateway};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let seed = [0; 32]; // From the operating system, outside of tests.
//! let gateway = Gateway::bind(&MemoryNetwork::new(), Config::default(), seed).await?;
//! let handle = gateway.handle();
//! let running = tokio::spawn(gateway.run());
//! assert_eq!(handle.counts().clients, 0);
//! handle.stop();
//! running.await??;
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The way of one message
//!
//! A client's message to a server, from socket to socket:
//!
//! 1. The kernel wakes the client's session, a task, and `Session::turn` runs. `Session::read` borrows the thread's
//!    64 KiB scratch buffer and has [`FrameReader::poll_runs`](fastway::reader::FrameReader::poll_runs) read into it and
//!    walk over the frames. They are borrowed slices; only a cut-off tail is kept. Frames of one virtual connection that
//!    came one behind the other stay together, as a *run*.
//! 2. `Dispatch::handle` looks the Conn ID of a run up in the session's own table. No lock: nobody else has that table.
//! 3. `Outbox::forward` of the server's session takes one short lock, checks the limits, copies the run behind the
//!    frames that wait for the same socket, and wakes the server's session, unless it was woken already. Then the next run.
//! 4. When the client's turn is over, the server's session has its own: `Session::write` collects everything in its
//!    outbox as a `Batch` and writes it. A hundred messages are one `write`.
//!
//! So a message costs a part of one `read`, one copy and a part of one `write`. A frame beyond the scratch buffer is
//! gathered in a buffer of its own, which moves from step to step without a copy.
//!
//! # Memory
//!
//! What has to outlive a turn, cut-off frames and what waits to be written, is in buffers of one pool. A session takes one
//! when there is something to keep and gives it back when that is done. An idle session holds none: it is a task, an outbox
//! without frames, an entry in the router and one in the list of alarms, a kilobyte in all.
//!
//! # Shards
//!
//! Each thread is a shard: one current-thread runtime with its own sessions. Accepted connections are dealt to the
//! shards in turn (or by the kernel, with `reuse_port`), and a session stays where it is. Sessions meet in outboxes
//! alone, on the same shard or across; what one shard has for the sessions of another is announced there by one wake,
//! however many they are. With one shard the gateway needs no thread of its own: everything is a task of
//! the runtime that calls [`Gateway::run`], which makes it reproducible on a simulated network.
//!
//! # Backpressure, and why there is no deadlock
//!
//! A client that does not read is cut off; a server that does not read holds its clients back. So a client's session
//! can wait for a server's peer, and a server's session for its own peer alone: there is no cycle. A session that waits
//! goes on writing. It keeps the frame that did not fit, and what was read behind it (64 KiB at most), and is resumed
//! when half of the server's queue is free.
//!
//! A client's queue can also be full because a burst came within one turn of a server's session, before the client's
//! session had its own turn to write. Then the server's session waits for that turn. Only if the client's socket takes
//! nothing then is the client cut off. It is a wait for the scheduler, not for a peer.
//!
//! # What is where
//!
//! | file | what it owns |
//! |---|---|
//! | `cli.rs` and `cli/`, `config.rs`, `size.rs` | what was typed, what was meant |
//! | `gateway.rs` | binding, starting the shards, stopping |
//! | `drain.rs` | ending without losing anybody |
//! | `reconfigure.rs` | other settings for a gateway that runs |
//! | `listener.rs` | accepting, the server handshake |
//! | `proxy.rs` | the header of a proxy in front of a client's connection |
//! | `tls.rs`, `expiry.rs` | TLS in front of a session; certificates that are about to expire |
//! | `shard.rs` | how sessions begin and end on one thread |
//! | `session/` | one physical connection: read, dispatch, write, the clock |
//! | `dispatch.rs` | what each frame means |
//! | `router.rs` | who is registered; opening virtual connections |
//! | `groups.rs`, `members.rs` | several servers that serve one ID: what was meant, who is there and who gets which |
//! | `conn.rs` | one virtual connection: two ends, each told once that it is over |
//! | `outbox/`, `batch.rs` | one session's send queue |
//! | `pool.rs` | buffers that outlive a turn |
//! | `mailbox.rs` | wakes that come from other shards |
//! | `admission.rs`, `rate.rs`, `refusal.rs` | who is let in, how often something may be done, what was refused |
//! | `budget.rs` | what waits in the whole gateway, and its limit |
//! | `stats/`, `access_log.rs` | what is counted, for each session and in all; what is logged at its end |
//! | `admin/` | the admin server: what operators ask, on a thread of its own |
//! | `alarm.rs`, `clock.rs`, `log_limit.rs` | deadlines of sessions; log lines that peers can cause |
//! | `sync.rs`, `models/` | mutexes and atomics; models of what threads share (`docs/concurrency.md`) |
//!
//! How close all this comes to what the kernel demands: `cargo bench -p fastway-gateway`, and the README.

mod access_log;
pub mod admin;
mod admission;
mod alarm;
mod batch;
mod budget;
mod cli;
mod clock;
mod config;
mod conn;
mod dispatch;
mod drain;
mod expiry;
mod gateway;
mod groups;
mod listener;
mod log_limit;
mod mailbox;
mod members;
#[cfg(all(test, fastway_model))]
mod models;
mod outbox;
mod pool;
mod proxy;
mod rate;
mod reconfigure;
mod refusal;
mod router;
mod session;
mod shard;
mod size;
mod stats;
mod sync;
mod tls;

pub use access_log::AccessLog;
pub use config::{
    ClientConfig, Config, ConfigError, MemPoolConfig, MemPoolType, QueueLimits, ServerConfig, ServerKey,
    Threads,
};
pub use gateway::{BindError, Gateway, Handle};
pub use groups::{GroupError, GroupPolicy, GroupsError, ServerGroup};
pub use reconfigure::Reconfigured;
pub use refusal::Refusal;
pub use router::Counts;
pub use size::Size;
pub use stats::{Ended, Histogram, SessionInfo, SideTotals, Totals, Traffic};

/// Runs the binary `gateway`: flags, environment and configuration file in, exit code out.
#[must_use]
pub fn cli_main() -> std::process::ExitCode {
    cli::main()
}

/// What the flags of the binary `gateway` mean: for the fuzzer.
#[doc(hidden)]
pub fn parse_flags(args: impl IntoIterator<Item = std::ffi::OsString>) -> anyhow::Result<Config> {
    cli::parse(args)
}

/// What a configuration file with this text means: for the fuzzer.
#[doc(hidden)]
pub fn parse_config_file(text: &[u8]) -> anyhow::Result<Config> {
    cli::parse_file(text)
}
