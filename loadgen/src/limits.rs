//! What this machine allows: open files, local ports. Raised or named before a run begins, not found out in its middle.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::Plan;

/// Files besides the links: the standard ones, timers, epoll, outputs.
pub(crate) const OTHER_FILES: u64 = 64;

/// Local ports that the kernel gives to outgoing connections, unless it says otherwise (Linux: 32768 to 60999).
const PORTS: u64 = 28_232;

/// Why a plan is too large for this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitError {
    /// Too few open files.
    #[error(
        "this run needs {needed} open files, but the process may have {limit}; raise the limit (ulimit -n {needed}, or \
         LimitNOFILE= in a systemd unit), or use fewer clients"
    )]
    Files {
        /// What is needed.
        needed: u64,
        /// What there is, at most.
        limit: u64,
    },
    /// Too few local ports.
    #[error(
        "this run needs {needed} connections from one address to one port, but there are {limit} local ports; name more \
         addresses to connect from (--source, {sources} of them), widen net.ipv4.ip_local_port_range, or use more gateways"
    )]
    Ports {
        /// What is needed.
        needed: u64,
        /// What there is.
        limit: u64,
        /// So many source addresses would do.
        sources: u64,
    },
}

/// Where the other ends of the links are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// In another process.
    Elsewhere,
    /// In this one, which has both ends of each link open.
    Here,
}

/// Raises the limit of open files as far as the process may, and says what is missing for the plan.
///
/// # Errors
///
/// [`LimitError`], with the remedy.
pub(crate) fn prepare(plan: &Plan, gateway: Gateway) -> Result<(), LimitError> {
    let ends = match gateway {
        Gateway::Elsewhere => 1,
        Gateway::Here => 2,
    };
    let needed = ends * (plan.clients + plan.servers * plan.targets.len()) as u64 + OTHER_FILES;
    let limit = raise_files();
    if needed > limit {
        return Err(LimitError::Files { needed, limit });
    }
    let sources = plan.sources.len().max(1) as u64;
    let to_one = plan.clients.div_ceil(plan.targets.len().max(1)) as u64;
    let limit = local_ports();
    if to_one.div_ceil(sources) > limit {
        let needed = to_one.div_ceil(sources);
        return Err(LimitError::Ports { needed, limit, sources: to_one.div_ceil(limit) });
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one. What it is then.
pub(crate) fn raise_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // A process may always do that; if not, what there was counts.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Local ports for outgoing connections.
pub(crate) fn local_ports() -> u64 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u64>().ok());
    match (bounds.next(), bounds.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => PORTS,
    }
}
