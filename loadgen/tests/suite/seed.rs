//! The same seed sends the same messages.

use crate::relay::{Flow, Messages, Port, Relay, Spoil};
use crate::support::{TestGateway, Tool};

/// Of each virtual connection: numbers and lengths.
fn sent_with(seed: &str) -> Vec<Messages> {
    let gateway = TestGateway::start();
    let relay = Relay::start(gateway.client_addr, Port::Public, Flow::Up, Spoil::Nothing, 0);
    let target = format!("{}/{}", relay.addr, gateway.server_addr);
    let load = ["-R", "5k", "-n", "2000", "-w", "0s", "-s", "uniform:16-1K", "-c", "3", "--conns", "2"];
    let ended = Tool::run(&[&["run", &target, "--seed", seed], &load[..]].concat());
    ended.expect_code(0);
    ended.all_came_back();
    relay.seen()
}

#[test]
fn the_same_seed_sends_the_same_messages() {
    let first = sent_with("7");
    assert_eq!(first.len(), 6);
    assert!(first.iter().map(Vec::len).sum::<usize>() >= 2000);
    for messages in &first {
        let in_order = messages.iter().enumerate().all(|(index, (seq, _))| index == *seq as usize);
        assert!(in_order && messages.iter().all(|(_, len)| (16..=1024).contains(len)));
    }
    assert!(first == sent_with("7"), "another run with the same seed sent other messages");
    assert!(first != sent_with("8"), "another seed sent the same messages");
}
