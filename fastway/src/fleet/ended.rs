//! Why a server or a client of many gateways does nothing any more.

/// It has ended, and does nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It was closed on this side.
    #[error("it was closed on this side")]
    ClosedHere,
    /// Nobody is in the set of gateways, and nobody will be.
    #[error("there is no gateway, and there will be none: the set is empty, and nothing changes it any more")]
    NoGateways,
}
