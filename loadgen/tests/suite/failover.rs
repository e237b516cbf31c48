//! `loadgen failover`: a gateway goes away, and the report says whom that hit and how long. What fails without a word, on hosts
//! of its own, is in the gateway's test of that name.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::authority::Authority;
use crate::support::{Ended, Folder, GatewayProcess, TestGateway, Tool, let_pass, wait_for};
use crate::tls::Trust;

/// A few clients that ask often. By these lots, each of two gateways has some of them.
const FEW: [&str; 10] = ["-c", "10", "--conns", "2", "--servers", "2", "-R", "400", "--seed", "1"];

/// With a JSON report, and nothing on the terminal.
fn start(args: &[&[&str]]) -> Tool {
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.arg("failover").args(args.concat()).args(["--quiet", "--json"]).arg(folder.file("json"));
    Tool::spawn(command, folder)
}

fn failures(ended: &Ended) -> &[Value] {
    ended.json["failures"].as_array().unwrap_or_else(|| panic!("no failures\n{}", ended.tale()))
}

/// The clients of one gateway were hit, once, and all of them are served by another one: how many virtual connections.
#[track_caller]
fn moved(ended: &Ended, [from, to]: &[String; 2]) -> u64 {
    let [failure] = failures(ended) else {
        panic!("one failure: {}\n{}", ended.json["failures"], ended.tale())
    };
    let [way] = &failure["moves"].as_array().unwrap()[..] else { panic!("one way: {failure}") };
    let addr = |target: &String| Value::from(target.split_once('/').unwrap().0);
    assert_eq!((&way["before"], &way["after"]), (&addr(from), &addr(to)), "{failure}");
    assert_eq!(failure["connects"][0]["gateway"], addr(to), "{failure}");
    assert_eq!(failure["unserved"], 0, "{failure}");
    assert_eq!(failure["outage_s"]["count"], failure["conns"], "{failure}");
    failure["conns"].as_u64().unwrap()
}

