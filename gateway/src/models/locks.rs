//! Nobody waits for a lock in a circle (pitfall 14). All other models would fail by that too; here are the places where many
//! locks meet.

use super::*;

/// The router's lock, those of queues, that of the numbers of connections.
#[test]
fn whoever_counts_registers_and_dials_at_once_waits_for_nobody_for_ever() {
    explore_up_to(3, || {
        let (router, mailbox) = (Arc::new(Router::new(0)), Arc::default());
        let _older = Session::server(&router, &mailbox);
        let mut client = Session::client(&router, &mailbox);
        let (registry, counted, there) = (router.clone(), router.clone(), mailbox.clone());
        let others = [
            spawn(move || drop(Session::server(&registry, &there))),
            spawn(move || assert_eq!(counted.counts().servers, 1)),
        ];
        client.dial(SERVER);
        client.end();
        others.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A waker that needs both queues, as one does that drops the last handle of a task.
struct Curious([Arc<Outbox>; 2]);

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        for outbox in &self.0 {
            outbox.queued_bytes();
        }
    }
}

/// No lock of a queue is held when another's is taken, or a waker runs: two sessions that held each other back let go, push
/// and cut at the same time.
#[test]
fn two_sessions_that_wake_each_other_wait_for_nobody_for_ever() {
    explore_up_to(3, || {
        let (mailbox, ids) = (Arc::default(), ConnIds::after(0));
        let full = QueueLimits { messages: 1, ..AMPLE };
        let (client, server) = (client_outbox(1, full, &mailbox), server_outbox(full, &mailbox));
        let waker = Waker::from(Arc::new(Curious([client.clone(), server.clone()])));
        let conn = Conn::new(&ids, &client, &server);
        for (outbox, other) in [(&client, &server), (&server, &client)] {
            outbox.reply(ToEndpoint::Ping);
            assert!(!outbox.has_room(other));
            outbox.woken_by(&waker);
        }
        let turn = |here: Arc<Outbox>, there: Arc<Outbox>| {
            let conn = conn.clone();
            move || {
                let mut batch = Batch::default();
                here.collect(Some(&mut batch), |_| ());
                write_all(&here, &mut batch, &mut Vec::new());
                assert!(
                    !batch.is_empty()
                        || there.forward(&conn, &mut run_of(&messages(conn.id(), 0, 1)), &here) != Push::Gone
                );
                there.cut(Cut::Shutdown);
            }
        };
        let other = spawn(turn(server.clone(), client.clone()));
        turn(client, server)();
        other.join().unwrap();
    });
}
