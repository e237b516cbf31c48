//! What a peer, or the machine, can do to the gateway at worst.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastway::net::{BindOptions, Listener, MemoryListener, MemoryNetwork, MemoryStream, Network};
use tracing_subscriber::layer::SubscriberExt as _;

use super::support::{Raw, TestGateway, config, wire};

/// Counts log lines.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::INFO {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Lines {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn rule_10_a_thousand_malformed_frames_give_a_handful_of_log_lines() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let gateway = TestGateway::start_in_memory(config()).await;
    for _ in 0..1000 {
        let mut client = gateway.client().await;
        client.send([0; 4]).await;
        client.expect_end().await;
    }
    assert!((1..=5).contains(&lines.count()), "{} lines", lines.count());
}

/// Accepting fails so many times before it works.
#[derive(Clone)]
struct Failing {
    inner: MemoryNetwork,
    failures: Arc<AtomicUsize>,
}

struct FailingListener {
    inner: MemoryListener,
    failures: Arc<AtomicUsize>,
}

impl Network for Failing {
    type Stream = MemoryStream;
    type Listener = FailingListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<FailingListener> {
        let inner = self.inner.bind(addr, options).await?;
        Ok(FailingListener { inner, failures: self.failures.clone() })
    }

    async fn connect(&self, addr: &str) -> io::Result<MemoryStream> {
        self.inner.connect(addr).await
    }
}

impl Listener for FailingListener {
    type Stream = MemoryStream;

    async fn accept(&mut self) -> io::Result<MemoryStream> {
        let failing =
            self.failures.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match failing {
            Ok(_) => Err(io::Error::other("too many open files")),
            Err(_) => self.inner.accept().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// Pitfall 18: out of files is no reason to accept nobody ever again, nor to fill the log.
#[tokio::test(start_paused = true)]
async fn accepting_goes_on_after_errors() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let network = Failing { inner: MemoryNetwork::new(), failures: Arc::new(AtomicUsize::new(50)) };
    let gateway = TestGateway::start_on(network, config()).await;
    let mut client = Raw::new(gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap());
    client.deadline = std::time::Duration::from_secs(120);
    client.send(wire::ping()).await;
    client.expect(wire::ping()).await;
    assert!((1..=50).contains(&lines.count()), "{} lines", lines.count());
}
