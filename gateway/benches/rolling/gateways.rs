//! The gateways: processes that are told to end, and are started again on the same ports.

use std::process::Child;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::options::Options;
use crate::started;

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
        let (timeout, spread) = (time(options.drain_timeout), time(options.drain_spread));
        let threads = options.threads.to_string();
        let flags = [
            ("--client-addr", client_addr),
            ("--server-addr", server_addr),
            ("--drain-timeout", &timeout),
            ("--drain-spread", &spread),
            ("--threads", &threads),
        ];
        let args: Vec<&str> = flags.into_iter().flat_map(|(flag, value)| [flag, value]).collect();
        let (child, [client_addr, server_addr]) = started::start(&options.gateway, &args)?;
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
