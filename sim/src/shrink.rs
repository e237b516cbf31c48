//! Makes a failing world smaller, as long as it fails by the same rule.
//!
//! Faults go first, in halves, then one by one; then clients, servers and gateways that no fault names; then time. What is
//! left is a schedule that a person can read, and a test can keep.

use crate::fault::Fault;
use crate::plan::Plan;

/// Worlds that are tried at most.
const MOST_TRIES: u32 = 400;

struct Shrinker<'a> {
    best: Plan,
    rule: &'a str,
    run: &'a dyn Fn(&Plan) -> Option<String>,
    tries: u32,
    tell: &'a dyn Fn(&str),
}

/// The smallest world found that violates `rule`; `plan` itself does. `run` tells which rule a world violates, `tell`
/// hears of the progress.
#[must_use]
pub fn shrink(plan: &Plan, rule: &str, run: impl Fn(&Plan) -> Option<String>, tell: impl Fn(&str)) -> Plan {
    let mut shrinker = Shrinker { best: plan.clone(), rule, run: &run, tries: 0, tell: &tell };
    shrinker.drop_faults();
    shrinker.shorten_faults();
    shrinker.drop_people();
    shrinker.shorten_time();
    // With fewer people, fewer faults may do.
    shrinker.drop_faults();
    shrinker.best
}

impl Shrinker<'_> {
    fn accept(&mut self, candidate: Plan) -> bool {
        if self.tries >= MOST_TRIES || candidate == self.best || candidate.check().is_err() {
            return false;
        }
        self.tries += 1;
        let fails = (self.run)(&candidate).is_some_and(|rule| rule == self.rule);
        if fails {
            let (faults, clients) = (candidate.faults.len(), candidate.topology.clients);
            (self.tell)(&format!("try {}: {faults} faults, {clients} clients", self.tries));
            self.best = candidate;
        }
        fails
    }

    fn drop_faults(&mut self) {
        let mut size = self.best.faults.len();
        while size > 0 {
            let mut start = 0;
            while start < self.best.faults.len() {
                let mut candidate = self.best.clone();
                let end = (start + size).min(candidate.faults.len());
                candidate.faults.drain(start..end);
                if !self.accept(candidate) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn shorten_faults(&mut self) {
        for index in 0..self.best.faults.len() {
            loop {
                let mut candidate = self.best.clone();
                let Fault { len_ms, .. } = &mut candidate.faults[index];
                if *len_ms <= 1 {
                    break;
                }
                *len_ms /= 2;
                if !self.accept(candidate) {
                    break;
                }
            }
        }
    }

    fn drop_people(&mut self) {
        let numbers: [fn(&mut Plan) -> &mut u32; 5] = [
            |plan| &mut plan.topology.misfits,
            |plan| &mut plan.topology.clients,
            |plan| &mut plan.topology.client_hosts,
            |plan| &mut plan.topology.servers,
            |plan| &mut plan.topology.gateways,
        ];
        for number in numbers {
            loop {
                let mut candidate = self.best.clone();
                let value = number(&mut candidate);
                if *value == 0 {
                    break;
                }
                *value /= 2;
                if self.accept(candidate) {
                    continue;
                }
                let mut candidate = self.best.clone();
                *number(&mut candidate) -= 1;
                if !self.accept(candidate) {
                    break;
                }
            }
        }
    }

    fn shorten_time(&mut self) {
        loop {
            let mut candidate = self.best.clone();
            let last = candidate.faults.iter().map(Fault::end_ms).max().unwrap_or(0);
            candidate.active_ms = (candidate.active_ms * 2 / 3).max(last).max(100);
            if !self.accept(candidate) {
                break;
            }
        }
    }
}
