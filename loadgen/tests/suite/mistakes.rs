//! What goes wrong outside of the tool ends with a sentence that names the remedy, with the right exit code, and soon.

use std::process::Command;
use std::time::{Duration, Instant};

use fastway_gateway::{Counts, ServerKey};
use rustix::process::Signal;

use crate::support::{Folder, GatewayProcess, TestGateway, Tool, let_pass};

/// Nobody listens there, and nobody else on this machine takes ports of this address.
const NOBODY: &str = "127.94.3.1:7010/127.94.3.1:7020";

#[test]
fn with_nobody_listening_it_says_where_and_what_to_do() {
    for (args, addr) in [
        (&["run", NOBODY][..], "127.94.3.1:7020"),
        (&["serve", "127.94.3.1:7020"], "127.94.3.1:7020"),
        (&["drive", "127.94.3.1:7010", "-c", "3"], "127.94.3.1:7010"),
    ] {
        let begun = Instant::now();
        let ended = Tool::run(args);
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.tale());
        assert!(
            ended.says(addr) && ended.says("nobody listens there: start the gateway"),
            "{}",
            ended.tale()
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{args:?}: it took {:?}", begun.elapsed());
    }
}

#[test]
fn a_wrong_password_is_called_by_its_name() {
    let gateway = TestGateway::start_with(|config| config.server.key = ServerKey::new(*b"right"));
    let ended = Tool::run(&["run", &gateway.target(), "--password", "wrong"]);
    assert_eq!(ended.code, Some(1), "{}", ended.tale());
    assert!(ended.says("the password is not the gateway's"), "{}", ended.tale());
    assert!(ended.says("--server-auth-password"), "{}", ended.tale());

    let ended = Tool::run(&["run", &gateway.target(), "--password", "right", "-n", "10", "-w", "0s"]);
    ended.expect_code(0);
}

#[test]
fn a_gateway_that_goes_away_ends_the_run() {
    let gateway = TestGateway::start();
    let load = ["-R", "500", "-w", "0s", "-c", "2", "-d", "60s", "--give-up", "1s"];
    let mut tool = Tool::start(&[&["run", &gateway.target()], &load[..]].concat());
    tool.until_at_work(3);
    let gone = Instant::now();
    gateway.stop();
    let ended = tool.end();
    assert!(gone.elapsed() < Duration::from_secs(20), "it took {:?}", gone.elapsed());
    assert_eq!(ended.code, Some(1), "{}", ended.tale());
    assert!(ended.says("no link was up for 1s") && ended.says("nobody listens there"), "{}", ended.tale());
    let errors = ended.json["errors"].as_array().unwrap();
    let has = |kind: &str| errors.iter().any(|error| error["kind"] == kind && error["phase"] == "measured");
    assert!(has("link_closed") && has("refused"), "{errors:#?}");
    assert!(ended.number("/counts/not_sent") > 0, "{}", ended.tale());
    ended.is_clean();
}

#[test]
fn refused_dials_are_counted_and_explained() {
    let gateway = TestGateway::start_with(|config| config.client.max_conn = 2);
    let ended = Tool::run(&[
        "run",
        &gateway.target(),
        "-R",
        "500",
        "-w",
        "0s",
        "-d",
        "1s",
        "-c",
        "3",
        "--conns",
        "4",
    ]);
    ended.expect_code(0);
    assert!(ended.number("/counts/refused") >= 6, "{}", ended.tale());
    let errors = ended.json["errors"].as_array().unwrap();
    let refused: u64 = errors
        .iter()
        .filter(|error| error["kind"] == "dial_refused")
        .map(|error| error["count"].as_u64().unwrap())
        .sum();
    assert_eq!(refused, ended.number("/counts/refused"));
    assert_eq!(ended.number("/counts/errors"), refused, "and nothing else went wrong");
    assert!(ended.says("dial refused") && ended.says("--client-max-conn"), "{}", ended.tale());
    ended.all_came_back();
}

#[test]
fn too_few_open_files_are_found_out_before_the_run() {
    let gateway = TestGateway::start();
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -n 80; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_loadgen")]);
    command.args(["run", &gateway.target(), "-c", "100"]);
    let ended = Tool::spawn(command, Folder::new()).end();
    assert_eq!(ended.code, Some(1), "{}", ended.tale());
    assert!(ended.says("needs 165 open files, but the process may have 80"), "{}", ended.tale());
    assert!(ended.says("ulimit -n 165") && ended.report.is_empty(), "{}", ended.tale());
    assert_eq!(gateway.counts(), Counts::default());
}

#[test]
fn wrong_usage_is_exit_code_2_with_a_sentence() {
    for (args, words) in [
        (&["run", "--rate", "fast"][..], &["fast", "50k"][..]),
        (&["run", "-d", "30"], &["30", "30s"]),
        (&["run", "-s", "8"], &["-s 8", "16"]),
        (&["run", "-R", "1k", "--inflight", "2"], &["--rate", "--inflight"]),
        (&["drive", "nowhere:x"], &["nowhere:x", "HOST:PORT"]),
        (&["serve", "--conns", "2"], &["--conns"]),
        (&["serve", "1:2:3"], &["1:2:3", "HOST:PORT"]),
        (&["demo", "--threshold", "speed.p99<5ms"], &["speed", "response"]),
        (&["walk"], &["walk"]),
    ] {
        let ended = Tool::start_bare(args).end();
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.tale());
        for word in words {
            assert!(ended.complaint.contains(word), "{args:?}: {word:?} is not in {:?}", ended.complaint);
        }
        assert!(ended.report.is_empty(), "{}", ended.report);
    }
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before_the_run() {
    let gateway = TestGateway::start();
    for flag in ["--json", "--hdr", "--timeseries", "-o"] {
        let ended = Tool::start_bare(&["run", &gateway.target(), "-d", "1h", flag, "/nowhere/results"]).end();
        assert_eq!(ended.code, Some(1), "{flag}: {}", ended.tale());
        assert!(ended.says("cannot write /nowhere/results: No such file"), "{flag}: {}", ended.tale());
        assert!(ended.report.is_empty(), "{}", ended.report);
    }
    assert_eq!(gateway.counts(), Counts::default());
}

#[test]
fn a_signal_ends_it_early_with_a_report() {
    let gateway = TestGateway::start();
    for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
        let mut tool = Tool::start(&[
            "run",
            &gateway.target(),
            "--inflight",
            "1",
            "-w",
            "0s",
            "-c",
            "2",
            "--conns",
            "1",
            "-d",
            "1h",
        ]);
        tool.until_at_work(2);
        tool.signal(signal);
        let ended = tool.end();
        ended.expect_code(code);
        assert!(ended.says(name) && ended.says("integrity"), "{}", ended.tale());
        assert_eq!(ended.number("/interrupted"), code as u64 - 128);
        ended.all_came_back();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let gateway = GatewayProcess::start();
    let mut tool = Tool::start(&[
        "run",
        &gateway.target,
        "-R",
        "500",
        "-w",
        "0s",
        "-c",
        "2",
        "-d",
        "1h",
        "--grace",
        "1h",
    ]);
    tool.until_at_work(2);
    // Now echoes are waited for that do not come.
    gateway.signal(Signal::STOP);
    let_pass(Duration::from_millis(100));
    let begun = Instant::now();
    // Two signals at the same time are one: it has to be asked until it has understood.
    while tool.has_ended().is_none() {
        tool.signal(Signal::INT);
        let_pass(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
    }
    let ended = tool.end();
    assert_eq!(ended.code, Some(130), "{}", ended.tale());
    assert!(ended.report.is_empty(), "{}", ended.tale());
}
