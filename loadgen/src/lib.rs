//! The load-testing tool.

mod clock;
mod ledger;
mod live;
mod message;
mod plan;
pub mod report;
mod stats;
mod threshold;
mod timer;
mod verdict;
mod wake;

pub mod cli {
    //! What was typed.

    /// Runs the process.
    #[must_use]
    pub fn main() -> std::process::ExitCode {
        std::process::ExitCode::SUCCESS
    }
}

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
