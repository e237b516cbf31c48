//! What connections take that nobody uses. There is no floor for that: it keeps nothing alive, and its memory is not its own.

use std::time::Duration;

use crate::crowd::Crowd;
use crate::options::Options;
use crate::report::{Absolute, Report};
use crate::served::Served;

/// Connected clients: with the floor's files and some more, a process may often have no more than 20,000.
const CLIENTS: usize = 9000;

/// Virtual connections of each.
const CONNS: usize = 4;

/// After so long, a change in the gateway has settled.
const SETTLING: Duration = Duration::from_secs(2);

/// Twice the default ping interval: each client is pinged twice in it, whenever it was connected.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The names of the results.
pub(crate) const NAMES: [&str; 3] = [
    "idle: memory of a connected client",
    "idle: CPU of a connected client",
    "idle: memory of a virtual connection",
];

/// Measures those that are wanted; what they build on is done anyway.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let [client_memory, cpu, conn_memory] = NAMES;
    report.bar.set_message("idle");
    let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
    let mut crowd = Crowd::new(gateway.target())?;
    crowd.rest(SETTLING)?;
    let empty = gateway.rss_bytes()?;
    report.bar.set_prefix("connecting");
    crowd.connect(gateway.target(), CLIENTS)?;
    crowd.rest(SETTLING)?;
    let connected = gateway.rss_bytes()?;
    let each = (connected - empty) / CLIENTS as f64;
    report.add_absolute(options, Absolute::new(client_memory, "B", each, 1024.0));
    if options.wants(cpu) {
        report.bar.set_prefix("keeping alive");
        let before = gateway.cpu_ns()?;
        crowd.rest(KEEPALIVE)?;
        let used_us = (gateway.cpu_ns()? - before) as f64 / 1e3;
        let each = used_us / CLIENTS as f64 / KEEPALIVE.as_secs_f64();
        report.add_absolute(options, Absolute::new(cpu, "µs/s", each, 0.5));
    }
    if options.wants(conn_memory) {
        report.bar.set_prefix("dialling");
        let before = gateway.rss_bytes()?;
        crowd.dial(CLIENTS * CONNS)?;
        crowd.rest(SETTLING)?;
        let each = (gateway.rss_bytes()? - before) / (CLIENTS * CONNS) as f64;
        report.add_absolute(options, Absolute::new(conn_memory, "B", each, 160.0));
    }
    Ok(())
}
