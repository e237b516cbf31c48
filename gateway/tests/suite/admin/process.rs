//! The admin server of the binary: its flags, and what it can do to the process.

use std::net::SocketAddr;

use serde_json::json;

use super::http::request;
use crate::folder::Folder;
use crate::stopping::{LOOPBACK, Process};

/// The address in the third line of the log.
fn admin_addr(process: &mut Process) -> SocketAddr {
    process.addrs();
    let line = process.line();
    assert!(line.contains("listening side=\"admin\""), "{line}");
    line.trim().rsplit_once("addr=").unwrap().1.parse().unwrap()
}

async fn get(addr: SocketAddr, path: &str) -> super::Answer {
    request(addr, "GET", path, &[], "").await
}

async fn post(addr: SocketAddr, path: &str) -> super::Answer {
    request(addr, "POST", path, &[], "").await
}

#[tokio::test]
async fn it_reads_the_settings_again_and_says_what_came_of_it() {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", "client-max-conn = 5");
    let mut process =
        Process::start(&[&LOOPBACK[..], &["--admin-addr", "127.0.0.1:0", "--config", &file]].concat());
    let addr = admin_addr(&mut process);
    folder.write("gateway.toml", "client-max-conn = 6");
    let report = post(addr, "/reload").await;
    assert_eq!(report.status, 200);
    assert!(report.json()["report"].as_str().unwrap().contains("--client-max-conn"), "{report:?}");

    folder.write("gateway.toml", "client-max-conn = 'six'");
    let error = post(addr, "/reload").await.error(422);
    assert!(error.contains(&format!("{file}:1: client-max-conn is six")), "{error}");
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("/reload"), "{log}");
}

#[tokio::test]
async fn it_changes_what_is_logged() {
    let args = [&LOOPBACK[..], &["--admin-addr", "127.0.0.1:0", "--log-level", "info"]].concat();
    let mut process = Process::start(&args);
    let addr = admin_addr(&mut process);
    assert_eq!(post(addr, "/log-level?level=debug").await.json(), json!({ "level": "debug" }));
    // A connection that fails is worth a line at that level.
    let _ = super::http::send(addr, "GET / HTTP/1.1\r\nHost localhost\r\n\r\n").await;
    assert_eq!(post(addr, "/log-level?level=info").await.status, 200);
    let _ = super::http::send(addr, "GET / HTTP/1.1\r\nHost localhost\r\n\r\n").await;
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("a connection to the admin server failed").count(), 1, "{log}");
}

#[tokio::test]
async fn it_drains_and_goes_on_answering() {
    let mut process = Process::start(&[&LOOPBACK[..], &["--admin-addr", "127.0.0.1:0"]].concat());
    let addr = admin_addr(&mut process);
    let mut client = crate::support::connect(
        get(addr, "/status").await.json()["gateway"]["client_addr"].as_str().unwrap().parse().unwrap(),
    )
    .await;
    client.expect_nothing().await;
    assert_eq!(get(addr, "/ready").await.status, 200);
    assert_eq!(post(addr, "/drain").await.status, 200);
    assert_eq!(get(addr, "/ready").await.status, 503);
    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
}

