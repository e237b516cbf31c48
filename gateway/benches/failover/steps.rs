//! What is made to fail, one after the other, and how long everybody has to get over it.

use std::time::Duration;

use crate::interrupt;
use crate::world::{GATEWAYS, World};

/// Something that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// SIGKILL of a gateway, which is started again.
    Kill(usize),
    /// The cable of a gateway's host is pulled, and plugged in again.
    Cut(usize),
    /// SIGKILL of a server, which is started again.
    RestartServer(usize),
    /// SIGTERM of a gateway, which is started again.
    Drain(usize),
    /// SIGKILL of all gateways, which are started again.
    KillAll,
}

/// All of them. The server is the first, while clients are spread over all gateways. A gateway that they have left gets few of
/// them back, so those that fail differ.
pub(crate) const ALL: [Step; 5] =
    [Step::RestartServer(1), Step::Kill(0), Step::Cut(1), Step::Drain(2), Step::KillAll];

/// Everybody talks for so long before anything fails.
const TALK: Duration = Duration::from_secs(3);

/// What has failed stays away for so long.
const AWAY: Duration = Duration::from_secs(2);

/// Then everybody has so long to find it again: servers try a gateway again every 5 s at the latest.
const CALM: Duration = Duration::from_secs(6);

/// And so long if no gateway was left: clients wait for up to 5 s, and then for servers, which wait as well.
const LONG_CALM: Duration = Duration::from_secs(12);

impl Step {
    /// What the mark says when it fails.
    pub(crate) fn cause(self) -> String {
        match self {
            Self::Kill(gateway) => format!("{} SIGKILL", GATEWAYS[gateway]),
            Self::Cut(gateway) => format!("{} cut off", GATEWAYS[gateway]),
            Self::RestartServer(server) => format!("server {} SIGKILL", server + 1),
            Self::Drain(gateway) => format!("{} SIGTERM", GATEWAYS[gateway]),
            Self::KillAll => "all SIGKILL".to_owned(),
        }
    }

    /// And when it is there again.
    pub(crate) fn return_of(self) -> String {
        match self {
            Self::Kill(gateway) | Self::Drain(gateway) => format!("{} back", GATEWAYS[gateway]),
            Self::Cut(gateway) => format!("{} mended", GATEWAYS[gateway]),
            Self::RestartServer(server) => format!("server {} back", server + 1),
            Self::KillAll => "all back".to_owned(),
        }
    }

    /// Does it. `detection`: how long it takes until a silent gateway is taken for dead.
    fn take(self, world: &mut World, detection: Duration) -> anyhow::Result<()> {
        world.mark(&self.cause())?;
        match self {
            Self::Kill(gateway) => world.kill_gateway(gateway),
            Self::Cut(gateway) => {
                world.cut_gateway(gateway)?;
                pause(detection)?;
            }
            Self::RestartServer(server) => world.kill_server(server),
            Self::Drain(gateway) => world.drain_gateway(gateway)?,
            Self::KillAll => (0..GATEWAYS.len()).for_each(|gateway| world.kill_gateway(gateway)),
        }
        pause(AWAY)?;
        world.mark(&self.return_of())?;
        match self {
            Self::Kill(gateway) | Self::Drain(gateway) => world.start_gateway(gateway)?,
            Self::Cut(gateway) => world.mend_gateway(gateway)?,
            Self::RestartServer(server) => world.start_server(server)?,
            Self::KillAll => (0..GATEWAYS.len()).try_for_each(|gateway| world.start_gateway(gateway))?,
        }
        pause(if self == Self::KillAll { LONG_CALM } else { CALM })
    }
}

/// Everything fails, one after the other; `tell` is told what does.
pub(crate) fn take_all(
    world: &mut World,
    detection: Duration,
    mut tell: impl FnMut(String),
) -> anyhow::Result<()> {
    pause(TALK)?;
    for step in ALL {
        tell(step.cause());
        step.take(world, detection)?;
    }
    Ok(())
}

/// Lets time pass.
fn pause(time: Duration) -> anyhow::Result<()> {
    std::thread::sleep(time);
    interrupt::check()
}
