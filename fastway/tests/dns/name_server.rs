//! A name server that knows what a test tells it, by hand-built answers (RFC 1035, RFC 2782).

#![expect(
    clippy::disallowed_types,
    reason = "the resolver uses sockets of the operating system, and so does its name server"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// Types of records.
const SRV: u16 = 33;
const SOA: u16 = 6;

const HEADER_BYTES: usize = 12;
/// What goes into a datagram.
const DATAGRAM_BYTES: usize = 1232;

const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// That the answer did not fit.
const TRUNCATED: u16 = 0x0200;

/// What is said about the SRV records of a name. What was not set does not exist.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These. There may be none.
    Records(Vec<Vec<u8>>),
    /// The name server is unwell.
    Failure,
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: AtomicUsize,
    asked_by_tcp: AtomicUsize,
    to_lose: AtomicUsize,
}

pub(crate) struct NameServer {
    addr: SocketAddr,
    state: Arc<State>,
    serving: JoinSet<()>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Somebody else may have the port's twin.
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let (addr, state) = (socket.local_addr().unwrap(), Arc::new(State::default()));
        let mut serving = JoinSet::new();
        serving.spawn(serve_udp(socket, state.clone()));
        serving.spawn(serve_tcp(listener, state.clone()));
        Self { addr, state, serving }
    }

    /// Nobody is at its address any more when this returns.
    pub(crate) async fn stop(mut self) {
        self.serving.shutdown().await;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn set(&self, name: &str, answer: Answer) {
        self.state.answers.lock().insert(name.to_owned(), answer);
    }

    /// Does not answer the next so many datagrams.
    pub(crate) fn lose(&self, datagrams: usize) {
        self.state.to_lose.store(datagrams, Ordering::Relaxed);
    }

    /// Datagrams so far.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn asked_by_tcp(&self) -> usize {
        self.state.asked_by_tcp.load(Ordering::Relaxed)
    }
}

/// The data of an SRV record.
pub(crate) fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    let weight = 0_u16;
    let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
    [numbers, encode_name(target)].concat()
}

fn encode_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; 4096];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        state.asked.fetch_add(1, Ordering::Relaxed);
        let left = state.to_lose.load(Ordering::Relaxed);
        state.to_lose.store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 0 {
            continue;
        }
        let query = &buffer[..len];
        let mut reply = reply(query, &state);
        if reply.len() > DATAGRAM_BYTES {
            reply = head(query, TRUNCATED, [0, 0]);
        }
        socket.send_to(&reply, from).await.unwrap();
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    let mut streams = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        streams.spawn(serve_stream(stream, state.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, state: Arc<State>) {
    while let Ok(len) = stream.read_u16().await {
        state.asked_by_tcp.fetch_add(1, Ordering::Relaxed);
        let mut query = vec![0; usize::from(len)];
        stream.read_exact(&mut query).await.unwrap();
        let reply = reply(&query, &state);
        let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
        stream.write_all(&framed).await.unwrap();
    }
}

fn reply(query: &[u8], state: &State) -> Vec<u8> {
    let (name, question) = read_question(query);
    assert_eq!(question[question.len() - 4..][..2], SRV.to_be_bytes(), "nothing else is asked for");
    let (code, records) = match state.answers.lock().get(&name) {
        Some(Answer::Records(records)) => (0, records.clone()),
        Some(Answer::Failure) => (SERVFAIL, Vec::new()),
        None => (NXDOMAIN, Vec::new()),
    };
    let is_negative = records.is_empty() && code != SERVFAIL;
    let mut wire = head(query, code, [records.len() as u16, u16::from(is_negative)]);
    for record in records {
        push_record(&mut wire, SRV, &record);
    }
    if is_negative {
        let numbers = [1_u32, 3600, 3600, 3600, 3600].map(u32::to_be_bytes).concat();
        push_record(&mut wire, SOA, &[encode_name("ns.test"), encode_name("root.test"), numbers].concat());
    }
    wire
}

/// A response to a question that wanted recursion, from one that offers it: how many records follow as answers, and how many
/// about who is in charge.
fn head(query: &[u8], flags: u16, [answers, authorities]: [u16; 2]) -> Vec<u8> {
    let numbers = [0x8180 | flags, 1, answers, authorities, 0].map(u16::to_be_bytes).concat();
    [&query[..2], &numbers, read_question(query).1].concat()
}

/// The name that is asked for, and the question as it came.
fn read_question(query: &[u8]) -> (String, &[u8]) {
    let (mut at, mut labels) = (HEADER_BYTES, Vec::new());
    while query[at] != 0 {
        let label = at + 1..at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[label.clone()].to_ascii_lowercase()).unwrap());
        at = label.end;
    }
    (labels.join("."), &query[HEADER_BYTES..at + 1 + 4])
}

/// A record of the name that was asked for.
fn push_record(wire: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let pointer_to_question = 0xc000 | HEADER_BYTES as u16;
    let (class_internet, ttl) = (1_u16, 3600_u32);
    for number in [pointer_to_question, kind, class_internet] {
        wire.extend(number.to_be_bytes());
    }
    wire.extend(ttl.to_be_bytes());
    wire.extend((data.len() as u16).to_be_bytes());
    wire.extend(data);
}
