//! What is judged in the end, and by which bounds.

use std::time::Duration;

use crate::samples::{Samples, mean_rss, rss_slope};
use crate::text::significant;

/// By so much memory may have grown: the line through its second half in all, or its level.
const GROWTH_BYTES: f64 = 1024.0 * 1024.0;

/// What waits for slow servers and clients comes and goes, by a few megabytes within ten seconds or so. What that does to a line
/// or a mean falls with the square root of the time: so many bytes after a second.
const NOISE_BYTES: f64 = 48.0 * 1024.0 * 1024.0;

/// The first minute is for warming up; of a short run, it is a quarter.
const WARM_UP: Duration = Duration::from_secs(60);

const MIB: f64 = 1024.0 * 1024.0;

/// One check.
#[derive(Debug)]
struct Check {
    name: &'static str,
    text: String,
    passed: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Verdict(Vec<Check>);

impl Verdict {
    /// Judges; `found` is what those who were there have found.
    pub(crate) fn of(samples: &Samples, found: &anyhow::Result<()>) -> Self {
        if let Err(failure) = found {
            // Not everybody has left then, and what there is says nothing.
            return Self(vec![Check::new("messages", format!("{failure:#}"), false)]);
        }
        let mut checks = vec![Check::new("messages", "none was lost or wrong", true)];
        if let Some(last) = samples.last {
            let left = format!(
                "{} sessions, {} virtual connections, {} buffered bytes are left",
                last.sessions, last.conns, last.buffered_bytes
            );
            let nothing = last.sessions + last.conns + last.buffered_bytes == 0;
            checks.push(Check::new("left behind", left, nothing));
            let files = format!("{} are open, {} at the beginning", last.files, samples.first.files);
            checks.push(Check::new("files", files, last.files <= samples.first.files));
        }
        checks.extend([slope(samples), level(samples)]);
        Self(checks)
    }

    /// Prints each. Whether all are passed.
    pub(crate) fn print(&self) -> bool {
        println!();
        for Check { name, text, passed } in &self.0 {
            let mark = if *passed { "✓" } else { "failed" };
            println!("{name:12} {text}  {mark}");
        }
        self.0.iter().all(|check| check.passed)
    }
}

impl Check {
    fn new(name: &'static str, text: impl Into<String>, passed: bool) -> Self {
        Self { name, text: text.into(), passed }
    }
}

/// What is growth and what is noise, in so much time.
fn growth_in(seconds: f64) -> f64 {
    GROWTH_BYTES + NOISE_BYTES / seconds.max(1.0).sqrt()
}

fn slope(samples: &Samples) -> Check {
    let half = samples.between(0.5, 1.0);
    let seconds =
        half.last().zip(half.first()).map_or(0.0, |(last, first)| (last.at - first.at).as_secs_f64());
    let per_minute = rss_slope(half) * 60.0 / 1024.0;
    let rise = growth_in(seconds);
    let bound = rise / seconds.max(1.0) * 60.0 / 1024.0;
    let text = format!(
        "it changes by {} KiB/min over the second half; up to {} KiB/min is noise, {:.1} MiB in that time",
        significant(per_minute),
        significant(bound),
        rise / MIB
    );
    Check::new("memory", text, per_minute <= bound)
}

fn level(samples: &Samples) -> Check {
    let whole = samples.all.last().map_or(Duration::ZERO, |sample| sample.at);
    let tenth = whole / 10;
    let early = mean_rss(samples.since(WARM_UP.min(whole / 4), tenth));
    let late = mean_rss(samples.between(0.9, 1.0));
    let last = samples.last.map_or(f64::NAN, |sample| sample.rss_bytes);
    let bound = early + growth_in(tenth.as_secs_f64());
    let text = format!(
        "{:.1} MiB after warming up, {:.1} MiB at the end, {:.1} MiB when everybody had left; up to {:.1} MiB is noise",
        early / MIB,
        late / MIB,
        last / MIB,
        bound / MIB
    );
    Check::new("memory", text, late <= bound && last <= bound)
}
