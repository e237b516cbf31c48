//! What is due: messages, connections to be closed or made again, calls.

use std::iter::Peekable;

use fastway::id::Side;
use fastway::net::Network;
use rand::RngExt as _;

use super::Shard;
use crate::arrivals::Arrivals;
use crate::clock::Nanos;
use crate::lane::{self, Kind, Lane};
use crate::stats::ErrorKind;

/// Messages that are picked up before links have their turn again.
const PICKS_PER_TURN: usize = 512;

/// Lanes that are asked whether they are open before a message is not sent.
const LANES_TRIED: usize = 64;

/// Bytes that may wait for one link. Beyond that, messages are not sent.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

impl<N: Network> Shard<N> {
    pub(super) fn pick_up(&mut self) {
        let now = self.common.clock.now();
        if now < self.next_due {
            return;
        }
        self.pick_up_messages(now);
        if take_due(&mut self.churn, now).is_some()
            && let Some(lane) = self.next_open_lane()
        {
            self.churn_lane(lane);
        }
        if take_due(&mut self.reconnects, now).is_some()
            && let Some(lane) = self.next_open_lane()
        {
            self.reconnect(self.work.lanes[lane as usize].link);
        }
        if let Some(meant) = take_due(&mut self.calls, now) {
            self.call(meant);
        }
        self.write_dirty();
        self.next_due = [&mut self.messages, &mut self.churn, &mut self.reconnects, &mut self.calls]
            .into_iter()
            .filter_map(|arrivals| arrivals.as_mut()?.peek().copied())
            .min()
            .unwrap_or(Nanos::MAX);
    }

    pub(super) fn pick_up_messages(&mut self, now: Nanos) {
        for _ in 0..PICKS_PER_TURN {
            let Some(intended) = take_due(&mut self.messages, now) else { return };
            if self.work.asked >= self.work.asked_at_most {
                self.messages = None;
                return;
            }
            self.work.book.due(intended);
            let lane = self.next_open_lane();
            let Some((lane, link)) = lane.map(|lane| (lane, self.work.lanes[lane as usize].link)) else {
                self.not_sent("no virtual connection was open");
                continue;
            };
            let desk = &mut self.links[link as usize].desk;
            if desk.waiting_bytes() > WAITING_BYTES {
                self.not_sent("16 MiB waited to be written to its link already: the gateway takes nothing");
                continue;
            }
            desk.ask(lane, intended, now, &mut self.work);
            self.mark_dirty(link);
        }
    }

    fn not_sent(&mut self, why: &str) {
        self.work.book.interval.tally.not_sent += 1;
        self.work.book.error(ErrorKind::NotSent, || why.to_owned());
    }

    /// The next lane that is open, in turn.
    fn next_open_lane(&mut self) -> Option<u32> {
        for _ in 0..LANES_TRIED.min(self.order.len()) {
            let lane = self.order[self.turn_of];
            self.turn_of = (self.turn_of + 1) % self.order.len();
            if self.work.lanes[lane as usize].state == lane::State::Open {
                return Some(lane);
            }
        }
        None
    }

    /// Closes a virtual connection, to dial it again.
    fn churn_lane(&mut self, lane: u32) {
        let churned = &mut self.work.lanes[lane as usize];
        churned.state = lane::State::Retiring;
        let (link, is_quiet) = (churned.link, churned.under_way() == 0);
        if is_quiet {
            self.links[link as usize].desk.close(lane, &mut self.work);
            self.mark_dirty(link);
        }
    }

    /// Ends a client's link, to make it again.
    fn reconnect(&mut self, index: u32) {
        self.work.is_ending[index as usize] = true;
        for lane in &self.links[index as usize].desk.lanes {
            let retired = &mut self.work.lanes[*lane as usize];
            if retired.state == lane::State::Open {
                retired.state = lane::State::Retiring;
            }
        }
        self.end_if_quiet(index);
    }

    /// A server dials a client that has dialled it.
    fn call(&mut self, meant: Nanos) {
        let servers = self.links.iter().take_while(|link| link.desk.side == Side::Server).count();
        let Some(index) = servers.checked_sub(1).map(|last| self.rng.random_range(0..=last)) else { return };
        let link = &self.links[index];
        if !link.is_up() || link.desk.callers.is_empty() {
            return;
        }
        let remote = link.desk.callers[self.rng.random_range(0..link.desk.callers.len())];
        let mut lane = Lane::new(index as u32, remote, Kind::Call);
        let place = match self.work.free_calls.pop() {
            Some(place) => {
                // What the socket still has to take of the lane's last connection must not be taken for its next one's.
                lane.generation = self.work.lanes[place as usize].generation;
                self.work.lanes[place as usize] = lane;
                place
            }
            None => {
                self.work.lanes.push(lane);
                self.work.lanes.len() as u32 - 1
            }
        };
        self.links[index].desk.dial(place, meant, &mut self.work);
        self.mark_dirty(index as u32);
    }
}

/// The next time of a schedule, if it has come.
fn take_due(arrivals: &mut Option<Peekable<Arrivals>>, now: Nanos) -> Option<Nanos> {
    arrivals.as_mut()?.next_if(|at| *at <= now)
}
