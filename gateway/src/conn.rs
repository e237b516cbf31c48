//! One virtual connection: its two ends, and whether each has been told that it is over. And a session's table of them.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastway::extensions::ClientAddr;
use fastway::id::{ConnId, Side};
use hashbrown::HashTable;
use rustc_hash::{FxBuildHasher, FxHashSet};

use crate::outbox::Outbox;
use crate::sync::{AtomicBool, Mutex};

/// Joins one client with one server. Both sessions' tables hold it; its number is free again when neither does.
#[derive(Debug)]
pub(crate) struct Conn {
    id: ConnId,
    dialler: Side,
    client: End,
    server: End,
    ids: Arc<ConnIds>,
}

#[derive(Debug)]
struct End {
    outbox: Arc<Outbox>,
    /// `Close` is queued for this end. Changes under the lock of its outbox, so nothing can follow the `Close`.
    closed: AtomicBool,
}

impl Conn {
    /// A new connection with a number of its own, dialled by the owner of the first outbox.
    pub(crate) fn new(ids: &Arc<ConnIds>, dialler: &Arc<Outbox>, dialled: &Arc<Outbox>) -> Arc<Self> {
        let dialler_side = dialler.owner().side();
        let end = |outbox: &Arc<Outbox>| End { outbox: outbox.clone(), closed: AtomicBool::new(false) };
        let (client, server) = match dialler_side {
            Side::Client => (end(dialler), end(dialled)),
            Side::Server => (end(dialled), end(dialler)),
        };
        Arc::new(Self { id: ids.take(), dialler: dialler_side, client, server, ids: ids.clone() })
    }

    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    /// Which side opened it.
    pub(crate) fn dialler(&self) -> Side {
        self.dialler
    }

    /// Where to send what is for `side`.
    pub(crate) fn outbox(&self, side: Side) -> &Arc<Outbox> {
        &self.end(side).outbox
    }

    /// Where its client comes from.
    pub(crate) fn client_addr(&self) -> ClientAddr {
        ClientAddr(self.client.outbox.peer())
    }

    /// Ends the connection: each side that was not told yet is told now.
    pub(crate) fn close(self: &Arc<Self>) {
        for side in [Side::Client, Side::Server] {
            self.outbox(side).close(self);
        }
    }

    pub(crate) fn is_closed(&self, side: Side) -> bool {
        self.end(side).closed.load(Ordering::Relaxed)
    }

    /// Marks `side` as told. `false` if it was before. For [`Outbox::close`] alone, under its lock.
    pub(crate) fn mark_closed(&self, side: Side) -> bool {
        !self.end(side).closed.swap(true, Ordering::Relaxed)
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.ids.release(self.id);
    }
}

/// The virtual connections of one session, by their numbers. Each takes a pointer and a byte, and up to twice that: the number
/// is in the connection itself, which whoever looks it up needs next.
#[derive(Debug, Default)]
pub(crate) struct ConnTable(HashTable<Arc<Conn>>);

impl ConnTable {
    pub(crate) fn get(&self, id: ConnId) -> Option<&Arc<Conn>> {
        self.0.find(hash(id), |conn| conn.id == id)
    }

    /// Adds it; no other has its number.
    pub(crate) fn insert(&mut self, conn: Arc<Conn>) {
        self.0.insert_unique(hash(conn.id), conn, |conn| hash(conn.id));
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Arc<Conn>> {
        let entry = self.0.find_entry(hash(id), |conn| conn.id == id).ok()?;
        Some(entry.remove().0)
    }

    /// Removes so many of them at most, whichever.
    pub(crate) fn remove_some(&mut self, limit: usize) -> Vec<Arc<Conn>> {
        self.0.extract_if(|_| true).take(limit).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Conn>> {
        self.0.iter()
    }
}

fn hash(id: ConnId) -> u64 {
    FxBuildHasher.hash_one(id)
}

/// The numbers of the open virtual connections of one gateway.
#[derive(Debug)]
pub(crate) struct ConnIds(Mutex<Numbers>);

#[derive(Debug)]
struct Numbers {
    last: u32,
    in_use: FxHashSet<ConnId>,
}

impl ConnIds {
    /// The first number given out is the one after `last`.
    pub(crate) fn after(last: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Numbers { last, in_use: FxHashSet::default() })))
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().in_use.len()
    }

    /// A number that is not 0 and not in use: wrap-around skips those.
    fn take(&self) -> ConnId {
        let Numbers { last, in_use } = &mut *self.0.lock();
        loop {
            *last = last.wrapping_add(1);
            if let Some(id) = ConnId::new(*last)
                && in_use.insert(id)
            {
                return id;
            }
        }
    }

    fn release(&self, id: ConnId) {
        self.0.lock().in_use.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_around_zero_and_those_in_use() {
        let ids = ConnIds::after(0);
        assert_eq!(ids.take().get(), 1);
        assert_eq!(ids.take().get(), 2);
        ids.0.lock().last = u32::MAX - 1;
        assert_eq!(ids.take().get(), u32::MAX);
        assert_eq!(ids.take().get(), 3, "0 is no number, 1 and 2 are in use");
        ids.release(ConnId::new(1).unwrap());
        ids.0.lock().last = u32::MAX;
        assert_eq!(ids.take().get(), 1);
    }
}
