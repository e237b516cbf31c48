//! What was meant: flags become a [`Config`], in which every setting has a value that can work.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use fastway::frame::MaxPacket;
use fastway::keepalive::KeepaliveConfig;
use sysinfo::ProcessesToUpdate;

use super::flags::{AdminFlags, Cli, ServerFlags};
use crate::admin::{AdminConfig, AdminToken};
use crate::config::{ClientConfig, Config, MemPoolConfig, QueueLimits, ServerConfig, ServerKey, Threads};
use crate::size::Size;

impl Cli {
    /// What these flags mean.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let Self { client, server, shared, mem_pool, log, .. } = self;
        let queues = [client.client_send_queue_bytes.0, server.server_send_queue_bytes.0];
        let max_buffered_bytes = match shared.max_buffered_bytes {
            Some(size) => size.0,
            None => a_quarter_of_memory(&queues)?,
        };
        let config = Config {
            client: ClientConfig {
                addr: client.client_addr,
                max_conn: client.client_max_conn,
                buffer_bytes: client.client_buffer_size.0,
                keepalive: keepalive(client.client_ping_interval, client.client_idle_timeout),
                queue: QueueLimits {
                    messages: client.client_send_chan_size,
                    bytes: client.client_send_queue_bytes.0,
                },
                stall_timeout: client.client_stall_timeout,
                dead_peer_timeout: client.client_dead_peer_timeout,
                max_clients: client.max_clients,
                max_clients_per_ip: client.max_clients_per_ip,
                accept_rate: client.accept_rate,
                dial_rate: client.dial_rate,
                command_rate: client.command_rate,
                proxy_protocol: client.client_proxy_protocol.clone(),
                tls: client.tls()?,
                tls_timeout: client.client_tls_timeout,
            },
            server: ServerConfig {
                addr: server.server_addr,
                key: server.key()?,
                allow_no_auth: server.allow_no_auth,
                auth_timeout: server.server_auth_timeout,
                buffer_bytes: server.server_buffer_size.0,
                keepalive: keepalive(server.server_ping_interval, server.server_idle_timeout),
                queue: QueueLimits {
                    messages: server.server_send_chan_size,
                    bytes: server.server_send_queue_bytes.0,
                },
                stall_timeout: server.server_stall_timeout,
                dead_peer_timeout: server.server_dead_peer_timeout,
                allow: server.server_allow.clone(),
                groups: server.server_groups.clone(),
                tls: server.tls()?,
            },
            max_packet: max_packet(shared.max_packet_size)?,
            reuse_port: shared.reuse_port,
            threads: threads(shared.threads)?,
            frame_timeout: shared.frame_timeout,
            max_buffered_bytes,
            drain_timeout: shared.drain_timeout,
            drain_spread: shared.drain_spread,
            mem_pool: MemPoolConfig {
                pool_type: mem_pool.mem_pool_type,
                factor: mem_pool.mem_pool_factor,
                min_chunk_bytes: mem_pool.mem_pool_min_chunk.0,
                max_chunk_bytes: mem_pool.mem_pool_max_chunk.0,
                page_bytes: mem_pool.mem_pool_page_size.0,
            },
            access_log: log.access_log,
        };
        config.check()?;
        Ok(config)
    }
}

impl ServerFlags {
    fn key(&self) -> anyhow::Result<ServerKey> {
        let Some(path) = &self.server_auth_password_file else {
            return Ok(ServerKey::new(self.server_auth_password.clone().unwrap_or_default()));
        };
        let key = secret("--server-auth-password-file", path)?;
        if key.is_empty() {
            bail!("--server-auth-password-file {} is empty: write the password into it", path.display());
        }
        Ok(ServerKey::new(key))
    }
}

/// What the admin flags mean. The token is told, wherever it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdminSettings {
    pub(super) addr: Option<SocketAddr>,
    pub(super) token: Option<AdminToken>,
    pub(super) hosts: Vec<String>,
}

