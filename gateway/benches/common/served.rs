//! The processes that are measured, the gateway first of all. They end when this is dropped.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use fastway_loadgen::Target;

use crate::process;

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
