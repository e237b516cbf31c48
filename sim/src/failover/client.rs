//! A client of many gateways on its host: talks to its servers for as long as the world is busy, whatever gateway that takes.

use std::sync::Arc;
use std::time::Duration;

use fastway::fleet::{Client, Conn, ConnEnd, Received};
use fastway::id::ServerId;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::events::write_down;
use super::names::{gateways, host_at};
use super::network::MemberNetwork;
use super::note::{FleetNote, Member, Talk, TalkNote};
use super::plan::FleetPlan;
use super::sabotage::Sabotage;
use super::words::{Answer, Question};
use crate::actors::{Stage, first};
use crate::history::{Phase, What};
use crate::net::Host;

/// Clients begin within this time, in ms.
pub(super) const BEGINNING_MS: u32 = 1_000;

/// An application that was told that it cannot dial tries again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// A talk with nothing to say looks so often whether the world is still busy.
const A_WHILE: Duration = Duration::from_secs(3600);

/// The whole life of one client.
pub(crate) async fn client(stage: Arc<Stage>, fleet: FleetPlan, host: Host, number: u32) {
    let member = Member::Client(number);
    stage.history.note(What::Fleet(member, FleetNote::Begins(host)));
    let mut rng = stage.rng("fleet client");
    sleep(Duration::from_millis(rng.random_range(0..BEGINNING_MS).into())).await;
    let wanted = wanted(&stage, &fleet, &mut rng);
    let Some(client) = connect(&stage, &fleet, host, member, &mut rng).await else { return };
    let mut tasks = JoinSet::new();
    tasks.spawn(write_down(stage.clone(), member, client.events()));
    tasks.spawn(echo(client.clone()));
    if stage.backstage.sabotage == Sabotage::OldLinksAreKept {
        for server in 0..stage.plan.topology.servers {
            tasks.spawn(hold_on(client.clone(), ServerId::new(stage.server_id(server))));
        }
    }
    let mut talks = JoinSet::new();
    for server in wanted {
        let beat = Duration::from_millis(fleet.beat_ms.into());
        let first_beat = Instant::now() + beat.mul_f64(rng.random());
        let talk = Talking::begin(&stage, &client, number, server, beat, first_beat);
        talks.spawn(talk.run());
    }
    while talks.join_next().await.is_some() {}
    client.close();
    client.closed().await;
}

/// The places of the servers that a client is going to talk to.
fn wanted(stage: &Stage, fleet: &FleetPlan, rng: &mut StdRng) -> Vec<u32> {
    let mut servers: Vec<u32> = (0..stage.plan.topology.servers).collect();
    let count = rng.random_range(1..=fleet.talks).min(stage.plan.topology.servers);
    (0..count).map(|_| servers.swap_remove(rng.random_range(0..servers.len()))).collect()
}

async fn connect(
    stage: &Arc<Stage>,
    fleet: &FleetPlan,
    host: Host,
    member: Member,
    rng: &mut StdRng,
) -> Option<Client> {
    while stage.phase() < Phase::Leaving {
        let config = fleet.config(&stage.plan, rng.random(), stage.backstage.sabotage);
        let network = MemberNetwork::new(stage, host, member);
        let connecting = Client::connect(network, gateways(stage, fleet, member), config);
        match first(connecting, stage.until(Phase::Leaving)).await {
            Ok(Ok(client)) => return Some(client),
            Ok(Err(_)) => sleep(AGAIN).await,
            Err(_) => break,
        }
        // What is left of the one before has ended by now: from here on it is another client, which remembers nothing.
        stage.history.note(What::Fleet(member, FleetNote::NoGateway));
    }
    None
}

