//! Where turmoil's TCP is kinder, or crueller, than the real one, and the adapter is not: a test for each row
//! of the table in `fastway_sim::net`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastway::net::{BindOptions, Listener as _, Network as _};
use fastway_sim::net::{Chop, Host, Net, SimNetwork, SimStream, TURMOIL_CAPACITY};
use fastway_sim::seed::Seed;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use turmoil::{Builder, Sim};

const A: Host = Host(0);
const B: Host = Host(1);
const SECOND: Duration = Duration::from_secs(1);
/// Long enough for anything that comes at all.
const LONG: Duration = Duration::from_secs(60);

type Shared = Arc<Mutex<Net>>;

/// The hosts `a` and `b`, 1 ms apart.
struct World {
    sim: Sim<'static>,
    net: Shared,
    /// Hosts whose software has come to its end; one that panics does not.
    finished: Arc<Mutex<Vec<Host>>>,
}

impl World {
    fn new(socket_bytes: usize, chop: Chop) -> Self {
        let sim = Builder::new()
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(3600))
            .tcp_capacity(TURMOIL_CAPACITY)
            .rng_seed(1)
            .build();
        let hosts = ["a", "b"].map(|name| (name.to_owned(), sim.lookup(name)));
        let net = Arc::new(Mutex::new(Net::new(hosts.to_vec(), socket_bytes, chop, Seed(1))));
        Self { sim, net, finished: Arc::default() }
    }

    /// Gives `host` its software.
    fn on<F: Future<Output = ()> + 'static>(
        &mut self,
        host: Host,
        run: impl Fn(SimNetwork, Shared) -> F + 'static,
    ) {
        let (net, finished) = (self.net.clone(), self.finished.clone());
        self.sim.host(name(host), move || {
            let (running, finished) =
                (run(SimNetwork::new(net.clone(), host), net.clone()), finished.clone());
            async move {
                running.await;
                finished.lock().push(host);
                Ok(())
            }
        });
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            self.sim.step().unwrap();
        }
    }

    /// Until the software of these hosts has come to its end.
    fn until_finished(&mut self, hosts: &[Host]) {
        let until = self.sim.elapsed() + 10 * LONG;
        let left = |world: &Self| hosts.iter().copied().find(|host| !world.finished.lock().contains(host));
        while let Some(host) = left(self) {
            assert!(self.sim.elapsed() < until, "{} does not come to its end", name(host));
            self.sim.step().unwrap();
        }
    }
}

fn name(host: Host) -> &'static str {
    ["a", "b"][host.0]
}

async fn accept_at_80(network: &SimNetwork, count: usize) -> Vec<SimStream> {
    let mut listener = network.bind("0.0.0.0:80".parse().unwrap(), BindOptions::default()).await.unwrap();
    let mut streams = Vec::new();
    while streams.len() < count {
        streams.push(listener.accept().await.unwrap());
    }
    streams
}

/// A connection from `a`, which has the near end, to `b`, which has the far one.
fn connected<FA, FB>(
    socket_bytes: usize,
    chop: Chop,
    near: impl Fn(SimStream, Shared) -> FA + Clone + 'static,
    far: impl Fn(SimStream, Shared) -> FB + Clone + 'static,
) where
    FA: Future<Output = ()> + 'static,
    FB: Future<Output = ()> + 'static,
{
    let mut world = World::new(socket_bytes, chop);
    world.on(A, move |network, net| {
        let near = near.clone();
        async move { near(network.connect("b:80").await.unwrap(), net).await }
    });
    world.on(B, move |network, net| {
        let far = far.clone();
        async move { far(accept_at_80(&network, 1).await.pop().unwrap(), net).await }
    });
    world.until_finished(&[A, B]);
}

/// Something for which somebody has to be woken. A deadline looks once more at its end, so being late counts.
async fn soon<F: Future>(future: F) -> F::Output {
    let began = Instant::now();
    let output = timeout(LONG, future).await.expect("it does not come");
    assert!(began.elapsed() < LONG, "it was there, but nobody was woken");
    output
}

async fn hear(stream: &mut SimStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    soon(stream.read_exact(&mut heard)).await.unwrap();
    assert_eq!(heard, expected);
}

async fn hear_nothing(stream: &mut SimStream) {
    let read = timeout(SECOND, stream.read(&mut [0; 64])).await;
    assert!(read.is_err(), "{read:?}");
}

