//! What `--threshold` demands: `response.p99 < 5ms`, `rate >= 50k`, `errors <= 0`. Parsed once, judged at the end of a run.
//!
//! ```text
//! METRIC.STAT OP DURATION     METRIC: response lag blocked wire echo connect dial first-byte call
//!                             STAT:   p0 … p100 (decimals allowed), min, max, mean
//! METRIC.count OP NUMBER
//! rate OP NUMBER              round trips a second
//! errors | censored | not-sent | refused OP NUMBER
//!                             OP:     < <= > >=      NUMBER: 1200, 50k, 1.2m, 1g (of 1000)
//! ```

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::report::format;
use crate::stats::{Metric, Results, Times};

/// One demand on the results of a run, as `--threshold` states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    subject: Subject,
    op: Op,
    limit: Limit,
}

/// What a threshold came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The threshold as it was typed, with its spaces put right.
    pub text: String,
    /// What was measured, with its unit.
    pub value: String,
    /// Whether that is what was demanded.
    pub passed: bool,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
enum Subject {
    Time(Metric, Stat),
    Samples(Metric),
    Rate,
    Counter(Counter),
}

/// One number of many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stat {
    Percentile(f64),
    Min,
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    Errors,
    Censored,
    NotSent,
    Refused,
}

/// How what was measured has to be to the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// The bound: in ns for times, a plain number for all others; and how it was typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) value: f64,
    typed: String,
}

/// Splits a threshold at its operator: `response.p99`, `<`, `5ms`.
pub(crate) fn split(text: &str) -> Option<(&str, Op, &str)> {
    let (name, rest) = text.split_at(text.find(['<', '>'])?);
    let (op, value) = Op::take(rest);
    Some((name.trim(), op, value.trim()))
}

impl Threshold {
    /// Compares with what was measured. What was never measured fails, whatever the bound.
    #[must_use]
    pub fn judge(&self, results: &Results) -> Judged {
        let measured = self.subject.measured(results);
        let (value, passed) = match measured {
            Some(value) => (self.subject.show(value), self.op.holds(value, self.limit.value)),
            None => ("nothing was measured".to_owned(), false),
        };
        Judged { text: self.to_string(), value, passed }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{:?} is no threshold: {why}", text.trim());
        let (name, op, value) = split(text).ok_or_else(|| {
            wrong("it needs one of < <= > >= between a name and a value, as in response.p99<5ms".to_owned())
        })?;
        let subject: Subject = name.parse().map_err(wrong)?;
        let limit = subject.limit(value).map_err(wrong)?;
        Ok(Self { subject, op, limit })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject, self.op, self.limit)
    }
}

impl Subject {
    /// The value to compare, in ns if it is a time; `None` if nothing was measured.
    fn measured(&self, results: &Results) -> Option<f64> {
        match *self {
            Self::Time(metric, stat) => stat.of(results.metrics.get(metric)),
            Self::Samples(metric) => match results.metrics.get(metric).count() {
                0 => None,
                count => Some(count as f64),
            },
            Self::Rate => (results.seconds() > 0.0).then(|| results.achieved_rate()),
            Self::Counter(counter) => Some(counter.of(results) as f64),
        }
    }

    fn show(&self, value: f64) -> String {
        match self {
            Self::Time(..) => format::time(value),
            Self::Rate => format!("{}/s", format::rate(value)),
            Self::Samples(_) | Self::Counter(_) => format!("{value:.0}"),
        }
    }

