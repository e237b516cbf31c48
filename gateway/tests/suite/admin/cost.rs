//! What it costs to be watched, in figures. They take a minute and depend on the machine, so they are printed when they are
//! asked for:
//!
//! ```sh
//! cargo test -p fastway-gateway --test suite -- --ignored --nocapture admin::cost
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "who asks is a thread of its own, and figures are for people"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastway::keepalive::KeepaliveConfig;
use fastway::net::{MemoryNetwork, MemoryStream, TcpNetwork};
use fastway_gateway::admin::{Admin, AdminConfig, RunningAdmin};

use super::{Recorder, config};
use crate::support::{Raw, TestGateway, wire};

/// How long each row is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// A gateway in memory, since so many sessions need more files than a process may open; its admin server is on a real port.
struct Crowd {
    gateway: TestGateway<MemoryNetwork>,
    admin_addr: SocketAddr,
    clients: Vec<Raw<MemoryStream>>,
    _admin: RunningAdmin,
}

impl Crowd {
    async fn start() -> Self {
        let mut config = config();
        config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
        config.server.keepalive = KeepaliveConfig::ANSWER_ONLY;
        let admin = AdminConfig::new("127.0.0.1:0".parse().unwrap());
        let admin = Admin::bind(&TcpNetwork::new(), admin).await.unwrap();
        let admin_addr = admin.addr();
        let (gateway, admin) = TestGateway::start_beside(MemoryNetwork::new(), config, async |gateway| {
            admin.start(gateway, Recorder::default()).unwrap()
        })
        .await;
        Self { gateway, admin_addr, clients: Vec::new(), _admin: admin }
    }

    async fn grow_to(&mut self, count: usize) {
        while self.clients.len() < count {
            self.clients.push(self.gateway.client().await);
        }
        // One pair more talks.
        self.gateway.until("all are there", |counts| counts.clients == count + 1).await;
    }
}

/// One message after the other, there and back.
struct Talk {
    client: Raw<MemoryStream>,
    server: Raw<MemoryStream>,
    message: Vec<u8>,
}

impl Talk {
    async fn start(gateway: &TestGateway<MemoryNetwork>) -> Self {
        let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
        let message = wire::data(client.open(7, &mut server).await, &[1; 64]);
        Self { client, server, message }
    }

    /// How many round trips, and how long the longest took.
    async fn until(&mut self, is_over: impl Fn() -> bool) -> (usize, Duration) {
        let (mut trips, mut longest) = (0, Duration::ZERO);
        while !is_over() {
            let begun = Instant::now();
            self.client.send(&self.message).await;
            self.server.expect(&self.message).await;
            self.server.send(&self.message).await;
            self.client.expect(&self.message).await;
            longest = longest.max(begun.elapsed());
            trips += 1;
        }
        (trips, longest)
    }
}

fn fetch(addr: SocketAddr, path: &str) -> (usize, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    (answer.len(), begun.elapsed())
}

/// Time on a core of the admin server's thread.
fn admin_cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let admin = tasks
        .into_iter()
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "fastway-admin"));
    let times = fs::read_to_string(admin.expect("it runs").join("schedstat")).unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

/// A scrape and a status a second, as from Prometheus and from an open page.
fn watch(addr: SocketAddr) -> (Arc<AtomicBool>, thread::JoinHandle<f64>) {
    let over = Arc::new(AtomicBool::new(false));
    let told = over.clone();
    let watching = thread::spawn(move || {
        let (begun, before) = (Instant::now(), admin_cpu());
        while begun.elapsed() < WATCHED {
            fetch(addr, "/metrics");
            fetch(addr, "/status");
            thread::sleep(Duration::from_secs(1));
        }
        let share = (admin_cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        told.store(true, Ordering::Relaxed);
        share
    });
    (over, watching)
}

#[tokio::test]
#[ignore = "it prints figures, and takes a minute"]
async fn what_it_costs_to_be_watched() {
    let mut crowd = Crowd::start().await;
    let mut talk = Talk::start(&crowd.gateway).await;
    println!(
        "sessions   watched, of a core   list: CPU      in all      size      longest round trip alone, meanwhile"
    );
    for count in [0, 1000, 10_000, 100_000] {
        crowd.grow_to(count).await;
        let (over, watching) = watch(crowd.admin_addr);
        talk.until(|| over.load(Ordering::Relaxed)).await;
        let share = watching.join().unwrap() * 100.0;

        let alone = Instant::now();
        let (_, longest_alone) = talk.until(|| alone.elapsed() > Duration::from_millis(500)).await;
        let (addr, before) = (crowd.admin_addr, admin_cpu());
        let listing = thread::spawn(move || fetch(addr, "/sessions?limit=0"));
        let (_, longest) = talk.until(|| listing.is_finished()).await;
        let (bytes, took) = listing.join().unwrap();
        let cpu = admin_cpu() - before;
        let megabytes = bytes as f64 / 1e6;
        println!(
            "{count:8}   {share:16.2} %   {cpu:9.1?}   {took:9.1?}   {megabytes:5.1} MB   {longest_alone:.1?}, {longest:.1?}"
        );
    }
}
