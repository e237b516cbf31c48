//! Why sessions end, as far as there are numbers for it.

use std::fmt;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The peer closed the connection, between two frames.
    Closed,
    /// The peer closed the connection inside a frame.
    ClosedMidFrame,
    /// The connection failed: it was reset, for one.
    Failed,
    /// A length that no frame may have.
    Frame,
    /// A command that is none, or not for the gateway.
    Command,
    /// A client that sent more commands than `--command-rate` allows.
    CommandRate,
    /// A frame that was not there as a whole within `--frame-timeout`.
    UnfinishedFrame,
    /// Nothing came from the peer for its idle timeout.
    Silent,
    /// The peer took nothing for its stall timeout.
    Stalled,
    /// A client that did not take what was sent to it.
    SlowClient,
    /// All of `--max-buffered-bytes` were used, and it owed the most.
    Debt,
    /// A newer server registered with the same ID.
    TakenOver,
    /// [`Handle::close`](crate::Handle::close).
    Operator,
    /// The gateway drained, and it was this client's turn to go.
    Drained,
    /// The gateway stopped.
    Shutdown,
    /// The gateway was dropped while it ran, or had a bug.
    Abandoned,
}

impl Ended {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 16] = [
        Self::Closed,
        Self::ClosedMidFrame,
        Self::Failed,
        Self::Frame,
        Self::Command,
        Self::CommandRate,
        Self::UnfinishedFrame,
        Self::Silent,
        Self::Stalled,
        Self::SlowClient,
        Self::Debt,
        Self::TakenOver,
        Self::Operator,
        Self::Drained,
        Self::Shutdown,
        Self::Abandoned,
    ];

    /// A name for machines, which stays the same when the words change.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedMidFrame => "closed_mid_frame",
            Self::Failed => "failed",
            Self::Frame => "frame",
            Self::Command => "command",
            Self::CommandRate => "command_rate",
            Self::UnfinishedFrame => "unfinished_frame",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
            Self::SlowClient => "slow_client",
            Self::Debt => "debt",
            Self::TakenOver => "taken_over",
            Self::Operator => "operator",
            Self::Drained => "drained",
            Self::Shutdown => "shutdown",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is said of it to people.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the peer closed the connection",
            Self::ClosedMidFrame => "the peer closed the connection inside a frame",
            Self::Failed => "the connection failed",
            Self::Frame => "the peer sent a length that no frame may have",
            Self::Command => "the peer sent a command that is none",
            Self::CommandRate => "the client sent more commands than --command-rate allows",
            Self::UnfinishedFrame => {
                "a frame had not arrived as a whole after the frame timeout, and came with less than a kilobyte a second"
            }
            Self::Silent => "nothing came from the peer for the idle timeout",
            Self::Stalled => "the peer took nothing for the stall timeout",
            Self::SlowClient => "the client did not take what was sent to it: its send queue was full",
            Self::Debt => "all queues together were full, and what waited for it was among the longest",
            Self::TakenOver => "another server registered with the same ID",
            Self::Operator => "it was closed by the operator",
            Self::Drained => "the gateway drained",
            Self::Shutdown => "the gateway stopped",
            Self::Abandoned => "the gateway was dropped while it ran",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_its_name() {
        for (index, reason) in Ended::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(Ended::ALL.into_iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
