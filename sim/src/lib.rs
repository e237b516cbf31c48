//! The deterministic simulation of fastway.
//!
//! Real gateways and real endpoints, on a simulated network with virtual time, while things go wrong; and an oracle that
//! reads what happened and compares it with the rules of the protocol. A seed is a whole world: who is there, the limits,
//! what everybody does, when what fails, and the timing of every segment. The same seed gives the same world, to the byte.
//!
//! ```
//! use fastway_sim::plan::Plan;
//! use fastway_sim::world;
//!
//! let mut plan = Plan::from_seed(42);
//! plan.faults.clear();
//! let outcome = world::run(&plan);
//! assert_eq!(outcome.violation, None);
//! ```
//!
//! # The way of one world
//!
//! 1. [`plan`]: the seed becomes a [`Plan`](plan::Plan) (`draw.rs`), through labelled streams of random numbers ([`seed`]). It can be
//!    printed, saved, changed, and run again.
//! 2. [`world`]: the plan becomes hosts of a turmoil simulation. On each runs an actor (`actors/`): a gateway, a server, a
//!    number of clients and misfits. Time passes; [faults](fault) begin and end; then everything heals, the clients leave,
//!    probes must come through, everybody leaves, and nothing may be left over.
//! 3. [`net`]: actors reach each other through the trait `Network`, as in production. This one is unkind: it chops, blocks,
//!    resets and falls silent.
//! 4. [`tap`]: at each gateway's end, what passes is decoded and written into the [`history`], as is what applications do.
//! 5. [`oracle`]: the history is compared with a model of the protocol, rule by rule. What it finds is a
//!    [`Violation`](oracle::Violation); what interesting it passes are [`states`].
//! 6. [`failover`]: worlds whose endpoints use many gateways, and a judge of their own for what these promise.
//! 7. [`trace`] and [`html`] show it to people; [`shrink`] makes a failing world small.

mod actors;
pub mod cli;
mod draw;
pub mod failover;
pub mod fault;
pub mod history;
pub mod html;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod seed;
pub mod shrink;
pub mod states;
pub mod tap;
pub mod trace;
pub mod world;

pub use actors::{AsItIs, Wrap};
