//! `loadgen failover`: a gateway goes away, and the report says whom that hit and how long. What fails without a word, on hosts
//! of its own, is in the gateway's test of that name.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, Folder, TestGateway, Tool, let_pass, wait_for};

/// A few clients that ask often.
const FEW: [&str; 8] = ["-c", "10", "--conns", "2", "--servers", "2", "-R", "400"];

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

#[test]
fn clients_of_a_gateway_that_goes_are_hit_and_served_by_another() {
    let gateways = [TestGateway::start(), TestGateway::start()];
    let targets = gateways.each_ref().map(TestGateway::target);
    let folder = Folder::new();
    let svg = folder.file("svg");
    let thresholds = ["--threshold", "outage.max<30s", "--threshold", "unserved<1"];
    let run = ["-d", "6s", "--choice", "round-robin", "--svg", svg.to_str().unwrap()];
    let tool = start(&[&[&targets[0], &targets[1]], &FEW, &run, &thresholds]);
    let conns = || gateways.iter().map(|gateway| gateway.counts().conns).sum::<usize>();
    wait_for("everybody is connected", || (conns() == 20).then_some(()));
    // Answers come before it, too.
    let_pass(Duration::from_secs(1));
    let hit = gateways[0].counts().conns;
    gateways[0].stop();
    let ended = tool.end();
    ended.expect_code(0);
    let [failure] = failures(&ended) else {
        panic!("one failure: {}\n{}", ended.json["failures"], ended.tale())
    };
    assert_eq!((&failure["conns"], &failure["unserved"]), (&hit.into(), &0.into()), "{failure}");
    assert_eq!(failure["outage_s"]["count"], hit, "{failure}");
    let [moved] = &failure["moves"].as_array().unwrap()[..] else { panic!("one way: {failure}") };
    let addr = |gateway: &TestGateway| Value::from(gateway.client_addr.to_string());
    assert_eq!((&moved["before"], &moved["after"]), (&addr(&gateways[0]), &addr(&gateways[1])), "{failure}");
    assert_eq!(failure["connects"][0]["gateway"], addr(&gateways[1]), "{failure}");
    let counts = &ended.json["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(count("asked"), count("answered") + count("lost") + count("open"), "{counts}");
    assert!(ended.says("1 failure") && ended.says("PASS 2/2"), "{}", ended.tale());
    assert!(std::fs::read_to_string(svg).unwrap().contains("without service"));
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
    // Servers name one gateway a sentence, clients all of them in one.
    for words in [
        "gateway 127.0.0.1:1: cannot",
        "gateway 127.0.0.1:2: cannot",
        "none of 2 gateways could be connected to",
    ] {
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
