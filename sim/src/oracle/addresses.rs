//! Servers that ask for the addresses of their clients (docs/protocol-extensions.md): are they told, is it true, and is nobody
//! told who did not ask?

use std::net::SocketAddr;

use super::gateway::Step;
use super::model::Model;
use super::{About, Found, found};
use crate::history::{Note, Side};
use crate::states::State;

/// The address of the client.
const CLIENT_ADDR: u32 = 1;

/// A Refuse with a set behind it, and an entry of its list, in bytes of Length.
const GRANT_BYTES: u32 = 17;
const ENTRY_BYTES: u32 = 22;

/// What one link gets beyond the protocol.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// What for, one bit each.
    asked: u32,
    /// The addresses of clients.
    granted: bool,
    /// Its Accept or Connect has just been said: the address comes next.
    expects: Option<u32>,
    /// Entries of the list that are still to come.
    listed: u32,
    /// Connections that were opened without an address, and that the list has to have if there is room in the packet.
    untold: Vec<u32>,
    /// There is no room for more.
    list_is_full: bool,
}

impl Model {
    /// Rule E2: servers only.
    pub(super) fn asks(&mut self, step: &mut Step<'_>, wishes: u32) {
        let link = self.physical(step);
        if link.side == Side::Server {
            link.extensions.asked |= wishes;
        }
    }

    /// Rules E3 to E6 and E8, for all that a gateway says, in the order in which it says it.
    pub(super) fn is_told(&mut self, step: &mut Step<'_>, note: Note) -> Result<(), Found> {
        let about = self.about(step);
        let extensions = &mut self.physical(step).extensions;
        let expected = extensions.expects.take();
        match note {
            Note::Told { conn, addr } => {
                let is_listed = extensions.listed > 0;
                extensions.listed = extensions.listed.saturating_sub(1);
                extensions.untold.retain(|untold| *untold != conn);
                if !is_listed && expected != Some(conn) {
                    let text = format!("it was told the address of the client of #{conn}, and had not asked");
                    return Err(found("rule E8: who did not ask", about, text));
                }
                self.list_is_whole(step)?;
                self.was_told(conn, addr)
            }
            _ if expected.is_some() || extensions.listed > 0 => {
                let text = format!("an address has to come, but it was {note}");
                Err(found("rule E5: every connection", about, text))
            }
            Note::Grants { granted, listed } => self.grants(step, granted, listed),
            Note::Accept { conn, .. } | Note::Connect { conn, .. } if extensions.granted => {
                extensions.expects = Some(conn);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn grants(&mut self, step: &mut Step<'_>, granted: u32, listed: u32) -> Result<(), Found> {
        let about = self.about(step);
        let link = &self.links[&step.link];
        let is_new = granted & CLIENT_ADDR != 0 && !link.extensions.granted;
        if granted & !link.extensions.asked != 0 || !is_new && listed > 0 {
            let text = "something was granted that was not asked for, or told that was told before";
            return Err(found("rule E3: what is granted", about, text));
        }
        if !is_new {
            return Ok(());
        }
        step.states.reach(State::Granted);
        let is_untold = |id: &u32| {
            let conn = &self.conns[id];
            let is_open = conn.ends.iter().any(|end| end.link == Some(step.link) && end.closes == 0);
            is_open && conn.told.is_none()
        };
        let untold = link.conns.iter().copied().filter(is_untold).collect();
        let fitting = (step.plan.gateway.max_packet - GRANT_BYTES) / ENTRY_BYTES;
        let extensions = &mut self.physical(step).extensions;
        (extensions.granted, extensions.listed, extensions.untold) = (true, listed, untold);
        extensions.list_is_full = listed >= fitting;
        if listed > 0 {
            step.states.reach(State::GrantedLate);
        }
        self.list_is_whole(step)
    }

    /// At its end, a list has all that it had to have, or is as long as a packet.
    fn list_is_whole(&mut self, step: &Step<'_>) -> Result<(), Found> {
        let about = self.about(step);
        let extensions = &mut self.physical(step).extensions;
        if extensions.listed > 0 {
            return Ok(());
        }
        match std::mem::take(&mut extensions.untold).as_slice() {
            [] => Ok(()),
            _ if extensions.list_is_full => Ok(()),
            untold => {
                let text = format!("these were open before the grant, and are not in its list: {untold:?}");
                Err(found("rule E4: what is open already", about, text))
            }
        }
    }

    fn was_told(&mut self, id: u32, addr: Option<SocketAddr>) -> Result<(), Found> {
        let about = About::Conn(self.run, id);
        let Some(conn) = self.conns.get_mut(&id) else {
            return Err(found("rule E4: what is open already", about, "an address of no connection"));
        };
        if addr.is_none() {
            return Err(found(
                "rule E6: which address",
                about,
                "the gateway does not know where it comes from",
            ));
        }
        conn.told = addr;
        self.told_the_truth(id)
    }

    /// What the server was told is where the client's link comes from, if that is known by now.
    pub(super) fn told_the_truth(&self, id: u32) -> Result<(), Found> {
        let conn = &self.conns[&id];
        let links = conn.ends.iter().filter_map(|end| self.links.get(&end.link?));
        let client = links.filter(|link| link.side == Side::Client).map(|link| link.addr).next();
        match conn.told.zip(client) {
            Some((told, is)) if told != SocketAddr::new(is.ip().to_canonical(), is.port()) => {
                let text = format!("the server was told that the client comes from {told}, but it is {is}");
                Err(found("rule E6: which address", About::Conn(self.run, id), text))
            }
            _ => Ok(()),
        }
    }
}
