//! What a session looks at the clock for: a peer that is silent, dead, or takes nothing, a frame that never ends, and the pings
//! that find out.

use std::io;
use std::task::Context;
use std::time::Duration;

use fastway::command::ToEndpoint;
use fastway::keepalive::Due;
use fastway::net::Stream;
use tokio::time::Instant;

use super::{End, Session};
use crate::batch::Batch;
use crate::clock::Clock;

/// A frame that comes with so many bytes a second may take longer than the frame timeout: the line is bad, not the peer.
const SLOWEST_FRAME: usize = 1024;

impl<S: Stream> Session<S> {
    pub(super) fn clock(&self) -> Clock {
        self.dispatch.config().outbox.tally.clock()
    }

    /// Begins to count the time of a frame that has not arrived as a whole. If all that there was is still kept, it is the same
    /// as before.
    pub(super) fn look_at_the_frame(&mut self, all: usize, now: Instant) {
        let kept = self.reader.kept_bytes();
        let timeout = self.dispatch.config().frame_timeout;
        if kept == 0 || self.reader.is_held() || timeout.is_zero() {
            self.unfinished = None;
        } else if self.unfinished.is_none() || kept != all {
            self.unfinished = Some(self.clock().moment(now));
            self.set_alarm(now + timeout);
        }
    }

    /// From now on the peer takes nothing, if it did not before.
    pub(super) fn count_stall(&mut self) {
        if self.blocked.is_none() {
            let now = Instant::now();
            self.blocked = Some(self.clock().moment(now));
            self.set_alarm(now + self.dispatch.config().stall_timeout);
        }
    }

    /// Something was written: in a while it is time to look whether the network has heard of the peer since.
    pub(super) fn expect_life(&mut self) {
        let timeout = self.dispatch.config().dead_peer_timeout;
        if !self.expects_life && !timeout.is_zero() {
            self.expects_life = true;
            self.set_alarm(self.clock().instant(self.said) + timeout);
        }
    }

    /// Whether the network has heard of the peer. A peer that takes nothing, but answers that it does not, is alive. When to look
    /// again, if something is on its way; `Err` if the peer is dead.
    fn look_for_life(&mut self, now: Instant) -> Result<Option<Instant>, End> {
        if !self.expects_life {
            return Ok(None);
        }
        let timeout = self.dispatch.config().dead_peer_timeout;
        let Some(silence) = self.stream.silence() else {
            self.expects_life = self.blocked.is_some();
            return Ok(self.expects_life.then(|| now + timeout));
        };
        let next_look = silence.next_look(timeout).ok_or_else(|| End::Failed(io::ErrorKind::TimedOut.into()));
        next_look.map(|after| Some(now + after))
    }

    /// The alarm has gone off: is the peer silent, or stalled, or a frame overdue? When is the next look?
    pub(super) fn look_at_the_clock(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        let (now, clock) = (Instant::now(), self.clock());
        self.end_if_late(now)?;
        let config = self.dispatch.config();
        let slowly = Duration::from_secs((self.reader.kept_bytes() / SLOWEST_FRAME) as u64);
        let unfinished_at = self.unfinished.map(|since| clock.instant(since) + config.frame_timeout + slowly);
        if unfinished_at.is_some_and(|at| now >= at) {
            return Err(End::UnfinishedFrame);
        }
        let stalled_at = self.blocked.map(|since| clock.instant(since) + config.stall_timeout);
        if stalled_at.is_some_and(|at| now >= at) {
            self.end_after_reading(End::Stalled, batch);
            return self.read(batch, cx);
        }
        let look_at = match self.look_for_life(now) {
            Ok(at) => at,
            Err(end) => {
                self.end_after_reading(end, batch);
                return self.read(batch, cx);
            }
        };
        if self.reader.is_held() {
            self.remind(now, batch, cx)?;
        }
        let silent_at = match self.dispatch.keepalive.check(now) {
            Due::Expired => return Err(End::Silent),
            Due::Nothing(at) => at,
            Due::Ping(at) => {
                self.ping(batch, cx)?;
                at
            }
        };
        for at in [silent_at, stalled_at, unfinished_at, look_at].into_iter().flatten() {
            self.set_alarm(at);
        }
        Ok(())
    }

    /// It is the gateway that does not listen to a peer that is held back (rule 13). But it has to say something: the peer's
    /// own pings are not read, let alone echoed, and it would give the gateway up. What counts is when it was told something
    /// the last time, not when it was heard: it may have talked all the while.
    fn remind(&mut self, now: Instant, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        self.dispatch.keepalive.heard(now);
        if self.reminder().is_some_and(|at| now >= at) {
            if !self.ping_waits {
                self.dispatch.keepalive.ask(now);
            }
            self.ping(batch, cx)?;
        }
        self.set_reminder();
        Ok(())
    }

    /// When a peer that is held back is to be told something.
    fn reminder(&self) -> Option<Instant> {
        let interval = self.dispatch.config().keepalive.ping_interval;
        (!interval.is_zero()).then(|| self.clock().instant(self.said) + interval)
    }

    pub(super) fn set_reminder(&mut self) {
        if let Some(at) = self.reminder() {
            self.set_alarm(at);
        }
    }

    /// One ping that waits is enough: a peer that takes nothing gets no more of them, however long that lasts.
    fn ping(&mut self, batch: &mut Batch, cx: &mut Context<'_>) -> Result<(), End> {
        // Also if it does not get through: one is enough for this interval.
        self.said = self.clock().now();
        if !self.ping_waits {
            self.ping_waits = true;
            self.dispatch.outbox().reply(ToEndpoint::Ping);
        }
        self.write(batch, cx)
    }

    pub(super) fn set_alarm(&mut self, at: Instant) {
        self.alarm.set_by(at, self.dispatch.outbox(), &self.dispatch.config().alarms);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastway::id::Side;
    use fastway::net::{BindOptions, Listener as _, MemoryNetwork, Network as _};
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::alarm::{Alarms, Grain};
    use crate::config::Config;
    use crate::outbox::OutboxConfig;
    use crate::router::Router;
    use crate::session::SessionConfig;

    /// A machine can be suspended between accepting a connection and its first turn. Then the peer is neither given up at once
    /// nor never.
    #[tokio::test(start_paused = true)]
    async fn rule_11_silence_counts_from_the_first_turn() {
        let network = MemoryNetwork::new();
        let mut listener = network.bind("10.0.0.1:1".parse().unwrap(), BindOptions::default()).await.unwrap();
        let (peer, stream) = tokio::join!(network.connect("10.0.0.1:1"), listener.accept());
        let (_peer, stream) = (peer.unwrap(), stream.unwrap());
        let (config, router) = (Config::default(), Arc::new(Router::new(0)));
        let alarms = Arc::new(Alarms::new(Grain::of(&config)));
        let outbox = Arc::into_inner(OutboxConfig::with_limits(1000, 100_000)).unwrap();
        let session = SessionConfig::new(
            &config,
            Side::Client,
            router.clone(),
            Arc::default(),
            alarms.clone(),
            outbox,
            Arc::default(),
        );
        let outbox = router.register_client(&session.outbox, None).unwrap();
        let mut session = Session::new(stream, outbox, Arc::new(session));
        tokio::spawn(async move { alarms.run().await });

        advance(Duration::from_secs(3600)).await;
        let first_turn = Instant::now();
        let end = timeout(Duration::from_secs(100), session.turns()).await.expect("it ends");
        assert!(matches!(end, End::Silent), "{end}");
        assert!(first_turn.elapsed() >= config.client.keepalive.idle_timeout);
    }
}
