//! The metrics, for Prometheus: in OpenMetrics where that is asked for, or else in Prometheus' own older format.
//!
//! Every one of them is in `docs/metrics.md`, with the same words. Nothing is counted here: what others count is looked at when it is asked for, and
//! each kind of refusal and end is there from the beginning, at 0, so that nobody has to guess which there are.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use fastway::id::Side;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::process::Usage;
use super::routes::App;
use super::sessions::side_name;
use super::survey::Survey;
use crate::config::Config;
use crate::expiry::acceptors;
use crate::groups::ServerGroup;
use crate::refusal::Refusal;
use crate::stats::{Ended, Histogram, Totals};

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const SIDES: [Side; 2] = [Side::Client, Side::Server];

pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics::of(&app)));
    let accepts = headers.get_all(header::ACCEPT);
    let is_open =
        accepts.iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(OPEN_METRICS)));
    let mut out = String::new();
    let (content_type, written) = if is_open {
        (OPEN_METRICS_TYPE, text::encode(&mut out, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut out, &registry))
    };
    written.expect("a string takes everything");
    ([(header::CONTENT_TYPE, content_type)], out).into_response()
}

/// All metrics at one moment.
#[derive(Debug)]
struct Metrics(Vec<Metric>);

/// One metric with its values.
#[derive(Debug)]
struct Metric {
    /// Without the unit, and without `_total`.
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    values: Values,
}

type Labels = Vec<(&'static str, Cow<'static, str>)>;

#[derive(Debug)]
enum Values {
    Counter(Vec<(Labels, u64)>),
    /// A counter of seconds.
    Seconds(f64),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, Histogram)>),
    Info(Labels),
}
use Values::{Counter, Gauge, Info, Seconds};

impl Metrics {
    fn of(app: &App) -> Self {
        let mut metrics = Self(Vec::new());
        metrics.gateway(app);
        metrics.sessions(&app.gateway.totals(), app);
        metrics.groups(app);
        metrics.queues(&app.surveys.recent(&app.gateway), app);
        if let Some(usage) = app.process.usage() {
            metrics.process(&usage);
        }
        metrics
    }

    fn add(&mut self, name: &'static str, help: &'static str, values: Values) {
        self.0.push(Metric { name, unit: None, help, values });
    }

    fn add_in(&mut self, unit: Unit, name: &'static str, help: &'static str, values: Values) {
        self.0.push(Metric { name, unit: Some(unit), help, values });
    }
}

fn one(value: impl Into<f64>) -> Values {
    Gauge(vec![(Labels::new(), value.into())])
}

