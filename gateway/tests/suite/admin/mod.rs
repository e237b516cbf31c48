//! The admin server, by HTTP.

mod cost;
mod endpoints;
mod http;
mod metrics;
mod process;
mod security;
mod sessions;
mod slow;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fastway::net::TcpNetwork;
use fastway_gateway::Config;
use fastway_gateway::admin::{Admin, AdminConfig, AdminToken, Controls, RunningAdmin};
use tracing::level_filters::LevelFilter;

use self::http::{Answer, request};
use super::support::{TestGateway, config};

/// A gateway with an admin server on a thread of its own.
struct Operated {
    gateway: TestGateway,
    addr: SocketAddr,
    controls: Recorder,
    _admin: RunningAdmin,
}

impl Operated {
    async fn start() -> Self {
        Self::start_with(config(), |_| ()).await
    }

    async fn start_with(config: Config, change: impl FnOnce(&mut AdminConfig)) -> Self {
        let mut admin_config = AdminConfig::new("127.0.0.1:0".parse().unwrap());
        change(&mut admin_config);
        let controls = Recorder::default();
        let (gateway, (addr, admin)) =
            TestGateway::start_beside(TcpNetwork::new(), config, async |gateway| {
                let admin = Admin::bind(&TcpNetwork::new(), admin_config).await.unwrap();
                (admin.addr(), admin.start(gateway, controls.clone()).unwrap())
            })
            .await;
        Self { gateway, addr, controls, _admin: admin }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    async fn post(&self, path: &str) -> Answer {
        self.ask("POST", path, &[], "").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(self.addr, method, path, headers, body).await
    }
}

fn with_token(token: &str) -> impl FnOnce(&mut AdminConfig) + use<> {
    let token = AdminToken::new(token).unwrap();
    move |config| config.token = Some(token)
}

/// Notes what was asked of the process, and reads a setting that cannot work once it is told so.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    reloads: usize,
    levels: Vec<LevelFilter>,
    mistake: Option<String>,
}

impl Controls for Recorder {
    fn reload(&self) -> Result<String, String> {
        let mut asked = self.0.lock().unwrap();
        asked.reloads += 1;
        asked.mistake.clone().map_or(Ok("nothing has changed".to_owned()), Err)
    }

    fn set_log_level(&self, level: LevelFilter) -> Result<(), String> {
        self.0.lock().unwrap().levels.push(level);
        Ok(())
    }
}