    /// Reads a bound in the unit of this subject.
    fn limit(&self, typed: &str) -> Result<Limit, String> {
        let limit = match self {
            Self::Time(..) => Limit::time(typed),
            Self::Rate => parse_number(typed.trim_end_matches("/s"))
                .map(|value| Limit { value, typed: typed.to_owned() })
                .ok_or("round trips a second, such as 1200, 50k or 1.2m"),
            Self::Samples(_) | Self::Counter(_) => Limit::number(typed),
        };
        limit.map_err(|right| format!("the value of {self} must be {right}, not {typed:?}"))
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if let Some((metric, stat)) = name.split_once('.') {
            let metric =
                Metric::ALL.iter().copied().find(|known| known.name() == metric).ok_or_else(|| {
                    format!("there is no metric {metric:?}; the metrics are {}", metric_names(", "))
                })?;
            return match stat {
                "count" => Ok(Self::Samples(metric)),
                _ => Ok(Self::Time(metric, stat.parse()?)),
            };
        }
        if name == "rate" {
            return Ok(Self::Rate);
        }
        if let Some(counter) = Counter::ALL.into_iter().find(|counter| counter.name() == name) {
            return Ok(Self::Counter(counter));
        }
        if Metric::ALL.iter().any(|metric| metric.name() == name) {
            return Err(format!(
                "{name} has many values; name one, such as {name}.p99, {name}.max or {name}.mean"
            ));
        }
        Err(format!(
            "there is no {name:?}; write METRIC.STAT with a metric of {} and a statistic of p50, p99.9 …, min, max, mean, count; or rate, errors, censored, not-sent, refused",
            metric_names(" ")
        ))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(metric, stat) => write!(f, "{}.{stat}", metric.name()),
            Self::Samples(metric) => write!(f, "{}.count", metric.name()),
            Self::Rate => f.write_str("rate"),
            Self::Counter(counter) => f.write_str(counter.name()),
        }
    }
}

impl Limit {
    /// A time; or what would be right.
    pub(crate) fn time(typed: &str) -> Result<Self, &'static str> {
        let value = parse_time(typed).ok_or("a time with a unit, such as 300us, 1.5ms or 2s")?;
        Ok(Self { value, typed: typed.to_owned() })
    }

    /// A number; or what would be right.
    pub(crate) fn number(typed: &str) -> Result<Self, &'static str> {
        let value = parse_number(typed).ok_or("a number, such as 0, 1200 or 50k")?;
        Ok(Self { value, typed: typed.to_owned() })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl Stat {
    /// It; `None` if there is nothing.
    pub(crate) fn of(self, times: &Times) -> Option<f64> {
        (times.count() > 0).then(|| match self {
            Self::Percentile(percent) => times.percentile(percent) as f64,
            Self::Min => times.min() as f64,
            Self::Max => times.max() as f64,
            Self::Mean => times.mean(),
        })
    }
}

impl FromStr for Stat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percentile = |digits: &str| {
            let percent = decimal(digits)?;
            (percent <= 100.0).then_some(Self::Percentile(percent))
        };
        match text {
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            "mean" => Ok(Self::Mean),
            _ => text.strip_prefix('p').and_then(percentile).ok_or_else(|| {
                format!(
                    "there is no statistic {text:?}; the statistics are p0 to p100 (such as p50, p99 or p99.9), min, max, mean, count"
                )
            }),
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(percent) => write!(f, "p{percent}"),
            Self::Min => f.write_str("min"),
            Self::Max => f.write_str("max"),
            Self::Mean => f.write_str("mean"),
        }
    }
}

impl Counter {
    const ALL: [Self; 4] = [Self::Errors, Self::Censored, Self::NotSent, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Censored => "censored",
            Self::NotSent => "not-sent",
            Self::Refused => "refused",
        }
    }

    fn of(self, results: &Results) -> u64 {
        match self {
            Self::Errors => results.errors.total(),
            Self::Censored => results.tally.censored,
            Self::NotSent => results.tally.not_sent,
            Self::Refused => results.tally.refused,
        }
    }
}

impl Op {
    /// Splits off the operator that `text` begins with.
    fn take(text: &str) -> (Self, &str) {
        for (sign, op) in [("<=", Self::AtMost), (">=", Self::AtLeast), ("<", Self::Below)] {
            if let Some(rest) = text.strip_prefix(sign) {
                return (op, rest);
            }
        }
        (Self::Above, text.strip_prefix('>').unwrap_or(text))
    }

    /// Whether the bound is one from above.
    pub(crate) const fn is_upper_bound(self) -> bool {
        matches!(self, Self::Below | Self::AtMost)
    }

    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        })
    }
}

fn metric_names(separator: &str) -> String {
    Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>().join(separator)
}

/// A number without sign and exponent.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plain { text.parse().ok() } else { None }
}

/// A number of things, as rates and thresholds write it: `1200`, `50k`, `1.2m`, `1g`, of 1000 each.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => return None,
    };
    Some(decimal(digits)? * factor)
}

