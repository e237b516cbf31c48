//! A virtual connection as the side sees it that opens it, sends questions and awaits echoes. It outlives the connection:
//! when that is closed, it is dialled again.

use std::collections::VecDeque;

use fastway::id::{ConnId, RemoteId};

use crate::book::Book;
use crate::clock::Nanos;
use crate::ledger::{Fault, Incoming, Place};
use crate::message::Header;

/// One of them.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The link that it goes over, by its place in its thread.
    pub(crate) link: u32,
    /// Who is dialled.
    pub(crate) remote: RemoteId,
    pub(crate) kind: Kind,
    pub(crate) state: State,
    /// The connection, while it is open or closing.
    pub(crate) conn: Option<ConnId>,
    /// When the present dial was meant to be made.
    pub(crate) meant: Nanos,
    /// The number of the next question.
    next: u32,
    /// The number of the first question that the socket has not taken yet.
    unaccepted: u32,
    /// Questions without an echo, the oldest first. Its number is the one that `incoming` expects.
    waiting: VecDeque<Sent>,
    incoming: Incoming,
    /// How many connections there were before.
    pub(crate) generation: u32,
}

/// Who opened it, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A client, for the load.
    Client,
    /// A server, for one question.
    Call,
}

/// ```text
/// Down → Dialling → Open → Retiring → Closing → Down
/// ```
///
/// From anywhere back to `Down` when the link ends or the gateway closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Down,
    Dialling,
    Open,
    /// No more questions; closed when the last echo is there.
    Retiring,
    /// `Close` was sent.
    Closing,
}

/// One question under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    intended: Nanos,
    /// When it was picked up; as soon as the socket has taken it, when that was.
    accepted: Nanos,
}

impl Lane {
    pub(crate) fn new(link: u32, remote: RemoteId, kind: Kind) -> Self {
        Self {
            link,
            remote,
            kind,
            state: State::Down,
            conn: None,
            meant: 0,
            next: 0,
            unaccepted: 0,
            waiting: VecDeque::new(),
            incoming: Incoming::default(),
            generation: 0,
        }
    }

    /// The connection is open.
    pub(crate) fn open(&mut self, conn: ConnId) {
        self.conn = Some(conn);
        self.state = State::Open;
        self.generation = self.generation.wrapping_add(1);
        (self.next, self.unaccepted, self.incoming) = (0, 0, Incoming::default());
    }

    /// Questions without an echo.
    pub(crate) fn under_way(&self) -> usize {
        self.waiting.len()
    }

    /// The next question is picked up now. Its number.
    pub(crate) fn ask(&mut self, intended: Nanos, now: Nanos) -> u32 {
        let seq = self.next;
        self.next = seq.wrapping_add(1);
        self.waiting.push_back(Sent { intended, accepted: now });
        seq
    }

    /// The socket has taken the oldest question that it had not taken yet.
    pub(crate) fn accepted(&mut self, book: &mut Book, now: Nanos) {
        let index = self.unaccepted.wrapping_sub(self.incoming.next());
        self.unaccepted = self.unaccepted.wrapping_add(1);
        if let Some(sent) = self.waiting.get_mut(index as usize) {
            book.accepted(sent.intended, sent.accepted, now);
            sent.accepted = now;
        }
    }

    /// A whole echo came.
    pub(crate) fn answered(&mut self, book: &mut Book, header: &Header, name: impl Fn() -> String) {
        let now = book.read_at();
        if self.next.wrapping_sub(header.seq) > u32::MAX / 2 || header.seq == self.next {
            book.fault_back(Fault::Corrupt, 1, || {
                format!("{}: an echo of message {}, which was never sent", name(), header.seq)
            });
            return;
        }
        match self.incoming.arrives(header.seq) {
            Place::Next => self.on_time(book, header, now),
            Place::AfterGap { missing, corrupt } => {
                self.waiting.drain(..self.waiting.len().min(missing as usize));
                if missing > corrupt {
                    let first = header.seq.wrapping_sub(missing);
                    book.fault_back(Fault::Lost, missing - corrupt, || {
                        format!("{}: after message {} came {}", name(), first.wrapping_sub(1), header.seq)
                    });
                }
                self.on_time(book, header, now);
            }
            Place::Late => {
                book.back.found_again();
                book.received(header, None, now);
                book.fault_back(Fault::Reordered, 1, || {
                    format!("{}: message {} came after a later one", name(), header.seq)
                });
            }
            Place::Again => book.fault_back(Fault::Duplicated, 1, || {
                format!("{}: message {} came again", name(), header.seq)
            }),
        }
    }

