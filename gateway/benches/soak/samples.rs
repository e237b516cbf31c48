//! The gateway over time, seen from outside, and how it counts itself.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::child::GatewayProcess;
use crate::files::open_files;
use crate::process::rss_bytes;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the first one.
    pub(crate) at: Duration,
    pub(crate) rss_bytes: f64,
    pub(crate) files: usize,
    pub(crate) sessions: usize,
    pub(crate) conns: usize,
    pub(crate) buffered_bytes: usize,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Samples {
    start: Instant,
    /// Before anybody came.
    pub(crate) first: Sample,
    /// While they were there.
    pub(crate) all: Vec<Sample>,
    /// When everybody has left.
    pub(crate) last: Option<Sample>,
}

impl Samples {
    /// Takes the first one: nobody is there, but everybody could come.
    pub(crate) fn start(gateway: &mut GatewayProcess) -> anyhow::Result<Self> {
        let first = Sample::of(gateway, Duration::ZERO)?;
        Ok(Self { start: Instant::now(), first, all: Vec::new(), last: None })
    }

    /// Since the first one.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// One more.
    pub(crate) fn take(&mut self, gateway: &mut GatewayProcess) -> anyhow::Result<Sample> {
        let sample = Sample::of(gateway, self.age())?;
        self.all.push(sample);
        Ok(sample)
    }

    /// Those of a part of the time: both are shares of the whole.
    pub(crate) fn between(&self, from: f64, to: f64) -> &[Sample] {
        let place = |share: f64| (self.all.len() as f64 * share) as usize;
        &self.all[place(from)..place(to)]
    }

    /// Those from one time to another.
    pub(crate) fn since(&self, from: Duration, time: Duration) -> &[Sample] {
        let place = |at| self.all.partition_point(|sample| sample.at < at);
        &self.all[place(from)..place(from + time)]
    }
}

impl Sample {
    pub(crate) fn of(gateway: &mut GatewayProcess, at: Duration) -> anyhow::Result<Self> {
        let counts = gateway.counts()?;
        Ok(Self {
            at,
            rss_bytes: rss_bytes(gateway.pid())?,
            files: open_files(gateway.pid())?,
            sessions: counts.clients + counts.servers,
            conns: counts.conns,
            buffered_bytes: counts.buffered_bytes,
        })
    }

    /// Whether nothing is there that was not there at the time of the other.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let things = |sample: &Self| [sample.files, sample.sessions, sample.conns, sample.buffered_bytes];
        things(self).iter().zip(things(other)).all(|(this, other)| *this <= other)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = humantime::format_duration(Duration::from_secs(self.at.as_secs()));
        let Self { files, sessions, conns, .. } = self;
        let (rss, buffered) = (self.rss_bytes / 1024.0 / 1024.0, self.buffered_bytes / 1024);
        write!(
            f,
            "{at}: {rss:.1} MiB, {files} files, {sessions} sessions, {conns} connections, {buffered} KiB buffered"
        )
    }
}

/// The mean memory, in bytes.
pub(crate) fn mean_rss(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.rss_bytes).sum::<f64>() / samples.len().max(1) as f64
}

/// By how much memory grows, in bytes a second: the slope of the line that fits best (least squares).
pub(crate) fn rss_slope(samples: &[Sample]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean_at = samples.iter().map(|sample| sample.at.as_secs_f64()).sum::<f64>() / count;
    let mean_rss = mean_rss(samples);
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        let at = sample.at.as_secs_f64() - mean_at;
        above += at * (sample.rss_bytes - mean_rss);
        below += at * at;
    }
    if below > 0.0 { above / below } else { 0.0 }
}
