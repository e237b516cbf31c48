//! Hosts that are network namespaces of this machine, at one switch, which is a bridge in a namespace of its own. Nothing of it
//! is in the machine's own network, and two such networks at a time know nothing of each other.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Names of namespaces begin like this; then comes the process that made them.
const PREFIX: &str = "fastway-";

/// The name of the switch's namespace.
const SWITCH: &str = "switch";

/// Hosts at one switch. Dropped, they are gone; whoever uses them has to have ended his processes before.
#[derive(Debug)]
pub(crate) struct Hosts {
    prefix: String,
    made: Vec<String>,
}

/// A host by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    name: &'static str,
    number: u8,
}

impl Host {
    /// Where it is reached.
    pub(crate) fn addr(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

impl Hosts {
    /// Makes the switch and a host for each name.
    ///
    /// # Errors
    ///
    /// With a sentence, if that is not possible here.
    pub(crate) fn make(names: &[&'static str]) -> anyhow::Result<(Self, Vec<Host>)> {
        remove_leftovers();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let mut hosts = Self { prefix, made: Vec::new() };
        hosts.add(SWITCH).context(
            "network namespaces cannot be made here: that takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2",
        )?;
        hosts.in_host(SWITCH, "link add bridge type bridge")?;
        hosts.in_host(SWITCH, "link set bridge up")?;
        let mut all = Vec::new();
        for (name, number) in names.iter().zip(11..) {
            let host = Host { name, number };
            hosts.add(name)?;
            let other_end = hosts.namespace(name);
            hosts.in_host(SWITCH, &format!("link add {name} type veth peer name eth0 netns {other_end}"))?;
            hosts.in_host(SWITCH, &format!("link set {name} master bridge up"))?;
            hosts.in_host(name, &format!("addr add {}/24 dev eth0", host.addr()))?;
            hosts.in_host(name, "link set lo up")?;
            hosts.in_host(name, "link set eth0 up")?;
            all.push(host);
        }
        Ok((hosts, all))
    }

    /// Pulls the host's cable at the switch: nobody is told, whatever is sent is lost.
    pub(crate) fn cut(&self, host: &Host) -> anyhow::Result<()> {
        self.in_host(SWITCH, &format!("link set {} down", host.name))
    }

    /// Plugs it in again.
    pub(crate) fn mend(&self, host: &Host) -> anyhow::Result<()> {
        self.in_host(SWITCH, &format!("link set {} up", host.name))
    }

    /// What begins a command line so that the program runs on a host, and ends with this process, however that ends.
    pub(crate) fn on(&self, host: &Host) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(host.name), "setpriv", "--pdeathsig", "KILL"]
            .map(str::to_owned)
            .to_vec()
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add(&mut self, name: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(name);
        ip(&["netns", "add", &namespace])?;
        self.made.push(namespace);
        Ok(())
    }

    /// One command of `ip`, in a host's namespace.
    fn in_host(&self, name: &str, command: &str) -> anyhow::Result<()> {
        let namespace = self.namespace(name);
        let args: Vec<_> = ["-n", &namespace].into_iter().chain(command.split(' ')).collect();
        ip(&args)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for namespace in &self.made {
            // Whatever is left, the next one removes.
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("ip cannot be started: install iproute2")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("ip {}: {}", args.join(" "), said.trim())
}

/// What processes have left behind that were killed; they do not run any more.
fn remove_leftovers() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}
