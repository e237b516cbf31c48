//! The accepting end of TLS.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use super::engine::Engine;
use super::error::TlsError;
use super::identity::{Authorities, Identity, provider};
use super::stream::TlsStream;
use crate::net::Stream;

/// Accepts TLS on connections, with one identity, which can be changed while it is in use. A clone is another handle to the same
/// one.
///
/// TLS 1.3 and 1.2. Sessions are not resumed: connections last long here, and it would cost memory for each, or secrets that
/// outlive them. So there is no early data either, which somebody could send once more.
#[derive(Clone)]
pub struct TlsAcceptor(Arc<Mutex<Accepting>>);

/// What is accepted, and of what that is made.
#[derive(Clone)]
struct Accepting {
    config: Arc<ServerConfig>,
    identity: Identity,
    clients: Option<Authorities>,
}

impl TlsAcceptor {
    /// Shows `identity` to whoever connects. With `clients`, those have to show a certificate too, of one of these authorities.
    ///
    /// # Errors
    ///
    /// If the authorities cannot be used.
    pub fn new(identity: Identity, clients: Option<Authorities>) -> Result<Self, TlsError> {
        let setup = |error: &dyn fmt::Display| TlsError::Setup(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| setup(&error))?;
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(Authorities(roots)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| setup(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.0.clone())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(Mutex::new(Accepting { config: Arc::new(config), identity, clients }))))
    }

    /// From now on it accepts as `other` does, and so do its clones. Who is connected already stays as it is.
    pub fn become_like(&self, other: &Self) {
        let accepting = other.0.lock().clone();
        *self.0.lock() = accepting;
    }

    /// From when until when what it shows is valid: see [`Identity::validity`].
    #[must_use]
    pub fn validity(&self) -> RangeInclusive<SystemTime> {
        self.0.lock().identity.validity()
    }

    /// The accepting end of a connection, whose handshake is still to be done: by [`TlsStream::handshake`], or by the first
    /// read or write.
    ///
    /// # Errors
    ///
    /// None is known.
    pub fn accept<S: Stream>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let config = self.0.lock().config.clone();
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsStream::new(stream, Engine::server(connection)))
    }
}

/// Whether both show the same certificates (to which only one key belongs), and trust the same authorities.
impl PartialEq for TlsAcceptor {
    fn eq(&self, other: &Self) -> bool {
        let parts = |acceptor: &Self| {
            let accepting = acceptor.0.lock();
            let trusted = accepting.clients.as_ref().map(|Authorities(roots)| roots.roots.clone());
            (accepting.identity.0.cert.clone(), trusted)
        };
        parts(self) == parts(other)
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}
