//! `GET /status`: the summary that the status page lives on, asked for once a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use fastway::id::Side;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::process::Usage;
use super::reply::json;
use super::routes::App;
use super::sessions::{Row, TrafficRow, side_name};
use super::survey::Survey;
use crate::expiry::expiring;
use crate::groups::ServerGroup;
use crate::refusal::Refusal;
use crate::router::Counts;
use crate::size::Size;
use crate::stats::{Ended, Totals};

/// Since when, and where.
#[derive(Debug)]
pub(super) struct Since {
    started: SystemTime,
    started_at: Instant,
    client_addr: SocketAddr,
    server_addr: SocketAddr,
}

impl Since {
    #[expect(clippy::disallowed_methods, reason = "it is for people to read, and steers nothing")]
    pub(super) fn now(client_addr: SocketAddr, server_addr: SocketAddr) -> Self {
        Self { started: SystemTime::now(), started_at: Instant::now(), client_addr, server_addr }
    }
}

pub(super) async fn status(State(app): State<Arc<App>>) -> Response {
    let Since { started, started_at, client_addr, server_addr } = &app.since;
    let (config, counts, totals) = (app.gateway.config(), app.gateway.numbers(), app.gateway.totals());
    let survey = app.surveys.recent(&app.gateway);
    let limits = app.queue_limit_bytes();
    let rows =
        |sessions: &[_]| -> Vec<_> { sessions.iter().map(|session| Row::new(session, limits)).collect() };
    let value = json!({
        "gateway": {
            "version": env!("CARGO_PKG_VERSION"),
            "started": humantime::format_rfc3339_seconds(*started).to_string(),
            "uptime_s": started_at.elapsed().as_secs_f64(),
            "ready": app.not_ready().is_none(),
            "draining": app.gateway.is_draining(),
            "threads": config.threads.get(),
            "client_addr": client_addr,
            "server_addr": server_addr,
        },
        "now": {
            "clients": counts.clients,
            "servers": counts.servers,
            "conns": counts.conns,
            "buffered_bytes": counts.buffered_bytes,
            "max_buffered_bytes": config.max_buffered_bytes,
            "received": Sides::of(|side| totals.side(side).received.into()),
            "sent": Sides::of(|side| totals.side(side).sent.into()),
        },
        "refusals": refusals(&totals),
        "ended": ended(&totals),
        "servers": rows(&survey.servers),
        "groups": groups(&app),
        "slowest_clients": rows(&survey.slowest_clients),
        "warnings": warnings(&app, counts, &survey),
    });
    json(StatusCode::OK, &value)
}

#[derive(Debug, Serialize)]
struct Sides {
    client: TrafficRow,
    server: TrafficRow,
}

impl Sides {
    fn of(traffic: impl Fn(Side) -> TrafficRow) -> Self {
        Self { client: traffic(Side::Client), server: traffic(Side::Server) }
    }
}

fn groups(app: &App) -> Vec<serde_json::Value> {
    let groups = app.gateway.groups();
    let row = |(group, members): &(ServerGroup, usize)| json!({ "id": group.id().get(), "group": group.to_string(), "members": members });
    groups.iter().map(row).collect()
}

fn refusals(totals: &Totals) -> Vec<serde_json::Value> {
    let row = |kind: Refusal| json!({ "kind": kind.name(), "words": kind.to_string(), "count": totals.refusals(kind) });
    Refusal::ALL.into_iter().map(row).collect()
}

fn ended(totals: &Totals) -> Vec<serde_json::Value> {
    let row = |side: Side, ended: Ended| {
        let count = totals.side(side).ended(ended);
        json!({ "side": side_name(side), "reason": ended.name(), "words": ended.to_string(), "count": count })
    };
    [Side::Client, Side::Server]
        .into_iter()
        .flat_map(|side| Ended::ALL.into_iter().map(move |ended| row(side, ended)))
        .collect()
}

