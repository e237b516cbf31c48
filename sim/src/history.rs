//! What happened in a world, event by event, in one order.
//!
//! Gateways write here what passes their ends of the connections ([`crate::tap`]), applications what they did and what
//! they saw, the world its faults. The oracle reads it afterwards; so do the traces.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::failover::{FleetNote, Member, Talk, TalkNote};
use crate::net::Host;

/// One life of one gateway, from start to stop; a restart is another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run(pub u32);

/// One physical connection at a gateway's end, in the order of being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u32);

/// One endpoint's link to a gateway as its application holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppLink(pub u32);

/// One application's end of a virtual connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Half(pub u32);

pub use fastway::id::Side;

/// A frame, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A message of a virtual connection: its length, and a hash of its content.
    Data {
        /// Conn ID.
        conn: u32,
        /// Bytes of the message.
        len: u32,
        /// Of the message.
        hash: u64,
    },
    /// The command.
    Dial {
        /// Who is dialled.
        remote: u32,
    },
    /// The command.
    Accept {
        /// Conn ID.
        conn: u32,
        /// Who was dialled.
        remote: u32,
    },
    /// The command.
    Connect {
        /// Conn ID.
        conn: u32,
        /// Who dialled.
        remote: u32,
    },
    /// The command.
    Refuse {
        /// Who was dialled.
        remote: u32,
    },
    /// The command.
    Close {
        /// Conn ID.
        conn: u32,
    },
    /// The command.
    Ping,
    /// Behind a dial of client 0: somebody asks for extensions.
    Asks {
        /// Which, one bit each.
        wishes: u32,
    },
    /// Behind the refusal of client 0: what is granted of them.
    Grants {
        /// Which, one bit each.
        granted: u32,
        /// How many connections the list behind it has. Each follows as [`Told`](Self::Told).
        listed: u32,
    },
    /// Where the client of a connection comes from: in the list of a grant, or behind the arguments of the command before this.
    Told {
        /// Conn ID.
        conn: u32,
        /// The client; `None` if the gateway does not know.
        addr: Option<SocketAddr>,
    },
    /// Behind a Close of connection 0: a client asks for extensions, or a gateway gives notice.
    BehindClose {
        /// Which extensions, one bit each.
        set: u32,
        /// A notice has it: so long until all clients are told to go.
        window_ms: Option<u32>,
    },
    /// Bytes behind the arguments of a command that mean nothing.
    Extra,
    /// Bytes that cannot be a frame, or a command that cannot be.
    Malformed,
    /// The gateway's question in the handshake.
    Challenge,
    /// The server's answer.
    Hello {
        /// Who it says it is.
        id: u32,
        /// Whether it knows the key.
        valid: bool,
    },
}

/// How an application's end of a virtual connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfEnd {
    /// It closed or dropped it.
    Here,
    /// The other side did, or went away.
    Remote,
    /// Its messages were not received in time.
    SlowReceiver,
    /// Its link ended.
    Link,
}

/// How an application's link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The application closed it.
    Here,
    /// The gateway did.
    ByGateway,
    /// The gateway did, before it had said anything.
    TurnedAway,
    /// The network failed.
    Failed,
    /// The gateway was silent.
    Silent,
    /// The gateway said what no gateway may say.
    Nonsense,
}

/// How a dial of an application went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialEnd {
    /// Refused by the gateway.
    Refused,
    /// No answer in time.
    Timeout,
    /// The link ended first.
    Link,
}

/// The stages of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// All faults have ended; what was broken is found out and mended.
    Healing,
    /// All clients leave, and what is still queued is delivered.
    Draining,
    /// Everybody must reach everybody.
    Probing,
    /// Everybody leaves.
    Leaving,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A stage begins.
    Phase(Phase),
    /// The fault at this place of the schedule begins.
    FaultBegins(u16),
    /// It ends.
    FaultEnds(u16),
    /// A host is down: its software was killed, or it has no power.
    HostDown(Host),
    /// It runs again.
    HostUp(Host),

    /// A gateway serves.
    GatewayUp(Run, Host),
    /// It was told to stop.
    GatewayStops(Run),
    /// It was told to drain.
    GatewayDrains(Run),
    /// It has ended, or was killed.
    GatewayDown(Run),
    /// A gateway has accepted a connection, from this address.
    Opened(Link, Run, Side, Host, SocketAddr),
    /// It has read the last byte of this.
    In(Link, Note),
    /// It has read everything there was, and waits; `true`: for the rest of a frame.
    InWaiting(Link, bool),
    /// It has read the end of file; `true`: inside of a frame.
    InEof(Link, bool),
    /// Reading failed; `true`: inside of a frame.
    InFailed(Link, bool),
    /// The network has taken the last byte of this from it.
    Out(Link, Note),
    /// The network takes nothing more for now.
    OutBlocked(Link),
    /// It takes something again.
    OutFlowing(Link),
    /// Writing failed.
    OutFailed(Link),
    /// The gateway has ended its side.
    OutEof(Link),
    /// The gateway has dropped the connection; `true`: inside of a frame that it was reading.
    Dropped(Link, bool),

    /// An application has a link to the gateway on this host.
    AppUp(AppLink, Host, Side, Host),
    /// It could not connect from the first host to the second.
    AppFailed(Host, Side, Host),
    /// The link has ended.
    AppDown(AppLink, LinkEnd),
    /// An application dials.
    AppDials(AppLink, u32),
    /// The dial was answered, or given up.
    AppDialEnds(AppLink, u32, DialEnd),
    /// An application has a virtual connection: its Conn ID, and whether it dialled.
    HalfUp(Half, AppLink, u32, bool),
    /// Its endpoint has taken a message.
    HalfSent(Half, u32, u64),
    /// It got a message.
    HalfGot(Half, u32, u64),
    /// It learned from a message whose end the other one is.
    HalfMet(Half, Half),
    /// It has ended.
    HalfDown(Half, HalfEnd),
    /// A probe of the last stage went through: from this host, by this gateway, to this server.
    Probed(Host, Host, u32),

    /// Somebody who uses many gateways does or sees something.
    Fleet(Member, FleetNote),
    /// What a client and a server say to each other over any of them goes on.
    Talk(Talk, TalkNote),
}

