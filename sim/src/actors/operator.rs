//! Does what faults need somebody on a host for: storms, second servers, malformed bytes.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Stage, first, misfit, server};
use crate::history::Phase;
use crate::net::Host;
use tokio::time::{Duration, sleep};

/// What the operator is told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// See [`Kind::ConnectStorm`](crate::fault::Kind::ConnectStorm).
    Storm { gateway: u32, count: u32 },
    /// See [`Kind::DuplicateServer`](crate::fault::Kind::DuplicateServer).
    Duplicate { gateway: u32, server: u32, len_ms: u32 },
    /// See [`Kind::Malformed`](crate::fault::Kind::Malformed).
    Malformed { gateway: u32, as_server: bool },
}

pub(crate) async fn operate(stage: Arc<Stage>, host: Host) {
    let ordered = stage.ordered.lock().take();
    // Somebody without power obeys no orders, and after that there is nobody any more to obey them.
    let Some(mut ordered) = ordered else { return };
    let mut tasks = JoinSet::new();
    let obeying = async {
        while let Some(order) = ordered.recv().await {
            obey(&stage, host, order, &mut tasks);
        }
    };
    let _ = first(obeying, stage.until(Phase::Healing)).await;
    while tasks.join_next().await.is_some() {}
}

fn obey(stage: &Arc<Stage>, host: Host, order: Order, tasks: &mut JoinSet<()>) {
    match order {
        Order::Storm { gateway, count } => {
            for _ in 0..count {
                tasks.spawn(misfit::storm(stage.clone(), host, gateway));
            }
        }
        Order::Duplicate { gateway, server, len_ms } => {
            let stage = stage.clone();
            tasks.spawn(async move {
                let serving = server::serve(&stage, host, gateway, server, Phase::Healing);
                // When its time is over it is dropped, with all that it serves.
                let _ = first(serving, sleep(Duration::from_millis(len_ms.into()))).await;
            });
        }
        Order::Malformed { gateway, as_server } => {
            tasks.spawn(misfit::send_malformed(stage.clone(), host, gateway, as_server));
        }
    }
}
