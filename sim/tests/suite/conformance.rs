//! What every `Network` promises, asked of each: TCP on loopback, memory, and the simulated network, kind and
//! unkind.
//!
//! One thing differs and is asked of none: a simulated connect is through when the other end accepts, a real
//! one when there is room to wait.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use fastway::net::{BindOptions, Listener as _, MemoryNetwork, Network, Stream as _, TcpNetwork};
use fastway_sim::net::{Chop, Host, Net, SimNetwork, TURMOIL_CAPACITY};
use fastway_sim::seed::Seed;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// Everything that is asked of a network is answered within this time.
const DEADLINE: Duration = Duration::from_secs(60);
/// Fewer bytes than most of the transfers have.
const SOCKET_BYTES: usize = 4096;
const UNKIND: Chop = Chop { pending: 0.3, tiny: 0.5, tiny_bytes: 3 };

/// A deadline looks once more at its end; whoever was not woken before is late.
async fn in_time(asking: impl Future<Output = ()>) {
    let began = Instant::now();
    timeout(DEADLINE, asking).await.expect("no answer");
    assert!(began.elapsed() < DEADLINE, "somebody was not woken");
}

fn on_tcp<F: Future<Output = ()>>(ask: impl FnOnce(TcpNetwork) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { in_time(ask(TcpNetwork::new())).await });
}

fn in_memory<F: Future<Output = ()>>(ask: impl FnOnce(MemoryNetwork) -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let network = MemoryNetwork::with_pipe_bytes(SOCKET_BYTES);
    runtime.block_on(async { in_time(ask(network)).await });
}

fn simulated<F: Future<Output = ()> + 'static>(chop: Chop, seed: u64, ask: impl FnOnce(SimNetwork) -> F) {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(2 * DEADLINE)
        .tcp_capacity(TURMOIL_CAPACITY)
        .rng_seed(seed)
        .build();
    let hosts = vec![("host".to_owned(), sim.lookup("host"))];
    let net = Arc::new(Mutex::new(Net::new(hosts, SOCKET_BYTES, chop, Seed(seed))));
    let asking = ask(SimNetwork::new(net, Host(0)));
    let answered = Arc::new(AtomicBool::new(false));
    let answer = answered.clone();
    sim.client("host", async move {
        in_time(asking).await;
        answer.store(true, Ordering::Relaxed);
        Ok(())
    });
    sim.run().unwrap();
    assert!(answered.load(Ordering::Relaxed), "seed {seed}");
}

/// Makes a test of each function for each network.
macro_rules! asked_of_each_network {
    ($($name:ident),* $(,)?) => {
        mod tcp {
            $(#[test] fn $name() { super::on_tcp(super::$name); })*
        }
        mod memory {
            $(#[test] fn $name() { super::in_memory(super::$name); })*
        }
        mod simulated {
            $(#[test] fn $name() { super::simulated(super::Chop::OFF, 1, super::$name); })*
        }
        mod simulated_and_unkind {
            $(#[test] fn $name() {
                for seed in 0..8 {
                    super::simulated(super::UNKIND, seed, super::$name);
                }
            })*
        }
    };
}

asked_of_each_network!(
    bytes_come_in_order_and_whole,
    a_shutdown_is_an_end_of_file_and_leaves_the_other_way_open,
    nothing_is_written_after_a_shutdown,
    a_dropped_stream_is_an_end_of_file_behind_its_bytes,
    a_dropped_stream_with_bytes_unread_is_an_end_or_a_reset,
    the_peers_addresses_are_each_others,
    port_zero_is_a_free_port_each_time,
    a_listener_on_all_addresses_is_reached_on_one,
    an_address_is_bound_once_at_a_time,
    a_connect_to_nobody_is_refused,
    a_connect_to_what_is_no_address_fails,
    a_write_to_a_gone_peer_fails_in_the_end,
    large_transfers_go_both_ways_at_once,
    a_writer_waits_for_the_reader,
    connections_do_not_mix,
    a_dropped_accept_loses_no_connection,
    a_dropped_connect_does_no_harm,
    a_dropped_read_loses_no_byte,
    vectored_writes_come_in_order_and_whole,
);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn listening<N: Network>(network: &N) -> (N::Listener, String) {
    let listener = network.bind(loopback(), BindOptions::default()).await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    (listener, addr)
}

async fn connected_to<N: Network>(
    network: &N,
    listener: &mut N::Listener,
    addr: &str,
) -> (N::Stream, N::Stream) {
    let (near, far) = tokio::join!(network.connect(addr), listener.accept());
    (near.unwrap(), far.unwrap())
}

async fn connected<N: Network>(network: &N) -> (N::Stream, N::Stream) {
    let (mut listener, addr) = listening(network).await;
    connected_to(network, &mut listener, &addr).await
}

/// Bytes in which an offset is seen.
fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + salt) % 251) as u8).collect()
}

