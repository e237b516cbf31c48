//! Rules 5 and 6: messages arrive whole, once, in order, and only from those who own the connection.

use super::support::{TestGateway, config, config_with, wire};

fn message(number: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (number.wrapping_mul(31).wrapping_add(i * 7) >> 2) as u8).collect()
}

#[tokio::test]
async fn rule_5_messages_arrive_whole_once_and_in_order() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    let sizes = [0, 1, 4, 63, 64, 1000, 4096, 65_527, 65_528, 65_529, 100_000];
    let stream: Vec<u8> =
        sizes.iter().zip(0..).flat_map(|(&len, n)| wire::data(conn, &message(n, len))).collect();
    for client_sends in [true, false] {
        let (from, to) = if client_sends { (&mut client, &mut server) } else { (&mut server, &mut client) };
        tokio::join!(from.send(&stream), async {
            for (&len, number) in sizes.iter().zip(0..) {
                to.expect(wire::data(conn, &message(number, len))).await;
            }
        });
        to.expect_nothing().await;
    }
}

#[tokio::test]
async fn rule_5_bytes_may_come_one_by_one() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    for byte in [wire::data(conn, b"slow"), wire::data(conn, b""), wire::data(conn, b"er")].concat() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    server.expect(wire::data(conn, b"slow")).await;
    server.expect(wire::data(conn, b"")).await;
    server.expect(wire::data(conn, b"er")).await;
}

#[tokio::test]
async fn rule_5_the_largest_packet_is_legal() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server, conn) = gateway.pair().await;
    let largest = wire::data(conn, &message(1, 512 * 1024 - 4));
    assert_eq!(largest[..4], (512 * 1024_u32).to_le_bytes());
    tokio::join!(client.send(&largest), server.expect(&largest));
    tokio::join!(server.send(&largest), client.expect(&largest));
}

/// The number of a connection can be guessed before `Accept` has come. A `Close` for it, which would come behind the
/// `Accept`, would be taken for the end of a connection that is open.
#[tokio::test]
async fn rule_6_a_connection_that_was_dialled_just_before_is_known() {
    let gateway = TestGateway::start(config()).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(7).await);
    client.send([wire::dial(7), wire::data(1, b"early")].concat()).await;
    client.expect(wire::accept(1, 7)).await;
    server.expect(wire::connect(1, 1)).await;
    server.expect(wire::data(1, b"early")).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn rule_5_connections_of_one_client_do_not_mix() {
    let gateway = TestGateway::start(config()).await;
    let mut client = gateway.client().await;
    let (mut seven, mut eight) = (gateway.server(7).await, gateway.server(8).await);
    let to_seven = client.open(7, &mut seven).await;
    let to_eight = client.open(8, &mut eight).await;
    client.send([wire::data(to_eight, b"8"), wire::data(to_seven, b"7")].concat()).await;
    seven.expect(wire::data(to_seven, b"7")).await;
    eight.expect(wire::data(to_eight, b"8")).await;
    seven.expect_nothing().await;
    eight.expect_nothing().await;
}

/// Pitfalls 5, 7 and 9: never opened, closed, somebody else's. The sender stays; nobody else notices.
#[tokio::test]
async fn rule_6_a_message_on_a_foreign_connection_is_answered_by_close() {
    let gateway = TestGateway::start(config_with(|config| config.client.max_conn = 4)).await;
    let (mut owner, mut server, conn) = gateway.pair().await;
    let closed = owner.open(7, &mut server).await;
    owner.send(wire::close(closed)).await;
    owner.expect(wire::close(closed)).await;
    server.expect(wire::close(closed)).await;

    let (mut stranger, mut other_server) = (gateway.client().await, gateway.server(8).await);
    for peer in [&mut stranger, &mut other_server] {
        for id in [conn, closed, 1000, u32::MAX] {
            peer.send(wire::data(id, b"not mine")).await;
            peer.expect(wire::close(id)).await;
        }
        peer.expect_nothing().await;
    }
    for peer in [&mut owner, &mut server] {
        peer.send(wire::data(closed, b"not any more")).await;
        peer.expect(wire::close(closed)).await;
    }
    owner.send(wire::data(conn, b"still mine")).await;
    server.expect(wire::data(conn, b"still mine")).await;
    server.expect_nothing().await;
    owner.expect_nothing().await;
}
