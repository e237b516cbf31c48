//! The load-testing tool of fastway, as a library: what the binary `loadgen` runs, and what benches embed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use fastway::net::TcpNetwork;
//! use fastway_loadgen::floor::Floor;
//! use fastway_loadgen::run::{self, Quiet};
//! use fastway_loadgen::{Load, Plan};
//!
//! let plan = Plan {
//!     targets: vec![Floor::start()?],
//!     load: Load::Closed { inflight: 16 },
//!     duration: Some(Duration::from_secs(2)),
//!     ..Plan::default()
//! };
//! let results = run::run(&plan, vec![TcpNetwork::new()], &mut Quiet)?;
//! println!("{:.0} round trips a second", results.achieved_rate());
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # The way of one message
//!
//! 1. The schedule (`arrivals.rs`) says when the next message is due; `Shard::turn` (`shard/mod.rs`) has set its alarm to that
//!    (`timer.rs`), and picks up everything that is due.
//! 2. `Desk::ask` (`desk.rs`) writes the message behind what waits for the same link: its intended time, its number and its
//!    check are in its body (`message.rs`). The `Lane` (`lane.rs`) remembers that it is under way.
//! 3. `Link::write` (`link.rs`) hands it to the socket; the time until then is *lag* and *blocked*.
//! 4. At the server's link, `Desk::handle` finds that it is a question, checks it against the ledger (`ledger.rs`), and puts
//!    it back as an echo, with the time that it was here.
//! 5. At the client's link, `Desk::handle` finds that it is an echo, and `Lane::answered` records the times: in the book
//!    (`book.rs`) of the thread, which is added up once an interval (`run.rs`).
//!
//! # Threads
//!
//! A run has one or more threads, each a *shard*: one current-thread runtime with one future, which owns links of clients and
//! of servers, and polls those that were woken (`wake.rs`). Nothing is shared while messages flow; nothing is allocated for a
//! message; a thread's histograms are its own.
//!
//! Linux only: the schedule is kept by a `timerfd`, and what the machine allows is read from `/proc`.

mod arrivals;
mod book;
pub mod cli;
mod clock;
mod control;
mod demo;
mod desk;
mod doctor;
pub mod failover;
pub mod floor;
mod lane;
mod ledger;
mod limits;
mod link;
mod live;
mod message;
mod plan;
pub mod report;
pub mod run;
mod shard;
mod stats;
mod target;
mod threshold;
mod timer;
mod transport;
mod verdict;
mod wake;
mod work;

pub use ledger::{Example, Fault, Ledger};
pub use live::Live;
pub use message::{MIN_MESSAGE_BYTES, Verify};
pub use plan::{ArrivalKind, Key, Load, Plan, PlanError, Sizes, Stage, Target};
pub use stats::{
    ErrorGroup, ErrorKind, Errors, Interval, Metric, Metrics, Phase, Results, Tally, TargetUse, ThreadUse,
    Times,
};
pub use target::Usage;
pub use threshold::{Judged, Threshold};
pub use verdict::Verdict;
