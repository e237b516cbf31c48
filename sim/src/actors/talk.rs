//! What two applications say to each other over a virtual connection, and how they write it down.
//!
//! Whoever dials *leads*: its first message says what the other one, who *follows*, is to do. Every message begins with
//! the number of the end that sent it, so the oracle knows which two ends belong together without asking the gateway.

use std::sync::Arc;
use std::time::Duration;

use fastway::endpoint::{CloseReason, ConnReceiver, ConnSender, VirtualConn};
use futures_util::future::join;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Stage, first};
use crate::history::{AppLink, Half, HalfEnd, Phase, What};
use crate::seed::fnv;

/// Bytes in front of each message that has room for them: the number of the sending end, and of the message.
const HEAD_BYTES: usize = 8;

/// The shortest first message: the head, what to do, how often.
const FIRST_BYTES: usize = HEAD_BYTES + 5;

/// What a first message may ask for.
const MOST_ANSWERS: u32 = 1_000;

/// What the first message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Ask {
    /// Every message back.
    Echo,
    /// Nothing.
    Sink,
    /// So many messages of the first one's length.
    Source,
}

/// One end of a virtual connection, with its notes.
struct Talker {
    stage: Arc<Stage>,
    half: Half,
    rng: StdRng,
    slow: bool,
}

impl Talker {
    fn new(stage: &Arc<Stage>, link: AppLink, conn: &VirtualConn, dialled: bool) -> Self {
        let half = stage.history.next_half();
        stage.history.note(What::HalfUp(half, link, conn.id().get(), dialled));
        let mut rng = stage.rng("talk");
        let slow = rng.random_bool(stage.plan.workload.slow_receivers);
        Self { stage: stage.clone(), half, rng, slow }
    }

    fn pause(&mut self) -> Duration {
        let longest = self.stage.plan.workload.pause_ms;
        Duration::from_millis(self.rng.random_range(0..=longest).into())
    }

    fn len(&mut self) -> usize {
        let longest = self.stage.plan.workload.message_bytes as usize;
        match self.rng.random_range(0..10) {
            0 => 0,
            1 => longest,
            2..6 => self.rng.random_range(0..=longest.min(64)),
            _ => self.rng.random_range(0..=longest),
        }
    }
}

fn message(half: Half, number: u32, len: usize) -> Vec<u8> {
    let filler = (half.0.wrapping_mul(31).wrapping_add(number)) as u8;
    let mut message: Vec<u8> = (0..len).map(|index| filler.wrapping_add(index as u8)).collect();
    if len >= HEAD_BYTES {
        message[..4].copy_from_slice(&half.0.to_le_bytes());
        message[4..HEAD_BYTES].copy_from_slice(&number.to_le_bytes());
    }
    message
}

fn first_message(half: Half, len: usize, ask: Ask, count: u32) -> Vec<u8> {
    let mut first = message(half, 0, len.max(FIRST_BYTES));
    first[HEAD_BYTES] = ask as u8;
    first[HEAD_BYTES + 1..FIRST_BYTES].copy_from_slice(&count.to_le_bytes());
    first
}

fn read_first(message: &[u8]) -> Option<(Ask, u32)> {
    let ask = match message.get(HEAD_BYTES)? {
        0 => Ask::Echo,
        1 => Ask::Sink,
        _ => Ask::Source,
    };
    let count = message.get(HEAD_BYTES + 1..FIRST_BYTES)?.try_into().ok()?;
    // A gateway that mixes messages up must not make this a world of its own.
    Some((ask, u32::from_le_bytes(count).min(MOST_ANSWERS)))
}

async fn send(stage: &Stage, half: Half, sender: &mut ConnSender, message: &[u8]) -> bool {
    let sent = sender.send(message).await.is_ok();
    if sent {
        stage.history.note(What::HalfSent(half, message.len() as u32, fnv(message)));
    }
    sent
}

async fn receive(stage: &Stage, half: Half, receiver: &mut ConnReceiver) -> Option<bytes::Bytes> {
    let message = receiver.recv().await?;
    if let Some(from) = message.get(..4).filter(|_| message.len() >= HEAD_BYTES) {
        let from = u32::from_le_bytes(from.try_into().expect("four bytes"));
        stage.history.note(What::HalfMet(half, Half(from)));
    }
    stage.history.note(What::HalfGot(half, message.len() as u32, fnv(&message)));
    Some(message)
}

/// Whoever has not heard everything before it leaves has ended the connection itself, whatever came behind.
fn half_end(reason: Option<CloseReason>) -> HalfEnd {
    match reason {
        None | Some(CloseReason::ClosedHere) => HalfEnd::Here,
        Some(CloseReason::ClosedByRemote) => HalfEnd::Remote,
        Some(CloseReason::SlowReceiver) => HalfEnd::SlowReceiver,
        Some(CloseReason::Link(_)) => HalfEnd::Link,
    }
}

