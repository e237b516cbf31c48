//! Commands: the messages of frames with Conn ID 0.
//!
//! Two enums, one for each direction, so that a command in the wrong direction cannot be built: [`ToGateway`] is
//! what endpoints say, [`ToEndpoint`] what gateways say. Both decode strictly (a command that the sender may not
//! send is an error) and tolerantly (extra bytes behind the arguments are ignored).
//!
//! | Type | Name | Arguments | Direction |
//! |---|---|---|---|
//! | 0 | Dial | RemoteID | endpoint → gateway |
//! | 1 | Accept | ConnID, RemoteID | gateway → dialler |
//! | 2 | Connect | ConnID, RemoteID | gateway → dialled |
//! | 3 | Refuse | RemoteID | gateway → dialler |
//! | 4 | Close | ConnID | both |
//! | 5 | Ping | – | both |

use crate::extensions::ClientAddr;
use crate::frame::{HEADER_BYTES, header, u32_at};
use crate::id::{ConnId, RemoteId};

const DIAL: u8 = 0;
const ACCEPT: u8 = 1;
const CONNECT: u8 = 2;
const REFUSE: u8 = 3;
const CLOSE: u8 = 4;
const PING: u8 = 5;

/// What an endpoint says to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToGateway {
    /// Open a virtual connection.
    Dial {
        /// A server's ID when a client dials, a client's when a server dials.
        remote: RemoteId,
    },
    /// End a virtual connection.
    Close {
        /// Which one. `None` for the number 0, which is nobody's: there is nothing to close then.
        conn: Option<ConnId>,
    },
    /// A sign of life, or the answer to one.
    Ping,
}

/// What a gateway says to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToEndpoint {
    /// To the dialler: the virtual connection is open.
    Accept {
        /// The new virtual connection.
        conn: ConnId,
        /// Who was dialled.
        remote: RemoteId,
    },
    /// To the one that was dialled: here is a new virtual connection.
    Connect {
        /// The new virtual connection.
        conn: ConnId,
        /// Who dialled.
        remote: RemoteId,
    },
    /// To the dialler: it could not be opened.
    Refuse {
        /// Who was dialled.
        remote: RemoteId,
    },
    /// The virtual connection has ended.
    Close {
        /// Which one. `None` for the number 0, which is nobody's.
        conn: Option<ConnId>,
    },
    /// A sign of life, or the answer to one.
    Ping,
}

/// A command that cannot be obeyed. It ends the physical connection that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The message was empty.
    #[error("malformed command: the type byte is missing")]
    NoType,
    /// No command has this type.
    #[error("malformed command: type {0} does not exist")]
    UnknownType(u8),
    /// The other direction's command.
    #[error("malformed command: type {0} is not for this direction")]
    WrongDirection(u8),
    /// Fewer argument bytes than the type needs.
    #[error("malformed command: type {command_type} needs {needed} bytes of arguments, {actual} came")]
    TooShort {
        /// The type byte.
        command_type: u8,
        /// Bytes that its arguments take.
        needed: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// A new virtual connection without a number.
    #[error("malformed command: type {0} opens the connection ID 0")]
    ZeroConnId(u8),
}

impl ToGateway {
    /// Reads a command from the message of a frame with Conn ID 0.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; the sender's physical connection has to end.
    pub fn decode(message: &[u8]) -> Result<Self, CommandError> {
        let (command_type, arguments) = split_type(message)?;
        match command_type {
            DIAL => Ok(Self::Dial { remote: arguments.remote(0)? }),
            CLOSE => Ok(Self::Close { conn: arguments.conn(0)? }),
            PING => Ok(Self::Ping),
            ACCEPT | CONNECT | REFUSE => Err(CommandError::WrongDirection(command_type)),
            unknown => Err(CommandError::UnknownType(unknown)),
        }
    }

    /// The whole frame that carries this command.
    #[must_use]
    pub fn encode(self) -> CommandFrame {
        match self {
            Self::Dial { remote } => CommandFrame::new(DIAL, &[remote.get()]),
            Self::Close { conn } => CommandFrame::new(CLOSE, &[conn.map_or(0, ConnId::get)]),
            Self::Ping => CommandFrame::new(PING, &[]),
        }
    }
}

