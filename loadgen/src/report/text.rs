//! The report on the terminal: the verdict first, then what it rests on. No line is longer than 80 columns.

use std::fmt::Write as _;

use fastway::net::tls::TlsConnector;

use super::format::{self, Unit};
use super::page::{Hue, LABEL, Page, Piece};
use crate::ledger::{Fault, Ledger};
use crate::plan::{Load, Plan, Sizes};
use crate::stats::{Metric, Results, Times};
use crate::verdict::Verdict;

/// The columns of the table of times.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// Columns of one number in the table of times.
const CELL: usize = 8;

/// Files and ports of which a larger share than this is used are worth a warning.
const NEARLY_ALL: f64 = 0.9;

/// The report of a run, many lines of 80 columns at most, with the escape sequences of colours if they are wanted.
#[must_use]
pub fn text(plan: &Plan, results: &Results, verdict: &Verdict, colours: bool) -> String {
    let mut page = Page::new(colours);
    headline(&mut page, plan, results, verdict);
    reasons(&mut page, verdict);
    page.end();
    run(&mut page, plan, results);
    times(&mut page, results);
    integrity(&mut page, plan, results);
    errors(&mut page, results);
    generator(&mut page, results);
    thresholds(&mut page, verdict);
    page.finish()
}

fn headline(page: &mut Page, plan: &Plan, results: &Results, verdict: &Verdict) {
    let mut pieces = vec![word(verdict)];
    if results.seconds() > 0.0 {
        pieces.push(Piece::plain(speed(plan, results)));
    }
    pieces.push(Piece::new(format!("seed {}", plan.seed), Hue::Dim));
    pieces.extend(passed(verdict));
    page.flow(0, 8, 3, &pieces);
}

/// The verdict in one word.
pub(crate) fn word(verdict: &Verdict) -> Piece {
    let (word, hue) = if verdict.failure.is_some() {
        ("FAILED", Hue::Bad)
    } else if !verdict.invalid.is_empty() {
        ("INVALID", Hue::Bad)
    } else if verdict.integrity.is_empty() {
        ("VALID", Hue::Good)
    } else {
        // The numbers can be believed, but nobody should see green when messages went astray.
        ("VALID", Hue::Bold)
    };
    Piece::new(word, hue)
}

/// How many of the thresholds were passed, if there are any.
pub(crate) fn passed(verdict: &Verdict) -> Option<Piece> {
    let (passed, all) = (verdict.passed(), verdict.thresholds.len());
    let hue = if passed == all { Hue::Good } else { Hue::Bad };
    (all > 0).then(|| Piece::new(format!("PASS {passed}/{all}"), hue))
}

fn speed(plan: &Plan, results: &Results) -> String {
    let achieved = format::rate(results.achieved_rate());
    if plan.clients == 0 {
        return format!("{} messages served", format::count(results.there.received));
    }
    match (&plan.load, results.target_rate) {
        (Load::Open { .. }, Some(target)) => format!(
            "{}/s target, {achieved}/s achieved ({})",
            format::rate(target),
            format::percent(results.achieved_share().unwrap_or_default())
        ),
        (Load::Closed { inflight }, _) => {
            format!("{achieved} round trips/s (closed loop, {inflight} in flight)")
        }
        _ => format!("{achieved} round trips/s"),
    }
}

/// Why it is that, a sentence each.
pub(crate) fn reasons(page: &mut Page, verdict: &Verdict) {
    if let Some(failure) = &verdict.failure {
        page.sentence(2, "- ", failure, Hue::Bad);
    }
    for reason in &verdict.invalid {
        page.sentence(2, "- ", reason, Hue::Bad);
    }
    for violation in &verdict.integrity {
        page.sentence(2, "- ", &format!("integrity: {violation}"), Hue::Bad);
    }
    for note in &verdict.notes {
        page.sentence(2, "- ", note, Hue::Warn);
    }
}

