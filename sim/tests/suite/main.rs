//! The simulation tested, and testing: the adapter first, then determinism, then worlds, then that the alarm rings.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod canary;
mod command;
mod conformance;
mod failover;
mod gaps;
mod schedules;
mod worlds;
