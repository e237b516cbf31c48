//! What the lock of a send queue guards.

use std::sync::Arc;
use std::task::Waker;

use super::{Cut, News, Outbox};
use crate::batch::Chunks;

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) chunks: Chunks,
    /// What the owner collected the last time, in bytes.
    pub(super) expected_bytes: u32,
    /// Virtual connections that were ever open.
    pub(super) opened: u64,
    /// Wakes the owner. A session that has not run yet has none, and collects when it does.
    pub(super) waker: Option<Waker>,
    /// News and waiting sessions: none as a rule, and no memory then.
    pub(super) others: Option<Box<Others>>,
    pub(super) cut: Option<Cut>,
    pub(super) state: State,
    /// A server's: Accept and Connect have the client's address behind their arguments.
    pub(super) tells_client_addr: bool,
    pub(super) notice: Notice,
}

/// Whether the owner's peer is to be told that the gateway drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Notice {
    /// It did not ask.
    #[default]
    Unwanted,
    Wanted,
    /// Once is enough.
    Given,
}

#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) news: Vec<News>,
    /// Sessions that wait for room.
    pub(super) held_back: Vec<Arc<Outbox>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// The peer gets no more, but what came from it is still being delivered: frames for it are dropped.
    Broken,
    /// The session has ended.
    Shut,
}

impl Queue {
    pub(super) fn is_to_end(&self) -> bool {
        self.cut.is_some() || self.state != State::Open
    }

    pub(super) fn take_news(&mut self) -> Vec<News> {
        let news = self.others.as_mut().map(|others| std::mem::take(&mut others.news));
        self.others.take_if(|others| others.held_back.is_empty());
        news.unwrap_or_default()
    }

    pub(super) fn take_held_back(&mut self) -> Vec<Arc<Outbox>> {
        let held_back = self.others.as_mut().map(|others| std::mem::take(&mut others.held_back));
        self.others.take_if(|others| others.news.is_empty());
        held_back.unwrap_or_default()
    }
}