fn run(page: &mut Page, plan: &Plan, results: &Results) {
    let tally = &results.tally;
    let mut who = Vec::new();
    if plan.clients > 0 {
        who.push(Piece::plain(format!(
            "{} × {} conns",
            plural(plan.clients, "client"),
            plan.conns_per_client
        )));
    }
    if plan.servers > 0 {
        who.push(Piece::plain(plural(plan.servers, "server")));
    }
    if plan.clients > 0 {
        who.push(Piece::plain(sizes(plan.sizes)));
    }
    who.extend(encrypted(&plan.client_tls, &plan.server_tls));
    if results.seconds() > 0.0 {
        who.push(Piece::plain(format!("measured {}", format::time(results.seconds() * 1e9))));
    }
    page.row("run", 3, &who);
    if tally.bytes_sent == 0 && tally.dials == 0 {
        return;
    }
    let mut what = vec![Piece::plain(format!("sent {}", format::bytes(tally.bytes_sent)))];
    let news = [("dials", tally.dials, Hue::Plain), ("refused", tally.refused, Hue::Bad)];
    let more = [
        ("churned", tally.churned, Hue::Plain),
        ("reconnected", tally.reconnected, Hue::Plain),
        ("calls", tally.calls, Hue::Plain),
        ("not sent", tally.not_sent, Hue::Warn),
    ];
    what.extend(
        news.into_iter()
            .chain(more)
            .filter(|(_, count, _)| *count > 0)
            .map(|(name, count, hue)| Piece::new(format!("{name} {}", format::count(count)), hue)),
    );
    page.row("", 3, &what);
}

/// So many of them.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Who connects over TLS.
pub(crate) fn encrypted(clients: &Option<TlsConnector>, servers: &Option<TlsConnector>) -> Option<Piece> {
    Some(Piece::plain(match (clients, servers) {
        (Some(_), Some(_)) => "both over TLS",
        (Some(_), None) => "clients over TLS",
        (None, Some(_)) => "servers over TLS",
        (None, None) => return None,
    }))
}

fn sizes(sizes: Sizes) -> String {
    match sizes {
        Sizes::Fixed(size) => format!("{size} B"),
        Sizes::Uniform(low, high) => format!("{low} to {high} B"),
        Sizes::Lognormal { median, p99 } => format!("{median} B (p99 {p99} B)"),
    }
}

fn times(page: &mut Page, results: &Results) {
    let shown = |metric: &&Metric| results.metrics.get(**metric).count() > 0;
    if !Metric::ALL.iter().any(|metric| shown(&metric)) {
        return;
    }
    page.end();
    let head = PERCENTILES.iter().fold(String::new(), |mut head, (name, _)| {
        let _ = write!(head, "{name:>CELL$}");
        head
    });
    page.label("");
    page.put(&head, Hue::Dim);
    page.end();
    for metric in Metric::ALL.iter().filter(shown) {
        times_row(page, *metric, results.metrics.get(*metric));
        if *metric == Metric::response && results.tally.censored > 0 {
            page.label("  censored");
            let censored = format::count(results.tally.censored);
            let sentence = format!("{censored} without an echo at the end: they count with their age");
            page.sentence(2, "", &sentence, Hue::Warn);
        }
    }
}

fn times_row(page: &mut Page, metric: Metric, times: &Times) {
    let (indent, remark) = match metric {
        Metric::response => ("", "   from intended"),
        Metric::lag => ("  ", "   this tool"),
        Metric::blocked => ("  ", "   gateway pushes back"),
        Metric::wire | Metric::echo => ("  ", ""),
        _ => ("", ""),
    };
    let unit = Unit::of_row(times.percentile(50.0), times.percentile(99.0));
    let (label, number) = match metric {
        Metric::response => (Hue::Bold, Hue::Bold),
        _ => (Hue::Dim, Hue::Plain),
    };
    page.put(&format!("{:LABEL$}", format!("{indent}{}", metric.name())), label);
    for (_, percent) in PERCENTILES {
        let cell = unit.number(times.percentile(percent) as f64);
        let hue = if cell == "0" { Hue::Dim } else { number };
        page.put(&format!("{cell:>CELL$}"), hue);
    }
    page.put(&format!(" {:2}", unit.name()), Hue::Dim);
    page.put(remark, Hue::Dim);
    page.end();
}

fn integrity(page: &mut Page, plan: &Plan, results: &Results) {
    let silent = |ledger: &Ledger| ledger.sent == 0 && ledger.received == 0 && ledger.is_clean();
    if silent(&results.there) && silent(&results.back) {
        return;
    }
    page.end();
    let verified = format!("verify {:?}", plan.verify).to_lowercase();
    page.row("integrity", 1, &[Piece::new(verified, Hue::Dim)]);
    ledger(page, "  questions", &results.there, results.both_sides);
    ledger(page, "  echoes", &results.back, true);
}

