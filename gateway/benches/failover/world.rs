//! Everybody who takes part: gateways, servers and clients, each a process on its host.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::hosts::{Host, Switch};
use crate::started;
use crate::tool;

/// Gateways, in the order of their hosts.
pub(crate) const GATEWAYS: [&str; 3] = ["gw1", "gw2", "gw3"];

const CLIENT_PORT: u16 = 7010;
const SERVER_PORT: u16 = 7020;
const PASSWORD: &str = "failover";

/// What begins a command line, so that the process ends with this one, however that ends.
const DIE_WITH_PARENT: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

/// How it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The gateway's program.
    pub(crate) gateway: PathBuf,
    /// What makes this program the tool, besides the variable.
    pub(crate) tool_args: &'static [&'static str],
    pub(crate) clients: usize,
    pub(crate) servers: usize,
    /// How often each client asks.
    pub(crate) pace: Duration,
    pub(crate) detection: Duration,
    pub(crate) spread: Duration,
    /// `--accept-rate` of the gateways.
    pub(crate) accept_rate: u32,
    pub(crate) drain_timeout: Duration,
    pub(crate) drain_spread: Duration,
    /// Where the tool draws.
    pub(crate) svg: Option<PathBuf>,
}

/// Everybody. Dropped, all processes have ended, and then the hosts are gone.
#[derive(Debug)]
pub(crate) struct World {
    setup: Setup,
    clients: Process,
    servers: Vec<Process>,
    gateways: Vec<Process>,
    folder: tempfile::TempDir,
    // Fields are dropped in this order.
    at: Places,
}

/// The hosts, and who is on which.
#[derive(Debug)]
pub(crate) struct Places {
    gateways: Vec<Host>,
    servers: Host,
    clients: Host,
}

impl Places {
    /// Makes the hosts.
    ///
    /// # Errors
    ///
    /// With a sentence, if there can be none here.
    pub(crate) fn make() -> anyhow::Result<Self> {
        let mut switch = Switch::make()?;
        let gateways = GATEWAYS.iter().map(|_| switch.host()).collect::<Result<_, _>>()?;
        Ok(Self { gateways, servers: switch.host()?, clients: switch.host()? })
    }
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl World {
    /// Starts everybody, and waits until all clients talk.
    pub(crate) fn start(setup: Setup, at: Places) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let gateways = at.gateways.iter().map(|host| gateway(&setup, host)).collect::<Result<_, _>>()?;
        let servers =
            (0..setup.servers).map(|number| server(&setup, &at, number)).collect::<Result<_, _>>()?;
        let clients = clients_of(&setup, &at, folder.path())?;
        let mut world = Self { setup, clients, servers, gateways, folder, at };
        world.await_ready()?;
        Ok(world)
    }

    /// Says what happens now.
    pub(crate) fn mark(&mut self, text: &str) -> anyhow::Result<()> {
        let marks = self.clients.0.stdin.as_mut().context("the tool takes marks")?;
        writeln!(marks, "{text}").and_then(|()| marks.flush()).context("the tool is gone")
    }

    /// The gateway is gone from one instant to the next; its kernel is there, and says so.
    pub(crate) fn kill_gateway(&mut self, number: usize) {
        self.gateways[number].kill();
    }

    /// SIGTERM, and its end.
    pub(crate) fn drain_gateway(&mut self, number: usize) -> anyhow::Result<()> {
        let child = &mut self.gateways[number].0;
        kill_process(Pid::from_child(child), Signal::TERM).context("a gateway is gone")?;
        let status = child.wait()?;
        ensure!(status.success(), "a gateway that was told to drain ended with {status}");
        Ok(())
    }

    pub(crate) fn start_gateway(&mut self, number: usize) -> anyhow::Result<()> {
        self.gateways[number] = gateway(&self.setup, &self.at.gateways[number])?;
        Ok(())
    }

    pub(crate) fn cut_gateway(&self, number: usize) -> anyhow::Result<()> {
        self.at.gateways[number].cut()
    }

    pub(crate) fn mend_gateway(&self, number: usize) -> anyhow::Result<()> {
        self.at.gateways[number].mend()
    }

    pub(crate) fn kill_server(&mut self, number: usize) {
        self.servers[number].kill();
    }

    pub(crate) fn start_server(&mut self, number: usize) -> anyhow::Result<()> {
        self.servers[number] = server(&self.setup, &self.at, number)?;
        Ok(())
    }

