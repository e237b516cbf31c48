//! The load-testing tool.

mod arrivals;
mod book;
pub mod cli;
mod clock;
mod demo;
mod desk;
mod doctor;
mod lane;
mod ledger;
mod limits;
mod link;
mod message;
mod plan;
pub mod run;
mod shard;
mod stats;
mod target;
mod timer;
mod wake;
mod work;

pub use ledger::{Example, Fault, Ledger};
pub use message::{MIN_MESSAGE_BYTES, Verify};
pub use plan::{ArrivalKind, Key, Load, Plan, PlanError, Sizes, Stage, Target};
pub use stats::{
    ErrorGroup, ErrorKind, Errors, Interval, Metric, Metrics, Phase, Results, Tally, TargetUse, ThreadUse,
    Times,
};