impl AdminSettings {
    /// Nothing without an address.
    pub(super) fn config(&self) -> Option<AdminConfig> {
        let Self { addr, token, hosts } = self.clone();
        addr.map(|addr| AdminConfig { addr, token, hosts })
    }
}

impl AdminFlags {
    pub(super) fn settings(&self) -> anyhow::Result<AdminSettings> {
        let token = match (&self.admin_token_file, &self.admin_token) {
            (Some(path), _) => Some(token_in(path)?),
            (None, Some(token)) => {
                Some(AdminToken::new(token.as_str()).context("--admin-token cannot be used")?)
            }
            (None, None) => None,
        };
        let settings = AdminSettings { addr: self.admin_addr, token, hosts: self.admin_host.clone() };
        settings.config().map_or(Ok(()), |config| config.check())?;
        Ok(settings)
    }
}

fn token_in(path: &Path) -> anyhow::Result<AdminToken> {
    let name = "--admin-token-file";
    let cannot_be_used = || format!("{name} {} cannot be used", path.display());
    // What is no text has other characters than a token.
    let token = String::from_utf8_lossy(&secret(name, path)?).into_owned();
    AdminToken::new(token).with_context(cannot_be_used)
}

/// What a file says but for one line end at its end.
fn secret(name: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut secret =
        std::fs::read(path).with_context(|| format!("{name} {} cannot be read", path.display()))?;
    if secret.ends_with(b"\n") {
        secret.pop();
    }
    if secret.ends_with(b"\r") {
        secret.pop();
    }
    Ok(secret)
}

fn keepalive(ping_interval: Duration, idle_timeout: Option<Duration>) -> KeepaliveConfig {
    let every = KeepaliveConfig::every(ping_interval);
    KeepaliveConfig { idle_timeout: idle_timeout.unwrap_or(every.idle_timeout), ..every }
}

fn max_packet(size: Size) -> anyhow::Result<MaxPacket> {
    u32::try_from(size.0).ok().and_then(MaxPacket::new).ok_or_else(|| {
        let smallest = MaxPacket::SMALLEST;
        anyhow!(
            "--max-packet-size is {size}, but must be from {smallest}, for the longest command, to 4294967295"
        )
    })
}

fn threads(count: Option<usize>) -> anyhow::Result<Threads> {
    let count = match count {
        Some(count) => count,
        None => std::thread::available_parallelism().map_or(1, usize::from).min(Threads::MAX),
    };
    let max = Threads::MAX;
    Threads::new(count).ok_or_else(|| anyhow!("--threads is {count}, but must be 1 to {max}"))
}

/// What may wait in a gateway that was not told: room for the other half of the memory that buffers take, for the kernel's own,
/// and for everything else. A machine that is too small for that still lets a single queue fill up.
fn a_quarter_of_memory(queues: &[usize]) -> anyhow::Result<usize> {
    let memory = memory_bytes().context(
        "--max-buffered-bytes is not set, and how much memory there is cannot be found out: set it, to 0 for no limit",
    )?;
    // A whole number of megabytes is easier to read.
    let quarter = usize::try_from(((memory / 4) >> 20) << 20).unwrap_or(usize::MAX);
    Ok(queues.iter().copied().fold(quarter, usize::max))
}

