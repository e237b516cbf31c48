//! Clients and servers: the library's own, over many gateways.

use std::sync::Arc;
use std::time::Duration;

use fastway::endpoint::VirtualConn;
use fastway::fleet::{Client, Event, FindError, Server};
use fastway::net::tls::TlsNetwork;
use fastway::net::{Network, TcpNetwork};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::book::Book;
use super::counted::Counted;
use super::lane::Lane;
use super::plan::FailoverPlan;

/// Clients begin one after the other, so long apart: it is not their first connect that is measured.
const APART: Duration = Duration::from_millis(1);

/// Clients begin to connect, and to ask as soon as they can. Dropped, they are gone.
pub(super) fn start_clients(plan: &Arc<FailoverPlan>, book: &Arc<Book>) -> JoinSet<()> {
    // Whoever fails in the handshake has reached the gateway, too.
    let network = Counted::new(TcpNetwork::new(), book.clone());
    match plan.client_tls.clone() {
        Some(tls) => clients_over(&TlsNetwork::new(network, tls), plan, book),
        None => clients_over(&network, plan, book),
    }
}

fn clients_over<N: Network>(network: &N, plan: &Arc<FailoverPlan>, book: &Arc<Book>) -> JoinSet<()> {
    let clients = 0..plan.clients;
    clients.map(|number| client(plan.clone(), number, network.clone(), book.clone())).collect()
}

async fn client<N: Network>(plan: Arc<FailoverPlan>, number: usize, network: N, book: Arc<Book>) {
    sleep(APART * number as u32).await;
    let Ok(gateways) = plan.public() else { return };
    let client = Client::start(network, gateways, plan.fleet_of(number));
    let mut tasks = JoinSet::new();
    tasks.spawn(note_troubles(client.events(), book.clone()));
    let first = number * plan.conns_per_client;
    for conn in first..first + plan.conns_per_client {
        let lane = Lane { number: conn, server: plan.server_of(conn), pace: plan.pace(), book: book.clone() };
        tasks.spawn(lane.ask(client.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// All servers.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    tasks: JoinSet<()>,
}

impl Servers {
    /// They begin to connect to all gateways.
    pub(super) fn start(plan: &FailoverPlan, book: &Arc<Book>) -> Result<Self, FindError> {
        let network = TcpNetwork::new();
        match plan.server_tls.clone() {
            Some(tls) => Self::over(&TlsNetwork::new(network, tls), plan, book),
            None => Self::over(&network, plan, book),
        }
    }

    fn over<N: Network>(network: &N, plan: &FailoverPlan, book: &Arc<Book>) -> Result<Self, FindError> {
        let mut servers = Self { servers: Vec::new(), tasks: JoinSet::new() };
        for index in 0..plan.servers {
            let config = plan.fleet_of(plan.clients + index);
            let server =
                Server::start(network.clone(), plan.internal()?, plan.server(index), &plan.key.0, config);
            servers.tasks.spawn(note_troubles(server.events(), book.clone()));
            servers.tasks.spawn(serve(server.clone()));
            servers.servers.push(server);
        }
        Ok(servers)
    }

    /// Until each is linked to a gateway.
    pub(super) async fn ready(&self) {
        for server in &self.servers {
            // One that has ended says so when it is asked for clients.
            let _ = server.ready().await;
        }
    }

    /// In good order, if that does not take too long.
    pub(super) async fn close(self, patience: Duration) {
        for server in &self.servers {
            server.close();
        }
        let closed = async {
            for server in &self.servers {
                server.closed().await;
            }
        };
        let _ = timeout(patience, closed).await;
    }
}

async fn serve(server: Server) {
    while let Ok(conn) = server.accept().await {
        tokio::spawn(echo(conn));
    }
}

async fn echo(mut conn: VirtualConn) {
    while let Some(message) = conn.recv().await
        && conn.send(message).await.is_ok()
    {}
}

async fn note_troubles(mut events: Receiver<Event>, book: Arc<Book>) {
    loop {
        match events.recv().await {
            Ok(Event::Trouble { gateway, trouble, .. }) => {
                book.trouble(&format!("gateway {gateway}: {trouble}"));
            }
            Ok(Event::NotFound { error, .. }) => book.trouble(&error.to_string()),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