async fn hear_reset(stream: &mut SimStream) {
    let read = soon(stream.read(&mut [0; 64])).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

async fn hear_eof(stream: &mut SimStream) {
    assert_eq!(soon(stream.read(&mut [0; 64])).await.unwrap(), 0);
}

#[test]
fn one_write_may_be_many_reads_and_many_writes_one_read() {
    let tiny = Chop { pending: 0.0, tiny: 1.0, tiny_bytes: 3 };
    let near = |mut near: SimStream, _| async move {
        assert!(near.write(b"0123456789").await.unwrap() <= 3);
        near.write_all(&[7; 100]).await.unwrap();
        near.shutdown().await.unwrap();
    };
    connected(1000, tiny, near, |mut far, _| async move {
        sleep(SECOND).await;
        let mut reads = 0;
        loop {
            let read = far.read(&mut [0; 64]).await.unwrap();
            assert!(read <= 3);
            if read == 0 {
                break;
            }
            reads += 1;
        }
        assert!(reads > 100 / 3);
    });
    let near = |mut near: SimStream, _| async move {
        for byte in 0..10 {
            near.write_all(&[byte]).await.unwrap();
        }
        sleep(2 * SECOND).await;
    };
    connected(1000, Chop::OFF, near, |mut far, _| async move {
        sleep(SECOND).await;
        assert_eq!(far.read(&mut [0; 64]).await.unwrap(), 10);
    });
}

#[test]
fn what_is_there_may_be_put_off() {
    let chop = Chop { pending: 0.5, tiny: 0.0, tiny_bytes: 1 };
    let near = |mut near: SimStream, _| async move { near.write_all(&[1; 40]).await.unwrap() };
    connected(1000, chop, near, |mut far, _| async move {
        sleep(SECOND).await;
        let (mut put_off, mut byte) = (0, [0]);
        for _ in 0..40 {
            let mut buffer = ReadBuf::new(&mut byte);
            poll_fn(|cx| {
                let read = Pin::new(&mut far).poll_read(cx, &mut buffer);
                put_off += usize::from(read.is_pending());
                read
            })
            .await
            .unwrap();
        }
        // The task was woken each time, or it would not have come here.
        assert!((10..100).contains(&put_off), "{put_off} times");
    });
}

#[test]
fn a_socket_buffer_counts_bytes() {
    let near = |mut near: SimStream, _| async move {
        assert_eq!(near.write(&[0; 60]).await.unwrap(), 60);
        assert_eq!(near.write(&[0; 1000]).await.unwrap(), 40);
        assert!(timeout(SECOND, near.write(&[0; 1000])).await.is_err());
        assert_eq!(soon(near.write(&[0; 1000])).await.unwrap(), 30);
    };
    connected(100, Chop::OFF, near, |mut far, _| async move {
        sleep(2 * SECOND).await;
        assert_eq!(far.read(&mut [0; 30]).await.unwrap(), 30);
        // What the writer may not write yet was not taken from it either.
        sleep(SECOND).await;
        assert_eq!(far.read(&mut [0; 1000]).await.unwrap(), 100);
    });
}

#[test]
fn the_end_of_file_behind_a_full_buffer_arrives() {
    const BYTES: usize = 4096;
    let near = |mut near: SimStream, _| async move {
        for _ in 0..BYTES {
            assert_eq!(near.write(&[1]).await.unwrap(), 1);
        }
        near.shutdown().await.unwrap();
        hear_eof(&mut near).await;
    };
    connected(BYTES, Chop::OFF, near, |mut far, _| async move {
        sleep(SECOND).await;
        let mut heard = Vec::new();
        soon(far.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, [1; BYTES]);
    });
}

/// Writes until the socket buffer is full, and then until the writer is told of a reset.
async fn write_until_reset(mut near: SimStream) {
    near.write_all(&[0; 10]).await.unwrap();
    let written = soon(near.write(&[0])).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_wakes_a_blocked_writer() {
    connected(
        10,
        Chop::OFF,
        |near, _| write_until_reset(near),
        |far, _| async move {
            sleep(SECOND).await;
            drop(far);
        },
    );
    connected(
        10,
        Chop::OFF,
        |near, _| write_until_reset(near),
        |far, net| async move {
            sleep(SECOND).await;
            net.lock().reset(far.wire());
            sleep(SECOND).await;
        },
    );
}

#[test]
fn a_writer_that_was_blocked_before_the_peer_closed_is_reset_too() {
    // Nothing is unread: the bytes reach a socket that is closed already, and has sent its end of file.
    connected(10, Chop::OFF, |near, _| write_until_reset(near), |far, _| async move { drop(far) });
}

#[test]
fn many_connections_may_wait_to_be_accepted() {
    const COUNT: usize = 2000;
    let mut world = World::new(100, Chop::OFF);
    world.on(A, |network, _| async move {
        let mut connects = JoinSet::new();
        for _ in 0..COUNT {
            let network = network.clone();
            connects.spawn(async move { network.connect("b:80").await.unwrap() });
        }
        assert_eq!(soon(connects.join_all()).await.len(), COUNT);
    });
    world.on(B, |network, _| async move {
        let mut listener = network.bind("0.0.0.0:80".parse().unwrap(), BindOptions::default()).await.unwrap();
        sleep(SECOND).await;
        for _ in 0..COUNT {
            soon(listener.accept()).await.unwrap();
        }
    });
    world.until_finished(&[A, B]);
}

#[test]
fn used_up_ports_are_an_error_and_no_panic() {
    /// More than turmoil has.
    const COUNT: usize = 17_000;
    let mut world = World::new(100, Chop::OFF);
    let net = Arc::downgrade(&world.net);
    world.on(B, |_, _| std::future::pending());
    world.on(A, |network, _| async move {
        let mut connects = JoinSet::new();
        for _ in 0..COUNT {
            let network = network.clone();
            connects.spawn(async move { network.connect("b:80").await.unwrap_err().kind() });
        }
        let mut errors = connects.join_all().await;
        errors.retain(|error| *error != ErrorKind::ConnectionRefused);
        assert_eq!(errors, [ErrorKind::AddrNotAvailable; 1000]);
    });
    world.until_finished(&[A]);
    drop(world);
    assert!(net.upgrade().is_none(), "a refused connect keeps the network for ever");
}

#[test]
fn the_port_of_a_connection_is_free_again_after_it() {
    const COUNT: usize = 17_000;
    let mut world = World::new(100, Chop::OFF);
    world.on(A, |network, _| async move {
        for _ in 0..COUNT / 100 {
            let mut connects = JoinSet::new();
            for _ in 0..100 {
                let network = network.clone();
                connects.spawn(async move { drop(network.connect("b:80").await.unwrap()) });
            }
            connects.join_all().await;
        }
    });
    world.on(B, |network, _| async move {
        let mut listener = network.bind("0.0.0.0:80".parse().unwrap(), BindOptions::default()).await.unwrap();
        for _ in 0..COUNT {
            drop(listener.accept().await.unwrap());
        }
    });
    world.until_finished(&[A, B]);
}

#[test]
fn what_is_held_arrives_after_release() {
    let near = |mut near: SimStream, net: Shared| async move {
        near.write_all(b"before").await.unwrap();
        sleep(SECOND).await;
        net.lock().hold(A, B);
        // Twice: what was held twice is free when it was released twice.
        net.lock().hold(A, B);
        near.write_all(b"held").await.unwrap();
        near.shutdown().await.unwrap();
        sleep(3 * SECOND).await;
        net.lock().release(A, B);
        sleep(3 * SECOND).await;
        net.lock().release(A, B);
        // Nothing else wakes the reader before it has read it all.
        hear_eof(&mut near).await;
    };
    connected(100, Chop::OFF, near, |mut far, _| async move {
        hear(&mut far, b"before").await;
        sleep(SECOND).await;
        hear_nothing(&mut far).await;
        sleep(3 * SECOND).await;
        hear_nothing(&mut far).await;
        hear(&mut far, b"held").await;
        hear_eof(&mut far).await;
    });
}

#[test]
fn given_up_connections_are_reset() {
    let mut world = World::new(100, Chop::OFF);
    world.on(A, |network, net| async move {
        let mut used = network.connect("b:80").await.unwrap();
        let mut idle = network.connect("b:80").await.unwrap();
        net.lock().hold(A, B);
        net.lock().hold(B, A);
        used.write_all(b"on its way").await.unwrap();
        hear_nothing(&mut used).await;
        {
            let mut net = net.lock();
            net.give_up_between(A, B);
            net.release(A, B);
            net.release(B, A);
        }
        hear_reset(&mut used).await;
        assert!(used.write(b"more").await.is_err());
        idle.write_all(b"idle until now").await.unwrap();
        hear_eof(&mut idle).await;
    });
    world.on(B, |network, _| async move {
        let mut streams = accept_at_80(&network, 2).await;
        hear_reset(&mut streams[0]).await;
        hear(&mut streams[1], b"idle until now").await;
    });
    world.until_finished(&[A, B]);
}

#[test]
fn a_one_way_hold_lets_bytes_through_the_other_way_and_acknowledgements_through_none() {
    let near = |mut near: SimStream, net: Shared| async move {
        net.lock().hold(A, B);
        near.write_all(b"held").await.unwrap();
        hear(&mut near, &[1; 100]).await;
        // It was read here, but the other end does not hear of that, so its socket buffer stays full.
        hear_nothing(&mut near).await;
        net.lock().release(A, B);
        hear(&mut near, &[2; 100]).await;
    };
    connected(100, Chop::OFF, near, |mut far, _| async move {
        sleep(SECOND / 10).await;
        far.write_all(&[1; 100]).await.unwrap();
        assert!(timeout(SECOND / 2, far.write_all(&[2; 100])).await.is_err());
        hear_nothing_yet(&mut far).await;
        soon(far.write_all(&[2; 100])).await.unwrap();
        hear(&mut far, b"held").await;
    });
}

/// Nothing at this very moment.
async fn hear_nothing_yet(stream: &mut SimStream) {
    let polled =
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut [0])))).await;
    assert!(polled.is_pending());
}

