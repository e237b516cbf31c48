//! The files that TLS takes: read, and judged, before anything is bound.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use fastway::net::tls::{Authorities, Identity, TlsAcceptor};

use super::flags::{ClientFlags, ServerFlags};

/// A file, and the flag that names it.
struct File<'a> {
    flag: &'static str,
    path: Option<&'a Path>,
}

impl ClientFlags {
    /// How clients come over TLS, if they do.
    pub(super) fn tls(&self) -> anyhow::Result<Option<TlsAcceptor>> {
        let certificate = File { flag: "--client-tls-cert", path: self.client_tls_cert.as_deref() };
        let key = File { flag: "--client-tls-key", path: self.client_tls_key.as_deref() };
        let Some(identity) = identity(&certificate, &key)? else { return Ok(None) };
        Ok(Some(TlsAcceptor::new(identity, None)?))
    }
}

impl ServerFlags {
    /// How servers come over TLS, if they do.
    pub(super) fn tls(&self) -> anyhow::Result<Option<TlsAcceptor>> {
        let certificate = File { flag: "--server-tls-cert", path: self.server_tls_cert.as_deref() };
        let key = File { flag: "--server-tls-key", path: self.server_tls_key.as_deref() };
        let ca = File { flag: "--server-tls-client-ca", path: self.server_tls_client_ca.as_deref() };
        let Some(identity) = identity(&certificate, &key)? else {
            if ca.path.is_some() {
                bail!(
                    "{} is set without {} and {}: it is for servers that come over TLS",
                    ca.flag,
                    certificate.flag,
                    key.flag
                );
            }
            return Ok(None);
        };
        let servers = ca
            .path
            .is_some()
            .then(|| -> anyhow::Result<_> { Authorities::from_pem(&ca.read()?).with_context(|| ca.name()) });
        Ok(Some(TlsAcceptor::new(identity, servers.transpose()?)?))
    }
}

fn identity(certificate: &File<'_>, key: &File<'_>) -> anyhow::Result<Option<Identity>> {
    match (certificate.path, key.path) {
        (None, None) => return Ok(None),
        (Some(_), None) => bail!("{} is set without {}: TLS takes both", certificate.flag, key.flag),
        (None, Some(_)) => bail!("{} is set without {}: TLS takes both", key.flag, certificate.flag),
        (Some(_), Some(_)) => {}
    }
    let identity = Identity::from_pem(&certificate.read()?, &key.read()?);
    Ok(Some(identity.map_err(|error| {
        let file = if error.is_about_the_key() { key } else { certificate };
        anyhow!("{}: {error}", file.name())
    })?))
}

impl File<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.flag, self.path.unwrap_or(Path::new("")).display())
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(self.path.unwrap_or(Path::new("")))
            .with_context(|| format!("{} cannot be read", self.name()))
    }
}
