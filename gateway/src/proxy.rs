//! Clients behind a proxy: the header in which it says whose connection this is, in front of everything else.
//!
//! What a header means is the business of [`fastway::proxy_protocol`]; who has to send one, that of `admission.rs`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastway::net::Stream;
use fastway::proxy_protocol::{Decoded, HeaderError, decode};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

/// A proxy sends its header as soon as it is connected; this is long enough for a packet to be lost and sent again
/// (specification, section 2).
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    /// Load balancers look in this way to see whether somebody listens.
    #[error("it left without a word")]
    Left,
    #[error("the connection ended inside the header")]
    Ended,
    #[error("the connection failed: {0}")]
    Failed(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] HeaderError),
    #[error("no whole header within {:?}", TIMEOUT)]
    Late,
}

/// Whose connection it is, as the proxy says; `None` if it is the proxy's own. One deadline for all of the header, or somebody
/// could make it last by sending a byte now and then.
pub(crate) async fn read_header<S: Stream>(stream: &mut S) -> Result<Option<SocketAddr>, NoHeader> {
    timeout(TIMEOUT, read(stream)).await.unwrap_or(Err(NoHeader::Late))
}

/// Frames may follow at once: not a byte more than the header may be read here.
async fn read<S: Stream>(stream: &mut S) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = Vec::new();
    loop {
        let missing = match decode(&header)? {
            Decoded::Cut { missing } => missing,
            Decoded::Whole(header) => return Ok(header.source),
        };
        let some = (&mut *stream).take(missing as u64).read_buf(&mut header).await;
        match some {
            Ok(0) | Err(_) if header.is_empty() => return Err(NoHeader::Left),
            Ok(0) => return Err(NoHeader::Ended),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
