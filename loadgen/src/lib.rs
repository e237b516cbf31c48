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
mod live;
mod message;
pub mod null_gateway;
mod plan;
pub mod report;
pub mod run;
mod shard;
mod stats;
mod target;
mod threshold;
mod timer;
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
pub use threshold::{Judged, Threshold};
pub use verdict::Verdict;
