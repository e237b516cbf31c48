//! The flags of TLS, for each of the two ports of gateways: what they mean, and what is in the files that they name.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use fastway::net::tls::{Authorities, Identity, TlsConnector};

/// How clients connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub(super) struct ClientTls {
    /// Clients connect over TLS
    #[arg(long)]
    tls: bool,

    /// Whom they trust: CAs, as PEM [default: those of this machine]
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,

    /// Whom they expect, whatever the address is: a DNS name, or an IP address [default: the host of the address]
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_server_name: Option<String>,
}

/// How servers connect.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServerTls {
    /// Servers connect over TLS
    #[arg(long)]
    server_tls: bool,

    /// Whom they trust: CAs, as PEM [default: those of this machine]
    #[arg(long, value_name = "FILE", requires = "server_tls")]
    server_tls_ca: Option<PathBuf>,

    /// Whom they expect, whatever the address is [default: the host of the address]
    #[arg(long, value_name = "NAME", requires = "server_tls")]
    server_tls_server_name: Option<String>,

    /// What they show to a gateway that asks for it: a certificate, and those that lead to its CA, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["server_tls", "server_tls_key"])]
    server_tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["server_tls", "server_tls_cert"])]
    server_tls_key: Option<PathBuf>,
}

impl ClientTls {
    /// `None` without TLS.
    pub(super) fn connector(&self) -> anyhow::Result<Option<TlsConnector>> {
        self.tls
            .then(|| connector(["--tls-ca", "--tls-server-name"], &self.tls_ca, &self.tls_server_name))
            .transpose()
    }
}

impl ServerTls {
    /// `None` without TLS.
    pub(super) fn connector(&self) -> anyhow::Result<Option<TlsConnector>> {
        if !self.server_tls {
            return Ok(None);
        }
        let flags = ["--server-tls-ca", "--server-tls-server-name"];
        let connector = connector(flags, &self.server_tls_ca, &self.server_tls_server_name)?;
        Ok(Some(match self.identity()? {
            Some(identity) => connector.with_identity(identity),
            None => connector,
        }))
    }

    fn identity(&self) -> anyhow::Result<Option<Identity>> {
        let (Some(certificate), Some(key)) = (&self.server_tls_cert, &self.server_tls_key) else {
            return Ok(None);
        };
        let (in_certificate, in_key) = (("--server-tls-cert", certificate), ("--server-tls-key", key));
        let identity = Identity::from_pem(&read(in_certificate)?, &read(in_key)?);
        Ok(Some(identity.map_err(|error| {
            let (flag, path) = if error.is_about_the_key() { in_key } else { in_certificate };
            anyhow!("{flag} {}: {error}", path.display())
        })?))
    }
}

fn connector(
    [ca_flag, name_flag]: [&str; 2],
    ca: &Option<PathBuf>,
    name: &Option<String>,
) -> anyhow::Result<TlsConnector> {
    let trusted = match ca {
        Some(path) => Authorities::from_pem(&read((ca_flag, path))?)
            .with_context(|| format!("{ca_flag} {}", path.display()))?,
        None => Authorities::of_the_platform().with_context(|| ca_flag.to_owned())?,
    };
    let connector = TlsConnector::new(trusted)?;
    match name {
        Some(name) => connector.with_server_name(name).with_context(|| name_flag.to_owned()),
        None => Ok(connector),
    }
}

fn read((flag, path): (&str, impl AsRef<Path>)) -> anyhow::Result<Vec<u8>> {
    let path = path.as_ref();
    std::fs::read(path).with_context(|| format!("{flag} {} cannot be read", path.display()))
}
