//! Connections of those who ask: how many at once, and how long they may take.
//!
//! None of them can hold anything up but another of their kind: they have a thread of their own, and every one of them ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use fastway::net::{Listener, Stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error};

use super::routes::Peer;
use crate::log_limit::LogLimit;

/// So many connections at once; more wait in the kernel's queue until one has ended.
const CONNECTIONS: usize = 64;

/// A request's header has to be there as a whole in this time, and the next request on the same connection has to begin.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Larger than any browser's.
const HEADER_BYTES: usize = 32 * 1024;

/// A connection takes no new request after this time. So a client that reads as slowly as it can has an end too, and the places
/// go round.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// For what was under way then.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// After an accept error, such as too many open files.
const BACKOFF: Duration = Duration::from_millis(500);

/// Accepts and answers for as long as it is polled.
pub(super) async fn serve<L: Listener>(mut listener: L, routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let errors = LogLimit::default();
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok(stream) => {
                let answering = answer(stream, routes.clone());
                tokio::spawn(async move {
                    answering.await;
                    drop(place);
                });
            }
            Err(failure) => {
                if let Some(left_out) = errors.allow(Instant::now()) {
                    error!(error = %failure, left_out, "the admin server cannot accept connections for now");
                }
                sleep(BACKOFF).await;
            }
        }
    }
}

/// One connection to its end.
async fn answer(stream: impl Stream, routes: Router) {
    let routes = routes.layer(Extension(Peer(stream.peer_addr().ok())));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = pin!(connection);
    let end = match timeout(CONNECTION_LIFE, connection.as_mut()).await {
        Ok(end) => end,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            match timeout(LAST_ANSWER, connection).await {
                Ok(end) => end,
                Err(_) => return debug!("a connection to the admin server took too long"),
            }
        }
    };
    if let Err(error) = end {
        debug!(%error, "a connection to the admin server failed");
    }
}
