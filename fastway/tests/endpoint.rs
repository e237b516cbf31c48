//! The endpoints against a scripted gateway that writes raw bytes, over memory and virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use fastway::command::{ToEndpoint, ToGateway};
use fastway::endpoint::{
    Client, CloseReason, ConnectError, DialError, EndpointConfig, LinkError, SendError, Server, SlowReceiver,
    VirtualConn,
};
use fastway::frame::{FrameError, MaxPacket, encode};
use fastway::id::{ClientId, ConnId, RemoteId, ServerId};
use fastway::keepalive::KeepaliveConfig;
use fastway::net::{BindOptions, Listener as _, MemoryListener, MemoryNetwork, MemoryStream, Network as _};
use futures_util::{SinkExt, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const ADDR: &str = "10.0.0.1:7010";

fn conn(number: u32) -> ConnId {
    ConnId::new(number).unwrap()
}

fn remote(number: u32) -> RemoteId {
    RemoteId::new(number)
}

fn dial(number: u32) -> Vec<u8> {
    ToGateway::Dial { remote: remote(number) }.encode().as_ref().to_vec()
}

fn close(number: u32) -> Vec<u8> {
    ToGateway::Close { conn: Some(conn(number)) }.encode().as_ref().to_vec()
}

fn ping() -> Vec<u8> {
    ToGateway::Ping.encode().as_ref().to_vec()
}

fn data(number: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(conn(number), message, &mut frame);
    frame
}

/// A gateway that does what the test says.
struct Script {
    stream: MemoryStream,
}

impl Script {
    async fn with_client(config: EndpointConfig) -> (Self, Client) {
        let (network, mut listener) = listening().await;
        let client = Client::connect(&network, ADDR, config).await.unwrap();
        (Self { stream: listener.accept().await.unwrap() }, client)
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn say(&mut self, command: ToEndpoint) {
        self.send(command.encode()).await;
    }

    async fn accept(&mut self, number: u32, from: u32) {
        self.say(ToEndpoint::Accept { conn: conn(number), remote: remote(from) }).await;
    }

    async fn connect(&mut self, number: u32, from: u32) {
        self.say(ToEndpoint::Connect { conn: conn(number), remote: remote(from) }).await;
    }

    async fn refuse(&mut self, from: u32) {
        self.say(ToEndpoint::Refuse { remote: remote(from) }).await;
    }

    async fn frame(&mut self) -> Vec<u8> {
        let length = self.stream.read_u32_le().await.unwrap();
        let mut frame = length.to_le_bytes().to_vec();
        frame.resize(4 + length as usize, 0);
        self.stream.read_exact(&mut frame[4..]).await.unwrap();
        frame
    }

    #[track_caller]
    fn expect(&mut self, frame: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let actual = timeout(SECOND * 300, self.frame()).await.expect("a frame comes");
            assert_eq!(actual, frame.as_ref(), "{caller}");
        }
    }

    /// The endpoint says nothing of its own accord: the answer to this question comes first.
    async fn expect_nothing(&mut self) {
        self.say(ToEndpoint::Ping).await;
        self.expect(ping()).await;
    }

    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// A virtual connection that the client dialled.
    async fn open(&mut self, client: &Client, number: u32) -> VirtualConn {
        let (dialled, ()) = tokio::join!(client.dial(ServerId::new(7)), async {
            self.expect(dial(7)).await;
            self.accept(number, 7).await;
        });
        dialled.unwrap()
    }
}

async fn listening() -> (MemoryNetwork, MemoryListener) {
    let network = MemoryNetwork::new();
    let listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    (network, listener)
}

fn is_refused(dialled: &Result<VirtualConn, DialError>, by: u32) -> bool {
    matches!(dialled, Err(DialError::Refused { remote: from }) if *from == remote(by))
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_the_challenge_and_accepts_and_dials() {
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"key", EndpointConfig::default());
    let (server, mut script) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        let mut hello = [0; 20];
        stream.read_exact(&mut hello).await.unwrap();
        // printf 12345678key | md5sum
        assert_eq!(hello[..4], [0xde, 0x9a, 0x53, 0x93], "{hello:x?}");
        assert_eq!(hello[16..], [9, 0, 0, 0]);
        Script { stream }
    });
    let server = server.unwrap();
    assert_eq!(server.id(), ServerId::new(9));
    script.connect(3, 42).await;
    let mut accepted = server.accept().await.unwrap();
    assert_eq!((accepted.id(), accepted.remote().client()), (conn(3), ClientId::new(42)));
    script.send(data(3, b"hello")).await;
    assert_eq!(accepted.recv().await.unwrap(), "hello");
    let (dialled, ()) = tokio::join!(server.dial(ClientId::new(42).unwrap()), async {
        script.expect(dial(42)).await;
        script.accept(4, 42).await;
    });
    dialled.unwrap().send("hi").await.unwrap();
    script.expect(data(4, b"hi")).await;
}