    /// Lets clients end, and returns what they saw.
    pub(crate) fn end(mut self) -> anyhow::Result<Value> {
        drop(self.clients.0.stdin.take());
        let status = self.clients.0.wait()?;
        let report = std::fs::read_to_string(report(self.folder.path()))
            .with_context(|| format!("the tool ended without a report ({status})"))?;
        serde_json::from_str(&report).with_context(|| format!("the tool's report is none ({status})"))
    }

    fn await_ready(&mut self) -> anyhow::Result<()> {
        let said = self.clients.0.stdout.take().context("it was asked for")?;
        let mut lines = BufReader::new(said).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line == "ready");
        // What nobody reads would stop it in the end.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        if is_ready {
            return Ok(());
        }
        let status = self.clients.0.wait()?;
        let report = std::fs::read_to_string(report(self.folder.path())).unwrap_or_default();
        let report: Value = serde_json::from_str(&report).unwrap_or_default();
        bail!("clients do not get through ({status}): {:#}", report["reasons"])
    }
}

fn report(folder: &Path) -> PathBuf {
    folder.join("report.json")
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn gateway(setup: &Setup, host: &Host) -> anyhow::Result<Process> {
    let mut line = DIE_WITH_PARENT.map(str::to_owned).to_vec();
    line.push(setup.gateway.display().to_string());
    for (flag, value) in [
        ("--client-addr", format!("{}:{CLIENT_PORT}", host.addr())),
        ("--server-addr", format!("{}:{SERVER_PORT}", host.addr())),
        ("--server-auth-password", PASSWORD.to_owned()),
        ("--accept-rate", setup.accept_rate.to_string()),
        ("--drain-timeout", time(setup.drain_timeout)),
        ("--drain-spread", time(setup.drain_spread)),
        ("--threads", "1".to_owned()),
    ] {
        line.extend([flag.to_owned(), value]);
    }
    let args: Vec<_> = line[1..].iter().map(String::as_str).collect();
    let (child, _) = host.on(|| started::start(Path::new(&line[0]), &args))?;
    Ok(Process(child))
}

fn server(setup: &Setup, at: &Places, number: usize) -> anyhow::Result<Process> {
    let mut args = failover(setup, at, "servers");
    args.extend(["--servers", "1", "--first-server-id", &(number + 1).to_string()].map(str::to_owned));
    tool(setup, &at.servers, &args, Stdio::null)
}

fn clients_of(setup: &Setup, at: &Places, folder: &Path) -> anyhow::Result<Process> {
    let mut args = failover(setup, at, "clients");
    let rate = setup.clients as f64 / setup.pace.as_secs_f64();
    for (flag, value) in [
        ("--servers", setup.servers.to_string()),
        ("--clients", setup.clients.to_string()),
        ("--rate", rate.to_string()),
        ("--json", report(folder).display().to_string()),
    ] {
        args.extend([flag.to_owned(), value]);
    }
    args.push("--marks".to_owned());
    if let Some(svg) = &setup.svg {
        args.extend(["--svg".to_owned(), svg.display().to_string()]);
    }
    tool(setup, &at.clients, &args, Stdio::piped)
}

/// What clients and servers are told alike.
fn failover(setup: &Setup, at: &Places, sides: &str) -> Vec<String> {
    let targets = at.gateways.iter().zip(GATEWAYS).map(|(host, name)| {
        let addr = host.addr();
        format!("{name}={addr}:{CLIENT_PORT}/{addr}:{SERVER_PORT}")
    });
    let (detection, spread) = (time(setup.detection), time(setup.spread));
    let flags = ["--play", sides, "--quiet", "--detection", &detection, "--spread", &spread];
    let flags = flags.into_iter().chain(["--password", PASSWORD]).map(str::to_owned);
    std::iter::once("failover".to_owned()).chain(targets).chain(flags).collect()
}

/// This program, as the tool on a host.
fn tool(setup: &Setup, host: &Host, args: &[String], stdio: fn() -> Stdio) -> anyhow::Result<Process> {
    let mut command = Command::new(DIE_WITH_PARENT[0]);
    let (name, value) = tool::variable(args);
    command.args(&DIE_WITH_PARENT[1..]).arg(std::env::current_exe()?).args(setup.tool_args).env(name, value);
    Ok(Process(host.on(|| command.stdin(stdio()).stdout(stdio()).spawn())?))
}
