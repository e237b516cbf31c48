//! A server that asks for the addresses of its clients while they dial (docs/protocol-extensions.md).

use fastway::extensions::{ClientAddr, Extensions, Grant, ask};

use super::*;

/// Rule E4: no connection falls between the list and the commands, whenever it is opened and closed.
#[test]
fn a_connection_that_is_open_is_in_the_list_or_comes_with_its_address() {
    explore(|| {
        let (router, [here, there]) = (Arc::new(Router::new(0)), <[Arc<Mailbox>; 2]>::default());
        let (mut server, mut client) = (Session::server(&router, &there), Session::client(&router, &here));
        let dialling = spawn(move || {
            client.dial(SERVER);
            client
        });
        assert_eq!(server.receive(ask(Extensions::CLIENT_ADDR).as_ref()), Flow::Next);
        let client = dialling.join().unwrap();
        server.turn();

        let (mut untold, mut told, mut granted) = (Vec::new(), Vec::new(), false);
        let mut wire = &server.wire[..];
        while let Split::Frame(frame, rest) = split(wire, Config::default().max_packet).unwrap() {
            wire = rest;
            let message = frame.message();
            if let Some(grant) = Grant::decode(message) {
                granted = true;
                told.extend(grant.earlier().map(|(conn, _)| conn));
            } else if let ToEndpoint::Connect { conn, .. } = ToEndpoint::decode(message).unwrap() {
                let has_addr = ClientAddr::behind(message).is_some();
                assert_eq!(has_addr, granted, "an address means something after the grant alone");
                if has_addr { told.push(conn) } else { untold.push(conn) }
            }
        }
        assert_eq!(told.len(), 1, "the one connection, once");
        assert!(untold.iter().all(|conn| told.contains(conn)));
        drop(client);
    });
}
