//! What the library says of its gateways, written down.

use std::sync::Arc;

use fastway::fleet::{Event, Trouble};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::names::host_at;
use super::note::{FleetNote, Member};
use crate::actors::Stage;
use crate::history::What;

/// Until the one who says it is gone.
pub(super) async fn write_down(stage: Arc<Stage>, member: Member, mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) => stage.history.note(What::Fleet(member, note(&stage, &event))),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn note(stage: &Stage, event: &Event) -> FleetNote {
    match event {
        Event::Found(gateway) => FleetNote::Found(host_at(stage, gateway.as_str())),
        Event::Gone(gateway) => FleetNote::Gone(host_at(stage, gateway.as_str())),
        Event::Connected { gateway, .. } => FleetNote::Connected(host_at(stage, gateway.as_str())),
        Event::Draining(gateway) => FleetNote::Draining(host_at(stage, gateway.as_str())),
        Event::Trouble { gateway, trouble: Trouble::Refuses(_), .. } => {
            FleetNote::Refuses(host_at(stage, gateway.as_str()))
        }
        Event::Trouble { gateway, .. } | Event::Left { gateway, .. } => {
            FleetNote::Trouble(host_at(stage, gateway.as_str()))
        }
        Event::NotFound { .. } => FleetNote::NotFound,
    }
}
