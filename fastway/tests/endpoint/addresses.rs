//! Asking for the addresses of clients: gateways that know the question, and those that do not. The rules are those of
//! docs/protocol-extensions.md.

use super::support::*;

/// Dial, client 0, `FWX1`, the first extension.
const QUESTION: [u8; 21] = [17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 1, 0, 0, 0];

/// Refuse, client 0, `FWX1`, the first extension.
const GRANT: [u8; 21] = [17, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, b'F', b'W', b'X', b'1', 1, 0, 0, 0];

/// 192.0.2.7, port 5.
const ADDR_BYTES: [u8; 18] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7, 5, 0];
const CLIENT: &str = "192.0.2.7:5";

/// With something behind its arguments.
fn with(command: ToEndpoint, behind: &[u8]) -> Vec<u8> {
    let mut frame = [command.encode().as_ref(), behind].concat();
    frame[0] += behind.len() as u8;
    frame
}

fn connect(number: u32) -> ToEndpoint {
    ToEndpoint::Connect { conn: conn(number), remote: remote(42) }
}

fn asking() -> EndpointConfig {
    EndpointConfig { ask_client_addr: true, ..EndpointConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn rule_e1_the_question_comes_with_the_answer_to_the_challenge() {
    let (mut script, server, hello) = with_server(asking()).await;
    assert_eq!((hello.len(), &hello[20..]), (41, &QUESTION[..]));
    script.expect_nothing().await;
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_says_what_the_original_says_and_believes_nothing() {
    let (mut script, server, hello) = with_server(EndpointConfig::default()).await;
    assert_eq!(hello.len(), 20);
    script.send(with(connect(3), &ADDR_BYTES)).await;
    assert_eq!(server.accept().await.unwrap().client_addr(), None);
    // A grant that nobody asked for is the refusal of somebody's dial at most.
    script.send(GRANT).await;
    script.send(with(connect(4), &ADDR_BYTES)).await;
    assert_eq!(server.accept().await.unwrap().client_addr(), None);
}

/// A frame with the question is 21 bytes long: to a gateway that takes shorter ones only, it is the end of the link.
#[tokio::test(start_paused = true)]
async fn nobody_asks_where_the_packets_are_too_small_for_it() {
    for (max_packet, bytes) in [(MaxPacket::SMALLEST, 20), (30, 20), (31, 41)] {
        let max_packet = MaxPacket::new(max_packet).unwrap();
        let (mut script, server, hello) = with_server(EndpointConfig { max_packet, ..asking() }).await;
        assert_eq!(hello.len(), bytes, "{max_packet:?}");
        if bytes == 20 {
            script.connect(3, 42).await;
            assert_eq!(server.accept().await.unwrap().client_addr(), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_e5_after_a_grant_every_connection_has_its_address_whoever_dials() {
    let (mut script, server, _) = with_server(asking()).await;
    script.send(GRANT).await;
    script.send(with(connect(3), &ADDR_BYTES)).await;
    assert_eq!(server.accept().await.unwrap().client_addr(), Some(CLIENT.parse().unwrap()));
    let (dialled, ()) = tokio::join!(server.dial(ClientId::new(42).unwrap()), async {
        script.expect(close(3)).await;
        script.expect(dial(42)).await;
        script.send(with(ToEndpoint::Accept { conn: conn(4), remote: remote(42) }, &ADDR_BYTES)).await;
    });
    assert_eq!(dialled.unwrap().client_addr(), Some(CLIENT.parse().unwrap()));
}

/// Rule E6, and those who will come: more bytes than are known are ignored, and fewer are none.
#[tokio::test(start_paused = true)]
async fn an_address_that_is_unknown_or_cut_off_is_none() {
    let (mut script, server, _) = with_server(asking()).await;
    script.send(GRANT).await;
    let longer = [&ADDR_BYTES[..], b"more"].concat();
    for (behind, known) in [(&[0; 18][..], false), (&ADDR_BYTES[..17], false), (&[], false), (&longer, true)]
    {
        script.send(with(connect(3), behind)).await;
        let addr = server.accept().await.unwrap().client_addr();
        assert_eq!(addr.is_some(), known, "{behind:?}");
    }
}

/// Rule E4. Whoever accepts waits for the answer, so a connection has its address from the first moment.
#[tokio::test(start_paused = true)]
async fn what_was_opened_before_the_grant_is_accepted_after_it_with_its_address() {
    let (mut script, server, _) = with_server(asking()).await;
    script.connect(3, 42).await;
    script.connect(4, 42).await;
    script.send(data(3, b"early")).await;
    let accepting = server.accept();
    tokio::pin!(accepting);
    assert!(timeout(SECOND * 20, &mut accepting).await.is_err(), "the gateway has not answered");
    let list = [&3_u32.to_le_bytes(), &ADDR_BYTES[..], &99_u32.to_le_bytes(), &ADDR_BYTES[..]].concat();
    let refuse = [&GRANT[..], &list].concat();
    script.send([&[17 + 2 * 22], &refuse[1..]].concat()).await;
    let mut first = accepting.await.unwrap();
    assert_eq!((first.id(), first.client_addr()), (conn(3), Some(CLIENT.parse().unwrap())));
    assert_eq!(first.recv().await.unwrap(), "early");
    let second = server.accept().await.unwrap();
    assert_eq!((second.id(), second.client_addr()), (conn(4), None), "it was not in the list");
}

/// What holds the link up holds the answer up too, so nobody may wait for that.
#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_behind_messages_keeps_nobody_from_accepting_them() {
    let config =
        EndpointConfig { slow_receiver: SlowReceiver::LinkWaits, recv_queue_messages: 1, ..asking() };
    let (mut script, server, _) = with_server(config).await;
    script.connect(3, 42).await;
    script.send([data(3, b"one"), data(3, b"two")].concat()).await;
    let list = [&3_u32.to_le_bytes(), &ADDR_BYTES[..]].concat();
    script.send([&[17 + 22], &GRANT[1..], &list].concat()).await;
    let mut accepted = timeout(SECOND, server.accept()).await.expect("it is accepted").unwrap();
    assert_eq!(accepted.client_addr(), None, "the answer has not been read");
    assert_eq!(accepted.recv().await.unwrap(), "one");
    assert_eq!(accepted.recv().await.unwrap(), "two");
    script.expect_nothing().await;
    assert_eq!(accepted.client_addr(), Some(CLIENT.parse().unwrap()));
}

/// Rule E7. The gateways of the original, of both generations: they look up client 0, find nobody, and say so.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_know_the_question_serves_as_ever() {
    let (mut script, server, _) = with_server(asking()).await;
    // It may have found a client before it came to the question.
    script.connect(3, 42).await;
    script.refuse(0).await;
    script.connect(4, 43).await;
    for number in [3, 4] {
        let mut accepted = server.accept().await.unwrap();
        assert_eq!((accepted.id(), accepted.client_addr()), (conn(number), None));
        accepted.send("hello").await.unwrap();
        script.expect(data(number, b"hello")).await;
        drop(accepted);
        script.expect(close(number)).await;
    }
    let (dialled, ()) = tokio::join!(server.dial(ClientId::new(42).unwrap()), async {
        script.expect(dial(42)).await;
        script.accept(5, 42).await;
    });
    assert_eq!(dialled.unwrap().client_addr(), None);
    let (dialled, ()) = tokio::join!(server.dial(ClientId::new(7).unwrap()), async {
        script.expect(close(5)).await;
        script.expect(dial(7)).await;
        script.refuse(7).await;
    });
    assert!(is_refused(&dialled, 7), "{dialled:?}");
}

/// The original counts its clients through 0 after four billion of them, and then there is one of that number.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_has_a_client_0_gets_its_connection_closed() {
    let (mut script, server, _) = with_server(asking()).await;
    script.accept(3, 0).await;
    script.expect(close(3)).await;
    script.connect(4, 42).await;
    assert_eq!(server.accept().await.unwrap().client_addr(), None);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_ends_before_the_answer_says_so() {
    let (mut script, server, _) = with_server(asking()).await;
    script.connect(3, 42).await;
    drop(script);
    assert!(matches!(server.accept().await, Err(LinkError::ClosedByGateway)));
}
