//! Accepting connections: a listener, and what stands between it and a session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastway::handshake::{Challenge, Hello};
use fastway::id::{ServerId, Side};
use fastway::net::{Listener, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use crate::refusal::Refusal;
use crate::shard::{Accepted, Shared};

/// After an accept error: the first wait, and the longest. Out of files, for one, heals only when others close.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Accepts until the gateway stops, and deals the connections round to the shards.
pub(crate) async fn accept_all<L: Listener>(
    mut listener: L,
    side: Side,
    shared: Arc<Shared>,
    shards: Vec<mpsc::Sender<Accepted<L::Stream>>>,
) {
    let accepting = async {
        let mut backoff = MIN_BACKOFF;
        let mut next = 0;
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    backoff = MIN_BACKOFF;
                    if side == Side::Client {
                        shared.admission.pace().await;
                    }
                    // The first shard is the one that runs this listener.
                    let accepted = Accepted { stream, side, moved: next != 0 };
                    if shards[next].send(accepted).await.is_err() {
                        return;
                    }
                    next = (next + 1) % shards.len();
                }
                Err(failure) => {
                    if let Some(left_out) = shared.limits.accept_errors.allow(Instant::now()) {
                        error!(%side, error = %failure, retry_in = ?backoff, left_out, "cannot accept connections for now");
                    }
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
    };
    shared.stopping.run_until_cancelled(accepting).await;
}

/// Asks a server who it is. `None` if it does not prove it in time; the connection is to be closed then.
pub(crate) async fn handshake<S: Stream>(
    stream: &mut S,
    challenge: Challenge,
    shared: &Shared,
) -> Option<ServerId> {
    let config = &shared.config().server;
    let exchange = async {
        stream.write_all(&challenge.0).await?;
        let mut hello = [0; Hello::BYTES];
        // Frames may follow at once: not a byte more than the answer may be read here.
        stream.read_exact(&mut hello).await?;
        std::io::Result::Ok(Hello::decode(&hello).verify(challenge, config.key.as_bytes()))
    };
    // One deadline for all of it, or a peer could make it last by sending a byte now and then.
    let outcome = match timeout(config.auth_timeout, exchange).await {
        Ok(Ok(Some(id))) => return Some(id),
        Ok(Ok(None)) => {
            "the answer does not fit the key: compare the server's with --server-auth-password".into()
        }
        Ok(Err(error)) => format!("the connection failed: {error}"),
        Err(_) => format!("no answer within {:?}", config.auth_timeout),
    };
    shared.refusals.count(Refusal::Handshake);
    if let Some(left_out) = shared.limits.handshakes.allow(Instant::now()) {
        warn!(
            peer = peer_name(stream.peer_addr().ok()),
            reason = outcome,
            left_out,
            "a server was turned away"
        );
    }
    None
}

/// Who is at the other end, for the log.
pub(crate) fn peer_name(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "gone".to_owned(), |addr| addr.to_string())
}
