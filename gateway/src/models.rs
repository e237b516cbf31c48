//! Models of what the threads of one gateway share: each test runs under every order in which its threads can take their
//! steps, and with every value that a relaxed load may bring, by loom. `docs/concurrency.md` says what they prove, what
//! they do not, and how they were seen to fail.
//!
//! ```sh
//! .ci/models
//! ```
//!
//! What runs is the code of production, from the dispatch of a frame down: only a session's socket, its clock, and the
//! runtime that polls it are stand-ins ([`Session`], [`Task`]).

mod addresses;
mod buffers;
mod debts;
mod groups;
mod lives;
mod locks;
mod notices;
mod room;
mod wakes;

use std::sync::Arc;
use std::task::{Wake, Waker};

use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::{Split, encode, split};
use fastway::id::{ConnId, RemoteId, ServerId, Side};
use fastway::reader::Flow;
use fastway::run::{Run, split_run};
use loom::sync::Notify;
use loom::thread::JoinHandle;
use tokio::time::Instant;

use crate::alarm::{Alarms, Grain};
use crate::batch::Batch;
use crate::budget::{Account, Budget};
use crate::config::{Config, MemPoolConfig, MemPoolType, QueueLimits};
use crate::conn::{Conn, ConnIds};
use crate::dispatch::Dispatch;
use crate::mailbox::Mailbox;
use crate::outbox::{Cut, Outbox, OutboxConfig, Owner, Push};
use crate::pool::Pool;
use crate::router::Router;
use crate::session::SessionConfig;
use crate::stats::Tally;

/// Room for everything.
const AMPLE: QueueLimits = QueueLimits { messages: 100, bytes: 10_000 };

/// The only server of most models.
const SERVER: ServerId = ServerId::new(5);

/// Tries every order of the threads' steps.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    check(loom::model::Builder::new(), model);
}

/// Tries every order in which a thread that could go on is interrupted so often at most: where there are too many others.
fn explore_up_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    check(builder, model);
}

fn check(mut builder: loom::model::Builder, model: impl Fn() + Send + Sync + 'static) {
    builder.max_branches = 10_000;
    builder.check(model);
}

fn spawn<T: 'static>(thread: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    loom::thread::spawn(thread)
}

/// A task and the thread that polls it. As with tokio, a wake happens before the turn that it causes, and several may
/// cause one. loom adds a turn without a wake here and there, as sockets and clocks do.
struct Task(Notify);

impl Task {
    fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }

    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }

    /// Until it is woken. If nobody does so any more, the model fails.
    fn sleep(&self) {
        self.0.wait();
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// What the queues of one side and shard have in common. Their buffers come from the allocator: the pool has models of its
/// own, and its locks would only multiply the orders here.
fn outbox_config(limits: QueueLimits, mailbox: &Arc<Mailbox>) -> OutboxConfig {
    let mem_pool = MemPoolConfig {
        pool_type: MemPoolType::Atom,
        factor: 2,
        min_chunk_bytes: 1,
        max_chunk_bytes: 1,
        page_bytes: 1,
    };
    let account = Account::new(Arc::new(Budget::new(0, 1)), 0);
    let (pool, mailbox, tally) = (Pool::new(mem_pool), mailbox.clone(), Tally::of_nobody(Side::Client).0);
    OutboxConfig { limits, buffer_bytes: 0, pool, mailbox, account, tally }
}

/// An outbox that is in no router.
fn outbox(owner: Owner, limits: QueueLimits, mailbox: &Arc<Mailbox>) -> Arc<Outbox> {
    Arc::new(Outbox::new(owner, Arc::new(outbox_config(limits, mailbox)), None))
}

fn client_outbox(number: u32, limits: QueueLimits, mailbox: &Arc<Mailbox>) -> Arc<Outbox> {
    let id = RemoteId::new(number).client().expect("client numbers begin at 1");
    outbox(Owner::Client(id), limits, mailbox)
}

fn server_outbox(limits: QueueLimits, mailbox: &Arc<Mailbox>) -> Arc<Outbox> {
    outbox(Owner::Server(SERVER), limits, mailbox)
}

/// The bytes of one message of one byte.
const MESSAGE_BYTES: usize = 9;

/// What a peer sends: messages of one byte each, from `first` on.
fn messages(conn: ConnId, first: u8, count: u8) -> Vec<u8> {
    let mut wire = Vec::new();
    (first..first + count).for_each(|message| encode(conn, &[message], &mut wire));
    wire
}

fn run_of(wire: &[u8]) -> Run<'_> {
    let (run, rest) = split_run(wire, Config::default().max_packet).unwrap().unwrap();
    assert!(rest.is_empty());
    run
}

/// What a peer was told, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Command(ToEndpoint),
    Message(ConnId, u8),
}

impl Heard {
    fn all_of(mut wire: &[u8]) -> Vec<Self> {
        let mut heard = Vec::new();
        while let Split::Frame(frame, rest) = split(wire, Config::default().max_packet).unwrap() {
            wire = rest;
            heard.push(match frame.conn() {
                None => Self::Command(ToEndpoint::decode(frame.message()).unwrap()),
                Some(conn) => Self::Message(conn, frame.message()[0]),
            });
        }
        heard
    }

    fn opens(self) -> Option<ConnId> {
        match self {
            Self::Command(ToEndpoint::Accept { conn, .. } | ToEndpoint::Connect { conn, .. }) => Some(conn),
            _ => None,
        }
    }

    fn closes(self) -> Option<ConnId> {
        match self {
            Self::Command(ToEndpoint::Close { conn }) => conn,
            _ => None,
        }
    }

