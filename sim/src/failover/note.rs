//! What those who use many gateways write down.

use std::fmt;

use crate::history::Half;
use crate::net::Host;

/// Who uses many gateways: a client or a server, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// A client, linked to one of them.
    Client(u32),
    /// A server, linked to all of them.
    Server(u32),
}

/// What one client and one server have to say to each other, over as many virtual connections as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Talk(pub u32);

/// An answer of the name service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewaySet {
    /// The gateways in it, one bit each.
    pub present: u16,
    /// The addresses in it at which there is no gateway.
    pub dead: u16,
}

impl GatewaySet {
    /// Whether this gateway is in it.
    #[must_use]
    pub fn has(self, gateway: Host) -> bool {
        gateway.0 < 16 && self.present & (1 << gateway.0) != 0
    }
}

/// Something that happened to a member. A place without a gateway is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetNote {
    /// It is there, on this host. A host that is started again begins anew.
    Begins(Host),
    /// The name service has answered.
    Told(GatewaySet),
    /// The name service has not answered, or with nothing of use.
    NotTold,
    /// It begins to connect.
    Connects(Option<Host>),
    /// It is connected, as far as the network is concerned.
    HasConnected(Option<Host>),
    /// It could not connect, or has given it up.
    ConnectFails(Option<Host>),
    /// The library says that there is one more gateway.
    Found(Option<Host>),
    /// The library says that it has left the set.
    Gone(Option<Host>),
    /// The library says that there is a link.
    Connected(Option<Host>),
    /// The library says that this gateway drains.
    Draining(Option<Host>),
    /// The library says that there is no link, or none any more.
    Trouble(Option<Host>),
    /// The library says that this gateway has refused a server for too long, and that it turns to another.
    Refuses(Option<Host>),
    /// The library says that it does not know where the gateways are.
    NotFound,
    /// No gateway would have it for all its patience.
    NoGateway,
    /// A server has called a client back, and was answered or not.
    CalledBack(bool),
}

/// Something that happened to a talk. Its *generation* is the number of its connections up to now, as the client counts them:
/// one more with each dial, and with each [`Renewed`](fastway::fleet::Received::Renewed). The *place* of a message is its
/// number within its generation and direction, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TalkNote {
    /// Client and server, by their places.
    Begins {
        /// Who dials.
        client: u32,
        /// Who is dialled.
        server: u32,
    },
    /// The client dials.
    Dials,
    /// The dial has failed for good.
    DialFails,
    /// The dial was accepted.
    Opens {
        /// Of the new connection.
        generation: u32,
        /// Through which gateway, if that is still known.
        gateway: Option<Host>,
    },
    /// The client is told that the connection is a new one.
    Renewed {
        /// Of the new connection.
        generation: u32,
        /// Through which gateway.
        gateway: Option<Host>,
    },
    /// A message was not taken, since the connection is not there now.
    Interrupted,
    /// A message of the client was taken.
    Sends {
        /// Of the connection.
        generation: u32,
        /// In it.
        place: u32,
    },
    /// The server has got a message.
    Serves {
        /// Its end of the connection.
        half: Half,
        /// As the message says.
        generation: u32,
        /// As the message says.
        place: u32,
        /// The number of the message in the whole talk; `None`: the first one of a connection, which asks how far they were.
        number: Option<u32>,
    },
    /// The client has got an answer.
    Gets {
        /// As the answer says.
        generation: u32,
        /// As the answer says.
        place: u32,
        /// Which message it answers; `None`: the first one of a connection.
        number: Option<u32>,
    },
    /// The connection has ended for good.
    Ends {
        /// The server has closed it, or is gone.
        by_remote: bool,
    },
    /// The client is done.
    Done {
        /// Messages that it had to say.
        said: u32,
        /// And those that were answered.
        answered: u32,
    },
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "client {number}"),
            Self::Server(number) => write!(f, "server {number}"),
        }
    }
}

impl FleetNote {
    /// In words; `name` knows the hosts.
    pub(crate) fn text<'a>(self, name: impl Fn(Host) -> &'a str) -> String {
        let place = |host: Option<Host>| host.map_or("nobody", &name).to_owned();
        match self {
            Self::Begins(_) => "is there".to_owned(),
            Self::Told(set) => {
                let gateways: Vec<&str> =
                    (0..16).map(Host).filter(|host| set.has(*host)).map(&name).collect();
                format!("is told: {} and {} dead addresses", gateways.join(", "), set.dead)
            }
            Self::NotTold => "is told nothing".to_owned(),
            Self::Connects(host) => format!("connects to {}", place(host)),
            Self::HasConnected(host) => format!("has connected to {}", place(host)),
            Self::ConnectFails(host) => format!("could not connect to {}", place(host)),
            Self::Found(host) => format!("says: {} is there", place(host)),
            Self::Gone(host) => format!("says: {} is not in the set any more", place(host)),
            Self::Connected(host) => format!("says: connected to {}", place(host)),
            Self::Draining(host) => format!("says: {} drains", place(host)),
            Self::Trouble(host) => format!("says: trouble with {}", place(host)),
            Self::Refuses(host) => format!("says: {} refuses a server", place(host)),
            Self::NotFound => "says: no gateways found".to_owned(),
            Self::NoGateway => "has found no gateway".to_owned(),
            Self::CalledBack(true) => "has called a client back".to_owned(),
            Self::CalledBack(false) => "has called a client back in vain".to_owned(),
        }
    }
}

impl TalkNote {
    /// In words; `name` knows the hosts.
    pub(crate) fn text<'a>(self, name: impl Fn(Host) -> &'a str) -> String {
        let place = |host: Option<Host>| host.map_or("nobody", &name).to_owned();
        let which = |number: Option<u32>| number.map_or("how far".to_owned(), |number| number.to_string());
        match self {
            Self::Begins { client, server } => format!("client {client} with server {server}"),
            Self::Dials => "is dialled".to_owned(),
            Self::DialFails => "cannot be dialled".to_owned(),
            Self::Opens { generation, gateway } => {
                format!("opens by {}, generation {generation}", place(gateway))
            }
            Self::Renewed { generation, gateway } => {
                format!("is renewed by {}, generation {generation}", place(gateway))
            }
            Self::Interrupted => "is interrupted".to_owned(),
            Self::Sends { generation, place } => format!("says {place} of generation {generation}"),
            Self::Serves { half, generation, place, number } => {
                format!("is heard at end {}: {place} of generation {generation}, {}", half.0, which(number))
            }
            Self::Gets { generation, place, number } => {
                format!("is answered: {place} of generation {generation}, {}", which(number))
            }
            Self::Ends { by_remote: true } => "was ended by the server".to_owned(),
            Self::Ends { by_remote: false } => "has ended".to_owned(),
            Self::Done { said, answered } => format!("is done: {answered} of {said} answered"),
        }
    }
}
