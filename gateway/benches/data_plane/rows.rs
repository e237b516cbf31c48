//! What is measured against the floor, and what is wanted of it.

use indicatif::ProgressBar;

use crate::options::Options;
use crate::pair::Pair;
use crate::report::Line;
use crate::series::in_turn;
use crate::text::grouped;
use crate::work::Work;
use crate::{dials, growth, idle};

/// A percentile needs so many times the rounds of other values: whatever else the machine does for a few milliseconds is in it.
const P99_ROUNDS: u32 = 3;

/// One comparison.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Threads of the gateway; the floor has one.
    threads: &'static str,
    kind: Kind,
    /// The gateway's value through the floor's, at most.
    wanted: f64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// CPU time for each round trip, in a closed loop.
    RoundTrip(Work),
    /// CPU time for each dial with its close, of so many clients.
    Dial(usize),
    /// The 99th percentile at half the rate that the floor makes of this work.
    P99(Work),
}

/// All of them, in the order of the report.
pub(crate) fn all() -> Vec<Row> {
    let row = |clients, inflight, bytes, threads, wanted| {
        let size = if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) };
        let more = if threads == "1" { String::new() } else { format!(", {threads} threads") };
        let name = format!("{} clients × {inflight}, {size}{more}", grouped(clients as u64));
        Row { name, threads, kind: Kind::RoundTrip(Work { clients, inflight, bytes }), wanted }
    };
    // Messages at random times come one by one: with more in flight, the floor's rate would be that of whole batches, which
    // nobody reaches with single messages.
    let one_by_one = Work { clients: 100, inflight: 1, bytes: 64 };
    vec![
        row(100, 1, 64, "1", 1.15),
        row(100, 16, 64, "1", 1.25),
        row(1000, 1, 64, "1", 1.10),
        row(100, 1, 1024, "1", 1.15),
        row(100, 16, 1024, "1", 1.25),
        row(100, 1, 64, "2", 1.40),
        row(1000, 1, 64, "2", 1.40),
        row(20, 2, 65_536, "1", 1.3),
        Row { name: "dial + close, 50 clients".to_owned(), threads: "1", kind: Kind::Dial(50), wanted: 1.3 },
        Row {
            name: "p99 round trip, half the rate".to_owned(),
            threads: "1",
            kind: Kind::P99(one_by_one),
            wanted: 1.3,
        },
    ]
}

/// The names of everything that can be measured.
pub(crate) fn names() -> Vec<String> {
    let others = idle::NAMES.iter().chain(&growth::NAMES).map(|name| (*name).to_owned());
    all().into_iter().map(|row| row.name).chain(others).collect()
}

impl Row {
    /// Whether it is quickly done, and means something then: a percentile of a short time does not.
    pub(crate) fn is_brief(&self) -> bool {
        !matches!(self.kind, Kind::P99(_))
    }

    /// Measures it.
    pub(crate) fn measure(&self, options: &Options, bar: &ProgressBar) -> anyhow::Result<Line> {
        bar.set_message(self.name.clone());
        self.try_measure(options, bar).map_err(|error| error.context(self.name.clone()))
    }

    fn try_measure(&self, options: &Options, bar: &ProgressBar) -> anyhow::Result<Line> {
        let pair = Pair::start(options, &["--threads", self.threads])?;
        let (rounds, mut rate) = (options.rounds(), None);
        let (unit, compared) = match self.kind {
            Kind::RoundTrip(work) => {
                let measure = |served: &_| work.cpu_per_round_trip(options, served);
                ("µs of CPU for each round trip", in_turn(rounds, bar, &pair, measure)?)
            }
            Kind::Dial(clients) => {
                let measure = |served: &_| dials::cpu_per_cycle(options, served, clients);
                ("µs of CPU for each dial with its close", in_turn(rounds, bar, &pair, measure)?)
            }
            Kind::P99(work) => {
                bar.set_prefix("the floor's rate");
                let half = work.rate(options, &pair.floor)? / 2.0;
                rate = Some(half);
                let measure = |served: &_| work.p99_at(half, options, served);
                ("µs", in_turn(P99_ROUNDS * rounds, bar, &pair, measure)?)
            }
        };
        Ok(Line::new(self.name.clone(), unit, compared, self.wanted, rate))
    }
}
