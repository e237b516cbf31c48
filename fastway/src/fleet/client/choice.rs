//! Which of several gateways is the next. Pure.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::fleet::config::Choice;
use crate::fleet::gateways::GatewayAddr;

/// A gateway that may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) gateway: &'a GatewayAddr,
    /// How long the last successful connect took.
    pub(super) connect_time: Option<Duration>,
}

impl Choice {
    /// One of `candidates`, which are sorted by address and not empty. `last` was chosen before.
    pub(super) fn of<'a>(
        self,
        candidates: &[Candidate<'a>],
        last: Option<&GatewayAddr>,
        rng: &mut StdRng,
    ) -> &'a GatewayAddr {
        match self {
            Self::Random => any(candidates, rng),
            Self::RoundRobin => match last {
                None => any(candidates, rng),
                Some(last) => {
                    let after = candidates.iter().find(|candidate| candidate.gateway > last);
                    after.unwrap_or(&candidates[0]).gateway
                }
            },
            Self::Nearest => {
                // Nothing is less than something. Among equals it is by lot: many clients begin with the same list.
                let least = candidates.iter().map(|candidate| candidate.connect_time).min().flatten();
                let nearest: Vec<_> =
                    candidates.iter().filter(|candidate| candidate.connect_time == least).cloned().collect();
                any(&nearest, rng)
            }
        }
    }
}

fn any<'a>(candidates: &[Candidate<'a>], rng: &mut StdRng) -> &'a GatewayAddr {
    candidates[rng.random_range(0..candidates.len())].gateway
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn addrs() -> Vec<GatewayAddr> {
        ["a:1", "b:1", "c:1"].map(|addr| GatewayAddr::new(addr).unwrap()).to_vec()
    }

    fn candidates<'a>(addrs: &'a [GatewayAddr], connect_ms: [Option<u64>; 3]) -> Vec<Candidate<'a>> {
        let times = connect_ms.map(|ms| ms.map(Duration::from_millis));
        let candidates = addrs.iter().zip(times);
        candidates.map(|(gateway, connect_time)| Candidate { gateway, connect_time }).collect()
    }

    /// How often each was chosen, of a thousand times.
    fn chosen(choice: Choice, connect_ms: [Option<u64>; 3], last: Option<usize>) -> [usize; 3] {
        let addrs = addrs();
        let candidates = candidates(&addrs, connect_ms);
        let mut counts = [0; 3];
        for seed in 0..1000 {
            let last = last.map(|at| &addrs[at]);
            let gateway = choice.of(&candidates, last, &mut StdRng::seed_from_u64(seed));
            counts[addrs.iter().position(|addr| addr == gateway).unwrap()] += 1;
        }
        counts
    }

    fn is_even(counts: &[usize]) -> bool {
        counts.iter().all(|count| (1000 / counts.len()).abs_diff(*count) < 80)
    }

    #[test]
    fn at_random_it_is_any() {
        let counts = chosen(Choice::Random, [Some(1), None, Some(3)], Some(0));
        assert!(is_even(&counts), "{counts:?}");
    }

    #[test]
    fn round_robin_begins_anywhere_and_goes_on_in_order() {
        let counts = chosen(Choice::RoundRobin, [None; 3], None);
        assert!(is_even(&counts), "{counts:?}");
        for (last, next) in [(0, 1), (1, 2), (2, 0)] {
            assert_eq!(chosen(Choice::RoundRobin, [None; 3], Some(last))[next], 1000, "after {last}");
        }
    }

    #[test]
    fn the_nearest_is_the_quickest_once_all_were_tried() {
        assert_eq!(chosen(Choice::Nearest, [Some(3), Some(1), Some(2)], None), [0, 1000, 0]);
        assert_eq!(chosen(Choice::Nearest, [Some(3), None, Some(2)], None), [0, 1000, 0]);
        let [first, second, third] = chosen(Choice::Nearest, [None, Some(1), None], None);
        assert!(is_even(&[first, third]) && second == 0, "{first} {second} {third}");
    }
}
