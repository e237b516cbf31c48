//! A sender that a full queue holds back goes on, whatever the owner does: writes, blocks, breaks off, ends (rules 14, 15).

use super::*;

/// The sender's own outbox and task, and the connection that it sends on.
struct Sender {
    outbox: Arc<Outbox>,
    conn: Arc<Conn>,
    task: Arc<Task>,
}

impl Sender {
    fn new(outbox: Arc<Outbox>, to: &Arc<Outbox>, ids: &Arc<ConnIds>) -> Self {
        let (conn, task) = (Conn::new(ids, &outbox, to), Task::new());
        outbox.woken_by(&task.waker());
        Self { outbox, conn, task }
    }

    /// Sends runs of so many messages. As a session that is held back, it offers the rest again when it is resumed, and only
    /// then.
    fn send(&self, runs: &[u8], to: &Outbox) -> Push {
        let mut first = 0;
        for count in runs {
            let wire = messages(self.conn.id(), first, *count);
            first += count;
            let pushed = self.send_run(&mut run_of(&wire), to);
            if pushed != Push::Done {
                return pushed;
            }
        }
        Push::Done
    }

    fn send_run(&self, run: &mut Run<'_>, to: &Outbox) -> Push {
        loop {
            let pushed = to.forward(&self.conn, run, &self.outbox);
            if pushed != Push::Full {
                return pushed;
            }
            while !self.outbox.take_resumed() {
                self.task.sleep();
            }
        }
    }
}

fn limit(messages: usize) -> QueueLimits {
    QueueLimits { messages, ..AMPLE }
}

#[test]
fn a_client_that_a_server_holds_back_goes_on_when_it_writes() {
    explore_up_to(3, || {
        let mailbox = Arc::default();
        let (server, ids) = (server_outbox(limit(2), &mailbox), ConnIds::after(0));
        let sender = Sender::new(client_outbox(1, AMPLE, &mailbox), &server, &ids);
        let to = server.clone();
        let sending = spawn(move || assert_eq!(sender.send(&[1, 2], &to), Push::Done));
        let mut wire = Vec::new();
        own(&server, |batch, _| {
            if !batch.is_empty() {
                write_some(&server, batch, &mut wire, MESSAGE_BYTES);
            }
            wire.len() == 3 * MESSAGE_BYTES
        });
        sending.join().unwrap();
        let heard = Heard::all_of(&wire);
        assert!(
            (0..).zip(heard).all(|(message, heard)| matches!(heard, Heard::Message(_, it) if it == message))
        );
    });
}

#[test]
fn two_clients_that_a_server_holds_back_both_go_on() {
    explore_up_to(3, || {
        let mailbox = Arc::default();
        let (server, ids) = (server_outbox(limit(1), &mailbox), ConnIds::after(0));
        let sending = [1, 2].map(|number| {
            let sender = Sender::new(client_outbox(number, AMPLE, &mailbox), &server, &ids);
            let to = server.clone();
            spawn(move || assert_eq!(sender.send(&[1], &to), Push::Done))
        });
        let mut wire = Vec::new();
        own(&server, |batch, _| {
            write_all(&server, batch, &mut wire);
            wire.len() == 2 * MESSAGE_BYTES
        });
        sending.into_iter().for_each(|sending| sending.join().unwrap());
    });
}

/// A client with room for one message, to whom a server sends two.
fn burst() -> (Arc<Outbox>, JoinHandle<()>) {
    let mailbox = Arc::default();
    let (client, ids) = (client_outbox(1, limit(1), &mailbox), ConnIds::after(0));
    let sender = Sender::new(server_outbox(AMPLE, &mailbox), &client, &ids);
    let to = client.clone();
    let sending = spawn(move || assert_eq!(sender.send(&[1, 1], &to), Push::Done));
    (client, sending)
}

/// A burst within one turn: the client's session writes it, the server goes on.
#[test]
fn a_server_that_a_client_holds_back_goes_on_when_it_writes() {
    explore(|| {
        let (client, sending) = burst();
        let mut wire = Vec::new();
        own(&client, |batch, cut| {
            assert_eq!(cut, None, "it takes everything");
            write_all(&client, batch, &mut wire);
            wire.len() == 2 * MESSAGE_BYTES
        });
        sending.join().unwrap();
    });
}

/// A client that takes nothing: the server waits for no peer, and the client is cut off.
#[test]
fn a_server_that_a_client_holds_back_goes_on_when_its_socket_blocks() {
    explore(|| {
        let (client, sending) = burst();
        let task = Task::new();
        client.woken_by(&task.waker());
        let mut batch = Batch::default();
        let cut = loop {
            if let Some(cut) = client.collect(Some(&mut batch), |_| ()) {
                break cut;
            }
            if !batch.is_empty() {
                client.mark_blocked();
            }
            task.sleep();
        };
        assert_eq!(cut, Cut::SlowClient);
        client.break_off(&mut batch);
        sending.join().unwrap();
    });
}

/// The end of whoever holds others back, orderly or not, lets them go.
#[test]
fn whoever_is_held_back_goes_on_when_the_other_session_ends() {
    for is_orderly in [false, true] {
        explore(move || {
            let mailbox = Arc::default();
            let (server, ids) = (server_outbox(limit(1), &mailbox), ConnIds::after(0));
            let sender = Sender::new(client_outbox(1, AMPLE, &mailbox), &server, &ids);
            let to = server.clone();
            let sending = spawn(move || sender.send(&[1, 1], &to));
            let mut batch = Batch::default();
            if is_orderly {
                server.shut(&mut batch);
            } else {
                server.break_off(&mut batch);
            }
            let expected = if is_orderly { Push::Gone } else { Push::Done };
            assert_eq!(sending.join().unwrap(), expected);
        });
    }
}

/// A dial needs room at the other session, and waits for it as messages do.
#[test]
fn whoever_waits_for_room_for_a_command_goes_on() {
    explore(|| {
        let mailbox = Arc::default();
        let server = server_outbox(limit(1), &mailbox);
        let dialler = client_outbox(1, AMPLE, &mailbox);
        server.reply(ToEndpoint::Ping);
        let to = server.clone();
        let dialling = spawn(move || {
            let task = Task::new();
            dialler.woken_by(&task.waker());
            while !to.has_room(&dialler) {
                while !dialler.take_resumed() {
                    task.sleep();
                }
            }
        });
        own(&server, |batch, _| {
            write_all(&server, batch, &mut Vec::new());
            true
        });
        dialling.join().unwrap();
    });
}
