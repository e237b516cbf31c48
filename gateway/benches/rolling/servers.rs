//! Servers: connected to a gateway whenever it is there, they echo each message.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use fastway::command::{ToEndpoint, ToGateway};
use fastway::frame::encode;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::wire::{self, Ear, Heard};

/// Before another attempt to connect to a gateway that is not there.
const REST: Duration = Duration::from_millis(10);

/// One server's link to one gateway, and to the next gateway on that address.
pub(crate) async fn serve(
    addr: String,
    id: u32,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if let Ok(stream) = wire::server(&addr, id).await {
            echo(stream, &ledger).await?;
        }
        if stop.is_cancelled() {
            return Ok(());
        }
        sleep(REST).await;
    }
}

/// Until the gateway ends the connection.
async fn echo(mut stream: TcpStream, ledger: &Ledger) -> anyhow::Result<()> {
    let (mut from, mut to) = stream.split();
    let (mut ear, mut out, mut open) = (Ear::new(), Vec::new(), HashSet::new());
    loop {
        let heard = ear
            .hear(&mut from, |heard| {
                match heard {
                    Heard::Message(conn, message) => {
                        ensure!(open.contains(&conn), "a message came behind the end of its connection");
                        ledger.serve(message)?;
                        encode(conn, message, &mut out);
                    }
                    Heard::Command(ToEndpoint::Connect { conn, .. }) => {
                        open.insert(conn);
                    }
                    Heard::Command(ToEndpoint::Close { conn: Some(conn) }) => {
                        open.remove(&conn);
                    }
                    Heard::Command(ToEndpoint::Ping) => {
                        out.extend_from_slice(ToGateway::Ping.encode().as_ref());
                    }
                    Heard::Command(_) => {}
                }
                Ok(())
            })
            .await;
        match heard {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // A gateway that is gone is found out like this too; that is no fault of a message.
            Err(error) if error.is::<fastway::reader::ReadError<std::convert::Infallible>>() => return Ok(()),
            Err(error) => return Err(error),
        }
        if to.write_all(&out).await.is_err() {
            return Ok(());
        }
        out.clear();
    }
}
