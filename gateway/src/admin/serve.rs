//! Connections of those who ask: how many at once, and how long they may take.
//!
//! None of them can hold anything up but another of their kind: they have a thread of their own, and every one of them ends.
//! Whoever comes is let in at once, and if there are too many, whoever has asked nothing for the longest time has to go: a probe is
//! answered in time, however many connections hang.

use std::collections::BTreeMap;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::map_request;
use axum::{Extension, Router};
use fastway::net::{Listener, Stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::routes::Peer;
use crate::log_limit::LogLimit;

/// So many connections at once. For one more, another one goes.
const CONNECTIONS: usize = 64;

/// A request's header has to be there as a whole in this time, and the next request on the same connection has to begin.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Larger than any browser's.
const HEADER_BYTES: usize = 32 * 1024;

/// A connection takes no new request after this time. So a client that reads as slowly as it can has an end too.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// For what was under way then.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// After an accept error, such as too many open files.
const BACKOFF: Duration = Duration::from_millis(500);

/// Accepts and answers for as long as it is polled.
pub(super) async fn serve<L: Listener>(mut listener: L, routes: Router) {
    let places = Places::default();
    let errors = LogLimit::default();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (place, routes) = (places.take(), routes.clone());
                tokio::spawn(async move {
                    if place.given_up.run_until_cancelled(answer(stream, routes, &place)).await.is_none() {
                        debug!("a connection to the admin server had to go: there were too many");
                    }
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

/// The places of all connections. Who has to go first: whoever has never asked anything, and then whoever has asked nothing for the
/// longest time.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    /// How often somebody came or asked.
    turns: u64,
    /// By the turn in which they came.
    places: BTreeMap<u64, Visitor>,
}

struct Visitor {
    has_asked: bool,
    /// When it came, or asked for the last time.
    turn: u64,
    given_up: CancellationToken,
}

/// The place of one connection, until it is dropped.
struct Place {
    places: Places,
    came_in: u64,
    /// Somebody else has it now.
    given_up: CancellationToken,
}

impl Places {
    fn take(&self) -> Place {
        let mut taken = self.0.lock();
        if taken.places.len() >= CONNECTIONS {
            taken.give_one_up();
        }
        taken.turns += 1;
        let (turn, given_up) = (taken.turns, CancellationToken::new());
        taken.places.insert(turn, Visitor { has_asked: false, turn, given_up: given_up.clone() });
        Place { places: self.clone(), came_in: turn, given_up }
    }

    /// Whoever came in this turn has asked something.
    fn note_question(&self, came_in: u64) {
        let Taken { turns, places } = &mut *self.0.lock();
        *turns += 1;
        if let Some(visitor) = places.get_mut(&came_in) {
            (visitor.has_asked, visitor.turn) = (true, *turns);
        }
    }
}

impl Taken {
    fn give_one_up(&mut self) {
        let first = self.places.iter().min_by_key(|(_, visitor)| (visitor.has_asked, visitor.turn));
        let first = first.map(|(came_in, _)| *came_in);
        if let Some(visitor) = first.and_then(|came_in| self.places.remove(&came_in)) {
            visitor.given_up.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().places.remove(&self.came_in);
    }
}

/// One connection to its end.
async fn answer(stream: impl Stream, routes: Router, place: &Place) {
    let (places, came_in) = (place.places.clone(), place.came_in);
    let note = move |request: Request| {
        places.note_question(came_in);
        ready(request)
    };
    let routes = routes.layer(Extension(Peer(stream.peer_addr().ok()))).layer(map_request(note));
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
