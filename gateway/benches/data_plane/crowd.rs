//! Clients that are connected, and virtual connections that are open, without anything being sent: only pings are answered.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use fastway::command::{ToEndpoint, ToGateway};
use fastway::id::RemoteId;
use fastway_loadgen::Target;

use crate::nofile::raise_files;
use crate::peers::Peers;
use crate::served::Served;

/// The ID of the server that idle virtual connections lead to; busy ones have others.
const SERVER_ID: u32 = 1000;

/// Dials of a client that wait for their answer at the same time: all at once would be more than a gateway lets wait.
const DIALS: usize = 32;

/// After so long, what is still not there will not come.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long one wait for commands lasts at most.
const TICK: Duration = Duration::from_millis(100);

/// Idle clients of one gateway, in this process.
pub(crate) struct Crowd {
    peers: Peers,
    clients: Vec<usize>,
}

impl Crowd {
    /// A server, and no clients yet.
    pub(crate) fn new(target: &Target) -> anyhow::Result<Self> {
        let mut peers = Peers::new()?;
        peers.server(&target.server_addr, SERVER_ID)?;
        Ok(Self { peers, clients: Vec::new() })
    }

    /// Connects so many clients.
    pub(crate) fn connect(&mut self, target: &Target, clients: usize) -> anyhow::Result<()> {
        for _ in 0..clients {
            self.clients.push(self.peers.client(&target.client_addr)?);
            self.peers.turn(Duration::ZERO, |_, _, _| {})?;
        }
        Ok(())
    }

    /// Opens so many virtual connections, as many on each client, and returns when all are open.
    pub(crate) fn dial(&mut self, conns: usize) -> anyhow::Result<()> {
        ensure!(conns == 0 || !self.clients.is_empty(), "nobody can dial");
        let dial = ToGateway::Dial { remote: RemoteId::new(SERVER_ID) }.encode();
        let last = self.clients.last().map_or(0, |last| last + 1);
        // By client: dials that were not made yet.
        let mut open_dials = vec![0; last];
        let (each, more) = (conns / self.clients.len().max(1), conns % self.clients.len().max(1));
        for (place, client) in self.clients.iter().enumerate() {
            let all = each + usize::from(place < more);
            let first = all.min(DIALS);
            open_dials[*client] = all - first;
            self.peers.send(*client, &dial.as_ref().repeat(first))?;
        }
        let (mut open, mut refused) = (0, 0);
        let deadline = Instant::now() + DEADLINE;
        while open < conns {
            self.peers.turn(TICK, |client, command, out| match command {
                ToEndpoint::Accept { .. } => {
                    open += 1;
                    if let Some(left) = open_dials[client].checked_sub(1) {
                        open_dials[client] = left;
                        out.extend_from_slice(dial.as_ref());
                    }
                }
                // The server's handshake is not through yet.
                ToEndpoint::Refuse { .. } => {
                    refused += 1;
                    out.extend_from_slice(dial.as_ref());
                }
                _ => {}
            })?;
            ensure!(
                Instant::now() < deadline,
                "after {DEADLINE:?}, {open} of {conns} virtual connections are open; {refused} dials were refused"
            );
        }
        Ok(())
    }

    /// Does nothing for so long but answering pings.
    pub(crate) fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.peers.turn(left.min(TICK), |_, _, _| {})?;
        }
        Ok(())
    }
}

/// Idle clients of one gateway in a process of their own: two large crowds are more files than one process may open.
#[derive(Debug)]
pub(crate) struct CrowdProcess(Child);

impl CrowdProcess {
    /// Starts it; everybody is there when it returns.
    pub(crate) fn start(served: &Served, clients: usize, conns: usize) -> anyhow::Result<Self> {
        let Target { client_addr, server_addr } = served.target();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--crowd", &format!("{clients},{conns},{client_addr},{server_addr}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("it was asked for")?;
        let crowd = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "the idle clients could not be connected");
        Ok(crowd)
    }

    /// Lets everybody go.
    ///
    /// # Errors
    ///
    /// If they were not all there until now.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the idle clients did not stay connected");
        Ok(())
    }
}

impl Drop for CrowdProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What such a process does, until its standard input ends.
pub(crate) fn play(crowd: &str) -> anyhow::Result<()> {
    let parts: Vec<&str> = crowd.split(',').collect();
    let [clients, conns, client_addr, server_addr] = parts[..] else { bail!("--crowd is not for people") };
    raise_files();
    let target = Target { client_addr: client_addr.to_owned(), server_addr: server_addr.to_owned() };
    let mut crowd = Crowd::new(&target)?;
    crowd.connect(&target, clients.parse()?)?;
    crowd.dial(conns.parse()?)?;
    println!("ready");
    static OVER: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        OVER.store(true, Ordering::Relaxed);
    });
    while !OVER.load(Ordering::Relaxed) {
        crowd.rest(TICK)?;
    }
    Ok(())
}
