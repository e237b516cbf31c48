//! What the service manager is told (`sd_notify`): that the gateway runs, reloads or stops, what is in it, and that it turns.
//!
//! Nothing at all without `NOTIFY_SOCKET` in the environment. The watchdog is fed by a task on the runtime of the first shard, and
//! by nothing else: when that runtime stands still, so do its sessions, and the service manager is to find out.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::gateway::Handle;
use crate::router::Counts;

/// How often the service manager is told what is in the gateway. With a watchdog, at least twice in its time.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The way to the service manager, if there is one. A clone is the same way.
///
/// [`ready`](Self::ready) once, when both ports are bound; [`reloading`](Self::reloading) around each reload;
/// [`stopping`](Self::stopping) when the end begins.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<Arc<UnixDatagram>>,
}

impl ServiceManager {
    /// The one that started this process. One that cannot be reached is none: a gateway without it is better than no gateway.
    pub(super) fn from_env() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let socket = connect(&name)
            .inspect_err(|error| {
                warn!(socket = ?name, %error, "the service manager cannot be told anything: NOTIFY_SOCKET has to name its socket");
            })
            .ok();
        Self { socket: socket.map(Arc::new) }
    }

    /// Both ports are bound. From here on it is told now and then what is in the gateway, and that the calling runtime turns.
    pub(super) fn ready(&self, gateway: Handle) {
        self.ready_with(gateway, sd_notify::watchdog_enabled().filter(|watchdog| !watchdog.is_zero()));
    }

    fn ready_with(&self, gateway: Handle, watchdog: Option<Duration>) {
        if self.socket.is_none() {
            return;
        }
        self.tell(&[NotifyState::Ready]);
        tokio::spawn(self.clone().keep_informed(gateway, watchdog));
    }

    /// A reload begins; it has ended when what this returns is dropped, however it went.
    #[must_use = "the reload has ended when this is dropped"]
    pub(super) fn reloading(&self) -> Reloading<'_> {
        // From version 253 on, systemd has to know since when: of two reloads it waits for the later one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "the service manager is not told of the reload: there is no clock"),
        }
        Reloading(self)
    }

    /// The gateway is about to end, and may take so long for it, whatever the service manager allows by itself.
    pub(super) fn stopping(&self, at_most: Duration) {
        let at_most = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(at_most)]);
    }

    /// For as long as the runtime runs.
    async fn keep_informed(self, gateway: Handle, watchdog: Option<Duration>) {
        let mut ticks = interval(watchdog.map_or(STATUS_INTERVAL, |time| STATUS_INTERVAL.min(time / 2)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let status = status(&gateway);
            let states = [NotifyState::Status(&status), NotifyState::Watchdog];
            self.tell_if_it_listens(if watchdog.is_some() { &states } else { &states[..1] });
        }
    }

    /// Waits until the message is taken: if it was lost, the service manager would wait for ever.
    fn tell(&self, states: &[NotifyState<'_>]) {
        self.send(states, SendFlags::empty());
    }

    /// Sessions never wait for the service manager. If it does not listen, it is told again soon.
    fn tell_if_it_listens(&self, states: &[NotifyState<'_>]) {
        self.send(states, SendFlags::DONTWAIT);
    }

    fn send(&self, states: &[NotifyState<'_>], flags: SendFlags) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        // A service manager that has gone cannot be told so.
        let _ = send(socket, message.as_bytes(), flags);
    }
}

/// A reload that is under way.
#[derive(Debug)]
pub(super) struct Reloading<'a>(&'a ServiceManager);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.tell(&[NotifyState::Ready]);
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// What `systemctl status` shows.
fn status(gateway: &Handle) -> String {
    let Counts { clients, servers, conns, buffered_bytes, .. } = gateway.counts();
    let ending = match (gateway.is_stopping(), gateway.is_draining()) {
        (true, _) => "stopping; ",
        (false, true) => "draining; ",
        (false, false) => "",
    };
    format!(
        "{ending}clients: {clients}, servers: {servers}, virtual connections: {conns}, buffered bytes: {buffered_bytes}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use fastway::net::MemoryNetwork;
    use tempfile::TempDir;

    use super::*;
    use crate::config::Config;
    use crate::gateway::Gateway;

    /// A service manager's end.
    struct Manager {
        socket: UnixDatagram,
        _folder: TempDir,
    }

    impl Manager {
        /// And a gateway's way to it.
        fn new() -> (Self, ServiceManager) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let gateway = ServiceManager { socket: Some(Arc::new(connect(path.as_os_str()).unwrap())) };
            (Self { socket, _folder: folder }, gateway)
        }

        /// What it has been told and does not know yet.
        fn told(&self) -> Option<String> {
            let mut message = [0; 256];
            let length = self.socket.recv(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message[..length]).into_owned())
        }
    }

    /// A thread of its own would feed the watchdog while nobody is served. What keeps everybody from having a turn here is the test
    /// itself, which does not wait as others do.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "it stops a whole shard, which is what this is about")]
    async fn the_watchdog_starves_when_sessions_have_no_turn_any_more() {
        let (manager, service_manager) = Manager::new();
        let gateway = Gateway::bind(&MemoryNetwork::new(), Config::default(), [7; 32]).await.unwrap();
        service_manager.ready_with(gateway.handle(), Some(Duration::from_millis(100)));
        assert_eq!(manager.told().as_deref(), Some("READY=1\n"));
        let mut fed = 0;
        let deadline = Instant::now() + Duration::from_secs(20);
        while fed < 3 {
            assert!(Instant::now() < deadline, "it is not fed");
            fed += usize::from(manager.told().is_some_and(|told| told.ends_with("\nWATCHDOG=1\n")));
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(manager.told(), None, "it is fed although nobody has a turn");
    }

    /// A reload that fails has ended too: systemd waits for the second message.
    #[test]
    fn a_reload_begins_and_ends_however_it_went() {
        let (manager, gateway) = Manager::new();
        let told = || manager.told();
        let reload = || -> Result<(), ()> {
            let _reloading = gateway.reloading();
            let begun = told().expect("it begins");
            let since = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("since when is said");
            assert!(since.trim_end().parse::<u64>().is_ok_and(|since| since > 0), "{begun}");
            assert_eq!(told(), None);
            Err(())
        };
        reload().unwrap_err();
        assert_eq!(told().as_deref(), Some("READY=1\n"));
    }
}
