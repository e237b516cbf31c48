//! Gateways that are broken on purpose, through the public API, must be caught: the alarm rings.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use fastway::net::{BindOptions, Listener, Network, Stream};
use fastway_sim::Wrap;
use fastway_sim::net::{Chop, SimNetwork};
use fastway_sim::plan::Plan;
use fastway_sim::tap::Tapped;
use fastway_sim::world;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is wrong with a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sickness {
    /// Two messages that are written together change places.
    SwapsFrames,
    /// Every hundredth message is lost.
    LosesFrames,
    /// Every hundredth message comes twice.
    RepeatsFrames,
    /// Every hundredth message is changed.
    ChangesBytes,
    /// Every fifth Close is not said.
    ForgetsClose,
    /// No Ping is ever said.
    IgnoresPings,
    /// Servers that ask are told another port than their clients have.
    LiesAboutAddresses,
    /// Nobody is told that it drains.
    ForgetsNotices,
    /// Who asked is told so twice.
    RepeatsNotices,
}

#[derive(Clone, Copy, Debug)]
struct Sick(Sickness);

impl Wrap for Sick {
    type Network = SickNetwork;

    fn wrap(&self, inner: Tapped<SimNetwork>) -> SickNetwork {
        SickNetwork { inner, sickness: self.0 }
    }
}

#[derive(Clone, Debug)]
struct SickNetwork {
    inner: Tapped<SimNetwork>,
    sickness: Sickness,
}

type InnerListener = <Tapped<SimNetwork> as Network>::Listener;
type InnerStream = <Tapped<SimNetwork> as Network>::Stream;

#[derive(Debug)]
struct SickListener {
    inner: InnerListener,
    sickness: Sickness,
}

/// Gathers what is written into frames, and spoils some.
#[derive(Debug)]
struct SickStream {
    inner: InnerStream,
    sickness: Sickness,
    to_server: bool,
    greeted: bool,
    gathered: Vec<u8>,
    ready: Vec<u8>,
    count: u32,
}

impl Network for SickNetwork {
    type Stream = SickStream;
    type Listener = SickListener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<SickListener> {
        Ok(SickListener { inner: self.inner.bind(addr, options).await?, sickness: self.sickness })
    }