/// Polls once.
async fn begin<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn bytes_come_in_order_and_whole<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    let sent = pattern(300 * 301 / 2, 0);
    let writing = async {
        let mut rest = sent.as_slice();
        for len in 1..=300 {
            let (part, others) = rest.split_at(len);
            near.write_all(part).await.unwrap();
            near.flush().await.unwrap();
            rest = others;
        }
        near.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let ((), read) = tokio::join!(writing, far.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard == sent);
}

async fn a_shutdown_is_an_end_of_file_and_leaves_the_other_way_open<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"question");
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "an end of file stays one");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    heard.clear();
    near.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"answer");
}

async fn nothing_is_written_after_a_shutdown<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    near.shutdown().await.unwrap();
    assert_eq!(near.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

async fn a_dropped_stream_is_an_end_of_file_behind_its_bytes<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    near.write_all(b"last words").await.unwrap();
    drop(near);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
}

/// Memory knows of no reset.
async fn a_dropped_stream_with_bytes_unread_is_an_end_or_a_reset<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    far.write_all(b"read").await.unwrap();
    far.write_all(b"unread").await.unwrap();
    near.read_exact(&mut [0; 4]).await.unwrap();
    drop(near);
    match far.read(&mut [0]).await {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

async fn the_peers_addresses_are_each_others<N: Network>(network: N) {
    let (mut listener, addr) = listening(&network).await;
    let (first, first_far) = connected_to(&network, &mut listener, &addr).await;
    let (_second, second_far) = connected_to(&network, &mut listener, &addr).await;
    assert_eq!(first.peer_addr().unwrap().to_string(), addr);
    let (one, other) = (first_far.peer_addr().unwrap(), second_far.peer_addr().unwrap());
    assert!(one.ip().is_loopback() && other.ip().is_loopback());
    assert!(one.port() != 0 && one != other);
}

async fn port_zero_is_a_free_port_each_time<N: Network>(network: N) {
    let (mut one, one_addr) = listening(&network).await;
    let (mut other, other_addr) = listening(&network).await;
    assert!(one.local_addr().unwrap().port() != 0 && one_addr != other_addr);
    let (near, _far) = connected_to(&network, &mut other, &other_addr).await;
    assert_eq!(near.peer_addr().unwrap().to_string(), other_addr);
    let (near, _far) = connected_to(&network, &mut one, &one_addr).await;
    assert_eq!(near.peer_addr().unwrap().to_string(), one_addr);
}

async fn a_listener_on_all_addresses_is_reached_on_one<N: Network>(network: N) {
    let mut listener = network.bind("0.0.0.0:0".parse().unwrap(), BindOptions::default()).await.unwrap();
    let addr = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (mut near, mut far) = connected_to(&network, &mut listener, &addr).await;
    near.write_all(b"hello").await.unwrap();
    far.read_exact(&mut [0; 5]).await.unwrap();
}

async fn an_address_is_bound_once_at_a_time<N: Network>(network: N) {
    let (first, addr) = listening(&network).await;
    let addr = addr.parse().unwrap();
    let second = network.bind(addr, BindOptions::default()).await;
    assert_eq!(second.err().unwrap().kind(), ErrorKind::AddrInUse);
    drop(first);
    assert!(network.bind(addr, BindOptions::default()).await.is_ok());
}

async fn a_connect_to_nobody_is_refused<N: Network>(network: N) {
    let (listener, addr) = listening(&network).await;
    drop(listener);
    for _ in 0..3 {
        let refused = network.connect(&addr).await;
        assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    }
}

async fn a_connect_to_what_is_no_address_fails<N: Network>(network: N) {
    for addr in ["no port", "127.0.0.1", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:65536", ""] {
        assert!(network.connect(addr).await.is_err(), "{addr:?}");
    }
}

async fn a_write_to_a_gone_peer_fails_in_the_end<N: Network>(network: N) {
    let (mut near, far) = connected(&network).await;
    drop(far);
    // As often as it takes: what was written first finds out that nobody is there.
    let error = loop {
        if let Err(error) = near.write(&[0; 100]).await {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert!(near.write(&[0; 100]).await.is_err(), "it has to stay so");
}

async fn large_transfers_go_both_ways_at_once<N: Network>(network: N) {
    const BYTES: usize = 1 << 20;
    let (near, far) = connected(&network).await;
    let to_far = pattern(BYTES, 0);
    let to_near = pattern(BYTES, 100);
    let (mut near_reads, mut near_writes) = tokio::io::split(near);
    let (mut far_reads, mut far_writes) = tokio::io::split(far);
    let (mut at_near, mut at_far) = (vec![0; BYTES], vec![0; BYTES]);
    let (one, other, third, fourth) = tokio::join!(
        near_writes.write_all(&to_far),
        far_writes.write_all(&to_near),
        near_reads.read_exact(&mut at_near),
        far_reads.read_exact(&mut at_far),
    );
    one.and(other).and(third).and(fourth).unwrap();
    assert!(at_near == to_near && at_far == to_far);
}

/// More than any buffer on the way holds does not go out before somebody reads.
async fn a_writer_waits_for_the_reader<N: Network>(network: N) {
    const BYTES: usize = 1 << 25;
    let (mut near, mut far) = connected(&network).await;
    let sent = vec![7; BYTES];
    let mut accepted = 0;
    // On a network with pauses it is the pause that tells; TCP's buffers grow for a while.
    while let Ok(written) = timeout(Duration::from_millis(200), near.write(&sent[accepted..])).await {
        accepted += written.unwrap();
        assert!(accepted < BYTES, "nobody has read, and everything was taken");
    }
    let mut heard = vec![0; accepted + 1];
    let (wrote, read) = tokio::join!(near.write_all(&[7]), far.read_exact(&mut heard));
    wrote.unwrap();
    read.unwrap();
    assert!(heard.iter().all(|byte| *byte == 7));
}

async fn connections_do_not_mix<N: Network>(network: N) {
    let (mut listener, addr) = listening(&network).await;
    let mut ends = Vec::new();
    for _ in 0..10 {
        ends.push(connected_to(&network, &mut listener, &addr).await);
    }
    for (number, (near, far)) in ends.iter_mut().enumerate() {
        near.write_all(&pattern(100, number)).await.unwrap();
        far.write_all(&pattern(100, 100 + number)).await.unwrap();
    }
    for (number, (near, far)) in ends.iter_mut().enumerate().rev() {
        let (mut at_near, mut at_far) = ([0; 100], [0; 100]);
        near.read_exact(&mut at_near).await.unwrap();
        far.read_exact(&mut at_far).await.unwrap();
        assert!(at_far == *pattern(100, number) && at_near == *pattern(100, 100 + number));
    }
}

async fn a_dropped_accept_loses_no_connection<N: Network>(network: N) {
    const COUNT: u8 = 20;
    let (mut listener, addr) = listening(&network).await;
    let connecting = async {
        for number in 0..COUNT {
            let mut stream = network.connect(&addr).await.unwrap();
            stream.write_all(&[number]).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let accepting = async {
        let mut heard = Vec::new();
        while heard.len() < COUNT.into() {
            // Begun, mostly too early, and dropped.
            if let Some(accepted) = begin(listener.accept()).await {
                heard.push(accepted.unwrap().read_u8().await.unwrap());
            } else {
                let soon = timeout(Duration::from_millis(1), listener.accept()).await;
                if let Ok(accepted) = soon {
                    heard.push(accepted.unwrap().read_u8().await.unwrap());
                }
            }
        }
        heard
    };
    let ((), heard) = tokio::join!(connecting, accepting);
    assert_eq!(heard, (0..COUNT).collect::<Vec<_>>());
}

async fn a_dropped_connect_does_no_harm<N: Network>(network: N) {
    let (mut listener, addr) = listening(&network).await;
    for _ in 0..10 {
        drop(begin(network.connect(&addr)).await);
    }
    let connecting = async {
        let mut stream = network.connect(&addr).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream
    };
    let accepting = async {
        loop {
            // Those that were given up may show, but have ended.
            let mut stream = listener.accept().await.unwrap();
            let mut heard = [0; 5];
            match stream.read_exact(&mut heard).await {
                Ok(_) => return heard,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
                }
            }
        }
    };
    let (_stream, heard) = tokio::join!(connecting, accepting);
    assert_eq!(&heard, b"hello");
}

async fn a_dropped_read_loses_no_byte<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    let sent = pattern(5000, 0);
    let writing = async {
        for part in sent.chunks(100) {
            near.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        near.shutdown().await.unwrap();
    };
    let reading = async {
        let (mut heard, mut part) = (Vec::new(), [0; 64]);
        loop {
            let read = match begin(far.read(&mut part)).await {
                Some(read) => read,
                None => far.read(&mut part).await,
            };
            match read.unwrap() {
                0 => return heard,
                read => heard.extend_from_slice(&part[..read]),
            }
        }
    };
    let ((), heard) = tokio::join!(writing, reading);
    assert!(heard == sent);
}

async fn vectored_writes_come_in_order_and_whole<N: Network>(network: N) {
    let (mut near, mut far) = connected(&network).await;
    let sent = pattern(20_000, 0);
    let writing = async {
        for part in sent.chunks(5000) {
            write_all_vectored(&mut near, part).await;
        }
        near.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let ((), read) = tokio::join!(writing, far.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard == sent);
}

/// Writes `bytes` in slices of different sizes, one of them empty.
async fn write_all_vectored(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let (first, rest) = bytes.split_at(7);
    let (second, third) = rest.split_at(1000);
    let mut slices = [first, &[], second, third].map(IoSlice::new);
    let mut left = slices.as_mut_slice();
    while left.iter().any(|slice| !slice.is_empty()) {
        let written = stream.write_vectored(left).await.unwrap();
        assert!(written > 0);
        IoSlice::advance_slices(&mut left, written);
    }
}
