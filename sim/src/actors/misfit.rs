//! Peers that do not keep to the rules, or only to old ones: they speak bytes. Nobody judges them; the oracle judges what
//! the gateway makes of them.

use std::sync::Arc;
use std::time::Duration;

use fastway::handshake::Challenge;
use fastway::id::ServerId;
use fastway::net::Network as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::backoff;
use super::{Stage, first};
use crate::history::Phase;
use crate::net::{Host, SimStream};
use crate::plan::KEY;

/// What one visit of a misfit is about.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Connects and says nothing.
    Silent,
    /// Asks for a lot and reads nothing.
    NeverReads,
    /// Something valid, then what cannot be.
    Malformed,
    /// Messages and Close on virtual connections that are not its own.
    Foreign,
    /// Half a frame, and no more.
    HalfFrame,
    /// Half a frame, then the end of file.
    CutOff,
    /// Pings, many of them.
    Pings,
    /// Answers pings like the first generation, late.
    FirstGeneration,
    /// Dials whoever there is and is not.
    Dials,
    /// Messages on its own connections after it has closed them.
    Late,
    /// Goes away in the middle of what it was sent.
    Vanishes,
    /// At the internal port: a wrong key.
    WrongKey,
    /// At the internal port: half a handshake.
    HalfHandshake,
    /// At the internal port: a server that nobody knows, and that says what cannot be.
    StrangeServer,
    /// At the internal port: a server that takes what comes and never reads again.
    DeafServer,
}

const MANNERS: [Manner; 15] = [
    Manner::Silent,
    Manner::NeverReads,
    Manner::Malformed,
    Manner::Foreign,
    Manner::HalfFrame,
    Manner::CutOff,
    Manner::Pings,
    Manner::FirstGeneration,
    Manner::Dials,
    Manner::Late,
    Manner::Vanishes,
    Manner::WrongKey,
    Manner::HalfHandshake,
    Manner::StrangeServer,
    Manner::DeafServer,
];

/// Comes and goes until everybody leaves.
pub(super) async fn misfit(stage: Arc<Stage>, host: Host) {
    let mut rng = stage.rng("misfit");
    while stage.phase() < Phase::Healing {
        let gateway = rng.random_range(0..stage.plan.topology.gateways);
        let manner = MANNERS[rng.random_range(0..MANNERS.len())];
        let visiting = visit(&stage, host, gateway, manner, &mut rng);
        let _ = first(visiting, stage.until(Phase::Healing)).await;
        let _ = first(sleep(backoff(&mut rng)), stage.until(Phase::Healing)).await;
    }
}

/// For the fault of that name: one visit with what cannot be.
pub(super) async fn send_malformed(stage: Arc<Stage>, host: Host, gateway: u32, as_server: bool) {
    let mut rng = stage.rng("malformed");
    let manner = if as_server { Manner::StrangeServer } else { Manner::Malformed };
    let _ = first(visit(&stage, host, gateway, manner, &mut rng), stage.until(Phase::Healing)).await;
}

/// For the fault of that name: one of many.
pub(super) async fn storm(stage: Arc<Stage>, host: Host, gateway: u32) {
    let mut rng = stage.rng("storm");
    let manner = [Manner::Silent, Manner::Dials, Manner::CutOff, Manner::Pings][rng.random_range(0..4)];
    let _ = first(visit(&stage, host, gateway, manner, &mut rng), stage.until(Phase::Healing)).await;
}

type Halves = (ReadHalf<SimStream>, WriteHalf<SimStream>);

/// Whatever goes wrong ends the visit: misfits do not care.
async fn visit(stage: &Arc<Stage>, host: Host, gateway: u32, manner: Manner, rng: &mut StdRng) -> Option<()> {
    let at_internal_port = matches!(
        manner,
        Manner::WrongKey | Manner::HalfHandshake | Manner::StrangeServer | Manner::DeafServer
    );
    let addr = if at_internal_port { stage.internal_addr(gateway) } else { stage.public_addr(gateway) };
    let stream = stage.network(host).connect(&addr).await.ok()?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let until = Instant::now() + Duration::from_millis(rng.random_range(100..8000));
    if at_internal_port {
        say_hello(manner, &mut reader, &mut writer, rng).await?;
    }
    let server = stage.server_id(rng.random_range(0..stage.plan.topology.servers));
    match manner {
        Manner::Silent | Manner::WrongKey | Manner::HalfHandshake => {}
        Manner::NeverReads => {
            never_read((reader, writer), server, until).await;
            return Some(());
        }
        Manner::Malformed | Manner::StrangeServer => {
            writer.write_all(&dial(server)).await.ok()?;
            writer.write_all(&nonsense(stage.plan.gateway.max_packet, rng)).await.ok()?;
        }
        Manner::Foreign => {
            for _ in 0..rng.random_range(1..10) {
                let conn = rng.random_range(1..60);
                let bytes = if rng.random_bool(0.5) { close(conn) } else { data(conn, b"not mine") };
                writer.write_all(&bytes).await.ok()?;
            }
        }
        Manner::HalfFrame => writer.write_all(&data(9, &[7; 40])[..rng.random_range(1..40)]).await.ok()?,
        Manner::CutOff => {
            writer.write_all(&dial(server)).await.ok()?;
            writer.write_all(&data(9, &[7; 40])[..rng.random_range(1..40)]).await.ok()?;
            writer.shutdown().await.ok()?;
        }
        Manner::Pings => {
            for _ in 0..rng.random_range(1..200) {
                writer.write_all(&ping()).await.ok()?;
            }
        }
        Manner::FirstGeneration => {
            let late = Duration::from_millis(rng.random_range(0..1500));
            return answer_pings((reader, writer), late, until).await;
        }
        Manner::Dials => {
            for _ in 0..rng.random_range(1..60) {
                let remote = if rng.random_bool(0.7) { server } else { rng.random_range(0..200) };
                writer.write_all(&dial(remote)).await.ok()?;
            }
        }
        Manner::Late => {
            return talk_after_close((reader, writer), server, until, rng).await;
        }
        Manner::Vanishes => {
            writer.write_all(&dial(server)).await.ok()?;
            sleep(Duration::from_millis(rng.random_range(0..300))).await;
            return Some(());
        }
        Manner::DeafServer => {
            let _ = timeout_at(until, std::future::pending::<()>()).await;
            return Some(());
        }
    }
    read_until((reader, writer), until).await;
    Some(())
}

