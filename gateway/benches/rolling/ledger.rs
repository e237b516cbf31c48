//! What clients and servers have seen, session by session: neither knows what the other writes here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

/// Bytes of a message: whose it is, its number, and something to carry.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// Of so many echoes it is remembered when they were written.
const REMEMBERED: usize = 256;

/// One session of a client, from the first message on, as the client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    /// Where.
    pub(crate) gateway: usize,
    /// Messages that were written as a whole before the end was seen.
    pub(crate) sent: u64,
    /// Echoes that came.
    pub(crate) heard: u64,
    /// When the gateway ended it.
    pub(crate) told_to_go: Option<Instant>,
    /// From the end of the session before to the first echo of this one.
    pub(crate) handover: Option<Duration>,
}

/// The same session, as its server saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// Messages that came, each in its place.
    pub(crate) received: u64,
    /// When the last echoes were written.
    echoed_at: VecDeque<Instant>,
}

impl Served {
    /// When this echo was written, counted from 0; `None` if that was long before the last one.
    pub(crate) fn echoed_at(&self, number: u64) -> Option<Instant> {
        let first = self.received - self.echoed_at.len() as u64;
        self.echoed_at.get(usize::try_from(number.checked_sub(first)?).ok()?).copied()
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Ledger {
    spoken: Mutex<Vec<Spoken>>,
    served: Mutex<HashMap<u64, Served>>,
    /// Clients that lost their connection before anybody had taken a word from them, or found a closed port.
    turned_away: Mutex<(u64, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { spoken: Mutex::default(), served: Mutex::default(), turned_away: Mutex::default() }
    }

    /// A session begins; its number.
    pub(crate) fn begin(&self, gateway: usize) -> u64 {
        let mut spoken = lock(&self.spoken);
        spoken.push(Spoken { gateway, sent: 0, heard: 0, told_to_go: None, handover: None });
        spoken.len() as u64 - 1
    }

    /// What a client has seen of a session, when that is over.
    pub(crate) fn end(&self, session: u64, spoken: Spoken) {
        lock(&self.spoken)[session as usize] = spoken;
    }

    /// A client found a closed port, or lost a connection that was not a session yet.
    pub(crate) fn turned_away(&self, was_connected: bool) {
        let mut turned_away = lock(&self.turned_away);
        turned_away.0 += u64::from(!was_connected);
        turned_away.1 += u64::from(was_connected);
    }

    /// A server has got this message, and is about to echo it.
    ///
    /// # Errors
    ///
    /// If it is not the next one of its session.
    pub(crate) fn serve(&self, message: &[u8]) -> anyhow::Result<()> {
        let (session, number) = read(message)?;
        let mut all = lock(&self.served);
        let served = all.entry(session).or_default();
        ensure!(
            number == served.received,
            "a server got message {number} of session {session} instead of {}",
            served.received
        );
        served.received += 1;
        if served.echoed_at.len() == REMEMBERED {
            served.echoed_at.pop_front();
        }
        served.echoed_at.push_back(Instant::now());
        Ok(())
    }

    /// Each session as both have seen it.
    pub(crate) fn sessions(&self) -> Vec<(Spoken, Served)> {
        let (spoken, served) = (lock(&self.spoken), lock(&self.served));
        let both = |(session, spoken): (usize, &Spoken)| {
            (spoken.clone(), served.get(&(session as u64)).cloned().unwrap_or_default())
        };
        spoken.iter().enumerate().map(both).collect()
    }

    /// How often a client found a closed port, and how often it lost a connection that was not a session yet.
    pub(crate) fn turns(&self) -> (u64, u64) {
        *lock(&self.turned_away)
    }
}

/// A message of a session.
pub(crate) fn write(session: u64, number: u64) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    message[..8].copy_from_slice(&session.to_le_bytes());
    message[8..16].copy_from_slice(&number.to_le_bytes());
    message[16..].fill(number as u8);
    message
}

/// Session and number of a message.
///
/// # Errors
///
/// If it is damaged.
pub(crate) fn read(message: &[u8]) -> anyhow::Result<(u64, u64)> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).context("a message is too short");
    ensure!(message.len() == MESSAGE_BYTES, "a message has {} bytes", message.len());
    let (session, number) = (number(&message[..8])?, number(&message[8..16])?);
    ensure!(write(session, number) == message, "message {number} of session {session} is damaged");
    Ok((session, number))
}
