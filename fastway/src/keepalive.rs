//! Who is alive: when to ask a silent peer, when to give it up, and whose Ping is whose answer. Pure.
//!
//! The same rules serve both ends of a link and both generations of the protocol:
//!
//! - A peer from which nothing came for the ping interval gets one Ping; still silent at the idle timeout, it is
//!   dead. Anything that comes from it counts as life.
//! - A Ping that comes while one of ours is unanswered is the answer and is not echoed; any other is echoed, once.
//!   First-generation endpoints answer every Ping with a Ping, so whoever echoed their answers would loop for ever.
//!
//! Our unanswered Pings are counted, and only Pings answer them. If data were taken for the answer, a late
//! answer behind it would be echoed, and the loop would start.
//!
//! Second-generation endpoints do not answer Pings, they send their own and expect the echo. So when ours have waited
//! for an answer as long as a silent peer may live, the peer's Ping is taken for a question after all. The count stays
//! as it is: should the peer be of the first generation and just late, its answers, and the one to that echo, are
//! still swallowed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long silence may last. A zero duration means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveConfig {
    /// After so much silence the peer is asked for a sign of life.
    pub ping_interval: Duration,
    /// After so much silence the peer is dead.
    pub idle_timeout: Duration,
}

impl KeepaliveConfig {
    /// A ping after `ping_interval` of silence, death after twice that.
    #[must_use]
    pub const fn every(ping_interval: Duration) -> Self {
        Self { ping_interval, idle_timeout: ping_interval.saturating_mul(2) }
    }

    /// Answers pings, sends none, and waits for ever: what first-generation endpoints did.
    pub const ANSWER_ONLY: Self = Self { ping_interval: Duration::ZERO, idle_timeout: Duration::ZERO };
}

impl Default for KeepaliveConfig {
    /// A ping after 30 s, death after 60 s.
    fn default() -> Self {
        Self::every(Duration::from_secs(30))
    }
}

/// What to do about a peer's silence, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until then; `None` if silence may last for ever.
    Nothing(Option<Instant>),
    /// Send one Ping now, and look again then.
    Ping(Option<Instant>),
    /// Give the peer up.
    Expired,
}

/// The silence of one peer.
///
/// *Inputs*: [`heard`](Self::heard) at everything that comes, [`should_echo`](Self::should_echo) at each Ping.
/// *Output*: [`check`](Self::check), to be asked at the instant that it named the last time.
#[derive(Clone, Debug)]
pub struct Keepalive {
    config: Arc<KeepaliveConfig>,
    heard: Instant,
    /// The present silence has had its Ping.
    asked: bool,
    /// Pings of ours that no Ping has answered yet.
    unanswered: u32,
    /// Since when they wait.
    waiting_since: Instant,
}

impl Keepalive {
    /// A peer that was heard just now. Thousands of peers can share one configuration.
    #[must_use]
    pub fn new(config: impl Into<Arc<KeepaliveConfig>>, now: Instant) -> Self {
        Self { config: config.into(), heard: now, asked: false, unanswered: 0, waiting_since: now }
    }

    /// Something came from the peer, were it one byte.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    /// A Ping came from the peer. `true`: answer it with a Ping. `false`: it is the answer to one of ours.
    #[must_use]
    pub fn should_echo(&mut self, now: Instant) -> bool {
        if self.unanswered == 0 {
            return true;
        }
        if now >= self.waiting_since + self.patience() {
            self.waiting_since = now;
            return true;
        }
        self.unanswered -= 1;
        false
    }

    /// What the silence calls for now. After [`Due::Ping`] the Ping counts as sent.
    #[must_use]
    pub fn check(&mut self, now: Instant) -> Due {
        let dead_at = self.after(self.config.idle_timeout);
        if dead_at.is_some_and(|at| now >= at) {
            return Due::Expired;
        }
        let Some(ask_at) = self.after(self.config.ping_interval) else { return Due::Nothing(dead_at) };
        let or_dead = |at: Instant| Some(dead_at.map_or(at, |dead_at| dead_at.min(at)));
        if !self.asked && now < ask_at {
            return Due::Nothing(or_dead(ask_at));
        }
        // Should the peer speak right after this and fall silent anew, the next question is due an interval from now.
        let next = or_dead(now + self.config.ping_interval);
        if self.asked {
            return Due::Nothing(next);
        }
        self.ask(now);
        Due::Ping(next)
    }

    /// A Ping was sent to the peer, outside of [`check`](Self::check) too.
    pub fn ask(&mut self, now: Instant) {
        self.asked = true;
        self.unanswered = self.unanswered.saturating_add(1);
        self.waiting_since = now;
    }

    /// How long our Pings wait for an answer before the peer is one that never answers.
    fn patience(&self) -> Duration {
        self.config.idle_timeout.max(self.config.ping_interval.saturating_mul(2))
    }

