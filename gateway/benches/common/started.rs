//! Starting a gateway as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

/// A process, and where it listens for clients and for servers. Only these arguments count, whatever the environment says.
pub(crate) fn start(gateway: &Path, args: &[&str]) -> anyhow::Result<(Child, [String; 2])> {
    let mut command = Command::new(gateway);
    command.args(args);
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
        .with_context(|| format!("{} cannot be started", gateway.display()))?;
    let mut log = BufReader::new(child.stderr.take().context("it was asked for")?);
    let mut lines = String::new();
    let [Some(client_addr), Some(server_addr)] =
        ["client", "server"].map(|side| addr(&mut log, side, &mut lines))
    else {
        let _ = child.kill();
        bail!("{} did not start ({}):\n{}", gateway.display(), child.wait()?, lines.trim_end());
    };
    // What nobody reads would stop it in the end.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok((child, [client_addr, server_addr]))
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
