//! Accepting connections: a listener, and what stands between it and a session.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastway::handshake::{Challenge, Hello};
use fastway::id::{ServerId, Side};
use fastway::net::{Listener, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::refusal::Refusal;
use crate::shard::{Accepted, Shared};

/// After an accept error: the first wait, and the longest. Out of files, for one, heals only when others close.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Before a port is closed, nobody may have been in its queue for so many turns.
const LAST_TURNS: u32 = 3;

/// One listener's work.
#[derive(Debug)]
pub(crate) struct Acceptor<S> {
    side: Side,
    shared: Arc<Shared>,
    /// Whom connections are dealt to, in turn. The first shard is the one that runs this.
    shards: Vec<mpsc::Sender<Accepted<S>>>,
    next: usize,
    backoff: Duration,
}

impl<S: Stream> Acceptor<S> {
    pub(crate) fn new(side: Side, shared: Arc<Shared>, shards: Vec<mpsc::Sender<Accepted<S>>>) -> Self {
        Self { side, shared, shards, next: 0, backoff: MIN_BACKOFF }
    }

    /// Accepts until the gateway stops; clients only until it drains, and then those who are in the kernel's queue already.
    pub(crate) async fn run<L: Listener<Stream = S>>(mut self, mut listener: L) {
        let shared = self.shared.clone();
        let until = match self.side {
            Side::Client => shared.draining.clone(),
            Side::Server => CancellationToken::new(),
        };
        let accepting = async {
            while let Some(accepted) = until.run_until_cancelled(listener.accept()).await {
                self.see_to(accepted).await;
            }
            self.empty(&mut listener).await;
        };
        shared.stopping.run_until_cancelled(accepting).await;
    }

    /// Takes over who the kernel has accepted: they believe that they are connected, and closing the port would reset them. The
    /// network may need a turn to find out who is there.
    async fn empty<L: Listener<Stream = S>>(&mut self, listener: &mut L) {
        let mut turns = LAST_TURNS;
        while turns > 0 {
            let mut accept = pin!(listener.accept());
            match poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await {
                Poll::Ready(Ok(stream)) => {
                    self.deal(stream).await;
                    turns = LAST_TURNS;
                }
                Poll::Ready(Err(_)) => turns -= 1,
                Poll::Pending => {
                    yield_now().await;
                    turns -= 1;
                }
            }
        }
    }

    async fn see_to(&mut self, accepted: io::Result<S>) {
        let shared = self.shared.clone();
        match accepted {
            Ok(stream) => {
                self.backoff = MIN_BACKOFF;
                if self.side == Side::Client {
                    // Who has waited for too long comes again, behind the others. If those who have gone had turns as well, nobody
                    // would be served in time any more.
                    if shared.admission.has_pace() && stream.is_abandoned() {
                        return;
                    }
                    // Not when it drains: the port has to be closed, and nobody comes after them.
                    shared.draining.run_until_cancelled(shared.admission.pace()).await;
                }
                self.deal(stream).await;
            }
            Err(failure) => {
                let (side, backoff) = (self.side, self.backoff);
                if let Some(left_out) = shared.limits.accept_errors.allow(Instant::now()) {
                    error!(%side, error = %failure, retry_in = ?backoff, left_out, "cannot accept connections for now");
                }
                sleep(backoff).await;
                self.backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
    }

    /// To the next shard.
    async fn deal(&mut self, stream: S) {
        let counted = self.shared.tasks(self.side).token();
        let accepted = Accepted { stream, side: self.side, moved: self.next != 0, _counted: counted };
        // A shard is there for as long as there is somebody who could send it connections.
        let _ = self.shards[self.next].send(accepted).await;
        self.next = (self.next + 1) % self.shards.len();
    }
}

/// Asks a server who it is. `None` if it does not prove it until then; the connection is to be closed in this case.
pub(crate) async fn handshake<S: Stream>(
    stream: &mut S,
    challenge: Challenge,
    deadline: Instant,
    shared: &Shared,
) -> Option<ServerId> {
    let config = &shared.config().server;
    let exchange = async {
        stream.write_all(&challenge.0).await?;
        stream.flush().await?;
        let mut hello = [0; Hello::BYTES];
        // Frames may follow at once: not a byte more than the answer may be read here.
        stream.read_exact(&mut hello).await?;
        io::Result::Ok(Hello::decode(&hello).verify(challenge, config.key.as_bytes()))
    };
    // One deadline for all of it, or a peer could make it last by sending a byte now and then.
    let outcome = match timeout_at(deadline, exchange).await {
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
