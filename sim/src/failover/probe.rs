//! After everything: does this gateway lead to that server?

use std::sync::Arc;
use std::time::Duration;

use fastway::endpoint::{Client, EndpointConfig};
use fastway::id::ServerId;
use tokio::time::timeout;

use super::words::{Answer, Question};
use crate::actors::Stage;
use crate::history::What;
use crate::net::Host;

/// With each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// One question through one gateway to one server, by a client of its own; whether it was answered.
pub(crate) async fn probe(stage: &Arc<Stage>, host: Host, gateway: u32, server: u32) -> bool {
    let config =
        EndpointConfig { connect_timeout: PATIENCE, dial_timeout: PATIENCE, ..stage.plan.endpoint_config() };
    let addr = stage.public_addr(gateway);
    let Ok(client) = Client::connect(&stage.network(host), &addr, config).await else { return false };
    let id = stage.server_id(server);
    let answered = async {
        let mut conn = client.dial(ServerId::new(id)).await.ok()?;
        let talk = stage.history.next_talk().0;
        let question = Question { talk, generation: 1, place: 0, number: None, answered: 0 };
        conn.send(question.write()).await.ok()?;
        Answer::read(&conn.recv().await?).filter(|answer| answer.talk == talk)
    };
    let is_answered = matches!(timeout(PATIENCE, answered).await, Ok(Some(_)));
    if is_answered {
        stage.history.note(What::Probed(host, stage.gateway_host(gateway), id));
        *stage.probes_left.lock() -= 1;
    }
    client.close();
    client.ended().await;
    is_answered
}
