//! An owner sleeps when it has nothing to collect: whatever is pushed meanwhile wakes it.

use std::sync::atomic::Ordering;
use std::task::Context;

use super::*;
use crate::sync::AtomicBool;

/// From other threads without a mailbox, as `Close` is: before the owner's first turn, while it collects, while it sleeps.
#[test]
fn what_is_pushed_is_collected() {
    explore_up_to(4, || {
        let mailbox = Arc::default();
        let (server, ids) = (server_outbox(AMPLE, &mailbox), ConnIds::after(0));
        let clients = [1, 2].map(|number| client_outbox(number, AMPLE, &mailbox));
        let conns = clients.map(|client| conn_open_at(&ids, [&client, &server], &[&server]));
        let pushers = conns.map(|conn| {
            let server = server.clone();
            spawn(move || assert!(server.close(&conn)))
        });
        let task = Task::new();
        server.woken_by(&task.waker());
        let (mut batch, mut wire, mut news) = (Batch::default(), Vec::new(), 0);
        loop {
            server.collect(Some(&mut batch), |_| news += 1);
            write_all(&server, &mut batch, &mut wire);
            if Heard::all_of(&wire).len() == 2 {
                break;
            }
            task.sleep();
        }
        assert_eq!(news, 2, "the table learns what the peer does");
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
}

/// A task that shares its thread with others: it has a turn only if it was woken itself.
struct Mark {
    task: Arc<Task>,
    is_woken: AtomicBool,
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.0.notify();
    }
}

impl Mark {
    /// Its first turn needs no wake.
    fn new(task: &Arc<Task>) -> Arc<Self> {
        Arc::new(Self { task: task.clone(), is_woken: AtomicBool::new(true) })
    }

    fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }
}

/// From two other shards, by way of the owners' mailbox: to one session, and to two of them.
#[test]
fn what_other_shards_push_and_announce_is_collected() {
    for receivers in [[0, 0], [0, 1]] {
        explore_up_to(3, move || {
            let (there, ids, task) = (Arc::default(), ConnIds::after(0), Task::new());
            let sessions = [(); 2].map(|()| (server_outbox(AMPLE, &there), Mark::new(&task)));
            for (outbox, mark) in &sessions {
                outbox.woken_by(&Waker::from(mark.clone()));
            }
            let senders = receivers.map(|receiver| {
                let (here, to) = (Arc::default(), sessions[receiver].0.clone());
                let sender = client_outbox(1, AMPLE, &here);
                let conn = Conn::new(&ids, &sender, &to);
                spawn(move || {
                    let pushed = to.forward(&conn, &mut run_of(&messages(conn.id(), 0, 1)), &sender);
                    assert_eq!(pushed, Push::Done);
                    sender.announce();
                })
            });
            let (mail, mut batch, mut wire) = (Mark::new(&task), Batch::default(), Vec::new());
            let mail_waker = Waker::from(mail.clone());
            while Heard::all_of(&wire).len() < 2 {
                let mut is_idle = true;
                if mail.take() {
                    is_idle = false;
                    there.empty(&Context::from_waker(&mail_waker));
                }
                for (outbox, _) in sessions.iter().filter(|(_, mark)| mark.take()) {
                    is_idle = false;
                    outbox.collect(Some(&mut batch), |_| ());
                    write_all(outbox, &mut batch, &mut wire);
                }
                if is_idle {
                    task.sleep();
                }
            }
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
    }
}

/// Also if something else is pushed at the same time, and whoever comes first counts.
#[test]
fn an_order_to_end_reaches_a_session_that_sleeps() {
    explore_up_to(4, || {
        let mailbox = Arc::default();
        let (server, ids) = (server_outbox(AMPLE, &mailbox), ConnIds::after(0));
        let conn = conn_open_at(&ids, [&client_outbox(1, AMPLE, &mailbox), &server], &[&server]);
        let task = Task::new();
        server.woken_by(&task.waker());
        let (pushes, cuts) = (server.clone(), server.clone());
        let others = [spawn(move || assert!(pushes.close(&conn))), spawn(move || cuts.cut(Cut::TakenOver))];
        let mut batch = Batch::default();
        let cut = loop {
            if let Some(cut) = server.collect(Some(&mut batch), |_| ()) {
                break cut;
            }
            write_all(&server, &mut batch, &mut Vec::new());
            task.sleep();
        };
        assert_eq!(cut, Cut::TakenOver);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