async fn say_hello(
    manner: Manner,
    reader: &mut ReadHalf<SimStream>,
    writer: &mut WriteHalf<SimStream>,
    rng: &mut StdRng,
) -> Option<()> {
    let mut challenge = [0; Challenge::BYTES];
    reader.read_exact(&mut challenge).await.ok()?;
    let key: &[u8] = if matches!(manner, Manner::WrongKey) { b"guess" } else { KEY };
    let id = ServerId::new(rng.random_range(900..910));
    let hello = Challenge(challenge).answer(key, id).encode();
    let len =
        if matches!(manner, Manner::HalfHandshake) { rng.random_range(0..hello.len()) } else { hello.len() };
    writer.write_all(&hello[..len]).await.ok()
}

async fn read_until((mut reader, writer): Halves, until: Instant) {
    let mut buffer = [0; 512];
    while let Ok(Ok(1..)) = timeout_at(until, reader.read(&mut buffer)).await {}
    drop(writer);
}

/// Dials, asks whoever follows for a lot, and reads no more than the answer to the dial.
async fn never_read((mut reader, mut writer): Halves, server: u32, until: Instant) {
    let asking = async {
        writer.write_all(&dial(server)).await.ok()?;
        let conn = accepted(&mut reader).await?;
        let mut ask = vec![0; 60];
        // No end has this number. Then: a source of 200 messages.
        ask[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        ask[8] = 2;
        ask[9..13].copy_from_slice(&200_u32.to_le_bytes());
        writer.write_all(&data(conn, &ask)).await.ok()
    };
    let _ = timeout_at(until, asking).await;
    let _ = timeout_at(until, std::future::pending::<()>()).await;
}

/// Reads frames until an Accept, and gives its Conn ID.
async fn accepted(reader: &mut ReadHalf<SimStream>) -> Option<u32> {
    loop {
        let (conn, message) = frame(reader).await?;
        if conn == 0 && message.first() == Some(&1) {
            return Some(u32::from_le_bytes(message[1..5].try_into().ok()?));
        }
    }
}

async fn frame(reader: &mut ReadHalf<SimStream>) -> Option<(u32, Vec<u8>)> {
    let len = reader.read_u32_le().await.ok()?;
    let conn = reader.read_u32_le().await.ok()?;
    let mut message = vec![0; (len - 4) as usize];
    reader.read_exact(&mut message).await.ok()?;
    Some((conn, message))
}

async fn answer_pings((mut reader, mut writer): Halves, late: Duration, until: Instant) -> Option<()> {
    loop {
        let (conn, message) = timeout_at(until, frame(&mut reader)).await.ok()??;
        if conn == 0 && message == [5] {
            sleep(late).await;
            writer.write_all(&ping()).await.ok()?;
        }
    }
}

async fn talk_after_close(
    (mut reader, mut writer): Halves,
    server: u32,
    until: Instant,
    rng: &mut StdRng,
) -> Option<()> {
    writer.write_all(&dial(server)).await.ok()?;
    let conn = timeout_at(until, accepted(&mut reader)).await.ok()??;
    let mut bytes = data(conn, b"before");
    bytes.extend(close(conn));
    for _ in 0..rng.random_range(1..5) {
        bytes.extend(data(conn, b"after"));
    }
    if rng.random_bool(0.5) {
        bytes.extend(close(conn));
    }
    writer.write_all(&bytes).await.ok()?;
    read_until((reader, writer), until).await;
    Some(())
}

fn nonsense(max_packet: u32, rng: &mut StdRng) -> Vec<u8> {
    let too_long = max_packet.saturating_add(rng.random_range(1..1000)).to_le_bytes();
    match rng.random_range(0..6) {
        // A length that does not cover the Conn ID.
        0 => vec![rng.random_range(0..4), 0, 0, 0, 0, 0, 0, 0],
        1 => [too_long, [1, 0, 0, 0]].concat(),
        // Commands: none, unknown, cut short, in the wrong direction.
        2 => data(0, &[]),
        3 => data(0, &[rng.random_range(6..=255), 1, 2, 3, 4, 5, 6, 7, 8]),
        4 => data(0, &[0, 1]),
        _ => data(0, &[rng.random_range(1..4), 1, 0, 0, 0, 1, 0, 0, 0]),
    }
}

fn data(conn: u32, message: &[u8]) -> Vec<u8> {
    let len = 4 + message.len() as u32;
    [&len.to_le_bytes(), &conn.to_le_bytes(), message].concat()
}

fn dial(remote: u32) -> Vec<u8> {
    let [a, b, c, d] = remote.to_le_bytes();
    data(0, &[0, a, b, c, d])
}

fn close(conn: u32) -> Vec<u8> {
    let [a, b, c, d] = conn.to_le_bytes();
    data(0, &[4, a, b, c, d])
}

fn ping() -> Vec<u8> {
    data(0, &[5])
}
