//! Tells what happens: to whoever listens, and to the log.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tracing::Level;

use super::event::Event;
use super::gateways::GatewayAddr;

/// Events that a listener may be behind.
const BACKLOG: usize = 256;

/// Different troubles of one gateway that are worth a warning each, until it is well again.
const WARNINGS_IN_A_ROW: usize = 4;

/// Whose trouble: a gateway's, or that of finding them (`None`).
type Whose = Option<GatewayAddr>;

/// Tells events. A trouble is a warning in the log when it is news: said again and again it fills the log, and buries the next.
#[derive(Debug)]
pub(super) struct Reporter {
    /// Who tells, for the log.
    name: String,
    events: broadcast::Sender<Event>,
    /// What was said already, as it was said.
    warned: Mutex<BTreeMap<Whose, Vec<String>>>,
}

impl Reporter {
    pub(super) fn new(name: String) -> Self {
        Self { name, events: broadcast::channel(BACKLOG).0, warned: Mutex::default() }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn tell(&self, event: Event) {
        let level = self.level(&event);
        let who = self.name.as_str();
        if level == Level::WARN {
            tracing::warn!(who, "{event}");
        } else if level == Level::INFO {
            tracing::info!(who, "{event}");
        } else {
            tracing::debug!(who, "{event}");
        }
        // An error here means that nobody listens.
        let _ = self.events.send(event);
    }

    /// This gateway is well, or has gone (`None`: gateways are found): its next trouble is news.
    pub(super) fn well(&self, whose: Option<&GatewayAddr>) {
        self.warned.lock().remove(&whose.cloned());
    }

    fn level(&self, event: &Event) -> Level {
        match event {
            Event::Trouble { gateway, trouble, .. } => {
                self.level_of_trouble(Some(gateway.clone()), trouble.to_string())
            }
            Event::NotFound { error, .. } => self.level_of_trouble(None, error.to_string()),
            _ => Level::INFO,
        }
    }

    fn level_of_trouble(&self, whose: Whose, text: String) -> Level {
        let mut warned = self.warned.lock();
        let said = warned.entry(whose).or_default();
        if said.len() >= WARNINGS_IN_A_ROW || said.contains(&text) {
            return Level::DEBUG;
        }
        said.push(text);
        Level::WARN
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::endpoint::LinkError;
    use crate::fleet::event::Trouble;
    use crate::fleet::gateways::FindError;

    fn trouble(gateway: &str, text: &'static str) -> Event {
        Event::Trouble {
            gateway: GatewayAddr::new(gateway).unwrap(),
            trouble: Trouble::Link(LinkError::Failed(Arc::new(io::Error::other(text)))),
            retry_in: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_trouble_is_a_warning_once() {
        let reporter = Reporter::new("server 1".to_owned());
        assert_eq!(reporter.level(&trouble("a:1", "reset")), Level::WARN);
        assert_eq!(reporter.level(&trouble("a:1", "reset")), Level::DEBUG);
        assert_eq!(reporter.level(&trouble("a:1", "refused")), Level::WARN, "another one is news");
        assert_eq!(reporter.level(&trouble("a:1", "reset")), Level::DEBUG, "they take turns");
        assert_eq!(reporter.level(&trouble("b:1", "reset")), Level::WARN, "another gateway's is news");
        reporter.well(Some(&GatewayAddr::new("a:1").unwrap()));
        assert_eq!(reporter.level(&trouble("a:1", "reset")), Level::WARN, "it was well in between");
        assert_eq!(reporter.level(&trouble("b:1", "reset")), Level::DEBUG, "and the other was not");

        let not_found = Event::NotFound { error: FindError::Empty, retry_in: None };
        assert_eq!(reporter.level(&not_found), Level::WARN);
        assert_eq!(reporter.level(&not_found), Level::DEBUG);
        reporter.well(None);
        assert_eq!(reporter.level(&not_found), Level::WARN);
    }

    #[test]
    fn a_gateway_that_fails_differently_each_time_does_not_fill_the_log() {
        let reporter = Reporter::new("server 1".to_owned());
        let texts = ["1", "2", "3", "4", "5", "6"];
        let warnings = texts.map(|text| reporter.level(&trouble("a:1", text)) == Level::WARN);
        assert_eq!(warnings, [true, true, true, true, false, false]);
    }
}
