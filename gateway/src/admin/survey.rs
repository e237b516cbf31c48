//! All sessions summed up: what no counter can tell.
//!
//! That takes as long as there are sessions, so a survey serves for a hundred times as long as it took to make: however many
//! sessions there are, and however often it is asked, looking at them costs a hundredth of a core at most.

use std::sync::Arc;

use fastway::id::Side;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::gateway::Handle;
use crate::stats::SessionInfo;

/// A survey serves so many times as long as it took.
const REST: u32 = 100;

/// Clients that are shown as the slowest.
const SLOWEST: usize = 10;

/// What all sessions are together, at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    client: Sums,
    server: Sums,
    /// All of them, by ID.
    pub(super) servers: Vec<SessionInfo>,
    /// Those for whom the most waits; and before them those whose sockets take nothing.
    pub(super) slowest_clients: Vec<SessionInfo>,
}

/// What the sessions of one side are together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) sessions: usize,
    pub(super) queued_messages: usize,
    pub(super) queued_bytes: usize,
    pub(super) kept_bytes: usize,
    pub(super) blocked: usize,
    /// Of the one with the longest queue.
    pub(super) longest_queue_bytes: usize,
}

impl Survey {
    fn make(sessions: Vec<SessionInfo>) -> Self {
        let mut survey = Self::default();
        let mut clients = Vec::new();
        for session in sessions {
            survey.sums(session.side).add(&session);
            match session.side {
                Side::Server => survey.servers.push(session),
                Side::Client if session.blocked || session.queued_bytes > 0 => clients.push(session),
                Side::Client => {}
            }
        }
        survey.servers.sort_unstable_by_key(|server| server.id);
        clients.sort_unstable_by_key(|client| {
            (!client.blocked, std::cmp::Reverse(client.queued_bytes), client.id)
        });
        clients.truncate(SLOWEST);
        Self { slowest_clients: clients, ..survey }
    }

    fn sums(&mut self, side: Side) -> &mut Sums {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    pub(super) fn of(&self, side: Side) -> Sums {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}

impl Sums {
    fn add(&mut self, session: &SessionInfo) {
        self.sessions += 1;
        self.queued_messages += session.queued_messages;
        self.queued_bytes += session.queued_bytes;
        self.kept_bytes += session.kept_bytes;
        self.blocked += usize::from(session.blocked);
        self.longest_queue_bytes = self.longest_queue_bytes.max(session.queued_bytes);
    }
}

/// The last survey.
#[derive(Debug, Default)]
pub(super) struct Surveys(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    survey: Arc<Survey>,
    fresh_until: Instant,
}

impl Surveys {
    /// One that is recent enough; it is made if there is none.
    pub(super) fn recent(&self, gateway: &Handle) -> Arc<Survey> {
        self.recent_of(|| gateway.sessions(), Instant::now)
    }

    fn recent_of(
        &self,
        sessions: impl FnOnce() -> Vec<SessionInfo>,
        now: impl Fn() -> Instant,
    ) -> Arc<Survey> {
        let mut last = self.0.lock();
        let begun = now();
        if let Some(made) = last.as_ref().filter(|made| begun < made.fresh_until) {
            return made.survey.clone();
        }
        let survey = Arc::new(Survey::make(sessions()));
        let end = now();
        *last = Some(Made { survey: survey.clone(), fresh_until: end + (end - begun) * REST });
        survey
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::stats::Traffic;

    fn session(side: Side, id: u32, queued_bytes: usize, blocked: bool) -> SessionInfo {
        let queued_messages = queued_bytes / 100;
        SessionInfo {
            side,
            id,
            peer: None,
            age: Duration::ZERO,
            received: Traffic::default(),
            sent: Traffic::default(),
            conns: 0,
            opened: 0,
            queued_messages,
            queued_bytes,
            kept_bytes: 1,
            blocked,
        }
    }

    #[test]
    fn a_survey_sums_up_and_picks_out() {
        let clients = (1..=20).map(|id| session(Side::Client, id, 100 * id as usize, id == 5));
        let idle = session(Side::Client, 99, 0, false);
        let servers = [session(Side::Server, 9, 700, true), session(Side::Server, 7, 0, false)];
        let survey = Survey::make(clients.chain([idle]).chain(servers).collect());
        let Sums { sessions, queued_messages, queued_bytes, kept_bytes, blocked, longest_queue_bytes } =
            survey.of(Side::Client);
        assert_eq!((sessions, queued_messages, queued_bytes), (21, 210, 21_000));
        assert_eq!((kept_bytes, blocked, longest_queue_bytes), (21, 1, 2000));
        let Sums { sessions, queued_bytes, blocked, longest_queue_bytes, .. } = survey.of(Side::Server);
        assert_eq!((sessions, queued_bytes, blocked, longest_queue_bytes), (2, 700, 1, 700));
        assert_eq!(survey.servers.iter().map(|server| server.id).collect::<Vec<_>>(), [7, 9]);
        let slowest: Vec<_> = survey.slowest_clients.iter().map(|client| client.id).collect();
        assert_eq!(slowest, [5, 20, 19, 18, 17, 16, 15, 14, 13, 12]);
    }

    /// Whoever asks all the time has all sessions looked at for a hundredth of the time.
    #[test]
    fn a_survey_serves_a_hundred_times_as_long_as_it_took() {
        let (surveys, start, now) = (Surveys::default(), Instant::now(), Cell::new(Duration::ZERO));
        let mut made = 0;
        for millisecond in 0..10_000 {
            now.set(now.get().max(Duration::from_millis(millisecond)));
            let sessions = || {
                made += 1;
                now.set(now.get() + Duration::from_millis(10));
                Vec::new()
            };
            surveys.recent_of(sessions, || start + now.get());
        }
        assert_eq!(made, 10);
    }
}
