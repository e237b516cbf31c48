//! The demo's gateway: the real one, in this process, on free ports of the loopback address.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use fastway::net::TcpNetwork;
use fastway_gateway::{ClientConfig, Config, Handle, ServerConfig, ServerKey};
use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::plan::{Plan, Target};

/// A gateway on a thread of its own. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Gateway {
    handle: Handle,
    target: Target,
}

impl Gateway {
    /// Starts a gateway that lets the plan through.
    ///
    /// # Errors
    ///
    /// If there are no ports, no threads or no random bytes.
    #[expect(clippy::disallowed_methods, reason = "the demo's gateway has a thread of its own")]
    pub(crate) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let defaults = Config::default();
        let config = Config {
            client: ClientConfig {
                addr: any_port,
                max_conn: defaults.client.max_conn.max(plan.conns_per_client),
                ..defaults.client
            },
            server: ServerConfig {
                addr: any_port,
                key: ServerKey::new(plan.key.0.clone()),
                ..defaults.server
            },
            max_packet: plan.max_packet,
            ..Config::default()
        };
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).context("the operating system gives no random bytes")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let gateway = runtime.block_on(fastway_gateway::Gateway::bind(&TcpNetwork::new(), config, seed))?;
        let (handle, target) = (
            gateway.handle(),
            Target {
                client_addr: gateway.client_addr().to_string(),
                server_addr: gateway.server_addr().to_string(),
            },
        );
        std::thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || runtime.block_on(gateway.run()))?;
        Ok(Self { handle, target })
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.handle.stop();
    }
}