/// Says again whatever servers that call back say.
async fn echo(client: Client) {
    let mut conns = JoinSet::new();
    while let Ok(mut conn) = client.accept().await {
        conns.spawn(async move {
            while let Some(word) = conn.recv().await {
                if conn.send(word).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Keeps a connection open over which nothing is said.
async fn hold_on(client: Client, server: ServerId) {
    loop {
        if let Ok(mut conn) = client.dial(server).await {
            while conn.recv().await.is_some() {}
        }
        sleep(AGAIN).await;
    }
}

/// One talk, as its client leads it. It keeps what it has said, and what was answered of it.
struct Talking {
    stage: Arc<Stage>,
    client: Client,
    server: u32,
    talk: Talk,
    beat: Duration,
    next_beat: Instant,
    generation: u32,
    /// Messages of this generation so far.
    place: u32,
    /// The server has said how far it is, over this connection.
    is_resumed: bool,
    said: u32,
    answered: u32,
    got: u32,
}

impl Talking {
    fn begin(
        stage: &Arc<Stage>,
        client: &Client,
        number: u32,
        server: u32,
        beat: Duration,
        next_beat: Instant,
    ) -> Self {
        let talk = stage.history.next_talk();
        stage.history.note(What::Talk(talk, TalkNote::Begins { client: number, server }));
        Self {
            stage: stage.clone(),
            client: client.clone(),
            server,
            talk,
            beat,
            next_beat,
            generation: 0,
            place: 0,
            is_resumed: false,
            said: 0,
            answered: 0,
            got: 0,
        }
    }

    fn note(&self, note: TalkNote) {
        self.stage.history.note(What::Talk(self.talk, note));
    }

    async fn run(mut self) {
        let stage = self.stage.clone();
        let _ = first(self.talk(), stage.until(Phase::Leaving)).await;
        self.note(TalkNote::Done { said: self.said, answered: self.answered });
    }

    /// Connection after connection, until everything is said and answered and the world is not busy any more.
    async fn talk(&mut self) {
        let id = ServerId::new(self.stage.server_id(self.server));
        while !self.is_over() {
            self.note(TalkNote::Dials);
            let Ok(mut conn) = self.client.dial(id).await else {
                self.note(TalkNote::DialFails);
                sleep(AGAIN).await;
                continue;
            };
            let gateway = conn.gateway().and_then(|gateway| host_at(&self.stage, gateway.as_str()));
            self.resume(&mut conn, |generation| TalkNote::Opens { generation, gateway }).await;
            self.converse(&mut conn).await;
        }
    }

    fn is_over(&self) -> bool {
        self.stage.phase() >= Phase::Draining && self.said == self.answered
    }

    async fn converse(&mut self, conn: &mut Conn) {
        let stage = self.stage.clone();
        while !self.is_over() {
            let is_busy = stage.phase() < Phase::Draining;
            let until = if is_busy { self.next_beat } else { Instant::now() + A_WHILE };
            let calm = async {
                if is_busy { stage.until(Phase::Draining).await } else { std::future::pending().await }
            };
            match first(conn.recv(), first(sleep_until(until), calm)).await {
                Ok(None) => {
                    let by_remote = matches!(conn.close_reason(), Some(ConnEnd::ClosedByRemote));
                    self.note(TalkNote::Ends { by_remote });
                    return;
                }
                Ok(Some(Received::Message(message))) => self.hear(conn, &message).await,
                Ok(Some(Received::Renewed { gateway })) => {
                    let times = match stage.backstage.sabotage {
                        Sabotage::RenewedIsHidden => 0,
                        Sabotage::RenewedTwice => 2,
                        _ => 1,
                    };
                    let gateway = host_at(&stage, gateway.as_str());
                    for _ in 0..times {
                        self.resume(conn, |generation| TalkNote::Renewed { generation, gateway }).await;
                    }
                }
                Err(Ok(())) => {
                    self.next_beat += self.beat;
                    self.said += 1;
                    if self.is_resumed {
                        self.say(conn, Some(self.said - 1)).await;
                    }
                }
                Err(Err(())) => {}
            }
        }
        conn.close();
    }

    /// The first words over a new connection.
    async fn resume(&mut self, conn: &mut Conn, note: impl FnOnce(u32) -> TalkNote) {
        self.generation += 1;
        (self.place, self.got, self.is_resumed) = (0, 0, false);
        self.note(note(self.generation));
        self.say(conn, None).await;
    }

    async fn say(&mut self, conn: &mut Conn, number: Option<u32>) {
        let Self { generation, place, answered, .. } = *self;
        let question = Question { talk: self.talk.0, generation, place, number, answered };
        match conn.send(question.write()).await {
            Ok(()) => {
                self.note(TalkNote::Sends { generation, place });
                self.place += 1;
            }
            // What comes next says whether there will be another connection.
            Err(_) => {
                self.note(TalkNote::Interrupted);
                self.is_resumed = false;
            }
        }
    }

    async fn hear(&mut self, conn: &mut Conn, message: &[u8]) {
        let Some(answer) = Answer::read(message).filter(|answer| answer.talk == self.talk.0) else {
            panic!("{:?} got what nobody has said to it", self.talk);
        };
        self.got += 1;
        if self.stage.backstage.sabotage == Sabotage::AnswersAreLost && self.got.is_multiple_of(20) {
            return;
        }
        let Answer { generation, place, number, taken, .. } = answer;
        self.note(TalkNote::Gets { generation, place, number });
        match number {
            Some(number) if number == self.answered => self.answered += 1,
            // It has had that answer over an earlier connection.
            Some(_) => {}
            None => {
                self.is_resumed = true;
                if self.stage.backstage.sabotage != Sabotage::NothingIsResumed {
                    for number in taken..self.said {
                        if self.is_resumed {
                            self.say(conn, Some(number)).await;
                        }
                    }
                }
            }
        }
    }
}