/// Something that happened, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Simulated time of the world in ms, at the resolution of its tick.
    pub at_ms: u32,
    /// The gateway's own clock in ms since it was started, which a pause of its host sets forward. 0 for other events.
    pub local_ms: u32,
    /// What it was.
    pub what: What,
}

/// Events of one world at most; the busiest ones have a tenth of it.
const MOST_EVENTS: usize = 20_000_000;

/// The growing history of one world. A clone writes to the same one.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    now_ms: u32,
    events: Vec<Event>,
    links: u32,
    app_links: u32,
    halves: u32,
    runs: u32,
    talks: u32,
}

impl History {
    /// Sets the clock of the world.
    pub fn set_now(&self, now_ms: u32) {
        self.0.lock().now_ms = now_ms;
    }

    /// The clock of the world, in ms.
    #[must_use]
    pub fn now_ms(&self) -> u32 {
        self.0.lock().now_ms
    }

    /// Writes down an event.
    pub fn note(&self, what: What) {
        self.note_local(0, what);
    }

    /// Writes down an event with the time of the clock of a gateway.
    pub fn note_local(&self, local_ms: u32, what: What) {
        let mut log = self.0.lock();
        let at_ms = log.now_ms;
        assert!(log.events.len() < MOST_EVENTS, "something turns in circles: more than {MOST_EVENTS} events");
        log.events.push(Event { at_ms, local_ms, what });
    }

    /// Takes all events.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().events)
    }

    pub(crate) fn next_run(&self) -> Run {
        let mut log = self.0.lock();
        log.runs += 1;
        Run(log.runs)
    }

    pub(crate) fn next_link(&self) -> Link {
        let mut log = self.0.lock();
        log.links += 1;
        Link(log.links)
    }

    pub(crate) fn next_app_link(&self) -> AppLink {
        let mut log = self.0.lock();
        log.app_links += 1;
        AppLink(log.app_links)
    }

    pub(crate) fn next_talk(&self) -> Talk {
        let mut log = self.0.lock();
        log.talks += 1;
        Talk(log.talks)
    }

    pub(crate) fn next_half(&self) -> Half {
        let mut log = self.0.lock();
        log.halves += 1;
        Half(log.halves)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { conn, len, hash } => write!(f, "#{conn} {len} bytes ({:04x})", hash & 0xffff),
            Self::Dial { remote } => write!(f, "Dial({remote})"),
            Self::Accept { conn, remote } => write!(f, "Accept(#{conn}, {remote})"),
            Self::Connect { conn, remote } => write!(f, "Connect(#{conn}, {remote})"),
            Self::Refuse { remote } => write!(f, "Refuse({remote})"),
            Self::Close { conn } => write!(f, "Close(#{conn})"),
            Self::Ping => f.write_str("Ping"),
            Self::Asks { wishes } => write!(f, "… asking for {wishes:#b}"),
            Self::Grants { granted, listed } => write!(f, "… granting {granted:#b}, with {listed} addresses"),
            Self::Told { conn, addr: Some(addr) } => write!(f, "… #{conn} comes from {addr}"),
            Self::Told { conn, addr: None } => write!(f, "… #{conn} comes from nowhere"),
            Self::BehindClose { set, window_ms: None } => {
                write!(f, "… asking for {set:#b}, without an answer")
            }
            Self::BehindClose { set, window_ms: Some(ms) } => {
                write!(f, "… giving notice of {set:#b} in {ms} ms")
            }
            Self::Extra => f.write_str("… with more bytes"),
            Self::Malformed => f.write_str("malformed"),
            Self::Challenge => f.write_str("challenge"),
            Self::Hello { id, valid: true } => write!(f, "Hello({id})"),
            Self::Hello { id, valid: false } => write!(f, "Hello({id}, wrong key)"),
        }
    }
}
