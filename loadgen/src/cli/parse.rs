//! How flags write rates, stages, sizes, durations and targets.

use std::time::Duration;

use fastway_gateway::Size;

use crate::failover::Gateway;
use crate::plan::{Sizes, Stage, Target};
use crate::threshold::parse_number;

/// The ports that a gateway has unless told otherwise.
const CLIENT_PORT: &str = "7010";
const SERVER_PORT: &str = "7020";

/// A rate, or a ramp from one to another, in messages a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// `50k`, `1.5m`, or a ramp `1k:50k`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    Ok(Rate { from: per_second(from)?, to: per_second(to)? })
}

/// `50k`: a number, with k for thousands or m for millions.
pub(super) fn per_second(text: &str) -> Result<f64, String> {
    parse_number(text.trim_end_matches("/s")).ok_or_else(|| {
        "a rate is a number of messages a second, such as 500, 50k or 1.2m; a ramp is two of them, 1k:50k"
            .to_owned()
    })
}

/// `30s@10k`, or a ramp `30s@1k:10k`.
pub(super) fn stage(text: &str) -> Result<Stage, String> {
    let (length, at) = text
        .split_once('@')
        .ok_or("a stage is a duration and a rate, such as 30s@10k, or 30s@1k:10k for a ramp")?;
    let Rate { from, to } = rate(at)?;
    Ok(Stage { duration: duration(length)?, from, to })
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "a duration is a number with a unit, such as 30s, 500ms or 2m".to_owned())
}

/// `64`, `uniform:16-1K`, `lognormal:256:4K`.
pub(super) fn sizes(text: &str) -> Result<Sizes, String> {
    let size = |text: &str| text.parse::<Size>().map(|size| size.0);
    if let Some(range) = text.strip_prefix("uniform:") {
        let (low, high) = range.split_once('-').ok_or("uniform sizes are a range, such as uniform:16-1K")?;
        return Ok(Sizes::Uniform(size(low)?, size(high)?));
    }
    if let Some(shape) = text.strip_prefix("lognormal:") {
        let (median, p99) = shape
            .split_once(':')
            .ok_or("lognormal sizes are a median and a 99th percentile, such as lognormal:256:4K")?;
        return Ok(Sizes::Lognormal { median: size(median)?, p99: size(p99)? });
    }
    size(text).map(Sizes::Fixed).map_err(|error| {
        format!("{error}; or a distribution: uniform:16-1K, or lognormal:256:4K for a median and a 99th percentile")
    })
}

/// A number of things, with k and m.
pub(super) fn count(text: &str) -> Result<u64, String> {
    match per_second(text) {
        Ok(number) if number.fract() == 0.0 && number < 1e18 => Ok(number as u64),
        _ => Err("a count is a whole number, such as 5000, 100k or 2m".to_owned()),
    }
}

/// `PUBLIC/INTERNAL`, each `HOST:PORT`; what is left out is the gateway's default.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let (public, internal) = text.split_once('/').unwrap_or((text, ""));
    let client_addr = with_port(public, CLIENT_PORT)?;
    let server_addr = if internal.is_empty() {
        format!("{}:{SERVER_PORT}", host_of(&client_addr))
    } else {
        with_port(internal, SERVER_PORT)?
    };
    Ok(Target { client_addr, server_addr })
}

/// A target, or `NAME=` and a target.
pub(super) fn gateway(text: &str) -> Result<Gateway, String> {
    let Some((name, text)) = text.split_once('=') else { return target(text).map(Gateway::from) };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("{name:?} is no name: it is written without spaces, as in gw1=10.0.0.1:7010"));
    }
    Ok(Gateway { name: Some(name.to_owned()), target: target(text)? })
}

fn with_port(addr: &str, port: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "{addr:?} is no address: a target is HOST:PORT, or PUBLIC/INTERNAL, such as 127.0.0.1:7010/127.0.0.1:7020"
        )
    };
    let bare_v6 = addr.parse::<std::net::Ipv6Addr>().is_ok();
    let addr = if bare_v6 { format!("[{addr}]") } else { addr.to_owned() };
    let (host, given) = match addr.rsplit_once(':') {
        Some((host, given)) if !addr.ends_with(']') => (host, given),
        _ => (addr.as_str(), port),
    };
    let is_host =
        !host.is_empty() && !host.contains(['/', ' ']) && (host.starts_with('[') || !host.contains(':'));
    if is_host && given.parse::<u16>().is_ok() { Ok(format!("{host}:{given}")) } else { Err(wrong()) }
}

fn host_of(addr: &str) -> &str {
    addr.rsplit_once(':').map_or(addr, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_thousands_and_millions() {
        for (text, from, to) in [
            ("500", 500.0, 500.0),
            ("50k", 50e3, 50e3),
            ("1.2M", 1.2e6, 1.2e6),
            ("10k/s", 10e3, 10e3),
            ("1k:50k", 1e3, 50e3),
            ("0:5", 0.0, 5.0),
        ] {
            assert_eq!(rate(text), Ok(Rate { from, to }), "{text}");
        }
        for text in ["", "k", "-1", "ten", "1k:", "nan", "inf", "1t"] {
            assert!(rate(text).unwrap_err().contains("50k"), "{text}");
        }
    }

    #[test]
    fn stages_are_durations_with_rates() {
        let expected = Stage { duration: Duration::from_secs(30), from: 10e3, to: 10e3 };
        assert_eq!(stage("30s@10k"), Ok(expected));
        assert_eq!(stage("30s@10k:20k").map(|stage| stage.to), Ok(20e3));
        assert!(stage("10k").unwrap_err().contains("30s@10k"));
        assert!(stage("30@10k").unwrap_err().contains("a unit"));
    }

    #[test]
    fn sizes_are_fixed_or_distributed() {
        assert_eq!(sizes("64"), Ok(Sizes::Fixed(64)));
        assert_eq!(sizes("uniform:16-1K"), Ok(Sizes::Uniform(16, 1024)));
        assert_eq!(sizes("lognormal:256:4K"), Ok(Sizes::Lognormal { median: 256, p99: 4096 }));
        for text in ["", "uniform:5", "lognormal:5", "normal:1:2", "64x"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_may_leave_out_what_is_usual() {
        for (text, client, server) in [
            ("127.0.0.1", "127.0.0.1:7010", "127.0.0.1:7020"),
            ("gw.example:1", "gw.example:1", "gw.example:7020"),
            ("gw.example:1/10.0.0.1", "gw.example:1", "10.0.0.1:7020"),
            ("gw.example:1/10.0.0.1:2", "gw.example:1", "10.0.0.1:2"),
            ("[::1]:5/[::1]:6", "[::1]:5", "[::1]:6"),
            ("::1", "[::1]:7010", "[::1]:7020"),
        ] {
            let expected = Target { client_addr: client.to_owned(), server_addr: server.to_owned() };
            assert_eq!(target(text), Ok(expected), "{text}");
        }
        for text in ["", ":", "a:b", "a:70000", "a/b/c", "a:1:2", "/10.0.0.1"] {
            assert!(target(text).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }
}
