//! What a run has measured: histograms, counters, errors. Each thread has its own; they are added up once an interval.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::clock::{Nanos, SECOND};
use crate::ledger::Ledger;

/// The unit that times are told apart by at least, in ns.
const UNIT: Nanos = 64;

/// The longest time that is told from a longer one: an hour, in ns.
const LONGEST: Nanos = 3600 * SECOND;

/// Times, in ns, with three significant digits.
#[derive(Clone, Debug)]
pub struct Times(pub(crate) Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(UNIT, LONGEST, 3).expect("these bounds make a histogram"))
    }
}

impl Times {
    pub(crate) fn record(&mut self, time: Nanos) {
        self.0.saturating_record(time);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that `percent` of all are not above, in ns; 0 if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Nanos {
        if self.0.is_empty() { 0 } else { self.0.value_at_percentile(percent).min(self.0.max()) }
    }

    /// The longest one, in ns; 0 if there are none.
    #[must_use]
    pub fn max(&self) -> Nanos {
        self.0.max()
    }

    /// The shortest one, in ns; 0 if there are none.
    #[must_use]
    pub fn min(&self) -> Nanos {
        if self.0.is_empty() { 0 } else { self.0.min() }
    }

    /// The mean, in ns; 0 if there are none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }
}

macro_rules! metrics {
    ($($field:ident: $name:literal, $text:literal;)+) => {
        /// Every histogram of a run.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics {
            $(#[doc = $text] pub $field: Times,)+
        }

        /// A histogram by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(non_camel_case_types, reason = "the names are those of the fields, and of the report")]
        pub enum Metric {
            $(#[doc = $text] $field,)+
        }

        impl Metric {
            /// All of them, in the order of a report.
            pub const ALL: &[Self] = &[$(Self::$field,)+];

            /// As a report and a threshold write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }
        }

        impl Metrics {
            /// One of them.
            #[must_use]
            pub const fn get(&self, metric: Metric) -> &Times {
                match metric { $(Metric::$field => &self.$field,)+ }
            }

            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$field.add(&other.$field);)+
            }
        }
    };
}

metrics! {
    response: "response", "From when a message was meant to be sent to its echo. What is unfinished counts at its age.";
    lag: "lag", "Of that: until this tool picked it up. Its own fault.";
    blocked: "blocked", "Of that: until the socket had taken its last byte. The gateway pushing back.";
    wire: "wire", "Of that: the network, the gateway, the kernels.";
    echo: "echo", "Of that: in the hands of this tool's own server.";
    connect: "connect", "From when a link was meant to be made to when it was there.";
    dial: "dial", "From when a virtual connection was meant to be dialled to when it was accepted.";
    first_byte: "first-byte", "From when a link was meant to be made to the first echo over it.";
    call: "call", "From when a server was meant to dial a client to the echo of its first message.";
}

/// Counters of one interval of one thread, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Messages that were due.
    pub due: u64,
    /// Messages that were handed to the network.
    pub sent: u64,
    /// Echoes that came.
    pub received: u64,
    /// Of the messages that were due while it was measured: how many.
    pub measured_due: u64,
    /// And how many of those have their echo.
    pub measured_received: u64,
    /// And how many had none at the end, or when their connection ended: they count with their age.
    pub censored: u64,
    /// Messages that were due, but there was no open virtual connection, or too much was waiting to be written already.
    pub not_sent: u64,
    /// Virtual connections that were dialled by clients.
    pub dials: u64,
    /// Of those, the ones that were refused.
    pub refused: u64,
    /// Virtual connections that were closed to be dialled again.
    pub churned: u64,
    /// Links that were ended to be made again.
    pub reconnected: u64,
    /// Clients that were dialled by servers.
    pub calls: u64,
    /// Bytes that were handed to the network, frames with their headers, of questions and echoes.
    pub bytes_sent: u64,
    /// Errors of every kind.
    pub errors: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            due,
            sent,
            received,
            measured_due,
            measured_received,
            censored,
            not_sent,
            dials,
            refused,
            churned,
            reconnected,
            calls,
            bytes_sent,
            errors,
        } = self;
        *due += other.due;
        *sent += other.sent;
        *received += other.received;
        *measured_due += other.measured_due;
        *measured_received += other.measured_received;
        *censored += other.censored;
        *not_sent += other.not_sent;
        *dials += other.dials;
        *refused += other.refused;
        *churned += other.churned;
        *reconnected += other.reconnected;
        *calls += other.calls;
        *bytes_sent += other.bytes_sent;
        *errors += other.errors;
    }
}

