//! One message among hundreds goes astray: the tool says so, says which one, and counts nothing else.

use crate::relay::{Flow, Port, Relay, Spoil, Victim};
use crate::support::{Ended, TestGateway, Tool};

/// Few and slow enough for a busy machine; two clients, each with two connections.
const LOAD: [&str; 10] = ["-R", "1k", "-n", "600", "-w", "0s", "-c", "2", "--conns", "2"];

/// Where the message is spoilt: all four places that it passes.
const PLACES: [(Port, Flow); 4] = [
    (Port::Public, Flow::Up),
    (Port::Internal, Flow::Down),
    (Port::Internal, Flow::Up),
    (Port::Public, Flow::Down),
];

/// On the way there, or back.
fn way(port: Port, flow: Flow) -> &'static str {
    if (port, flow) == PLACES[0] || (port, flow) == PLACES[1] { "there" } else { "back" }
}

fn run_with(port: Port, flow: Flow, spoil: Spoil, wait: usize, load: &[&str]) -> (Ended, Victim) {
    let gateway = TestGateway::start();
    let (public, internal) = (gateway.client_addr, gateway.server_addr);
    let relay = Relay::start(if port == Port::Public { public } else { internal }, port, flow, spoil, wait);
    let target = match port {
        Port::Public => format!("{}/{internal}", relay.addr),
        Port::Internal => format!("{public}/{}", relay.addr),
    };
    let ended = Tool::run(&[&["run", &target], load].concat());
    let victim = relay.victim().unwrap_or_else(|| panic!("nothing was spoilt\n{}", ended.tale()));
    (ended, victim)
}

/// The ledgers balance, with these faults and no others.
#[track_caller]
fn expect_faults(ended: &Ended, there: &[&str], back: &[&str]) {
    assert_eq!(ended.code, Some(4), "{}", ended.tale());
    for (way, expected) in [("there", there), ("back", back)] {
        let ledger = &ended.json["integrity"][way];
        assert_eq!(ledger["balances"], true, "{way}: {ledger:#}\n{}", ended.tale());
        assert_eq!(ledger["open"], 0, "{way}: {ledger:#}\n{}", ended.tale());
        let faults = ledger["faults"].as_object().unwrap();
        assert_eq!(faults.len(), 6);
        for (fault, count) in faults {
            let expected = u64::from(expected.contains(&fault.as_str()));
            assert_eq!(*count, expected, "{way}, {fault}: {ledger:#}\n{}", ended.tale());
        }
    }
}

/// The report and the JSON name the connection and the message.
#[track_caller]
fn expect_name(ended: &Ended, way: &str, fault: &str, victim: Victim, of: &str) {
    let examples = ended.json["integrity"][way]["examples"].as_array().unwrap();
    let example = examples.iter().find(|example| example["fault"] == fault).expect("there is an example");
    let text = example["text"].as_str().unwrap();
    let conn = format!("connection {}", victim.conn);
    assert!(text.contains(&conn) && text.contains(of), "{way}: {conn} and {of:?} should be in {text:?}");
    assert!(ended.says(text), "{text:?} should be in the report\n{}", ended.report);
}

#[test]
fn a_run_without_faults_says_so() {
    let gateway = TestGateway::start();
    let relay = Relay::start(gateway.client_addr, Port::Public, Flow::Up, Spoil::Nothing, 0);
    let ended =
        Tool::run(&[&["run", &format!("{}/{}", relay.addr, gateway.server_addr)], &LOAD[..]].concat());
    ended.expect_code(0);
    ended.all_came_back();
    assert_eq!(ended.number("/counts/received"), 600);
}

#[test]
fn a_message_with_a_flipped_bit_is_corrupt() {
    // In its time, its number, its check, and behind them.
    for ((port, flow), byte) in PLACES.into_iter().zip([40, 8, 12, 2]) {
        let (ended, victim) = run_with(port, flow, Spoil::Flip(byte), 300, &LOAD);
        let way = way(port, flow);
        match way {
            "there" => expect_faults(&ended, &["corrupt"], &["lost"]),
            _ => expect_faults(&ended, &[], &["corrupt"]),
        }
        expect_name(&ended, way, "corrupt", victim, &format!("message {}", victim.seq));
    }
}

#[test]
fn a_message_that_does_not_come_is_lost() {
    for (port, flow) in PLACES {
        let (ended, victim) = run_with(port, flow, Spoil::Drop, 300, &LOAD);
        let way = way(port, flow);
        match way {
            "there" => expect_faults(&ended, &["lost"], &["lost"]),
            _ => expect_faults(&ended, &[], &["lost"]),
        }
        let gap = format!("after message {} came {}", victim.seq - 1, victim.seq + 1);
        expect_name(&ended, way, "lost", victim, &gap);
    }
}

#[test]
fn a_message_that_comes_twice_is_duplicated() {
    for (port, flow) in PLACES {
        let (ended, victim) = run_with(port, flow, Spoil::Repeat, 300, &LOAD);
        let way = way(port, flow);
        match way {
            "there" => expect_faults(&ended, &["duplicated"], &[]),
            _ => expect_faults(&ended, &[], &["duplicated"]),
        }
        expect_name(&ended, way, "duplicated", victim, &format!("message {}", victim.seq));
    }
}

#[test]
fn a_message_that_comes_after_the_next_one_is_reordered() {
    for (port, flow) in PLACES {
        let (ended, victim) = run_with(port, flow, Spoil::Swap, 300, &LOAD);
        let way = way(port, flow);
        match way {
            // The echoes come in the order of the questions.
            "there" => expect_faults(&ended, &["reordered"], &["reordered"]),
            _ => expect_faults(&ended, &[], &["reordered"]),
        }
        expect_name(&ended, way, "reordered", victim, &format!("message {}", victim.seq));
    }
}

/// It is missing on its own connection as well.
#[test]
fn a_message_that_comes_on_another_connection_is_misrouted() {
    for (port, flow) in PLACES {
        let (ended, victim) = run_with(port, flow, Spoil::Reroute, 300, &LOAD);
        let way = way(port, flow);
        match way {
            "there" => expect_faults(&ended, &["misrouted", "lost"], &["lost"]),
            _ => expect_faults(&ended, &[], &["misrouted", "lost"]),
        }
        expect_name(&ended, way, "misrouted", victim, &format!("message {}", victim.seq));
    }
}

#[test]
fn a_message_after_the_close_of_its_connection_is_a_fault() {
    for (port, there, back) in
        [(Port::Public, &[][..], &["after_close"][..]), (Port::Internal, &["after_close"], &[])]
    {
        let load = [&LOAD[..], &["--churn", "20"]].concat();
        let (ended, victim) = run_with(port, Flow::Down, Spoil::AfterClose, 0, &load);
        expect_faults(&ended, there, back);
        let way = if there.is_empty() { "back" } else { "there" };
        expect_name(&ended, way, "after_close", victim, &format!("message {}", victim.seq));
    }
}