fn ledger(page: &mut Page, label: &str, ledger: &Ledger, complete: bool) {
    // A sum that is not right has to be seen to the last digit.
    let count =
        |count: u64| if complete && !ledger.balances() { count.to_string() } else { format::count(count) };
    let number = |name: &str, number| Piece::plain(format!("{name} {}", count(number)));
    let fault = |fault: Fault| match ledger.count(fault) {
        0 => Piece::new(format!("{} 0", fault.name()), Hue::Dim),
        seen => Piece::new(format!("{} {}", fault.name(), count(seen)), Hue::Bad),
    };
    let sign = |sign: &str| Piece::new(sign, Hue::Dim);
    if complete {
        let equal = if ledger.balances() { sign("=") } else { Piece::new("≠", Hue::Bad) };
        let open = match ledger.open {
            0 => Piece::new("open 0", Hue::Dim),
            open => number("open", open),
        };
        let (sent, received) = (number("sent", ledger.sent), number("received", ledger.received));
        page.row(label, 1, &[sent, equal, received, sign("+"), fault(Fault::Lost), sign("+"), open]);
    } else {
        let mut known: Vec<Piece> = [("sent", ledger.sent), ("received", ledger.received)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| number(name, count))
            .collect();
        known.extend([fault(Fault::Lost), sign("(the other end is elsewhere)")]);
        page.row(label, 3, &known);
    }
    let others = Fault::ALL.into_iter().filter(|kind| *kind != Fault::Lost).map(fault);
    page.row("", 2, &others.collect::<Vec<_>>());
    for example in &ledger.examples {
        let text = format!("{} at {}: {}", example.fault.name(), format::moment(example.at_ns), example.text);
        page.sentence(LABEL, "· ", &text, Hue::Dim);
    }
}

fn errors(page: &mut Page, results: &Results) {
    page.end();
    if results.errors.0.is_empty() {
        page.row("errors", 1, &[Piece::new("0", Hue::Dim)]);
        return;
    }
    page.label("errors");
    page.put(&format!("{:26}{:10}{:>7}{:>10}{:>10}", "", "", "count", "first", "last"), Hue::Dim);
    page.end();
    for ((kind, phase), group) in &results.errors.0 {
        page.label("");
        page.put(&format!("{:26}", kind.to_string()), Hue::Plain);
        page.put(&format!("{:10}", phase.to_string()), Hue::Dim);
        page.put(&format!("{:>7}", format::count(group.count)), Hue::Bad);
        let moments = [group.first_ns, group.last_ns].map(format::moment);
        page.put(&format!("{:>10}{:>10}", moments[0], moments[1]), Hue::Plain);
        page.end();
        page.sentence(LABEL, "· ", &group.example, Hue::Dim);
    }
}

fn generator(page: &mut Page, results: &Results) {
    let mut pieces = Vec::new();
    if !results.threads.is_empty() {
        let still = results.threads.iter().map(|thread| thread.stood_still_ns).max().unwrap_or(0);
        pieces.push(Piece::plain(format!("cpu {}", cpu(results))));
        pieces.push(Piece::plain(format!("lag max {}", format::time(results.metrics.lag.max() as f64))));
        pieces.push(Piece::plain(format!("stood still {}", format::time(still as f64))));
    }
    if results.rss_bytes > 0 {
        pieces.push(Piece::plain(format!("rss {}", format::bytes(results.rss_bytes))));
    }
    let limits = [("files", results.files), ("ports", results.ports)];
    pieces.extend(
        limits.into_iter().filter(|(_, share)| *share != (0, 0)).map(|(name, share)| used(name, share)),
    );
    if !pieces.is_empty() || results.target.is_some() {
        page.end();
    }
    if !pieces.is_empty() {
        page.row("generator", 3, &pieces);
    }
    if let Some(target) = &results.target {
        let pieces = [
            Piece::plain(format!("cpu {:.2} cores", target.cpu_cores)),
            Piece::plain(format!("rss {}", format::bytes(target.rss_bytes))),
            Piece::new(format!("pid {}", target.pid), Hue::Dim),
        ];
        page.row("target", 3, &pieces);
    }
}

/// The share of a core that each thread used: each of a few, the range of many.
fn cpu(results: &Results) -> String {
    let mut shares: Vec<f64> = results.threads.iter().map(|thread| thread.busy() * 100.0).collect();
    if shares.len() <= 4 {
        let shares: Vec<String> = shares.iter().map(|share| format!("{share:.0} %")).collect();
        return shares.join(" + ");
    }
    shares.sort_by(f64::total_cmp);
    format!("{} threads × {:.0} to {:.0} %", shares.len(), shares[0], shares[shares.len() - 1])
}

fn used(name: &str, (used, limit): (u64, u64)) -> Piece {
    if limit == 0 {
        return Piece::plain(format!("{name} {}", format::count(used)));
    }
    let hue = if used as f64 > limit as f64 * NEARLY_ALL { Hue::Warn } else { Hue::Plain };
    Piece::new(format!("{name} {}/{}", format::count(used), format::count(limit)), hue)
}

