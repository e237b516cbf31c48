//! Server groups as they are: which members are registered, and which one a client gets.
//!
//! All of it is under the router's lock, which no message takes. Only one who dials a group pays for it: a look at each member
//! that is there, by loads of atomics, and a short lock of the queue of the one that is chosen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use fastway::id::ServerId;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::admission::holder_of;
use crate::groups::{GroupPolicy, ServerGroup};
use crate::outbox::{Outbox, Readiness};

/// All groups of one gateway, by their IDs.
#[derive(Debug, Default)]
pub(crate) struct Groups(FxHashMap<ServerId, Group>);

impl Groups {
    /// These groups, of which no member is there yet.
    pub(crate) fn new(groups: &[ServerGroup]) -> Self {
        Self(groups.iter().map(|meant| (meant.id(), Group::new(meant.clone()))).collect())
    }

    /// A server is registered from now on, in the place of an older one of this ID if there was one.
    pub(crate) fn join(&mut self, id: ServerId, outbox: &Arc<Outbox>) {
        for group in self.0.values_mut().filter(|group| group.meant.serves(id)) {
            group.members.retain(|member| member.id != id);
            group.members.push(Member { id, outbox: outbox.clone(), last: 0 });
        }
    }

    /// The server of this ID is not registered any more.
    pub(crate) fn leave(&mut self, id: ServerId) {
        for group in self.0.values_mut() {
            group.members.retain(|member| member.id != id);
        }
    }

    /// The group with this ID. Without groups, this is one branch.
    pub(crate) fn get(&mut self, id: ServerId) -> Option<&mut Group> {
        self.0.get_mut(&id)
    }

    /// Each group with how many of its members are there, in the order of their IDs.
    pub(crate) fn counts(&self) -> Vec<(ServerGroup, usize)> {
        let mut counts: Vec<_> =
            self.0.values().map(|group| (group.meant.clone(), group.members.len())).collect();
        counts.sort_unstable_by_key(|(group, _)| group.id());
        counts
    }
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    meant: ServerGroup,
    members: Vec<Member>,
    /// How many members were chosen.
    chosen: u64,
}

#[derive(Debug)]
struct Member {
    id: ServerId,
    outbox: Arc<Outbox>,
    /// The count of choices when it was chosen the last time.
    last: u64,
}

/// Smaller is better: whether it should be spared, then what the policy goes by, then how long ago it was chosen.
type Rank = (bool, u64, u64);

impl Group {
    fn new(meant: ServerGroup) -> Self {
        Self { meant, members: Vec::new(), chosen: 0 }
    }

    /// The member that this client gets: the best one that takes it. If all are full, the best of these, for which the client
    /// has to wait; `None` if nobody is there but those who are about to end.
    ///
    /// Whoever is chosen can still end before it has heard of the client. Then the client sees its connection open and close,
    /// as it does when a server ends a moment later.
    pub(crate) fn choose(&mut self, client: &Outbox) -> Option<Arc<Outbox>> {
        let policy = self.meant.policy();
        let address = address_of(client);
        let ranks = self.members.iter().enumerate();
        let mut best: BinaryHeap<_> =
            ranks.map(|(index, member)| Reverse((member.rank(policy, &address), index))).collect();
        let mut full = None;
        while let Some(Reverse((_, index))) = best.pop() {
            match self.members[index].outbox.readiness() {
                Readiness::Ready => return Some(self.take(index)),
                Readiness::Full => full = full.or(Some(index)),
                Readiness::Ending => {}
            }
        }
        full.map(|index| self.members[index].outbox.clone())
    }

    fn take(&mut self, index: usize) -> Arc<Outbox> {
        self.chosen += 1;
        let member = &mut self.members[index];
        member.last = self.chosen;
        member.outbox.clone()
    }
}

