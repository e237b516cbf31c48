//! A client that asks for a notice at the very moment when the gateway begins to drain (docs/protocol-extensions.md).

use fastway::extensions::{DrainNotice, Extensions, ask_as_client};

use super::*;
use crate::router::notice;

/// Rule E10: it is told, once, whichever comes first.
#[test]
fn whoever_asks_is_told_once_whenever_the_drain_begins() {
    explore(|| {
        let (router, mailbox) = (Arc::new(Router::new(0)), Arc::<Mailbox>::default());
        let mut client = Session::client(&router, &mailbox);
        let draining = spawn({
            let router = router.clone();
            move || {
                let until = Instant::now();
                router.begin_draining(until).iter().for_each(|session| session.give_notice(notice(until)));
            }
        });
        assert_eq!(client.receive(ask_as_client(Extensions::DRAINING).as_ref()), Flow::Next);
        let is_told = |heard: &[Heard]| !heard.is_empty();
        assert_eq!(client.turn_until(is_told), [Heard::Command(ToEndpoint::Close { conn: None })]);
        draining.join().unwrap();
        client.turn();
        assert_eq!(client.heard().len(), 1, "once");
        let Split::Frame(frame, []) = split(&client.wire, Config::default().max_packet).unwrap() else {
            panic!("one frame, and a whole one")
        };
        assert!(DrainNotice::decode(frame.message()).is_some());
    });
}