/// What became of each threshold.
pub(crate) fn thresholds(page: &mut Page, verdict: &Verdict) {
    if verdict.thresholds.is_empty() {
        return;
    }
    page.end();
    let width = verdict.thresholds.iter().map(|judged| judged.text.chars().count()).max().unwrap_or(0);
    for (index, judged) in verdict.thresholds.iter().enumerate() {
        page.label(if index == 0 { "thresholds" } else { "" });
        let (word, hue) = if judged.passed { ("pass", Hue::Good) } else { ("FAIL", Hue::Bad) };
        page.put(word, hue);
        page.put(&format!("  {:width$}   {}", judged.text, judged.value), Hue::Plain);
        page.end();
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::threshold::Threshold;

    const THRESHOLDS: [&str; 3] = ["response.p99<5ms", "rate>=49k", "errors<=0"];

    fn verdict(plan: &Plan, results: &Results) -> Verdict {
        let thresholds: Vec<Threshold> = THRESHOLDS.iter().map(|text| text.parse().unwrap()).collect();
        Verdict::of(plan, results, &thresholds)
    }

    #[expect(clippy::print_stdout, reason = "the test harness keeps it back unless it is asked not to")]
    fn show(report: &str) {
        println!("\n{report}");
    }

    /// Also shows it: `cargo test -p fastway-loadgen report::text -- --nocapture --test-threads 1`.
    fn render(plan: &Plan, results: &Results) -> String {
        let verdict = verdict(plan, results);
        show(&text(plan, results, &verdict, true));
        let plain = text(plan, results, &verdict, false);
        for line in plain.lines() {
            assert!(line.chars().count() <= 80, "too long: {line}");
            assert_eq!(line, line.trim_end());
        }
        plain
    }

    #[test]
    fn a_good_run_is_told_in_one_line_and_proved_below() {
        let text = render(&sample::plan(), &sample::results());
        assert_eq!(
            text.lines().next().unwrap(),
            "VALID   50.0k/s target, 49.98k/s achieved (99.96 %)   seed 42   PASS 3/3"
        );
        for part in [
            "sent 3.10M = received 3.10M + lost 0 + open 0",
            "cpu 41 % + 38 %",
            "files 2104/20.0k   ports 1000/28.2k",
            "cpu 1.60 cores   rss 212 MiB",
            "response.p99 < 5ms",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("call "), "a metric without samples has no row");
    }

    #[test]
    fn the_numbers_of_a_row_stand_beneath_their_heads() {
        let text = render(&sample::plan(), &sample::results());
        let table: Vec<&str> = text.lines().skip_while(|line| !line.contains("p99.9")).take(9).collect();
        for line in &table[1..] {
            let cells: Vec<char> = line.chars().collect();
            for column in 1..=PERCENTILES.len() {
                assert_ne!(cells[LABEL + column * CELL - 1], ' ', "{line}");
            }
        }
    }

    #[test]
    fn a_bad_run_says_what_was_wrong_and_what_to_do() {
        let text = render(&sample::plan(), &sample::bad_results());
        assert!(
            text.starts_with("INVALID   50.0k/s target, 47.85k/s achieved (95.70 %)   seed 42   PASS 1/3")
        );
        for part in [
            "stood still for 212 ms",
            "lost 3",
            "corrupt 1",
            "≠",
            "dial refused",
            "censored",
            "- integrity: 3 echoes",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn a_closed_loop_has_no_target() {
        let plan = Plan { load: Load::Closed { inflight: 16 }, ..sample::plan() };
        let mut results = sample::results();
        results.target_rate = None;
        results.threads[0].cpu_ns = results.threads[0].wall_ns;
        let text = render(&plan, &results);
        assert!(
            text.starts_with("VALID   49.98k round trips/s (closed loop, 16 in flight)   seed 42"),
            "{text}"
        );
        assert!(text.contains("generator-bound"));
    }

    #[test]
    fn a_run_that_failed_says_why() {
        let results = Results {
            failure: Some(
                "Nobody listens at 127.0.0.1:7010; start the gateway, or name where it is.".to_owned(),
            ),
            ..Results::default()
        };
        let text = render(&sample::plan(), &results);
        assert!(text.starts_with("FAILED") && text.contains("start the gateway"), "{text}");
    }

    #[test]
    fn servers_alone_say_what_they_served() {
        let plan = Plan { clients: 0, ..sample::plan() };
        let mut results = sample::results();
        results.both_sides = false;
        let text = render(&plan, &results);
        assert!(text.starts_with("VALID   3.10M messages served"), "{text}");
    }
}
