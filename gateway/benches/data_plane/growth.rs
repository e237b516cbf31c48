//! What those that are used pay for those that are not: the same few busy clients beside more and more idle connections.

use anyhow::Context as _;

use crate::crowd::CrowdProcess;
use crate::options::Options;
use crate::pair::Pair;
use crate::report::{Growth, Point, Report};
use crate::series::in_turn;
use crate::text::grouped;
use crate::work::Work;

/// Who is busy.
const BUSY: Work = Work { clients: 10, inflight: 1, bytes: 64 };

/// Connected clients in all, the busy ones among them.
const CLIENTS: [usize; 4] = [10, 100, 1000, 10_000];

/// Idle virtual connections, of idle clients.
const CONNS: [usize; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// So many clients hold them, and each may hold its share.
const HOLDERS: usize = 10;
const MAX_CONN: &str = "10000";

/// The names of the results.
pub(crate) const NAMES: [&str; 2] = ["growth with connected clients", "growth with virtual connections"];

/// Measures those that are wanted.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let [clients, conns] = NAMES;
    if options.wants(clients) {
        let points = CLIENTS.map(|count| (count, (count - BUSY.clients, 0)));
        let growth = grow(options, report, clients, "connected clients", &points)?;
        report.add_growth(growth);
    }
    if options.wants(conns) {
        let points = CONNS.map(|count| (count, (count.min(HOLDERS), count)));
        let growth = grow(options, report, conns, "idle virtual connections", &points)?;
        report.add_growth(growth);
    }
    Ok(())
}

/// `points`: what is told, and the clients and virtual connections of the crowd.
fn grow(
    options: &Options,
    report: &Report,
    name: &'static str,
    axis: &'static str,
    points: &[(usize, (usize, usize))],
) -> anyhow::Result<Growth> {
    let mut measured = Vec::new();
    for (count, (clients, conns)) in points {
        let what = format!("{} {axis}", grouped(*count as u64));
        report.bar.set_message(what.clone());
        measured.push(point(options, report, *count, *clients, *conns).context(what)?);
    }
    Ok(Growth { name, axis, unit: "µs of CPU for each round trip", points: measured })
}

fn point(
    options: &Options,
    report: &Report,
    count: usize,
    clients: usize,
    conns: usize,
) -> anyhow::Result<Point> {
    let pair = Pair::start(options, &["--threads", "1", "--client-max-conn", MAX_CONN])?;
    report.bar.set_prefix("connecting");
    let mut crowds = Vec::new();
    if clients > 0 {
        for served in [&pair.floor, &pair.gateway] {
            crowds.push(CrowdProcess::start(served, clients, conns)?);
        }
    }
    let measure = |served: &_| BUSY.cpu_per_round_trip(options, served);
    let compared = in_turn(options.rounds(), &report.bar, &pair, measure)?;
    crowds.into_iter().try_for_each(CrowdProcess::finish)?;
    Ok(Point { count, compared })
}
