//! `loadgen failover`: how long is nobody served when something fails, and what is lost meanwhile?
//!
//! Clients find a gateway among several, ask a server over each of their virtual connections at a steady pace, and are
//! answered; they never stop asking. They are the library's own ([`fastway::fleet`]), so what is measured is what a game
//! would see. Nothing is made to fail here: somebody else kills, cuts and restarts, and may say when (`marks.rs`).
//!
//! - `run.rs` leads: everybody connects, talks, stops
//! - `sides.rs` starts clients and servers, `lane.rs` is one virtual connection that asks
//! - `book.rs` is where they note what they saw: answers, outages, connects; `record.rs` is that when it is over
//! - `troubles.rs` keeps what is said of gateways, `panics.rs` what goes wrong with this tool itself
//! - `failures.rs` puts outages together that began together
//! - `report/` says it as text, as JSON, as a picture; `verdict.rs` and `threshold.rs` judge
//!
//! # What counts
//!
//! A virtual connection is *without service* from its last answer before to its first answer after, if it was lost
//! between the two, or if a question waited for longer than [`FailoverPlan::stall`]. Nothing is subtracted: as much as a
//! pace of it had passed before anything failed. An outage has *lost* what was asked and not answered on a connection
//! that was lost, and *unsent* what was due while there was none. A *failure* is all outages of which each began less
//! than [`FailoverPlan::apart`] after another one, and the connects that came with them: those before it as well, since
//! clients that are given notice move before anybody is without service.

mod book;
mod counted;
mod failures;
mod lane;
mod live;
mod marks;
mod message;
mod panics;
mod plan;
mod record;
mod report;
mod run;
mod sides;
mod threshold;
mod troubles;
mod verdict;

pub use failures::{Connects, Failure, Move};
pub use message::MIN_BYTES;
pub use plan::{FailoverPlan, Gateway, Play};
pub use record::{BIN, Counts, Early, Mark, Outage, Record, Trouble};
pub use report::{json, picture, text};
pub use run::run;
pub use threshold::Demand;
pub use verdict::judge;
