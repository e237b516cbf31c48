//! Was everything right? Reads a history and compares it with the rules of the protocol, one by one.
//!
//! Two views of the same world, independent of each other:
//!
//! - `gateway.rs`: a small model of one run of one gateway. It knows, byte for byte, what the gateway has read and what it
//!   has written, and in which order; so it knows which messages, answers and Closes are owed, to whom, and what may not
//!   be there at all. Rules 1 to 15; and in `addresses.rs` and `notices.rs` those of the extensions.
//! - `apps.rs`: what applications sent to each other and got, end to end, through the endpoint library and whatever lies
//!   in between.
//!
//! Where the gateway may choose (a message crosses a Close), the model allows both. Where the network was at fault, it
//! demands what can be demanded: that what the gateway has read whole is delivered.

mod addresses;
mod apps;
mod gateway;
mod incoming;
mod model;
mod notices;
mod outgoing;
mod owed;
mod pings;

use std::fmt;

use crate::history::{Event, Run, What};
use crate::plan::Plan;
use crate::states::States;
use crate::trace::Names;

/// Events that a violation quotes.
const QUOTED: usize = 24;

/// Something that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its class: the rule. Shrinking keeps it.
    pub rule: String,
    /// Simulated time in ms.
    pub at_ms: u32,
    /// Which connection, if there is one.
    pub subject: String,
    /// What was wrong.
    pub text: String,
    /// The last events that concern it.
    pub last: Vec<String>,
    /// The place of the event that shows it in the history.
    pub index: Option<usize>,
}

impl Violation {
    pub(crate) fn of_world(rule: &str, at_ms: u32, text: String) -> Self {
        Self {
            rule: rule.to_owned(),
            at_ms,
            subject: "the world".to_owned(),
            text,
            last: Vec::new(),
            index: None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = f64::from(self.at_ms) / 1000.0;
        write!(f, "{}, at {seconds:.3} s, {}: {}", self.rule, self.subject, self.text)
    }
}

/// A violation before its history is quoted.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) rule: &'static str,
    about: About,
    text: String,
}

/// What a violation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Link(Run, crate::history::Link),
    Conn(Run, u32),
    Half(crate::history::Half),
    Talk(crate::failover::Talk),
    Member(crate::failover::Member),
    World,
}

/// What the oracle says of a history.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) violation: Option<Violation>,
    pub(crate) states: States,
}

pub(crate) fn judge(plan: &Plan, events: &[Event]) -> Judged {
    let mut states = States::default();
    let mut gateways = gateway::Gateways::new(plan);
    let mut apps = apps::Apps::new(plan);
    let mut violation = None;
    for (index, event) in events.iter().enumerate() {
        let found = gateways.see(index, event, &mut states).and_then(|()| apps.see(event, &mut states));
        if let Err(found) = found {
            violation = Some(quote(plan, events, index, &found));
            break;
        }
    }
    if violation.is_none()
        && let Err(found) = apps.finish(&gateways.closers)
        && !events.is_empty()
    {
        violation = Some(quote(plan, events, events.len() - 1, &found));
    }
    Judged { violation, states }
}

pub(crate) fn quote(plan: &Plan, events: &[Event], index: usize, found: &Found) -> Violation {
    let names = Names::new(plan, events);
    let about = found.about;
    let mut last: Vec<String> = events[..=index]
        .iter()
        .rev()
        .filter(|event| names.concerns(about, event))
        .take(QUOTED)
        .map(|event| names.line(event))
        .collect();
    last.reverse();
    Violation {
        rule: found.rule.to_owned(),
        at_ms: events[index].at_ms,
        subject: names.subject(about),
        text: found.text.clone(),
        last,
        index: Some(index),
    }
}

pub(crate) fn found(rule: &'static str, about: About, text: impl Into<String>) -> Found {
    Found { rule, about, text: text.into() }
}

/// The link that an event of a gateway is about.
pub(crate) fn link_of(what: &What) -> Option<crate::history::Link> {
    match *what {
        What::Opened(link, ..)
        | What::In(link, _)
        | What::InWaiting(link, _)
        | What::InEof(link, _)
        | What::InFailed(link, _)
        | What::Out(link, _)
        | What::OutBlocked(link)
        | What::OutFlowing(link)
        | What::OutFailed(link)
        | What::OutEof(link)
        | What::Dropped(link, _) => Some(link),
        _ => None,
    }
}