/// The side that dialled: says what is to be done, says its messages, hears the answers, closes.
pub(super) async fn lead(stage: &Arc<Stage>, link: AppLink, conn: VirtualConn) {
    let mut talker = Talker::new(stage, link, &conn, true);
    let half = talker.half;
    let ask = [Ask::Echo, Ask::Echo, Ask::Sink, Ask::Source][talker.rng.random_range(0..4)];
    let count = talker.rng.random_range(1..=stage.plan.workload.messages);
    let answers = match ask {
        Ask::Echo => count,
        Ask::Sink => 0,
        Ask::Source => count + 1,
    };
    // Hurried ones close as soon as everything is said: all of it must arrive all the same.
    let hurried = talker.rng.random_bool(0.3);
    let forgets_to_close = talker.rng.random_bool(0.2);
    let slow = talker.slow;
    let slowness = talker.pause();
    let (mut sender, mut receiver) = conn.split();
    let saying = async {
        for number in 0..count {
            let len = talker.len();
            let message =
                if number == 0 { first_message(half, len, ask, count) } else { message(half, number, len) };
            if !send(stage, half, &mut sender, &message).await {
                return;
            }
            if talker.rng.random_bool(0.3) {
                sleep(talker.pause()).await;
            }
        }
    };
    let mut heard_all = false;
    let hearing = async {
        for _ in 0..answers {
            if slow && stage.phase() < Phase::Healing {
                sleep(slowness).await;
            }
            if receive(stage, half, &mut receiver).await.is_none() {
                heard_all = true;
                return;
            }
        }
    };
    if hurried {
        drop(hearing);
        saying.await;
    } else {
        join(saying, hearing).await;
    }
    if forgets_to_close {
        // Until the other side, the link, or the world comes to an end.
        let rest = async { while receive(stage, half, &mut receiver).await.is_some() {} };
        heard_all |= first(rest, stage.until(Phase::Draining)).await.is_ok();
    }
    let end = half_end(receiver.close_reason().filter(|_| heard_all));
    sender.close();
    stage.history.note(What::HalfDown(half, end));
}

/// The side that was dialled: does what it is asked, until the end.
pub(super) async fn follow(stage: &Arc<Stage>, link: AppLink, conn: VirtualConn) {
    let mut talker = Talker::new(stage, link, &conn, false);
    let half = talker.half;
    let (mut sender, mut receiver) = conn.split();
    // Answers wait here: whoever answers must not stop hearing.
    let (answers, mut to_send) = mpsc::unbounded_channel::<usize>();
    let slow = talker.slow;
    let slowness = talker.pause();
    let bored = talker.rng.random_bool(0.1);
    let hearing = async {
        let mut asked = None;
        let mut heard = 0;
        while let Some(message) = receive(stage, half, &mut receiver).await {
            heard += 1;
            let (ask, count) = *asked.get_or_insert(read_first(&message).unwrap_or((Ask::Sink, 0)));
            let (times, len) = match ask {
                Ask::Echo => (1, message.len()),
                Ask::Source if heard == 1 => (count + 1, message.len()),
                _ => (0, 0),
            };
            for _ in 0..times {
                let _ = answers.send(len);
            }
            if slow && stage.phase() < Phase::Healing {
                sleep(slowness).await;
            }
            if bored && heard == 3 {
                return false;
            }
        }
        true
    };
    let answering = async {
        let mut number = 0;
        while let Some(len) = to_send.recv().await {
            if !send(stage, half, &mut sender, &message(half, number, len)).await {
                break;
            }
            number += 1;
        }
        // Hearing is what ends this.
        std::future::pending::<()>().await;
    };
    let heard_all = first(hearing, answering).await == Ok(true);
    let end = half_end(receiver.close_reason().filter(|_| heard_all));
    sender.close();
    stage.history.note(What::HalfDown(half, end));
}

/// One question, one answer, for the last stage: whether they came through.
pub(super) async fn probe(conn: VirtualConn, stage: &Arc<Stage>, link: AppLink) -> bool {
    let half = Talker::new(stage, link, &conn, true).half;
    let (mut sender, mut receiver) = conn.split();
    let question = first_message(half, 0, Ask::Echo, 1);
    let answered = send(stage, half, &mut sender, &question).await
        && receive(stage, half, &mut receiver).await.is_some();
    stage.history.note(What::HalfDown(half, half_end(receiver.close_reason())));
    answered
}
