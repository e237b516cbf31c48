//! Who is registered, and opening virtual connections between them.
//!
//! Its one lock is never taken for a message: only when a session begins, dials or ends, when the gateway stops, and to
//! count.

use std::net::SocketAddr;
use std::sync::Arc;

use fastway::command::ToEndpoint;
use fastway::extensions::DrainNotice;
use fastway::id::{ClientId, RemoteId, ServerId, Side};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::budget::Debtor;
use crate::conn::{Conn, ConnIds};
use crate::groups::ServerGroup;
use crate::members::Groups;
use crate::outbox::{Cut, Outbox, OutboxConfig, Owner};
use crate::sync::Mutex;

/// Everybody who is connected to one gateway.
#[derive(Debug)]
pub(crate) struct Router {
    registered: Mutex<Registered>,
    conn_ids: Arc<ConnIds>,
}

/// Why a session does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// The gateway stops.
    Stopped,
    /// As many clients are there as may be.
    Full,
}

#[derive(Debug, Default)]
struct Registered {
    clients: FxHashMap<ClientId, Arc<Outbox>>,
    servers: FxHashMap<ServerId, Arc<Outbox>>,
    groups: Groups,
    last_client: u32,
    /// Clients at most; 0 for any number.
    max_clients: usize,
    stopped: bool,
    /// The gateway drains, and all clients will have been told to go by then.
    draining_until: Option<Instant>,
}

impl Registered {
    fn everybody(&self) -> impl Iterator<Item = &Arc<Outbox>> {
        self.clients.values().chain(self.servers.values())
    }

    fn find(&self, side: Side, remote: RemoteId) -> Option<&Arc<Outbox>> {
        match side {
            Side::Client => self.clients.get(&remote.client()?),
            Side::Server => self.servers.get(&remote.into()),
        }
    }
}

/// How a dial went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    Open,
    /// Nobody there by that ID.
    Nobody,
    /// The dialled server takes no more for now; the dialler will be resumed.
    Full,
}

/// What is there at one moment. All of it is 0 when everybody has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that are connected.
    pub clients: usize,
    /// Servers that are registered.
    pub servers: usize,
    /// Virtual connections that are open, or not yet forgotten by both sides.
    pub conns: usize,
    /// Bytes that wait in send queues.
    pub queued_bytes: usize,
    /// These and those of frames that have not arrived as a whole, or are held back.
    pub buffered_bytes: usize,
}

impl Router {
    /// For so many clients at most; 0 for any number.
    pub(crate) fn new(max_clients: usize) -> Self {
        let router = Self::after(0, 0);
        router.set_max_clients(max_clients);
        router
    }

    /// From now on so many clients may be there; 0 for any number. Those who are there stay.
    pub(crate) fn set_max_clients(&self, max_clients: usize) {
        self.registered.lock().max_clients = max_clients;
    }

    /// From now on these groups are there, and no others. What is open stays.
    pub(crate) fn set_groups(&self, groups: &[ServerGroup]) {
        let mut registered = self.registered.lock();
        let mut groups = Groups::new(groups);
        for (id, outbox) in &registered.servers {
            groups.join(*id, outbox);
        }
        registered.groups = groups;
    }

    /// Each group with how many of its members are there, in the order of their IDs.
    pub(crate) fn groups(&self) -> Vec<(ServerGroup, usize)> {
        self.registered.lock().groups.counts()
    }

    /// A router whose IDs go on after these, which a gateway reaches after billions of connections.
    fn after(last_client: u32, last_conn: u32) -> Self {
        let registered = Registered { last_client, ..Registered::default() };
        Self { registered: Mutex::new(registered), conn_ids: ConnIds::after(last_conn) }
    }

    /// Registers a client under a number of its own: not 0, and no one else's.
    pub(crate) fn register_client(
        &self,
        config: &Arc<OutboxConfig>,
        peer: Option<SocketAddr>,
    ) -> Result<Arc<Outbox>, NotRegistered> {
        let mut registered = self.registered.lock();
        let Registered { clients, last_client, max_clients, stopped, .. } = &mut *registered;
        if *stopped {
            return Err(NotRegistered::Stopped);
        }
        if *max_clients > 0 && clients.len() >= *max_clients {
            return Err(NotRegistered::Full);
        }
        let id = loop {
            *last_client = last_client.wrapping_add(1);
            if let Some(id) = ClientId::new(*last_client).filter(|id| !clients.contains_key(id)) {
                break id;
            }
        };
        let outbox = Arc::new(Outbox::new(Owner::Client(id), config.clone(), peer));
        clients.insert(id, outbox.clone());
        Ok(outbox)
    }

    /// Whether a client would be turned away now.
    pub(crate) fn is_full(&self) -> bool {
        let registered = self.registered.lock();
        registered.max_clients > 0 && registered.clients.len() >= registered.max_clients
    }

