//! What one thread writes down while it runs: the present interval, the ledgers, the errors.

use crate::clock::{Clock, Nanos};
use crate::ledger::{Fault, Ledger};
use crate::message::Header;
use crate::stats::{ErrorKind, Errors, Interval, Phase};

/// The intended time of messages outside of the load: the first one over each link, and those of calls. They are in the ledger,
/// and nowhere else.
pub(crate) const OUTSIDE: Nanos = 0;

/// One thread's book.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) clock: Clock,
    pub(crate) interval: Interval,
    /// Questions, as seen by who was dialled.
    pub(crate) there: Ledger,
    /// Round trips, as seen by who dialled.
    pub(crate) back: Ledger,
    pub(crate) errors: Errors,
    /// When messages that count are meant to be sent: from, and before.
    pub(crate) window: (Nanos, Nanos),
    /// Messages are, or were, being sent.
    pub(crate) has_begun: bool,
    /// The time of the read that is being handled; taken once for all its frames.
    read_at: Option<Nanos>,
}

impl Book {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            interval: Interval::default(),
            there: Ledger::default(),
            back: Ledger::default(),
            errors: Errors::default(),
            window: (Nanos::MAX, Nanos::MAX),
            has_begun: false,
            read_at: None,
        }
    }

    /// Bytes are about to be read.
    pub(crate) fn begin_read(&mut self) {
        self.read_at = None;
    }

    /// When the bytes that are being handled had been read.
    pub(crate) fn read_at(&mut self) -> Nanos {
        let clock = self.clock;
        *self.read_at.get_or_insert_with(|| clock.now())
    }

    /// Whether a message that was meant to be sent then counts.
    pub(crate) fn counts(&self, intended: Nanos) -> bool {
        (self.window.0..self.window.1).contains(&intended)
    }

    /// A message is due.
    pub(crate) fn due(&mut self, intended: Nanos) {
        self.interval.tally.due += 1;
        self.interval.tally.measured_due += u64::from(self.counts(intended));
    }

    /// It was picked up, and is handed to the network next.
    pub(crate) fn sent(&mut self, intended: Nanos, picked: Nanos) {
        self.back.sent += 1;
        self.interval.tally.sent += u64::from(intended != OUTSIDE);
        if self.counts(intended) {
            self.interval.metrics.lag.record(picked.saturating_sub(intended));
        }
    }

    /// The socket has taken its last byte.
    pub(crate) fn accepted(&mut self, intended: Nanos, picked: Nanos, now: Nanos) {
        if self.counts(intended) {
            self.interval.metrics.blocked.record(now.saturating_sub(picked));
        }
    }

    /// Its echo came. `accepted` is not known of one that came out of order.
    pub(crate) fn received(&mut self, header: &Header, accepted: Option<Nanos>, now: Nanos) {
        self.back.received += 1;
        self.interval.tally.received += u64::from(header.intended != OUTSIDE);
        if !self.counts(header.intended) {
            return;
        }
        self.interval.tally.measured_received += 1;
        let metrics = &mut self.interval.metrics;
        metrics.response.record(now.saturating_sub(header.intended));
        metrics.echo.record(header.echo);
        if let Some(accepted) = accepted {
            metrics.wire.record(now.saturating_sub(accepted).saturating_sub(header.echo));
        }
    }

    /// It has no echo, and will have none: it counts with its age.
    pub(crate) fn censored(&mut self, intended: Nanos, now: Nanos) {
        self.back.open += 1;
        if self.counts(intended) {
            self.interval.tally.censored += 1;
            self.interval.metrics.response.record(now.saturating_sub(intended));
        }
    }

    /// Something went wrong.
    pub(crate) fn error(&mut self, kind: ErrorKind, text: impl FnOnce() -> String) {
        let now = self.clock.now();
        let phase = self.phase(now);
        self.interval.tally.errors += 1;
        self.errors.note(kind, phase, now, text);
    }

    /// A message on the way back is not as it should be.
    pub(crate) fn fault_back(&mut self, fault: Fault, times: u32, text: impl FnOnce() -> String) {
        let at = self.read_at();
        self.back.note(fault, times.into(), at, text);
    }

    /// A message on the way there is not as it should be.
    pub(crate) fn fault_there(&mut self, fault: Fault, times: u32, text: impl FnOnce() -> String) {
        let at = self.read_at();
        self.there.note(fault, times.into(), at, text);
    }

    fn phase(&self, now: Nanos) -> Phase {
        if !self.has_begun {
            Phase::Setup
        } else if now < self.window.0 {
            Phase::WarmUp
        } else if now < self.window.1 {
            Phase::Measured
        } else {
            Phase::Closing
        }
    }
}
