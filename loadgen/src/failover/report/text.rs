//! The report on the terminal: the verdict first, then a table of what failed. No line is longer than 80 columns.

use super::super::failures::{Connects, Failure, Move};
use super::super::plan::{FailoverPlan, Play};
use super::super::record::Record;
use crate::clock::Nanos;
use crate::report::format;
use crate::report::page::{Hue, Page, Piece};
use crate::report::{encrypted, passed, plural, reasons, thresholds, word};
use crate::verdict::Verdict;

/// The report, with the escape sequences of colours if they are wanted.
#[must_use]
pub fn text(
    plan: &FailoverPlan,
    record: &Record,
    failures: &[Failure],
    verdict: &Verdict,
    colours: bool,
) -> String {
    let mut page = Page::new(colours);
    headline(&mut page, plan, record, failures, verdict);
    reasons(&mut page, verdict);
    page.end();
    run(&mut page, plan, record);
    if plan.play != Play::Servers {
        table(&mut page, record, failures);
        thresholds(&mut page, verdict);
    }
    page.finish()
}

fn headline(page: &mut Page, plan: &FailoverPlan, record: &Record, failures: &[Failure], verdict: &Verdict) {
    let mut pieces = vec![word(verdict)];
    if verdict.failure.is_none() && plan.play != Play::Servers {
        let unserved: usize = failures.iter().map(|failure| failure.unserved).sum();
        pieces.push(Piece::plain(match failures.len() {
            0 if record.length_ns == 0 => "nothing was measured".to_owned(),
            0 => "nothing failed".to_owned(),
            1 => "1 failure".to_owned(),
            count => format!("{count} failures"),
        }));
        if unserved > 0 {
            let text = format!("{unserved} virtual connections are without service");
            pieces.push(Piece::new(text, Hue::Bad));
        }
    }
    pieces.extend(passed(verdict));
    page.flow(0, 8, 3, &pieces);
}

fn run(page: &mut Page, plan: &FailoverPlan, record: &Record) {
    let gateways = match plan.resolve {
        Some(_) => format!("gateways of {}", plan.targets[0].target.client_addr),
        None => plural(plan.known().len(), "gateway"),
    };
    let mut who = Vec::new();
    if plan.play != Play::Servers {
        who.push(Piece::plain(format!(
            "{} × {} conns",
            plural(plan.clients, "client"),
            plan.conns_per_client
        )));
    }
    who.push(Piece::plain(plural(plan.servers, "server")));
    who.push(Piece::plain(gateways));
    who.extend(encrypted(&plan.client_tls, &plan.server_tls));
    if plan.play != Play::Servers {
        who.push(Piece::plain(format!("each asks every {}", format::time(plan.pace().as_nanos() as f64))));
    }
    who.push(Piece::plain(format!("for {}", format::moment(record.length_ns))));
    page.row("run", 3, &who);
    if plan.play == Play::Servers {
        return;
    }
    let counts = &record.counts;
    let count = |name: &str, count: u64| Piece::plain(format!("{name} {}", format::count(count)));
    let some = |name: &str, number: u64, hue| {
        Piece::new(format!("{name} {}", format::count(number)), if number > 0 { hue } else { Hue::Plain })
    };
    let what = [
        count("asked", counts.asked),
        count("answered", counts.answered),
        some("lost", counts.lost, Hue::Bad),
        count("open", counts.open),
        some("unsent", counts.unsent, Hue::Warn),
    ];
    page.row("questions", 3, &what);
    let response = &record.response;
    let percentile = |name: &str, percent| {
        Piece::plain(format!("{name} {}", format::time(response.percentile(percent) as f64)))
    };
    if response.count() > 0 {
        page.row(
            "response",
            3,
            &[percentile("p50", 50.0), percentile("p99", 99.0), percentile("max", 100.0)],
        );
        let lag = format!("p99 {}", format::time(record.lag.percentile(99.0) as f64));
        page.row("lag", 3, &[Piece::plain(lag), Piece::new("this tool", Hue::Dim)]);
    }
}

