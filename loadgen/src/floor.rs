//! The floor: the least work that can forward the wire protocol with epoll on one thread. No limits, no checks, no keepalive,
//! no password; arrays for tables; one read and one write per ready socket and turn.
//!
//! A gateway that does its duty cannot do with much less: the ratio to the floor says how close it is to what is possible.
//! What is measured of this tool against the floor, is measured of the tool and the kernel. So this file is a yardstick:
//! plain enough to be read at a glance, and nothing in it may become cleverer by the way.
//!
//! Not for use: whoever connects can bring it down.

#![expect(
    clippy::disallowed_types,
    reason = "the yardstick has no layers: it uses the kernel's sockets themselves"
)]

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::{HEADER_BYTES, LENGTH_BYTES};
use fastway::handshake::{Challenge, Hello};
use fastway::id::{ConnId, RemoteId};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::listen;

use crate::limits::raise_files;
use crate::plan::Target;

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Events that one turn takes at most.
const EVENTS: usize = 512;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The places of the two listeners; peers come behind them.
const CLIENTS: u32 = 0;
const SERVERS: u32 = 1;

/// A server is found by so many of the last bits of its ID.
const SERVER_ID_MASK: u32 = 0xffff;

/// A gateway that does nothing that it need not.
#[derive(Debug)]
pub struct Floor {
    listeners: [TcpListener; 2],
    epoll: OwnedFd,
    /// By place: nobody at those of the listeners, and where somebody has gone. A client's place is its ID.
    peers: Vec<Option<Peer>>,
    /// Places by the last bits of the server's ID.
    servers: Vec<Option<u32>>,
    /// By Conn ID: the places of the client and of the server.
    conns: Vec<Option<(u32, u32)>>,
    /// Places of those that something waits for.
    dirty: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    /// It has not said its ID yet.
    NewServer,
    Server,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    kind: Kind,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// What waits to be sent; so much of it is sent already.
    out: Vec<u8>,
    sent: usize,
    is_dirty: bool,
    /// It is waited for that the socket takes more.
    is_full: bool,
}

impl Floor {
    /// Binds free ports of the loopback address, and raises the limit of open files as far as the process may.
    ///
    /// # Errors
    ///
    /// If there are no ports.
    pub fn bind() -> io::Result<Self> {
        raise_files();
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [bind()?, bind()?];
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (listener, place) in listeners.iter().zip([CLIENTS, SERVERS]) {
            // The standard library lets only 128 wait.
            listen(listener, BACKLOG)?;
            epoll::add(&epoll, listener, data(place), EventFlags::IN)?;
        }
        Ok(Self {
            listeners,
            epoll,
            peers: vec![None, None],
            servers: vec![None; SERVER_ID_MASK as usize + 1],
            conns: vec![None],
            dirty: Vec::new(),
        })
    }

    /// Binds, and serves on a thread of its own until the process ends. Where it listens.
    ///
    /// # Errors
    ///
    /// If there are no ports or no threads.
    #[expect(clippy::disallowed_methods, reason = "it has a thread of its own")]
    pub fn start() -> io::Result<Target> {
        let floor = Self::bind()?;
        let target = floor.target()?;
        std::thread::Builder::new().name("floor".to_owned()).spawn(|| floor.serve())?;
        Ok(target)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn target(&self) -> io::Result<Target> {
        let [clients, servers] = &self.listeners;
        Ok(Target {
            client_addr: clients.local_addr()?.to_string(),
            server_addr: servers.local_addr()?.to_string(),
        })
    }

    /// Serves on this thread for ever.
    ///
    /// In a process without another thread it costs least: there the kernel does not count who uses a file.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to wait, or to accept.
    pub fn serve(mut self) -> io::Result<Infallible> {
        let mut events = Vec::with_capacity(EVENTS);
        let mut scratch = vec![0; READ_BYTES];
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in &events {
                self.handle(*event, &mut scratch)?;
            }
            while let Some(place) = self.dirty.pop() {
                self.flush(place);
            }
        }
    }

    fn handle(&mut self, event: Event, scratch: &mut [u8]) -> io::Result<()> {
        let (flags, place) = (event.flags, event.data.u64() as u32);
        if place <= SERVERS {
            return self.accept(place);
        }
        if flags.contains(EventFlags::OUT) {
            self.flush(place);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(place, scratch);
        }
        Ok(())
    }

    fn accept(&mut self, listener: u32) -> io::Result<()> {
        let (stream, _) = self.listeners[listener as usize].accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let place = self.peers.len() as u32;
        epoll::add(&self.epoll, &stream, data(place), EventFlags::IN)?;
        let kind = if listener == CLIENTS { Kind::Client } else { Kind::NewServer };
        let (rest, out) = (Vec::new(), Vec::new());
        self.peers.push(Some(Peer { stream, kind, rest, out, sent: 0, is_dirty: false, is_full: false }));
        if kind == Kind::NewServer {
            self.push(place, &[0; Challenge::BYTES]);
        }
        Ok(())
    }