/// What this process may use: the memory of the machine, or of the control group that it is in.
fn memory_bytes() -> anyhow::Result<u64> {
    let pid = sysinfo::get_current_pid().map_err(|error| anyhow!(error))?;
    let mut system = sysinfo::System::new()?;
    system.refresh_memory();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
    let process = system.process(pid).and_then(|process| process.cgroup_limits());
    let cgroups = [system.cgroup_limits(), process].into_iter().flatten().map(|cgroup| cgroup.total_memory);
    Ok(cgroups.fold(system.total_memory(), u64::min))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::parse;

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        parse([&["gateway"], args].concat().into_iter().map(OsString::from))
    }

    /// Somebody who sets nothing gets the same from the flags as from the library.
    #[test]
    fn the_defaults_of_the_flags_are_those_of_the_library() {
        let typed = config(&["--threads", "1", "--max-buffered-bytes", "0"]).unwrap();
        assert_eq!(format!("{typed:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_idle_timeout_follows_the_ping_interval() {
        let typed = config(&["--client-ping-interval", "5s", "--server-ping-interval", "0"]).unwrap();
        assert_eq!(typed.client.keepalive.idle_timeout, Duration::from_secs(10));
        assert_eq!(typed.server.keepalive, KeepaliveConfig::ANSWER_ONLY);
        let typed = config(&["--client-ping-interval", "0", "--client-idle-timeout", "90s"]).unwrap();
        assert_eq!(typed.client.keepalive.idle_timeout, Duration::from_secs(90));
    }

    #[test]
    fn what_cannot_work_is_said_with_flag_value_and_remedy() {
        for (args, words) in [
            (&["--max-packet-size", "12"][..], &["--max-packet-size", "12", "13"][..]),
            (&["--max-packet-size", "4G"], &["--max-packet-size", "4G", "4294967295"]),
            (&["--max-packet-size", "12x"], &["--max-packet-size", "12x", "512K"]),
            (&["--client-ping-interval", "30"], &["--client-ping-interval", "30", "30s"]),
            (&["--client-addr", "nowhere"], &["--client-addr", "nowhere", "IP:PORT"]),
            (&["--threads", "0"], &["--threads", "0", "1 to"]),
            (&["--threads", "two"], &["--threads", "two", "a whole number"]),
            (&["--client-max-conn", "-1"], &["--client-max-conn", "-1", "a whole number"]),
            (&["--mem-pool-type", "slab"], &["--mem-pool-type", "slab", "sync, atom, chan"]),
            (&["--server-addr", "0.0.0.0:1"], &["--server-auth-password", "0.0.0.0:1", "--allow-no-auth"]),
            (&["--server-allow", "10.0.0.0/33"], &["--server-allow", "10.0.0.0/33", "10.0.0.0/8"]),
            (&["--server-groups", "9=1-2,1000=1010-1001"], &["--server-groups", "1010-1001 runs backwards"]),
            (&["--server-groups", "9=1-2,9=4"], &["--server-groups has 9=1-2:least and 9=4-4:least"]),
            (&["--client-proxy-protocol", "::1,lb"], &["--client-proxy-protocol", "lb", "10.0.0.0/8"]),
            (&["--max-buffered-bytes", "1M"], &["--max-buffered-bytes", "1M", "at least 64M"]),
            (&["--dial-rate", "fast"], &["--dial-rate", "fast", "a whole number"]),
            (&["--access-log", "some"], &["--access-log", "some", "1/N"]),
            (&["--frame-timeout", "60"], &["--frame-timeout", "60", "30s"]),
            (
                &["--server-dead-peer-timeout", "100ms"],
                &["--server-dead-peer-timeout", "100ms", "1s to 9h, or 0"],
            ),
            (
                &["--client-dead-peer-timeout", "1day"],
                &["--client-dead-peer-timeout", "1day", "1s to 9h, or 0"],
            ),
            (&["--server-auth-password-file", "/no/such"], &["--server-auth-password-file", "/no/such"]),
            (&["--admin-addr", ":7030"], &["--admin-token is not set", "0.0.0.0:7030", "--admin-token-file"]),
            (&["--admin-token-file", "/no/such"], &["--admin-token-file", "/no/such"]),
            (
                &["--admin-token-file", "/dev/null"],
                &["--admin-token-file /dev/null", "empty", "openssl rand"],
            ),
            (&["--admin-token", "two words"], &["--admin-token", "no spaces"]),
            (&["--admin-addr", "admin"], &["--admin-addr", "admin", "IP:PORT"]),
            (&["--admin-host", "gateway:80"], &["--admin-host", "gateway:80", "no port"]),
        ] {
            let error = format!("{:#}", config(args).expect_err("it cannot work"));
            for word in words {
                assert!(error.contains(word), "{args:?}: {word:?} is not in {error:?}");
            }
        }
    }
}
