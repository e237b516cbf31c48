//! What came of it: a table, and whether it is as wanted.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateways::Restart;
use crate::ledger::{Ledger, Served, Spoken};
use crate::options::Options;
use crate::text::{grouped, significant};

/// An echo that did not arrive may have been written so long before the client saw the end: the gateway had closed the client by
/// then, but on a busy machine it takes a while until everybody has found out.
const CROSSING: Duration = Duration::from_millis(250);

/// Of those who are told to go at one gateway, so many may see it within a tenth of the time: three times their share.
const MOST_AT_ONCE: f64 = 0.3;

/// Of the messages that were to be sent, this share at least has to be, or it was another load.
const SHARE: f64 = 0.9;

/// Everything.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    options: &'a Options,
    restarts: &'a [Restart],
    sessions: Vec<(Spoken, Served)>,
    turns: (u64, u64),
    talked: Duration,
}

/// The sessions of one row.
#[derive(Debug, Default)]
struct Sum {
    sessions: u64,
    sent: u64,
    received: u64,
    heard: u64,
    /// How long before the end the oldest echo was written that did not arrive.
    crossing: Duration,
    /// When each saw the end.
    ends: Vec<Instant>,
}

impl Sum {
    fn of<'a>(sessions: impl IntoIterator<Item = &'a (Spoken, Served)>) -> Self {
        let mut sum = Self::default();
        for (spoken, served) in sessions {
            sum.sessions += 1;
            sum.sent += spoken.sent;
            sum.received += served.received;
            sum.heard += spoken.heard;
            sum.ends.extend(spoken.told_to_go);
            if let Some(end) = spoken.told_to_go.filter(|_| spoken.heard < served.received) {
                // What is not remembered is older than what is.
                let age = served
                    .echoed_at(spoken.heard)
                    .map_or(Duration::MAX, |at| end.saturating_duration_since(at));
                sum.crossing = sum.crossing.max(age);
            }
        }
        sum.ends.sort();
        sum
    }

    fn lost(&self) -> u64 {
        self.sent.abs_diff(self.received)
    }

    /// The largest share of those who saw the end that saw it within this time.
    fn at_once(&self, window: Duration) -> f64 {
        let most = self
            .ends
            .iter()
            .map(|from| self.ends.iter().filter(|at| **at >= *from && **at <= *from + window).count());
        most.max().unwrap_or(0) as f64 / self.ends.len().max(1) as f64
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        options: &'a Options,
        ledger: &Ledger,
        restarts: &'a [Restart],
        talked: Duration,
    ) -> Self {
        Self { options, restarts, sessions: ledger.sessions(), turns: ledger.turns(), talked }
    }

    /// Prints all of it. Whether it is as wanted.
    pub(crate) fn print(&self) -> bool {
        println!(
            "\n{:<22} {:>8} {:>7} {:>8} {:>11} {:>11} {:>5} {:>9} {:>8} {:>5}",
            "",
            "sessions",
            "at once",
            "ended in",
            "accepted",
            "delivered",
            "lost",
            "echoes",
            "crossing",
            "code"
        );
        let mut wrong = Vec::new();
        for (number, restart) in self.restarts.iter().enumerate() {
            let is_its = |(spoken, _): &&(Spoken, Served)| {
                let at = spoken.told_to_go;
                spoken.gateway == restart.gateway
                    && at.is_some_and(|at| at >= restart.told && at <= restart.ended)
            };
            let sum = Sum::of(self.sessions.iter().filter(is_its));
            let name = format!("restart {}, gateway {}", number + 1, restart.gateway + 1);
            self.row(&name, &sum, Some(restart));
            if restart.code != Some(0) {
                wrong.push(format!("{name}: it did not end in good order and in time"));
            }
            if sum.sessions == 0 {
                wrong.push(format!("{name}: nobody was there"));
            }
            if sum.sessions >= 30 && sum.at_once(self.options.drain_spread / 10) > MOST_AT_ONCE {
                wrong.push(format!("{name}: too many were told to go at once"));
            }
        }
        let all = Sum::of(&self.sessions);
        self.row("all sessions", &all, None);
        wrong.extend(self.judge(&all));
        let mut handovers: Vec<_> = self.sessions.iter().filter_map(|(spoken, _)| spoken.handover).collect();
        handovers.sort();
        let part = |share: f64| handovers.get((handovers.len() as f64 * share) as usize).or(handovers.last());
        let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        println!(
            "\n{} of {} messages a second; from the end to the first echo elsewhere: half in {} ms, all in {} ms",
            grouped((all.sent as f64 / self.talked.as_secs_f64()) as u64),
            grouped(u64::from(self.options.rate)),
            significant(millis(part(0.5))),
            significant(millis(handovers.last()))
        );
        println!(
            "closed ports that clients tried: {}; connections that were reset before a word was taken: {}",
            self.turns.0, self.turns.1
        );
        for what in &wrong {
            println!("missed: {what}");
        }
        if wrong.is_empty() {
            println!("✓ no message was lost");
        }
        wrong.is_empty()
    }

    fn row(&self, name: &str, sum: &Sum, restart: Option<&Restart>) {
        let at_once = format!("{:.0} %", sum.at_once(self.options.drain_spread / 10) * 100.0);
        let (at_once, ended_in, code) = match restart {
            None => Default::default(),
            Some(restart) => (
                at_once,
                format!("{:.2} s", (restart.ended - restart.told).as_secs_f64()),
                restart.code.map_or("none".to_owned(), |code| code.to_string()),
            ),
        };
        println!(
            "{name:<22} {:>8} {at_once:>7} {ended_in:>8} {:>11} {:>11} {:>5} {:>9} {:>8} {code:>5}",
            grouped(sum.sessions),
            grouped(sum.sent),
            grouped(sum.received),
            grouped(sum.lost()),
            grouped(sum.heard),
            format!("{:.0} ms", sum.crossing.min(Duration::from_secs(999)).as_secs_f64() * 1e3),
        );
    }

    fn judge(&self, all: &Sum) -> Vec<String> {
        let mut wrong = Vec::new();
        // Session by session: one message too many would make up for one too few.
        let uneven = self.sessions.iter().filter(|(spoken, served)| spoken.sent != served.received).count();
        if uneven > 0 {
            wrong.push(format!("{uneven} sessions were not delivered as they were accepted"));
        }
        if all.crossing > CROSSING {
            wrong.push(format!("an echo was lost that was written {:?} before the end", all.crossing));
        }
        let share = all.sent as f64 / (self.talked.as_secs_f64() * f64::from(self.options.rate));
        if share < SHARE {
            wrong.push(format!("only {:.0} % of the messages could be sent", share * 100.0));
        }
        wrong
    }
}