#[tokio::test(start_paused = true)]
async fn connecting_fails_with_what_to_do() {
    let network = MemoryNetwork::new();
    let refused = Client::connect(&network, ADDR, EndpointConfig::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Network { .. }));
    assert!(refused.to_string().contains(ADDR) && refused.to_string().contains("check"), "{refused}");

    // A gateway that never sends its challenge, and one that hangs up.
    let mut listener = network.bind(ADDR.parse().unwrap(), BindOptions::default()).await.unwrap();
    let begun = Instant::now();
    let connect = || Server::connect(&network, ADDR, ServerId::new(1), b"", EndpointConfig::default());
    let silent = connect().await.unwrap_err();
    assert!(matches!(silent, ConnectError::Timeout { .. }), "{silent}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    drop(listener.accept().await);
    let (broken, _) = tokio::join!(connect(), async { drop(listener.accept().await) });
    assert!(matches!(broken, Err(ConnectError::Handshake { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_turned_away_is_told_to_check_its_key() {
    let (network, mut listener) = listening().await;
    let connecting = Server::connect(&network, ADDR, ServerId::new(9), b"wrong", EndpointConfig::default());
    let (server, ()) = tokio::join!(connecting, async {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"12345678").await.unwrap();
        stream.read_exact(&mut [0; 20]).await.unwrap();
    });
    let end = server.unwrap().ended().await;
    assert!(matches!(end, LinkError::TurnedAway), "{end}");
    assert!(end.to_string().contains("key"), "{end}");
}

/// Pitfall 24: pings that nobody asked for, late ones, and a lot of them.
#[tokio::test(start_paused = true)]
async fn pitfall_24_unsolicited_pings_are_answered_and_block_nothing() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    script.send(ping().repeat(1000)).await;
    script.send(data(1, b"behind them")).await;
    assert_eq!(conn.recv().await.unwrap(), "behind them");
    for _ in 0..1000 {
        script.expect(ping()).await;
    }
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_pinged_and_then_given_up() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    let begun = Instant::now();
    script.expect(ping()).await;
    assert_eq!(begun.elapsed().as_secs(), 30);
    let end = client.ended().await;
    assert!(matches!(end, LinkError::Silent(_)), "{end}");
    assert_eq!(begun.elapsed().as_secs(), 60);
    assert!(conn.recv().await.is_none());
    assert!(matches!(conn.close_reason(), Some(CloseReason::Link(LinkError::Silent(_)))));
    assert!(matches!(client.accept().await, Err(LinkError::Silent(_))));
    assert!(matches!(client.dial(ServerId::new(1)).await, Err(DialError::Link(LinkError::Silent(_)))));
}

/// Second generation: the endpoint pings, the gateway echoes, and the echo is not answered.
#[tokio::test(start_paused = true)]
async fn the_echo_of_a_ping_is_not_answered() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    for _ in 0..20 {
        let begun = Instant::now();
        script.expect(ping()).await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        script.say(ToEndpoint::Ping).await;
    }
    assert!(timeout(SECOND * 20, script.frame()).await.is_err(), "nothing more");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn with_answer_only_the_endpoint_never_speaks_first() {
    let config = EndpointConfig { keepalive: KeepaliveConfig::ANSWER_ONLY, ..EndpointConfig::default() };
    let (mut script, _client) = Script::with_client(config).await;
    assert!(timeout(SECOND * 86_400, script.frame()).await.is_err());
    script.expect_nothing().await;
}

/// Pitfall 26.
#[tokio::test(start_paused = true)]
async fn pitfall_26_a_dial_has_a_timeout() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let begun = Instant::now();
    let dialled = client.dial(ServerId::new(7)).await;
    assert!(matches!(dialled, Err(DialError::Timeout { .. })));
    assert_eq!(begun.elapsed().as_secs(), 5);
    // Its late answer opens a connection that nobody wants.
    script.expect(dial(7)).await;
    script.accept(1, 7).await;
    script.expect(close(1)).await;
    let mut conn = script.open(&client, 2).await;
    script.send(data(2, b"mine")).await;
    assert_eq!(conn.recv().await.unwrap(), "mine");
}

#[tokio::test(start_paused = true)]
async fn pitfall_26_an_answer_is_for_the_dial_to_that_remote() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let [to_7, to_8, again_to_7] = [7, 8, 7].map(|number| client.dial(ServerId::new(number)));
    let (to_7, to_8, again_to_7, ()) = tokio::join!(to_7, to_8, again_to_7, async {
        for number in [7, 8, 7] {
            script.expect(dial(number)).await;
        }
        script.refuse(1000).await;
        script.accept(1, 1000).await;
        script.expect(close(1)).await;
        script.accept(2, 8).await;
        script.accept(3, 7).await;
        script.refuse(7).await;
    });
    assert_eq!((to_8.as_ref().unwrap().id(), to_8.as_ref().unwrap().remote()), (conn(2), remote(8)));
    assert_eq!((to_7.as_ref().unwrap().id(), to_7.as_ref().unwrap().remote()), (conn(3), remote(7)));
    assert!(is_refused(&again_to_7, 7));
    assert!(again_to_7.unwrap_err().to_string().contains("nobody by that ID"));
}

/// Pitfall 27: the answer comes while nobody waits for it, and data right behind it.
#[tokio::test(start_paused = true)]
async fn pitfall_27_an_answer_that_nobody_waits_for_blocks_nothing() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    {
        let given_up = client.dial(ServerId::new(7));
        assert!(timeout(SECOND, given_up).await.is_err());
    }
    script.expect(dial(7)).await;
    script.accept(1, 7).await;
    script.send(data(1, b"too late")).await;
    script.expect(close(1)).await;

    let dialling = client.dial(ServerId::new(7));
    let (dialled, ()) = tokio::join!(dialling, async {
        script.expect(dial(7)).await;
        script
            .send(
                [
                    ToEndpoint::Accept { conn: conn(2), remote: remote(7) }.encode().as_ref(),
                    &data(2, b"early"),
                ]
                .concat(),
            )
            .await;
    });
    assert_eq!(dialled.unwrap().recv().await.unwrap(), "early");
}