impl ToEndpoint {
    /// Reads a command from the message of a frame with Conn ID 0.
    ///
    /// # Errors
    ///
    /// [`CommandError`]; the gateway is not one, and the physical connection to it has to end.
    pub fn decode(message: &[u8]) -> Result<Self, CommandError> {
        let (command_type, arguments) = split_type(message)?;
        match command_type {
            ACCEPT => Ok(Self::Accept { conn: arguments.new_conn(0)?, remote: arguments.remote(1)? }),
            CONNECT => Ok(Self::Connect { conn: arguments.new_conn(0)?, remote: arguments.remote(1)? }),
            REFUSE => Ok(Self::Refuse { remote: arguments.remote(0)? }),
            CLOSE => Ok(Self::Close { conn: arguments.conn(0)? }),
            PING => Ok(Self::Ping),
            DIAL => Err(CommandError::WrongDirection(command_type)),
            unknown => Err(CommandError::UnknownType(unknown)),
        }
    }

    /// The whole frame that carries this command.
    #[must_use]
    pub fn encode(self) -> CommandFrame {
        match self {
            Self::Accept { conn, remote } => CommandFrame::new(ACCEPT, &[conn.get(), remote.get()]),
            Self::Connect { conn, remote } => CommandFrame::new(CONNECT, &[conn.get(), remote.get()]),
            Self::Refuse { remote } => CommandFrame::new(REFUSE, &[remote.get()]),
            Self::Close { conn } => CommandFrame::new(CLOSE, &[conn.map_or(0, ConnId::get)]),
            Self::Ping => CommandFrame::new(PING, &[]),
        }
    }
}

/// A whole frame with a command in it, on the stack. Read it as bytes with [`as_ref`](AsRef::as_ref).
#[derive(Clone, Copy, Debug)]
pub struct CommandFrame {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl CommandFrame {
    /// The longest command on the wire: header, type, two arguments, and what an extension adds.
    const MAX_BYTES: usize = HEADER_BYTES + 1 + 2 * 4 + ClientAddr::BYTES;

    fn new(command_type: u8, arguments: &[u32]) -> Self {
        let len = HEADER_BYTES + 1 + 4 * arguments.len();
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&header(None, len - HEADER_BYTES));
        bytes[HEADER_BYTES] = command_type;
        for (slot, argument) in bytes[HEADER_BYTES + 1..].chunks_exact_mut(4).zip(arguments) {
            slot.copy_from_slice(&argument.to_le_bytes());
        }
        Self { bytes, len }
    }

    /// The same with more bytes behind its arguments, which are ignored by who did not ask for them ([`crate::extensions`]).
    pub(crate) fn followed_by(mut self, extra: &[u8]) -> Self {
        let len = self.len + extra.len();
        self.bytes[self.len..len].copy_from_slice(extra);
        self.bytes[..HEADER_BYTES].copy_from_slice(&header(None, len - HEADER_BYTES));
        Self { len, ..self }
    }
}

impl AsRef<[u8]> for CommandFrame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bytes behind the type, read by position.
#[derive(Clone, Copy)]
struct Arguments<'a> {
    command_type: u8,
    bytes: &'a [u8],
}

fn split_type(message: &[u8]) -> Result<(u8, Arguments<'_>), CommandError> {
    let (&command_type, bytes) = message.split_first().ok_or(CommandError::NoType)?;
    Ok((command_type, Arguments { command_type, bytes }))
}

