//! Sessions that begin and end, and virtual connections that open and close, all at the same time.

use std::ops::RangeInclusive;

use super::*;

/// What one end was told of a virtual connection: open, messages, closed so many times; in this order, and then nothing.
#[track_caller]
fn assert_life(heard: &[Heard], closes: RangeInclusive<usize>) {
    let Some(conn) = heard.first().and_then(|heard| heard.opens()) else { panic!("not open: {heard:?}") };
    let is_message = |heard: &&Heard| matches!(heard, Heard::Message(id, _) if *id == conn);
    let messages = heard[1..].iter().take_while(is_message).count();
    let last = &heard[1 + messages..];
    assert!(
        last.iter().all(|heard| heard.closes() == Some(conn)),
        "after the end, or not its own: {heard:?}"
    );
    assert!(closes.contains(&last.len()), "{heard:?}");
}

fn is_closed(heard: &[Heard]) -> bool {
    heard.iter().any(|heard| heard.closes().is_some())
}

fn router_of_two_shards() -> (Arc<Router>, [Arc<Mailbox>; 2]) {
    (Arc::new(Router::new(0)), Default::default())
}

/// No panic of the innocent sender, and no message lost that it was told is queued.
#[test]
fn what_a_session_took_before_its_end_is_written() {
    explore(|| {
        let mailbox = Arc::default();
        let (server, ids) = (server_outbox(AMPLE, &mailbox), ConnIds::after(0));
        let sender = client_outbox(1, AMPLE, &mailbox);
        let (conn, to) = (Conn::new(&ids, &sender, &server), server.clone());
        let sending = spawn(move || {
            let taken = (0..2).take_while(|message| {
                let wire = messages(conn.id(), *message, 1);
                to.forward(&conn, &mut run_of(&wire), &sender) == Push::Done
            });
            taken.count()
        });
        let (mut batch, mut wire) = (Batch::default(), Vec::new());
        server.collect(Some(&mut batch), |_| ());
        write_all(&server, &mut batch, &mut wire);
        server.shut(&mut batch);
        write_all(&server, &mut batch, &mut wire);
        assert_eq!(sending.join().unwrap(), Heard::all_of(&wire).len());
    });
}

/// A client that is cut off by one session's message while another pushes.
#[test]
fn a_queue_that_is_cut_off_takes_no_more_and_hurts_nobody() {
    explore_up_to(4, || {
        let mailbox = Arc::default();
        let (client, ids) = (client_outbox(1, AMPLE, &mailbox), ConnIds::after(0));
        let sender = server_outbox(AMPLE, &mailbox);
        let conn = conn_open_at(&ids, [&client, &sender], &[&client, &sender]);
        let (to, cuts) = (client.clone(), client.clone());
        let others = [
            spawn(move || {
                let pushed = to.forward(&conn, &mut run_of(&messages(conn.id(), 0, 1)), &sender);
                assert_eq!(pushed, Push::Done);
                conn.close();
            }),
            spawn(move || cuts.cut(Cut::SlowClient)),
        ];
        let task = Task::new();
        client.woken_by(&task.waker());
        let (mut batch, mut closed) = (Batch::default(), 0);
        while client.collect(Some(&mut batch), |_| closed += 1) != Some(Cut::SlowClient) {
            task.sleep();
        }
        client.break_off(&mut batch);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        client.collect(Some(&mut batch), |_| closed += 1);
        assert!(batch.is_empty() && client.queued_bytes() == 0);
        assert_eq!(closed, 1, "its table still learns");
    });
}

/// Rule 4.
#[test]
fn the_newer_server_stays_when_the_older_ends_meanwhile() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let older = Session::server(&router, &here);
        let (registry, mailbox) = (router.clone(), there.clone());
        let registering = spawn(move || Session::server(&registry, &mailbox));
        older.end();
        let mut newer = registering.join().unwrap();
        assert_eq!(router.counts().servers, 1);
        let mut client = Session::client(&router, &here);
        client.dial(SERVER);
        assert_eq!((newer.turn(), client.turn()), (None, None));
        assert!(newer.heard()[0].opens().is_some());
        newer.end();
        assert_eq!(router.counts().servers, 0);
    });
}

/// The others are told to go, each by whoever took its number.
#[test]
fn of_several_servers_that_take_over_at_once_one_stays() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let mut older = Session::server(&router, &here);
        let newer = [here, there].map(|mailbox| {
            let router = router.clone();
            spawn(move || Session::server(&router, &mailbox))
        });
        let newer = newer.map(|registering| registering.join().unwrap());
        assert_eq!(older.turn(), Some(Cut::TakenOver));
        let cuts = newer.map(|mut server| server.turn());
        assert!(cuts.contains(&None) && cuts.contains(&Some(Cut::TakenOver)), "{cuts:?}");
        assert_eq!(router.counts().servers, 1);
    });
}

/// Pitfalls 8 and 11.
#[test]
fn a_dial_to_a_session_that_ends_leaves_nothing_behind() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let mut client = Session::client(&router, &here);
        let server = Session::server(&router, &there);
        let ending = spawn(move || server.end());
        client.dial(SERVER);
        let heard = client.turn_until(|heard| is_closed(heard) || heard[0].refuses());
        let dialled = ending.join().unwrap();
        if heard[0].refuses() {
            assert_eq!((heard.len(), dialled.len()), (1, 0));
        } else {
            assert_life(&heard, 1..=1);
            assert!(dialled.is_empty() || dialled.len() == 1 && dialled[0].opens().is_some(), "{dialled:?}");
        }
        assert_eq!(router.counts().conns, 0);
    });
}

