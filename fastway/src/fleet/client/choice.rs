//! Which of several gateways is the next, or which are to be tried side by side. Pure.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::index::sample;

use crate::fleet::config::Choice;
use crate::fleet::gateways::GatewayAddr;

/// A gateway that may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) gateway: &'a GatewayAddr,
    /// How long the last successful connect took.
    pub(super) connect_time: Option<Duration>,
}

/// So many are tried side by side at most.
const SIDE_BY_SIDE: usize = 8;

impl Choice {
    /// Some of `candidates`, which are sorted by address and not empty: the first of them to answer is taken. `last` was chosen
    /// before.
    pub(super) fn of<'a>(
        self,
        candidates: &[Candidate<'a>],
        last: Option<&GatewayAddr>,
        rng: &mut StdRng,
    ) -> Vec<&'a GatewayAddr> {
        match self {
            Self::Random => any(candidates, 1, rng),
            Self::RoundRobin => match last {
                None => any(candidates, 1, rng),
                Some(last) => {
                    let after = candidates.iter().find(|candidate| candidate.gateway > last);
                    vec![after.unwrap_or(&candidates[0]).gateway]
                }
            },
            Self::Nearest => match candidates.iter().filter_map(|candidate| candidate.connect_time).min() {
                None => any(candidates, SIDE_BY_SIDE, rng),
                // Among equals it is by lot: many clients begin with the same list.
                least => {
                    let nearest = candidates.iter().filter(|candidate| candidate.connect_time == least);
                    any(&nearest.cloned().collect::<Vec<_>>(), 1, rng)
                }
            },
        }
    }
}

/// So many, if there are so many.
fn any<'a>(candidates: &[Candidate<'a>], count: usize, rng: &mut StdRng) -> Vec<&'a GatewayAddr> {
    let count = count.min(candidates.len());
    sample(rng, candidates.len(), count).iter().map(|place| candidates[place].gateway).collect()
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
            for gateway in choice.of(&candidates, last, &mut StdRng::seed_from_u64(seed)) {
                counts[addrs.iter().position(|addr| addr == gateway).unwrap()] += 1;
            }
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
    fn the_nearest_is_the_quickest_that_is_known_and_without_any_all_are_tried() {
        assert_eq!(chosen(Choice::Nearest, [Some(3), Some(1), Some(2)], None), [0, 1000, 0]);
        assert_eq!(chosen(Choice::Nearest, [Some(3), None, Some(2)], None), [0, 0, 1000]);
        assert_eq!(chosen(Choice::Nearest, [None; 3], None), [1000; 3]);
        let [first, second, third] = chosen(Choice::Nearest, [Some(2), Some(1), Some(1)], None);
        assert!(is_even(&[second, third]) && first == 0, "{first} {second} {third}");
    }

    #[test]
    fn not_too_many_are_tried_side_by_side() {
        let addrs: Vec<_> = (10..40).map(|port| GatewayAddr::new(&format!("a:{port}")).unwrap()).collect();
        let candidates: Vec<_> =
            addrs.iter().map(|gateway| Candidate { gateway, connect_time: None }).collect();
        let mut chosen = Choice::Nearest.of(&candidates, None, &mut StdRng::seed_from_u64(1));
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), SIDE_BY_SIDE);
    }
}
