//! What an input means: the limits of a gateway, and what its peers do, step by step.

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use fastway_fuzz::Bytes;
use fastway_gateway::{
    ClientConfig, Config, MemPoolConfig, MemPoolType, QueueLimits, ServerConfig, ServerKey, Threads,
};

pub(crate) const KEY: &[u8] = b"the key";

/// A whole input.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    pub(crate) limits: Limits,
    pub(crate) steps: Vec<Step<'a>>,
}

impl<'a> Arbitrary<'a> for Script<'a> {
    /// Steps until the bytes are used up. A `Vec` would ask for a byte before each whether it is to go on.
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (limits, mut steps) = (Limits::arbitrary(input)?, Vec::new());
        while !input.is_empty()
            && let Ok(step) = Step::arbitrary(input)
        {
            steps.push(step);
        }
        Ok(Self { limits, steps })
    }
}

/// Small ones, so that few steps reach them. Where a byte stands for a size, it is its square.
#[derive(Arbitrary, Debug)]
pub(crate) struct Limits {
    /// What a connection holds each way, in bytes.
    pipe: u8,
    max_packet: u8,
    client_queue: Queue,
    server_queue: Queue,
    client_conns: u8,
    buffers: u8,
    pool: u8,
    client_ping: u8,
    server_ping: u8,
    stall: u8,
    auth: u8,
    /// The gateway is stopped in the middle of it all, and serves nobody afterwards.
    pub(crate) stops_at_once: bool,
}

#[derive(Arbitrary, Debug)]
struct Queue {
    messages: u8,
    /// Above what the largest frame needs.
    bytes: u8,
}

impl Limits {
    pub(crate) fn pipe_bytes(&self) -> usize {
        16 + square(self.pipe)
    }

    pub(crate) fn config(&self) -> Config {
        let smallest = usize::try_from(MaxPacket::SMALLEST).expect("it is small");
        let max_packet = u32::try_from(smallest + square(self.max_packet)).expect("it is small");
        let max_packet = MaxPacket::new(max_packet).expect("it is above the smallest");
        let queue = |queue: &Queue| QueueLimits {
            messages: 1 + usize::from(queue.messages),
            bytes: max_packet.max_frame_bytes() + square(queue.bytes),
        };
        let pool_types = [MemPoolType::Sync, MemPoolType::Atom, MemPoolType::Chan];
        Config {
            client: ClientConfig {
                addr: "10.0.0.1:1".parse().expect("an address"),
                max_conn: 1 + usize::from(self.client_conns),
                buffer_bytes: square(self.buffers),
                keepalive: KeepaliveConfig::every(millis(self.client_ping)),
                queue: queue(&self.client_queue),
                ..ClientConfig::default()
            },
            server: ServerConfig {
                addr: "10.0.0.1:2".parse().expect("an address"),
                key: ServerKey::new(KEY),
                allow_no_auth: false,
                auth_timeout: millis(self.auth) + Duration::from_millis(1),
                buffer_bytes: square(self.buffers),
                keepalive: KeepaliveConfig::every(millis(self.server_ping)),
                queue: queue(&self.server_queue),
                stall_timeout: millis(self.stall) + Duration::from_millis(1),
                ..ServerConfig::default()
            },
            max_packet,
            reuse_port: false,
            threads: Threads::default(),
            mem_pool: MemPoolConfig {
                pool_type: pool_types[usize::from(self.pool) % pool_types.len()],
                factor: 2,
                min_chunk_bytes: 64,
                max_chunk_bytes: 2048,
                page_bytes: 4096,
            },
            ..Config::default()
        }
    }
}

/// One step of one peer, or of time. A peer is a number modulo how many there are.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A client connects.
    Client,
    /// A server connects, and names itself. If it does not prove that it is one, the next bytes are its answer.
    Server {
        id: u8,
        proves: bool,
    },
    /// Any bytes.
    Bytes {
        peer: u8,
        bytes: Bytes<'a>,
    },
    /// A frame. With connection 0 it is any command.
    Frame {
        peer: u8,
        conn: u8,
        message: Bytes<'a>,
    },
    /// Many frames with messages of this size.
    Frames {
        peer: u8,
        conn: u8,
        count: u8,
        message: u8,
    },
    /// Only the length of a frame.
    Length {
        peer: u8,
        length: u32,
    },
    Dial {
        peer: u8,
        remote: u8,
    },
    /// The peer asks for all extensions, as a server may.
    Ask {
        peer: u8,
    },
    Close {
        peer: u8,
        conn: u8,
    },
    Ping {
        peer: u8,
    },
    /// The peer sends so many bytes of what it has to send, and everybody has one turn.
    Send {
        peer: u8,
        bytes: u8,
    },
    /// All send what they have to send, and everybody has one turn.
    Turn,
    /// All send and hear until nothing moves any more.
    Settle,
    /// So many milliseconds pass, squared.
    Wait {
        millis: u8,
    },
    /// The peer stops reading, or reads again.
    Deafen {
        peer: u8,
    },
    /// The peer says that it will send nothing more.
    ShutDown {
        peer: u8,
    },
    /// The peer closes its connection. What was not sent is lost.
    Vanish {
        peer: u8,
    },
}

impl<'a> Arbitrary<'a> for Step<'a> {
    /// One byte says which step it is; what happens more often than other things has more numbers. A derived choice
    /// would take four bytes, most of which say nothing. Connections and remotes are among the first few, which exist
    /// now and then.
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let mut byte = || input.arbitrary::<u8>();
        let (step, peer) = (byte()? % 24, byte()?);
        Ok(match step {
            0 => Self::Client,
            1 => Self::Server { id: peer % 4, proves: peer >= 32 },
            2 => Self::Bytes { peer, bytes: input.arbitrary()? },
            3..=6 => Self::Frame { peer, conn: byte()? % 8, message: input.arbitrary()? },
            7 | 8 => Self::Frames { peer, conn: byte()? % 8, count: byte()?, message: byte()? },
            9 => Self::Length { peer, length: input.arbitrary()? },
            10..=12 => match byte()? {
                240.. => Self::Ask { peer },
                remote => Self::Dial { peer, remote: remote % 8 },
            },
            13 | 14 => Self::Close { peer, conn: byte()? % 8 },
            15 => Self::Ping { peer },
            16 => Self::Send { peer, bytes: byte()? },
            17 => Self::Turn,
            18 | 19 => Self::Settle,
            20 => Self::Wait { millis: peer },
            21 => Self::Deafen { peer },
            22 => Self::ShutDown { peer },
            _ => Self::Vanish { peer },
        })
    }
}

pub(crate) fn square(number: u8) -> usize {
    usize::from(number) * usize::from(number)
}

pub(crate) fn millis(number: u8) -> Duration {
    Duration::from_millis(u64::from(number) * u64::from(number))
}
