//! Whether the numbers of a run can be believed, whether nothing went astray, whether it was good enough: and the exit code.
//!
//! A run is INVALID where this tool was the bottleneck, or where it proves nothing. Each reason says what was seen, what the
//! limit is, and what to do.

use crate::clock::{MILLI, Nanos};
use crate::ledger::{Fault, Ledger};
use crate::plan::{Load, Plan};
use crate::report::format;
use crate::stats::Results;
use crate::threshold::{Judged, Threshold};

/// Of the messages that were due, this share must have come back.
const LEAST_SHARE: f64 = 0.99;
/// The share of the response time that the tool's own parts (lag, echo) may have.
const OWN_SHARE: f64 = 0.1;
/// A lag that is always allowed: the kernel wakes no sooner on a machine that does other things too.
const ALLOWED_LAG: Nanos = MILLI;
/// An echo time that is always allowed: a batch of messages read at once takes so long.
const ALLOWED_ECHO: Nanos = MILLI / 10;
/// The share of a core above which a thread is taken to be the bottleneck.
const MOST_BUSY: f64 = 0.85;
/// A thread that stood still for so long was stopped.
const STOOD_STILL: Nanos = 100 * MILLI;

/// The judgement of a whole run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Why the numbers cannot be believed: sentences; none if they can.
    pub invalid: Vec<String>,
    /// What went astray: sentences; none if nothing did.
    pub integrity: Vec<String>,
    /// What became of each threshold.
    pub thresholds: Vec<Judged>,
    /// What a reader should know, though it is no reason against the numbers: sentences.
    pub notes: Vec<String>,
    /// Why the run could not go on, if it could not.
    pub failure: Option<String>,
    /// The signal that ended it.
    pub interrupted: Option<i32>,
}

impl Verdict {
    /// Judges what a run has measured.
    #[must_use]
    pub fn of(plan: &Plan, results: &Results, thresholds: &[Threshold]) -> Self {
        let mut verdict = Self {
            thresholds: thresholds.iter().map(|threshold| threshold.judge(results)).collect(),
            failure: results.failure.clone(),
            interrupted: results.interrupted,
            ..Self::default()
        };
        verdict.judge_integrity(results);
        if verdict.failure.is_none() {
            if plan.clients > 0 {
                verdict.judge_load(plan, results);
                verdict.judge_times(results);
            }
            verdict.judge_threads(plan, results);
        }
        if let Some(signal) = results.interrupted {
            verdict.notes.push(interruption(signal));
        }
        verdict
    }