#[test]
fn a_partitioned_connect_waits_and_can_be_given_up() {
    for (from, to) in [(A, B), (B, A)] {
        let mut world = World::new(100, Chop::OFF);
        world.net.lock().hold(from, to);
        world.on(A, move |network, net| async move {
            assert!(timeout(SECOND, network.connect("b:80")).await.is_err());
            let waiting = tokio::spawn(async move { network.connect("b:80").await });
            sleep(SECOND).await;
            net.lock().release(from, to);
            let mut stream = soon(waiting).await.unwrap().unwrap();
            stream.write_all(b"hello").await.unwrap();
        });
        world.on(B, |network, _| async move {
            // The one that was given up never comes.
            hear(&mut accept_at_80(&network, 1).await[0], b"hello").await;
        });
        world.until_finished(&[A, B]);
    }
}

#[test]
fn a_kill_is_an_end_of_file() {
    let mut world = World::new(100, Chop::OFF);
    world.on(A, |network, _| async move {
        let mut stream = network.connect("b:80").await.unwrap();
        hear(&mut stream, b"last words").await;
        hear_nothing(&mut stream).await;
        hear_eof(&mut stream).await;
    });
    world.on(B, |network, _| async move {
        let mut streams = accept_at_80(&network, 1).await;
        streams[0].write_all(b"last words").await.unwrap();
        std::future::pending().await
    });
    world.pass(2 * SECOND);
    world.sim.crash("b");
    world.until_finished(&[A]);
}

