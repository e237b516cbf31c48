//! One virtual connection, as its user holds it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use parking_lot::Mutex;

use super::Handle;
use super::config::EndpointConfig;
use super::error::{CloseReason, SendError};
use crate::command::ToGateway;
use crate::extensions::ClientAddr;
use crate::frame::encode;
use crate::id::{ConnId, RemoteId};

/// What a virtual connection's user and the link's driver share.
#[derive(Debug)]
pub(super) struct ConnState {
    id: ConnId,
    remote: RemoteId,
    /// Which connection of the link it is: unlike `id`, never used again.
    serial: u64,
    /// Where the client comes from. As a rule it is known before a user has the connection.
    client_addr: OnceLock<SocketAddr>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Bytes>,
    bytes: usize,
    receiver: Option<Waker>,
    closed: Option<CloseReason>,
    /// The link waits for room here.
    link_waits: bool,
}

/// What became of a message that came for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It waits to be received, or the connection has ended and it was dropped.
    Done,
    /// No room. The driver is woken when there is.
    Full,
}

impl ConnState {
    pub(super) fn new(id: ConnId, remote: RemoteId, serial: u64) -> Arc<Self> {
        Arc::new(Self { id, remote, serial, client_addr: OnceLock::new(), inbox: Mutex::default() })
    }

    /// The gateway tells where the client comes from. The first time counts.
    pub(super) fn comes_from(&self, addr: ClientAddr) {
        if let Some(addr) = addr.0 {
            self.client_addr.get_or_init(|| addr);
        }
    }

    /// Queues a message, which `message` makes only if there is room.
    pub(super) fn deliver(
        &self,
        len: usize,
        config: &EndpointConfig,
        message: impl FnOnce() -> Bytes,
    ) -> Delivery {
        let mut inbox = self.inbox.lock();
        if inbox.closed.is_some() {
            return Delivery::Done;
        }
        let fits =
            inbox.messages.len() < config.recv_queue_messages && inbox.bytes + len <= config.recv_queue_bytes;
        if !fits && !inbox.messages.is_empty() {
            inbox.link_waits = true;
            return Delivery::Full;
        }
        inbox.messages.push_back(message());
        inbox.bytes += len;
        let receiver = inbox.receiver.take();
        drop(inbox);
        receiver.into_iter().for_each(Waker::wake);
        Delivery::Done
    }

    /// The connection has ended. What waits can still be received, unless this side has closed it. The first
    /// reason counts; `false` if there was one before.
    pub(super) fn end(&self, reason: CloseReason) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.closed.is_some() {
            return false;
        }
        if matches!(reason, CloseReason::ClosedHere) {
            inbox.messages.clear();
            inbox.bytes = 0;
        }
        inbox.closed = Some(reason);
        let receiver = inbox.receiver.take();
        drop(inbox);
        receiver.into_iter().for_each(Waker::wake);
        true
    }

    pub(super) fn id(&self) -> ConnId {
        self.id
    }

    pub(super) fn remote(&self) -> RemoteId {
        self.remote
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    fn closed(&self) -> Option<CloseReason> {
        self.inbox.lock().closed.clone()
    }
}

/// A user's hold on a connection: both halves have it. When the last one goes, the connection is closed.
#[derive(Debug)]
struct Hold {
    state: Arc<ConnState>,
    link: Arc<Handle>,
}

impl Hold {
    fn close(&self) {
        if self.state.end(CloseReason::ClosedHere) {
            self.link.command(ToGateway::Close { conn: Some(self.state.id) });
            self.link.lock().out.wake(self.state.serial);
        }
        // If the link waited for this connection's messages to be received, it waits no more.
        self.link.wake_driver();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.close();
    }
}

/// A virtual connection: messages both ways, whole and in order.
///
/// [`send`](Self::send) and [`recv`](Self::recv) are cancel-safe: a future that is dropped has sent or taken nothing.
/// It is also a [`Stream`] and a [`Sink`] of [`Bytes`], and [`split`](Self::split) makes two halves for two tasks.
/// Dropping it closes it; messages that were sent before still go out.
#[derive(Debug)]
pub struct VirtualConn {
    sender: ConnSender,
    receiver: ConnReceiver,
}

/// The sending half of a [`VirtualConn`].
#[derive(Debug)]
pub struct ConnSender {
    hold: Arc<Hold>,
    /// A flush under way waits for the bytes up to here.
    flushing: Option<u64>,
}

/// The receiving half of a [`VirtualConn`].
#[derive(Debug)]
pub struct ConnReceiver {
    hold: Arc<Hold>,
}

impl VirtualConn {
    pub(super) fn new(state: Arc<ConnState>, link: Arc<Handle>) -> Self {
        let hold = Arc::new(Hold { state, link });
        Self { sender: ConnSender { hold: hold.clone(), flushing: None }, receiver: ConnReceiver { hold } }
    }

