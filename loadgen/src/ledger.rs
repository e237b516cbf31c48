//! The ledger: of what was sent on one virtual connection, one way, what has arrived?
//!
//! `sent = received + lost + open`, always. A message is *lost* if a later one came instead, *duplicated* if it came again,
//! *reordered* if it came after a later one (and is not lost then), *corrupt* if it is not what was sent, *misrouted* if it
//! was sent on another connection, and it came *after close* if the gateway had said that its connection was closed.

use serde::Serialize;

use crate::clock::Nanos;

/// Examples that are kept of each kind of fault.
const EXAMPLES: usize = 5;

/// Gaps that are remembered of one connection: what comes later than that is taken for a duplicate.
const GAPS: usize = 64;

/// What has arrived of one virtual connection, one way.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// The number of the message that is next.
    next: u32,
    /// Corrupt ones that no gap was found for yet.
    corrupt: u32,
    /// What was skipped: first, and how many. Almost no connection ever has one.
    #[expect(
        clippy::box_collection,
        reason = "a connection without faults, as all of them, spends a pointer on it"
    )]
    gaps: Option<Box<Vec<(u32, u32)>>>,
}

/// What a message is, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one.
    Next,
    /// So many are missing before it; as many of them as `corrupt` says came, but not whole.
    AfterGap { missing: u32, corrupt: u32 },
    /// It was missing before.
    Late,
    /// It was here before.
    Again,
}

impl Incoming {
    /// The number of the message that is next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// A whole message of this number.
    pub(crate) fn arrives(&mut self, seq: u32) -> Place {
        if seq == self.next {
            self.next = seq.wrapping_add(1);
            return Place::Next;
        }
        let ahead = seq.wrapping_sub(self.next);
        if ahead < u32::MAX / 2 {
            let gaps = self.gaps.get_or_insert_default();
            if gaps.len() < GAPS {
                gaps.push((self.next, ahead));
            }
            self.next = seq.wrapping_add(1);
            let corrupt = ahead.min(self.corrupt);
            self.corrupt -= corrupt;
            return Place::AfterGap { missing: ahead, corrupt };
        }
        if self.fill(seq) { Place::Late } else { Place::Again }
    }

    /// A message came that was not whole: its number cannot be trusted, but something will be missing.
    pub(crate) fn corrupt(&mut self) {
        self.corrupt += 1;
    }

    /// Corrupt messages that no gap was found for.
    pub(crate) fn unplaced(&self) -> u32 {
        self.corrupt
    }

    fn fill(&mut self, seq: u32) -> bool {
        let Some(gaps) = &mut self.gaps else { return false };
        let Some(index) = gaps.iter().position(|(first, count)| seq.wrapping_sub(*first) < *count) else {
            return false;
        };
        let (first, count) = gaps.swap_remove(index);
        let before = seq.wrapping_sub(first);
        for part in [(first, before), (seq.wrapping_add(1), count - before - 1)] {
            if part.1 > 0 {
                gaps.push(part);
            }
        }
        true
    }
}

/// What can be wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It never came.
    Lost,
    /// It came again.
    Duplicated,
    /// It came after a later one.
    Reordered,
    /// It is not what was sent.
    Corrupt,
    /// It was sent on another virtual connection.
    Misrouted,
    /// It came after the gateway had closed its virtual connection.
    AfterClose,
}

impl Fault {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 6] =
        [Self::Lost, Self::Duplicated, Self::Reordered, Self::Corrupt, Self::Misrouted, Self::AfterClose];

    /// As a report says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupt => "corrupt",
            Self::Misrouted => "misrouted",
            Self::AfterClose => "after close",
        }
    }
}

/// One fault, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Example {
    /// What was wrong.
    pub fault: Fault,
    /// When it was noticed, in ns since the run began.
    pub at_ns: Nanos,
    /// Which connection, and which message of it.
    pub text: String,
}

/// All virtual connections together, one way.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// Messages that were handed to the network.
    pub sent: u64,
    /// Messages that arrived, corrupt ones included, duplicates not.
    pub received: u64,
    /// Messages that neither arrived nor are known to be lost: on their way, or cut off with their connection.
    pub open: u64,
    /// How often each of [`Fault::ALL`] was seen.
    pub faults: [u64; Fault::ALL.len()],
    /// The first few of each.
    pub examples: Vec<Example>,
}

impl Ledger {
    /// How often a fault was seen.
    #[must_use]
    pub const fn count(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults == [0; Fault::ALL.len()]
    }

    /// Whether every message that was sent is accounted for.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.sent == self.received + self.count(Fault::Lost) + self.open
    }

    /// Notes a fault, and the first few of its kind in words.
    pub(crate) fn note(&mut self, fault: Fault, times: u64, at_ns: Nanos, text: impl FnOnce() -> String) {
        self.faults[fault as usize] += times;
        if self.examples.iter().filter(|example| example.fault == fault).count() < EXAMPLES {
            self.examples.push(Example { fault, at_ns, text: text() });
        }
    }

    /// A message that was taken for lost has come after all.
    pub(crate) fn found_again(&mut self) {
        let lost = &mut self.faults[Fault::Lost as usize];
        *lost = lost.saturating_sub(1);
    }

    /// Adds the ledger of other connections.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.open += other.open;
        for (all, more) in self.faults.iter_mut().zip(&other.faults) {
            *all += more;
        }
        for example in &other.examples {
            if self.examples.iter().filter(|known| known.fault == example.fault).count() < EXAMPLES {
                self.examples.push(example.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_order_are_just_the_next_ones() {
        let mut incoming = Incoming { next: u32::MAX - 1, ..Incoming::default() };
        for seq in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert_eq!(incoming.arrives(seq), Place::Next);
        }
    }

    #[test]
    fn a_gap_is_a_loss_until_it_is_filled() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.arrives(3), Place::AfterGap { missing: 3, corrupt: 0 });
        assert_eq!(incoming.arrives(1), Place::Late);
        assert_eq!(incoming.arrives(1), Place::Again);
        assert_eq!(incoming.arrives(0), Place::Late);
        assert_eq!(incoming.arrives(2), Place::Late);
        assert_eq!(incoming.arrives(2), Place::Again);
        assert_eq!(incoming.arrives(3), Place::Again);
        assert_eq!(incoming.arrives(4), Place::Next);
    }

    #[test]
    fn a_corrupt_message_is_not_lost_as_well() {
        let mut incoming = Incoming::default();
        incoming.corrupt();
        assert_eq!(incoming.arrives(2), Place::AfterGap { missing: 2, corrupt: 1 });
        assert_eq!(incoming.unplaced(), 0);
        assert_eq!(incoming.arrives(4), Place::AfterGap { missing: 1, corrupt: 0 });
    }

    #[test]
    fn a_ledger_balances_and_keeps_a_few_examples() {
        let mut ledger = Ledger { sent: 10, received: 7, open: 1, ..Ledger::default() };
        assert!(ledger.is_clean() && !ledger.balances());
        for _ in 0..20 {
            ledger.note(Fault::Corrupt, 1, 5, || "x".to_owned());
        }
        ledger.note(Fault::Lost, 2, 5, || "y".to_owned());
        assert!(ledger.balances() && !ledger.is_clean());
        assert_eq!((ledger.count(Fault::Corrupt), ledger.examples.len()), (20, EXAMPLES + 1));
        let mut all = Ledger::default();
        all.add(&ledger);
        all.add(&ledger);
        assert_eq!((all.sent, all.count(Fault::Lost), all.examples.len()), (20, 4, EXAMPLES + 2));
        assert!(all.balances());
    }
}
