//! What `--threshold` demands of failures: `outage.p99 < 1s`, `lost <= 500`, `connects < 400`.
//!
//! ```text
//! outage.STAT OP DURATION     STAT: p0 … p100 (decimals allowed), min, max, mean; of every failure
//! lost | unsent OP NUMBER     questions, of every failure
//! connects OP NUMBER          a second, at any gateway, in every failure
//! unserved | failures OP NUMBER
//! ```
//!
//! What is demanded of every failure is judged by the one that is worst. Without any failure nothing was measured, and that
//! is no success.

use std::fmt;
use std::str::FromStr;

use super::failures::Failure;
use crate::report::format;
use crate::threshold::{Judged, Limit, Op, Stat, split};

/// One demand, as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    subject: Subject,
    op: Op,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    Outage(Stat),
    Lost,
    Unsent,
    Connects,
    Unserved,
    Failures,
}

const NAMES: &str = "outage.STAT with a statistic of p50, p99 …, min, max, mean; or lost, unsent, connects, unserved, failures";

impl Demand {
    /// Compares with what was measured.
    #[must_use]
    pub fn judge(&self, failures: &[Failure]) -> Judged {
        let each = failures.iter().filter_map(|failure| self.subject.of(failure));
        let measured = match self.subject {
            Subject::Failures => Some(failures.len() as f64),
            Subject::Unserved => Some(failures.iter().map(|failure| failure.unserved as f64).sum()),
            _ if self.op.is_upper_bound() => each.reduce(f64::max),
            _ => each.reduce(f64::min),
        };
        let (value, passed) = match measured {
            Some(value) => (self.subject.show(value), self.op.holds(value, self.limit.value)),
            None => ("nothing failed".to_owned(), false),
        };
        Judged { text: self.to_string(), value, passed }
    }
}

impl Subject {
    fn of(self, failure: &Failure) -> Option<f64> {
        match self {
            Self::Outage(stat) => stat.of(&failure.outage),
            Self::Lost => Some(failure.lost as f64),
            Self::Unsent => Some(failure.unsent as f64),
            Self::Connects => Some(f64::from(failure.peak_per_s())),
            Self::Unserved | Self::Failures => None,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Outage(_) => format::time(value),
            Self::Connects => format!("{value:.0}/s"),
            Self::Lost | Self::Unsent | Self::Unserved | Self::Failures => format!("{value:.0}"),
        }
    }
}

impl FromStr for Demand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("{:?} is no threshold: {why}", text.trim());
        let (name, op, typed) =
            split(text).ok_or_else(|| wrong("it needs one of < <= > >=, as in outage.p99<1s".to_owned()))?;
        let subject: Subject = name.parse().map_err(wrong)?;
        let limit = match subject {
            Subject::Outage(_) => Limit::time(typed),
            _ => Limit::number(typed.trim_end_matches("/s")),
        };
        let limit =
            limit.map_err(|right| wrong(format!("the value of {subject} must be {right}, not {typed:?}")))?;
        Ok(Self { subject, op, limit })
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "lost" => Self::Lost,
            "unsent" => Self::Unsent,
            "connects" => Self::Connects,
            "unserved" => Self::Unserved,
            "failures" => Self::Failures,
            "outage" => {
                return Err("outage has many values; name one, such as outage.p99 or outage.max".to_owned());
            }
            _ => match name.strip_prefix("outage.") {
                Some(stat) => Self::Outage(stat.parse()?),
                None => return Err(format!("there is no {name:?}; write {NAMES}")),
            },
        })
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject, self.op, self.limit)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage(stat) => write!(f, "outage.{stat}"),
            Self::Lost => f.write_str("lost"),
            Self::Unsent => f.write_str("unsent"),
            Self::Connects => f.write_str("connects"),
            Self::Unserved => f.write_str("unserved"),
            Self::Failures => f.write_str("failures"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;

    fn judge(text: &str) -> Judged {
        text.parse::<Demand>().unwrap().judge(&sample::failures())
    }

    #[test]
    fn every_failure_has_to_be_good_enough() {
        // One of 300 to 700 ms, and one of 5.2 to 6 s.
        for (text, passed) in [
            ("outage.p99<7s", true),
            ("outage.p99<1s", false),
            ("outage.min>=200ms", true),
            ("outage.min > 1s", false),
            ("outage.max <= 6.1s", true),
            ("lost<=100", true),
            ("lost<10", false),
            ("unsent>=1", true),
            ("connects<500", true),
            ("connects<100/s", false),
            ("unserved<1", false),
            ("failures<=2", true),
            ("failures>2", false),
        ] {
            assert_eq!(judge(text).passed, passed, "{text}: {:?}", judge(text));
        }
    }

    #[test]
    fn without_a_failure_nothing_was_measured() {
        for text in ["outage.p99<1s", "lost<1", "connects>0"] {
            let judged = text.parse::<Demand>().unwrap().judge(&[]);
            assert_eq!((judged.value.as_str(), judged.passed), ("nothing failed", false), "{text}");
        }
        assert!("failures<1".parse::<Demand>().unwrap().judge(&[]).passed);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (text, hint) in [
            ("outage.p99", "< <= > >="),
            ("outage<1s", "outage.p99"),
            ("outage.p99<1", "a time with a unit"),
            ("outage.px<1s", "p0 to p100"),
            ("lost<1s", "a number"),
            ("speed<1", "outage.STAT"),
        ] {
            let error = text.parse::<Demand>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