    fn after(&self, silence: Duration) -> Option<Instant> {
        (!silence.is_zero()).then(|| self.heard + silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn every_10s(start: Instant) -> Keepalive {
        Keepalive::new(KeepaliveConfig::every(SECOND * 10), start)
    }

    #[test]
    fn a_silent_peer_gets_one_ping_and_then_its_end() {
        let start = Instant::now();
        let mut peer = every_10s(start);
        assert_eq!(peer.check(start + SECOND * 9), Due::Nothing(Some(start + SECOND * 10)));
        assert_eq!(peer.check(start + SECOND * 10), Due::Ping(Some(start + SECOND * 20)));
        assert_eq!(peer.check(start + SECOND * 15), Due::Nothing(Some(start + SECOND * 20)));
        assert_eq!(peer.check(start + SECOND * 20), Due::Expired);
    }

    #[test]
    fn each_silence_gets_its_own_ping() {
        let start = Instant::now();
        let mut peer = every_10s(start);
        assert!(matches!(peer.check(start + SECOND * 10), Due::Ping(_)));
        peer.heard(start + SECOND * 11);
        assert_eq!(peer.check(start + SECOND * 12), Due::Nothing(Some(start + SECOND * 21)));
        assert!(matches!(peer.check(start + SECOND * 21), Due::Ping(_)));
    }

    #[test]
    fn a_long_idle_timeout_delays_no_ping() {
        let start = Instant::now();
        let config = KeepaliveConfig { ping_interval: SECOND * 10, idle_timeout: SECOND * 1000 };
        let mut peer = Keepalive::new(config, start);
        assert_eq!(peer.check(start + SECOND * 10), Due::Ping(Some(start + SECOND * 20)));
        assert_eq!(peer.check(start + SECOND * 20), Due::Nothing(Some(start + SECOND * 30)), "it was asked");
        peer.heard(start + SECOND * 21);
        assert_eq!(peer.check(start + SECOND * 30), Due::Nothing(Some(start + SECOND * 31)));
        assert_eq!(peer.check(start + SECOND * 31), Due::Ping(Some(start + SECOND * 41)));
    }

    #[test]
    fn a_ping_is_an_answer_exactly_as_often_as_we_asked() {
        let start = Instant::now();
        let mut peer = every_10s(start);
        assert!(peer.should_echo(start), "nobody had asked");
        let _ = peer.check(start + SECOND * 10);
        peer.heard(start + SECOND * 11);
        let _ = peer.check(start + SECOND * 21);
        let now = start + SECOND * 22;
        assert!(!peer.should_echo(now), "the answer to the first, although data came in between");
        assert!(!peer.should_echo(now), "the answer to the second");
        assert!(peer.should_echo(now), "its own question");
    }

    #[test]
    fn a_peer_that_never_answers_is_answered_all_the_same() {
        let start = Instant::now();
        let mut peer = every_10s(start);
        for round in 1..=5 {
            assert!(matches!(peer.check(start + SECOND * 12 * round), Due::Ping(_)));
            peer.heard(start + SECOND * 12 * round + SECOND);
        }
        assert!(peer.should_echo(start + SECOND * 90), "20 s after the last of ours, 60 s after the first");
        assert!(peer.should_echo(start + SECOND * 110));
        assert!(!peer.should_echo(start + SECOND * 111), "or was it late? Then this is what it still owed");
    }

    /// Answers that are late beyond patience must not start a loop of echoes.
    #[test]
    fn late_answers_are_swallowed_in_the_end() {
        let start = Instant::now();
        let mut peer = every_10s(start);
        for round in 1..=3 {
            assert!(matches!(peer.check(start + SECOND * 12 * round), Due::Ping(_)));
            peer.heard(start + SECOND * 12 * round + SECOND);
        }
        let late = start + SECOND * 300;
        assert!(peer.should_echo(late), "the first of three answers, taken for a question");
        assert!(!peer.should_echo(late));
        assert!(!peer.should_echo(late));
        assert!(!peer.should_echo(late), "the answer to our echo");
    }

    #[test]
    fn without_a_ping_interval_only_the_idle_timeout_counts() {
        let start = Instant::now();
        let config = KeepaliveConfig { ping_interval: Duration::ZERO, idle_timeout: SECOND * 5 };
        let mut peer = Keepalive::new(config, start);
        assert_eq!(peer.check(start + SECOND * 4), Due::Nothing(Some(start + SECOND * 5)));
        assert_eq!(peer.check(start + SECOND * 5), Due::Expired);
        let mut peer = Keepalive::new(KeepaliveConfig::ANSWER_ONLY, start);
        assert_eq!(peer.check(start + SECOND * 1_000_000), Due::Nothing(None));
    }

    #[test]
    fn an_idle_timeout_below_the_ping_interval_ends_without_a_ping() {
        let start = Instant::now();
        let config = KeepaliveConfig { ping_interval: SECOND * 10, idle_timeout: SECOND * 5 };
        let mut peer = Keepalive::new(config, start);
        assert_eq!(peer.check(start), Due::Nothing(Some(start + SECOND * 5)));
        assert_eq!(peer.check(start + SECOND * 7), Due::Expired);
    }
}