/// The answer is there, but whoever dialled goes away before looking at it.
#[tokio::test(start_paused = true)]
async fn pitfall_27_an_answer_that_is_not_taken_is_closed() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    {
        let mut dialling = std::pin::pin!(client.dial(ServerId::new(7)));
        assert!(futures_util::poll!(&mut dialling).is_pending());
        script.expect(dial(7)).await;
        script.accept(1, 7).await;
        script.expect_nothing().await;
    }
    script.expect(close(1)).await;
}

/// Pitfall 28, first half.
#[tokio::test(start_paused = true)]
async fn pitfall_28_connections_that_are_not_accepted_are_closed_and_not_leaked() {
    let config = EndpointConfig { accept_queue: 2, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    for number in 1..=4 {
        script.connect(number, 7).await;
    }
    script.expect(close(3)).await;
    script.expect(close(4)).await;
    script.send(data(3, b"nobody's")).await;
    let first = client.accept().await.unwrap();
    let second = client.accept().await.unwrap();
    assert_eq!((first.id(), second.id()), (conn(1), conn(2)));
    // There is room again, and the numbers of the closed ones are free.
    script.connect(3, 8).await;
    assert_eq!(client.accept().await.unwrap().remote(), remote(8));
    drop(first);
    script.expect(close(3)).await;
    script.expect(close(1)).await;
}

/// Pitfall 28, second half.
#[tokio::test(start_paused = true)]
async fn pitfall_28_sending_on_a_closed_connection_is_an_error() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    script.send([data(1, b"last"), close(1)].concat()).await;
    assert_eq!(conn.recv().await.unwrap(), "last");
    assert!(conn.recv().await.is_none());
    let error = conn.send("too late").await.unwrap_err();
    assert!(matches!(error, SendError::Closed(CloseReason::ClosedByRemote)), "{error}");
    assert!(conn.flush().await.is_ok() || conn.flush().await.is_err(), "neither hangs nor panics");
    conn.close();
    drop(conn);
    script.expect_nothing().await;
}

