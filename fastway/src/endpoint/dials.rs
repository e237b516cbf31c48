//! Dials that wait for their answer. Pure: who gets which answer.
//!
//! The gateway answers a dial by its RemoteID, and dials of one link to the same remote in the order in which they
//! were made. So each remote has a line of its own. A dial that was given up (its deadline passed) leaves the line,
//! but its answer is still to come: it is counted, and swallowed when nobody else wants it.

use std::collections::VecDeque;
use std::task::Waker;

use rustc_hash::FxHashMap;

use crate::id::RemoteId;

/// One dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// All dials of one link. `A` is what a dial gets.
#[derive(Debug)]
pub(super) struct Dials<A> {
    last: u64,
    states: FxHashMap<Ticket, State<A>>,
    lines: FxHashMap<RemoteId, Line>,
}

#[derive(Debug)]
enum State<A> {
    Waiting(Option<Waker>),
    Answered(A),
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Ticket>,
    /// Answers that are still to come for dials that were given up.
    abandoned: usize,
}

impl<A> Dials<A> {
    pub(super) fn new() -> Self {
        Self { last: 0, states: FxHashMap::default(), lines: FxHashMap::default() }
    }

    /// A new dial, last in the line to `remote`.
    pub(super) fn begin(&mut self, remote: RemoteId) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.states.insert(ticket, State::Waiting(None));
        self.lines.entry(remote).or_default().waiting.push_back(ticket);
        ticket
    }

    /// A connection to `remote` was opened: whose is it? One is as good as another, so whoever waits longest gets it.
    /// `None`: nobody wants it, it has to be closed.
    pub(super) fn accepted(&mut self, remote: RemoteId) -> Option<Ticket> {
        let line = self.lines.get_mut(&remote)?;
        let ticket = line.waiting.pop_front();
        if ticket.is_none() {
            line.abandoned = line.abandoned.saturating_sub(1);
        }
        self.forget_empty(remote);
        ticket
    }

    /// A connection to `remote` was refused: whose? Those who gave up first. `None`: nobody's.
    pub(super) fn refused(&mut self, remote: RemoteId) -> Option<Ticket> {
        let line = self.lines.get_mut(&remote)?;
        let ticket = if line.abandoned > 0 {
            line.abandoned -= 1;
            None
        } else {
            line.waiting.pop_front()
        };
        self.forget_empty(remote);
        ticket
    }

    /// Stores the answer to a dial that [`accepted`](Self::accepted) or [`refused`](Self::refused) named.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: A) -> Option<Waker> {
        match self.states.insert(ticket, State::Answered(answer)) {
            Some(State::Waiting(waker)) => waker,
            _ => None,
        }
    }

    /// The answer, once. Otherwise `waker` is woken when it is there.
    pub(super) fn take_answer(&mut self, ticket: Ticket, waker: &Waker) -> Option<A> {
        match self.states.remove(&ticket)? {
            State::Answered(answer) => Some(answer),
            State::Waiting(_) => {
                self.states.insert(ticket, State::Waiting(Some(waker.clone())));
                None
            }
        }
    }

    /// Nobody waits for this dial any more. If it was answered in the meantime, here is what it got.
    pub(super) fn abandon(&mut self, ticket: Ticket, remote: RemoteId) -> Option<A> {
        match self.states.remove(&ticket)? {
            State::Answered(answer) => Some(answer),
            State::Waiting(_) => {
                if let Some(line) = self.lines.get_mut(&remote) {
                    line.waiting.retain(|waiting| *waiting != ticket);
                    line.abandoned += 1;
                }
                None
            }
        }
    }

    /// Whether every dial has had its answer, those that were given up included.
    pub(super) fn are_answered(&self) -> bool {
        self.lines.is_empty()
    }

    /// Wakes everybody: the link has ended.
    pub(super) fn wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.states.values_mut().filter_map(|state| match state {
            State::Waiting(waker) => waker.take(),
            State::Answered(_) => None,
        })
    }

    fn forget_empty(&mut self, remote: RemoteId) {
        if self.lines.get(&remote).is_some_and(|line| line.waiting.is_empty() && line.abandoned == 0) {
            self.lines.remove(&remote);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(number: u32) -> RemoteId {
        RemoteId::new(number)
    }

    fn nothing_is_left(dials: &Dials<u32>) -> bool {
        dials.states.is_empty() && dials.lines.is_empty()
    }

    #[test]
    fn each_dial_gets_its_own_answer() {
        let mut dials = Dials::new();
        let [a, b, c] = [1, 2, 1].map(|number| dials.begin(remote(number)));
        assert_eq!(dials.accepted(remote(2)), Some(b));
        assert_eq!(dials.accepted(remote(1)), Some(a));
        assert_eq!(dials.refused(remote(1)), Some(c));
        for (ticket, answer) in [(a, 10), (b, 20), (c, 30)] {
            assert_eq!(dials.take_answer(ticket, Waker::noop()), None);
            dials.answer(ticket, answer);
            assert_eq!(dials.take_answer(ticket, Waker::noop()), Some(answer));
        }
        assert!(nothing_is_left(&dials));
    }

    #[test]
    fn an_unsolicited_answer_is_nobodys() {
        let mut dials: Dials<u32> = Dials::new();
        let ticket = dials.begin(remote(1));
        assert_eq!(dials.refused(remote(2)), None);
        assert_eq!(dials.accepted(remote(2)), None);
        assert_eq!(dials.refused(remote(1)), Some(ticket));
    }

    #[test]
    fn a_late_answer_to_a_given_up_dial_goes_to_nobody_or_to_who_wants_it() {
        let mut dials: Dials<u32> = Dials::new();
        let late = dials.begin(remote(1));
        dials.abandon(late, remote(1));
        assert_eq!(dials.accepted(remote(1)), None, "to be closed");
        assert!(nothing_is_left(&dials));

        let late = dials.begin(remote(1));
        let next = dials.begin(remote(1));
        dials.abandon(late, remote(1));
        assert_eq!(dials.refused(remote(1)), None, "the late one's");
        assert_eq!(dials.accepted(remote(1)), Some(next));

        let late = dials.begin(remote(1));
        let next = dials.begin(remote(1));
        dials.abandon(late, remote(1));
        assert_eq!(dials.accepted(remote(1)), Some(next), "an open connection is as good as another");
        assert_eq!(dials.refused(remote(1)), None);
        assert!(dials.lines.is_empty());
    }

    #[test]
    fn a_dial_that_is_given_up_after_its_answer_hands_the_answer_back() {
        let mut dials = Dials::new();
        let ticket = dials.begin(remote(1));
        assert_eq!(dials.accepted(remote(1)), Some(ticket));
        dials.answer(ticket, 7);
        assert_eq!(dials.abandon(ticket, remote(1)), Some(7));
        assert!(nothing_is_left(&dials));
    }
}
