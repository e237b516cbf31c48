//! Certificates and keys: read from PEM, and judged before anybody relies on them.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use super::error::TlsError;

/// *ring* is what is used everywhere, and nothing is looked for in the process: it is built with the C compiler that Rust links
/// with, and nothing else (AWS-LC, the alternative, compiles several times as much C, and needs CMake on some platforms).
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Who somebody is: a certificate, with those that lead to its CA, and the private key that belongs to it.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

/// Nothing of it: it has a secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// From PEM: first the own certificate, then those that lead from it to the CA, if there are any; and the key, in PKCS#8,
    /// PKCS#1 or SEC 1, without a password.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if one of them is not what it should be, the key is another one's, or the certificate is not valid now.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = read_certificates(certificates)?;
        judge(&chain[0])?;
        if key.trim_ascii().is_empty() {
            return Err(TlsError::UnusableKey("it is empty".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            PemError::NoItemsFound => TlsError::NoKey,
            error => TlsError::UnusableKey(error.to_string()),
        })?;
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(key) => Ok(Self(Arc::new(key))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
            Err(error) => Err(TlsError::UnusableKey(error.to_string())),
        }
    }

    /// From when until when whoever looks at it finds nothing expired: that of its certificates which expires first, be it the own
    /// one or one of those that lead to the CA.
    #[must_use]
    pub fn validity(&self) -> RangeInclusive<SystemTime> {
        let each = self.0.cert.iter().filter_map(validity);
        each.min_by_key(|validity| *validity.end()).expect("its own certificate was judged before")
    }
}

/// Whom to trust: certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities(pub(super) Arc<RootCertStore>);

impl Authorities {
    /// Those of the operating system.
    ///
    /// # Errors
    ///
    /// If there are none that can be read.
    pub fn of_the_platform() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A store may have a few that are too old to be understood.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
            return Err(TlsError::NoPlatformRoots(why));
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Those in PEM: one or more.
    ///
    /// # Errors
    ///
    /// If there is none in it, or one that is no authority's or not valid now.
    pub fn from_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(certificates)? {
            match judge(&certificate)? {
                Judged::Authority => {}
                Judged::EndEntity => return Err(TlsError::NotAnAuthority),
            }
            roots.add(certificate).map_err(|error| TlsError::MalformedCertificate(error.to_string()))?;
        }
        Ok(Self(Arc::new(roots)))
    }
}

fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if pem.trim_ascii().is_empty() {
        return Err(TlsError::Empty);
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem(error.to_string()))?;
    if chain.is_empty() { Err(TlsError::NoCertificate) } else { Ok(chain) }
}

enum Judged {
    Authority,
    EndEntity,
}

/// From when until when a certificate is valid: to verify it before all times and after them tells just that, as in [`judge`].
fn validity(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<SystemTime>> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let at = |time| {
        let time = UnixTime::since_unix_epoch(time);
        parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err()
    };
    let on = |time: UnixTime| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    let from = match at(Duration::ZERO)? {
        webpki::Error::CertNotValidYet { not_before, .. } => on(not_before)?,
        _ => SystemTime::UNIX_EPOCH,
    };
    match at(Duration::MAX)? {
        webpki::Error::CertExpired { not_after, .. } => Some(from..=on(not_after)?),
        _ => None,
    }
}

/// Whether a certificate is valid now, and whose it is. To verify it against no authority at all tells just that: validity is
/// looked at first, then what kind of certificate it is, and only then who vouches for it.
fn judge(certificate: &CertificateDer<'_>) -> Result<Judged, TlsError> {
    let malformed = |error: webpki::Error| TlsError::MalformedCertificate(error.to_string());
    let parsed = EndEntityCert::try_from(certificate).map_err(malformed)?;
    let between =
        |from: UnixTime, to: UnixTime| Duration::from_secs(to.as_secs().saturating_sub(from.as_secs()));
    let verified =
        parsed.verify_for_usage(&[], &[], &[], UnixTime::now(), KeyUsage::server_auth(), None, None);
    match verified.map(|_| ()) {
        Err(webpki::Error::CertExpired { time, not_after }) => {
            Err(TlsError::Expired(between(not_after, time)))
        }
        Err(webpki::Error::CertNotValidYet { time, not_before }) => {
            Err(TlsError::NotYetValid(between(time, not_before)))
        }
        Err(error @ webpki::Error::BadDerTime) => Err(malformed(error)),
        Err(webpki::Error::CaUsedAsEndEntity) => Ok(Judged::Authority),
        _ => Ok(Judged::EndEntity),
    }
}
