//! The gateway in a process of its own, which answers each line on its standard input with what it counts, and stops at its end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use fastway::net::TcpNetwork;
use fastway_gateway::{ClientConfig, Config, Counts, Gateway, QueueLimits, ServerConfig, Threads};
use fastway_loadgen::Target;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::options::Options;

/// So much may wait for a server: little enough to be full most of the time for one that reads slowly.
const SERVER_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// The gateway as its parent has it.
#[derive(Debug)]
pub(crate) struct GatewayProcess {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    target: Target,
}

impl GatewayProcess {
    /// Starts it.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--gateway", "--threads", &options.threads.to_string()]);
        command.args(["--seed", &options.seed.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("it was asked for")?);
        let target = Target { client_addr: String::new(), server_addr: String::new() };
        let mut process = Self { child, questions, answers, target };
        let line = process.answer()?;
        let (client, server) = line.trim().split_once(' ').context("the gateway did not start")?;
        process.target = Target { client_addr: client.to_owned(), server_addr: server.to_owned() };
        Ok(process)
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it counts.
    pub(crate) fn counts(&mut self) -> anyhow::Result<Counts> {
        let questions = self.questions.as_mut().context("it is asked until it is dropped")?;
        questions.write_all(b"\n").context("the gateway is gone")?;
        let line = self.answer()?;
        let numbers: Vec<usize> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [clients, servers, conns, queued_bytes, buffered_bytes] = numbers[..] else {
            anyhow::bail!("the gateway says {line:?}")
        };
        Ok(Counts { clients, servers, conns, queued_bytes, buffered_bytes })
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the gateway is gone ({})", self.child.wait()?);
        Ok(line)
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.child.wait();
    }
}

/// What the child does.
pub(crate) fn serve(options: &Options) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server_queue = QueueLimits { bytes: SERVER_QUEUE_BYTES, ..ServerConfig::default().queue };
    let config = Config {
        client: ClientConfig { addr: any, ..ClientConfig::default() },
        server: ServerConfig { addr: any, queue: server_queue, ..ServerConfig::default() },
        threads: Threads::new(options.threads.into()).context("there is a thread at least")?,
        ..Config::default()
    };
    let mut seed = [0; 32];
    StdRng::seed_from_u64(options.seed).fill_bytes(&mut seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = Gateway::bind(&TcpNetwork::new(), config, seed).await?;
        println!("{} {}", gateway.client_addr(), gateway.server_addr());
        let handle = gateway.handle();
        std::thread::spawn(move || {
            for _ in std::io::stdin().lines() {
                let Counts { clients, servers, conns, queued_bytes, buffered_bytes } = handle.counts();
                println!("{clients} {servers} {conns} {queued_bytes} {buffered_bytes}");
            }
            handle.stop();
        });
        gateway.run().await?;
        Ok(())
    })
}