/// A time in ns. humantime knows no decimals; what is not `1.5ms` is left to it (`1s 500ms`).
fn parse_time(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic() || c == ' ');
    let unit = match text[digits.len()..].trim() {
        "ns" => Some(1.0),
        "us" | "µs" | "μs" => Some(1e3),
        "ms" => Some(1e6),
        "s" => Some(1e9),
        "m" | "min" => Some(60e9),
        "h" => Some(3600e9),
        _ => None,
    };
    match (decimal(digits), unit) {
        (Some(number), Some(unit)) => Some(number * unit),
        (_, Some(_)) => humantime::parse_duration(text).ok().map(|time| time.as_nanos() as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MILLI, SECOND};
    use crate::stats::{ErrorKind, Phase};

    fn results() -> Results {
        let mut results = Results { measured_to_ns: 2 * SECOND, ..Results::default() };
        for milli in 1..=100 {
            results.metrics.response.record(milli * MILLI);
        }
        results.tally.measured_received = 100_000;
        results.tally.censored = 7;
        results.errors.note(ErrorKind::Refused, Phase::Setup, 1, || "x".to_owned());
        results
    }

    fn judge(text: &str) -> Judged {
        text.parse::<Threshold>().unwrap().judge(&results())
    }

    #[test]
    fn a_threshold_passes_or_fails_by_what_was_measured() {
        for (text, passed) in [
            ("response.p99<200ms", true),
            ("response.p99<50ms", false),
            ("response.p50 <= 51ms", true),
            ("response.min>=0.9ms", true),
            ("response.max < 1s", true),
            ("response.mean > 50ms", true),
            ("response.mean > 51ms", false),
            ("response.p99.9>99ms", true),
            ("response.count >= 100", true),
            ("response.count > 0.1k", false),
            ("rate>=50k", true),
            ("rate >50k/s", false),
            ("rate<1.2m", true),
            ("errors<=0", false),
            ("errors<2", true),
            ("censored<=7", true),
            ("not-sent<=0", true),
            ("refused>0", false),
        ] {
            assert_eq!(judge(text).passed, passed, "{text}");
        }
    }

    #[test]
    fn a_judgement_says_what_was_asked_and_what_it_came_to() {
        let judged = judge("  response.p100<5ms ");
        assert_eq!((judged.text.as_str(), judged.value.as_str()), ("response.p100 < 5ms", "100 ms"));
        assert_eq!(judge("rate>=50k").value, "50.0k/s");
        assert_eq!(judge("errors<=0").value, "1");
    }

    #[test]
    fn what_was_never_measured_fails() {
        for text in ["echo.p99<5ms", "echo.p99>0ms", "call.count<5"] {
            let judged = judge(text);
            assert_eq!((judged.value.as_str(), judged.passed), ("nothing was measured", false), "{text}");
        }
        let threshold: Threshold = "rate<5".parse().unwrap();
        assert!(!threshold.judge(&Results::default()).passed);
    }

    #[test]
    fn times_may_have_decimals_and_units_of_many_kinds() {
        for (text, nanos) in [
            ("5ms", 5e6),
            ("1.5ms", 1.5e6),
            ("300us", 3e5),
            ("300µs", 3e5),
            ("1 s", 1e9),
            ("1s 500ms", 1.5e9),
            ("2min", 120e9),
            ("100ns", 100.0),
        ] {
            assert_eq!(parse_time(text), Some(nanos), "{text}");
        }
        for text in ["5", "", "ms", "-5ms", "1e3ms", "5 parsecs"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, hint) in [
            ("response.p99", "< <= > >="),
            ("respond.p99<5ms", "response, lag, blocked, wire, echo, connect, dial, first-byte, call"),
            ("response.p101<5ms", "p0 to p100"),
            ("response.px<5ms", "p0 to p100"),
            ("response<5ms", "response.p99"),
            ("speed>5", "rate, errors, censored, not-sent, refused"),
            ("response.p99<5", "a time with a unit"),
            ("response.p99<", "a time with a unit"),
            ("response.p99=<5ms", "p0 to p100"),
            ("rate>fast", "50k"),
            ("errors<1.2.3", "a number"),
            ("response.count<5ms", "a number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