    async fn connect(&self, _: &str) -> io::Result<SickStream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Listener for SickListener {
    type Stream = SickStream;

    async fn accept(&mut self) -> io::Result<SickStream> {
        let inner = self.inner.accept().await?;
        let to_server = self.inner.local_addr()?.port() == fastway_sim::plan::SERVER_PORT;
        let sickness = self.sickness;
        let (gathered, ready) = (Vec::new(), Vec::new());
        Ok(SickStream { inner, sickness, to_server, greeted: false, gathered, ready, count: 0 })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl Stream for SickStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        let mut addr = self.inner.peer_addr()?;
        if self.sickness == Sickness::LiesAboutAddresses {
            addr.set_port(addr.port() ^ 1);
        }
        Ok(addr)
    }
}

impl SickStream {
    fn spoil(&mut self) {
        if self.to_server && !self.greeted {
            // The challenge is no frame.
            if self.gathered.len() < 8 {
                return;
            }
            self.greeted = true;
            self.ready.extend(self.gathered.drain(..8));
        }
        let mut frames: Vec<Vec<u8>> = Vec::new();
        while let Some(len) = self.gathered.get(..4) {
            let total = 4 + u32::from_le_bytes(len.try_into().unwrap()) as usize;
            if self.gathered.len() < total {
                break;
            }
            frames.push(self.gathered.drain(..total).collect());
        }
        let is_data = |frame: &[u8]| frame[4..8] != [0; 4];
        for index in 0..frames.len() {
            self.count += 1;
            let hit = self.count.is_multiple_of(100);
            let is_notice = !is_data(&frames[index]) && frames[index].len() == 25 && frames[index][8] == 4;
            let close = !is_data(&frames[index]) && frames[index][8] == 4;
            match self.sickness {
                Sickness::SwapsFrames if index > 0 && frames[index][4..8] == frames[index - 1][4..8] => {
                    frames.swap(index, index - 1);
                }
                Sickness::LosesFrames if hit && is_data(&frames[index]) => frames[index].clear(),
                Sickness::RepeatsFrames if hit && is_data(&frames[index]) => {
                    let copy = frames[index].clone();
                    frames[index].extend(copy);
                }
                Sickness::ChangesBytes if hit && frames[index].len() > 8 && is_data(&frames[index]) => {
                    *frames[index].last_mut().unwrap() ^= 1;
                }
                Sickness::ForgetsClose if close && self.count.is_multiple_of(5) => frames[index].clear(),
                Sickness::IgnoresPings if !is_data(&frames[index]) && frames[index][8] == 5 => {
                    frames[index].clear()
                }
                Sickness::ForgetsNotices if is_notice => frames[index].clear(),
                Sickness::RepeatsNotices if is_notice => {
                    let copy = frames[index].clone();
                    frames[index].extend(copy);
                }
                _ => {}
            }
            if self.sickness != Sickness::SwapsFrames {
                self.ready.append(&mut frames[index]);
            }
        }
        frames.into_iter().for_each(|frame| self.ready.extend(frame));
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ready.is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, &self.ready) {
                Poll::Ready(Ok(written)) => drop(self.ready.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for SickStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let _ = self.poll_ready(cx);
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SickStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.poll_ready(cx)?.is_pending() {
            return Poll::Pending;
        }
        self.gathered.extend_from_slice(bytes);
        self.spoil();
        let _ = self.poll_ready(cx)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_ready(cx)?.is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Runs worlds until one is caught by one of these rules.
fn is_caught(sickness: Sickness, rules: &[&str]) {
    is_caught_in(sickness, rules, |_| ());
}

/// The same, in worlds that are changed so that there is something to see.
fn is_caught_in(sickness: Sickness, rules: &[&str], change: impl Fn(&mut Plan)) {
    let mut others = Vec::new();
    for seed in 0..30 {
        let mut plan = Plan::from_seed(seed);
        change(&mut plan);
        if let Some(violation) = world::run_wrapped(&plan, Sick(sickness)).violation {
            if rules.iter().any(|rule| violation.rule.starts_with(rule)) {
                return;
            }
            others.push(format!("seed {seed}: {violation}"));
        }
    }
    panic!("{sickness:?} was not caught by {rules:?}, but: {others:#?}");
}

#[test]
fn a_gateway_that_swaps_messages_is_caught() {
    is_caught(Sickness::SwapsFrames, &["rule 5"]);
}

#[test]
fn a_gateway_that_loses_messages_is_caught() {
    is_caught(Sickness::LosesFrames, &["rule 5", "rule 7"]);
}

#[test]
fn a_gateway_that_repeats_messages_is_caught() {
    is_caught(Sickness::RepeatsFrames, &["rule 5"]);
}

#[test]
fn a_gateway_that_changes_messages_is_caught() {
    is_caught(Sickness::ChangesBytes, &["rule 5"]);
}

#[test]
fn a_gateway_that_forgets_to_close_is_caught() {
    is_caught(Sickness::ForgetsClose, &["rule 9"]);
}

#[test]
fn a_gateway_that_does_not_echo_is_caught() {
    is_caught(Sickness::IgnoresPings, &["rule 11", "rule 12"]);
}

#[test]
fn a_gateway_that_drains_without_notice_is_caught() {
    // Drains that take longer than a notice may, on a network that holds nobody up.
    is_caught_in(Sickness::ForgetsNotices, &["rule E10"], |plan| {
        plan.endpoint.ask_draining = true;
        plan.drain.first = true;
        plan.drain.timeout_ms = 5_000;
        plan.network.chop = Chop::OFF;
        plan.network.socket_bytes = 1 << 20;
    });
}

#[test]
fn a_gateway_that_gives_notice_twice_is_caught() {
    is_caught(Sickness::RepeatsNotices, &["rule E10"]);
}

#[test]
fn a_gateway_that_tells_wrong_addresses_is_caught() {
    is_caught(Sickness::LiesAboutAddresses, &["rule E6"]);
}
