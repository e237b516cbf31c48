//! What can be watched while a run goes on: one line on stderr. Nothing at all if stderr is no terminal, or quiet was asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::SECOND;
use crate::report::format;
use crate::stats::Interval;

/// The line.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
    /// How long messages will be sent, warm-up included, if that is known.
    total: Option<Duration>,
    /// Whether messages are being sent.
    running: AtomicBool,
    /// Errors until now.
    errors: AtomicU64,
}

impl Live {
    /// A line that is still empty. `total` is how long messages will be sent, warm-up included, if that is known.
    #[must_use]
    pub fn new(quiet: bool, total: Option<Duration>) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {wide_msg}"));
        Self { bar, total, running: AtomicBool::new(false), errors: AtomicU64::new(0) }
    }

    /// Says what is done before, or after, messages are sent, such as `connecting 320/1000`.
    pub fn stage(&self, text: impl Into<String>) {
        if self.running.swap(false, Ordering::Relaxed) {
            self.bar.set_style(style("{spinner} {wide_msg}"));
        }
        self.bar.set_message(text.into());
        self.bar.tick();
    }

    /// Says what was measured last; `elapsed` is how long messages have been sent.
    pub fn interval(&self, elapsed: Duration, interval: &Interval) {
        let errors = interval.tally.errors;
        let errors = self.errors.fetch_add(errors, Ordering::Relaxed) + errors;
        if !self.running.swap(true, Ordering::Relaxed) {
            self.bar.set_style(style(match self.total {
                Some(_) => "{bar:12.green} {wide_msg}",
                None => "{spinner} {wide_msg}",
            }));
        }
        if let Some(total) = self.total {
            self.bar.set_length(millis(total));
            self.bar.set_position(millis(elapsed.min(total)));
        }
        self.bar.set_message(line(elapsed, self.total, interval, errors));
        self.bar.tick();
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━╌")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn line(elapsed: Duration, total: Option<Duration>, interval: &Interval, errors: u64) -> String {
    let length = interval.to_ns.saturating_sub(interval.from_ns).max(1) as f64 / SECOND as f64;
    let rate = format::rate(interval.tally.received as f64 / length);
    let response = &interval.metrics.response;
    let time = match total {
        Some(total) => format!("{:.0}/{:.0} s", elapsed.as_secs_f64(), total.as_secs_f64()),
        None => format!("{:.0} s", elapsed.as_secs_f64()),
    };
    let measured = if response.count() == 0 {
        "warm-up".to_owned()
    } else {
        let percentile = |percent| format::time(response.percentile(percent) as f64);
        format!("p50 {}  p99 {}", percentile(50.0), percentile(99.0))
    };
    format!(
        "{time}  {rate}/s  {measured}  errors {}  conns {}",
        format::count(errors),
        format::count(interval.open_conns)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Tally;

    #[test]
    fn the_line_says_how_it_goes_and_fits() {
        let mut interval = Interval {
            to_ns: SECOND,
            open_conns: 40_000,
            tally: Tally { received: 49_980, errors: 3, ..Tally::default() },
            ..Interval::default()
        };
        let total = Some(Duration::from_secs(300));
        let text = line(Duration::from_secs(7), total, &interval, 5);
        assert_eq!(text, "7/300 s  49.98k/s  warm-up  errors 5  conns 40.0k");
        interval.metrics.response.record(310_000);
        let text = line(Duration::from_secs(7), total, &interval, 12_345);
        assert_eq!(text, "7/300 s  49.98k/s  p50 310 µs  p99 310 µs  errors 12.3k  conns 40.0k");
        assert!(text.chars().count() + 13 <= 85);
        assert_eq!(line(Duration::from_secs(7), None, &interval, 0).split("  ").next(), Some("7 s"));
    }

    #[test]
    fn errors_are_added_up_over_intervals_and_stages() {
        let live = Live::new(true, Some(Duration::from_secs(2)));
        live.stage("connecting 1/2");
        let interval = Interval { tally: Tally { errors: 3, ..Tally::default() }, ..Interval::default() };
        live.interval(Duration::from_secs(1), &interval);
        live.interval(Duration::from_secs(3), &interval);
        assert_eq!((live.errors.load(Ordering::Relaxed), live.bar.position()), (6, 2000));
        live.stage("closing");
        live.finish();
    }

    #[test]
    fn every_template_is_one() {
        for template in ["{spinner} {wide_msg}", "{bar:12.green} {wide_msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
