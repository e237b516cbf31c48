//! A server of many gateways on its host: answers every talk through whichever gateway, and remembers how far it is.

use std::sync::Arc;

use fastway::endpoint::VirtualConn;
use fastway::fleet::Server;
use fastway::id::{ClientId, ServerId};
use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::events::write_down;
use super::names::gateways;
use super::network::MemberNetwork;
use super::note::{FleetNote, Member, Talk, TalkNote};
use super::plan::FleetPlan;
use super::words::{Answer, Question};
use crate::actors::{Stage, first, goodbye};
use crate::history::{Phase, What};
use crate::plan::KEY;

/// The software of one server host. Ends when it has left every gateway.
pub(crate) async fn server(stage: Arc<Stage>, fleet: FleetPlan, index: u32) -> turmoil::Result {
    let host = stage.server_host(index);
    tokio::spawn(stage.clone().jump(host));
    let member = Member::Server(index);
    stage.history.note(What::Fleet(member, FleetNote::Begins(host)));
    let mut rng = stage.rng("fleet server");
    let config = fleet.config(&stage.plan, rng.random(), stage.backstage.sabotage);
    let network = MemberNetwork::new(&stage, host, member);
    let id = ServerId::new(stage.server_id(index));
    let server = Server::start(network, gateways(&stage, &fleet, member), id, KEY, config);
    let mut tasks = JoinSet::new();
    tasks.spawn(write_down(stage.clone(), member, server.events()));
    while let Ok(Ok(conn)) = first(server.accept(), stage.until(Phase::Leaving)).await {
        if let Some(client) = ClientId::new(conn.remote().get()).filter(|_| rng.random_bool(fleet.calls_back))
        {
            tasks.spawn(call_back(stage.clone(), member, server.clone(), conn.gateway().to_owned(), client));
        }
        tasks.spawn(answer(stage.clone(), conn));
    }
    server.close();
    server.closed().await;
    sleep(goodbye(&stage)).await;
    Ok(())
}

/// One end of one virtual connection, from its first message to its end.
async fn answer(stage: Arc<Stage>, mut conn: VirtualConn) {
    let half = stage.history.next_half();
    let mut said = 0;
    while let Some(message) = conn.recv().await {
        // Probably a misfit.
        let Some(question) = Question::read(&message) else { return };
        let Question { talk, generation, place, number, answered } = question;
        stage.history.note(What::Talk(Talk(talk), TalkNote::Serves { half, generation, place, number }));
        let taken = stage.backstage.take(talk, number);
        // What the client has no answer to yet, it had over an earlier connection.
        let again = if number.is_none() { answered..taken } else { 0..0 };
        for number in std::iter::once(number).chain(again.map(Some)) {
            let answer = Answer { talk, generation, place: said, number, taken };
            if conn.send(answer.write()).await.is_err() {
                return;
            }
            said += 1;
        }
    }
}

/// Says one word to a client through the gateway that it has come by, and hears it again.
async fn call_back(stage: Arc<Stage>, member: Member, server: Server, gateway: String, client: ClientId) {
    let answered = async {
        let mut conn = server.dial(&gateway, client).await.ok()?;
        conn.send("hello").await.ok()?;
        conn.recv().await
    };
    let is_answered = answered.await.is_some_and(|word| &word[..] == b"hello");
    stage.history.note(What::Fleet(member, FleetNote::CalledBack(is_answered)));
}
