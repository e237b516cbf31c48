//! What Linux knows of a TCP connection (`TCP_INFO`), as far as it says whether the peer is there, and alive.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, sockopt_impl};

use super::Silence;

/// The beginning of the kernel's `struct tcp_info`, which has been the same since Linux 2.6. The kernel writes as much of it as is
/// asked for.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(unreachable_pub, reason = "the macro makes public what has this as its value")]
pub struct Info {
    state: u8,
    ca_state: u8,
    /// Timeouts since the last acknowledgement of something new.
    retransmits: u8,
    /// Questions whether the peer takes anything, since the last acknowledgement of any kind.
    probes: u8,
    /// The time until the next of either has been doubled so often.
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    rto_us: u32,
    ato_us: u32,
    snd_mss: u32,
    rcv_mss: u32,
    /// Packets that are on their way.
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    /// All of these: so many ms ago.
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
}

sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, Info);

/// The state of a connection that is open both ways (`TCP_ESTABLISHED`).
const ESTABLISHED: u8 = 1;

pub(super) fn is_abandoned(socket: &impl AsFd) -> bool {
    getsockopt(socket, TcpInfo).is_ok_and(|info| info.state != ESTABLISHED)
}

pub(super) fn silence(socket: &impl AsFd) -> Option<Silence> {
    let info = getsockopt(socket, TcpInfo).ok()?;
    let waits = info.unacked > 0 || info.backoff > 0 || info.probes > 0;
    waits.then(|| Silence {
        // Bytes that acknowledge nothing new do not count as an acknowledgement.
        lasted: Duration::from_millis(info.last_ack_recv.min(info.last_data_recv).into()),
        questions: info.retransmits.max(info.probes).into(),
    })
}