    /// Registers a server under the number it chose; whoever had it before is ended. `None` when the gateway stops.
    pub(crate) fn register_server(
        &self,
        id: ServerId,
        config: &Arc<OutboxConfig>,
        peer: Option<SocketAddr>,
    ) -> Option<Arc<Outbox>> {
        let outbox = Arc::new(Outbox::new(Owner::Server(id), config.clone(), peer));
        let mut registered = self.registered.lock();
        if registered.stopped {
            return None;
        }
        let older = registered.servers.insert(id, outbox.clone());
        registered.groups.join(id, &outbox);
        drop(registered);
        if let Some(older) = older {
            older.cut(Cut::TakenOver);
        }
        Some(outbox)
    }

    /// Forgets this session, and only this one: another may have taken over its number.
    pub(crate) fn unregister(&self, outbox: &Arc<Outbox>) {
        let mut registered = self.registered.lock();
        let is_this = |current: &Arc<Outbox>| Arc::ptr_eq(current, outbox);
        match outbox.owner() {
            Owner::Client(id) if registered.clients.get(&id).is_some_and(is_this) => {
                registered.clients.remove(&id);
            }
            Owner::Server(id) if registered.servers.get(&id).is_some_and(is_this) => {
                registered.servers.remove(&id);
                registered.groups.leave(id);
            }
            _ => {}
        }
    }

    /// Opens a virtual connection from `dialler` to `remote` on the other side.
    ///
    /// `Accept` is queued for the dialler before `Connect` is for the other, so no message can overtake either. If
    /// the other session ends in between, the dialler sees the connection open and close. Of a group, the dialler gets a
    /// member, and learns that it has what it dialled.
    pub(crate) fn dial(&self, dialler: &Arc<Outbox>, remote: RemoteId) -> Dialled {
        let Some(dialled) = self.find_dialled(dialler, remote) else { return Dialled::Nobody };
        if !dialled.has_room(dialler) {
            return Dialled::Full;
        }
        let conn = Conn::new(&self.conn_ids, dialler, &dialled);
        let connect = ToEndpoint::Connect { conn: conn.id(), remote: dialler.owner().remote_id() };
        dialler.open(&conn, ToEndpoint::Accept { conn: conn.id(), remote });
        if !dialled.open(&conn, connect) {
            conn.close();
        }
        Dialled::Open
    }

    /// Ends one session. `false` if nobody is there by that ID.
    pub(crate) fn close(&self, side: Side, id: RemoteId) -> bool {
        self.find(side, id).is_some_and(|outbox| {
            outbox.cut(Cut::Operator);
            true
        })
    }

    /// Everybody who is there, in no order.
    pub(crate) fn everybody(&self) -> Vec<Arc<Outbox>> {
        self.registered.lock().everybody().cloned().collect()
    }

    /// From now on the gateway drains, and by `until` all clients will have been told to go. Returns everybody who is there: each is
    /// to be [given notice](Outbox::give_notice).
    pub(crate) fn begin_draining(&self, until: Instant) -> Vec<Arc<Outbox>> {
        let mut registered = self.registered.lock();
        registered.draining_until = Some(until);
        registered.everybody().cloned().collect()
    }

    /// This session's peer asks for a notice when the gateway drains, and gets it at once if it drains already. In this order:
    /// whoever looks before the drain begins is there, and has asked, when notice is given to all.
    pub(crate) fn wants_notice(&self, session: &Outbox) {
        session.wants_notice();
        let draining_until = self.registered.lock().draining_until;
        if let Some(until) = draining_until {
            session.give_notice(notice(until));
        }
    }

    /// Ends every session, and lets no new one begin.
    pub(crate) fn stop(&self) {
        let mut registered = self.registered.lock();
        registered.stopped = true;
        let everybody: Vec<_> = registered.everybody().cloned().collect();
        drop(registered);
        everybody.iter().for_each(|outbox| outbox.cut(Cut::Shutdown));
    }

    /// All clients, the oldest first, unless their numbers have wrapped around.
    pub(crate) fn clients(&self) -> Vec<Arc<Outbox>> {
        let mut clients: Vec<_> = self.registered.lock().clients.values().cloned().collect();
        clients.sort_by_key(|client| client.owner());
        clients
    }

    /// What everybody owes who is not to end anyway.
    pub(crate) fn debtors(&self) -> Vec<Debtor> {
        let registered = self.registered.lock();
        registered.everybody().filter_map(|outbox| Some((outbox.debt()?, outbox.clone()))).collect()
    }

    /// `buffered_bytes` are not its business, and 0.
    pub(crate) fn counts(&self) -> Counts {
        let registered = self.registered.lock();
        let queued_bytes = registered.everybody().map(|outbox| outbox.queued_bytes()).sum();
        drop(registered);
        Counts { queued_bytes, ..self.numbers() }
    }

