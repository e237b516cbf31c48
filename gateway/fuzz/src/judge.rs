//! What the gateway may say to whom, given what everybody has sent.

use std::collections::BTreeMap;

use fastway::command::ToEndpoint;
use fastway::extensions::{ClientAddr, Extensions, Grant, asked};
use fastway::frame::HEADER_BYTES;
use fastway::id::{ConnId, Side};

use crate::peer::Peer;

/// Judges a whole run.
///
/// # Panics
///
/// If a peer was told something that the protocol does not allow.
pub(crate) fn judge(peers: &[Peer], max_packet: u32) {
    let sent: Vec<_> = peers.iter().map(|peer| Sent::of(&peer.sent, peer.side)).collect();
    let heard: Vec<_> =
        peers.iter().zip(&sent).map(|(peer, sent)| Heard::of(&peer.heard, sent, max_packet)).collect();
    let mut ends = BTreeMap::<u32, [Option<usize>; 2]>::new();
    for (number, (peer, heard)) in peers.iter().zip(&heard).enumerate() {
        for conn in heard.conns.keys() {
            let end = &mut ends.entry(*conn).or_default()[usize::from(peer.side == Side::Server)];
            assert_eq!(*end, None, "two peers of one side were told of connection {conn}");
            *end = Some(number);
        }
    }
    for (conn, ends) in ends {
        for (near, far) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let Some(near) = near else { continue };
            // A peer that is deaf may send on a connection that it was not heard to be told of.
            let may_be_far =
                |number: usize| far.map_or(peers[number].side != peers[near].side, |far| far == number);
            let sent = sent.iter().enumerate().filter(|(number, _)| may_be_far(*number));
            let mut sent =
                sent.map(|(_, sent)| sent.messages.get(&conn).map_or(&[][..], |messages| messages));
            let heard = &heard[near].conns[&conn];
            assert!(
                heard.is_empty() || sent.any(|sent| are_among(heard, sent)),
                "messages on {conn} were not sent, or not in this order"
            );
        }
    }
}

/// Whether all of `heard` are in `sent`, in the same order.
fn are_among(heard: &[&[u8]], sent: &[&[u8]]) -> bool {
    let mut sent = sent.iter();
    heard.iter().all(|message| sent.any(|sent| sent == message))
}

/// What one peer has sent.
#[derive(Default)]
struct Sent<'a> {
    /// By connection.
    messages: BTreeMap<u32, Vec<&'a [u8]>>,
    dials: BTreeMap<u32, usize>,
    /// It has asked for the addresses of clients, and is one who may.
    asks: bool,
}

impl<'a> Sent<'a> {
    fn of(wire: &'a [u8], side: Side) -> Self {
        let mut sent = Self::default();
        for (conn, message) in frames(wire) {
            let wishes = asked(message).filter(|_| conn == 0 && side == Side::Server);
            sent.asks |= wishes.is_some();
            match (conn, message) {
                (0, [0, a, b, c, d, ..]) => {
                    *sent.dials.entry(u32::from_le_bytes([*a, *b, *c, *d])).or_default() += 1
                }
                (0, _) => {}
                (conn, message) => sent.messages.entry(conn).or_default().push(message),
            }
        }
        sent
    }
}

/// What one peer has heard: messages by connection, of every connection that it was told of.
struct Heard<'a> {
    conns: BTreeMap<u32, Vec<&'a [u8]>>,
}

impl<'a> Heard<'a> {
    /// Reads it frame by frame, and judges each.
    fn of(wire: &'a [u8], sent: &Sent<'_>, max_packet: u32) -> Self {
        let mut open = BTreeMap::<u32, bool>::new();
        let mut unanswered_dials = sent.dials.clone();
        let mut refused_messages = BTreeMap::<u32, usize>::new();
        let mut heard = Self { conns: BTreeMap::new() };
        let mut behind = Behind { asks: sent.asks, granted: false };
        for (conn, message) in frames(wire) {
            assert!(message.len() + 4 <= max_packet as usize, "a frame of {} bytes", message.len());
            if conn != 0 {
                assert_eq!(open.get(&conn), Some(&true), "a message on {conn}, which is not open");
                heard.conns.get_mut(&conn).expect("it is open").push(message);
                continue;
            }
            let command = ToEndpoint::decode(message).expect("the gateway says what is right");
            behind.judge(command, message);
            if let ToEndpoint::Accept { remote, .. } | ToEndpoint::Refuse { remote } = command {
                let left = unanswered_dials.get_mut(&remote.get()).filter(|left| **left > 0);
                *left.expect("nobody dialled, or it was answered") -= 1;
            }
            match command {
                ToEndpoint::Accept { conn, .. } | ToEndpoint::Connect { conn, .. } => {
                    open.insert(conn.get(), true);
                    let known = heard.conns.insert(conn.get(), Vec::new());
                    assert_eq!(known, None, "connection {conn} is given out twice");
                }
                ToEndpoint::Close { conn } => {
                    let conn = conn.map_or(0, ConnId::get);
                    if open.insert(conn, false) != Some(true) {
                        *refused_messages.entry(conn).or_default() += 1;
                    }
                }
                ToEndpoint::Refuse { .. } | ToEndpoint::Ping => {}
            }
        }
        for (conn, closes) in refused_messages {
            let messages = sent.messages.get(&conn).map_or(0, Vec::len);
            assert!(closes <= messages, "{closes} times Close({conn}) for {messages} messages");
        }
        heard
    }
}

/// What may stand behind the arguments of commands.
struct Behind {
    asks: bool,
    granted: bool,
}

impl Behind {
    /// Nothing for those who did not ask; for others a grant, and then every address, which the network in memory knows.
    fn judge(&mut self, command: ToEndpoint, message: &[u8]) {
        if let Some(grant) = Grant::decode(message) {
            assert!(self.asks, "a grant for somebody who did not ask");
            self.granted |= grant.extensions().contains(Extensions::CLIENT_ADDR);
            assert!(grant.earlier().all(|(_, addr)| addr.0.is_some()), "{grant:?}");
            return;
        }
        let is_new = matches!(command, ToEndpoint::Accept { .. } | ToEndpoint::Connect { .. });
        let bytes = if is_new && self.granted { ClientAddr::BYTES } else { 0 };
        let arguments = command.encode().as_ref().len() - HEADER_BYTES;
        assert_eq!(message.len() - arguments, bytes, "behind {command:?}");
        assert_eq!(
            ClientAddr::behind(message).is_some_and(|addr| addr.0.is_some()),
            bytes > 0,
            "{command:?}"
        );
    }
}

/// The frames at the front of `wire`, up to the first that is not whole, or none: connection and message.
pub(crate) fn frames(wire: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
        let (frame, behind) = rest.split_at_checked(length.checked_add(4)?)?;
        rest = behind;
        let conn = u32::from_le_bytes(*frame[4..].first_chunk()?);
        Some((conn, &frame[8..]))
    })
}