/// The same from the other side: the dialler ends as soon as it has dialled, while the dialled answers.
#[test]
fn a_dialler_that_ends_leaves_nothing_behind() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let mut client = Session::client(&router, &here);
        let mut server = Session::server(&router, &there);
        let dialling = spawn(move || {
            client.dial(SERVER);
            client.end()
        });
        let heard = server.turn_until(|heard| !heard.is_empty());
        assert_eq!(server.receive(&messages(heard[0].opens().unwrap(), 0, 1)), Flow::Next);
        let heard = server.turn_until(is_closed);
        // One more may answer the message (rule 6).
        assert_life(&heard, 1..=2);
        assert_life(&dialling.join().unwrap(), 0..=0);
        assert_eq!(router.counts(), crate::Counts { servers: 1, ..Default::default() });
    });
}

/// Rule 7.
#[test]
fn both_ends_close_at_once_and_each_is_told_once() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let (client, server, conn) = joined(&router, [&here, &there]);
        let close = move |mut session: Session| {
            session.receive_command(ToGateway::Close { conn: Some(conn) });
            session.turn_until(is_closed)
        };
        let closing = spawn(move || close(server));
        assert_life(&close(client), 1..=1);
        assert_life(&closing.join().unwrap(), 1..=1);
        assert_eq!(router.counts().conns, 0);
    });
}

/// Rules 6 and 7: what one end sends while the other closes comes before the `Close`, or not at all.
#[test]
fn no_message_follows_a_close() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let (mut client, mut server, conn) = joined(&router, [&here, &there]);
        let closing = spawn(move || {
            server.receive_command(ToGateway::Close { conn: Some(conn) });
            let heard = server.turn_until(is_closed);
            (heard, server)
        });
        assert_eq!(client.receive(&messages(conn, 0, 1)), Flow::Next);
        // One more may answer the message.
        assert_life(&client.turn_until(is_closed), 1..=2);
        let (heard, mut server) = closing.join().unwrap();
        assert_life(&heard, 1..=1);
        server.turn();
        assert_eq!(server.heard(), heard, "and nothing comes later");
        assert_eq!(router.counts().conns, 0);
    });
}

/// Whichever of the two it reaches: the older's end is told, the newer's connection stays. There is always one of them.
#[test]
fn a_dial_during_a_takeover_reaches_one_of_the_two() {
    explore_up_to(3, || {
        let (router, [here, there]) = router_of_two_shards();
        let mut client = Session::client(&router, &here);
        let mut older = Session::server(&router, &here);
        let ending = spawn(move || {
            while older.turn() != Some(Cut::TakenOver) {
                older.task.sleep();
            }
            older.end()
        });
        let (registry, mailbox) = (router.clone(), there.clone());
        let registering = spawn(move || Session::server(&registry, &mailbox));
        client.dial(SERVER);
        let (mut newer, _) = (registering.join().unwrap(), ending.join().unwrap());
        (client.turn(), newer.turn());
        let is_open = newer.heard().len() == 1;
        assert_life(&client.heard(), if is_open { 0..=0 } else { 1..=1 });
        assert_eq!(router.counts().conns, usize::from(is_open));
    });
}

/// Rule 2, pitfall 15.
#[test]
fn no_message_overtakes_accept() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let mut client = Session::client(&router, &here);
        let mut server = Session::server(&router, &there);
        let answering = spawn(move || {
            let heard = server.turn_until(|heard| !heard.is_empty());
            assert_eq!(server.receive(&messages(heard[0].opens().unwrap(), 0, 1)), Flow::Next);
            server.turn();
        });
        client.dial(SERVER);
        answering.join().unwrap();
        client.turn();
        let heard = client.heard();
        assert_life(&heard, 0..=0);
        assert_eq!(heard.len(), 2);
    });
}

/// Pitfall 16.
#[test]
fn no_number_is_given_out_twice() {
    explore(|| {
        let (router, [here, there]) = router_of_two_shards();
        let _server = Session::server(&router, &here);
        let begin = |mailbox: Arc<Mailbox>| {
            let router = router.clone();
            move || {
                let mut client = Session::client(&router, &mailbox);
                client.dial(SERVER);
                client.turn();
                client
            }
        };
        let beginning = spawn(begin(there));
        let first = begin(here)();
        let second = beginning.join().unwrap();
        assert_ne!(first.dispatch.outbox().owner(), second.dispatch.outbox().owner());
        assert_ne!(first.heard()[0].opens(), second.heard()[0].opens());
        assert_eq!((router.counts().clients, router.counts().conns), (2, 2));
    });
}

#[test]
fn a_gateway_that_stops_ends_everybody_who_registers_meanwhile() {
    explore(|| {
        let (router, [here, _]) = router_of_two_shards();
        let registry = router.clone();
        let registering = spawn(move || {
            let config = Arc::new(outbox_config(AMPLE, &here));
            [registry.register_client(&config, None).ok(), registry.register_server(SERVER, &config, None)]
        });
        router.stop();
        for outbox in registering.join().unwrap().into_iter().flatten() {
            assert_eq!(outbox.collect(None, |_| ()), Some(Cut::Shutdown));
        }
        assert!(router.register_client(&Arc::new(outbox_config(AMPLE, &Arc::default())), None).is_err());
    });
}
