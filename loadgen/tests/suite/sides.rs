//! Who takes part: both sides in one process or in two, calls by servers, churn, several gateways, the demo.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{TestGateway, Tool, wait_for};

const FEW: [&str; 6] = ["-w", "0s", "-c", "3", "--conns", "2"];

#[test]
fn servers_and_clients_may_be_two_processes() {
    let gateway = TestGateway::start();
    let server = Tool::start(&["serve", &gateway.server_addr.to_string(), "--servers", "2"]);
    wait_for("the servers are registered", || (gateway.counts().servers == 2).then_some(()));
    let drive = ["drive", &gateway.client_addr.to_string(), "--servers", "2", "-R", "1k", "-d", "1s"];
    let clients = Tool::run(&[&drive[..], &FEW[..]].concat());
    clients.expect_code(0);
    clients.is_clean();
    assert_eq!((clients.number("/counts/measured_due"), clients.number("/counts/received")), (1000, 1000));
    wait_for("the clients are gone", || (gateway.counts().clients == 0).then_some(()));
    server.signal(Signal::INT);
    let server = server.end();
    server.expect_code(0);
    server.is_clean();
    let asked = clients.number("/integrity/back/sent");
    assert_eq!(server.number("/integrity/there/received"), asked, "{}", server.tale());
    assert!(server.says("messages served"), "{}", server.tale());
}

#[test]
fn servers_end_by_themselves_after_their_time() {
    let gateway = TestGateway::start();
    let server = Tool::run(&["serve", &gateway.server_addr.to_string(), "-d", "300ms"]);
    server.expect_code(0);
    assert!(server.json["interrupted"].is_null(), "{}", server.tale());
}

#[test]
fn servers_call_clients_and_hear_from_them() {
    let gateway = TestGateway::start();
    let ended = Tool::run(
        &[&["run", &gateway.target(), "-R", "200", "-d", "1s", "--calls", "50"], &FEW[..]].concat(),
    );
    ended.expect_code(0);
    ended.all_came_back();
    let calls = ended.number("/counts/calls");
    assert!((15..=120).contains(&calls), "a Poisson process of 50: {calls}");
    assert_eq!(ended.number("/times/call/count"), calls, "{}", ended.tale());
}

#[test]
fn connections_that_come_and_go_lose_nothing() {
    let gateway = TestGateway::start();
    let load = ["-R", "1k", "-d", "2s", "--churn", "50", "--reconnect", "10"];
    let ended = Tool::run(&[&["run", &gateway.target()], &load[..], &FEW[..]].concat());
    ended.expect_code(0);
    ended.all_came_back();
    let (churned, reconnected) = (ended.number("/counts/churned"), ended.number("/counts/reconnected"));
    assert!((40..=160).contains(&churned), "a Poisson process of 100: {churned}");
    assert!((5..=45).contains(&reconnected), "a Poisson process of 20: {reconnected}");
    assert_eq!(ended.number("/times/connect/count"), 3 + 1 + reconnected, "{}", ended.tale());
    let errors = ended.json["errors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["kind"] == "not_sent"), "{errors:#?}");
}

#[test]
fn clients_are_spread_over_several_gateways() {
    let gateways = [TestGateway::start(), TestGateway::start()];
    let targets = gateways.each_ref().map(TestGateway::target);
    let mut tool = Tool::start(&[
        "run",
        &targets[0],
        &targets[1],
        "-R",
        "500",
        "-d",
        "1s",
        "-w",
        "0s",
        "-c",
        "6",
        "--servers",
        "2",
    ]);
    tool.until_at_work(1);
    for gateway in &gateways {
        let counts = gateway.counts();
        assert_eq!((counts.clients, counts.servers, counts.conns), (3, 2, 30));
    }
    let ended = tool.end();
    ended.expect_code(0);
    ended.all_came_back();
}

#[test]
fn a_count_is_sent_to_the_message() {
    let gateway = TestGateway::start();
    for load in
        [&["-R", "2k"][..], &["--inflight", "3"], &["-R", "2k", "--arrivals", "poisson", "--threads", "2"]]
    {
        let ended = Tool::run(&[&["run", &gateway.target(), "-n", "1000"], load, &FEW[..]].concat());
        ended.expect_code(0);
        ended.all_came_back();
        for count in ["due", "sent", "received"] {
            assert_eq!(
                ended.number(&format!("/counts/{count}")),
                1000,
                "{load:?}, {count}: {}",
                ended.tale()
            );
        }
    }
}

#[test]
fn warming_up_is_not_measured() {
    let gateway = TestGateway::start();
    let load = ["-R", "1k", "-d", "1s", "-w", "1s", "-c", "3", "--conns", "2"];
    let ended = Tool::run(&[&["run", &gateway.target()], &load[..]].concat());
    ended.expect_code(0);
    let count = |name: &str| ended.number(&format!("/counts/{name}"));
    assert_eq!((count("due"), count("measured_due"), count("measured_received")), (2000, 1000, 1000));
    assert_eq!(ended.number("/times/response/count"), 1000);
}

#[test]
fn without_arguments_it_shows_what_it_can() {
    let begun = Instant::now();
    let ended = Tool::start_bare(&[]).end();
    let elapsed = begun.elapsed();
    assert!([Some(0), Some(5)].contains(&ended.code), "{}", ended.tale());
    assert!(ended.says("VALID") && ended.says("100 clients") && ended.says("integrity"), "{}", ended.tale());
    assert!(elapsed > Duration::from_secs(5) && elapsed < Duration::from_secs(20), "{elapsed:?}");
}