/// A line of numbers for each failure, and beneath it where its clients went.
fn table(page: &mut Page, record: &Record, failures: &[Failure]) {
    if failures.is_empty() {
        return;
    }
    page.end();
    let head = format!(
        "{:>8}  {:<18}{:>5}{:>8}{:>8}{:>8}{:>6}{:>8}{:>9}",
        "at", "", "hit", "p50", "p99", "max", "lost", "unsent", "connects"
    );
    page.put(&head, Hue::Dim);
    page.end();
    for (number, failure) in failures.iter().enumerate() {
        page.put(&format!("{:>8}  ", format::moment(failure.from_ns)), Hue::Dim);
        let name = match failure.mark {
            Some(mark) => record.marks[mark].text.clone(),
            None => format!("failure {}", number + 1),
        };
        page.put(&format!("{:<18}", shortened(&name, 17)), Hue::Bold);
        let time = |percent| match failure.outage.count() {
            0 => "-".to_owned(),
            _ => short_time(failure.outage.percentile(percent)),
        };
        page.put(
            &format!(
                "{:>5}{:>8}{:>8}{:>8}{:>6}{:>8}{:>7}",
                failure.conns,
                time(50.0),
                time(99.0),
                time(100.0),
                format::count(failure.lost),
                format::count(failure.unsent),
                failure.peak_per_s()
            ),
            Hue::Plain,
        );
        page.put("/s", Hue::Dim);
        page.end();
        beneath(page, record, failure);
    }
}

fn beneath(page: &mut Page, record: &Record, failure: &Failure) {
    const INDENT: usize = 10;
    let mut pieces: Vec<_> =
        failure.moves.iter().map(|one| Piece::new(moved(record, one), Hue::Dim)).collect();
    if failure.conns == 0 {
        let all = failure.connects.iter();
        pieces.extend(all.map(|one| Piece::new(moved_in_time(record, one), Hue::Dim)));
    }
    if failure.stalled > 0 {
        pieces.push(Piece::new(format!("{} only waited", failure.stalled), Hue::Dim));
    }
    if failure.unserved > 0 {
        pieces.push(Piece::new(format!("{} did not come back", failure.unserved), Hue::Bad));
    }
    page.put(&" ".repeat(INDENT), Hue::Plain);
    page.flow(INDENT, INDENT, 3, &pieces);
}

fn moved(record: &Record, Move { before, after, conns, .. }: &Move) -> String {
    let name = |gateway: usize| record.gateways[gateway].as_str();
    match after {
        Some(after) if after == before => format!("{}: {conns}", name(*before)),
        Some(after) => format!("{} → {}: {conns}", name(*before), name(*after)),
        None => format!("{} → nowhere: {conns}", name(*before)),
    }
}

fn moved_in_time(record: &Record, Connects { gateway, count, .. }: &Connects) -> String {
    format!("in time → {}: {}", record.gateways[*gateway], plural(*count, "connect"))
}

/// Of one unit in a column, so that rows can be compared.
fn short_time(nanos: Nanos) -> String {
    format!("{:.2} s", nanos as f64 / 1e9)
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::verdict::judge;
    use super::super::sample;
    use super::*;

    #[test]
    fn every_failure_has_a_row() {
        let (plan, record, failures) = (sample::plan(), sample::record(), sample::failures());
        let demands = ["outage.p99<1s".parse().unwrap()];
        let verdict = judge(&plan, &record, &failures, &demands);
        let text = text(&plan, &record, &failures, &verdict, false);
        for words in [
            "VALID   2 failures   1 virtual connections are without service   PASS 0/1",
            "30 clients × 1 conns   4 servers   3 gateways",
            "each asks every 200 ms",
            "asked 4400   answered 4288   lost 100   open 12   unsent 50",
            " 10.00 s  gw1 SIGKILL          10",
            " 20.00 s  gw2 cut off          15",
            "10.0.0.1:7010 → 10.0.0.2:7010: 5",
            "10.0.0.2:7010 → nowhere: 1",
            "1 did not come back",
            "FAIL  outage.p99 < 1s",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn where_everybody_moved_in_time_nobody_was_hit() {
        let (plan, mut record) = (sample::plan(), sample::record());
        record.outages.clear();
        let failures = record.failures(plan.pace(), plan.apart);
        let text = text(&plan, &record, &failures, &judge(&plan, &record, &failures, &[]), false);
        for words in [
            "1 failure",
            " 10.10 s  gw1 SIGKILL           0       -       -       -     0",
            "in time → 10.0.0.3:7010: 19 connects",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_did_not_fail_either() {
        let (plan, record) = (sample::plan(), Record::default());
        let text = text(&plan, &record, &[], &judge(&plan, &record, &[], &[]), false);
        assert!(text.starts_with("INVALID   nothing was measured"), "{text}");
    }

    #[test]
    fn a_long_mark_does_not_move_the_numbers() {
        let (plan, mut record) = (sample::plan(), sample::record());
        record.marks[0].text = "what nobody would write into a column".to_owned();
        let failures = record.failures(plan.pace(), plan.apart);
        let text = text(&plan, &record, &failures, &judge(&plan, &record, &failures, &[]), false);
        assert!(text.contains("what nobody woul…    10"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
