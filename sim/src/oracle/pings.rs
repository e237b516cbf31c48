//! Rules 11 and 12 for one link: which Pings may be there, and which must.

use super::{About, Found, found};

/// Pings of one link, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pings {
    /// Our questions that no Ping has answered, and when the last one was written, in ms of the gateway.
    unanswered: u32,
    asked_local_ms: u32,
    /// Echoes that may come, and of those the ones that must; since when.
    echoes_at_most: u32,
    echoes_owed: u32,
    owed_since_ms: u32,
    /// Whether the gateway ever asked on this link: from then on its count and ours can differ by what is queued.
    has_asked: bool,
    /// Whether some Ping of the gateway may have been a question or an echo.
    is_unsure: bool,
}

/// What an outgoing Ping was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Question,
    Echo,
}

impl Pings {
    /// A Ping from the peer, after a silence of `silence_ms`. Whether it was an answer.
    pub(super) fn came(&mut self, now_ms: u32, local_ms: u32, patience_ms: u32, may_be_asked: bool) -> bool {
        let waited = local_ms.saturating_sub(self.asked_local_ms);
        if self.unanswered > 0 {
            self.unanswered -= 1;
            // Near the end of the gateway's patience it may take it for a question.
            if waited + 100 >= patience_ms || self.is_unsure {
                self.echoes_at_most += 1;
            }
            return true;
        }
        self.echoes_at_most += 1;
        if !may_be_asked && !self.has_asked {
            if self.echoes_owed == 0 {
                self.owed_since_ms = now_ms;
            }
            self.echoes_owed += 1;
        }
        false
    }

    /// A Ping to the peer, which was silent for `silence_ms`.
    pub(super) fn went(
        &mut self,
        local_ms: u32,
        silence_ms: u32,
        ping_ms: u32,
        was_blocked: bool,
        about: About,
    ) -> Result<Meaning, Found> {
        let is_silent = ping_ms > 0 && silence_ms + 1 >= ping_ms;
        if self.echoes_at_most > 0 {
            if is_silent && self.echoes_owed == 0 {
                // Either. Whatever it was, the peer was asked.
                (self.asked_local_ms, self.has_asked, self.is_unsure) = (local_ms, true, true);
                return Ok(Meaning::Question);
            }
            self.echoes_at_most -= 1;
            self.echoes_owed = self.echoes_owed.saturating_sub(1);
            return Ok(Meaning::Echo);
        }
        // A question that was queued while the peer was silent can be written later.
        if is_silent || (ping_ms > 0 && was_blocked) {
            self.unanswered += 1;
            self.asked_local_ms = local_ms;
            self.has_asked = true;
            // It may have waited to be written, and the gateway counts from before that.
            self.is_unsure |= !is_silent || was_blocked;
            return Ok(Meaning::Question);
        }
        let text = format!(
            "a Ping that answers none, {silence_ms} ms after the peer was heard (interval {ping_ms} ms)"
        );
        Err(found("rule 12: pings", about, text))
    }

    /// Echoes that may still come.
    pub(super) fn echoes(&self) -> usize {
        self.echoes_at_most as usize
    }

    /// Whether an echo is overdue.
    pub(super) fn is_overdue(&self, now_ms: u32, bound_ms: u32) -> bool {
        self.echoes_owed > 0 && now_ms > self.owed_since_ms + bound_ms
    }

    /// Whether the present silence, which began at `heard_local_ms`, has had its question.
    pub(super) fn has_asked_since(&self, heard_local_ms: u32) -> bool {
        self.has_asked && self.asked_local_ms >= heard_local_ms
    }
}
