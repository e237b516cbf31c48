//! Certificates that are about to expire: who has to know, and from when on.
//!
//! When one has expired, new connections fail, all at once and everywhere. So it is said in time: in the log, on the status page,
//! and by an alert on the metric.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use fastway::id::Side;
use fastway::net::tls::TlsAcceptor;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{error, warn};

use crate::config::Config;
use crate::gateway::Handle;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Somebody should look when so much is left. Where it is less, a third of its life counts: those who renew automatically do it
/// then, and certificates that live for days shall not be complained of from the beginning.
const TIMELY: Duration = DAY.saturating_mul(14);
const TIMELY_SHARE: u32 = 3;

/// Of that time, the last part is urgent: two days of fourteen.
const URGENT_SHARE: u32 = 7;

/// A certificate that should be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    /// On whose port it is.
    side: Side,
    at: SystemTime,
    /// Zero if it has expired.
    left: Duration,
    pub(crate) is_urgent: bool,
}

impl Expiring {
    fn of(side: Side, validity: &RangeInclusive<SystemTime>, now: SystemTime) -> Option<Self> {
        let (from, at) = (*validity.start(), *validity.end());
        let between = |from, to: SystemTime| to.duration_since(from).unwrap_or_default();
        let (life, left) = (between(from, at), between(now, at));
        let timely = TIMELY.min(life / TIMELY_SHARE);
        (left < timely).then(|| Self { side, at, left, is_urgent: left < timely / URGENT_SHARE })
    }

    fn log(&self) {
        if self.is_urgent { error!("{self}") } else { warn!("{self}") }
    }
}

/// One sentence.
impl fmt::Display for Expiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, at, left, .. } = self;
        let minutes = Duration::from_secs(left.as_secs() / 60 * 60);
        let (left, at) = (humantime::format_duration(minutes), humantime::format_rfc3339_seconds(*at));
        write!(f, "--{side}-tls-cert: the certificate, or one that leads from it to its CA, ")?;
        if self.left.is_zero() {
            write!(f, "expired at {at}, and whoever connects refuses it: ")?;
        } else {
            write!(f, "expires in {left}, at {at}: ")?;
        }
        write!(f, "write a new one into the file, and reload (SIGHUP)")
    }
}

/// Each side's TLS, if it has any.
pub(crate) fn acceptors(config: &Config) -> impl Iterator<Item = (Side, &TlsAcceptor)> {
    [(Side::Client, &config.client.tls), (Side::Server, &config.server.tls)]
        .into_iter()
        .filter_map(|(side, tls)| tls.as_ref().map(|tls| (side, tls)))
}

/// The certificates in these settings that should be renewed now.
pub(crate) fn expiring(config: &Config) -> impl Iterator<Item = Expiring> {
    let now = wall_clock();
    acceptors(config).filter_map(move |(side, tls)| Expiring::of(side, &tls.validity(), now))
}

/// Says of each certificate in these settings that should be renewed that it should.
pub(crate) fn log_expiring(config: &Config) {
    expiring(config).for_each(|expiring| expiring.log());
}

/// Says it every day of those in force, for as long as it is polled. For the first time in a day.
pub(crate) async fn log_expiring_daily(gateway: Handle) {
    let mut days = interval_at(Instant::now() + DAY, DAY);
    // After a machine has slept for a week, it is said once.
    days.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        days.tick().await;
        log_expiring(&gateway.config());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates end by the wall clock; nothing that serves follows it"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use fastway::net::MemoryNetwork;
    use fastway::net::tls::Identity;
    use rcgen::{CertificateParams, KeyPair};
    use tokio::time::sleep;

    use super::*;
    use crate::gateway::Gateway;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Of a certificate that lives so long, with so much left: nothing, that it is time, or that it is high time.
    fn said(life: Duration, left: Duration) -> Option<bool> {
        let from = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let expiring = Expiring::of(Side::Client, &(from..=from + life), from + life - left);
        expiring.map(|expiring| expiring.is_urgent)
    }

    #[test]
    fn it_is_said_two_weeks_before_or_when_a_third_is_left() {
        for (life, left, expected) in [
            (365 * DAY, 14 * DAY, None),
            (365 * DAY, 14 * DAY - HOUR, Some(false)),
            (365 * DAY, 2 * DAY, Some(false)),
            (365 * DAY, 2 * DAY - HOUR, Some(true)),
            (365 * DAY, Duration::ZERO, Some(true)),
            (6 * DAY, 6 * DAY, None),
            (6 * DAY, 2 * DAY, None),
            (6 * DAY, 2 * DAY - HOUR, Some(false)),
            (DAY, 8 * HOUR, None),
            (DAY, HOUR, Some(true)),
        ] {
            assert_eq!(said(life, left), expected, "{left:?} of {life:?}");
        }
    }

    #[test]
    fn the_sentence_says_which_when_and_what_to_do() {
        let at = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let of = |now| Expiring::of(Side::Server, &(at - 90 * DAY..=at), now).unwrap().to_string();
        let soon = of(at - 3 * DAY - Duration::from_secs(90));
        for words in ["--server-tls-cert", "expires in 3days 1m, at 2024-10-04T00:00:00Z", "reload (SIGHUP)"]
        {
            assert!(soon.contains(words), "{words} is not in {soon}");
        }
        let late = of(at + DAY);
        assert!(late.contains("expired at 2024-10-04T00:00:00Z"), "{late}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_said_again_every_day() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["gateway.internal".to_owned()]).unwrap();
        params.not_after = (wall_clock() + DAY).into();
        let certificate = params.self_signed(&key).unwrap().pem();
        let identity = Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let mut config = Config::default();
        config.server.tls = Some(TlsAcceptor::new(identity, None).unwrap());
        let gateway = Gateway::bind(&MemoryNetwork::new(), config, [7; 32]).await.unwrap();

        let (mut read, log) = std::io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.try_clone().unwrap()).finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let daily = tokio::spawn(log_expiring_daily(gateway.handle()));
        sleep(DAY * 3 + HOUR).await;
        daily.abort();
        assert!(daily.await.unwrap_err().is_cancelled());
        drop(logging);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut read, &mut said).unwrap();
        assert_eq!(said.lines().count(), 3, "{said}");
        assert_eq!(said.matches("--server-tls-cert").count(), 3, "{said}");
    }
}
