//! The admin server: HTTP for those who operate a gateway, on a port of its own.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the status page, for browsers |
//! | `GET /live` | 200 as long as the process can answer at all |
//! | `GET /ready` | 200, or 503 with the reason, when no new clients should be sent here |
//! | `GET /metrics` | everything that is counted, for Prometheus: `docs/metrics.md` |
//! | `GET /status` | a summary as JSON, which the status page shows |
//! | `GET /sessions` | every session as JSON; its parameters are `side`, `id`, `peer`, `blocked`, `min_queued`, `sort`, `limit` |
//! | `GET /servers` | the same for servers alone |
//! | `POST /sessions/{side}/{id}/close` | ends a session in good order; 404 if nobody is there |
//! | `POST /drain` | turns new clients away, and lets those who are there finish |
//! | `POST /reload` | reads the settings again, as SIGHUP does; 422 with the mistake if they cannot work |
//! | `POST /log-level` | sets what is logged from now on: `?level=debug`, or the word as body |
//!
//! Everything but the page and the metrics is JSON; what cannot be done is answered `{"error": "…"}` with one sentence.
//!
//! It has a thread and a runtime of its own, so that whatever is asked of it, sessions go on. What it counts it reads; the
//! sessions are listed under a lock that no message takes, and so short that none is kept from beginning.
//!
//! | file | what it owns |
//! |---|---|
//! | `config.rs` | the address, the token, the names |
//! | `serve.rs` | connections: how many, and for how long |
//! | `guard.rs` | who may ask |
//! | `routes.rs` | which request is for whom |
//! | `reply.rs` | the form of answers |
//! | `query.rs`, `sessions.rs` | which sessions are asked for; their list |
//! | `survey.rs`, `status.rs` | all sessions summed up; the summary of everything |
//! | `metrics.rs`, `process.rs` | the metrics, and those of the process |
//! | `page.rs` and `page/` | the status page |

mod config;
mod guard;
mod metrics;
mod page;
mod process;
mod query;
mod reply;
mod routes;
mod serve;
mod sessions;
mod status;
mod survey;

use std::io;
use std::net::SocketAddr;

use fastway::net::{BindOptions, Listener, Network};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::level_filters::LevelFilter;

pub use self::config::{AdminAccess, AdminConfig, AdminConfigError, AdminToken};
use self::routes::{App, routes};
use self::serve::serve;
use crate::gateway::{Gateway, remedy};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// What can be asked of the process around a gateway, which only that process knows how to do.
pub trait Controls: Send + Sync + 'static {
    /// Reads all settings again, and puts into effect what can be. What that was, for a person to read.
    ///
    /// # Errors
    ///
    /// The sentence that says which setting cannot work. Nothing was changed then.
    fn reload(&self) -> Result<String, String>;

    /// Logs what is at least as grave as this, from now on.
    ///
    /// # Errors
    ///
    /// The sentence that says why the log stays as it was.
    fn set_log_level(&self, level: LevelFilter) -> Result<(), String>;
}

/// Why there is no admin server.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The settings cannot work. Nothing was bound.
    #[error(transparent)]
    Config(#[from] AdminConfigError),
    /// The port cannot be had.
    #[error("--admin-addr: cannot listen on {addr}: {error}{}", remedy(error))]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the network says.
        error: io::Error,
    },
}

/// An admin server whose port is bound. [`start`](Self::start) or [`run`](Self::run) makes it answer.
#[derive(Debug)]
pub struct Admin<L> {
    listener: L,
    addr: SocketAddr,
    access: AdminAccess,
}

/// An admin server that answers until this is dropped.
#[derive(Debug)]
pub struct RunningAdmin {
    _stop: DropGuard,
}

impl<L: Listener> Admin<L> {
    /// Checks the settings and binds the port.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; nothing stays bound then.
    pub async fn bind<N: Network<Listener = L>>(
        network: &N,
        config: AdminConfig,
    ) -> Result<Self, AdminError> {
        config.check()?;
        let failed = |error| AdminError::Bind { addr: config.addr, error };
        let options = BindOptions { backlog: BACKLOG, ..BindOptions::default() };
        let listener = network.bind(config.addr, options).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr, access: AdminAccess::new(config) })
    }

    /// Its address, with the port that was found if 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Who may ask it: to be had before it answers.
    #[must_use]
    pub fn access(&self) -> AdminAccess {
        self.access.clone()
    }

    /// Answers on a thread of its own, so that no question stops the gateway.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    #[expect(clippy::disallowed_methods, reason = "who asks is not part of any simulation")]
    pub fn start<N: Network, C: Controls>(
        self,
        gateway: &Gateway<N>,
        controls: C,
    ) -> io::Result<RunningAdmin> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, app) = (CancellationToken::new(), App::new(gateway, controls));
        let stopped = stop.clone();
        std::thread::Builder::new().name("fastway-admin".to_owned()).spawn(move || {
            let answering = async {
                match self.listener.adopt() {
                    Ok(listener) => serve(listener, routes(app, self.access)).await,
                    Err(error) => tracing::error!(%error, "the admin server cannot watch its port"),
                }
            };
            runtime.block_on(stopped.run_until_cancelled(answering));
        })?;
        Ok(RunningAdmin { _stop: stop.drop_guard() })
    }

    /// Answers on the calling runtime, for as long as the future is polled: for tests, in virtual time too.
    pub fn run<N: Network, C: Controls>(
        self,
        gateway: &Gateway<N>,
        controls: C,
    ) -> impl Future<Output = ()> + Send + use<L, N, C> {
        let app = App::new(gateway, controls);
        serve(self.listener, routes(app, self.access))
    }
}
