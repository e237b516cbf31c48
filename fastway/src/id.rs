//! The identifiers of the protocol, each with its own type.
//!
//! On the wire all of them are unsigned 32-bit little-endian integers. Nothing here is drawn or counted: the
//! gateway gives out [`ClientId`]s and [`ConnId`]s, servers choose their [`ServerId`].

use std::fmt;
use std::num::NonZeroU32;

/// One virtual connection, as numbered by the gateway. Never 0: that number marks a command frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(NonZeroU32);

/// One client, as numbered by the gateway it is connected to, from 1. Two gateways give out the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(NonZeroU32);

/// One server, as it named itself in the handshake. Any number is valid, 0 too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u32);

/// The other end of a virtual connection as commands name it: a [`ServerId`] where a client speaks or is spoken
/// to, a [`ClientId`] where a server is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteId(u32);

/// The two sides of a gateway: its public port and its internal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Clients, at the public port.
    Client,
    /// Servers, at the internal port, after the handshake.
    Server,
}

impl Side {
    /// The side that this one reaches: a client reaches servers only, a server reaches clients only.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

macro_rules! never_zero {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("The ", $what, " with this number; `None` for 0.")]
            #[must_use]
            pub const fn new(number: u32) -> Option<Self> {
                match NonZeroU32::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number, as on the wire.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0.get()
            }
        }
    };
}

macro_rules! any_number {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("The ", $what, " with this number.")]
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// The number, as on the wire.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }
    };
}

macro_rules! shown_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.get().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.get())
            }
        }
    )*};
}

never_zero!(ConnId, "virtual connection");
never_zero!(ClientId, "client");
any_number!(ServerId, "server");
any_number!(RemoteId, "remote end");
shown_as_number!(ConnId, ClientId, ServerId, RemoteId);

impl From<ServerId> for RemoteId {
    fn from(id: ServerId) -> Self {
        Self(id.get())
    }
}

impl From<ClientId> for RemoteId {
    fn from(id: ClientId) -> Self {
        Self(id.get())
    }
}

impl From<RemoteId> for ServerId {
    fn from(id: RemoteId) -> Self {
        Self(id.get())
    }
}

impl RemoteId {
    /// The client of this number; `None` for 0, which no client has.
    #[must_use]
    pub const fn client(self) -> Option<ClientId> {
        ClientId::new(self.0)
    }
}
