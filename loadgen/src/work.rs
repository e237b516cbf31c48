//! What the links of one thread share: the lanes, the book, and what may be sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::{SmallRng, StdRng};
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
    pub(crate) lens: Lens,
    started: Instant,
}

/// How long each message is. That depends on the seed, on the connection and on the number of the message, and on nothing
/// else: not on the order in which a gateway answers.
#[derive(Debug)]
pub(crate) struct Lens {
    sizes: Sizes,
    max: usize,
    lognormal: Option<LogNormal<f64>>,
    seed: u64,
}

impl Lens {
    pub(crate) fn new(sizes: Sizes, max: usize, seed: u64) -> Self {
        let lognormal = match sizes {
            Sizes::Lognormal { median, p99 } => {
                let (median, p99) = ((median as f64).ln(), (p99 as f64).ln());
                LogNormal::new(median, (p99 - median) / Z99).ok()
            }
            Sizes::Fixed(_) | Sizes::Uniform(..) => None,
        };
        Self { sizes, max, lognormal, seed }
    }

    /// The length of a message: by its lane, the lane's generation, and its number.
    pub(crate) fn of(&self, lane: u32, generation: u32, seq: u32) -> usize {
        let rng = || {
            let place = u64::from(lane) << 32 | u64::from(generation);
            SmallRng::seed_from_u64(self.seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(seq))
        };
        match self.sizes {
            Sizes::Fixed(len) => len,
            Sizes::Uniform(low, high) => rng().random_range(low..=high),
            Sizes::Lognormal { median, .. } => {
                let len = self.lognormal.as_ref().map_or(median as f64, |lens| lens.sample(&mut rng()));
                (len as usize).clamp(MIN_MESSAGE_BYTES, self.max)
            }
        }
    }
}

impl Work {
    pub(crate) fn new(
        book: Book,
        filler: Arc<Filler>,
        verify: Verify,
        closed_loop: Option<u32>,
        asked_at_most: u64,
        lens: Lens,
    ) -> Self {
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
            lens,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(sizes: Sizes, seed: u64) -> Vec<usize> {
        let lens = Lens::new(sizes, 10_000, seed);
        (0..20_000).map(|number| lens.of(number % 20, 1, number / 20)).collect()
    }

    #[test]
    fn lengths_are_distributed_as_they_should_be() {
        let mut uniform = lens(Sizes::Uniform(16, 115), 1);
        let mean = uniform.iter().sum::<usize>() as f64 / uniform.len() as f64;
        uniform.sort_unstable();
        assert!((mean - 65.5).abs() < 1.5, "{mean}");
        assert_eq!((uniform[0], uniform[19_999]), (16, 115));
        let mut lognormal = lens(Sizes::Lognormal { median: 256, p99: 4096 }, 1);
        lognormal.sort_unstable();
        assert!((240..272).contains(&lognormal[10_000]), "{}", lognormal[10_000]);
        assert!((3_500..4_700).contains(&lognormal[19_800]), "{}", lognormal[19_800]);
        assert!(lognormal[0] >= MIN_MESSAGE_BYTES && lognormal[19_999] <= 10_000);
    }

    #[test]
    fn lengths_depend_on_the_seed_and_on_nothing_that_happens() {
        let sizes = Sizes::Uniform(16, 1000);
        assert_eq!(lens(sizes, 1), lens(sizes, 1));
        assert_ne!(lens(sizes, 1), lens(sizes, 2));
        assert_eq!(lens(Sizes::Fixed(64), 1), vec![64; 20_000]);
    }
}
