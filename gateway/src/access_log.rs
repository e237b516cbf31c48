//! What is logged when a session ends: a line of the access log, or without one no more than somebody has to know.
//!
//! A peer can end its sessions as often as it likes. So every kind of line is limited, and says how many were left out. What a
//! peer is to blame for counts apart from what is usual: neither hides the other.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use fastway::id::Side;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Level, debug, info, warn};

use crate::log_limit::LogLimit;
use crate::outbox::Outbox;
use crate::session::End;
use crate::stats::SessionInfo;

/// A line has about 300 bytes, so a flood of sessions makes a third of a megabyte a second at most.
const LINES_PER_SECOND: u32 = 1000;

/// Which sessions get a line in the log when they end, with all that was counted of them.
///
/// It is written as `off`, `all` or `1/10`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Of the clients that just leave, one in so many. Servers, and clients that were cut off, all get one.
    OneIn(NonZeroU32),
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "all" => Ok(Self::All),
            _ => {
                text.strip_prefix("1/").and_then(|count| count.parse().ok()).map(Self::OneIn).ok_or_else(
                    || "an access log is off, all, or 1/N for one session in N, such as 1/10".into(),
                )
            }
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::All => f.write_str("all"),
            Self::OneIn(count) => write!(f, "1/{count}"),
        }
    }
}

/// Where the ends of all sessions of a gateway are logged.
#[derive(Debug)]
pub(crate) struct EndLog {
    access: Mutex<AccessLog>,
    /// Clients that have left so far.
    clients: AtomicU64,
    client_ends: LogLimit,
    server_ends: LogLimit,
    violations: LogLimit,
    slow_clients: LogLimit,
    stalls: LogLimit,
    debts: LogLimit,
}

/// The level of a line has to be known when this is compiled.
macro_rules! access_line {
    ($level:expr, $outbox:expr, $end:expr, $left_out:expr) => {{
        let (info, end): (SessionInfo, &End) = ($outbox.info(Instant::now()), $end);
        tracing::event!(
            target: "access",
            $level,
            side = %info.side,
            id = info.id,
            peer = info.peer.map(tracing::field::display),
            end = end.reason().name(),
            reason = %end,
            duration_s = info.age.as_millis() as f64 / 1000.0,
            received_messages = info.received.messages,
            received_bytes = info.received.bytes,
            sent_messages = info.sent.messages,
            sent_bytes = info.sent.bytes,
            conns = info.opened,
            left_out = $left_out,
            "session ended"
        )
    }};
}

impl Default for EndLog {
    fn default() -> Self {
        Self::new(AccessLog::default())
    }
}

impl EndLog {
    pub(crate) fn new(access: AccessLog) -> Self {
        Self {
            access: Mutex::new(access),
            clients: AtomicU64::new(0),
            client_ends: LogLimit::new(LINES_PER_SECOND),
            server_ends: LogLimit::default(),
            violations: LogLimit::default(),
            slow_clients: LogLimit::default(),
            stalls: LogLimit::default(),
            debts: LogLimit::default(),
        }
    }

    /// From now on, these sessions get a line.
    pub(crate) fn set_access(&self, access: AccessLog) {
        *self.access.lock() = access;
    }

    /// The session of this outbox has ended.
    pub(crate) fn log(&self, outbox: &Outbox, end: &End) {
        let (side, id) = (outbox.owner().side(), outbox.owner().remote_id());
        let has_access_log = *self.access.lock() != AccessLog::Off;
        let (limit, is_fault) = match end {
            End::SlowClient => (&self.slow_clients, true),
            End::Stalled => (&self.stalls, true),
            // Elsewhere it is logged how many were cut, but not whom.
            End::Debt if has_access_log => (&self.debts, true),
            end if end.is_violation() => (&self.violations, true),
            _ if side == Side::Server => (&self.server_ends, false),
            _ if self.is_chosen() => (&self.client_ends, false),
            _ => return debug!(%side, %id, reason = %end, "session ended"),
        };
        let Some(left_out) = limit.allow(Instant::now()) else { return };
        match (has_access_log, is_fault) {
            (true, true) => access_line!(Level::WARN, outbox, end, left_out),
            (true, false) => access_line!(Level::INFO, outbox, end, left_out),
            (false, true) => warn!(%side, %id, reason = %end, left_out, "session ended"),
            (false, false) => info!(%side, %id, reason = %end, left_out, "session ended"),
        }
    }

    /// Whether the access log has this one of the clients that leave.
    fn is_chosen(&self) -> bool {
        match *self.access.lock() {
            AccessLog::Off => false,
            AccessLog::All => true,
            AccessLog::OneIn(count) => {
                self.clients.fetch_add(1, Ordering::Relaxed).is_multiple_of(u64::from(count.get()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_log_is_read_as_it_is_shown() {
        for text in ["off", "all", "1/1", "1/1000"] {
            assert_eq!(text.parse::<AccessLog>().unwrap().to_string(), text);
        }
        for text in ["", "on", "1/0", "1/", "2/3", "1/-1", "1/4294967296", "10", "ALL"] {
            assert!(text.parse::<AccessLog>().unwrap_err().contains("off, all, or 1/N"), "{text}");
        }
    }

    #[test]
    fn one_in_so_many_is_chosen_and_the_first_is() {
        let chosen = |text: &str| {
            let log = EndLog::new(text.parse().unwrap());
            (0..7).map(|_| usize::from(log.is_chosen())).collect::<Vec<_>>()
        };
        assert_eq!(chosen("off"), [0; 7]);
        assert_eq!(chosen("all"), [1; 7]);
        assert_eq!(chosen("1/1"), [1; 7]);
        assert_eq!(chosen("1/3"), [1, 0, 0, 1, 0, 0, 1]);
    }
}
