//! The network of clients: it notes each connect, so that what reaches gateways is counted by this tool and not by what is
//! measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fastway::net::{BindOptions, Network};

use super::book::Book;

/// Another network, with a book.
#[derive(Clone, Debug)]
pub(super) struct Counted<N> {
    network: N,
    book: Arc<Book>,
}

impl<N> Counted<N> {
    pub(super) fn new(network: N, book: Arc<Book>) -> Self {
        Self { network, book }
    }
}

impl<N: Network> Network for Counted<N> {
    type Stream = N::Stream;
    type Listener = N::Listener;

    async fn bind(&self, addr: SocketAddr, options: BindOptions) -> io::Result<N::Listener> {
        self.network.bind(addr, options).await
    }

    async fn connect(&self, addr: &str) -> io::Result<N::Stream> {
        let stream = self.network.connect(addr).await?;
        self.book.connected(addr);
        Ok(stream)
    }
}
