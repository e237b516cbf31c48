//! The processes that are measured: the floor and the gateway. They end when this is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use fastway_loadgen::{Target, Usage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::options::Options;

/// A process that forwards.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    target: Target,
}

/// Both that are compared.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) floor: Served,
    pub(crate) gateway: Served,
}

impl Pair {
    /// Starts both.
    pub(crate) fn start(options: &Options, gateway_flags: &[&str]) -> anyhow::Result<Self> {
        Ok(Self { floor: Served::floor()?, gateway: Served::gateway(options, gateway_flags)? })
    }
}

impl Served {
    /// Starts the floor: this program once more.
    pub(crate) fn floor() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        let mut child = command.arg("--floor").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("it was asked for")?;
        BufReader::new(output).read_line(&mut line)?;
        let Some((client_addr, server_addr)) = line.trim().split_once(' ') else {
            let _ = child.kill();
            bail!("the floor did not start ({})", child.wait()?);
        };
        let target = Target { client_addr: client_addr.to_owned(), server_addr: server_addr.to_owned() };
        Ok(Self { child, target })
    }

    /// Starts the gateway with these flags, unless the options have the same ones.
    pub(crate) fn gateway(options: &Options, flags: &[&str]) -> anyhow::Result<Self> {
        let more: Vec<&str> = options.gateway_args.split_whitespace().collect();
        let is_given = |name: &str| more.iter().any(|flag| flag.split('=').next() == Some(name));
        let own = flags.chunks(2).filter(|flag| !is_given(flag[0])).flatten();
        let mut command = Command::new(&options.gateway);
        command.args(["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"]).args(&more).args(own);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FASTWAY_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", options.gateway.display()))?;
        let mut log = BufReader::new(child.stderr.take().context("it was asked for")?);
        let mut lines = String::new();
        let [Some(client_addr), Some(server_addr)] =
            ["client", "server"].map(|side| addr(&mut log, side, &mut lines))
        else {
            let _ = child.kill();
            bail!("{} did not start ({}):\n{}", options.gateway.display(), child.wait()?, lines.trim_end());
        };
        // What nobody reads would stop it in the end.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, target: Target { client_addr, server_addr } })
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The CPU time that it has used until now, in ns.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        let usage = Usage::of(self.pid()).context("the process that is measured is gone")?;
        Ok(usage.cpu_ns)
    }

    /// Its resident memory now, in bytes, counted page by page: the kernel's running counters are some hundred KiB off.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<f64> {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = maps.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib: f64 = line
            .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
            .context("the kernel does not tell how much memory a process has")?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line of the log that says where this side listens; what was read goes to `lines`.
fn addr(log: &mut impl BufRead, side: &str, lines: &mut String) -> Option<String> {
    let listening = format!("listening side=\"{side}\" addr=");
    loop {
        let before = lines.len();
        if log.read_line(lines).ok()? == 0 {
            return None;
        }
        if let Some((_, addr)) = lines[before..].split_once(&listening) {
            return Some(addr.trim().to_owned());
        }
    }
}

/// Raises the soft limit of open files to the hard one: for this process, and for those that it starts.
pub(crate) fn raise_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it cannot be raised, connecting fails, and says why.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
