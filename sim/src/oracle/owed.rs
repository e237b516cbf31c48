//! What a gateway owes, since when: a message, an answer, a Close. Looked at again after a while.

use super::model::Model;
use super::{About, Found, found};
use crate::history::Link;

/// So long may it take when nobody stands in the way, in ms.
pub(super) const BOUND_MS: u32 = 2_000;

/// Something owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) since_ms: u32,
    pub(super) debt: Debt,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Debt {
    /// A message of this end of a connection, by its number.
    Message { conn: u32, end: usize, number: u64 },
    /// Close to this end of a connection.
    Close { conn: u32, end: usize },
    /// An answer to a dial.
    Answer { link: Link, serial: u64 },
}

impl Model {
    pub(super) fn owe(&mut self, since_ms: u32, debt: Debt) {
        self.owed.push_back(Owed { since_ms, debt });
    }

    /// Looks at all debts that are due.
    pub(super) fn collect_debts(&mut self, now_ms: u32) -> Result<(), Found> {
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.since_ms + BOUND_MS < now_ms) {
            let Some(creditor) = self.creditor(owed.debt) else { continue };
            if self.may_be_delayed(creditor, owed.since_ms) || self.debtor_is_held(owed.debt) {
                // Somebody stood in the way. From now on the time counts anew.
                self.owe(now_ms, owed.debt);
                continue;
            }
            return Err(self.describe(owed));
        }
        Ok(())
    }

    /// To whom it is owed; `None` if it was paid, or is not owed any more.
    fn creditor(&self, debt: Debt) -> Option<Link> {
        let link = match debt {
            Debt::Message { conn, end, number } => {
                let conn = self.conns.get(&conn)?;
                let (from, to) = (&conn.ends[end], &conn.ends[1 - end]);
                // After its receiver has closed, a message may be dropped.
                if from.forwarded >= number || to.closed || to.closes > 0 {
                    return None;
                }
                to.link?
            }
            Debt::Close { conn, end } => {
                let end = &self.conns.get(&conn)?.ends[end];
                if end.closes > 0 {
                    return None;
                }
                end.link?
            }
            Debt::Answer { link, serial } => {
                self.links.get(&link)?.dials.iter().find(|dial| dial.serial == serial)?;
                link
            }
        };
        let physical = self.links.get(&link)?;
        (self.is_reachable(link) && physical.over.is_none() && physical.superseded.is_none()).then_some(link)
    }

    /// The client whose words are owed is blocked itself: it may be held back by its own full queue.
    fn debtor_is_held(&self, debt: Debt) -> bool {
        let debtor = match debt {
            Debt::Message { conn, end, .. } => self.conns.get(&conn).and_then(|conn| conn.ends[end].link),
            Debt::Close { conn, end } => self.conns.get(&conn).and_then(|conn| conn.ends[1 - end].link),
            Debt::Answer { .. } => None,
        };
        let debtor = debtor.and_then(|link| self.links.get(&link));
        debtor.is_some_and(|link| !link.dropped && link.blocked_local_ms.is_some())
    }

    fn describe(&self, owed: Owed) -> Found {
        let seconds = f64::from(owed.since_ms) / 1000.0;
        match owed.debt {
            Debt::Message { conn, number, .. } => {
                let text = format!("message {number} was read at {seconds:.3} s and is not delivered");
                found("rule 5: every message", About::Conn(self.run, conn), text)
            }
            Debt::Close { conn, .. } => {
                let text = format!("Close is owed since {seconds:.3} s");
                found("rule 9: every end is told", About::Conn(self.run, conn), text)
            }
            Debt::Answer { link, .. } => {
                let text = format!("a dial was read at {seconds:.3} s and is not answered");
                found("rule 2: every dial is answered", About::Link(self.run, link), text)
            }
        }
    }
}
