//! What the service manager is told, by a process that was started with its socket in the environment.

use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::folder::Folder;
use super::stopping::{LOOPBACK, Process};
use super::support::connect;

/// The socket that a service manager would have.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path, _folder: folder }
    }

    fn start(&self, args: &[&str], env: &[(&str, &str)]) -> Process {
        let notify = [("NOTIFY_SOCKET", &*self.path)];
        Process::start_with(&[&LOOPBACK[..], args].concat(), &[&notify, env].concat())
    }

    /// What comes next, line by line; nothing if nothing comes in this time.
    async fn told_within(&self, time: Duration) -> Option<Vec<String>> {
        let mut message = [0; 1024];
        let length = timeout(time, self.socket.recv(&mut message)).await.ok()?.unwrap();
        let message = std::str::from_utf8(&message[..length]).unwrap();
        Some(message.lines().map(str::to_owned).collect())
    }

    async fn told(&self) -> Vec<String> {
        self.told_within(Duration::from_secs(20)).await.expect("it is told something")
    }
}

#[tokio::test]
async fn it_is_told_when_both_ports_are_bound_and_when_the_end_begins() {
    let manager = Manager::new();
    let mut process = manager.start(&[], &[]);
    assert_eq!(manager.told().await, ["READY=1"]);
    // Whoever waited for that finds both ports open.
    for addr in process.addrs() {
        connect(addr).await;
    }
    let status = "STATUS=clients: 0, servers: 0, virtual connections: 0, buffered bytes: 0";
    assert_eq!(manager.told().await, [status], "there is no watchdog to feed");
    process.signal("TERM");
    assert_eq!(manager.told().await, ["STOPPING=1", "EXTEND_TIMEOUT_USEC=33000000"]);
    assert_eq!(process.end().0, Some(0));
}

/// That it starves when the gateway stands still is shown in `cli/notify.rs`.
#[tokio::test]
async fn the_watchdog_is_fed_in_time() {
    let manager = Manager::new();
    let mut process = manager.start(&[], &[("WATCHDOG_USEC", "2000000")]);
    process.addrs();
    assert_eq!(manager.told().await[0], "READY=1");
    for _ in 0..3 {
        let told = manager.told_within(Duration::from_secs(2)).await;
        assert_eq!(told.expect("it is fed in time").last().unwrap(), "WATCHDOG=1");
    }
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let watchdog = [("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let mut process = manager.start(&[], &watchdog);
    process.addrs();
    assert_eq!(manager.told().await[0], "READY=1");
    let told = manager.told().await;
    assert!(told[0].starts_with("STATUS=") && told.len() == 1, "{told:?}");
}

/// A service manager that has gone, or a wrong name, is no reason to serve nobody.
#[tokio::test]
async fn one_that_cannot_be_reached_stops_nothing() {
    let env = [("NOTIFY_SOCKET", "/nowhere/notify")];
    let (mut process, manager) = (Process::start_with(&LOOPBACK, &env), Manager::new());
    let mut orphan = manager.start(&[], &[("WATCHDOG_USEC", "2000")]);
    assert_eq!(manager.told().await[0], "READY=1");
    drop(manager);
    let warning = process.line();
    assert!(warning.contains("NOTIFY_SOCKET") && warning.contains("/nowhere/notify"), "{warning}");
    for process in [&mut process, &mut orphan] {
        connect(process.addrs()[0]).await.expect_nothing().await;
    }
    for process in [process, orphan] {
        process.signal("TERM");
        assert_eq!(process.end().0, Some(0));
    }
}
