//! One virtual connection that asks at a steady pace, and is dialled again whenever it has ended.

use std::sync::Arc;
use std::time::Duration;

use fastway::fleet::{Client, Conn, Received};
use fastway::id::ServerId;
use tokio::time::{Instant, sleep, timeout_at};

use super::book::Book;

/// A dial that failed is tried again after so long. The library has waited by then for as long as it was told to.
const REST: Duration = Duration::from_millis(50);

/// What one needs to know.
#[derive(Debug)]
pub(super) struct Lane {
    /// Which one of all.
    pub(super) number: usize,
    pub(super) server: ServerId,
    pub(super) pace: Duration,
    pub(super) book: Arc<Book>,
}

impl Lane {
    /// Asks until nobody does.
    pub(super) async fn ask(self, client: Client) {
        let mut gone = None;
        while !self.book.is_over() {
            match client.dial(self.server).await {
                Ok(conn) => {
                    if let Some(gone) = gone.take() {
                        self.missed_since(gone);
                    }
                    self.talk(conn).await;
                    self.book.lost(self.number);
                    gone = Some(Instant::now());
                }
                Err(error) => {
                    self.book.trouble(&error.to_string());
                    sleep(REST).await;
                }
            }
        }
    }

    /// Until the connection has ended, and is not dialled again by the library.
    async fn talk(&self, mut conn: Conn) {
        self.opened(&conn);
        let mut due = Instant::now();
        loop {
            match timeout_at(due, conn.recv()).await {
                Ok(Some(Received::Message(message))) => self.book.answered(self.number, &message),
                Ok(Some(Received::Renewed { .. })) => {
                    self.opened(&conn);
                    due = Instant::now();
                }
                Ok(None) => {
                    if let Some(reason) = conn.close_reason().filter(|_| !self.book.is_over()) {
                        self.book.trouble(&format!("server {}: {reason}", self.server));
                    }
                    return;
                }
                Err(_) if self.book.is_over() => return self.listen(conn).await,
                Err(_) => {
                    let question = self.book.ask(self.number, due.elapsed());
                    if conn.send(question).await.is_err() {
                        self.book.unsaid(self.number);
                    }
                    // Whoever was late does not make up for it: a burst would hide who waited.
                    due = (due + self.pace).max(Instant::now());
                }
            }
        }
    }

    /// What is still open may come.
    async fn listen(&self, mut conn: Conn) {
        while let Some(Received::Message(message)) = conn.recv().await {
            self.book.answered(self.number, &message);
        }
    }

    fn opened(&self, conn: &Conn) {
        let gateway = conn.gateway().map_or_else(String::new, |gateway| gateway.to_string());
        self.book.opened(self.number, &gateway);
    }

    /// What would have been asked in the meantime.
    fn missed_since(&self, gone: Instant) {
        let questions = gone.elapsed().div_duration_f64(self.pace) as u64;
        self.book.missed(self.number, questions);
    }
}