    /// Its number at the gateway.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.sender.hold.state.id
    }

    /// Who is at the other end: a server's ID for a client, a client's ID for a server.
    #[must_use]
    pub fn remote(&self) -> RemoteId {
        self.sender.hold.state.remote
    }

    /// The gateway that it goes through: the address that its link was connected to.
    #[must_use]
    pub fn gateway(&self) -> &str {
        &self.sender.hold.link.gateway
    }

    /// Where the client comes from, for a server that asks for it ([`EndpointConfig::ask_client_addr`]); whichever side dialled.
    ///
    /// It is what the gateway sees: the client's own address, or what a proxy that the gateway trusts says it is. Behind a load
    /// balancer that does not speak the PROXY protocol and connects with an address of its own, it is that one.
    ///
    /// It is known the moment the connection is. `None` if this server did not ask, if the gateway does not know the question, or
    /// if it does not know the address: the client had gone before it could look, or the connection had ended before the gateway
    /// came to the question, which stands first of all that a server says. With [`SlowReceiver::LinkWaits`] it can be `None` for as
    /// long as the gateway's answer waits behind messages that are not received. For a client it is always `None`.
    ///
    /// [`SlowReceiver::LinkWaits`]: super::SlowReceiver::LinkWaits
    ///
    /// ```
    /// use fastway::endpoint::{EndpointConfig, Server};
    /// use fastway::id::ServerId;
    /// use fastway::net::TcpNetwork;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = EndpointConfig { ask_client_addr: true, ..EndpointConfig::default() };
    /// let server = Server::connect(&TcpNetwork::new(), "127.0.0.1:7020", ServerId::new(1), b"key", config).await?;
    /// let conn = server.accept().await?;
    /// match conn.client_addr() {
    ///     Some(addr) => println!("client {} comes from {addr}", conn.remote()),
    ///     None => println!("client {} comes from somewhere", conn.remote()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn client_addr(&self) -> Option<SocketAddr> {
        self.sender.hold.state.client_addr.get().copied()
    }

    /// Queues a message, waiting while the link's queue is full. See [`ConnSender::send`].
    ///
    /// # Errors
    ///
    /// [`SendError`]; the message was not sent.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.sender.send(message).await
    }

    /// Waits until everything queued so far is handed to the network. See [`ConnSender::flush`].
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the connection ended first.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.sender.flush().await
    }

    /// The next message; `None` when the connection has ended and everything is received.
    /// [`close_reason`](Self::close_reason) says why then.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.receiver.recv().await
    }

    /// Closes the connection: the other side receives what was sent before, then the end. What waits to be
    /// received here is dropped.
    pub fn close(&self) {
        self.sender.hold.close();
    }

    /// Why it has ended; `None` while it is open. Messages may still wait to be received.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.sender.hold.state.closed()
    }

    /// Two halves, for two tasks. The connection is closed when both are dropped.
    #[must_use]
    pub fn split(self) -> (ConnSender, ConnReceiver) {
        (self.sender, self.receiver)
    }
}

impl ConnSender {
    /// Queues a message for the other side, waiting while the link's queue is full.
    ///
    /// The message has not reached the other side when this returns, nor even the network: the link writes soon
    /// after, together with what else there is. An empty message is a message.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the message was not sent.
    pub async fn send(&mut self, message: impl AsRef<[u8]>) -> Result<(), SendError> {
        let message = message.as_ref();
        self.check_len(message)?;
        poll_fn(|cx| self.poll_room(cx)).await?;
        self.push(message)
    }

    /// Waits until everything queued so far, on this link, is handed to the network.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the connection ended first.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// Why the connection has ended; `None` while it is open.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.hold.state.closed()
    }

    /// Closes the connection, both ways.
    pub fn close(&self) {
        self.hold.close();
    }

    /// Sender and receiver check the same number: a longer message would end the link at the other end.
    fn check_len(&self, message: &[u8]) -> Result<(), SendError> {
        let (len, max) = (message.len(), self.hold.link.config.max_packet.max_message_bytes());
        if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
    }

    fn check_open(&self) -> Result<(), SendError> {
        self.hold.state.closed().map_or(Ok(()), |reason| Err(SendError::Closed(reason)))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.check_open()?;
        let link = &self.hold.link;
        let mut shared = link.lock();
        shared.check_writable()?;
        let room = shared.out.poll_room(link.config.send_queue_bytes, self.hold.state.serial, cx);
        drop(shared);
        // It may have ended between the two looks: whoever ended it wakes only those who waited before.
        if room.is_pending() {
            self.check_open()?;
        }
        room.map(Ok)
    }

    fn push(&mut self, message: &[u8]) -> Result<(), SendError> {
        // A flush that was given up is not the next one's business.
        self.flushing = None;
        let mut shared = self.hold.link.lock();
        // Under the lock: nothing of a connection is queued behind its Close.
        self.check_open()?;
        shared.check_writable()?;
        shared.out.push_with(|out| encode(self.hold.state.id, message, out));
        shared.wake_driver();
        Ok(())
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut shared = self.hold.link.lock();
        let up_to = *self.flushing.get_or_insert(shared.out.queued());
        let written = shared.out.poll_written(up_to, self.hold.state.serial, cx);
        let writable = shared.check_writable();
        drop(shared);
        if written.is_ready() {
            self.flushing = None;
        } else {
            writable.and_then(|()| self.check_open()).inspect_err(|_| self.flushing = None)?;
        }
        written.map(Ok)
    }
}

impl ConnReceiver {
    /// The next message; `None` when the connection has ended and everything is received.
    pub async fn recv(&mut self) -> Option<Bytes> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Why the connection has ended; `None` while it is open. Messages may still wait to be received.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.hold.state.closed()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut inbox = self.hold.state.inbox.lock();
        let Some(message) = inbox.messages.pop_front() else {
            if inbox.closed.is_some() {
                return Poll::Ready(None);
            }
            inbox.receiver = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inbox.bytes -= message.len();
        let link_waited = std::mem::take(&mut inbox.link_waits);
        drop(inbox);
        if link_waited {
            self.hold.link.wake_driver();
        }
        Poll::Ready(Some(message))
    }
}

impl Stream for ConnReceiver {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.poll_recv(cx)
    }
}

impl Sink<Bytes> for ConnSender {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_room(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Bytes) -> Result<(), SendError> {
        self.check_len(&message)?;
        self.push(&message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_written(cx)
    }

    /// Flushes, then closes the virtual connection.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_written(cx))?;
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Stream for VirtualConn {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.receiver.poll_recv(cx)
    }
}

impl Sink<Bytes> for VirtualConn {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Bytes) -> Result<(), SendError> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}
