//! The floor, which is what others are measured against: it has to do the same work.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fastway::command::ToGateway;
use fastway::frame;
use fastway::handshake::{Challenge, Hello};
use fastway::id::{ConnId, RemoteId, ServerId};
use fastway::net::TcpNetwork;
use fastway_loadgen::floor::Floor;
use fastway_loadgen::run::{Quiet, run};
use fastway_loadgen::{Load, Plan, Sizes};

/// Messages longer than a read, more of them than sockets take at once, and virtual connections that either side opens.
#[test]
fn the_floor_loses_nothing() {
    let plan = Plan {
        targets: vec![Floor::start().unwrap()],
        clients: 10,
        conns_per_client: 2,
        load: Load::Closed { inflight: 8 },
        sizes: Sizes::Uniform(16, 500_000),
        churn: 100.0,
        calls: 100.0,
        warm_up: Duration::ZERO,
        duration: Some(Duration::from_secs(2)),
        ..Plan::default()
    };
    let results = run(&plan, vec![TcpNetwork::new()], &mut Quiet).unwrap();
    let tally = &results.tally;
    assert_eq!(results.failure, None);
    assert!(results.there.is_clean() && results.back.is_clean() && results.back.balances(), "{results:?}");
    assert_eq!((tally.censored, results.errors.total()), (0, 0), "{:?}", results.errors);
    assert!(tally.received > 0 && tally.churned > 0 && tally.calls > 0, "{tally:?}");
}

/// The bytes of an Accept, a Connect and a Refuse.
const OPENED: usize = 17;
const REFUSED: usize = 13;

/// What the socket does not take has to go out when it does, although nobody says anything meanwhile.
#[test]
fn what_a_slow_server_did_not_take_comes_later() {
    let target = Floor::start().unwrap();
    let mut server = TcpStream::connect(&target.server_addr).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut challenge = [0; Challenge::BYTES];
    server.read_exact(&mut challenge).unwrap();
    let hello: [u8; Hello::BYTES] = Challenge(challenge).answer(b"", ServerId::new(7)).encode();
    server.write_all(&hello).unwrap();
    // It is registered for a fact when it is answered.
    server.write_all(dial(4711).as_ref()).unwrap();
    server.read_exact(&mut [0; REFUSED]).unwrap();

    let mut client = TcpStream::connect(&target.client_addr).unwrap();
    client.write_all(dial(7).as_ref()).unwrap();
    let mut accept = [0; OPENED];
    client.read_exact(&mut accept).unwrap();
    let conn = u32::from_le_bytes(accept[9..13].try_into().unwrap());
    let mut sent = Vec::new();
    for number in 0..32 {
        frame::encode(ConnId::new(conn).unwrap(), &vec![number; 1024 * 1024], &mut sent);
    }
    client.write_all(&sent).unwrap();
    // The pong comes when all of it was handled.
    client.write_all(ToGateway::Ping.encode().as_ref()).unwrap();
    client.read_exact(&mut [0; 9]).unwrap();

    server.read_exact(&mut [0; OPENED]).unwrap();
    let mut came = vec![0; sent.len()];
    server.read_exact(&mut came).unwrap();
    assert!(came == sent, "the bytes are others");
}

fn dial(remote: u32) -> fastway::command::CommandFrame {
    ToGateway::Dial { remote: RemoteId::new(remote) }.encode()
}
