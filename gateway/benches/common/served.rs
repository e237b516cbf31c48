//! The processes that are measured, the gateway first of all. They end when this is dropped.

use std::path::PathBuf;
use std::process::Child;

use fastway_loadgen::Target;

use crate::{process, started};

/// Which gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayOptions {
    /// Another gateway than the one that was built with this bench
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_gateway"), hide_default_value = true)]
    pub(crate) gateway: PathBuf,

    /// More flags for the gateway, separated by spaces; where a row has the same flag, this one counts
    #[arg(long, value_name = "FLAGS", allow_hyphen_values = true, default_value = "")]
    pub(crate) gateway_args: String,
}

/// A process that forwards.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) target: Target,
}

impl Served {
    /// Starts the gateway with these flags, unless the options have the same ones.
    pub(crate) fn gateway(options: &GatewayOptions, flags: &[&str]) -> anyhow::Result<Self> {
        let more: Vec<&str> = options.gateway_args.split_whitespace().collect();
        let is_given = |name: &str| more.iter().any(|flag| flag.split('=').next() == Some(name));
        let own = flags.chunks(2).filter(|flag| !is_given(flag[0])).flatten();
        let ports = ["--client-addr", "127.0.0.1:0", "--server-addr", "127.0.0.1:0"];
        let args: Vec<&str> = ports.into_iter().chain(more.iter().copied()).chain(own.copied()).collect();
        let (child, [client_addr, server_addr]) = started::start(&options.gateway, &args)?;
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

    /// Its resident memory now, in bytes.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<f64> {
        process::rss_bytes(self.pid())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
