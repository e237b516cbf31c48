//! A peer that is always in the middle of something: this program once more, to be killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame;
use fastway::id::{ConnId, RemoteId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::sleep;

use crate::wire::{self, Ear, Heard};

/// Bytes of its longest message: a message is often on its way when it is killed.
const LONGEST: usize = 20_000;

/// Microseconds that it rests at most in the middle of a frame.
const REST_US: u64 = 1000;

/// Messages that it has sent on each open virtual connection.
type Conns = Arc<Mutex<Vec<(ConnId, u32)>>>;

/// What such a process does until it is killed: `client,SEED,ADDR,REMOTES` or `server,SEED,ADDR,REMOTES,ID`. It dials the numbers
/// from 1 to REMOTES.
pub(crate) fn play(role: &str) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parts: Vec<&str> = role.split(',').collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stream, seed, remotes) = match parts[..] {
            ["client", seed, addr, remotes] => (wire::client(addr).await?, seed, remotes),
            ["server", seed, addr, remotes, id] => (wire::server(addr, id.parse()?).await?, seed, remotes),
            _ => bail!("--restless is not for people"),
        };
        let (reading, writing) = stream.into_split();
        let conns = Conns::default();
        let rng = StdRng::seed_from_u64(seed.parse()?);
        tokio::try_join!(listen(reading, conns.clone()), talk(writing, conns, rng, remotes.parse()?))?;
        Ok(())
    })
}

/// Notes which connections there are.
async fn listen(mut stream: OwnedReadHalf, conns: Conns) -> anyhow::Result<()> {
    let mut ear = Ear::new();
    loop {
        let more = ear.hear(&mut stream, |heard| {
            let mut conns = conns.lock().unwrap_or_else(PoisonError::into_inner);
            match heard {
                Heard::Command(ToEndpoint::Accept { conn, .. } | ToEndpoint::Connect { conn, .. }) => {
                    conns.push((conn, 0));
                }
                Heard::Command(ToEndpoint::Close { conn }) => conns.retain(|(open, _)| Some(*open) != conn),
                _ => {}
            }
            Ok(())
        });
        ensure!(more.await?, "the gateway closed it");
    }
}

/// Dials, sends and closes at random, with a rest in the middle of every frame.
async fn talk(mut stream: OwnedWriteHalf, conns: Conns, mut rng: StdRng, remotes: u32) -> anyhow::Result<()> {
    loop {
        let out = something(&conns, &mut rng, remotes);
        let (first, rest) = out.split_at(rng.random_range(0..out.len()));
        for part in [first, rest] {
            stream.write_all(part).await.context("the gateway takes nothing any more")?;
            sleep(Duration::from_micros(rng.random_range(0..=REST_US))).await;
        }
    }
}

fn something(conns: &Conns, rng: &mut StdRng, remotes: u32) -> Vec<u8> {
    let dial = |rng: &mut StdRng| {
        let remote = RemoteId::new(rng.random_range(1..=remotes));
        ToGateway::Dial { remote }.encode().as_ref().to_vec()
    };
    let mut conns = conns.lock().unwrap_or_else(PoisonError::into_inner);
    if conns.is_empty() || rng.random_ratio(1, 4) {
        return dial(rng);
    }
    let place = rng.random_range(0..conns.len());
    if rng.random_ratio(1, 8) {
        let (conn, _) = conns.swap_remove(place);
        return ToGateway::Close { conn: Some(conn) }.encode().as_ref().to_vec();
    }
    let (conn, number) = &mut conns[place];
    let mut message = vec![0; rng.random_range(4..=LONGEST)];
    message[..4].copy_from_slice(&number.to_le_bytes());
    *number += 1;
    let mut out = Vec::new();
    frame::encode(*conn, &message, &mut out);
    out
}
