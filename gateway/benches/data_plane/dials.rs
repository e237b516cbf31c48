//! What a dial and a close cost: clients that dial, close as soon as they are accepted, and dial again when it is closed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use fastway::command::{ToEndpoint, ToGateway};
use fastway::id::RemoteId;

use crate::options::Options;
use crate::peers::Peers;
use crate::served::Served;

/// Who is dialled.
const SERVER_ID: u32 = 1;

/// How long one wait for commands lasts at most.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the process for each dial with its close, in µs.
pub(crate) fn cpu_per_cycle(options: &Options, served: &Served, clients: usize) -> anyhow::Result<f64> {
    let mut cycles = Cycles::start(served, clients)?;
    cycles.run(options.warm_up())?;
    let (done, refused, cpu) = (cycles.done, cycles.refused, served.cpu_ns()?);
    cycles.run(options.turn())?;
    let (done, refused, cpu) = (cycles.done - done, cycles.refused - refused, served.cpu_ns()? - cpu);
    ensure!(refused == 0, "{refused} dials were refused, although the server is registered");
    ensure!(done > 0, "nobody was accepted in {:?}", options.turn());
    Ok(cpu as f64 / 1e3 / done as f64)
}

struct Cycles {
    peers: Peers,
    done: u64,
    refused: u64,
}

impl Cycles {
    fn start(served: &Served, clients: usize) -> anyhow::Result<Self> {
        let target = served.target();
        let mut peers = Peers::new()?;
        // It reads, and says nothing.
        peers.server(&target.server_addr, SERVER_ID)?;
        for _ in 0..clients {
            let client = peers.client(&target.client_addr)?;
            peers.send(client, dial().as_ref())?;
        }
        Ok(Self { peers, done: 0, refused: 0 })
    }

    fn run(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let (done, refused) = (&mut self.done, &mut self.refused);
            self.peers.turn(TICK, |number, command, out| match command {
                // The server is the first of the peers.
                _ if number == 0 => {}
                ToEndpoint::Accept { conn, .. } => {
                    out.extend_from_slice(ToGateway::Close { conn: Some(conn) }.encode().as_ref());
                }
                ToEndpoint::Close { .. } => {
                    *done += 1;
                    out.extend_from_slice(dial().as_ref());
                }
                // The server's handshake is not through yet.
                ToEndpoint::Refuse { .. } => {
                    *refused += 1;
                    out.extend_from_slice(dial().as_ref());
                }
                ToEndpoint::Connect { .. } | ToEndpoint::Ping => {}
            })?;
        }
        Ok(())
    }
}

fn dial() -> fastway::command::CommandFrame {
    ToGateway::Dial { remote: RemoteId::new(SERVER_ID) }.encode()
}
