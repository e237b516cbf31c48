//! The connecting end of TLS.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use super::engine::Engine;
use super::error::TlsError;
use super::identity::{Authorities, Identity, provider};
use super::stream::TlsStream;
use crate::net::Stream;

/// Connects over TLS: whom to trust, whom to expect, and who this end is.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConnector {
    /// Trusts those whose certificate is of one of these authorities, and names the host that is connected to.
    ///
    /// # Errors
    ///
    /// If the authorities cannot be used.
    pub fn new(trusted: Authorities) -> Result<Self, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_root_certificates(trusted.0)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), server_name: None })
    }

    /// The same, showing a certificate where the other end asks for one.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(identity.0));
        Arc::make_mut(&mut self.config).client_auth_cert_resolver = shown;
        self
    }

    /// The same, where the other end's certificate has to name this host, whatever address it has: a DNS name or an IP
    /// address. A gateway on an internal network is often connected to by an address that no certificate names.
    ///
    /// # Errors
    ///
    /// If it is neither.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, TlsError> {
        self.server_name = Some(parse(name)?);
        Ok(self)
    }

    /// The connecting end of a connection to `addr` (`HOST:PORT`), whose handshake is still to be done.
    ///
    /// # Errors
    ///
    /// If no server name was set, and `addr` has none.
    pub fn connect<S: Stream>(&self, stream: S, addr: &str) -> io::Result<TlsStream<S>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse(host(addr)).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connection =
            UnbufferedClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(TlsStream::new(stream, Engine::client(connection)))
    }
}

fn parse(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// What is in front of the port.
fn host(addr: &str) -> &str {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_named_by_the_address() {
        for (addr, name) in [
            ("game.example.com:7010", "game.example.com"),
            ("192.0.2.1:1", "192.0.2.1"),
            ("[2001:db8::1]:7010", "2001:db8::1"),
            ("localhost:1", "localhost"),
        ] {
            assert_eq!(host(addr), name);
            parse(name).expect("it can be in a certificate");
        }
        for name in ["", "a b", "-"] {
            assert!(parse(name).unwrap_err().to_string().contains("neither a DNS name"), "{name:?}");
        }
    }
}
