//! How a run's threads are led: what they are told, and what they tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::{Clock, Nanos};
use crate::ledger::Ledger;
use crate::message::Filler;
use crate::plan::Plan;
use crate::stats::{Errors, Interval, ThreadUse};

/// What the threads of a run are told.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The last [`Order`]; 0 before the first.
    order: AtomicU8,
    /// When the first message is due.
    start: AtomicU64,
    stop: AtomicBool,
}

/// What a thread may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Connect clients too. Before that, servers only.
    Clients = 1,
    /// Send.
    Run,
}

impl Control {
    /// Servers are there: clients may connect.
    pub(crate) fn connect_clients(&self) {
        self.order.store(Order::Clients as u8, Ordering::Release);
    }

    /// Everybody is there: messages are due from then on.
    pub(crate) fn start(&self, at: Nanos) {
        self.start.store(at, Ordering::Release);
        self.order.store(Order::Run as u8, Ordering::Release);
    }

    /// When the first message is due.
    pub(crate) fn start_at(&self) -> Nanos {
        self.start.load(Ordering::Acquire)
    }

    /// Nothing more is sent; what is open may come back.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether so much, or more, is allowed.
    pub(crate) fn is(&self, order: Order) -> bool {
        self.order.load(Ordering::Acquire) >= order as u8
    }
}

/// What a thread tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// How many of its links and lanes are there.
    Progress {
        thread: usize,
        links: u64,
        lanes: u64,
    },
    ServersUp,
    /// As many clients as can be had are there.
    ClientsUp,
    Interval(Box<Interval>),
    /// It cannot go on.
    Failed(String),
    Done(Box<Report>),
}

/// What a thread tells at its end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) there: Ledger,
    pub(crate) back: Ledger,
    pub(crate) errors: Errors,
    pub(crate) used: ThreadUse,
    pub(crate) window: (Nanos, Nanos),
}

/// What all threads of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common<N> {
    pub(crate) plan: Arc<Plan>,
    pub(crate) networks: Arc<[N]>,
    pub(crate) clock: Clock,
    pub(crate) filler: Arc<Filler>,
    pub(crate) control: Arc<Control>,
    pub(crate) events: UnboundedSender<Event>,
}