/// One thread's interval, or the same interval of all threads.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Its place, from 0, counted from when messages began to be sent.
    pub index: u64,
    /// Its beginning and its end, in ns since the run began.
    pub from_ns: Nanos,
    /// See `from_ns`.
    pub to_ns: Nanos,
    /// What was measured in it; nothing while warming up.
    pub metrics: Metrics,
    /// What was counted in it, warm-up included.
    pub tally: Tally,
    /// Links that are there at its end.
    pub open_links: u64,
    /// Virtual connections of clients that are open at its end.
    pub open_conns: u64,
}

impl Interval {
    pub(crate) fn add(&mut self, other: &Self) {
        self.to_ns = self.to_ns.max(other.to_ns);
        self.metrics.add(&other.metrics);
        self.tally.add(&other.tally);
        self.open_links += other.open_links;
        self.open_conns += other.open_conns;
    }
}

/// What went wrong, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Nobody listens there.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// The network could not connect, for another reason.
    ConnectFailed,
    /// The gateway ended a server's link right after the handshake.
    TurnedAway,
    /// The gateway refused a dial.
    DialRefused,
    /// A dial was not answered in time.
    DialTimeout,
    /// The gateway closed a link.
    LinkClosed,
    /// A link failed.
    LinkFailed,
    /// The gateway was silent for too long.
    Silent,
    /// The gateway said what no gateway may say.
    Malformed,
    /// A virtual connection was closed, and not by this tool.
    ConnClosed,
    /// Nothing was sent, although it was due.
    NotSent,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::ConnectTimeout => "connect timeout",
            Self::ConnectFailed => "connect failed",
            Self::TurnedAway => "server turned away",
            Self::DialRefused => "dial refused",
            Self::DialTimeout => "dial timeout",
            Self::LinkClosed => "link closed by gateway",
            Self::LinkFailed => "link failed",
            Self::Silent => "gateway silent",
            Self::Malformed => "malformed frame",
            Self::ConnClosed => "virtual connection closed",
            Self::NotSent => "message not sent",
        })
    }
}

/// When something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before all links and virtual connections were there.
    Setup,
    /// Before the measurement.
    WarmUp,
    /// During it.
    Measured,
    /// After the last message was due.
    Closing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "set-up",
            Self::WarmUp => "warm-up",
            Self::Measured => "measured",
            Self::Closing => "closing",
        })
    }
}

/// All errors of one kind in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorGroup {
    /// How many.
    pub count: u64,
    /// The first one, in ns since the run began.
    pub first_ns: Nanos,
    /// The last one, in ns since the run began.
    pub last_ns: Nanos,
    /// The first one in words.
    pub example: String,
}

/// Errors by kind and phase.
#[derive(Clone, Debug, Default)]
pub struct Errors(pub BTreeMap<(ErrorKind, Phase), ErrorGroup>);

impl Errors {
    pub(crate) fn note(&mut self, kind: ErrorKind, phase: Phase, at: Nanos, text: impl FnOnce() -> String) {
        self.0
            .entry((kind, phase))
            .and_modify(|group| {
                group.count += 1;
                group.last_ns = at;
            })
            .or_insert_with(|| ErrorGroup { count: 1, first_ns: at, last_ns: at, example: text() });
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (key, more) in &other.0 {
            self.0
                .entry(*key)
                .and_modify(|group| {
                    group.count += more.count;
                    if more.first_ns < group.first_ns {
                        group.first_ns = more.first_ns;
                        group.example.clone_from(&more.example);
                    }
                    group.last_ns = group.last_ns.max(more.last_ns);
                })
                .or_insert_with(|| more.clone());
        }
    }

