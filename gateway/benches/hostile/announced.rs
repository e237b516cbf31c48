//! Clients that announce the largest frame and send next to nothing of it: memory follows what came, not what was announced.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastway::command::ToGateway;
use fastway::frame::{HEADER_BYTES, MaxPacket, encode_header};
use fastway::id::ConnId;

use crate::interrupt;
use crate::options::Options;
use crate::report::Report;
use crate::served::Served;
use crate::text::grouped;

pub(crate) const NAME: &str = "announced frames";

/// As many as both this process and the gateway may have open, and twice that is often all that there may be.
const CLIENTS: usize = 10_000;

/// After so long, a change in the gateway has settled.
const SETTLING: Duration = Duration::from_secs(2);

/// So many of them send the rest in the end.
const FINISHERS: usize = 20;

/// After so long, an answer that is not there will not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A kilobyte is what an idle client takes.
const WANTED_BYTES: f64 = 2048.0;

pub(crate) fn measure(options: &Options, report: &mut Report<'_>) -> anyhow::Result<()> {
    let clients = options.scaled(CLIENTS);
    for (body, what) in [(0, "header"), (100, "header, 100 B")] {
        report.doing(format!("{clients} clients, {what}"));
        let each = memory_of_each(options, clients, body)?;
        let name = format!("{NAME}: memory of each of {} clients ({what})", grouped(clients as u64));
        report.add(name, each, "B", WANTED_BYTES);
    }
    Ok(())
}

/// The gateway's memory for each of so many clients that send a header, and so many bytes of what it announces.
fn memory_of_each(options: &Options, clients: usize, body: usize) -> anyhow::Result<f64> {
    let gateway = Served::gateway(&options.gateway, &["--threads", "1"])?;
    sleep(SETTLING);
    let before = gateway.rss_bytes()?;
    let message = vec![0; MaxPacket::default().max_message_bytes()];
    let conn = ConnId::new(1).context("1 is a connection ID")?;
    let frame = [&encode_header(conn, message.len())[..], &message].concat();
    let (sent, unsent) = frame.split_at(HEADER_BYTES + body);
    let mut streams = Vec::with_capacity(clients);
    for number in 1..=clients {
        interrupt::check()?;
        let stream = TcpStream::connect(&gateway.target().client_addr);
        let mut stream = stream.with_context(|| format!("client {number} cannot connect"))?;
        stream.write_all(sent)?;
        streams.push(stream);
    }
    sleep(SETTLING);
    let each = (gateway.rss_bytes()? - before) / clients as f64;
    for stream in &streams {
        stream.set_nonblocking(true)?;
        let said = stream.peek(&mut [0]).map_err(|error| error.kind());
        ensure!(said == Err(ErrorKind::WouldBlock), "a client was not waited for: {said:?}");
    }
    // The frame is whole then, and for a connection that this client does not have.
    let close = ToGateway::Close { conn: Some(conn) }.encode();
    for stream in streams.iter_mut().take(FINISHERS) {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(unsent).context("the rest of a frame was not taken")?;
        let mut answer = vec![0; close.as_ref().len()];
        stream.read_exact(&mut answer).context("a frame whose rest came late was not answered")?;
        ensure!(answer == close.as_ref(), "a frame whose rest came late was answered by {answer:?}");
    }
    Ok(each)
}
