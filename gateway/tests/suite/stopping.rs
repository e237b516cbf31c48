//! Stopping in good order; the process with its flags, signals and exit codes.

#![expect(
    clippy::disallowed_types,
    reason = "scripted peers use sockets of their own, not the code under test"
)]

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use fastway::net::{BindOptions, Listener, Network, Stream, TcpNetListener, TcpNetStream, TcpNetwork};
use fastway_gateway::Gateway;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::folder::Folder;
use super::support::{Raw, TestGateway, config, config_with, connect, threads, wire};

#[tokio::test]
async fn what_is_queued_is_sent_before_the_end() {
    for shards in [1, 4] {
        let gateway = TestGateway::start(config_with(|config| {
            config.threads = threads(shards);
            config.client.queue.bytes = 8 << 20;
        }))
        .await;
        let (mut client, mut server, conn) = gateway.pair().await;
        let message = wire::data(conn, &[3; 100_000]);
        server.send(message.repeat(60)).await;
        server.expect_nothing().await;
        let stopping = tokio::spawn(gateway.stop());
        for _ in 0..60 {
            client.expect(&message).await;
        }
        // Whichever session ends first tells the other one.
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest).await.unwrap();
        assert!(rest.is_empty() || rest == wire::close(conn), "{rest:?}");
        drop((client, server));
        stopping.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_delays_the_end_by_ten_seconds_at_most() {
    let gateway = TestGateway::start_in_memory(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    let conn = client.open(7, &mut server).await;
    server.send(wire::data(conn, &[3; 200_000])).await;
    server.expect_nothing().await;
    let begun = Instant::now();
    let handle = gateway.handle.clone();
    gateway.stop().await;
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_secs(10) && elapsed < Duration::from_secs(13), "{elapsed:?}");
    assert_eq!(handle.counts(), Default::default());
}

#[tokio::test]
async fn a_handshake_under_way_does_not_delay_the_end() {
    let config = config_with(|config| config.server.auth_timeout = Duration::from_secs(3600));
    let gateway = TestGateway::start(config).await;
    let mut stranger = gateway.stranger().await;
    let _: [u8; 8] = stranger.read_exact().await;
    tokio::time::timeout(Duration::from_secs(20), gateway.stop())
        .await
        .expect("it does not wait for the answer");
    stranger.expect_end().await;
}

/// Pitfall 17: a stop that comes before anything runs.
#[tokio::test]
async fn a_gateway_that_is_stopped_before_it_runs_ends_at_once() {
    for shards in [1, 4] {
        let config = config_with(|config| config.threads = threads(shards));
        let gateway = Gateway::bind(&TcpNetwork::new(), config, [7; 32]).await.unwrap();
        let handle = gateway.handle();
        handle.stop();
        handle.stop();
        assert!(handle.is_stopping());
        tokio::time::timeout(Duration::from_secs(9), gateway.run()).await.expect("at once").unwrap();
    }
}

#[tokio::test]
async fn a_gateway_whose_run_is_dropped_serves_nobody_any_more() {
    for shards in [1, 4] {
        let config = config_with(|config| config.threads = threads(shards));
        let gateway = TestGateway::start(config).await;
        let mut client = gateway.client().await;
        client.expect_nothing().await;
        gateway.kill();
        client.expect_end().await;
    }
}

/// Notes which threads read from its connections.
#[derive(Clone)]
struct Watched {
    tcp: TcpNetwork,
    readers: Readers,
}

type Readers = Arc<Mutex<BTreeSet<String>>>;

struct WatchedListener(TcpNetListener, Readers);

struct WatchedStream(TcpNetStream, Readers);

impl Network for Watched {
    type Stream = WatchedStream;
    type Listener = WatchedListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<WatchedListener> {
        Ok(WatchedListener(self.tcp.bind(addr, options).await?, self.readers.clone()))
    }

    async fn connect(&self, addr: &str) -> io::Result<WatchedStream> {
        Ok(WatchedStream(self.tcp.connect(addr).await?, self.readers.clone()))
    }
}

impl Listener for WatchedListener {
    type Stream = WatchedStream;

    async fn accept(&mut self) -> io::Result<WatchedStream> {
        Ok(WatchedStream(self.0.accept().await?, self.1.clone()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        Ok(Self(self.0.adopt()?, self.1))
    }
}

impl Stream for WatchedStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    fn adopt(self) -> io::Result<Self> {
        Ok(Self(self.0.adopt()?, self.1))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Dealt in turn, or by the kernel: with 40 connections the chance that one of four shards gets none is 1 in 20,000
/// for the kernel's hash, so two shards at least are asked for there.
#[tokio::test]
async fn connections_are_spread_over_the_shards() {
    for (reuse_port, shards_at_work) in [(false, 4), (true, 2)] {
        let network = Watched { tcp: TcpNetwork::new(), readers: Readers::default() };
        let config = config_with(|config| {
            config.threads = threads(4);
            config.reuse_port = reuse_port;
        });
        let gateway = TestGateway::start_on(network, config).await;
        let mut server = connect(gateway.server_addr).await;
        server.register(7).await;
        let mut clients = Vec::new();
        for _ in 0..40 {
            let mut client = connect(gateway.client_addr).await;
            let conn = client.open(7, &mut server).await;
            client.send(wire::data(conn, b"hello")).await;
            server.expect(wire::data(conn, b"hello")).await;
            clients.push(client);
        }
        let readers = gateway.network.readers.lock().unwrap().len();
        assert!(readers >= shards_at_work, "{readers} of 4 shards serve 40 clients");
        drop((server, clients));
        gateway.nothing_is_left().await;
        gateway.stop().await;
    }
}

/// What a process logs, or its end, has to come in this time.
const LOG_DEADLINE: Duration = Duration::from_secs(20);

/// The binary, started with these flags, killed at the end of the test if it is still there.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: Option<ChildStderr>,
    /// Of the log, what was read beyond the last line.
    read: Vec<u8>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_gateway")).args(args).envs(env.iter().copied()))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = child.stderr.take();
        Self { child, log, read: Vec::new() }
    }

    /// The next line of the log. Nobody reads it but whoever asks for that.
    pub(crate) fn line(&mut self) -> String {
        let deadline = Instant::now() + LOG_DEADLINE;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            assert!(self.read_more(deadline), "the log has ended");
        }
    }

    /// `false` at the end of the log.
    fn read_more(&mut self, deadline: Instant) -> bool {
        let Some(log) = &mut self.log else { return false };
        let left = deadline.saturating_duration_since(Instant::now()).try_into().unwrap();
        let is_there = poll(&mut [PollFd::new(log, PollFlags::IN)], Some(&left)).unwrap() > 0;
        assert!(is_there, "not in time; it has logged {:?}", String::from_utf8_lossy(&self.read));
        let mut bytes = [0; 65_536];
        let length = log.read(&mut bytes).unwrap();
        self.read.extend_from_slice(&bytes[..length]);
        length > 0
    }

    /// The next line of the log that has these words.
    pub(crate) fn line_with(&mut self, words: &str) -> String {
        let mut others = String::new();
        let deadline = Instant::now() + LOG_DEADLINE;
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
            others += &line;
            assert!(Instant::now() < deadline, "{words:?} is not in time; it has logged\n{others}");
        }
    }

    /// The addresses in the first two lines.
    pub(crate) fn addrs(&mut self) -> [SocketAddr; 2] {
        ["client", "server"].map(|side| {
            let line = self.line();
            assert!(line.contains(&format!("listening side=\"{side}\"")), "{line}");
            line.trim().rsplit_once("addr=").unwrap().1.parse().unwrap()
        })
    }

    /// The same of a log in JSON.
    pub(crate) fn json_addrs(&mut self) -> [SocketAddr; 2] {
        ["client", "server"].map(|side| {
            let line: serde_json::Value =
                serde_json::from_str(&self.line()).expect("a line is a JSON object");
            assert_eq!((&line["message"], &line["side"]), (&"listening".into(), &side.into()), "{line}");
            line["addr"].as_str().unwrap().parse().unwrap()
        })
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Exit code, and the rest of the log. Whoever waits for this knows that the process is about to end.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LOG_DEADLINE;
        while self.read_more(deadline) {}
        let rest = String::from_utf8(std::mem::take(&mut self.read)).unwrap();
        (self.end_unread(), rest)
    }

    /// The exit code. The log is not read.
    pub(crate) fn end_unread(mut self) -> Option<i32> {
        let deadline = Instant::now() + LOG_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const LOOPBACK: [&str; 4] = ["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"];

#[test]
fn the_first_log_lines_name_the_addresses() {
    let mut process = Process::start(&[&LOOPBACK[..], &["--log-format", "json"]].concat());
    for addr in process.json_addrs() {
        assert_ne!(addr.port(), 0);
    }
    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
}

/// What SIGTERM does with clients there is in `draining.rs`.
#[tokio::test]
async fn either_signal_stops_it_and_a_second_one_at_once() {
    for signal in ["INT", "TERM"] {
        let mut process = Process::start(&LOOPBACK);
        process.addrs();
        process.signal(signal);
        assert_eq!(process.end().0, Some(0), "{signal} alone stops it in good order");
    }
    // With more to send than sockets take, a gateway in good order needs its ten seconds.
    let mut process = Process::start(&[&LOOPBACK[..], &["--client-send-queue-bytes", "1G"]].concat());
    let [client_addr, server_addr] = process.addrs();
    let mut client = connect(client_addr).await;
    let mut server = connect(server_addr).await;
    server.register_with(b"", 7).await;
    let conn = client.open(7, &mut server).await;
    server.send(wire::data(conn, &[1; 500_000]).repeat(60)).await;
    server.expect_nothing().await;
    process.signal("INT");
    process.line_with("stopping");
    process.signal("INT");
    let (actual, log) = process.end();
    assert_eq!(actual, Some(130), "{log}");
}

/// A gateway whose log nobody reads, after so many guests, each of which is a line of it; and one more, who is served.
async fn unread(guests: usize) -> (Process, Raw<TcpStream>) {
    let flags = ["--log-level", "debug", "--threads", "1"];
    let mut process = Process::start(&[&LOOPBACK[..], &flags].concat());
    let [client_addr, _] = process.addrs();
    for _ in 0..guests {
        let mut client = connect(client_addr).await;
        client.stream.shutdown().await.unwrap();
        client.expect_end().await;
    }
    let mut client = connect(client_addr).await;
    client.expect_nothing().await;
    (process, client)
}

/// More than a pipe takes, which is 64 KiB.
const FULL_PIPE: usize = 2000;

#[tokio::test]
async fn a_log_that_is_full_stops_nothing_and_is_whole_when_it_is_read_again() {
    let (process, _client) = unread(FULL_PIPE).await;
    process.signal("INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(0));
    assert!(log.len() > 80_000, "{} bytes are no full pipe", log.len());
    assert_eq!(log.matches("the peer closed the connection").count(), FULL_PIPE);
    assert!(log.trim_end().ends_with("INFO stopped") && !log.contains("lost"), "{log}");
}

#[tokio::test]
async fn a_log_that_is_full_does_not_keep_the_process_from_its_end() {
    let (process, _client) = unread(FULL_PIPE).await;
    process.signal("INT");
    assert_eq!(process.end_unread(), Some(0));
}

#[tokio::test]
async fn lines_of_the_log_that_are_lost_are_counted() {
    let guests = 8 * FULL_PIPE;
    let (mut process, _client) = unread(guests).await;
    let mut seen = 0;
    let lost: usize = loop {
        let line = process.line();
        seen += usize::from(line.contains("the peer closed the connection"));
        if let Some((_, lost)) = line.split_once("lines of the log were lost here") {
            break lost.trim().rsplit_once("lost=").unwrap().1.parse().unwrap();
        }
    };
    process.signal("INT");
    let (code, log) = process.end();
    seen += log.matches("the peer closed the connection").count();
    assert_eq!(code, Some(0));
    assert!(lost > 0 && seen + lost == guests, "{seen} were seen and {lost} lost of {guests}");
    assert!(log.trim_end().ends_with("INFO stopped"), "{log}");
}

/// The program that reads the log has ended: the gateway goes on, and can still be stopped.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let mut process = Process::start(&LOOPBACK);
    let [client_addr, _] = process.addrs();
    drop(process.log.take());
    for _ in 0..3 {
        let mut client = connect(client_addr).await;
        client.send([0; 4]).await;
        client.expect_end().await;
    }
    connect(client_addr).await.expect_nothing().await;
    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn what_cannot_work_ends_it_with_code_2_and_a_sentence() {
    for (args, words) in [
        (&["--max-packet-size", "many"][..], &["--max-packet-size", "many", "512K"][..]),
        (&["--client-ping-interval", "30"], &["--client-ping-interval", "30s"]),
        (&["--server-addr", "0.0.0.0:0"], &["--server-auth-password", "--allow-no-auth"]),
        (&["--server-auth-password-file", "/nowhere/key"], &["/nowhere/key", "No such file"]),
        (&["--client-send-queue-bytes", "100K"], &["--client-send-queue-bytes is 100K", "524292"]),
        (&["--client-adr", "127.0.0.1:0"], &["--client-adr", "--client-addr"]),
    ] {
        let (code, log) = Process::start(args).end();
        assert_eq!(code, Some(2), "{log}");
        assert!(words.iter().all(|word| log.contains(word)), "{words:?} should be in {log:?}");
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_code_2_and_a_sentence() {
    let mut first = Process::start(&LOOPBACK);
    let addr = first.addrs()[0].to_string();
    let (code, log) = Process::start(&["--client-addr", &addr, "--server-addr", "127.0.0.1:0"]).end();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("cannot listen for clients on") && log.contains("choose another port"), "{log}");
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}

#[tokio::test]
async fn the_environment_sets_what_flags_set() {
    let env = [
        ("FASTWAY_CLIENT_ADDR", "127.0.0.1:0"),
        ("FASTWAY_SERVER_ADDR", ":0"),
        ("FASTWAY_ALLOW_NO_AUTH", "1"),
        ("FASTWAY_REUSE_PORT", "yes"),
        ("FASTWAY_CLIENT_MAX_CONN", "0"),
    ];
    let mut process = Process::start_with(&[], &env);
    let [client_addr, mut server_addr] = process.addrs();
    assert!(client_addr.ip().is_loopback() && server_addr.ip().is_unspecified());
    server_addr.set_ip(client_addr.ip());
    let (mut client, mut server) = (connect(client_addr).await, connect(server_addr).await);
    server.register_with(b"", 7).await;
    client.send(wire::dial(7)).await;
    client.expect(wire::refuse(7)).await;

    // A flag counts more; and what is wrong is named.
    let (code, log) = Process::start_with(&["--threads", "0"], &[("FASTWAY_THREADS", "1")]).end();
    assert!(code == Some(2) && log.contains("--threads"), "{log}");
    let (code, log) = Process::start_with(&[], &[("FASTWAY_REUSE_PORT", "perhaps")]).end();
    assert!(code == Some(2) && log.contains("--reuse-port") && log.contains("perhaps"), "{log}");
}

#[tokio::test]
async fn the_password_may_come_from_a_file_or_the_environment_and_is_never_shown() {
    let folder = Folder::new();
    let path = folder.write("key", "s3cret\n");
    let file = ["--server-auth-password-file", &path];
    let trace = ["--log-level", "trace"];
    for (args, env) in [
        (&[&LOOPBACK[..], &trace, &file].concat(), &[][..]),
        (&[&LOOPBACK[..], &trace].concat(), &[("FASTWAY_SERVER_AUTH_PASSWORD", "s3cret")][..]),
    ] {
        let mut process = Process::start_with(args, env);
        let [_, server_addr] = process.addrs();
        connect(server_addr).await.register_with(b"s3cret", 7).await;
        process.signal("TERM");
        let (code, log) = process.end();
        assert_eq!(code, Some(0));
        assert!(log.contains("server registered") && !log.contains("s3cret"), "{log}");
    }

    let help = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--help")
        .env("FASTWAY_SERVER_AUTH_PASSWORD", "s3cret")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("FASTWAY_SERVER_AUTH_PASSWORD") && !help.contains("s3cret"));
}