/// What an operator should see to.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Warning {
    level: Level,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Warning,
    Critical,
}
use Level::{Critical, Warning as Mild};

fn warnings(app: &App, counts: Counts, survey: &Survey) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |level, text: String| warnings.push(Warning { level, text });
    let config = app.gateway.config();
    if let Some(reason) = app.not_ready() {
        warn(Mild, format!("not ready: {reason}"));
    }
    if counts.servers == 0 {
        warn(Mild, "no server is registered: every dial of a client is refused".to_owned());
    } else {
        for (level, text) in groups_without_members(&app.gateway.groups()) {
            warn(level, text);
        }
    }
    if let Some((level, percent)) = fullness(counts.buffered_bytes, config.max_buffered_bytes) {
        let limit = Size(config.max_buffered_bytes);
        warn(
            level,
            format!(
                "{percent} % of --max-buffered-bytes ({limit}) are used: at 90 % no more clients are let in, at 100 % the largest debtors are cut off"
            ),
        );
    }
    if let Some((level, percent)) = fullness(counts.clients, config.client.max_clients) {
        let limit = config.client.max_clients;
        warn(level, format!("{percent} % of --max-clients ({limit}) are connected"));
    }
    let usage = app.process.usage().unwrap_or_default();
    if let Usage { open_files: Some(open), max_open_files: Some(max), .. } = usage
        && let Some((level, percent)) = fullness(open, max)
    {
        warn(
            level,
            format!(
                "{percent} % of the files that the process may open ({max}) are open: raise the limit (ulimit -n, LimitNOFILE)"
            ),
        );
    }
    for expiring in expiring(&config) {
        warn(if expiring.is_urgent { Critical } else { Mild }, expiring.to_string());
    }
    for (level, text) in servers_that_hold_back(survey, config.server.queue.bytes) {
        warn(level, text);
    }
    if config.server.key.is_empty() {
        warn(
            Mild,
            "no password is set: whoever reaches the internal port can register as any server".to_owned(),
        );
    }
    warnings
}

fn groups_without_members(groups: &[(ServerGroup, usize)]) -> Vec<(Level, String)> {
    let empty = groups.iter().filter(|(_, members)| *members == 0).map(|(group, _)| group);
    let words = |group: &ServerGroup| {
        format!("no server of the group {group} is registered: each dial of it is refused")
    };
    let mut warnings: Vec<_> =
        empty.clone().take(NAMED_SERVERS).map(|group| (Critical, words(group))).collect();
    let more = empty.count().saturating_sub(NAMED_SERVERS);
    if more > 0 {
        warnings.push((Critical, format!("{more} more groups have no servers")));
    }
    warnings
}

/// Servers are few, but when the network behind the gateway fails, all of them stall.
const NAMED_SERVERS: usize = 5;

fn servers_that_hold_back(survey: &Survey, limit: usize) -> Vec<(Level, String)> {
    let mut warnings = Vec::new();
    let held = survey.servers.iter().filter(|server| server.queued_bytes.saturating_mul(2) >= limit);
    for server in held.clone().take(NAMED_SERVERS) {
        let (id, queued) = (server.id, server.queued_bytes.saturating_mul(100) / limit.max(1));
        warnings.push((
            Mild,
            format!(
                "server {id} is slow: its queue is {queued} % full, and at 100 % its clients are held back"
            ),
        ));
    }
    let more = held.count().saturating_sub(NAMED_SERVERS);
    if more > 0 {
        warnings.push((Critical, format!("{more} more servers are as slow")));
    }
    warnings
}

/// Of a limit, which is none if it is 0: nothing to say below three quarters.
fn fullness(used: usize, limit: usize) -> Option<(Level, usize)> {
    let percent = used.saturating_mul(100).checked_div(limit)?;
    match percent {
        0..75 => None,
        75..90 => Some((Mild, percent)),
        _ => Some((Critical, percent)),
    }
}
