//! The gateways: processes that are told to end, and are started again on the same ports.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::options::Options;

/// One gateway. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct GatewayProcess {
    pub(crate) child: Child,
    pub(crate) client_addr: String,
    pub(crate) server_addr: String,
}

/// One restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    pub(crate) gateway: usize,
    /// When it got the signal, and when it had ended.
    pub(crate) told: Instant,
    pub(crate) ended: Instant,
    /// `None` if it did not end in time.
    pub(crate) code: Option<i32>,
}

impl GatewayProcess {
    /// On any free ports.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        Self::start_on("127.0.0.1:0", "127.0.0.1:0", options)
    }

    /// On the same ports.
    pub(crate) fn start_again(&mut self, options: &Options) -> anyhow::Result<()> {
        let (client_addr, server_addr) = (self.client_addr.clone(), self.server_addr.clone());
        // If it has not ended by itself: nobody can have its ports before.
        let _ = self.child.kill();
        let _ = self.child.wait();
        *self = Self::start_on(&client_addr, &server_addr, options)?;
        Ok(())
    }

    fn start_on(client_addr: &str, server_addr: &str, options: &Options) -> anyhow::Result<Self> {
        let time = |time| humantime::format_duration(time).to_string();
        let mut command = Command::new(&options.gateway);
        command.args(["--client-addr", client_addr, "--server-addr", server_addr]);
        command.args(["--drain-timeout", &time(options.drain_timeout)]);
        command.args(["--drain-spread", &time(options.drain_spread)]);
        command.args(["--threads", &options.threads.to_string()]);
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
        let mut addrs = Vec::new();
        let mut lines = String::new();
        while addrs.len() < 2 {
            let before = lines.len();
            if log.read_line(&mut lines)? == 0 {
                bail!("a gateway did not start ({}):\n{}", child.wait()?, lines.trim_end());
            }
            if let Some((_, addr)) =
                lines[before..].split_once("addr=").filter(|(words, _)| words.contains("listening"))
            {
                addrs.push(addr.trim().to_owned());
            }
        }
        // What nobody reads would stop it in the end.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let [client_addr, server_addr] = addrs.try_into().expect("there are two");
        Ok(Self { child, client_addr, server_addr })
    }

    /// Tells it to end.
    pub(crate) fn terminate(&self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has an ID")?;
        kill_process(pid, Signal::TERM).context("a gateway is gone")
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