impl Arguments<'_> {
    fn number(self, index: usize) -> Result<u32, CommandError> {
        let needed = (index + 1) * 4;
        if self.bytes.len() < needed {
            let (command_type, actual) = (self.command_type, self.bytes.len());
            return Err(CommandError::TooShort { command_type, needed, actual });
        }
        Ok(u32_at(self.bytes, index * 4))
    }

    fn remote(self, index: usize) -> Result<RemoteId, CommandError> {
        self.number(index).map(RemoteId::new)
    }

    fn conn(self, index: usize) -> Result<Option<ConnId>, CommandError> {
        self.number(index).map(ConnId::new)
    }

    fn new_conn(self, index: usize) -> Result<ConnId, CommandError> {
        self.conn(index)?.ok_or(CommandError::ZeroConnId(self.command_type))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    fn conn(number: u32) -> ConnId {
        ConnId::new(number).unwrap()
    }

    fn remote(number: u32) -> RemoteId {
        RemoteId::new(number)
    }

    /// Every command of the contract, with the bytes that the original's peers exchange.
    #[test]
    fn the_bytes_of_every_command_are_those_of_the_contract() {
        let to_gateway: [(ToGateway, &[u8]); 3] = [
            (ToGateway::Dial { remote: remote(0x0102) }, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0]),
            (ToGateway::Close { conn: Some(conn(7)) }, &[9, 0, 0, 0, 0, 0, 0, 0, 4, 7, 0, 0, 0]),
            (ToGateway::Ping, &[5, 0, 0, 0, 0, 0, 0, 0, 5]),
        ];
        for (command, wire) in to_gateway {
            assert_eq!(command.encode().as_ref(), wire);
            assert_eq!(ToGateway::decode(&wire[HEADER_BYTES..]), Ok(command));
        }
        let to_endpoint: [(ToEndpoint, &[u8]); 5] = [
            (
                ToEndpoint::Accept { conn: conn(3), remote: remote(0x0a0b_0c0d) },
                &[13, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a],
            ),
            (
                ToEndpoint::Connect { conn: conn(3), remote: remote(9) },
                &[13, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 9, 0, 0, 0],
            ),
            (ToEndpoint::Refuse { remote: remote(9) }, &[9, 0, 0, 0, 0, 0, 0, 0, 3, 9, 0, 0, 0]),
            (ToEndpoint::Close { conn: Some(conn(3)) }, &[9, 0, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0]),
            (ToEndpoint::Ping, &[5, 0, 0, 0, 0, 0, 0, 0, 5]),
        ];
        for (command, wire) in to_endpoint {
            assert_eq!(command.encode().as_ref(), wire);
            assert_eq!(ToEndpoint::decode(&wire[HEADER_BYTES..]), Ok(command));
        }
    }

    #[test]
    fn a_command_without_type_or_arguments_is_an_error() {
        assert_eq!(ToGateway::decode(&[]), Err(CommandError::NoType));
        assert_eq!(ToEndpoint::decode(&[]), Err(CommandError::NoType));
        for len in 0..4 {
            let message = [&[DIAL][..], &[0; 4][..len]].concat();
            let error = CommandError::TooShort { command_type: DIAL, needed: 4, actual: len };
            assert_eq!(ToGateway::decode(&message), Err(error));
        }
        let error = CommandError::TooShort { command_type: ACCEPT, needed: 8, actual: 7 };
        assert_eq!(ToEndpoint::decode(&[ACCEPT, 1, 0, 0, 0, 0, 0, 0]), Err(error));
    }

    #[test]
    fn a_command_in_the_wrong_direction_is_an_error() {
        for command_type in [ACCEPT, CONNECT, REFUSE] {
            let error = CommandError::WrongDirection(command_type);
            assert_eq!(ToGateway::decode(&[command_type, 1, 0, 0, 0, 1, 0, 0, 0]), Err(error));
        }
        assert_eq!(ToEndpoint::decode(&[DIAL, 1, 0, 0, 0]), Err(CommandError::WrongDirection(DIAL)));
    }

    #[test]
    fn an_unknown_type_is_an_error() {
        for unknown in 6..=u8::MAX {
            assert_eq!(ToGateway::decode(&[unknown; 9]), Err(CommandError::UnknownType(unknown)));
            assert_eq!(ToEndpoint::decode(&[unknown; 9]), Err(CommandError::UnknownType(unknown)));
        }
    }

    #[test]
    fn bytes_behind_the_arguments_are_ignored() {
        assert_eq!(ToGateway::decode(&[PING, 1, 2, 3]), Ok(ToGateway::Ping));
        assert_eq!(ToGateway::decode(&[DIAL, 5, 0, 0, 0, 99]), Ok(ToGateway::Dial { remote: remote(5) }));
    }

    #[test]
    fn connection_0_can_be_closed_but_not_opened() {
        assert_eq!(ToGateway::decode(&[CLOSE, 0, 0, 0, 0]), Ok(ToGateway::Close { conn: None }));
        let error = CommandError::ZeroConnId(CONNECT);
        assert_eq!(ToEndpoint::decode(&[CONNECT, 0, 0, 0, 0, 1, 0, 0, 0]), Err(error));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../proptest-regressions/command.txt"
            )))),
            ..ProptestConfig::default()
        })]

        /// Whatever is understood says the same again, apart from the bytes that are ignored.
        #[test]
        fn any_bytes_give_a_command_or_an_error(
            command_type in 0..8_u8,
            arguments in prop::collection::vec(prop_oneof![2 => Just(0_u8), 1 => any::<u8>()], 0..12),
        ) {
            let message = [&[command_type][..], &arguments].concat();
            if let Ok(command) = ToGateway::decode(&message) {
                let encoded = command.encode();
                prop_assert!(message.starts_with(&encoded.as_ref()[HEADER_BYTES..]));
            }
            if let Ok(command) = ToEndpoint::decode(&message) {
                let encoded = command.encode();
                prop_assert!(message.starts_with(&encoded.as_ref()[HEADER_BYTES..]));
            }
        }
    }
}
