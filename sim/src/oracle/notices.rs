//! Endpoints that ask for a notice when their gateway drains (docs/protocol-extensions.md): are all of them told, once, when the
//! drain begins or when they ask later, and is nobody told who did not ask?

use super::gateway::Step;
use super::model::Model;
use super::owed::BOUND_MS;
use super::{About, Found, found};
use crate::history::{Link, Note, Side};
use crate::states::State;

/// The notice.
const DRAINING: u32 = 2;

/// What one link asked for and got.
#[derive(Debug, Default)]
pub(super) struct Notices {
    asked: bool,
    given: bool,
    /// A Close of connection 0 has just been said: the notice comes next.
    expected: bool,
}

impl Model {
    /// The gateway is told to drain.
    pub(super) fn drains(&mut self, now_ms: u32) {
        if self.draining {
            return;
        }
        self.draining = true;
        let asked = self.links.iter().filter(|(_, link)| link.notices.asked).map(|(link, _)| *link);
        self.notices_due.extend(asked.map(|link| (now_ms, link)));
    }

    /// Clients ask behind a Close of connection 0, servers with the question that they ask anyway.
    pub(super) fn asks_for_notice(&mut self, step: &mut Step<'_>, side: Side, set: u32) {
        let (draining, now) = (self.draining, step.now());
        let link = self.physical(step);
        if link.side != side || set & DRAINING == 0 || link.notices.asked {
            return;
        }
        link.notices.asked = true;
        step.states.reach(State::NoticeAsked);
        if draining {
            step.states.reach(State::NoticeWhileDraining);
            self.notices_due.push_back((now, step.link));
        }
    }

    /// Rules E8 and E10, for all that a gateway says, in the order in which it says it.
    pub(super) fn gives_notice(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
        let about = self.about(step);
        let draining = self.draining;
        let notices = &mut self.physical(step).notices;
        let was_expected = std::mem::replace(&mut notices.expected, note == Note::Close { conn: 0 });
        let Note::BehindClose { set, window_ms } = note else {
            if was_expected {
                let text = format!("a Close of connection 0 without a notice, and then {note}");
                return Err(found("rule 6: foreign connections", about, text));
            }
            return Ok(());
        };
        if !notices.asked {
            return Err(found("rule E8: who did not ask", about, "it was given notice, and had not asked"));
        }
        let longest_ms = step.plan.drain.timeout_ms + step.plan.drain.spread_ms;
        let is_right = set == DRAINING && window_ms.is_some_and(|window_ms| window_ms <= longest_ms);
        if !is_right || !draining || std::mem::replace(&mut notices.given, true) {
            let text = format!("{note}; the gateway drains: {draining}, for {longest_ms} ms; once is enough");
            return Err(found("rule E10: notice", about, text));
        }
        step.states.reach(State::NoticeGiven);
        Ok(())
    }

    /// Looks at all notices that are due, also while the gateway stops.
    pub(super) fn collect_notices(&mut self, step: &Step<'_>) -> Result<(), Found> {
        let now_ms = step.now();
        while let Some((since_ms, link)) =
            self.notices_due.pop_front_if(|(since_ms, _)| *since_ms + BOUND_MS < now_ms)
        {
            if !self.is_owed_notice(link) {
                continue;
            }
            if self.may_be_delayed(link, since_ms) || self.may_be_ending(step, link) {
                self.notices_due.push_back((now_ms, link));
                continue;
            }
            let text = format!("the gateway has drained since {:.3} s", f64::from(since_ms) / 1000.0);
            return Err(found("rule E10: notice", About::Link(self.run, link), text));
        }
        Ok(())
    }

    fn is_owed_notice(&self, link: Link) -> bool {
        self.is_alive(link) && self.links.get(&link).is_some_and(|link| !link.notices.given)
    }
}