impl Member {
    fn rank(&self, policy: GroupPolicy, address: &[u8; 16]) -> Rank {
        let Self { id, outbox, last } = self;
        match policy {
            // A socket that takes nothing for a moment is a reason to go elsewhere, where it is all the same.
            GroupPolicy::Least => {
                (outbox.holds_back() || outbox.is_blocked(), outbox.open_conns() as u64, *last)
            }
            // Here it is not: only where the client would have to wait.
            GroupPolicy::Client => (outbox.holds_back(), !weight(*id, address), 0),
        }
    }
}

/// What a client weighs with a member: whoever weighs the most is chosen (rendezvous hashing), so only those clients move whose
/// member goes, or who weigh more with one that comes. Every gateway has to come to the same, of whatever version: XXH3 is
/// specified.
fn weight(member: ServerId, address: &[u8; 16]) -> u64 {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&member.get().to_le_bytes());
    bytes[4..].copy_from_slice(address);
    xxh3_64(&bytes)
}

/// By what a client is known again: its ID says nothing, since each gateway gives out its own, and a new one each time.
fn address_of(client: &Outbox) -> [u8; 16] {
    // Who has no address is gone already.
    let ip = client.peer().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| holder_of(peer.ip()));
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;

    use fastway::command::ToEndpoint;
    use fastway::id::{RemoteId, Side};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::batch::Batch;
    use crate::conn::Conn;
    use crate::outbox::{Cut, News, OutboxConfig};
    use crate::router::{Dialled, Router};

    const GROUP: u32 = 1000;

    /// A router with one group, and the servers that are registered.
    struct World {
        router: Router,
        servers: BTreeMap<u32, Arc<Outbox>>,
    }

    impl World {
        fn new(group: &str, servers: impl IntoIterator<Item = u32>) -> Self {
            let router = Router::new(0);
            router.set_groups(&[group.parse().unwrap()]);
            let mut world = Self { router, servers: BTreeMap::new() };
            servers.into_iter().for_each(|id| world.join(id));
            world
        }

        fn join(&mut self, id: u32) {
            self.join_with(id, &ample());
        }

        fn join_with(&mut self, id: u32, config: &Arc<OutboxConfig>) {
            let outbox = self.router.register_server(id.into(), config, None).unwrap();
            self.servers.insert(id, outbox);
        }

        fn leave(&mut self, id: u32) {
            let outbox = self.servers.remove(&id).unwrap();
            self.router.unregister(&outbox);
        }

        fn client(&self, addr: &str) -> Arc<Outbox> {
            let addr: SocketAddr = addr.parse().unwrap();
            self.router.register_client(&ample(), Some(addr)).unwrap()
        }

        /// The connection that a dial to the group opens.
        fn dial(&self, client: &Arc<Outbox>) -> Arc<Conn> {
            assert_eq!(self.router.dial(client, GROUP.into()), Dialled::Open);
            let mut opened = None;
            client.collect(None, |news| {
                if let News::Opened(conn) = news {
                    opened = Some(conn);
                }
            });
            opened.expect("the dialler is told")
        }

        /// How many are open at each server.
        fn open(&self) -> Vec<usize> {
            self.servers.values().map(|outbox| outbox.open_conns()).collect()
        }
    }

    fn ample() -> Arc<OutboxConfig> {
        OutboxConfig::with_limits(1_000_000, 100_000_000)
    }

    fn member(conn: &Conn) -> u32 {
        conn.outbox(Side::Server).owner().remote_id().get()
    }

    /// So full that whoever dials has to wait; and nobody has so far.
    fn fill(outbox: &Outbox) {
        while outbox.readiness() == Readiness::Ready {
            outbox.reply(ToEndpoint::Ping);
        }
    }

    #[test]
    fn whoever_has_the_fewest_connections_is_chosen() {
        let mut world = World::new("1000=1-3", [1, 2, 3, 4]);
        let client = world.client("192.0.2.1:1");
        let mut conns: Vec<_> = (0..30).map(|_| world.dial(&client)).collect();
        assert_eq!(world.open(), [10, 10, 10, 0], "4 is no member");
        for conn in conns.extract_if(.., |conn| member(conn) == 2).take(7) {
            conn.close();
        }
        let again: Vec<_> = (0..7).map(|_| member(&world.dial(&client))).collect();
        assert_eq!(again, [2; 7]);
        // Connections that it dialled itself, or that were dialled by its own ID, count as well.
        (0..3).for_each(|_| assert_eq!(world.router.dial(&client, 3.into()), Dialled::Open));
        (0..6).for_each(|_| drop(world.dial(&client)));
        assert_eq!(world.open(), [13, 13, 13, 0]);
        world.join(1);
        assert_eq!(member(&world.dial(&client)), 1, "the new server in the place of 1 has none");
        assert_eq!(world.router.groups()[0].1, 3, "and the older one is no member any more");
    }

    /// Each one in turn: not the first one again and again because it is free again.
    #[test]
    fn among_equals_it_is_whoever_was_not_chosen_for_the_longest_time() {
        let world = World::new("1000=1-4", [1, 2, 3, 4]);
        let client = world.client("192.0.2.1:1");
        assert_eq!(world.router.dial(&client, 3.into()), Dialled::Open);
        let mut chosen = [0; 5];
        for _ in 0..30 {
            let conn = world.dial(&client);
            chosen[member(&conn) as usize] += 1;
            conn.close();
        }
        assert_eq!(chosen, [0, 10, 10, 0, 10]);
    }

    #[test]
    fn a_server_with_the_id_of_the_group_is_a_member() {
        for group in ["1000=1-3", "1000=1000-1003"] {
            let world = World::new(group, [GROUP]);
            assert_eq!(member(&world.dial(&world.client("192.0.2.1:1"))), GROUP);
        }
    }

    #[test]
    fn nobody_is_asked_for_where_no_member_is() {
        let mut world = World::new("1000=1-3", [2, 7]);
        let client = world.client("192.0.2.1:1");
        world.leave(2);
        assert_eq!(world.router.dial(&client, GROUP.into()), Dialled::Nobody);
        assert_eq!((world.open(), world.router.counts().conns), (vec![0], 0));
        assert_eq!(world.router.groups(), [("1000=1-3".parse().unwrap(), 0)]);
    }

    /// Also one that is still registered, and that a dialler on another shard finds.
    #[test]
    fn a_member_that_ends_is_passed_over() {
        let endings: [fn(&Outbox); 3] = [
            |outbox| drop(outbox.shut(&mut Batch::default())),
            |outbox| outbox.break_off(&mut Batch::default()),
            |outbox| outbox.cut(Cut::Operator),
        ];
        for policy in ["least", "client"] {
            for end in endings {
                let world = World::new(&format!("1000=1-9:{policy}"), 1..=9);
                let client = world.client("192.0.2.1:1");
                let mut left: Vec<_> = (1..=9).collect();
                while !left.is_empty() {
                    let conn = world.dial(&client);
                    let chosen = member(&conn);
                    assert!(left.contains(&chosen), "{chosen} of {left:?}");
                    left.retain(|id| *id != chosen);
                    end(&world.servers[&chosen]);
                    conn.close();
                }
                assert_eq!(world.router.dial(&client, GROUP.into()), Dialled::Nobody);
                assert_eq!(world.router.groups()[0].1, 9, "all of them are still registered");
            }
        }
    }

    /// Only if all are full does the client wait, and for the one that it would have got.
    #[test]
    fn nobody_waits_for_a_member_that_is_full_while_another_is_not() {
        for policy in ["least", "client"] {
            let mut world = World::new(&format!("1000=1-3:{policy}"), []);
            (1..=3).for_each(|id| world.join_with(id, &OutboxConfig::with_limits(100, 10_000)));
            let client = world.client("192.0.2.1:1");
            let first = member(&world.dial(&client));
            for (full, id) in [first, first % 3 + 1].into_iter().enumerate() {
                fill(&world.servers[&id]);
                let chosen = member(&world.dial(&client));
                assert!(world.servers[&chosen].readiness() == Readiness::Ready, "{full} are full");
            }
            let last = (first + 1) % 3 + 1;
            fill(&world.servers[&last]);
            assert_eq!(world.router.dial(&client, GROUP.into()), Dialled::Full);
            let held: Vec<_> = world.servers.values().filter(|outbox| outbox.holds_back()).collect();
            assert_eq!(held.len(), 1, "it waits for one of them");
            assert!(Arc::ptr_eq(held[0], &world.servers[&first]), "{policy}: the best one");
            held[0].break_off(&mut Batch::default());
            assert!(client.take_resumed(), "and goes on when that one ends");
        }
    }

    /// One whose socket takes nothing is spared by those to whom it is all the same, and by nobody else.
    #[test]
    fn a_member_that_is_blocked_is_spared() {
        let world = World::new("1000=1-3:least", 1..=3);
        let client = world.client("192.0.2.1:1");
        world.servers[&2].mark_blocked();
        (0..10).for_each(|_| drop(world.dial(&client)));
        assert_eq!(world.open(), [5, 0, 5]);
        [1, 3].iter().for_each(|id| world.servers[id].mark_blocked());
        (0..5).for_each(|_| assert_eq!(member(&world.dial(&client)), 2, "all are, so it counts no more"));

        let world = World::new("1000=1-3:client", 1..=3);
        let client = world.client("192.0.2.1:1");
        let first = member(&world.dial(&client));
        world.servers[&first].mark_blocked();
        assert_eq!(member(&world.dial(&client)), first);
    }

    /// Where others wait for half of a queue to be free, nobody takes the room that there is already.
    #[test]
    fn a_member_that_holds_others_back_is_spared() {
        for policy in ["least", "client"] {
            let mut world = World::new(&format!("1000=1-3:{policy}"), []);
            (1..=3).for_each(|id| world.join_with(id, &OutboxConfig::with_limits(100, 10_000)));
            let client = world.client("192.0.2.1:1");
            let first = member(&world.dial(&client));
            let outbox = &world.servers[&first];
            fill(outbox);
            assert!(!outbox.has_room(&client));
            let mut batch = Batch::default();
            outbox.collect(Some(&mut batch), |_| ());
            let messages = batch.advance(100, outbox.pool());
            outbox.wrote(&batch, messages);
            assert_eq!(outbox.readiness(), Readiness::Ready, "there is room");
            (0..9).for_each(|_| assert_ne!(member(&world.dial(&client)), first, "{policy}"));
            outbox.break_off(&mut batch);
        }
    }

    /// What two gateways of different versions have to agree on.
    #[test]
    fn which_member_an_address_gets_is_the_same_for_ever() {
        let world = World::new("1000=1001-1004:client", 1001..=1004);
        for (addr, expected) in EXPECTED {
            assert_eq!(member(&world.dial(&world.client(addr))), expected, "{addr}");
        }
    }

    /// By another implementation of XXH3, that of Python.
    const EXPECTED: [(&str, u32); 8] = [
        ("192.0.2.1:1", 1002),
        ("192.0.2.1:65535", 1002),
        ("[::ffff:192.0.2.1]:9", 1002),
        ("192.0.2.2:1", 1002),
        ("192.0.2.3:1", 1004),
        ("[2001:db8:1:2::1]:1", 1003),
        ("[2001:db8:1:2:ffff::9]:1", 1003),
        ("[2001:db8:1:3::1]:1", 1001),
    ];

    /// Which member each of many addresses gets.
    fn shares(world: &World) -> Vec<u32> {
        (0..1000_u32)
            .map(|number| {
                let client = world.client(&format!("10.0.{}.{}:1", number / 256, number % 256));
                let conn = world.dial(&client);
                let member = member(&conn);
                conn.close();
                world.router.unregister(&client);
                member
            })
            .collect()
    }

    #[test]
    fn few_clients_move_when_a_member_goes_or_comes() {
        let mut world = World::new("1000=1-10:client", 1..=10);
        let before = shares(&world);
        for id in 1..=10 {
            let share = before.iter().filter(|member| **member == id).count();
            assert!((70..=130).contains(&share), "{id} has {share} of 1000");
        }
        assert_eq!(shares(&world), before, "whatever else was dialled");
        world.leave(4);
        let without = shares(&world);
        for (before, without) in before.iter().zip(&without) {
            assert!(before == without || *before == 4 && *without != 4);
        }
        // Its clients are spread over all others.
        let moved: BTreeSet<_> =
            before.iter().zip(&without).filter(|(before, _)| **before == 4).map(|(_, now)| *now).collect();
        assert_eq!(moved.len(), 9);
        world.join(4);
        assert_eq!(shares(&world), before, "they come back, and nobody else moves");
    }

    #[test]
    fn other_groups_are_in_force_at_once_with_those_who_are_there() {
        let world = World::new("1000=1-3", 1..=6);
        let client = world.client("192.0.2.1:1");
        let open = world.dial(&client);
        world.router.set_groups(&["1000=4-6".parse().unwrap(), "2000=1-6:client".parse().unwrap()]);
        (0..3).for_each(|_| assert!(member(&world.dial(&client)) >= 4));
        assert_eq!(world.router.dial(&client, 2000.into()), Dialled::Open);
        assert_eq!(world.router.groups().iter().map(|(_, members)| *members).collect::<Vec<_>>(), [3, 6]);
        world.router.set_groups(&[]);
        assert_eq!(world.router.dial(&client, GROUP.into()), Dialled::Nobody);
        assert!(!open.is_closed(Side::Client) && world.open().iter().sum::<usize>() == 5);
    }

    /// A server has no groups to dial: the number is a client's.
    #[test]
    fn servers_dial_clients_as_ever() {
        let world = World::new("1=5-9", 5..=6);
        let client = world.client("192.0.2.1:1");
        assert_eq!(client.owner().remote_id(), RemoteId::new(1));
        assert_eq!(world.router.dial(&world.servers[&5], 1.into()), Dialled::Open);
        assert_eq!((client.open_conns(), world.open()), (1, vec![1, 0]));
    }

    /// Against the plainest of models: each server's connections, counted one by one.
    #[test]
    fn the_choice_is_always_among_those_with_the_fewest() {
        for seed in 0..300 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut world = World::new("1000=1-6", []);
            let client = world.client("192.0.2.1:1");
            let mut open: BTreeMap<u32, Vec<Arc<Conn>>> = BTreeMap::new();
            for _ in 0..100 {
                let id = rng.random_range(1..9);
                match rng.random_range(0..12) {
                    // Perhaps in the place of an older one.
                    0 => {
                        world.join(id);
                        open.insert(id, Vec::new());
                    }
                    1 if open.remove(&id).is_some() => world.leave(id),
                    2..5 => {
                        if let Some(conn) = open.get_mut(&id).and_then(Vec::pop) {
                            conn.close();
                        }
                    }
                    _ => match open.range(1..=6).map(|(_, conns)| conns.len()).min() {
                        Some(fewest) => {
                            let conn = world.dial(&client);
                            let chosen = open.get_mut(&member(&conn)).expect("it is there");
                            assert_eq!(chosen.len(), fewest, "seed {seed}");
                            chosen.push(conn);
                        }
                        None => assert_eq!(world.router.dial(&client, GROUP.into()), Dialled::Nobody),
                    },
                }
            }
        }
    }

    /// Whatever comes and goes: somebody else is nobody's reason to move.
    #[test]
    fn a_client_moves_only_because_of_its_own_member() {
        for seed in 0..1000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let addr = SocketAddr::from((rng.random::<[u8; 4]>(), 1)).to_string();
            let [before, after] = [(); 2].map(|()| {
                let servers: BTreeSet<u32> = (1..40).filter(|_| rng.random_bool(0.3)).chain([40]).collect();
                let world = World::new("1000=1-100:client", servers.iter().copied());
                let chosen = member(&world.dial(&world.client(&addr)));
                assert!(servers.contains(&chosen));
                (servers, chosen)
            });
            let is_reason = !after.0.contains(&before.1) || !before.0.contains(&after.1);
            assert!(before.1 == after.1 || is_reason, "seed {seed}: from {} to {}", before.1, after.1);
        }
    }
}
