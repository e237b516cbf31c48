//! TLS in front of a session: the handshake, its deadline, and what is said when there is none.
//!
//! A session over TLS is the same code as one over TCP, made for another stream: what comes over TCP pays nothing.

use fastway::id::Side;
use fastway::net::Stream;
use fastway::net::tls::{TlsAcceptor, TlsStream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::listener::peer_name;
use crate::refusal::Refusal;
use crate::shard::Shared;

/// A connection after its TLS handshake. `None` if that is not done until then, or the gateway stops; the connection is to be
/// closed in this case.
pub(crate) async fn secure<S: Stream>(
    stream: S,
    tls: &TlsAcceptor,
    side: Side,
    deadline: Instant,
    shared: &Shared,
) -> Option<TlsStream<S>> {
    let peer = stream.peer_addr().ok();
    let mut stream =
        tls.accept(stream).map_err(|error| warn!(%side, %error, "TLS cannot be accepted")).ok()?;
    let handshake = timeout_at(deadline, stream.handshake());
    let reason = match shared.stopping.run_until_cancelled(handshake).await? {
        Ok(Ok(())) => return Some(stream),
        Ok(Err(_)) if stream.is_unheard() => {
            debug!(%side, peer = peer_name(peer), "somebody looked in");
            return None;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => match side {
            Side::Client => "no whole TLS handshake within --client-tls-timeout".to_owned(),
            Side::Server => "no whole TLS handshake within --server-auth-timeout".to_owned(),
        },
    };
    shared.refusals.count(Refusal::Tls);
    if let Some(left_out) = shared.limits.tls.allow(Instant::now()) {
        warn!(%side, peer = peer_name(peer), reason, left_out, "no TLS: turned away");
    }
    None
}
