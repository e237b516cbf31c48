//! The list of sessions.
//!
//! A hundred thousand of them are tens of megabytes of text, so they are written as fast as they are read, in pieces.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fastway::id::Side;
use futures_util::stream;
use serde::Serialize;

use super::query::{Filter, Pairs};
use super::reply::Refused;
use super::routes::App;
use crate::stats::{SessionInfo, Traffic};

/// Sessions that are written in one go: some 100 KB of text.
const PIECE: usize = 256;

/// One session, as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    side: &'static str,
    id: u32,
    peer: Option<std::net::SocketAddr>,
    age_s: f64,
    conns: usize,
    opened: u64,
    received: TrafficRow,
    sent: TrafficRow,
    queued_messages: usize,
    queued_bytes: usize,
    queue_limit_bytes: usize,
    kept_bytes: usize,
    blocked: bool,
}

/// Messages and bytes, as they are answered.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TrafficRow {
    messages: u64,
    bytes: u64,
}

impl From<Traffic> for TrafficRow {
    fn from(Traffic { messages, bytes }: Traffic) -> Self {
        Self { messages, bytes }
    }
}

/// What may wait for one session, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimitBytes {
    client: usize,
    server: usize,
}

impl QueueLimitBytes {
    pub(super) fn of(self, side: Side) -> usize {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}

impl App {
    pub(super) fn queue_limit_bytes(&self) -> QueueLimitBytes {
        let config = self.gateway.config();
        QueueLimitBytes { client: config.client.queue.bytes, server: config.server.queue.bytes }
    }
}

impl Row {
    pub(super) fn new(session: &SessionInfo, limits: QueueLimitBytes) -> Self {
        Self {
            side: side_name(session.side),
            id: session.id,
            peer: session.peer,
            age_s: session.age.as_secs_f64(),
            conns: session.conns,
            opened: session.opened,
            received: session.received.into(),
            sent: session.sent.into(),
            queued_messages: session.queued_messages,
            queued_bytes: session.queued_bytes,
            queue_limit_bytes: limits.of(session.side),
            kept_bytes: session.kept_bytes,
            blocked: session.blocked,
        }
    }
}

pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

pub(super) async fn sessions(app: State<Arc<App>>, pairs: Query<Pairs>) -> Result<Response, Refused> {
    list(app, pairs, None)
}

pub(super) async fn servers(app: State<Arc<App>>, pairs: Query<Pairs>) -> Result<Response, Refused> {
    list(app, pairs, Some(Side::Server))
}

fn list(
    State(app): State<Arc<App>>,
    Query(pairs): Query<Pairs>,
    side: Option<Side>,
) -> Result<Response, Refused> {
    let filter = Filter::parse(&pairs, side)?;
    let Ok(permit) = app.lists.clone().try_acquire_owned() else {
        let sentence = "several lists are being read at the moment: ask again when one of them is done";
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, sentence));
    };
    let (matched, sessions) = filter.apply(app.gateway.sessions());
    let (listed, limits) = (sessions.len(), app.queue_limit_bytes());
    let pieces = stream::unfold((sessions, 0, permit), move |(sessions, from, permit)| async move {
        // The head comes with the first piece, the end after the last one.
        let to = (from + PIECE).min(listed);
        let mut text = Vec::new();
        if from == 0 {
            text.extend(format!("{{\"matched\":{matched},\"listed\":{listed},\"sessions\":[\n").bytes());
        } else if from > listed {
            return None;
        }
        for (index, session) in sessions.iter().enumerate().take(to).skip(from) {
            serde_json::to_writer(&mut text, &Row::new(session, limits)).expect("it has no fallible parts");
            text.extend(if index + 1 < listed { &b",\n"[..] } else { b"\n" });
        }
        let next = if to == listed {
            text.extend(b"]}\n");
            listed + 1
        } else {
            to
        };
        Some((Ok::<_, Infallible>(text), (sessions, next, permit)))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}