#[test]
fn clients_of_a_gateway_that_goes_are_hit_and_served_by_another() {
    let gateways = [TestGateway::start(), TestGateway::start()];
    let targets = gateways.each_ref().map(TestGateway::target);
    let folder = Folder::new();
    let svg = folder.file("svg");
    let thresholds = ["--threshold", "outage.max<30s", "--threshold", "unserved<1"];
    let run = ["--marks", "-d", "6s", "--svg", svg.to_str().unwrap()];
    let mut tool = start(&[&[&targets[0], &targets[1]], &FEW, &run, &thresholds]);
    tool.until_ready();
    let_pass(Duration::from_secs(1));
    let hit = gateways[0].counts().conns;
    gateways[0].stop();
    let ended = tool.end();
    ended.expect_code(0);
    assert_eq!(moved(&ended, &targets), hit as u64);
    let counts = &ended.json["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(count("asked"), count("answered") + count("lost") + count("open"), "{counts}");
    assert!(ended.says("1 failure") && ended.says("PASS 2/2"), "{}", ended.tale());
    assert!(std::fs::read_to_string(svg).unwrap().contains("without service"));
}

/// Nobody says goodbye, so TLS ends in the middle, on the links of servers too.
#[test]
fn over_tls_the_clients_of_a_gateway_that_is_killed_are_served_by_another() {
    let trust = Trust::new();
    let pem = trust.authority.issue("gateway.internal");
    let gateways = [(), ()].map(|()| GatewayProcess::start_over_tls(&pem));
    let targets = gateways.each_ref().map(|gateway| gateway.target.clone());
    let run = ["--marks", "-d", "6s", "--threshold", "unserved<1"];
    let mut tool = start(&[&[&targets[0], &targets[1]], &FEW, &run, &tls(&trust.ca)]);
    tool.until_ready();
    let_pass(Duration::from_secs(1));
    gateways[0].signal(Signal::KILL);
    let ended = tool.end();
    ended.expect_code(0);
    assert!((1..20).contains(&moved(&ended, &targets)), "{}", ended.tale());
    assert!(ended.says("both over TLS"), "{}", ended.tale());
    let plan = &ended.json["plan"];
    assert_eq!((&plan["client_tls"], &plan["server_tls"]), (&true.into(), &true.into()), "{plan}");
}

/// Clients and servers over TLS.
fn tls(ca: &str) -> [&str; 10] {
    let name = "gateway.internal";
    [
        "--tls",
        "--tls-ca",
        ca,
        "--tls-server-name",
        name,
        "--server-tls",
        "--server-tls-ca",
        ca,
        "--server-tls-server-name",
        name,
    ]
}

#[test]
fn ends_that_do_not_agree_about_tls_are_told_so() {
    let trust = Trust::new();
    let other_ca = trust.file("other-ca", &Authority::new().pem());
    let encrypted = TestGateway::start_with(|config| {
        config.client.tls = Some(trust.acceptor(None));
        config.server.tls = Some(trust.acceptor(None));
    });
    let plain = TestGateway::start();
    let (with_tls, with_other_ca) = (tls(&trust.ca), tls(&other_ca));
    let cases = [
        (&encrypted, &with_other_ca[..], "no CA that is trusted"),
        (&plain, &with_tls, "not TLS"),
        (&encrypted, &[], "both ends use TLS, or neither"),
    ]
    .map(|(gateway, args, words)| {
        let patience = ["--give-up", "3s", "--connect-timeout", "1s"];
        (start(&[&[&gateway.target()], &FEW, args, &patience]), words)
    });
    for (tool, words) in cases {
        let ended = tool.end();
        ended.expect_code(1);
        assert!(ended.says(words), "{words:?} is not in {}", ended.tale());
    }
}

/// Many are still at work when the run ends, and tasks of the runtime that panic are easily overlooked.
#[test]
fn who_is_at_work_when_it_ends_does_no_harm() {
    let gateways = [TestGateway::start(), TestGateway::start()];
    let targets = gateways.each_ref().map(TestGateway::target);
    let ended = start(&[&[&targets[0], &targets[1]], &["-c", "300", "--servers", "3", "-d", "2s"]]).end();
    ended.expect_code(0);
    assert_eq!(ended.complaint, "", "{}", ended.tale());
}

/// They are told, and most of them have connected to the other gateway before the first one is without service.
#[test]
fn who_moves_before_a_gateway_has_drained_is_counted() {
    let drains = |config: &mut fastway_gateway::Config| {
        config.drain_timeout = Duration::from_secs(2);
        config.drain_spread = Duration::from_millis(100);
    };
    let gateways = [TestGateway::start_with(drains), TestGateway::start()];
    let targets = gateways.each_ref().map(TestGateway::target);
    let named = [format!("first={}", targets[0]), format!("second={}", targets[1])];
    let run = ["-d", "6s", "--choice", "round-robin", "--threshold", "connects>0"];
    let tool = start(&[&[&named[0], &named[1], &targets[1]], &FEW, &run]);
    let conns = || gateways.iter().map(|gateway| gateway.counts().conns).sum::<usize>();
    wait_for("everybody is connected", || (conns() == 20).then_some(()));
    // Answers come before it, too.
    let_pass(Duration::from_secs(1));
    let hit = gateways[0].counts().conns;
    gateways[0].drain();
    let ended = tool.end();
    ended.expect_code(0);
    let [failure] = failures(&ended) else {
        panic!("one failure: {}\n{}", ended.json["failures"], ended.tale())
    };
    assert_eq!(failure["conns"], hit, "{failure}");
    let [moved] = &failure["moves"].as_array().unwrap()[..] else { panic!("one way: {failure}") };
    assert_eq!((&moved["before"], &moved["after"]), (&"first".into(), &"second".into()), "{failure}");
    let [connects] = &failure["connects"].as_array().unwrap()[..] else {
        panic!("to one gateway: {failure}")
    };
    // Each of them has two virtual connections.
    assert_eq!(
        (&connects["gateway"], &connects["count"]),
        (&"second".into(), &(hit / 2).into()),
        "{failure}"
    );
    assert!(ended.says("2 gateways"), "one is listed twice: {}", ended.tale());
}

#[test]
fn who_is_interrupted_before_anybody_talked_has_measured_nothing() {
    let tool = start(&[&["127.0.0.1:1"], &FEW]);
    tool.until_it_heeds(Signal::INT);
    tool.signal(Signal::INT);
    let ended = tool.end();
    ended.expect_code(5);
    assert!(ended.says("INVALID nothing was measured"), "{}", ended.tale());
    assert!(ended.says("ended before every virtual connection had an answer"), "{}", ended.tale());
}

#[test]
fn servers_may_be_another_process() {
    let gateway = TestGateway::start();
    let target = gateway.target();
    let servers = start(&[&[&target], &FEW, &["--play", "servers"]]);
    wait_for("the servers are registered", || (gateway.counts().servers == 2).then_some(()));
    let clients = start(&[&[&target], &FEW, &["--play", "clients", "-d", "1s"]]).end();
    clients.expect_code(0);
    assert!(failures(&clients).is_empty(), "{}", clients.tale());
    assert!(clients.says("nothing failed"), "{}", clients.tale());
    servers.signal(Signal::INT);
    servers.end().expect_code(0);
}

#[test]
fn nobody_there_is_said_with_every_gateway() {
    let nobody = ["127.0.0.1:1/127.0.0.1:1", "127.0.0.1:2/127.0.0.1:2"];
    let ended = start(&[&nobody, &FEW, &["--give-up", "1s"]]).end();
    ended.expect_code(1);
    assert!(ended.says("0 of 20 virtual connections had an answer within 1s"), "{}", ended.tale());
    // Each sentence names one gateway; who dialled says that there was none.
    for words in
        ["gateway 127.0.0.1:1: cannot", "gateway 127.0.0.1:2: cannot", "there was no link to a gateway"]
    {
        assert!(ended.says(words), "{words:?} is not in {}", ended.tale());
    }
}

#[test]
fn a_wrong_password_is_said_of_the_gateway() {
    let gateway =
        TestGateway::start_with(|config| config.server.key = fastway_gateway::ServerKey::new("right"));
    let target = gateway.target();
    let ended = start(&[&[&target], &FEW, &["--password", "wrong", "--give-up", "2s"]]).end();
    ended.expect_code(1);
    assert!(ended.says("the key is not the gateway's"), "{}", ended.tale());
}
