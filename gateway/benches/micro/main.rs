//! What single steps of a message's way cost, without a kernel: decoding, routing, the send queue, the pool.
//!
//! ```sh
//! cargo bench -p fastway-gateway --bench micro
//! ```
//!
//! The steps are private to the gateway. Their files are part of this program too, so that nothing has to be public for it.

#![expect(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "files of the library are used here in part, without their tests"
)]

#[path = "../../src/access_log.rs"]
mod access_log;
#[path = "../../src/admission.rs"]
mod admission;
#[path = "../../src/alarm.rs"]
mod alarm;
#[path = "../../src/batch.rs"]
mod batch;
#[path = "../../src/budget.rs"]
mod budget;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/conn.rs"]
mod conn;
#[path = "../../src/dispatch.rs"]
mod dispatch;
#[path = "../../src/groups.rs"]
mod groups;
#[path = "../../src/log_limit.rs"]
mod log_limit;
#[path = "../../src/mailbox.rs"]
mod mailbox;
#[path = "../../src/members.rs"]
mod members;
#[path = "../../src/outbox/mod.rs"]
mod outbox;
#[path = "../../src/pool.rs"]
mod pool;
#[path = "../../src/rate.rs"]
mod rate;
#[path = "../../src/refusal.rs"]
mod refusal;
#[path = "../../src/router.rs"]
mod router;
#[path = "../../src/session/mod.rs"]
mod session;
#[path = "../../src/size.rs"]
mod size;
#[path = "../../src/stats/mod.rs"]
mod stats;
#[path = "../../src/sync.rs"]
mod sync;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use fastway::buffers::Buffers as _;
use fastway::frame::{MaxPacket, encode};
use fastway::id::{ConnId, RemoteId, ServerId, Side};
use fastway::reader::SCRATCH_BYTES;
use fastway::run::split_run;
use tokio::time::Instant;

use crate::alarm::{Alarms, Grain};
use crate::batch::Batch;
use crate::budget::{Account, Budget};
use crate::clock::Clock;
use crate::config::{Config, MemPoolConfig, MemPoolType};
use crate::dispatch::Dispatch;
use crate::outbox::{News, Outbox, OutboxConfig};
use crate::pool::Pool;
use crate::router::{Dialled, Router};
use crate::session::SessionConfig;
use crate::stats::Tally;

/// Messages of the bench are so long.
const MESSAGE: [u8; 64] = [7; 64];

/// Virtual connections of the client.
const CONNS: u32 = 16;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode(&mut criterion);
    route(&mut criterion);
    queue(&mut criterion);
    buffers(&mut criterion);
    dials(&mut criterion);
    criterion.final_summary();
}

/// A full scratch buffer, as one read brings it: so many messages of one connection one behind the other, then of the next.
fn wire(in_a_row: usize) -> (Vec<u8>, u64) {
    let mut wire = Vec::new();
    let mut messages = 0;
    for conn in (1..=CONNS).cycle() {
        for _ in 0..in_a_row {
            encode(ConnId::new(conn).expect("it is not 0"), &MESSAGE, &mut wire);
            messages += 1;
        }
        if wire.len() > SCRATCH_BYTES - in_a_row * 72 {
            break;
        }
    }
    (wire, messages)
}

/// Finding frames, and those that belong together.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode, each message");
    for in_a_row in [1, 16] {
        let (wire, messages) = wire(in_a_row);
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("in a row", in_a_row), |bencher| {
            bencher.iter(|| {
                let mut rest = &wire[..];
                while let Ok(Some((run, behind))) = split_run(black_box(rest), MaxPacket::default()) {
                    black_box(run.frames());
                    rest = behind;
                }
            });
        });
    }
}

/// What makes the queues of either side.
fn outboxes(config: &Config) -> impl Fn(Side) -> OutboxConfig {
    let pool = Pool::new(config.mem_pool);
    let account = Account::new(Arc::new(Budget::new(0, 1)), 0);
    move |side| {
        let tally = Tally::new(Arc::default(), side, Clock::new(Instant::now()));
        OutboxConfig::new(config, side, pool.clone(), Arc::default(), account.clone(), tally)
    }
}

/// As a session writes, but to nowhere.
fn write(outbox: &Outbox, batch: &mut Batch, news: impl FnMut(News)) {
    outbox.collect(Some(batch), news);
    while !batch.is_empty() {
        let bytes = black_box(batch.unwritten()).len();
        let messages = batch.advance(bytes, outbox.pool());
        outbox.wrote(batch, messages);
    }
}

/// A client with connections to one server.
struct Joined {
    dispatch: Dispatch,
    server: Arc<Outbox>,
    batch: Batch,
}

