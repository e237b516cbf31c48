//! Clients and servers that only speak commands, any number of them on one thread, and next to no work between two of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::{MaxPacket, Split, split};
use fastway::handshake::Challenge;
use fastway::id::ServerId;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::interrupt;

/// Physical connections to one gateway.
pub(crate) struct Peers {
    epoll: OwnedFd,
    links: Vec<Link>,
    events: Vec<Event>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
}

impl Peers {
    /// Nobody yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, links: Vec::new(), events: Vec::with_capacity(512), scratch: vec![0; 64 * 1024] })
    }

    /// Connects a client. Its number, from 0 in the order of connecting, servers included.
    pub(crate) fn client(&mut self, addr: &str) -> anyhow::Result<usize> {
        let stream = TcpStream::connect(addr)
            .with_context(|| format!("connection {} to {addr} failed", self.links.len() + 1))?;
        self.add(stream)
    }

    /// Connects a server that registers with this ID; the password is empty. Its number.
    pub(crate) fn server(&mut self, addr: &str, id: u32) -> anyhow::Result<usize> {
        let mut stream =
            TcpStream::connect(addr).with_context(|| format!("no server can connect to {addr}"))?;
        let mut challenge = Challenge([0; Challenge::BYTES]);
        stream.read_exact(&mut challenge.0).context("the gateway sent no challenge")?;
        stream.write_all(&challenge.answer(b"", ServerId::new(id)).encode())?;
        self.add(stream)
    }

    fn add(&mut self, stream: TcpStream) -> anyhow::Result<usize> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let number = self.links.len();
        epoll::add(&self.epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
        self.links.push(Link { stream, rest: Vec::new() });
        Ok(number)
    }

    /// Sends commands, whole frames. They are so few that the socket takes them at once.
    pub(crate) fn send(&mut self, number: usize, frames: &[u8]) -> anyhow::Result<()> {
        self.links[number].stream.write_all(frames).context("the gateway takes no commands any more")
    }

    /// Waits for commands, no longer than this, and handles those that are there: `answer` appends frames to what is sent
    /// back. Pings are answered here.
    pub(crate) fn turn(
        &mut self,
        patience: Duration,
        mut answer: impl FnMut(usize, ToEndpoint, &mut Vec<u8>),
    ) -> anyhow::Result<()> {
        interrupt::check()?;
        self.events.clear();
        let patience = Timespec::try_from(patience)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut out = Vec::new();
        for event in &self.events {
            let number = event.data.u64() as usize;
            let link = &mut self.links[number];
            link.read(&mut self.scratch, &mut out, |command, out| answer(number, command, out))
                .with_context(|| format!("connection {}", number + 1))?;
            link.stream.write_all(&out).context("the gateway takes no commands any more")?;
            out.clear();
        }
        Ok(())
    }
}

impl Link {
    /// One read, and all whole frames of it.
    fn read(
        &mut self,
        scratch: &mut [u8],
        out: &mut Vec<u8>,
        mut answer: impl FnMut(ToEndpoint, &mut Vec<u8>),
    ) -> anyhow::Result<()> {
        match self.stream.read(scratch) {
            Ok(0) => bail!("the gateway closed it"),
            Ok(bytes) => self.rest.extend_from_slice(&scratch[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut rest = self.rest.as_slice();
        while let Split::Frame(frame, behind) = split(rest, MaxPacket::default())? {
            rest = behind;
            if frame.conn().is_some() {
                continue;
            }
            match ToEndpoint::decode(frame.message())? {
                ToEndpoint::Ping => out.extend_from_slice(ToGateway::Ping.encode().as_ref()),
                command => answer(command, out),
            }
        }
        let used = self.rest.len() - rest.len();
        self.rest.drain(..used);
        Ok(())
    }
}
