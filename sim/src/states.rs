//! Interesting states: what a sweep has to reach now and then, or it proves little.
//!
//! The oracle marks them as it reads histories. A sweep counts in how many worlds each was reached.

use std::fmt;

macro_rules! states {
    ($($name:ident: $text:literal,)+) => {
        /// One interesting state of a world.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum State {
            $(#[doc = $text] $name,)+
        }

        impl State {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }

        impl fmt::Display for State {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

states! {
    ClientDials: "a client's dial was accepted",
    ServerDials: "a server's dial was accepted",
    GroupDialled: "a client's dial of a group was accepted",
    RefusedNobody: "a dial to nobody was refused",
    RefusedQuota: "a dial beyond the client's quota was refused",
    EmptyMessage: "an empty message was forwarded",
    LargestMessage: "a message of the largest size was forwarded",
    LateMessage: "a message on a connection closed before was answered by Close",
    ForeignMessage: "a message on somebody else's connection was answered by Close",
    ClosedByBoth: "both ends closed a connection before either was told",
    ClosedWithQueue: "a connection was closed while messages were queued behind each other",
    SlowClient: "a slow client was cut off",
    HeldBack: "a client was held back by a full server",
    HeldClientEnds: "a client ended while it was held back",
    StalledServer: "a stalled server was closed",
    StalledClient: "a stalled client was closed",
    UnfinishedFrame: "a frame that did not become whole ended a session",
    Takeover: "a server ID was taken over",
    TakeoverWithConns: "a server with open connections was taken over",
    TakeoverWhileDialled: "a server was taken over while a dial to it was under way",
    Asked: "a silent peer was pinged",
    Answered: "a silent peer answered",
    Echoed: "a peer's ping was echoed",
    SilentClient: "a silent client was given up",
    SilentServer: "a silent server was given up",
    SilentMidFrame: "a peer fell silent inside a frame",
    EofMidFrame: "a connection ended inside a frame",
    ResetMidFrame: "a connection was reset inside a frame",
    Malformed: "a malformed frame ended a session",
    MalformedWithConns: "a malformed frame ended a session with open connections",
    WrongKey: "a server with a wrong key was turned away",
    HandshakeTimeout: "a handshake took too long",
    StopWithConns: "a gateway was stopped while connections were open",
    StopWithQueue: "a gateway was stopped while messages were queued",
    KilledWithConns: "a gateway was killed while connections were open",
    EndpointSilent: "an endpoint gave up a silent gateway",
    EndpointSlow: "an endpoint closed a connection that was not received from",
    DialTimeout: "a dial timed out at the endpoint",
    LateAccept: "a connection that nobody wanted any more was closed by its dialler",
    ManyClients: "more than a hundred clients were connected to one gateway",
    ManyGateways: "a server had links to three gateways or more",
    ConnectFailed: "an endpoint could not connect",
    ClockJump: "the clock of a gateway's host jumped",
    Granted: "a server asked for the addresses of its clients",
    GrantedLate: "a client had dialled before the gateway knew that the server asks",
    NoticeAsked: "an endpoint asked for a notice when its gateway drains",
    NoticeGiven: "an endpoint was given notice that its gateway drains",
    NoticeWhileDraining: "an endpoint asked for a notice while its gateway drained",
    Storm: "thirty clients connected to a gateway within a second",
    Renewed: "a connection was renewed",
    RenewedTwice: "a connection was renewed twice",
    Interrupted: "a message was not taken between two connections, and then was",
    Moved: "a client moved to another gateway",
    MovedByDrain: "a client moved because its gateway was to stop, and drained",
    KilledWhileMovedTo: "a gateway was killed while a client moved to it",
    AllDown: "all gateways were down at once",
    ServerKilled: "a server was killed while clients talked to it",
    RefusedAtOne: "a dial was refused at one gateway while the server was linked to another",
    Interruption: "a client was without service for as long as its cause excuses",
    Herd: "fifty clients lost their gateway at once",
    NobodyTried: "an address where nobody is was tried",
    LeftWithoutGateway: "a client that had been served turned to an address where nobody is",
    SetShrank: "a gateway left the set",
    NamesFailed: "the name service failed, or said nothing of use",
    PatienceOver: "a client found no gateway for all its patience",
    DialFailed: "a dial failed for good",
    TurnedAway: "a client turned to another gateway because its own refused a server",
    ServedByOld: "a client that had turned away was still served through its old gateway",
    ClientToldOfDrain: "a client of many gateways was told that its gateway drains",
    ServerToldOfDrain: "a server of many gateways was told that a gateway drains",
    CalledBack: "a server called a client back through its gateway",
}

impl State {
    /// Whether only worlds of [many gateways](crate::failover) can reach it.
    #[must_use]
    pub fn is_of_failover(self) -> bool {
        (Self::Renewed..=Self::CalledBack).contains(&self)
    }
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(u128);

const _: () = assert!(State::ALL.len() <= 128, "a set of states has 128 bits");

impl States {
    /// Adds one.
    pub fn reach(&mut self, state: State) {
        self.0 |= 1 << state as u64;
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(self, state: State) -> bool {
        self.0 & (1 << state as u64) != 0
    }
}
