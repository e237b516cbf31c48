//! A client that dials a group while its members come, end and are taken over.

use super::*;

const GROUP: ServerId = ServerId::new(1000);

/// The member that is there all the time.
const OTHER: ServerId = ServerId::new(6);

/// By either, [`SERVER`] is chosen before [`OTHER`].
const POLICIES: [&str; 2] = ["least", "client"];

fn set_group(router: &Router, policy: &str) {
    router.set_groups(&[format!("1000=5-6:{policy}").parse().unwrap()]);
}

/// A client, these members of a group, and the mailbox of their shard.
fn client_and_members<const N: usize>(
    policy: &str,
    ids: [ServerId; N],
) -> (Arc<Router>, Arc<Mailbox>, Session, [Session; N]) {
    let router = Arc::new(Router::new(0));
    set_group(&router, policy);
    let [here, there] = <[Arc<Mailbox>; 2]>::default();
    let client = Session::client(&router, &here);
    let members = ids.map(|id| Session::server_with(id, &router, &there));
    (router, there, client, members)
}

/// The connections that a server was told of, none of which is over.
fn opened(heard: &[Heard]) -> Vec<ConnId> {
    heard.iter().map(|heard| heard.opens().unwrap_or_else(|| panic!("{heard:?}"))).collect()
}

/// The connection that the client has with the group, if what it was told last is that it is open.
fn open(client: &mut Session) -> Option<ConnId> {
    client.turn();
    match client.heard()[..] {
        [.., Heard::Command(ToEndpoint::Accept { conn, remote })] if remote == GROUP.into() => Some(conn),
        [.., Heard::Command(ToEndpoint::Accept { conn, .. }), closed] if closed.closes() == Some(conn) => {
            None
        }
        ref heard => panic!("{heard:?}"),
    }
}

/// After a dial, and the end of a member that was told of these connections: the client's connection is open at the member that
/// is left, or was one with the member that has ended, and is closed. The next dial gets the one that is left, and all is counted.
#[track_caller]
fn assert_whole(router: &Router, mut client: Session, told: &[ConnId], mut left: Session) {
    let mut are_open = |conns: &[ConnId]| {
        left.turn();
        assert_eq!(opened(&left.heard()), conns);
        assert_eq!(left.dispatch.outbox().open_conns(), conns.len());
        assert_eq!(router.counts().conns, conns.len());
    };
    assert_eq!(router.groups()[0].1, 1);
    let mut conns = Vec::from_iter(open(&mut client));
    are_open(&conns);
    assert!(told.is_empty() || told.len() == 1 && conns.is_empty(), "{told:?}, {conns:?}");

    client.dial(GROUP);
    conns.push(open(&mut client).expect("a member is there"));
    are_open(&conns);

    client.end();
    left.turn();
    assert_eq!(left.dispatch.outbox().open_conns(), 0);
    assert_eq!(router.counts(), crate::Counts { servers: 1, ..Default::default() });
}

#[test]
fn a_dial_while_a_member_ends_is_open_at_the_other_one_or_closed() {
    for policy in POLICIES {
        explore(move || {
            let (router, _, mut client, [first, other]) = client_and_members(policy, [SERVER, OTHER]);
            let ending = spawn(move || first.end());
            client.dial(GROUP);
            let told = opened(&ending.join().unwrap());
            assert_whole(&router, client, &told, other);
        });
    }
}

/// From the order on, however long the session takes to end.
#[test]
fn a_member_that_is_ordered_to_end_gets_no_dial() {
    for policy in POLICIES {
        explore(move || {
            let (router, _, mut client, [mut first, mut other]) = client_and_members(policy, [SERVER, OTHER]);
            assert!(router.close(Side::Server, SERVER.into()));
            let ending = spawn(move || {
                assert_eq!(first.turn(), Some(Cut::Operator));
                first.end()
            });
            client.dial(GROUP);
            assert_eq!(ending.join().unwrap(), []);
            other.turn();
            assert_eq!(opened(&other.heard()), Vec::from_iter(open(&mut client)));
        });
    }
}

/// There is always one of the two.
#[test]
fn a_dial_while_the_only_member_is_taken_over_reaches_one_of_the_two() {
    for policy in POLICIES {
        explore(move || {
            let (router, mailbox, mut client, [mut older]) = client_and_members(policy, [SERVER]);
            let registry = router.clone();
            let taking_over = spawn(move || {
                let newer = Session::server(&registry, &mailbox);
                assert_eq!(older.turn(), Some(Cut::TakenOver));
                (older.end(), newer)
            });
            client.dial(GROUP);
            let (heard, newer) = taking_over.join().unwrap();
            assert_whole(&router, client, &opened(&heard), newer);
        });
    }
}

/// After all that happened at once, this server is the only member.
#[track_caller]
fn assert_only_member(router: &Arc<Router>, mailbox: &Arc<Mailbox>, mut server: Session) {
    assert_eq!(router.groups()[0].1, 1);
    let mut client = Session::client(router, mailbox);
    client.dial(GROUP);
    server.turn();
    assert_eq!(opened(&server.heard()), Vec::from_iter(open(&mut client)));
}

fn registering(router: &Arc<Router>, mailbox: &Arc<Mailbox>) -> JoinHandle<Session> {
    let (router, mailbox) = (router.clone(), mailbox.clone());
    spawn(move || Session::server(&router, &mailbox))
}

/// Also while groups are set.
#[test]
fn of_several_servers_that_take_over_at_once_the_one_that_stays_is_the_member() {
    explore_up_to(3, || {
        let (router, mailbox) = (Arc::new(Router::new(0)), Arc::default());
        let registering = [(); 2].map(|()| registering(&router, &mailbox));
        set_group(&router, "least");
        let mut servers = registering.map(|registering| registering.join().unwrap());
        if servers[0].turn().is_none() {
            servers.swap(0, 1);
        }
        let [older, newer] = servers;
        older.end();
        assert_only_member(&router, &mailbox, newer);
    });
}

#[test]
fn the_newer_server_is_the_member_when_the_older_ends_meanwhile() {
    explore_up_to(3, || {
        let (router, mailbox) = (Arc::new(Router::new(0)), Arc::default());
        let older = Session::server(&router, &mailbox);
        let registering = registering(&router, &mailbox);
        let ending = spawn(move || older.end());
        set_group(&router, "least");
        let newer = registering.join().unwrap();
        ending.join().unwrap();
        assert_only_member(&router, &mailbox, newer);
    });
}
