//! What can be watched while it goes on: one line on stderr, if that is a terminal and nobody asked for quiet.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::book::Glance;
use crate::report::format;

/// The line.
#[derive(Debug)]
pub(super) struct Live {
    bar: ProgressBar,
    total: Option<Duration>,
    before: Glance,
}

impl Live {
    pub(super) fn new(quiet: bool, total: Option<Duration>) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar, total, before: Glance::default() }
    }

    /// What is being done before everybody talks, and after.
    pub(super) fn stage(&self, text: String) {
        self.bar.set_message(text);
        self.bar.tick();
    }

    /// How it goes.
    pub(super) fn show(&mut self, glance: Glance) {
        let passed = (glance.elapsed - self.before.elapsed).as_secs_f64();
        // By the second: what changes ten times a second cannot be read.
        if passed < 1.0 {
            return;
        }
        let rate = (glance.answered - self.before.answered) as f64 / passed;
        self.bar.set_message(line(&glance, self.total, rate));
        self.bar.tick();
        self.before = glance;
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(glance: &Glance, total: Option<Duration>, rate: f64) -> String {
    let elapsed = glance.elapsed.as_secs_f64();
    let time = match total {
        Some(total) => format!("{elapsed:.0}/{:.0} s", total.as_secs_f64()),
        None => format!("{elapsed:.0} s"),
    };
    format!(
        "{time}  {} answers/s  without service {}  outages {}  lost {}",
        format::rate(rate),
        glance.without_service,
        glance.outages,
        format::count(glance.lost)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_it_goes() {
        let glance = Glance {
            elapsed: Duration::from_secs(12),
            without_service: 333,
            outages: 7,
            lost: 41,
            ..Glance::default()
        };
        let text = line(&glance, Some(Duration::from_secs(60)), 4980.0);
        assert_eq!(text, "12/60 s  4.98k answers/s  without service 333  outages 7  lost 41");
        assert!(line(&glance, None, 0.0).starts_with("12 s  0 answers/s"));
    }
}
