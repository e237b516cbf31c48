//! The two processes that are compared: the floor and the gateway.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use fastway_loadgen::{Target, Usage};

use crate::options::Options;
use crate::served::Served;

/// Both that are compared.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) floor: Served,
    pub(crate) gateway: Served,
}

impl Pair {
    /// Starts both.
    pub(crate) fn start(options: &Options, gateway_flags: &[&str]) -> anyhow::Result<Self> {
        Ok(Self { floor: Served::floor()?, gateway: Served::gateway(&options.gateway, gateway_flags)? })
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

    /// The CPU time that it has used until now, in ns.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        let usage = Usage::of(self.pid()).context("the process that is measured is gone")?;
        Ok(usage.cpu_ns)
    }
}
