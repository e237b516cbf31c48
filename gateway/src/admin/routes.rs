//! Which request is for whom, and those that are answered in a line or two.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use fastway::net::Network;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use super::Controls;
use super::config::AdminAccess;
use super::guard::guard;
use super::metrics::metrics;
use super::page;
use super::process::Process;
use super::query::{self, Pairs};
use super::reply::{HEADERS, Refused, json};
use super::sessions::{servers, sessions};
use super::status::{Since, status};
use super::survey::Surveys;
use crate::gateway::{Gateway, Handle};
use crate::listener::peer_name;
use crate::log_limit::LogLimit;

/// The longest word for a level, and a line end.
const BODY_BYTES: usize = 16;

/// For a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// What all requests share.
pub(super) struct App {
    pub(super) gateway: Handle,
    controls: Box<dyn Controls>,
    pub(super) since: Since,
    pub(super) surveys: Surveys,
    pub(super) process: Process,
    /// Lists of sessions, which are large, that may be under way at a time.
    pub(super) lists: Arc<Semaphore>,
    refusals: LogLimit,
}

impl App {
    pub(super) fn new<N: Network>(gateway: &Gateway<N>, controls: impl Controls) -> Arc<Self> {
        Arc::new(Self {
            gateway: gateway.handle(),
            controls: Box::new(controls),
            since: Since::now(gateway.client_addr(), gateway.server_addr()),
            surveys: Surveys::default(),
            process: Process::default(),
            lists: Arc::new(Semaphore::new(query::LISTS)),
            refusals: LogLimit::default(),
        })
    }
}

/// What is behind the admin port.
pub(super) fn routes(app: Arc<App>, access: AdminAccess) -> Router {
    page::routes()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/sessions", get(sessions))
        .route("/servers", get(servers))
        .route("/sessions/{side}/{id}/close", post(close))
        .route("/drain", post(drain))
        .route("/reload", post(reload))
        .route("/log-level", post(log_level))
        .fallback(nothing_there)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone())
        .layer(from_fn_with_state(access, guard))
        .layer(from_fn_with_state(app, note))
        .layer(from_fn(harden))
}

async fn live() -> Response {
    json(StatusCode::OK, &json!({ "live": true }))
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.not_ready() {
        None => json(StatusCode::OK, &json!({ "ready": true })),
        Some(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false, "reason": reason })),
    }
}

impl App {
    /// Why no new clients should be sent here.
    pub(super) fn not_ready(&self) -> Option<&'static str> {
        match &self.gateway {
            gateway if gateway.is_stopping() => Some("the gateway stops"),
            gateway if gateway.is_draining() => Some("the gateway drains: it takes no new clients"),
            gateway if !gateway.is_ready() => Some("the gateway does not listen yet"),
            _ => None,
        }
    }
}

async fn close(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refused> {
    let wrong = || {
        let last = u32::MAX;
        let sentence =
            "the path is /sessions/client/ID/close or /sessions/server/ID/close, with an ID from 0 to";
        Refused::bad_request(format!("{sentence} {last}"))
    };
    let Path((side, id)) = path.map_err(|_| wrong())?;
    let side = query::side(&side).ok_or_else(wrong)?;
    let id: u32 = id.parse().map_err(|_| wrong())?;
    if app.gateway.close(side, id) {
        return Ok(json(StatusCode::OK, &json!({ "closed": { "side": side.to_string(), "id": id } })));
    }
    Err(Refused::new(
        StatusCode::NOT_FOUND,
        format!("there is no {side} {id}: GET /sessions?side={side} lists them"),
    ))
}

async fn drain(State(app): State<Arc<App>>) -> Response {
    app.gateway.drain();
    json(StatusCode::OK, &json!({ "draining": true }))
}

async fn reload(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let report =
        app.controls.reload().map_err(|sentence| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, sentence))?;
    Ok(json(StatusCode::OK, &json!({ "report": report })))
}

async fn log_level(
    State(app): State<Arc<App>>,
    Query(pairs): Query<Pairs>,
    body: Body,
) -> Result<Response, Refused> {
    let word = match &pairs[..] {
        [] => word(body).await?,
        [(name, word)] if name == "level" => word.clone(),
        _ => return Err(Refused::bad_request("the one parameter here is level, such as ?level=debug")),
    };
    let Some((_, level)) = LEVELS.iter().find(|(name, _)| word.trim().eq_ignore_ascii_case(name)) else {
        let words = LEVELS.map(|(name, _)| name).join(", ");
        return Err(Refused::bad_request(format!(
            "a level is one of {words}: send it as ?level=debug, or as the body"
        )));
    };
    app.controls
        .set_log_level(*level)
        .map_err(|sentence| Refused::new(StatusCode::UNPROCESSABLE_ENTITY, sentence))?;
    Ok(json(StatusCode::OK, &json!({ "level": word.trim().to_ascii_lowercase() })))
}

async fn word(body: Body) -> Result<String, Refused> {
    let bytes = timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES)).await;
    match bytes {
        Ok(Ok(bytes)) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Ok(Err(_)) => Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is one word, such as debug")),
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

async fn nothing_there(uri: Uri) -> Refused {
    Refused::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is no {}: GET / is the status page, and GET /metrics, /status, /sessions and /servers are for machines",
            uri.path()
        ),
    )
}

/// axum says in `Allow` what would be right.
async fn wrong_method(method: Method, uri: Uri) -> Refused {
    let sentence = format!("{} is not to be asked for with {method}: see the header Allow", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<SocketAddr>);

/// Logs what was done, and who was turned away.
async fn note(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    let is_change = !matches!(method, Method::GET | Method::HEAD);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
            if let Some(left_out) = app.refusals.allow(Instant::now()) {
                let (peer, status) = (peer_name(peer), status.as_u16());
                warn!(peer, %method, path, status, left_out, "the admin server turned a request away");
            }
        }
        status if is_change && status.is_success() => {
            info!(peer = peer_name(peer), %method, path, "asked for at the admin server");
        }
        _ => {}
    }
    response
}

/// Headers for browsers, where an answer does not have its own.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}
