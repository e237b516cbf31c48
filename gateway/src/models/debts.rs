//! What waits is counted until it is written or dropped, and not longer, whoever does that: the owner, or somebody who cuts
//! it off.

use super::*;

/// An outbox that counts on this shard.
fn outbox_on(shard: usize, owner: Owner, budget: &Arc<Budget>, mailbox: &Arc<Mailbox>) -> Arc<Outbox> {
    let account = Account::new(budget.clone(), shard);
    let config = OutboxConfig { account, ..outbox_config(AMPLE, mailbox) };
    Arc::new(Outbox::new(owner, Arc::new(config), None))
}

/// Two messages, one after the other, from a client that counts on the first shard to a server that does on the second.
fn sending(budget: &Arc<Budget>) -> (Arc<Outbox>, JoinHandle<()>) {
    let client = RemoteId::new(1).client().expect("client numbers begin at 1");
    let mailbox = Arc::default();
    let client = outbox_on(0, Owner::Client(client), budget, &mailbox);
    let server = outbox_on(1, Owner::Server(SERVER), budget, &mailbox);
    let conn = Conn::new(&ConnIds::after(0), &client, &server);
    let to = server.clone();
    let sending = spawn(move || {
        for message in 0..2 {
            // When the server has ended, it is not for it any more.
            let _ = to.forward(&conn, &mut run_of(&messages(conn.id(), message, 1)), &client);
        }
    });
    (server, sending)
}

/// Exactly: a sum below zero would hide behind what is counted as nothing.
fn assert_nothing_waits(budget: &Arc<Budget>) {
    Account::new(budget.clone(), 0).add(1_000);
    assert_eq!(budget.bytes(), 1_000);
}

#[test]
fn what_a_debtor_is_sent_is_counted_until_it_has_ended() {
    explore_up_to(3, || {
        let budget = Arc::new(Budget::new(0, 2));
        let (server, sending) = sending(&budget);
        let cut = server.clone();
        let cutting = spawn(move || cut.cut(Cut::Debt));
        own(&server, |batch, cut| {
            if !batch.is_empty() {
                write_some(&server, batch, &mut Vec::new(), 4);
            }
            if cut.is_none() {
                return false;
            }
            server.break_off(batch);
            server.shut(batch);
            server.drop_batch(batch);
            true
        });
        sending.join().unwrap();
        cutting.join().unwrap();
        assert_nothing_waits(&budget);
    });
}

/// One shard's writes may be seen before another's messages. The sum is below zero then, and means nothing, not everything.
#[test]
fn whoever_looks_meanwhile_sees_no_more_than_there_is() {
    explore_up_to(3, || {
        let budget = Arc::new(Budget::new(0, 2));
        let (server, sending) = sending(&budget);
        let counted = budget.clone();
        let looking = spawn(move || assert!(counted.bytes() <= 2 * MESSAGE_BYTES));
        let mut wire = Vec::new();
        own(&server, |batch, _| {
            write_all(&server, batch, &mut wire);
            wire.len() == 2 * MESSAGE_BYTES
        });
        sending.join().unwrap();
        looking.join().unwrap();
        assert_nothing_waits(&budget);
    });
}