    /// Whether the numbers can be believed.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.failure.is_none() && self.invalid.is_empty()
    }

    /// How many thresholds were passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.thresholds.iter().filter(|judged| judged.passed).count()
    }

    /// What the process ends with: 0 passed, 1 could not run, 3 a threshold failed, 4 integrity violated, 5 INVALID,
    /// 128 + signal interrupted. What comes first of 1, 4, 5, 3, 128 + signal, wins.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.failure.is_some() {
            1
        } else if !self.integrity.is_empty() {
            4
        } else if !self.invalid.is_empty() {
            5
        } else if self.passed() < self.thresholds.len() {
            3
        } else {
            self.interrupted.map_or(0, |signal| u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
    }

    fn judge_integrity(&mut self, results: &Results) {
        for (way, ledger, complete) in
            [("questions", &results.there, results.both_sides), ("echoes", &results.back, true)]
        {
            for fault in Fault::ALL {
                if ledger.count(fault) > 0 {
                    self.integrity.push(fault_sentence(way, ledger, fault));
                }
            }
            if complete && !ledger.balances() {
                self.integrity.push(balance_sentence(way, ledger));
            }
        }
    }

    fn judge_load(&mut self, plan: &Plan, results: &Results) {
        let tally = &results.tally;
        if tally.measured_received == 0 {
            self.invalid.push(format!(
                "Nothing was measured: {} messages were due while it was measured, and none came back; see the errors below, and check the gateway and -d.",
                format::count(tally.measured_due)
            ));
            return;
        }
        if matches!(plan.load, Load::Closed { .. }) {
            return;
        }
        if let Some(share) = results.achieved_share()
            && share < LEAST_SHARE
        {
            self.invalid.push(format!(
                "Only {} of the messages that were due came back, the limit is {}: {} had no echo at the end, {} were not sent. Lower -R; or see whose part is long: lag and echo are this tool's, blocked and wire the gateway's.",
                format::percent(share),
                format::percent(LEAST_SHARE),
                format::count(tally.censored),
                format::count(tally.not_sent),
            ));
        }
    }

    fn judge_times(&mut self, results: &Results) {
        let metrics = &results.metrics;
        let response = metrics.response.percentile(99.0) as f64;
        let lag = metrics.lag.percentile(99.0);
        let most = (response * OWN_SHARE).max(ALLOWED_LAG as f64);
        if lag as f64 > most {
            self.invalid.push(format!(
                "This tool sent late: lag p99 is {}, the limit is {} (10 % of response p99, 1 ms at least). Give it more --threads or cores of its own, or lower -R.",
                format::time(lag as f64),
                format::time(most),
            ));
        }
        let echo = metrics.echo.percentile(99.0);
        if echo > ALLOWED_ECHO && echo as f64 > response * OWN_SHARE {
            self.invalid.push(format!(
                "This tool's servers answered late: echo p99 is {}, the limit is {} (10 % of response p99, 100 µs at least). Run the servers on another machine (loadgen serve), or lower -R.",
                format::time(echo as f64),
                format::time((response * OWN_SHARE).max(ALLOWED_ECHO as f64)),
            ));
        }
    }

    fn judge_threads(&mut self, plan: &Plan, results: &Results) {
        let threads = results.threads.iter().enumerate();
        let still = threads.clone().max_by_key(|(_, thread)| thread.stood_still_ns);
        if let Some((number, thread)) = still.filter(|(_, thread)| thread.stood_still_ns >= STOOD_STILL) {
            let sentence = format!(
                "Thread {number} of this tool stood still for {}, the limit is {}: the process was stopped, the machine was swapping or busy. Leave it a core of its own, and run again.",
                format::time(thread.stood_still_ns as f64),
                format::time(STOOD_STILL as f64),
            );
            // Servers alone are not judged: whoever drives them sees it as an echo that takes long.
            if plan.clients > 0 { &mut self.invalid } else { &mut self.notes }.push(sentence);
        }
        let busiest = threads.max_by(|(_, a), (_, b)| a.busy().total_cmp(&b.busy()));
        let Some((number, thread)) = busiest.filter(|(_, thread)| thread.busy() > MOST_BUSY) else { return };
        let busy = format!("{:.0} %", thread.busy() * 100.0);
        if plan.clients > 0 && matches!(plan.load, Load::Open { .. }) {
            self.invalid.push(format!(
                "Thread {number} of this tool was busy {busy} of the time, the limit is {:.0} %. Give it more --threads, spread the load over several machines, or lower -R.",
                MOST_BUSY * 100.0
            ));
        } else {
            self.notes.push(format!(
                "generator-bound: thread {number} of this tool was busy {busy} of the time, so the gateway may be capable of more."
            ));
        }
    }
}

fn fault_sentence(way: &str, ledger: &Ledger, fault: Fault) -> String {
    let count = ledger.count(fault);
    let example = ledger.examples.iter().find(|example| example.fault == fault);
    let first = example.map_or_else(String::new, |example| {
        format!("; the first one at {}: {}", format::moment(example.at_ns), example.text)
    });
    let (one, many) = match way {
        "questions" => ("question", "questions"),
        _ => ("echo", "echoes"),
    };
    let noun = if count == 1 { one } else { many };
    let verb = match (fault, count) {
        (Fault::AfterClose, _) => "came",
        (_, 1) => "was",
        _ => "were",
    };
    format!("{count} {noun} {verb} {}{first}.", fault.name())
}

fn balance_sentence(way: &str, ledger: &Ledger) -> String {
    let lost = ledger.count(Fault::Lost);
    format!(
        "The ledger of {way} does not balance: {} were sent, but {} received + {lost} lost + {} open make {}.",
        ledger.sent,
        ledger.received,
        ledger.open,
        ledger.received + lost + ledger.open,
    )
}