    /// How many there were of one kind.
    #[must_use]
    pub fn count(&self, kind: ErrorKind) -> u64 {
        self.0.iter().filter(|((of_kind, _), _)| *of_kind == kind).map(|(_, group)| group.count).sum()
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|group| group.count).sum()
    }
}

impl Serialize for Errors {
    /// A list, since a key of two parts is no JSON key.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            kind: ErrorKind,
            phase: Phase,
            #[serde(flatten)]
            group: &'a ErrorGroup,
        }
        serializer.collect_seq(self.0.iter().map(|((kind, phase), group)| Row {
            kind: *kind,
            phase: *phase,
            group,
        }))
    }
}

/// What one thread of this tool did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ThreadUse {
    /// CPU time while it was measured, in ns.
    pub cpu_ns: Nanos,
    /// How long that was, in ns.
    pub wall_ns: Nanos,
    /// The most that an alarm of it came too late, in ns: for so long the thread stood still.
    pub stood_still_ns: Nanos,
}

impl ThreadUse {
    /// The share of a core that it kept busy, 0 to 1.
    #[must_use]
    pub fn busy(&self) -> f64 {
        if self.wall_ns == 0 { 0.0 } else { self.cpu_ns as f64 / self.wall_ns as f64 }
    }
}

/// What the gateway's process used while it was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TargetUse {
    /// Its process.
    pub pid: i32,
    /// CPU time of all its threads, in ns.
    pub cpu_ns: Nanos,
    /// How long that was, in ns: from the first look to the last, at the ends of what was measured.
    pub wall_ns: Nanos,
    /// Cores, on average.
    pub cpu_cores: f64,
    /// Its resident memory at the end, in bytes.
    pub rss_bytes: u64,
}

/// Everything that a run has measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// All intervals added up.
    pub metrics: Metrics,
    /// All intervals added up.
    pub tally: Tally,
    /// From the first message that was measured to the end of the last, in ns since the run began.
    pub measured_from_ns: Nanos,
    /// See `measured_from_ns`.
    pub measured_to_ns: Nanos,
    /// Messages a second that were asked for, on average; `None` in a closed loop.
    pub target_rate: Option<f64>,
    /// Questions, from who opened the virtual connection; seen by who was dialled.
    pub there: Ledger,
    /// Echoes.
    pub back: Ledger,
    /// Whether both ends of every virtual connection were in this process, so that `there` is complete.
    pub both_sides: bool,
    /// What went wrong.
    pub errors: Errors,
    /// This tool's threads.
    pub threads: Vec<ThreadUse>,
    /// The gateway's process, if it was asked for.
    pub target: Option<TargetUse>,
    /// It was ended by a signal.
    pub interrupted: Option<i32>,
    /// Why it could not go on, if it could not.
    pub failure: Option<String>,
    /// This process's resident memory when the last message was due, in bytes.
    pub rss_bytes: u64,
    /// Open files of this process at the most, and how many it may have.
    pub files: (u64, u64),
    /// The most connections from one source address to one port, and how many there can be.
    pub ports: (u64, u64),
}

impl Results {
    /// How long was measured, in s.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.measured_to_ns.saturating_sub(self.measured_from_ns) as f64 / SECOND as f64
    }

    /// Round trips a second: messages that were due while it was measured, and have their echo.
    #[must_use]
    pub fn achieved_rate(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { self.tally.measured_received as f64 / seconds } else { 0.0 }
    }

    /// The share of the messages that were due and came back, 0 to 1; `None` in a closed loop.
    #[must_use]
    pub fn achieved_share(&self) -> Option<f64> {
        self.target_rate?;
        let due = self.tally.measured_due;
        Some(if due == 0 { 0.0 } else { self.tally.measured_received as f64 / due as f64 })
    }
}