impl Joined {
    fn new() -> Self {
        let config = Config::default();
        let outbox = outboxes(&config);
        let router = Arc::new(Router::new(0));
        let server = router.register_server(ServerId::new(1), &Arc::new(outbox(Side::Server)), None);
        let client = router.register_client(&Arc::new(outbox(Side::Client)), None);
        let (client, server) = client.ok().zip(server).expect("the router has not stopped");
        for _ in 0..CONNS {
            assert_eq!(router.dial(&client, RemoteId::new(1)), Dialled::Open);
        }
        let alarms = Arc::new(Alarms::new(Grain::of(&config)));
        let session = SessionConfig::new(
            &config,
            Side::Client,
            router,
            Arc::default(),
            alarms,
            outbox(Side::Client),
            Arc::default(),
        );
        let mut dispatch = Dispatch::new(client, Arc::new(session), Instant::now());
        assert!(dispatch.collect(None).is_none());
        let mut joined = Self { dispatch, server, batch: Batch::default() };
        joined.write();
        joined
    }

    fn write(&mut self) {
        write(&self.server, &mut self.batch, |_| ());
    }

    fn read(&mut self, wire: &[u8]) {
        let mut rest = wire;
        while let Ok(Some((mut run, behind))) = split_run(rest, MaxPacket::default()) {
            assert!(self.dispatch.handle(&mut run).is_ok());
            rest = behind;
        }
    }
}

/// From the scratch buffer of the client's session to the point where the server's would call `write`, and after it.
fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode, route, queue, each message");
    for in_a_row in [1, 16] {
        let (wire, messages) = wire(in_a_row);
        let mut joined = Joined::new();
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("in a row", in_a_row), |bencher| {
            bencher.iter(|| {
                joined.read(&wire);
                joined.write();
            });
        });
    }
}

/// So many messages go in one by one, and out in one go.
fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue, each turn");
    for messages in [1, 16, 256] {
        let (wire, _) = wire(1);
        let wire = &wire[..messages * 72];
        let mut joined = Joined::new();
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("messages", messages), |bencher| {
            bencher.iter(|| {
                joined.read(wire);
                joined.write();
            });
        });
    }
}

/// Taking a buffer and giving it back.
fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool, each buffer");
    let mut bench = |name: &str, pool: Option<Pool>| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut buffer = Vec::new();
                match &pool {
                    Some(pool) => pool.grow(&mut buffer, 128),
                    None => buffer.reserve_exact(128),
                }
                let buffer = black_box(buffer);
                match &pool {
                    Some(pool) => pool.give(buffer),
                    None => drop(buffer),
                }
            });
        });
    };
    bench("the allocator", None);
    for (name, pool_type) in
        [("sync", MemPoolType::Sync), ("atom", MemPoolType::Atom), ("chan", MemPoolType::Chan)]
    {
        bench(name, Some(Pool::new(MemPoolConfig { pool_type, ..MemPoolConfig::default() })));
    }
}

/// A dial of 1000 and its close: where that is a server, and where it is a group with so many members.
fn dials(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dial and close");
    let mut bench = |name: BenchmarkId, servers: std::ops::Range<u32>, groups: &[&str]| {
        let config = Config::default();
        let (outbox, router) = (outboxes(&config), Router::new(0));
        router.set_groups(&groups.iter().filter_map(|group| group.parse().ok()).collect::<Vec<_>>());
        let of_servers = Arc::new(outbox(Side::Server));
        for id in servers {
            router.register_server(ServerId::new(id), &of_servers, None).expect("the router has not stopped");
        }
        let peer = Some(SocketAddr::from(([192, 0, 2, 1], 1)));
        let client = router.register_client(&Arc::new(outbox(Side::Client)), peer);
        let client = client.expect("the router has not stopped");
        let mut batch = Batch::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                assert_eq!(router.dial(&client, RemoteId::new(1000)), Dialled::Open);
                let mut opened = None;
                write(&client, &mut batch, |news| match news {
                    News::Opened(conn) | News::Closed(conn) => opened = Some(conn),
                });
                let conn = opened.expect("the dialler is told");
                conn.close();
                write(conn.outbox(Side::Server), &mut batch, drop);
                write(&client, &mut batch, drop);
            });
        });
    };
    bench(BenchmarkId::new("a server", 1), 1000..1001, &[]);
    for policy in ["least", "client"] {
        for members in [1, 10, 100, 1000] {
            let group = format!("1000=10001-20000:{policy}");
            bench(BenchmarkId::new(policy, members), 10_001..10_001 + members, &[&group]);
        }
    }
}