    fn refuses(self) -> bool {
        matches!(self, Self::Command(ToEndpoint::Refuse { .. }))
    }
}

/// A session without a socket, a clock and a runtime: its peer takes everything that is written.
struct Session {
    dispatch: Dispatch,
    batch: Batch,
    task: Arc<Task>,
    /// What was written.
    wire: Vec<u8>,
}

impl Session {
    fn new(router: &Arc<Router>, outbox: Arc<Outbox>) -> Self {
        let config = Config::default();
        let alarms = Arc::new(Alarms::new(Grain::of(&config)));
        // Of the outboxes that are made of it, there are none.
        let unused = outbox_config(AMPLE, &Arc::default());
        let (side, router) = (outbox.owner().side(), router.clone());
        let config =
            SessionConfig::new(&config, side, router, Arc::default(), alarms, unused, Arc::default());
        let (task, dispatch) = (Task::new(), Dispatch::new(outbox, config.into(), Instant::now()));
        dispatch.outbox().woken_by(&task.waker());
        Self { dispatch, batch: Batch::default(), task, wire: Vec::new() }
    }

    fn client(router: &Arc<Router>, mailbox: &Arc<Mailbox>) -> Self {
        let outbox = router.register_client(&Arc::new(outbox_config(AMPLE, mailbox)), None).unwrap();
        Self::new(router, outbox)
    }

    fn server(router: &Arc<Router>, mailbox: &Arc<Mailbox>) -> Self {
        Self::server_with(SERVER, router, mailbox)
    }

    fn server_with(id: ServerId, router: &Arc<Router>, mailbox: &Arc<Mailbox>) -> Self {
        let outbox = router.register_server(id, &Arc::new(outbox_config(AMPLE, mailbox)), None).unwrap();
        Self::new(router, outbox)
    }

    /// Collects and writes until there is nothing more, as a turn of the real one.
    fn turn(&mut self) -> Option<Cut> {
        loop {
            let cut = self.dispatch.collect(Some(&mut self.batch));
            if self.batch.is_empty() {
                self.dispatch.outbox().announce();
                return cut;
            }
            self.write();
        }
    }

    fn write(&mut self) {
        let Self { dispatch, batch, wire, .. } = self;
        write_all(dispatch.outbox(), batch, wire);
    }

    /// Turns, with sleep between them, until the peer was told enough.
    fn turn_until(&mut self, is_enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        loop {
            self.turn();
            let heard = self.heard();
            if is_enough(&heard) {
                return heard;
            }
            self.task.sleep();
        }
    }

    fn heard(&self) -> Vec<Heard> {
        Heard::all_of(&self.wire)
    }

    /// The peer sends these frames, one run.
    fn receive(&mut self, wire: &[u8]) -> Flow {
        self.dispatch.handle(&mut run_of(wire)).unwrap()
    }

    fn receive_command(&mut self, command: ToGateway) {
        assert_eq!(self.receive(command.encode().as_ref()), Flow::Next);
    }

    fn dial(&mut self, remote: impl Into<RemoteId>) {
        self.receive_command(ToGateway::Dial { remote: remote.into() });
    }

    /// The session ends. All that its peer was told.
    fn end(mut self) -> Vec<Heard> {
        self.dispatch.outbox().announce();
        self.dispatch.leave(&mut self.batch);
        while self.dispatch.close_some(1) {}
        self.write();
        self.heard()
    }
}

fn write_all(outbox: &Outbox, batch: &mut Batch, wire: &mut Vec<u8>) {
    while !batch.is_empty() {
        write_some(outbox, batch, wire, usize::MAX);
    }
}

/// One write, of so many bytes at most.
fn write_some(outbox: &Outbox, batch: &mut Batch, wire: &mut Vec<u8>, bytes: usize) {
    let unwritten = batch.unwritten();
    let written = unwritten.len().min(bytes);
    wire.extend_from_slice(&unwritten[..written]);
    let messages = batch.advance(written, outbox.pool());
    outbox.wrote(batch, messages);
}

/// A connection that has been opened at these ends, and that their owners and peers know of.
fn conn_open_at(ids: &Arc<ConnIds>, [client, server]: [&Arc<Outbox>; 2], ends: &[&Arc<Outbox>]) -> Arc<Conn> {
    let conn = Conn::new(ids, client, server);
    for end in ends {
        assert!(end.open(&conn, ToEndpoint::Accept { conn: conn.id(), remote: RemoteId::new(1) }));
        let mut batch = Batch::default();
        end.collect(Some(&mut batch), |_| ());
        write_all(end, &mut batch, &mut Vec::new());
    }
    conn
}

/// A client joined with the server, and the connection's number, which is the first.
fn joined(router: &Arc<Router>, mailboxes: [&Arc<Mailbox>; 2]) -> (Session, Session, ConnId) {
    let [here, there] = mailboxes;
    let (mut client, mut server) = (Session::client(router, here), Session::server(router, there));
    client.dial(SERVER);
    (client.turn(), server.turn());
    let conn = client.heard()[0].opens().unwrap();
    (client, server, conn)
}

/// An owner that collects, and then does something with what it has.
fn own(outbox: &Arc<Outbox>, mut is_done: impl FnMut(&mut Batch, Option<Cut>) -> bool) {
    let task = Task::new();
    outbox.woken_by(&task.waker());
    let mut batch = Batch::default();
    loop {
        let cut = outbox.collect(Some(&mut batch), |_| ());
        if is_done(&mut batch, cut) {
            return;
        }
        if batch.is_empty() {
            task.sleep();
        }
    }
}
