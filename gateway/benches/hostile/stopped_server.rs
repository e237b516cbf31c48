//! Clients that flood a server that does not read: its queue keeps within its limit, they are held back, and those who talk to
//! another server do not notice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fastway_loadgen::Target;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::flood::{Ledger, flood, take};
use crate::load;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::turns::in_turn;

pub(crate) const NAME: &str = "stopped server";

/// The ID of the server that does not read, and the clients that flood it.
const SERVER: u32 = 1000;
const FLOODERS: usize = 10;

/// The good ones, and the messages that they send a second to a server of their own, in all.
const CLIENTS: usize = 100;
const RATE: f64 = 5000.0;

/// What may wait for a server: the default.
const QUEUE_MIB: f64 = 64.0;
const QUEUE: &str = "64M";

/// An eighth more: chunks of the queue that are not quite full, and what was read from each flooding client.
const WANTED_MIB: f64 = QUEUE_MIB * 1.125;

const WANTED_RATIO: f64 = 1.3;

/// A flood that has not got on for so long is held back.
const HELD_BACK: Duration = Duration::from_millis(300);

/// So long everything may take that has to come to an end.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let gateway = Served::gateway(&options.gateway, &["--threads", "1", "--server-send-queue-bytes", QUEUE])?;
    let plan = options.plan(CLIENTS);
    let (mut before, mut most) = (None, 0.0_f64);
    let compared = in_turn(options.rounds(), report, |with| {
        if !with {
            return load::p99(&plan, RATE, &gateway);
        }
        let before = *before.get_or_insert(gateway.rss_bytes()?);
        let (target, ledger) = (gateway.target().clone(), Arc::new(Ledger::default()));
        let books = ledger.clone();
        let flooded = Background::start(move |stop| flooded(target, stop, books))?;
        held_back(&ledger)?;
        most = most.max(gateway.rss_bytes()? - before);
        let written = ledger.bytes_written.load(Ordering::Relaxed);
        let p99 = load::p99(&plan, RATE, &gateway)?;
        let written_later = ledger.bytes_written.load(Ordering::Relaxed);
        ensure!(written == written_later, "although the server reads nothing, the flood went on");
        flooded.finish()?;
        ensure!(
            written as f64 > QUEUE_MIB * 1024.0 * 1024.0,
            "{written} bytes did not fill the server's queue"
        );
        Ok(p99)
    })?;
    let name = format!("{NAME}: memory, {FLOODERS} clients flood it, {QUEUE_MIB} MiB may wait");
    report.add(name, most / 1024.0 / 1024.0, "MiB", WANTED_MIB);
    report.add_compared(format!("{NAME}: p99 of {CLIENTS} clients of another one"), compared, WANTED_RATIO);
    Ok(())
}

/// Waits until the flood does not get on.
fn held_back(ledger: &Ledger) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let (mut written, mut since) = (0, Instant::now());
    while written == 0 || since.elapsed() < HELD_BACK {
        ensure!(Instant::now() < deadline, "the flood is not held back: {written} bytes in {PATIENCE:?}");
        sleep(Duration::from_millis(10));
        let now = ledger.bytes_written.load(Ordering::Relaxed);
        if now != written {
            (written, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The flood; when it is told to stop, the server reads, and everything has to be there.
async fn flooded(target: Target, stop: CancellationToken, ledger: Arc<Ledger>) -> anyhow::Result<()> {
    let (mut server, mut clients) = (JoinSet::new(), JoinSet::new());
    let read = stop.clone();
    let pace = move || read.clone().cancelled_owned();
    server.spawn(take(target.clone(), SERVER, pace, ledger.clone()));
    for _ in 0..FLOODERS {
        clients.spawn(flood(target.client_addr.clone(), SERVER, stop.clone(), ledger.clone()));
    }
    stop.cancelled().await;
    let all = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        while ledger.open() > 0 {
            if let Ok(Some(failed)) = timeout(Duration::from_millis(10), server.join_next()).await {
                failed??;
            }
        }
        Ok(())
    };
    timeout(PATIENCE, all).await?
}
