//! A peer that does what the script says. It is no task: it sends and hears when it is told to, as much as there is to send
//! and hear without waiting.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use fastway::handshake::Challenge;
use fastway::id::{ServerId, Side};
use fastway::net::{MemoryNetwork, MemoryStream, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::judge::frames;
use crate::script::KEY;

/// One physical connection, and all that went over it.
pub(crate) struct Peer {
    pub(crate) side: Side,
    /// `None` when the peer has closed it.
    stream: Option<MemoryStream>,
    /// What is to be sent.
    pub(crate) unsent: Vec<u8>,
    /// What was sent; of a server, without its answer to the challenge.
    pub(crate) sent: Vec<u8>,
    /// What came from the gateway; of a server, without the challenge.
    pub(crate) heard: Vec<u8>,
    pub(crate) is_deaf: bool,
    is_shut_down: bool,
    /// Bytes of the answer to the challenge that are still to be sent.
    answer_left: usize,
}

impl Peer {
    pub(crate) async fn client(network: &MemoryNetwork, addr: &str) -> Self {
        Self::new(network, addr, Side::Client).await
    }

    /// A server that may know the key. Otherwise what it sends first is its answer.
    pub(crate) async fn server(network: &MemoryNetwork, addr: &str, id: u8, knows_key: bool) -> Self {
        let mut peer = Self::new(network, addr, Side::Server).await;
        while peer.heard.len() < Challenge::BYTES && peer.hear(Challenge::BYTES - peer.heard.len()) {
            tokio::task::yield_now().await;
        }
        if let Ok(challenge) = peer.heard[..].try_into()
            && knows_key
        {
            let hello = Challenge(challenge).answer(KEY, ServerId::new(id.into()));
            peer.unsent.extend_from_slice(&hello.encode());
        }
        peer.heard.clear();
        peer.answer_left = 20;
        peer
    }

    async fn new(network: &MemoryNetwork, addr: &str, side: Side) -> Self {
        Self {
            side,
            stream: Some(network.connect(addr).await.expect("the gateway listens")),
            unsent: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            is_deaf: false,
            is_shut_down: false,
            answer_left: 0,
        }
    }

    /// Sends up to so many bytes of what there is to send.
    pub(crate) fn send(&mut self, bytes: usize) {
        let Some(stream) = &mut self.stream else { return };
        let (cx, mut written) = (&mut Context::from_waker(Waker::noop()), 0);
        let wanted = bytes.min(self.unsent.len());
        while !self.is_shut_down
            && written < wanted
            && let Poll::Ready(Ok(more)) =
                Pin::new(&mut *stream).poll_write(cx, &self.unsent[written..wanted])
        {
            written += more;
        }
        let answer = self.answer_left.min(written);
        self.answer_left -= answer;
        self.sent.extend_from_slice(&self.unsent[answer..written]);
        self.unsent.drain(..written);
    }

    /// Hears up to so many bytes of what there is to hear. `false` if nothing will ever come.
    pub(crate) fn hear(&mut self, bytes: usize) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let (cx, mut left, mut piece) = (&mut Context::from_waker(Waker::noop()), bytes, [0; 1024]);
        while left > 0 {
            let mut buffer = ReadBuf::new(&mut piece);
            let mut buffer = buffer.take(left);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    left -= buffer.filled().len();
                    self.heard.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return false,
                Poll::Pending => return true,
            }
        }
        true
    }

    /// How often it has dialled, as far as the gateway can tell.
    pub(crate) fn dials(&self) -> usize {
        frames(&self.sent).filter(|(conn, message)| *conn == 0 && message.first() == Some(&0)).count()
    }

    pub(crate) fn shut_down(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        self.is_shut_down = true;
    }

    pub(crate) fn vanish(&mut self) {
        self.stream = None;
    }
}
