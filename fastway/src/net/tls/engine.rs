//! TLS as bytes in, bytes out: a rustls connection that never touches a network or a clock.
//!
//! It is driven by rustls' unbuffered interface. The buffered one keeps 4 KiB for every connection, also for those that are
//! idle, and takes no more than that with each read; here whoever drives it brings the buffers, so that an idle connection
//! has none, and one read can take as much as a plain connection does.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};

/// The most plaintext that goes into one record (RFC 8446, section 5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;

/// Room for what a record adds, and for what may have to go out before it.
const OVERHEAD_BYTES: usize = 128;

/// One end of a TLS connection.
pub(super) struct Engine {
    connection: Connection,
    /// The peer has said that nothing more comes.
    heard_close: bool,
    /// This end has.
    said_close: bool,
}

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What is to be done as soon as whatever has come is dealt with.
pub(super) enum Act<'a> {
    Nothing,
    /// Encrypt this: at most [`RECORD_BYTES`].
    Encrypt(&'a [u8]),
    /// Say that nothing more comes.
    Close,
}

/// Where [`Engine::run`] puts things.
pub(super) struct Sinks<'a> {
    /// For each record that came, its plaintext.
    pub(super) plaintext: &'a mut dyn FnMut(&[u8]),
    /// What is to be sent is added here.
    pub(super) outgoing: &'a mut Vec<u8>,
}

enum Step {
    /// There may be more to do.
    Again,
    /// Nothing can be done before more has come.
    Waits,
    /// All that came is dealt with, and the act is done.
    Done,
}

impl Engine {
    pub(super) fn client(connection: UnbufferedClientConnection) -> Self {
        Self { connection: Connection::Client(connection), heard_close: false, said_close: false }
    }

    pub(super) fn server(connection: UnbufferedServerConnection) -> Self {
        Self { connection: Connection::Server(connection), heard_close: false, said_close: false }
    }

    pub(super) fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Client(connection) => connection,
            Connection::Server(connection) => connection,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    pub(super) fn heard_close(&self) -> bool {
        self.heard_close
    }

    pub(super) fn said_close(&self) -> bool {
        self.said_close
    }

    /// Deals with whole records at the front of `incoming`, then with `act`; says how many bytes are done with, and whether
    /// `act` is. What is left over has to come again, unchanged, with more behind it.
    ///
    /// # Errors
    ///
    /// If the peer broke TLS, or cannot be trusted. What it has to be told is in `outgoing` then. It is of no use
    /// afterwards.
    pub(super) fn run(
        &mut self,
        incoming: &mut [u8],
        mut act: Act<'_>,
        sinks: &mut Sinks<'_>,
    ) -> Result<(usize, bool), Error> {
        let mut used = 0;
        loop {
            match self.step(&mut incoming[used..], &mut act, sinks) {
                (bytes, Ok(Step::Again)) => used += bytes,
                (bytes, Ok(Step::Waits)) => return Ok((used + bytes, false)),
                (bytes, Ok(Step::Done)) => return Ok((used + bytes, true)),
                (bytes, Err(error)) => {
                    self.take_alert(&mut incoming[used + bytes..], sinks);
                    return Err(error);
                }
            }
        }
    }

    /// After an error: what the peer is to be told. rustls knows places in what has come, so it has to be there again.
    fn take_alert(&mut self, mut incoming: &mut [u8], sinks: &mut Sinks<'_>) {
        while self.state().wants_write()
            && let (bytes, Ok(Step::Again)) = self.step(incoming, &mut Act::Nothing, sinks)
        {
            incoming = &mut incoming[bytes..];
        }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        act: &mut Act<'_>,
        sinks: &mut Sinks<'_>,
    ) -> (usize, Result<Step, Error>) {
        let (heard, said) = (&mut self.heard_close, &mut self.said_close);
        match &mut self.connection {
            Connection::Client(connection) => {
                handle(connection.process_tls_records(incoming), act, sinks, heard, said)
            }
            Connection::Server(connection) => {
                handle(connection.process_tls_records(incoming), act, sinks, heard, said)
            }
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("handshaking", &self.is_handshaking()).finish_non_exhaustive()
    }
}

/// What the connection asks for, done; and how many bytes at the front are done with.
fn handle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    act: &mut Act<'_>,
    sinks: &mut Sinks<'_>,
    heard_close: &mut bool,
    said_close: &mut bool,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = state.and_then(|state| {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    (sinks.plaintext)(record.payload);
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(sinks.outgoing, 0, |room| Ok(data.encode(room)?))?;
            }
            // It is, as soon as it is known that it will be: what is outgoing keeps its order.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => *heard_close = true,
            ConnectionState::WriteTraffic(mut traffic) => {
                match act {
                    Act::Nothing => {}
                    Act::Encrypt(bytes) => {
                        let room = bytes.len() + OVERHEAD_BYTES;
                        append(sinks.outgoing, room, |room| Ok(traffic.encrypt(bytes, room)?))?;
                    }
                    Act::Close => {
                        *said_close = true;
                        append(sinks.outgoing, OVERHEAD_BYTES, |room| Ok(traffic.queue_close_notify(room)?))?;
                    }
                }
                return Ok(Step::Done);
            }
            ConnectionState::BlockedHandshake | ConnectionState::Closed => return Ok(Step::Waits),
            // There is no early data: it is not configured.
            _ => return Err(Error::General("unexpected state".to_owned())),
        }
        Ok(Step::Again)
    });
    (discard, step)
}

/// Why something was not written.
enum NotWritten {
    NeedsBytes(usize),
    Failed(Error),
}

impl From<EncodeError> for NotWritten {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::NeedsBytes(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Failed(Error::General(error.to_string())),
        }
    }
}

impl From<EncryptError> for NotWritten {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::NeedsBytes(required_size)
            }
            EncryptError::EncryptExhausted => Self::Failed(Error::EncryptError),
        }
    }
}

/// Has something written behind `outgoing`, where `room` bytes are probably enough.
fn append(
    outgoing: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, NotWritten>,
) -> Result<(), Error> {
    let start = outgoing.len();
    loop {
        outgoing.resize(start + room, 0);
        match write(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(NotWritten::NeedsBytes(bytes)) if bytes > room => room = bytes,
            Err(failed) => {
                outgoing.truncate(start);
                return Err(match failed {
                    NotWritten::Failed(error) => error,
                    NotWritten::NeedsBytes(_) => Error::EncryptError,
                });
            }
        }
    }
}
