//! The name service of a world: what its answer is, right now, to the question where the gateways are.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fastway::fleet::{Gateways, Resolve};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::note::{FleetNote, GatewaySet, Member};
use super::plan::FleetPlan;
use super::sabotage::Sabotage;
use crate::actors::Stage;
use crate::history::What;
use crate::net::Host;
use crate::plan::{CLIENT_PORT, SERVER_PORT};

/// The name of all gateways, without its port.
const NAME: &str = "gateways.example";

/// Addresses that begin so belong to nobody: whoever connects to them waits for ever. RFC 5737 has set them aside.
pub(super) const NOBODY: &str = "203.0.113.";

/// What is wrong with the name service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Flap {
    /// One gateway is not among them.
    Without {
        /// Which.
        gateway: String,
    },
    /// There are more of them: addresses where nobody is.
    Dead {
        /// How many.
        count: u32,
    },
    /// There are only such.
    OnlyDead {
        /// How many.
        count: u32,
    },
    /// There is one more, where somebody is, but no gateway: who connects is refused.
    Wrong,
    /// The name has no addresses.
    Empty,
    /// One of the addresses is none.
    Nonsense,
    /// The name service says that it failed.
    Fails,
    /// It takes so long to answer.
    Takes {
        /// In ms.
        ms: u32,
    },
}

impl fmt::Display for Flap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without { gateway } => write!(f, "{gateway} is not in the set"),
            Self::Dead { count } => write!(f, "{count} dead addresses are in the set"),
            Self::OnlyDead { count } => write!(f, "{count} dead addresses are the set"),
            Self::Wrong => f.write_str("an address is in the set where no gateway is"),
            Self::Empty => f.write_str("no addresses"),
            Self::Nonsense => f.write_str("an address that is none"),
            Self::Fails => f.write_str("it fails"),
            Self::Takes { ms } => write!(f, "it takes {ms} ms"),
        }
    }
}

/// The faults in force, by their places in the schedule.
#[derive(Debug, Default)]
pub(crate) struct NameService(Vec<(usize, Flap)>);

impl NameService {
    pub(crate) fn begin(&mut self, index: usize, flap: Flap) {
        self.0.push((index, flap));
    }

    pub(crate) fn end(&mut self, index: usize) {
        self.0.retain(|(known, _)| *known != index);
    }

    fn takes(&self) -> Duration {
        let ms = self.0.iter().map(|(_, flap)| if let Flap::Takes { ms } = flap { *ms } else { 0 });
        Duration::from_millis(ms.max().unwrap_or(0).into())
    }

    /// The addresses, and what they are; or why there is no answer of use.
    fn answer(&self, stage: &Stage, member: Member) -> (io::Result<Vec<String>>, Option<GatewaySet>) {
        let has = |wanted: fn(&Flap) -> bool| self.0.iter().any(|(_, flap)| wanted(flap));
        if has(|flap| matches!(flap, Flap::Fails)) {
            return (Err(io::Error::other("the name service has failed")), None);
        }
        if has(|flap| matches!(flap, Flap::Empty)) {
            return (Ok(Vec::new()), None);
        }
        let mut set = all(stage);
        let mut addrs = Vec::new();
        for (_, flap) in &self.0 {
            match flap {
                Flap::Without { gateway } => {
                    let topology = &stage.plan.topology;
                    let place = (0..topology.gateways).find(|index| topology.gateway(*index) == *gateway);
                    place.into_iter().for_each(|place| set.present &= !(1 << place));
                }
                Flap::Dead { count } => set.dead = set.dead.max(*count as u16),
                Flap::OnlyDead { count } => {
                    set = GatewaySet { present: 0, dead: set.dead.max(*count as u16) }
                }
                _ => {}
            }
        }
        addrs.extend((0..set.dead).map(|number| addr(&format!("{NOBODY}{}", number + 1), member)));
        if has(|flap| matches!(flap, Flap::Wrong)) {
            let somebody = match member {
                Member::Client(_) => stage.server_host(0),
                Member::Server(_) => stage.client_host(0),
            };
            addrs.push(addr(&stage.addrs[somebody.0].to_string(), member));
            set.dead += 1;
        }
        let present = (0..stage.plan.topology.gateways as usize).filter(|index| set.has(Host(*index)));
        addrs.extend(present.map(|index| addr(&stage.addrs[index].to_string(), member)));
        if has(|flap| matches!(flap, Flap::Nonsense)) {
            addrs.push("nonsense".to_owned());
            return (Ok(addrs), None);
        }
        let told = (!addrs.is_empty()).then_some(set);
        (Ok(addrs), told)
    }
}

fn port(member: Member) -> u16 {
    match member {
        Member::Client(_) => CLIENT_PORT,
        Member::Server(_) => SERVER_PORT,
    }
}

fn addr(host: &str, member: Member) -> String {
    format!("{host}:{}", port(member))
}

/// All gateways of a world.
fn all(stage: &Stage) -> GatewaySet {
    GatewaySet { present: (1 << stage.plan.topology.gateways) - 1, dead: 0 }
}

/// The host behind an address of a gateway.
pub(super) fn host_at(stage: &Stage, addr: &str) -> Option<Host> {
    let (ip, _) = addr.rsplit_once(':')?;
    let gateways = &stage.addrs[..stage.plan.topology.gateways as usize];
    gateways.iter().position(|known| known.to_string() == ip).map(Host)
}

/// Where a member finds the gateways: in a list, or by a name.
pub(super) fn gateways(stage: &Arc<Stage>, fleet: &FleetPlan, member: Member) -> Gateways {
    if fleet.every_ms == 0 {
        stage.history.note(What::Fleet(member, FleetNote::Told(all(stage))));
        let addrs = &stage.addrs[..stage.plan.topology.gateways as usize];
        let addrs = addrs.iter().map(|host| addr(&host.to_string(), member));
        return Gateways::list(addrs).expect("a world has gateways");
    }
    let every = Duration::from_millis(fleet.every_ms.into());
    let resolver = Resolver { stage: stage.clone(), member };
    Gateways::resolved(resolver, &addr(NAME, member), every)
}

struct Resolver {
    stage: Arc<Stage>,
    member: Member,
}

impl Resolve for Resolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
        debug_assert_eq!(name, addr(NAME, self.member));
        let backstage = &self.stage.backstage;
        let takes = backstage.names.lock().takes();
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let (answer, told) = backstage.names.lock().answer(&self.stage, self.member);
        let note = told.map_or(FleetNote::NotTold, FleetNote::Told);
        self.stage.history.note(What::Fleet(self.member, note));
        if backstage.sabotage == Sabotage::NamesNeverLeave && told.is_some() {
            let gateways = &self.stage.addrs[..self.stage.plan.topology.gateways as usize];
            return Ok(gateways.iter().map(|host| addr(&host.to_string(), self.member)).collect());
        }
        answer
    }
}
