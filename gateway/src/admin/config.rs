//! Where the admin server listens, and who may ask it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

/// Everything the admin server can be told.
///
/// ```
/// use fastway_gateway::admin::{AdminConfig, AdminToken};
///
/// let mut config = AdminConfig::new("127.0.0.1:7030".parse()?);
/// config.check()?;
/// config.addr = "10.0.0.5:7030".parse()?;
/// assert!(config.check().is_err(), "whoever reaches it could stop the gateway");
/// config.token = Some(AdminToken::new("long-and-random")?);
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens; port 0 is any free one.
    pub addr: SocketAddr,
    /// What whoever asks has to know. None: everybody who reaches the address may ask, which has to be a loopback address.
    pub token: Option<AdminToken>,
    /// Names that it may be asked by, besides `localhost` and addresses.
    pub hosts: Vec<String>,
}

impl AdminConfig {
    /// Without a token, and without a name.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, token: None, hosts: Vec::new() }
    }

    /// Judges the settings.
    ///
    /// # Errors
    ///
    /// If other machines can reach the address, and there is no token.
    pub fn check(&self) -> Result<(), AdminConfigError> {
        if self.token.is_none() && !self.addr.ip().to_canonical().is_loopback() {
            return Err(AdminConfigError::NoToken { addr: self.addr });
        }
        Ok(())
    }
}

/// Who may ask an admin server, also while it answers. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct AdminAccess(Arc<Mutex<Arc<AdminConfig>>>);

impl AdminAccess {
    pub(super) fn new(config: AdminConfig) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(config))))
    }

    pub(super) fn config(&self) -> Arc<AdminConfig> {
        self.0.lock().clone()
    }

    /// From the next request on, this is the token, and these are the names.
    ///
    /// # Errors
    ///
    /// If there would be no token where other machines can reach the address. Nothing has changed then.
    pub fn change(&self, token: Option<AdminToken>, hosts: Vec<String>) -> Result<(), AdminConfigError> {
        let mut config = self.0.lock();
        let changed = AdminConfig { addr: config.addr, token, hosts };
        changed.check()?;
        *config = Arc::new(changed);
        Ok(())
    }
}

/// The secret of those who may ask. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(String);

impl AdminToken {
    /// A token of these characters.
    ///
    /// # Errors
    ///
    /// If it is empty, or has characters that a header cannot carry, or not as they are.
    pub fn new(token: impl Into<String>) -> Result<Self, AdminConfigError> {
        let token = token.into();
        if token.is_empty() {
            return Err(AdminConfigError::EmptyToken);
        }
        // Neither spaces, which separate what a header says, nor what has more than one encoding.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminConfigError::UnusableToken);
        }
        Ok(Self(token))
    }

    /// Whether it is this. How long that takes tells nothing but whether the length is right.
    pub(super) fn is(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// A setting that cannot work: which one, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminConfigError {
    /// Anybody on the network could read everything, and stop the gateway.
    #[error(
        "--admin-token is not set while --admin-addr {addr} can be reached from other machines: set one, best with \
         --admin-token-file, or listen on a loopback address"
    )]
    NoToken {
        /// Where it would listen.
        addr: SocketAddr,
    },
    /// A token that everybody knows.
    #[error("it is empty: a token is long and random, such as openssl rand -hex 32 prints")]
    EmptyToken,
    /// A token that cannot be sent in a header.
    #[error(
        "it may have letters, digits and punctuation of ASCII only, and no spaces, such as openssl rand -hex 32 prints"
    )]
    UnusableToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = AdminToken::new("s3cret").unwrap();
        assert!(token.is(b"s3cret"));
        for other in [&b""[..], b"s3cre", b"s3cret ", b"S3cret", b"s3cretx"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_can_be_sent_in_a_header() {
        assert_eq!(AdminToken::new("").unwrap_err(), AdminConfigError::EmptyToken);
        for token in ["a b", "a\n", "é", "\u{7f}"] {
            assert_eq!(AdminToken::new(token).unwrap_err(), AdminConfigError::UnusableToken, "{token:?}");
        }
    }

    #[test]
    fn beyond_loopback_there_has_to_be_a_token() {
        for (addr, is_loopback) in [
            ("127.0.0.1:0", true),
            ("127.9.9.9:0", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:0", true),
            ("0.0.0.0:0", false),
            ("[::]:0", false),
            ("10.0.0.1:0", false),
        ] {
            let mut config = AdminConfig::new(addr.parse().unwrap());
            assert_eq!(config.check().is_ok(), is_loopback, "{addr}");
            config.token = Some(AdminToken::new("t").unwrap());
            assert_eq!(config.check(), Ok(()), "{addr}");
        }
    }
}