/// Pitfall 29, as it is by default.
#[tokio::test(start_paused = true)]
async fn pitfall_29_a_connection_that_is_not_received_from_closes_and_the_others_go_on() {
    let config = EndpointConfig { recv_queue_messages: 3, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let (mut slow, mut good) = (script.open(&client, 1).await, script.open(&client, 2).await);
    for number in 0..5_u8 {
        script.send(data(1, &[number])).await;
    }
    script.send(data(2, b"unharmed")).await;
    assert_eq!(good.recv().await.unwrap(), "unharmed");
    script.expect(close(1)).await;
    assert!(matches!(slow.close_reason(), Some(CloseReason::SlowReceiver)));
    for number in 0..3_u8 {
        assert_eq!(slow.recv().await.unwrap(), [number][..], "what waited is not lost");
    }
    assert!(slow.recv().await.is_none());
    script.expect_nothing().await;
}

#[tokio::test(start_paused = true)]
async fn pitfall_29_the_queue_is_bounded_in_bytes_too_but_one_message_always_fits() {
    let config = EndpointConfig { recv_queue_bytes: 100, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut conn = script.open(&client, 1).await;
    script.send(data(1, &[1; 1000])).await;
    assert_eq!(conn.recv().await.unwrap().len(), 1000);
    script.send([data(1, &[1; 90]), data(1, &[2; 10]), data(1, &[3; 1])].concat()).await;
    script.expect(close(1)).await;
    assert_eq!(conn.recv().await.unwrap().len(), 90);
    assert_eq!(conn.recv().await.unwrap().len(), 10);
    assert!(conn.recv().await.is_none());
}

/// Pitfall 29, as it can be chosen: nothing is lost, everybody waits, and the gateway is told that we live.
#[tokio::test(start_paused = true)]
async fn pitfall_29_the_link_may_wait_instead() {
    let config = EndpointConfig {
        recv_queue_messages: 3,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let (mut slow, mut other) = (script.open(&client, 1).await, script.open(&client, 2).await);
    for number in 0..10_u8 {
        script.send(data(1, &[number])).await;
    }
    script.send(data(2, b"behind")).await;
    for _ in 0..20 {
        let begun = Instant::now();
        script.expect(ping()).await;
        assert_eq!(begun.elapsed().as_secs(), 30, "a sign of life");
    }
    assert!(timeout(SECOND, other.recv()).await.is_err(), "it waits as well");
    for number in 0..10_u8 {
        assert_eq!(slow.recv().await.unwrap(), [number][..]);
    }
    assert_eq!(other.recv().await.unwrap(), "behind");
}

/// The connection that the link waits for may also be given up.
#[tokio::test(start_paused = true)]
async fn a_link_that_waits_goes_on_when_the_connection_is_dropped() {
    let config = EndpointConfig {
        recv_queue_messages: 1,
        slow_receiver: SlowReceiver::LinkWaits,
        ..EndpointConfig::default()
    };
    let (mut script, client) = Script::with_client(config).await;
    let (slow, mut other) = (script.open(&client, 1).await, script.open(&client, 2).await);
    script.send([data(1, b"1"), data(1, b"2"), data(2, b"behind")].concat()).await;
    assert!(timeout(SECOND, other.recv()).await.is_err());
    drop(slow);
    assert_eq!(other.recv().await.unwrap(), "behind");
}

/// Pitfall 4: sender and receiver count the same bytes.
#[tokio::test(start_paused = true)]
async fn pitfall_4_the_longest_message_passes_and_one_byte_more_is_a_clear_error() {
    let max_packet = MaxPacket::new(100).unwrap();
    let (mut script, client) =
        Script::with_client(EndpointConfig { max_packet, ..EndpointConfig::default() }).await;
    let mut conn = script.open(&client, 1).await;
    conn.send([7; 96]).await.unwrap();
    script.expect(data(1, &[7; 96])).await;
    let error = conn.send([7; 97]).await.unwrap_err();
    assert!(matches!(error, SendError::TooLong { len: 97, max: 96 }), "{error}");
    assert!(error.to_string().contains("97") && error.to_string().contains("96"), "{error}");
    script.send(data(1, &[8; 96])).await;
    assert_eq!(conn.recv().await.unwrap(), [8; 96][..], "the connection is still open");
    script.send([101, 0, 0, 0]).await;
    let end = client.ended().await;
    assert!(matches!(end, LinkError::Frame(FrameError::TooLarge { length: 101, max: 100 })), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_none_ends_the_link_with_a_reason() {
    for bytes in [&[1, 0, 0, 0][..], &[5, 0, 0, 0, 0, 0, 0, 0, 9], &[9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]] {
        let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
        let mut conn = script.open(&client, 1).await;
        script.send(bytes).await;
        let end = client.ended().await;
        assert!(end.to_string().contains("not a gateway"), "{end}");
        assert!(conn.recv().await.is_none());
        assert!(conn.send("x").await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn sending_waits_while_the_link_is_full_and_stops_waiting_at_the_end() {
    let config = EndpointConfig { send_queue_bytes: 10_000, ..EndpointConfig::default() };
    let (mut script, client) = Script::with_client(config).await;
    let mut first = script.open(&client, 1).await;
    let mut second = script.open(&client, 2).await;
    let mut sent = 0;
    while timeout(SECOND, first.send([1; 1000])).await.is_ok() {
        sent += 1;
    }
    // 64 KiB in the pipe, and the queue.
    assert!((70..=90).contains(&sent), "{sent}");
    let waiting = tokio::spawn(async move { (second.send([2; 1000]).await, second) });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    for _ in 0..sent {
        script.expect(data(1, &[1; 1000])).await;
    }
    script.expect(data(2, &[2; 1000])).await;
    let (outcome, mut second) = waiting.await.unwrap();
    outcome.unwrap();

    while timeout(SECOND, first.send([1; 1000])).await.is_ok() {}
    let waiting = tokio::spawn(async move { second.send([2; 1000]).await });
    sleep(SECOND).await;
    script.send(close(2)).await;
    assert!(matches!(waiting.await.unwrap(), Err(SendError::Closed(CloseReason::ClosedByRemote))));
    drop(script);
    assert!(matches!(first.send("x").await, Err(SendError::Closed(CloseReason::Link(_)))));
}

#[tokio::test(start_paused = true)]
async fn flush_waits_until_the_network_has_it() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 100_000]).await.unwrap();
    assert!(timeout(SECOND, conn.flush()).await.is_err(), "64 KiB fit into the pipe");
    let (flushed, ()) = tokio::join!(conn.flush(), script.expect(data(1, &vec![1; 100_000])));
    flushed.unwrap();
}

/// A flush that was given up does not speak for what is sent after it.
#[tokio::test(start_paused = true)]
async fn each_flush_waits_for_everything_before_it() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 100_000]).await.unwrap();
    assert!(timeout(SECOND, conn.flush()).await.is_err());
    conn.send(vec![2; 500_000]).await.unwrap();
    script.expect(data(1, &vec![1; 100_000])).await;
    assert!(timeout(SECOND, conn.flush()).await.is_err(), "there is more");
    let (flushed, ()) = tokio::join!(conn.flush(), script.expect(data(1, &vec![2; 500_000])));
    flushed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_a_stream_and_a_sink_and_can_be_split() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut whole = script.open(&client, 1).await;
    SinkExt::send(&mut whole, Bytes::from_static(b"sunk")).await.unwrap();
    script.expect(data(1, b"sunk")).await;
    script.send(data(1, b"streamed")).await;
    assert_eq!(whole.next().await.unwrap(), "streamed");

    let (mut sender, mut receiver) = whole.split();
    let receiving = tokio::spawn(async move {
        let mut messages = Vec::new();
        while let Some(message) = receiver.next().await {
            messages.push(message);
        }
        (messages, receiver.close_reason())
    });
    sender.send("half").await.unwrap();
    script.expect(data(1, b"half")).await;
    script.send([data(1, b"a"), data(1, b"b")].concat()).await;
    script.expect_nothing().await;
    // Closing the sink closes the connection, both ways.
    SinkExt::<Bytes>::close(&mut sender).await.unwrap();
    script.expect(close(1)).await;
    let (messages, reason) = receiving.await.unwrap();
    assert_eq!(messages, ["a", "b"]);
    assert!(matches!(reason, Some(CloseReason::ClosedHere)));
}

#[tokio::test(start_paused = true)]
async fn the_close_of_either_half_waits_for_the_other() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let (mut sender, receiver) = script.open(&client, 1).await.split();
    drop(receiver);
    sender.send("still open").await.unwrap();
    script.expect(data(1, b"still open")).await;
    drop(sender);
    script.expect(close(1)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_everything_sends_what_is_queued_and_ends_the_link() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    for _ in 0..5 {
        conn.send(vec![1; 50_000]).await.unwrap();
    }
    drop(client);
    script.expect(data(1, &vec![1; 50_000])).await;
    conn.send("the connection keeps the link").await.unwrap();
    drop(conn);
    for _ in 0..4 {
        script.expect(data(1, &vec![1; 50_000])).await;
    }
    script.expect(data(1, b"the connection keeps the link")).await;
    script.expect(close(1)).await;
    script.expect_end().await;
}

/// `ended` tells a program when it may exit.
#[tokio::test(start_paused = true)]
async fn a_closed_link_has_ended_when_everything_is_sent() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 300_000]).await.unwrap();
    client.close();
    assert!(timeout(SECOND, client.ended()).await.is_err(), "the gateway has not read it");
    script.expect(data(1, &vec![1; 300_000])).await;
    script.expect_end().await;
    drop(script);
    assert!(matches!(client.ended().await, LinkError::ClosedHere));
}