    /// One read, and all whole frames of it.
    fn read(&mut self, place: u32, scratch: &mut [u8]) {
        let Some(peer) = &mut self.peers[place as usize] else { return };
        let bytes = match peer.stream.read(scratch) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => return self.drop_peer(place),
            Ok(bytes) => &scratch[..bytes],
        };
        if peer.rest.is_empty() {
            let used = self.frames(place, bytes);
            self.keep(place, &bytes[used..]);
        } else {
            let mut joined = std::mem::take(&mut peer.rest);
            joined.extend_from_slice(bytes);
            let used = self.frames(place, &joined);
            joined.drain(..used);
            self.put_back(place, joined);
        }
    }

    fn keep(&mut self, place: u32, rest: &[u8]) {
        if let (false, Some(peer)) = (rest.is_empty(), &mut self.peers[place as usize]) {
            peer.rest.extend_from_slice(rest);
        }
    }

    fn put_back(&mut self, place: u32, rest: Vec<u8>) {
        if let Some(peer) = &mut self.peers[place as usize] {
            peer.rest = rest;
        }
    }

    /// Passes whole frames on. How many bytes they were.
    fn frames(&mut self, place: u32, bytes: &[u8]) -> usize {
        let Some(peer) = &mut self.peers[place as usize] else { return 0 };
        let mut used = 0;
        if peer.kind == Kind::NewServer {
            let Some(hello) = bytes.first_chunk::<{ Hello::BYTES }>() else { return 0 };
            peer.kind = Kind::Server;
            // The ID is the last of it; whether the proof is right, nobody asks.
            let id = u32_at(hello, Hello::BYTES - 4);
            self.servers[(id & SERVER_ID_MASK) as usize] = Some(place);
            used = Hello::BYTES;
        }
        let kind = peer.kind;
        while bytes.len() - used >= LENGTH_BYTES {
            let total = LENGTH_BYTES + u32_at(bytes, used) as usize;
            let Some(frame) = bytes.get(used..used + total) else { break };
            self.pass_on(place, kind, frame);
            used += total;
        }
        used
    }

    fn pass_on(&mut self, from: u32, kind: Kind, frame: &[u8]) {
        let conn = u32_at(frame, LENGTH_BYTES);
        if conn == 0 {
            return self.obey(from, kind, &frame[HEADER_BYTES..]);
        }
        if let Some(Some((client, server))) = self.conns.get(conn as usize) {
            self.push(if kind == Kind::Client { *server } else { *client }, frame);
        }
    }

    fn obey(&mut self, from: u32, kind: Kind, message: &[u8]) {
        match ToGateway::decode(message) {
            Ok(ToGateway::Dial { remote }) => self.dial(from, kind, remote),
            Ok(ToGateway::Close { conn: Some(conn) }) => self.close(conn),
            Ok(ToGateway::Ping) => self.push(from, ToEndpoint::Ping.encode().as_ref()),
            Ok(ToGateway::Close { conn: None }) | Err(_) => {}
        }
    }

    fn dial(&mut self, from: u32, kind: Kind, remote: RemoteId) {
        let dialled = match kind {
            Kind::Client => self.servers[(remote.get() & SERVER_ID_MASK) as usize],
            Kind::NewServer | Kind::Server => Some(remote.get()),
        };
        let is_there = |place: &u32| matches!(self.peers.get(*place as usize), Some(Some(_)));
        let conn = ConnId::new(self.conns.len() as u32);
        let (Some(dialled), Some(conn)) = (dialled.filter(is_there), conn) else {
            return self.push(from, ToEndpoint::Refuse { remote }.encode().as_ref());
        };
        self.conns.push(Some(if kind == Kind::Client { (from, dialled) } else { (dialled, from) }));
        self.push(from, ToEndpoint::Accept { conn, remote }.encode().as_ref());
        // Of a server that dials, the place is told instead of its ID: nobody asks.
        let remote = RemoteId::new(from);
        self.push(dialled, ToEndpoint::Connect { conn, remote }.encode().as_ref());
    }

    fn close(&mut self, conn: ConnId) {
        let Some((client, server)) = self.conns.get_mut(conn.get() as usize).and_then(Option::take) else {
            return;
        };
        for place in [client, server] {
            self.push(place, ToEndpoint::Close { conn: Some(conn) }.encode().as_ref());
        }
    }

    /// What is pushed in a turn is written at its end.
    fn push(&mut self, to: u32, bytes: &[u8]) {
        let Some(peer) = &mut self.peers[to as usize] else { return };
        peer.out.extend_from_slice(bytes);
        if !peer.is_dirty {
            peer.is_dirty = true;
            self.dirty.push(to);
        }
    }

    fn flush(&mut self, place: u32) {
        let Some(peer) = &mut self.peers[place as usize] else { return };
        peer.is_dirty = false;
        while peer.sent < peer.out.len() {
            match peer.stream.write(&peer.out[peer.sent..]) {
                Ok(bytes) => peer.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return peer.wait_for_room(true, place, &self.epoll);
                }
                // The next read drops it.
                Err(_) => break,
            }
        }
        peer.sent = 0;
        peer.out.clear();
        peer.wait_for_room(false, place, &self.epoll);
    }

    /// With its socket it leaves the epoll.
    fn drop_peer(&mut self, place: u32) {
        let Some(Peer { kind: Kind::Server, .. }) = self.peers[place as usize].take() else { return };
        for server in self.servers.iter_mut().filter(|server| **server == Some(place)) {
            *server = None;
        }
    }
}

impl Peer {
    fn wait_for_room(&mut self, is_full: bool, place: u32, epoll: &OwnedFd) {
        if std::mem::replace(&mut self.is_full, is_full) != is_full {
            let out = if is_full { EventFlags::OUT } else { EventFlags::empty() };
            // A socket that is registered can be registered otherwise.
            let _ = epoll::modify(epoll, &self.stream, data(place), EventFlags::IN | out);
        }
    }
}

fn data(place: u32) -> EventData {
    EventData::new_u64(place.into())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("these are four bytes"))
}
