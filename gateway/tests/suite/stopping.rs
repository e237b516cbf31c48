//! Stopping in good order; the process with its flags, signals and exit codes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastway::net::TcpNetwork;
use fastway_gateway::Gateway;
use tokio::time::Instant;

use super::support::{TestGateway, config, config_with, threads, wire};

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
    let gateway = TestGateway::start(config()).await;
    let mut stranger = gateway.stranger().await;
    let _: [u8; 8] = stranger.read_exact().await;
    tokio::time::timeout(Duration::from_secs(2), gateway.stop()).await.expect("it stops at once");
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
        tokio::time::timeout(Duration::from_secs(2), gateway.run()).await.expect("at once").unwrap();
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

#[tokio::test]
async fn with_reuse_port_the_kernel_spreads_connections_over_the_shards() {
    let gateway = TestGateway::start(config_with(|config| {
        config.threads = threads(4);
        config.reuse_port = true;
    }))
    .await;
    let mut server = gateway.server(7).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        client.send(wire::data(conn, b"hello")).await;
        server.expect(wire::data(conn, b"hello")).await;
        clients.push(client);
    }
    drop((server, clients));
    gateway.nothing_is_left().await;
    gateway.stop().await;
}

/// The binary, started with these flags.
struct Process {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(args)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }

    fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line()).expect("a line is a JSON object")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Exit code, and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn the_first_log_lines_name_the_addresses() {
    let mut process = Process::start(&[
        "--client-addr",
        "127.0.0.1:0",
        "--server-addr",
        ":0",
        "--allow-no-auth",
        "--log-format",
        "json",
    ]);
    for side in ["client", "server"] {
        let line = process.json();
        assert_eq!(
            (line["message"].as_str(), line["side"].as_str()),
            (Some("listening"), Some(side)),
            "{line}"
        );
        let addr: std::net::SocketAddr = line["addr"].as_str().unwrap().parse().unwrap();
        assert_ne!(addr.port(), 0);
    }
    process.signal("TERM");
    let (code, _) = process.end();
    assert_eq!(code, Some(0));
}

#[test]
fn either_signal_stops_it_and_a_second_one_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut process = Process::start(&["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"]);
        let addr = process.line();
        let addr = addr.trim().rsplit_once("addr=").unwrap().1.to_owned();
        process.line();
        process.signal(signal);
        assert_eq!(process.end().0, Some(0), "{signal} alone stops it in good order");

        let mut process = Process::start(&["--client-addr", &addr, "--server-addr", "127.0.0.1:0"]);
        process.line();
        process.line();
        // A client that does not close its end keeps the gateway lingering for a second.
        let client = connect(&addr);
        process.signal(signal);
        while !process.line().contains("stopping") {}
        process.signal(signal);
        let (actual, log) = process.end();
        assert_eq!(actual, Some(code), "{log}");
        drop(client);
    }
}

/// The program that reads the log has ended: the gateway goes on, and can still be stopped.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let mut process = Process::start(&["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"]);
    let line = process.line();
    let addr = line.trim().rsplit_once("addr=").unwrap().1.to_owned();
    let Process { mut child, log } = process;
    drop(log);
    for _ in 0..3 {
        let mut client = connect(&addr);
        std::io::Write::write_all(&mut client, &[0; 4]).unwrap();
        assert!(!matches!(client.read(&mut [0; 1]), Ok(1)), "the malformed frame ends the client");
    }
    drop(connect(&addr));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not stop");
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
}

#[expect(clippy::disallowed_types, reason = "a client that only holds its socket open")]
fn connect(addr: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    std::io::Write::write_all(&mut stream, &wire::ping()).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    stream
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
fn a_port_that_is_taken_ends_it_with_code_1_and_a_sentence() {
    let mut first = Process::start(&["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"]);
    let line = first.line();
    let addr = line.trim().rsplit_once("addr=").unwrap().1;
    let (code, log) = Process::start(&["--client-addr", addr, "--server-addr", "127.0.0.1:0"]).end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot listen for clients on") && log.contains("choose another port"), "{log}");
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}

#[test]
fn the_password_may_come_from_a_file_or_the_environment_and_is_never_shown() {
    let path = std::env::temp_dir().join(format!("fastway-test-key-{}", std::process::id()));
    std::fs::write(&path, "s3cret-in-a-file\n").unwrap();
    let file = path.to_str().unwrap();
    let mut process = Process::start(&[
        "--client-addr",
        "127.0.0.1:0",
        "--server-addr",
        "0.0.0.0:0",
        "--server-auth-password-file",
        file,
        "--log-level",
        "trace",
    ]);
    let lines = [process.line(), process.line()].concat();
    process.signal("TERM");
    let (code, rest) = process.end();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(0));
    assert!(!(lines + &rest).contains("s3cret"));

    let help = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--help")
        .env("FASTWAY_SERVER_AUTH_PASSWORD", "s3cret-in-the-environment")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("FASTWAY_SERVER_AUTH_PASSWORD") && !help.contains("s3cret"));
}