    /// The same without `queued_bytes`, for which everybody has to be looked at.
    pub(crate) fn numbers(&self) -> Counts {
        let registered = self.registered.lock();
        Counts {
            clients: registered.clients.len(),
            servers: registered.servers.len(),
            conns: self.conn_ids.count(),
            ..Counts::default()
        }
    }

    fn find_dialled(&self, dialler: &Outbox, remote: RemoteId) -> Option<Arc<Outbox>> {
        let side = dialler.owner().side().other();
        let mut registered = self.registered.lock();
        if side == Side::Server
            && let Some(group) = registered.groups.get(remote.into())
        {
            return group.choose(dialler);
        }
        registered.find(side, remote).cloned()
    }

    fn find(&self, side: Side, remote: RemoteId) -> Option<Arc<Outbox>> {
        self.registered.lock().find(side, remote).cloned()
    }
}

/// That the gateway drains, and will have told all clients to go by `until`.
pub(crate) fn notice(until: Instant) -> DrainNotice {
    DrainNotice { window: until.saturating_duration_since(Instant::now()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::batch::Batch;

    fn config() -> Arc<OutboxConfig> {
        OutboxConfig::with_limits(100, 10_000)
    }

    fn client_id(outbox: &Outbox) -> u32 {
        outbox.owner().remote_id().get()
    }

    #[test]
    fn client_numbers_wrap_around_zero_and_those_in_use() {
        let router = Router::after(0, 0);
        let first = router.register_client(&config(), None).unwrap();
        assert_eq!(client_id(&first), 1);
        router.registered.lock().last_client = u32::MAX;
        let second = router.register_client(&config(), None).unwrap();
        assert_eq!(client_id(&second), 2, "0 is no number, 1 is in use");
        assert_eq!(router.counts().clients, 2);
        router.unregister(&first);
        router.registered.lock().last_client = u32::MAX;
        assert_eq!(client_id(&router.register_client(&config(), None).unwrap()), 1);
    }

    #[test]
    fn the_end_of_an_older_server_does_not_unregister_the_newer() {
        let router = Router::new(0);
        let older = router.register_server(ServerId::new(5), &config(), None).unwrap();
        let newer = router.register_server(ServerId::new(5), &config(), None).unwrap();
        router.unregister(&older);
        let found = router.find(Side::Server, RemoteId::new(5)).unwrap();
        assert!(Arc::ptr_eq(&found, &newer));
        router.unregister(&newer);
        assert!(router.find(Side::Server, RemoteId::new(5)).is_none());
    }

    /// Rule 2. On another shard, the dialled session may run, and its peer answer, as soon as it is woken: by then
    /// `Accept` has to be queued for the dialler.
    #[test]
    fn accept_is_queued_before_the_dialled_session_is_woken() {
        struct Probe {
            dialler: Arc<Outbox>,
            queued_when_woken: AtomicUsize,
        }
        impl Wake for Probe {
            fn wake(self: Arc<Self>) {
                self.queued_when_woken.store(self.dialler.queued_bytes(), Ordering::Relaxed);
            }
        }
        let router = Router::new(0);
        let dialler = router.register_client(&config(), None).unwrap();
        let dialled = router.register_server(ServerId::new(5), &config(), None).unwrap();
        let probe = Arc::new(Probe { dialler: dialler.clone(), queued_when_woken: AtomicUsize::new(0) });
        dialled.woken_by(&Waker::from(probe.clone()));
        assert_eq!(router.dial(&dialler, RemoteId::new(5)), Dialled::Open);
        assert_eq!(probe.queued_when_woken.load(Ordering::Relaxed), 17, "the size of Accept");
    }

    #[test]
    fn a_dial_to_a_session_that_just_ended_leaves_nothing_behind() {
        let router = Router::new(0);
        let client = router.register_client(&config(), None).unwrap();
        let server = router.register_server(ServerId::new(5), &config(), None).unwrap();
        // The server's session has ended, but a dialler on another shard found it just before.
        drop(server.shut(&mut Default::default()));
        assert_eq!(router.dial(&client, RemoteId::new(5)), Dialled::Open);
        let (mut batch, mut news) = (Batch::default(), Vec::new());
        client.collect(Some(&mut batch), |item| news.push(item));
        assert_eq!(batch.messages(), 2, "Accept, then Close");
        drop(news);
        assert_eq!(router.counts().conns, 0);
    }

    #[test]
    fn nobody_registers_after_the_stop() {
        let router = Router::new(0);
        router.stop();
        assert!(matches!(router.register_client(&config(), None), Err(NotRegistered::Stopped)));
        assert!(router.register_server(ServerId::new(1), &config(), None).is_none());
    }
}
