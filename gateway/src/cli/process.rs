//! The process around a gateway, and the signals that end it.

use anyhow::{Context as _, anyhow};
use fastway::id::Side;
use fastway::net::TcpNetwork;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::log::Log;
use super::notify::ServiceManager;
use super::pid_file::PidFile;
use super::reload::{Reloader, reload_on_signal};
use super::sources::{Settings, Sources};
use crate::admin::Admin;
use crate::expiry::log_expiring_daily;
use crate::gateway::{BindError, Gateway, Handle, STOP_TIMEOUT};
use crate::size::Size;

/// Binds, serves, stops. Whatever fails does so at the start.
pub(super) fn run(sources: Sources, settings: &Settings, log: Log) -> anyhow::Result<()> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).context("the operating system gives no random bytes for challenges")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let no_auth = settings.config.server.key.is_empty();
        let (client, server) = (&settings.config.client, &settings.config.server);
        let encrypted = [(Side::Client, client.tls.is_some()), (Side::Server, server.tls.is_some())];
        let max_buffered_bytes = settings.config.max_buffered_bytes;
        let gateway =
            Gateway::bind(&TcpNetwork::new(), settings.config.clone(), seed).await.map_err(|error| {
                match error {
                    BindError::Config(error) => unreachable!("it was checked before: {error}"),
                    error @ BindError::Bind { .. } => anyhow!(error),
                }
            })?;
        // Before anybody is told that it runs: whoever reads the next line may send a signal at once.
        let service_manager = ServiceManager::from_env();
        stop_on_signals(gateway.handle(), &service_manager, &log).context("cannot watch for signals")?;
        let admin = match settings.admin.config() {
            Some(config) => Some(Admin::bind(&TcpNetwork::new(), config).await?),
            None => None,
        };
        let access = admin.as_ref().map(Admin::access);
        let reloader =
            Reloader::new(sources, settings, gateway.handle(), access, log, service_manager.clone());
        reload_on_signal(reloader.clone()).context("cannot watch for signals")?;
        let pid_file = settings.cli.process.pid_file.as_deref();
        let _pid_file = pid_file.map(PidFile::write).transpose()?;
        info!(side = "client", addr = %gateway.client_addr(), "listening");
        info!(side = "server", addr = %gateway.server_addr(), "listening");
        for (side, tls) in encrypted {
            if tls {
                info!(%side, "they come over TLS");
            }
        }
        // It answers until everybody has gone, so that whoever waits for that can ask.
        let _admin = match admin {
            Some(admin) => {
                info!(side = "admin", addr = %admin.addr(), "listening");
                Some(admin.start(&gateway, reloader).context("cannot start a thread")?)
            }
            None => None,
        };
        if max_buffered_bytes > 0 {
            info!(max_buffered_bytes = %Size(max_buffered_bytes), "what may wait in all queues together");
        }
        if no_auth {
            warn!("no password is set: whoever reaches the internal port can register as any server");
        }
        settings.log_warnings();
        tokio::spawn(log_expiring_daily(gateway.handle()));
        service_manager.ready(gateway.handle());
        gateway.run().await.context("cannot start a thread")?;
        info!("stopped");
        Ok(())
    })
}

/// SIGTERM drains the gateway, or stops it in good order if it drains already; SIGINT stops it. Whichever comes when it stops
/// ends the process.
fn stop_on_signals(gateway: Handle, service_manager: &ServiceManager, log: &Log) -> std::io::Result<()> {
    for (kind, name, exit_code) in
        [(SignalKind::interrupt(), "SIGINT", 130), (SignalKind::terminate(), "SIGTERM", 143)]
    {
        let (mut signals, gateway, service_manager, log) =
            (signal(kind)?, gateway.clone(), service_manager.clone(), log.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if gateway.is_stopping() {
                    error!(signal = name, "another signal: exiting at once");
                    log.flush();
                    std::process::exit(exit_code);
                }
                if kind == SignalKind::terminate() && !gateway.is_draining() {
                    info!(signal = name, "draining: another signal stops at once, and one more exits");
                    service_manager.stopping(gateway.longest_drain());
                    gateway.drain();
                    continue;
                }
                info!(
                    signal = name,
                    "stopping: sending what is queued, 10 s at most; another signal exits at once"
                );
                service_manager.stopping(STOP_TIMEOUT);
                gateway.stop();
            }
        });
    }
    Ok(())
}