    fn on_time(&mut self, book: &mut Book, header: &Header, now: Nanos) {
        let accepted = self.waiting.pop_front().map(|sent| sent.accepted);
        book.received(header, accepted, now);
    }

    /// An echo came that is not whole.
    pub(crate) fn garbled(&mut self, book: &mut Book, name: impl Fn() -> String) {
        self.incoming.corrupt();
        book.back.received += 1;
        let next = self.incoming.next();
        book.fault_back(Fault::Corrupt, 1, || {
            format!("{}: in place of message {next}, or a later one", name())
        });
    }

    /// The connection is gone, or the run is over: what has no echo by now has none.
    pub(crate) fn give_up(&mut self, book: &mut Book, now: Nanos) {
        // Corrupt ones count as received, and the places that they had do not wait any more.
        let corrupt = (self.incoming.unplaced() as usize).min(self.waiting.len());
        for sent in self.waiting.drain(corrupt..) {
            book.censored(sent.intended, now);
        }
        self.waiting = VecDeque::new();
        self.conn = None;
        self.state = State::Down;
        self.incoming = Incoming::default();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::clock::Clock;
    use crate::message::{self, Filler, Verify};

    fn open_lane(questions: u32) -> (Lane, Book) {
        let mut book = Book::new(Clock::start());
        book.window = (1, Nanos::MAX);
        let mut lane = Lane::new(0, RemoteId::new(1), Kind::Client);
        lane.open(ConnId::new(7).unwrap());
        for seq in 0..questions {
            book.sent(10, 20);
            assert_eq!(lane.ask(10, 20), seq);
        }
        (lane, book)
    }

    fn header(seq: u32) -> Header {
        let filler = Filler::new(&mut StdRng::seed_from_u64(1), 0);
        let mut out = Vec::new();
        message::push(
            &mut out,
            &filler,
            Verify::Off,
            ConnId::new(7).unwrap(),
            seq,
            10,
            message::MIN_MESSAGE_BYTES,
        );
        Header::read(&out[fastway::frame::HEADER_BYTES..]).unwrap()
    }

    fn answer(lane: &mut Lane, book: &mut Book, seq: u32) {
        lane.answered(book, &header(seq), || "lane".to_owned());
    }

    fn faults(book: &Book) -> Vec<(Fault, u64)> {
        let seen = Fault::ALL.into_iter().map(|fault| (fault, book.back.count(fault)));
        seen.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn every_question_is_received_lost_or_open() {
        let (mut lane, mut book) = open_lane(10);
        for seq in [0, 1] {
            answer(&mut lane, &mut book, seq);
        }
        lane.garbled(&mut book, || "lane".to_owned());
        // 2 and 3 are missing, one of them was garbled; 4 comes twice; 6 and 5 are swapped.
        for seq in [4, 4, 6, 5] {
            answer(&mut lane, &mut book, seq);
        }
        lane.give_up(&mut book, 1_000);
        let seen = [(Fault::Lost, 1), (Fault::Duplicated, 1), (Fault::Reordered, 1), (Fault::Corrupt, 1)];
        assert_eq!(faults(&book), seen);
        assert_eq!((book.back.sent, book.back.received, book.back.open), (10, 6, 3));
        assert!(book.back.balances());
    }

    #[test]
    fn what_has_no_echo_counts_with_its_age() {
        let (mut lane, mut book) = open_lane(3);
        answer(&mut lane, &mut book, 0);
        lane.give_up(&mut book, 5_000_010);
        let (tally, response) = (&book.interval.tally, &book.interval.metrics.response);
        assert_eq!((tally.measured_received, tally.censored, response.count()), (1, 2, 3));
        assert!(response.max().abs_diff(5_000_000) < 5_000, "{}", response.max());
    }

    #[test]
    fn the_wait_for_the_socket_is_told_from_the_wait_for_the_gateway() {
        let (mut lane, mut book) = open_lane(2);
        lane.accepted(&mut book, 300_020);
        answer(&mut lane, &mut book, 0);
        lane.accepted(&mut book, 900_020);
        let metrics = &book.interval.metrics;
        assert_eq!(metrics.blocked.count(), 2);
        assert!(metrics.blocked.max().abs_diff(900_000) < 1_000, "{}", metrics.blocked.max());
        assert_eq!(metrics.wire.count(), 1);
    }

    #[test]
    fn an_echo_of_what_was_never_sent_is_corrupt() {
        let (mut lane, mut book) = open_lane(2);
        answer(&mut lane, &mut book, 2);
        assert_eq!(faults(&book), [(Fault::Corrupt, 1)]);
        assert_eq!(lane.under_way(), 2);
    }
}