#[test]
fn after_a_power_loss_the_peer_learns_nothing_until_it_writes() {
    let mut world = World::new(100, Chop::OFF);
    world.on(A, |network, _| async move {
        let mut wrote = network.connect("b:80").await.unwrap();
        let mut silent = network.connect("b:80").await.unwrap();
        sleep(5 * SECOND).await;
        // Without power since 2 s.
        hear_nothing(&mut wrote).await;
        hear_nothing(&mut silent).await;
        wrote.write_all(b"into the void").await.unwrap();
        hear_nothing(&mut wrote).await;
        assert!(timeout(SECOND, network.connect("b:80")).await.is_err(), "nobody is there to refuse it");
        let waiting = tokio::spawn(async move { network.connect("b:80").await });
        sleep(5 * SECOND).await;
        // With power again since 10 s.
        hear_reset(&mut wrote).await;
        hear_nothing(&mut silent).await;
        let _ = silent.write(b"who are you?").await;
        hear_reset(&mut silent).await;
        assert!(silent.write(b"still there?").await.is_err());
        assert!(soon(waiting).await.unwrap().is_ok(), "it was sent again until somebody was there");
    });
    world.on(B, |network, _| async move {
        let _streams = accept_at_80(&network, usize::MAX).await;
    });
    world.pass(2 * SECOND);
    world.net.lock().lose(B);
    world.sim.crash("b");
    world.pass(8 * SECOND);
    world.net.lock().restore(B);
    world.sim.bounce("b");
    world.until_finished(&[A]);
}

#[test]
fn all_slices_of_a_vectored_write_count() {
    let near = |mut near: SimStream, _| async move {
        assert!(near.is_write_vectored());
        let slices = [b"one ".as_slice(), b"", b"two ", b"three"].map(IoSlice::new);
        assert_eq!(near.write_vectored(&slices).await.unwrap(), 13);
        // As many as there is room for.
        assert_eq!(near.write_vectored(&[IoSlice::new(b" and"), IoSlice::new(b" four")]).await.unwrap(), 7);
    };
    connected(20, Chop::OFF, near, |mut far, _| async move { hear(&mut far, b"one two three and fo").await });
}

#[test]
fn closing_with_bytes_unread_resets() {
    let near = |mut near: SimStream, _| async move {
        near.write_all(b"never read").await.unwrap();
        hear_reset(&mut near).await;
    };
    connected(100, Chop::OFF, near, |mut far, _| async move {
        sleep(SECOND).await;
        far.write_all(b"lost on its way").await.unwrap();
    });
    // The same when a part was read.
    connected(100, Chop::OFF, near, |mut far, _| async move {
        hear(&mut far, b"never").await;
        far.write_all(b"lost on its way").await.unwrap();
    });
}

#[test]
fn closing_with_nothing_unread_loses_nothing() {
    let near = |mut near: SimStream, _| async move {
        near.write_all(b"question").await.unwrap();
        sleep(SECOND).await;
        hear(&mut near, b"answer").await;
        hear_eof(&mut near).await;
    };
    connected(100, Chop::OFF, near, |mut far, _| async move {
        hear(&mut far, b"question").await;
        far.write_all(b"answer").await.unwrap();
    });
}