/// Two ends that both write and do not read: the one that closes reads on, or neither would ever get through.
#[tokio::test(start_paused = true)]
async fn a_closing_link_still_takes_what_the_gateway_sends() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send(vec![1; 300_000]).await.unwrap();
    drop((conn, client));
    script.send(data(1, &vec![2; 500_000])).await;
    script.expect(data(1, &vec![1; 300_000])).await;
    script.expect(close(1)).await;
    script.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_to_be_accepted_by_an_endpoint_that_is_gone() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut kept = script.open(&client, 1).await;
    script.connect(2, 7).await;
    script.expect_nothing().await;
    drop(client);
    script.expect(close(2)).await;
    script.connect(3, 7).await;
    script.expect(close(3)).await;
    kept.send("still here").await.unwrap();
    script.expect(data(1, b"still here")).await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything_on_the_link() {
    let (mut script, client) = Script::with_client(EndpointConfig::default()).await;
    let mut conn = script.open(&client, 1).await;
    conn.send("last words").await.unwrap();
    let dialling = tokio::spawn({
        let client = client.clone();
        async move { client.dial(ServerId::new(8)).await }
    });
    script.expect(data(1, b"last words")).await;
    script.expect(dial(8)).await;
    client.close();
    let (end, ()) = tokio::join!(client.ended(), script.expect_end());
    assert!(matches!(end, LinkError::ClosedHere));
    assert!(matches!(dialling.await.unwrap(), Err(DialError::Link(LinkError::ClosedHere))));
    assert!(conn.recv().await.is_none());
}
