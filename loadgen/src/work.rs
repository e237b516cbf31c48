//! What the links of one thread share: the lanes, the book, and what may be sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};
use tokio::time::Instant;

use crate::book::Book;
use crate::clock::{MILLI, Nanos};
use crate::lane::Lane;
use crate::message::{Filler, MIN_MESSAGE_BYTES, Verify};
use crate::plan::Sizes;

/// A dial that did not succeed is made again after this time.
const DIAL_AGAIN: Nanos = 500 * MILLI;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_9;

/// Random numbers for one thread and one use.
pub(crate) fn rng(seed: u64, label: u64, thread: usize) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_add(label << 56).wrapping_add((thread as u64) << 40))
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) book: Book,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) filler: Arc<Filler>,
    pub(crate) verify: Verify,
    /// In a closed loop: how many questions each lane has under way.
    pub(crate) closed_loop: Option<u32>,
    /// Questions may be sent.
    pub(crate) is_sending: bool,
    /// Questions that were sent, and how many may be.
    pub(crate) asked: u64,
    pub(crate) asked_at_most: u64,
    /// Lanes of clients that are open.
    pub(crate) open_lanes: u64,
    /// By link: it is to end, and its connections with it.
    pub(crate) is_ending: Vec<bool>,
    /// Lanes that are to be dialled again, and when.
    pub(crate) redials: VecDeque<(Nanos, u32)>,
    /// Lanes of calls that are over.
    pub(crate) free_calls: Vec<u32>,
    lens: Lens,
    started: Instant,
}

/// Draws the length of each message.
#[derive(Debug)]
struct Lens {
    sizes: Sizes,
    max: usize,
    lognormal: Option<LogNormal<f64>>,
    rng: StdRng,
}

impl Work {
    pub(crate) fn new(
        book: Book,
        filler: Arc<Filler>,
        verify: Verify,
        closed_loop: Option<u32>,
        asked_at_most: u64,
        (sizes, max): (Sizes, usize),
        rng: StdRng,
    ) -> Self {
        let lognormal = match sizes {
            Sizes::Lognormal { median, p99 } => {
                let (median, p99) = ((median as f64).ln(), (p99 as f64).ln());
                LogNormal::new(median, (p99 - median) / Z99).ok()
            }
            Sizes::Fixed(_) | Sizes::Uniform(..) => None,
        };
        let started = Instant::now() - Duration::from_nanos(book.clock.now());
        Self {
            book,
            lanes: Vec::new(),
            filler,
            verify,
            closed_loop,
            is_sending: false,
            asked: 0,
            asked_at_most,
            open_lanes: 0,
            is_ending: Vec::new(),
            redials: VecDeque::new(),
            free_calls: Vec::new(),
            lens: Lens { sizes, max, lognormal, rng },
            started,
        }
    }

    /// A time of the run's clock for those who count in instants.
    pub(crate) fn instant(&self, at: Nanos) -> Instant {
        self.started + Duration::from_nanos(at)
    }

    /// In a closed loop, whether an answer is followed by the next question now.
    pub(crate) fn may_follow_up(&self) -> bool {
        self.closed_loop.is_some() && self.is_sending && self.asked < self.asked_at_most
    }

    /// Questions with which a connection begins that has just been opened.
    pub(crate) fn inflight(&self) -> u32 {
        if self.may_follow_up() { self.closed_loop.unwrap_or(0) } else { 0 }
    }

    /// The length of the next message.
    pub(crate) fn message_len(&mut self) -> usize {
        let Lens { sizes, max, lognormal, rng } = &mut self.lens;
        match *sizes {
            Sizes::Fixed(len) => len,
            Sizes::Uniform(low, high) => rng.random_range(low..=high),
            Sizes::Lognormal { median, .. } => {
                let len = lognormal.as_ref().map_or(median as f64, |lens| lens.sample(rng));
                (len as usize).clamp(MIN_MESSAGE_BYTES, *max)
            }
        }
    }

    /// The shortest length of messages.
    pub(crate) fn shortest_len(&self) -> usize {
        self.lens.sizes.bounds().0
    }

    /// Has a lane dialled again after a while.
    pub(crate) fn dial_again(&mut self, lane: u32) {
        let at = self.book.clock.now() + DIAL_AGAIN;
        self.redials.push_back((at, lane));
    }

    /// A server's dial to a client is over.
    pub(crate) fn end_call(&mut self, lane: u32) {
        self.free_calls.push(lane);
    }
}
