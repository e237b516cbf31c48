//! Other settings for a gateway that runs: what of them is put into force, and when.
//!
//! Nobody is dropped for it. A session keeps the settings that it began with, so most of them are for new connections. What a
//! gateway is built of, its ports, threads and memory, stays as it is until it is started again.

use std::fmt;

use crate::config::{Config, ConfigError};

/// What became of other settings for a gateway that runs; settings that are the same as before are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// In force for everybody, by the names of the flags.
    pub at_once: Vec<&'static str>,
    /// In force for whoever connects from now on.
    pub for_new_connections: Vec<&'static str>,
    /// Not in force: for these, the gateway has to be started again.
    pub at_restart: Vec<&'static str>,
}

impl Reconfigured {
    /// Notes that a setting has changed.
    pub(crate) fn note(&mut self, setting: &'static str, effect: Effect) {
        match effect {
            Effect::AtOnce => self.at_once.push(setting),
            Effect::NewConnections => self.for_new_connections.push(setting),
            Effect::Restart => self.at_restart.push(setting),
        }
    }
}

/// One sentence.
impl fmt::Display for Reconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            ("in force at once", &self.at_once),
            ("for new connections", &self.for_new_connections),
            ("not before a restart", &self.at_restart),
        ];
        let groups: Vec<_> = groups
            .into_iter()
            .filter(|(_, settings)| !settings.is_empty())
            .map(|(when, settings)| format!("{when}: {}", settings.join(", ")))
            .collect();
        if groups.is_empty() { f.write_str("nothing has changed") } else { f.write_str(&groups.join("; ")) }
    }
}

/// When a setting that has changed is put into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    AtOnce,
    NewConnections,
    Restart,
}

/// One setting: its flag, and what it is in a configuration.
struct Setting {
    flag: &'static str,
    effect: Effect,
    differs: fn(&Config, &Config) -> bool,
    /// Puts the value of one configuration into another.
    keep: fn(&Config, &mut Config),
}

macro_rules! settings {
    ($($flag:literal $effect:ident $($field:ident).+;)*) => {
        [$(Setting {
            flag: $flag,
            effect: Effect::$effect,
            differs: |a, b| a.$($field).+ != b.$($field).+,
            keep: |from, to| to.$($field).+.clone_from(&from.$($field).+),
        }),*]
    };
}

/// Every setting of a [`Config`], in the order of the flags.
static SETTINGS: &[Setting] = &settings! {
    "--client-addr" Restart client.addr;
    "--client-max-conn" NewConnections client.max_conn;
    "--client-buffer-size" NewConnections client.buffer_bytes;
    "--client-ping-interval" NewConnections client.keepalive.ping_interval;
    "--client-idle-timeout" NewConnections client.keepalive.idle_timeout;
    "--client-send-chan-size" NewConnections client.queue.messages;
    "--client-send-queue-bytes" NewConnections client.queue.bytes;
    "--client-stall-timeout" NewConnections client.stall_timeout;
    "--client-dead-peer-timeout" NewConnections client.dead_peer_timeout;
    "--max-clients" NewConnections client.max_clients;
    "--max-clients-per-ip" NewConnections client.max_clients_per_ip;
    "--accept-rate" NewConnections client.accept_rate;
    "--dial-rate" NewConnections client.dial_rate;
    "--command-rate" NewConnections client.command_rate;
    "--client-proxy-protocol" NewConnections client.proxy_protocol;
    "--client-tls-cert" NewConnections client.tls;
    "--client-tls-timeout" NewConnections client.tls_timeout;
    "--server-addr" Restart server.addr;
    "--server-auth-password" NewConnections server.key;
    "--allow-no-auth" NewConnections server.allow_no_auth;
    "--server-auth-timeout" NewConnections server.auth_timeout;
    "--server-buffer-size" NewConnections server.buffer_bytes;
    "--server-ping-interval" NewConnections server.keepalive.ping_interval;
    "--server-idle-timeout" NewConnections server.keepalive.idle_timeout;
    "--server-send-chan-size" NewConnections server.queue.messages;
    "--server-send-queue-bytes" NewConnections server.queue.bytes;
    "--server-stall-timeout" NewConnections server.stall_timeout;
    "--server-dead-peer-timeout" NewConnections server.dead_peer_timeout;
    "--server-allow" NewConnections server.allow;
    "--server-groups" AtOnce server.groups;
    "--server-tls-cert" NewConnections server.tls;
    "--max-packet-size" NewConnections max_packet;
    "--reuse-port" Restart reuse_port;
    "--frame-timeout" NewConnections frame_timeout;
    "--max-buffered-bytes" AtOnce max_buffered_bytes;
    "--threads" Restart threads;
    "--access-log" AtOnce access_log;
    "--drain-timeout" AtOnce drain_timeout;
    "--drain-spread" AtOnce drain_spread;
    "--mem-pool-type" Restart mem_pool.pool_type;
    "--mem-pool-factor" Restart mem_pool.factor;
    "--mem-pool-min-chunk" Restart mem_pool.min_chunk_bytes;
    "--mem-pool-max-chunk" Restart mem_pool.max_chunk_bytes;
    "--mem-pool-page-size" Restart mem_pool.page_bytes;
};

/// The settings in force after `running` was told of `wanted`, and what has changed.
///
/// # Errors
///
/// If `wanted` cannot work, or cannot work with what `running` keeps until it is started again: an empty password, for one,
/// does not come into force on a port that strangers still reach. Then nothing of it is put into force.
pub(crate) fn reconfigure(
    running: &Config,
    mut wanted: Config,
) -> Result<(Config, Reconfigured), ConfigError> {
    wanted.check()?;
    let mut reconfigured = Reconfigured::default();
    for setting in SETTINGS {
        if (setting.differs)(running, &wanted) {
            reconfigured.note(setting.flag, setting.effect);
            if setting.effect == Effect::Restart {
                (setting.keep)(running, &mut wanted);
            }
        }
    }
    wanted.check()?;
    Ok((wanted, reconfigured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ServerKey, Threads};

    #[test]
    fn what_needs_a_restart_stays_and_the_rest_is_applied() {
        let running = Config::default();
        let mut wanted = running.clone();
        wanted.client.max_conn = 3;
        wanted.server.addr.set_port(9);
        wanted.threads = Threads::new(4).unwrap();
        wanted.max_buffered_bytes = 1 << 30;
        let (next, reconfigured) = reconfigure(&running, wanted).unwrap();
        assert_eq!((next.client.max_conn, next.server.addr.port(), next.threads.get()), (3, 7020, 1));
        assert_eq!(
            reconfigured.to_string(),
            "in force at once: --max-buffered-bytes; for new connections: --client-max-conn; \
             not before a restart: --server-addr, --threads"
        );
        assert_eq!(reconfigure(&running, running.clone()).unwrap().1.to_string(), "nothing has changed");
    }

    /// The file says both: no password, and an address that only this machine reaches. But the address in use is still the
    /// old one.
    #[test]
    fn a_password_does_not_go_while_strangers_reach_the_port() {
        let mut running = Config::default();
        running.server.addr = "10.0.0.1:7020".parse().unwrap();
        running.server.key = ServerKey::new("secret");
        let error = reconfigure(&running, Config::default()).unwrap_err();
        assert_eq!(error, ConfigError::NoAuth { addr: running.server.addr });
    }
}
