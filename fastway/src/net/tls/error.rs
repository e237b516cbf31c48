//! What can go wrong with TLS, in words that say what would be right.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why certificates or keys cannot be used. What the user gave them as (a file, a flag) is for whoever has it to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is not PEM.
    #[error("it is not valid PEM: {0}")]
    Pem(String),
    /// There is no certificate.
    #[error(
        "there is no certificate in it: it must have the lines -----BEGIN CERTIFICATE----- and so on (PEM)"
    )]
    NoCertificate,
    /// There is no private key.
    #[error(
        "there is no private key in it: it must have the lines -----BEGIN PRIVATE KEY----- and so on (PEM)"
    )]
    NoKey,
    /// It is marked as a certificate, but is none.
    #[error("a certificate in it is malformed: {0}")]
    MalformedCertificate(String),
    /// It is marked as a key, but none that can be used.
    #[error("the private key cannot be used: {0}; RSA, ECDSA (P-256, P-384) or Ed25519 would be right")]
    UnusableKey(String),
    /// The key is another one's.
    #[error("the private key is not the one of the certificate")]
    KeyMismatch,
    /// The certificate was valid until then.
    #[error("the certificate expired {} ago: renew it", roughly(.0))]
    Expired(Duration),
    /// The certificate will be valid.
    #[error("the certificate is not valid yet, but in {}: check the clock", roughly(.0))]
    NotYetValid(Duration),
    /// Not the certificate of an authority.
    #[error("a certificate in it is not one of a CA (certificate authority): it cannot vouch for others")]
    NotAnAuthority,
    /// The platform has no store of certificates that could be read.
    #[error("the platform's root certificates cannot be read: {0}; name a file with those to be trusted")]
    NoPlatformRoots(String),
    /// Neither a DNS name nor an IP address.
    #[error(
        "{0:?} is neither a DNS name nor an IP address: it is what the certificate of the other end must name"
    )]
    ServerName(String),
    /// Whatever else.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl TlsError {
    /// Whether it is the private key that cannot be used, and not a certificate.
    #[must_use]
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::UnusableKey(_) | Self::KeyMismatch)
    }
}

/// Days, or hours, or minutes: nobody wants to know better.
fn roughly(duration: &Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// Why a connection over TLS has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(
        "the other end closed the connection in the middle of the TLS handshake: perhaps its port is one without TLS"
    )]
    InHandshake,
    #[error("the connection ended without TLS' close_notify: the other end died, or somebody cut it off")]
    NoCloseNotify,
    #[error("what comes from the other end is not TLS: {0:?}")]
    NotTls(InvalidMessage),
    #[error("what comes from the other end is not TLS: a record has no end")]
    TooLong,
    #[error("the other end's certificate is not trusted: {}", certificate(.0))]
    Untrusted(CertificateError),
    #[error("the other end has shown no certificate, which it must")]
    NoCertificate,
    #[error("the other end speaks no version of TLS from 1.2 up, or nothing that both know: {0:?}")]
    Incompatible(PeerIncompatible),
    #[error("the other end refused TLS: {}", alert(*.0))]
    Refused(AlertDescription),
    #[error("TLS failed: {0}")]
    Other(Error),
}

impl Broken {
    /// The network's bytes have ended where TLS' own end was to come.
    pub(super) fn cut_off(handshaking: bool) -> Self {
        if handshaking { Self::InHandshake } else { Self::NoCloseNotify }
    }
}

pub(super) fn reason(error: Error, handshaking: bool) -> Broken {
    match error {
        Error::InvalidMessage(message) if handshaking => Broken::NotTls(message),
        Error::InvalidCertificate(error) => Broken::Untrusted(error),
        Error::NoCertificatesPresented => Broken::NoCertificate,
        Error::PeerIncompatible(error) => Broken::Incompatible(error),
        Error::AlertReceived(alert) => Broken::Refused(alert),
        error => Broken::Other(error),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no CA that is trusted here vouches for it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clock".to_owned()
        }
        other => other.to_string(),
    }
}

fn alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate, and was shown none".to_owned(),
        AlertDescription::UnknownCA => {
            "it does not trust the CA of the certificate that it was shown".to_owned()
        }
        AlertDescription::CertificateExpired => "the certificate that it was shown has expired".to_owned(),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept the certificate that it was shown".to_owned()
        }
        AlertDescription::ProtocolVersion => "there is no version of TLS that both know".to_owned(),
        other => format!("{other:?}"),
    }
}

impl From<&Broken> for io::Error {
    fn from(broken: &Broken) -> Self {
        let kind = match broken {
            Broken::InHandshake | Broken::NoCloseNotify => io::ErrorKind::UnexpectedEof,
            Broken::Refused(_) => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, broken.clone())
    }
}
