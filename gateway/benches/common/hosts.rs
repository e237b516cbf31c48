//! Hosts that are network namespaces of this machine, with cables to a switch, which is a bridge in a namespace of its own.
//! Nothing of it is in the machine's own network, and two switches at a time know nothing of each other.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Names of namespaces begin like this; then come the process that made them, and a number.
const PREFIX: &str = "fastway-";

/// A switch. Without it, hosts are still connected.
#[derive(Debug)]
pub(crate) struct Switch {
    namespace: Arc<Namespace>,
    hosts: u8,
}

/// A host with a cable to the switch. Dropped, it is gone, as soon as nobody is on it any more.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: Namespace,
    switch: Arc<Namespace>,
    /// What the switch calls its end of the cable.
    cable: String,
    addr: Ipv4Addr,
}

impl Switch {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// With a sentence, if that is not possible here.
    pub(crate) fn make() -> anyhow::Result<Self> {
        remove_leftovers();
        let namespace = Namespace::make().context(
            "network namespaces cannot be made here: that takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2",
        )?;
        namespace.ip("link add bridge type bridge")?;
        namespace.ip("link set bridge up")?;
        Ok(Self { namespace: Arc::new(namespace), hosts: 0 })
    }

    /// Makes a host.
    pub(crate) fn host(&mut self) -> anyhow::Result<Host> {
        self.hosts += 1;
        let (namespace, switch) = (Namespace::make()?, self.namespace.clone());
        let (cable, addr) = (format!("cable{}", self.hosts), Ipv4Addr::new(10, 77, 0, self.hosts));
        switch.ip(&format!("link add {cable} type veth peer name eth0 netns {}", namespace.0))?;
        switch.ip(&format!("link set {cable} master bridge up"))?;
        namespace.ip(&format!("addr add {addr}/24 dev eth0"))?;
        namespace.ip("link set lo up")?;
        namespace.ip("link set eth0 up")?;
        Ok(Host { namespace, switch, cable, addr })
    }
}

impl Host {
    /// Where it is reached.
    pub(crate) const fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// Does something on this thread: sockets and processes that are made by it are of this host.
    pub(crate) fn on<T>(&self, work: impl FnOnce() -> T) -> T {
        let _back = Home(File::open("/proc/thread-self/ns/net").expect("this thread has a network"));
        enter(&File::open(self.namespace.path()).expect("it is there as long as this host"));
        work()
    }

    /// Pulls its cable at the switch: nobody is told, whatever is sent is lost.
    pub(crate) fn cut(&self) -> anyhow::Result<()> {
        self.switch.ip(&format!("link set {} down", self.cable))
    }

    /// Plugs it in again.
    pub(crate) fn mend(&self) -> anyhow::Result<()> {
        self.switch.ip(&format!("link set {} up", self.cable))
    }
}

/// Where a thread came from. Dropped, the thread is there again.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        enter(&self.0);
    }
}

fn enter(network: &File) {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("whoever can make namespaces can enter them");
}

/// A namespace by its name.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn make() -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"))?;
        Ok(Self(name))
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// One command of `ip` in it.
    fn ip(&self, command: &str) -> anyhow::Result<()> {
        ip(&format!("-n {} {command}", self.0))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left, a later process removes.
        let _ = ip(&format!("netns del {}", self.0));
    }
}

fn ip(command: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(command.split(' '))
        .stdin(Stdio::null())
        .output()
        .context("ip cannot be started: install iproute2")?;
    if !output.status.success() {
        bail!("ip {command}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Removes what processes have left behind that do not run any more: they were killed.
fn remove_leftovers() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}
