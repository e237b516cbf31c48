//! When a peer is dead: nothing comes from it, not even what its kernel would send by itself. Pure.
//!
//! An idle peer is asked by the network ([`Stream::probe_idle_peer`]). One to which something is on its way should acknowledge it,
//! and whoever sent it looks now and then whether that has happened ([`Stream::silence`]).
//!
//! Linux can do the second part by itself, too (`TCP_USER_TIMEOUT`), but since 5.11 that ends a connection as well whose peer is
//! alive, answers every question, and only takes nothing for now: a server that is busy for five seconds. How long a peer may
//! take nothing is another question, with another answer.
//!
//! [`Stream::probe_idle_peer`]: super::Stream::probe_idle_peer
//! [`Stream::silence`]: super::Stream::silence

use std::time::Duration;

/// So often a peer has to have been asked in vain: one packet can be lost, and after a pause nobody may have asked for a while.
const QUESTIONS: u32 = 2;

/// The next look comes after this part of the patience at the earliest.
const SOONEST: u32 = 8;

/// What a network knows of a peer that owes it an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// So long nothing has come from it.
    pub lasted: Duration,
    /// So often it was asked since, in vain: what was sent was sent again, or it was asked whether it takes anything.
    pub questions: u32,
}

impl Silence {
    /// When somebody with so much patience is to look again, from now. `None`: the peer is dead.
    #[must_use]
    pub fn next_look(self, patience: Duration) -> Option<Duration> {
        let is_death = self.lasted >= patience && self.questions >= QUESTIONS;
        (!is_death).then(|| patience.saturating_sub(self.lasted).max(patience / SOONEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_peer_is_dead_when_it_has_been_asked_twice_and_said_nothing_for_long_enough() {
        for (lasted, questions, next_look) in [
            (SECOND, 0, Some(SECOND * 7)),
            (SECOND * 7, 9, Some(SECOND)),
            (SECOND * 8, 2, None),
            (SECOND * 100, 1, Some(SECOND)),
            // Just before the time is up there is no point in looking more often.
            (SECOND * 8 - SECOND / 1000, 2, Some(SECOND)),
        ] {
            let silence = Silence { lasted, questions };
            assert_eq!(silence.next_look(SECOND * 8), next_look, "{silence:?}");
        }
    }
}