fn seconds_since_1970(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn by_side<T>(value: impl Fn(Side) -> T) -> Vec<(Labels, T)> {
    SIDES.map(|side| (vec![("side", side_name(side).into())], value(side))).into()
}

impl Metrics {
    fn gateway(&mut self, app: &App) {
        let version = env!("CARGO_PKG_VERSION");
        self.add("fastway_build", "The version of the gateway", Info(vec![("version", version.into())]));
        let is_ready = app.not_ready().is_none();
        self.add("fastway_ready", "1 while clients should be sent here, as GET /ready says", one(is_ready));
        self.add(
            "fastway_draining",
            "1 since no new clients are taken, so that those who are there can finish",
            one(app.gateway.is_draining()),
        );
        let threads = app.gateway.config().threads.get();
        self.add("fastway_threads", "Threads that serve sessions", one(threads as u32));
        self.certificates(&app.gateway.config());
    }

    /// Without TLS it has no values, and is not there.
    fn certificates(&mut self, config: &Config) {
        let expirations: Vec<_> = acceptors(config)
            .map(|(side, tls)| {
                (vec![("side", side_name(side).into())], seconds_since_1970(*tls.validity().end()))
            })
            .collect();
        if !expirations.is_empty() {
            self.add_in(
                Unit::Seconds,
                "fastway_tls_certificate_expiration_timestamp",
                "When the certificate that is shown on this port expires, or the first of those that lead to its CA, in seconds since \
                 1970",
                Gauge(expirations),
            );
        }
    }

    fn sessions(&mut self, totals: &Totals, app: &App) {
        let counts = app.gateway.numbers();
        let registered = |side| match side {
            Side::Client => counts.clients as f64,
            Side::Server => counts.servers as f64,
        };
        self.add("fastway_sessions", "Physical connections that are registered", Gauge(by_side(registered)));
        self.add(
            "fastway_sessions_started",
            "Physical connections that were registered",
            Counter(by_side(|side| totals.side(side).begun)),
        );
        let ended = SIDES.into_iter().flat_map(|side| {
            let labels =
                move |ended: Ended| vec![("side", side_name(side).into()), ("reason", ended.name().into())];
            Ended::ALL.map(|ended| (labels(ended), totals.side(side).ended(ended)))
        });
        self.add(
            "fastway_sessions_ended",
            "Physical connections that ended, by what ended them: slow_client for slow clients, stalled for stalled servers",
            Counter(ended.collect()),
        );
        self.add_in(
            Unit::Seconds,
            "fastway_session_duration",
            "How long sessions that have ended had lasted",
            Values::Histogram(vec![(Labels::new(), totals.session_life.clone())]),
        );
        self.add(
            "fastway_virtual_connections",
            "Virtual connections that are open, or not yet forgotten by both sides",
            one(counts.conns as f64),
        );
        self.add(
            "fastway_virtual_connections_opened",
            "Virtual connections that were opened, by who dialled",
            Counter(by_side(|side| totals.side(side).opened)),
        );
        self.traffic(totals);
        self.refusals(totals);
    }

    /// Only where there are any.
    fn groups(&mut self, app: &App) {
        let groups = app.gateway.groups();
        if groups.is_empty() {
            return;
        }
        let label = |group: &ServerGroup| vec![("group", group.id().to_string().into())];
        let members = groups.iter().map(|(group, members)| (label(group), *members as f64));
        self.add(
            "fastway_server_group_members",
            "Servers of each group that are registered; at 0, each dial of the group is refused",
            Gauge(members.collect()),
        );
    }

    fn traffic(&mut self, totals: &Totals) {
        self.add(
            "fastway_received_messages",
            "Messages of virtual connections that came from clients or from servers",
            Counter(by_side(|side| totals.side(side).received.messages)),
        );
        self.add(
            "fastway_sent_messages",
            "Messages of virtual connections that were sent to clients or to servers",
            Counter(by_side(|side| totals.side(side).sent.messages)),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_received",
            "Everything that came from clients or from servers, commands and frame headers too",
            Counter(by_side(|side| totals.side(side).received.bytes)),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_sent",
            "Everything that was sent to clients or to servers, commands and frame headers too",
            Counter(by_side(|side| totals.side(side).sent.bytes)),
        );
        self.add_in(
            Unit::Seconds,
            "fastway_forwarding_delay",
            "From where a message is read to where the kernel has taken it: of a sample, without those for whose receivers the \
             kernel takes nothing",
            Values::Histogram(vec![(Labels::new(), totals.forwarding_delay.clone())]),
        );
    }

    fn refusals(&mut self, totals: &Totals) {
        let refused = Refusal::ALL.map(|kind| (vec![("reason", kind.name().into())], totals.refusals(kind)));
        self.add(
            "fastway_refusals",
            "Clients, servers and dials that were refused, and peers that were cut off, by the limit they ran into",
            Counter(refused.into()),
        );
    }

    fn queues(&mut self, survey: &Survey, app: &App) {
        let gauge =
            |value: fn(&super::survey::Sums) -> usize| Gauge(by_side(|side| value(&survey.of(side)) as f64));
        self.add(
            "fastway_queued_messages",
            "Frames that wait to be sent to clients or to servers",
            gauge(|sums| sums.queued_messages),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_queued",
            "Bytes that wait to be sent to clients or to servers",
            gauge(|sums| sums.queued_bytes),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_longest_queue",
            "What waits for the one client, or server, for which the most waits",
            gauge(|sums| sums.longest_queue_bytes),
        );
        let limits = app.queue_limit_bytes();
        self.add_in(
            Unit::Bytes,
            "fastway_queue_limit",
            "What may wait for one client or server",
            Gauge(by_side(|side| limits.of(side) as f64)),
        );
        self.add(
            "fastway_blocked_sessions",
            "Clients and servers that are slow at this moment: their sockets take nothing, though something waits",
            gauge(|sums| sums.blocked),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_buffered",
            "What waits in the whole gateway: in queues, and as frames that have not arrived as a whole",
            one(app.gateway.numbers().buffered_bytes as f64),
        );
        self.add_in(
            Unit::Bytes,
            "fastway_buffered_limit",
            "What may wait in the whole gateway, as --max-buffered-bytes says; +Inf for no limit",
            one(match app.gateway.config().max_buffered_bytes {
                0 => f64::INFINITY,
                limit => limit as f64,
            }),
        );
    }

    /// By the names that Prometheus' own libraries have for these.
    fn process(&mut self, usage: &Usage) {
        self.add_in(
            Unit::Seconds,
            "process_cpu",
            "Time that the threads of the process have spent on a core",
            Seconds(usage.cpu_seconds),
        );
        if let Some(open) = usage.open_files {
            self.add("process_open_fds", "Open files and sockets of the process", one(open as f64));
        }
        if let Some(max) = usage.max_open_files {
            self.add("process_max_fds", "Files and sockets that the process may open", one(max as f64));
        }
        self.add_in(
            Unit::Bytes,
            "process_resident_memory",
            "Memory of the process that is in RAM",
            one(usage.resident_bytes as f64),
        );
        self.add_in(
            Unit::Seconds,
            "process_start_time",
            "When the process began, in seconds since 1970",
            one(usage.start_seconds as f64),
        );
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|metric| metric.encode(&mut encoder))
    }
}

impl Metric {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self { name, unit, help, values } = self;
        let mut encoder = encoder.encode_descriptor(name, help, unit.as_ref(), values.metric_type())?;
        match values {
            Counter(values) => each(&mut encoder, values, |mut encoder, value| {
                encoder.encode_counter::<Labels, _, u64>(value, None)
            }),
            Seconds(value) => encoder.encode_counter::<Labels, _, u64>(value, None),
            Gauge(values) => each(&mut encoder, values, |mut encoder, value| encoder.encode_gauge(value)),
            Values::Histogram(values) => each(&mut encoder, values, |mut encoder, histogram| {
                let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
                encoder.encode_histogram::<Labels>(sum, count, &buckets(histogram), None)
            }),
            Info(labels) => encoder.encode_info(labels),
        }
    }
}

fn each<T>(
    encoder: &mut MetricEncoder<'_>,
    values: &[(Labels, T)],
    encode: impl Fn(MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    values.iter().try_for_each(|(labels, value)| encode(encoder.encode_family(labels)?, value))
}

/// How many there are in each bucket alone, for the library adds them up itself.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let bounds = histogram.buckets().map(|(bound, count)| (bound.as_secs_f64(), count));
    let all = bounds.chain([(f64::INFINITY, histogram.count())]);
    all.scan(0, |below, (bound, count)| Some((bound, count - std::mem::replace(below, count)))).collect()
}

impl Values {
    fn metric_type(&self) -> MetricType {
        match self {
            Counter(_) | Seconds(_) => MetricType::Counter,
            Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
            Info(_) => MetricType::Info,
        }
    }
}