/// The note of a run that a signal ended.
pub(crate) fn interruption(signal: i32) -> String {
    let name = match signal {
        2 => "Ctrl-C (SIGINT)",
        15 => "SIGTERM",
        _ => return format!("The run was interrupted by signal {signal}."),
    };
    format!("The run was interrupted by {name}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::stats::{ThreadUse, Times};

    fn verdict(results: &Results) -> Verdict {
        Verdict::of(&sample::plan(), results, &[])
    }

    fn all(nanos: Nanos) -> Times {
        let mut times = Times::default();
        (0..1000).for_each(|_| times.record(nanos));
        times
    }

    fn is_invalid_since(results: &Results, words: &str) {
        let verdict = verdict(results);
        assert_eq!(verdict.invalid.len(), 1, "{:?}", verdict.invalid);
        assert!(verdict.invalid[0].contains(words), "{}", verdict.invalid[0]);
        assert_eq!(verdict.exit_code(), 5);
    }

    #[test]
    fn a_good_run_is_valid() {
        let verdict = verdict(&sample::results());
        assert!(
            verdict.is_valid() && verdict.integrity.is_empty() && verdict.notes.is_empty(),
            "{verdict:?}"
        );
        assert_eq!(verdict.exit_code(), 0);
    }

    #[test]
    fn too_few_echoes_make_it_invalid() {
        let mut results = sample::results();
        results.tally.measured_received = results.tally.measured_due * 98 / 100;
        is_invalid_since(&results, "98.00 %");
    }

    #[test]
    fn a_late_tool_makes_it_invalid() {
        let mut results = sample::results();
        results.metrics.response = all(5 * MILLI);
        results.metrics.lag = all(MILLI * 9 / 10);
        assert!(verdict(&results).is_valid(), "1 ms is always allowed");
        results.metrics.lag = all(MILLI * 12 / 10);
        is_invalid_since(&results, "lag p99 is 1.20 ms, the limit is 1.00 ms");
        results.metrics.response = all(50 * MILLI);
        assert!(verdict(&results).is_valid(), "so is a tenth of the response");
    }

    #[test]
    fn late_servers_make_it_invalid() {
        let mut results = sample::results();
        results.metrics.response = all(MILLI / 2);
        results.metrics.echo = all(MILLI * 9 / 100);
        assert!(verdict(&results).is_valid(), "100 µs are always allowed");
        results.metrics.echo = all(MILLI * 2 / 10);
        is_invalid_since(&results, "echo p99 is 200 µs, the limit is 100 µs");
        results.metrics.echo = Times::default();
        assert!(verdict(&results).is_valid());
    }

    #[test]
    fn a_busy_thread_counts_in_an_open_loop_only() {
        let mut results = sample::results();
        results.threads[1] = ThreadUse { cpu_ns: 86, wall_ns: 100, stood_still_ns: 0 };
        is_invalid_since(&results, "Thread 1 of this tool was busy 86 %");
        let plan = Plan { load: Load::Closed { inflight: 16 }, ..sample::plan() };
        results.target_rate = None;
        let verdict = Verdict::of(&plan, &results, &[]);
        assert!(verdict.is_valid() && verdict.notes[0].starts_with("generator-bound"), "{verdict:?}");
    }

    #[test]
    fn a_thread_that_stood_still_makes_it_invalid() {
        let mut results = sample::results();
        results.threads[0].stood_still_ns = STOOD_STILL - 1;
        assert!(verdict(&results).is_valid());
        results.threads[0].stood_still_ns = 200 * MILLI;
        is_invalid_since(&results, "Thread 0 of this tool stood still for 200 ms");
    }

    #[test]
    fn a_run_without_echoes_proves_nothing() {
        let mut results = sample::results();
        results.tally.measured_received = 0;
        is_invalid_since(&results, "Nothing was measured");
        let plan = Plan { clients: 0, ..sample::plan() };
        assert!(Verdict::of(&plan, &results, &[]).is_valid(), "servers alone measure nothing");
    }

    #[test]
    fn every_fault_is_named_with_its_first_example() {
        let mut results = sample::results();
        results.back.note(Fault::Duplicated, 2, 3_210_000_000, || "connection 9, message 77".to_owned());
        let found = verdict(&results);
        assert_eq!(
            found.integrity,
            ["2 echoes were duplicated; the first one at 3.21 s: connection 9, message 77."]
        );
        assert_eq!(found.exit_code(), 4);
    }

    #[test]
    fn a_ledger_that_does_not_balance_is_a_violation_where_it_is_complete() {
        let mut results = sample::results();
        results.there.received -= 1;
        assert!(verdict(&results).integrity[0].contains("ledger of questions does not balance"));
        results.both_sides = false;
        assert!(verdict(&results).integrity.is_empty());
        results.back.open += 1;
        assert!(verdict(&results).integrity[0].contains("ledger of echoes does not balance"));
    }

    #[test]
    fn the_worst_decides_the_exit_code() {
        let mut found = Verdict { interrupted: Some(2), ..Verdict::default() };
        assert_eq!(found.exit_code(), 130);
        found.thresholds.push(Judged { text: String::new(), value: String::new(), passed: false });
        assert_eq!(found.exit_code(), 3);
        found.invalid.push(String::new());
        assert_eq!(found.exit_code(), 5);
        found.integrity.push(String::new());
        assert_eq!(found.exit_code(), 4);
        found.failure = Some(String::new());
        assert_eq!(found.exit_code(), 1);
        assert_eq!(Verdict { interrupted: Some(15), ..Verdict::default() }.exit_code(), 143);
    }
}