/// Everything that is logged, at the most talkative level.
#[tokio::test]
async fn the_token_may_come_from_a_file_and_is_never_shown() {
    let folder = Folder::new();
    let file = folder.write("token", "s3cret-token\r\n");
    let args = [&LOOPBACK[..], &["--admin-addr", ":0", "--admin-token-file", &file, "--log-level", "trace"]]
        .concat();
    let mut process = Process::start(&args);
    let mut addr = admin_addr(&mut process);
    assert!(addr.ip().is_unspecified());
    addr.set_ip("127.0.0.1".parse().unwrap());
    for (header, status) in [("Bearer s3cret-token", 200), ("Bearer s3cret", 401), ("", 401)] {
        let answer = request(addr, "GET", "/status", &[("Authorization", header)], "").await;
        assert_eq!(answer.status, status, "{header}");
    }
    process.signal("TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("turned a request away") && !log.contains("s3cret"), "{log}");
}

/// From the next request on, on connections that are there as well.
#[tokio::test]
async fn the_token_and_the_names_are_read_again() {
    let folder = Folder::new();
    let (file, token) = (folder.write("gateway.toml", ""), folder.write("token", "old"));
    let args = ["--admin-addr", ":0", "--admin-token-file", &token, "--config", &file];
    let mut process = Process::start(&[&LOOPBACK[..], &args].concat());
    let mut addr = admin_addr(&mut process);
    addr.set_ip("127.0.0.1".parse().unwrap());
    let with = async |method: &str, path: &str, host: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("Host", host), ("Authorization", authorization.as_str())];
        request(addr, method, path, &headers, "").await
    };
    assert_eq!(with("GET", "/status", "gateway-1.example", "old").await.status, 421);
    folder.write("token", "new");
    folder.write("gateway.toml", "admin-host = ['gateway-1.example']");
    assert_eq!(with("GET", "/status", "localhost", "old").await.status, 200, "it was not read yet");
    let report = with("POST", "/reload", "localhost", "old").await;
    let report = report.json()["report"].to_string();
    assert!(report.contains("in force at once: --admin-token, --admin-host"), "{report}");
    assert_eq!(with("GET", "/status", "localhost", "old").await.status, 401);
    assert_eq!(with("GET", "/status", "gateway-1.example", "new").await.status, 200);

    // Without one, everybody could ask; and a mistake elsewhere changes nothing here.
    folder.write("token", "");
    assert!(with("POST", "/reload", "localhost", "new").await.error(422).contains("is empty"));
    folder.write("token", "newest");
    folder.write("gateway.toml", "dial-rate = 'fast'");
    assert!(with("POST", "/reload", "localhost", "new").await.error(422).contains("dial-rate"));
    assert_eq!(with("GET", "/status", "gateway-1.example", "new").await.status, 200);
    process.signal("INT");
    let (code, log) = process.end();
    assert!(code == Some(0) && !log.contains("newest"), "{log}");
}

/// The file says both: no token, and an address that only this machine reaches. But the address in use is still the old one.
#[tokio::test]
async fn a_token_does_not_go_while_strangers_reach_the_port() {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", "admin-addr = '0.0.0.0:0'\nadmin-token = 'old'");
    let mut process = Process::start(&[&LOOPBACK[..], &["--config", &file]].concat());
    let mut addr = admin_addr(&mut process);
    addr.set_ip("127.0.0.1".parse().unwrap());
    folder.write("gateway.toml", "admin-addr = '127.0.0.1:0'");
    let old = [("Authorization", "Bearer old")];
    let error = request(addr, "POST", "/reload", &old, "").await.error(422);
    assert!(error.contains("--admin-token is not set") && error.contains("0.0.0.0:0"), "{error}");
    assert_eq!(get(addr, "/status").await.status, 401);
}

#[test]
fn what_cannot_work_ends_it_with_code_2_and_a_sentence() {
    let folder = Folder::new();
    let (empty, text) = (folder.write("empty", "\n"), folder.write("text", "two words\n"));
    let missing = folder.path("missing");
    for (args, words) in [
        (&["--admin-addr", ":0"][..], &["--admin-token is not set", "0.0.0.0:0", "--admin-token-file"][..]),
        (&["--admin-addr", "10.0.0.1:0"], &["--admin-token is not set", "10.0.0.1:0"]),
        (&["--admin-addr", "7030"], &["--admin-addr", "IP:PORT"]),
        (&["--admin-token-file", &missing], &["--admin-token-file", &missing, "No such file"]),
        (&["--admin-token-file", &empty], &["--admin-token-file", &empty, "is empty"]),
        (&["--admin-token-file", &text], &["--admin-token-file", &text, "no spaces"]),
        (&["--admin-token", ""], &["--admin-token", "is empty"]),
        (
            &["--admin-token", "a", "--admin-token-file", &empty],
            &["--admin-token-file cannot be used with --admin-token"],
        ),
        (&["--admin-host", "http://gateway"], &["--admin-host", "http://gateway", "gateway-1.example"]),
    ] {
        let (code, log) = Process::start(args).end();
        assert_eq!(code, Some(2), "{args:?}: {log}");
        assert!(words.iter().all(|word| log.contains(word)), "{words:?} should be in {log:?}");
        assert!(!log.contains("listening"), "{log}");
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_code_2_and_a_sentence() {
    let mut first = Process::start(&[&LOOPBACK[..], &["--admin-addr", "127.0.0.1:0"]].concat());
    let addr = admin_addr(&mut first).to_string();
    let (code, log) = Process::start(&[&LOOPBACK[..], &["--admin-addr", &addr]].concat()).end();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains(&format!("--admin-addr: cannot listen on {addr}")), "{log}");
    assert!(log.contains("choose another port") && !log.contains("listening"), "{log}");
    first.signal("TERM");
    assert_eq!(first.end().0, Some(0));
}
