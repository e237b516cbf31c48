//! One physical connection of a client or a server: connecting, the server's handshake, reading, writing.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use fastway::command::{CommandError, ToGateway};
use fastway::frame::MaxPacket;
use fastway::handshake::Challenge;
use fastway::id::{ServerId, Side};
use fastway::net::Stream;
use fastway::reader::{Flow, FrameReader, Progress, ReadError, with_scratch};
use tokio::io::{AsyncWrite as _, ReadBuf};

use crate::clock::Nanos;
use crate::desk::Desk;
use crate::stats::ErrorKind;
use crate::transport::Transport;
use crate::wake::Alert;
use crate::work::Work;

/// Reads in one turn, before other links have theirs.
const READS_PER_TURN: usize = 4;

/// One physical connection.
pub(crate) struct Link<S> {
    pub(crate) desk: Desk,
    pub(crate) state: State<S>,
    alert: Alert,
    /// When it was meant to be made, and since when it is there.
    pub(crate) meant: Nanos,
    pub(crate) up_since: Nanos,
    /// It was connected this often in vain, in a row.
    pub(crate) failures: u32,
    /// It is to be written to at the end of this turn.
    pub(crate) is_dirty: bool,
    /// What was written may still wait inside of the stream.
    is_unflushed: bool,
    /// Something happened since the last look at it.
    pub(crate) was_busy: bool,
}

/// Where a connection is.
pub(crate) enum State<S> {
    /// Not there; to be made at that time.
    Down(Nanos),
    /// To be made as soon as fewer others are being made.
    Queued,
    /// Under way, until the deadline.
    Connecting(Pin<Box<dyn Future<Output = io::Result<Transport<S>>> + Send>>, Nanos),
    /// A server has so much of the gateway's challenge, until the deadline.
    Handshake(Transport<S>, [u8; Challenge::BYTES], usize, Nanos),
    Up(Transport<S>, FrameReader),
    /// It will not be made again.
    Over,
}

/// Why a link has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
}

impl<S> fmt::Debug for Link<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("desk", &self.desk).finish_non_exhaustive()
    }
}

impl<S: Stream> Link<S> {
    pub(crate) fn new(desk: Desk, alert: Alert) -> Self {
        Self {
            desk,
            state: State::Queued,
            alert,
            meant: 0,
            up_since: 0,
            failures: 0,
            is_dirty: false,
            is_unflushed: false,
            was_busy: false,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(..))
    }

    /// Starts to connect.
    pub(crate) fn connect(
        &mut self,
        connecting: impl Future<Output = io::Result<Transport<S>>> + Send + 'static,
        now: Nanos,
        deadline: Nanos,
    ) {
        self.desk.first_byte_from = (self.desk.side == Side::Client).then_some(now);
        self.meant = now;
        self.state = State::Connecting(Box::pin(connecting), deadline);
        self.alert.wake();
    }

    /// Everything that can be done now. `true`: it has just come up.
    pub(crate) fn poll(&mut self, key: &[u8], max_packet: MaxPacket, work: &mut Work) -> Result<bool, Ended> {
        self.alert.begin_turn();
        self.was_busy = true;
        let alert = self.alert.clone();
        let mut cx = Context::from_waker(alert.waker());
        let mut has_come_up = false;
        if let State::Connecting(connecting, deadline) = &mut self.state {
            let deadline = *deadline;
            match connecting.as_mut().poll(&mut cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(connect_error(&error, self.desk.side)),
                Poll::Ready(Ok(stream)) if self.desk.side == Side::Server => {
                    self.state = State::Handshake(stream, [0; Challenge::BYTES], 0, deadline);
                }
                Poll::Ready(Ok(stream)) => {
                    self.state = State::Up(stream, FrameReader::new(max_packet));
                    has_come_up = true;
                }
            }
        }
        if let State::Handshake(stream, challenge, got, _) = &mut self.state {
            match read_challenge(stream, challenge, got, &mut cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => {
                    let tls = if stream.is_encrypted() { "" } else { TRY_SERVER_TLS };
                    let text = format!(
                        "the handshake broke off: {error}; servers connect to the internal port{tls}"
                    );
                    return Err(Ended { kind: ErrorKind::ConnectFailed, text });
                }
                Poll::Ready(Ok(())) => {
                    let id = ServerId::new(u32::try_from(self.desk.number).unwrap_or(u32::MAX));
                    self.desk.push(&Challenge(*challenge).answer(key, id).encode());
                    // A gateway that accepts the key says nothing, but it answers this.
                    self.desk.ping(work);
                    let State::Handshake(stream, ..) = std::mem::replace(&mut self.state, State::Over) else {
                        unreachable!("it was looked at above")
                    };
                    self.state = State::Up(stream, FrameReader::new(max_packet));
                    has_come_up = true;
                }
            }
        }
        self.read(&mut cx, work)?;
        self.write(work)?;
        Ok(has_come_up)
    }

    fn read(&mut self, cx: &mut Context<'_>, work: &mut Work) -> Result<(), Ended> {
        let State::Up(stream, reader) = &mut self.state else { return Ok(()) };
        let desk = &mut self.desk;
        for _ in 0..READS_PER_TURN {
            work.book.begin_read();
            let progress = with_scratch(|scratch| {
                reader.poll_frames(cx, stream, scratch, |frame| desk.handle(frame, work).map(|()| Flow::Next))
            });
            let Poll::Ready(progress) = progress else { return Ok(()) };
            match progress {
                Ok(Progress::Read(_) | Progress::Held(_)) => {
                    let now = work.book.read_at();
                    desk.keepalive.heard(work.instant(now));
                }
                Ok(Progress::Eof { .. }) => return Err(desk.closed_error(stream.is_encrypted())),
                Err(error) => return Err(read_error(error, desk, stream.is_encrypted())),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes what there is, as far as the socket takes it.
    pub(crate) fn write(&mut self, work: &mut Work) -> Result<(), Ended> {
        self.is_dirty = false;
        let State::Up(stream, _) = &mut self.state else { return Ok(()) };
        let desk = &mut self.desk;
        if desk.has_unstamped() {
            desk.stamp(work.book.clock.now());
        }
        let mut cx = Context::from_waker(self.alert.waker());
        let is_encrypted = stream.is_encrypted();
        while desk.waiting_bytes() > 0 {
            match Pin::new(&mut *stream).poll_write(&mut cx, &desk.out[desk.written..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => {
                    return Err(failed(&io::ErrorKind::WriteZero.into(), desk, is_encrypted));
                }
                Poll::Ready(Ok(bytes)) => {
                    self.is_unflushed = true;
                    desk.took(bytes, work);
                }
                Poll::Ready(Err(error)) => return Err(failed(&error, desk, is_encrypted)),
            }
        }
        if self.is_unflushed {
            let flushed = Pin::new(stream).poll_flush(&mut cx);
            self.is_unflushed = flushed.is_pending();
            if let Poll::Ready(Err(error)) = flushed {
                return Err(failed(&error, desk, is_encrypted));
            }
        }
        Ok(())
    }

    /// TLS has words for the end. What cannot be sent at once is left unsaid.
    pub(crate) fn say_goodbye(&mut self) {
        if let State::Up(stream, _) = &mut self.state {
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(self.alert.waker()));
        }
    }

    /// The link is gone: what was on it is given up.
    pub(crate) fn end(&mut self, state: State<S>, now: Nanos, work: &mut Work) {
        self.say_goodbye();
        self.state = state;
        self.is_unflushed = false;
        self.desk.clear(now, work);
    }
}

impl Desk {
    fn closed_error(&self, is_encrypted: bool) -> Ended {
        if self.side == Side::Server && !self.is_confirmed {
            let text =
                "the gateway ended the link right after the handshake: most likely the password is not the \
                        gateway's; compare --password with the gateway's --server-auth-password"
                    .to_owned();
            return Ended { kind: ErrorKind::TurnedAway, text };
        }
        let text = match self.side {
            Side::Client if self.is_unheard() && !is_encrypted => {
                "the gateway closed the link before it said anything: it stops, or its public port has TLS (--tls)"
            }
            Side::Client => "the gateway closed the link: it stops, or this client read too slowly",
            Side::Server => "the gateway closed the link: it stops, or somebody else registered with this ID",
        };
        Ended { kind: ErrorKind::LinkClosed, text: text.to_owned() }
    }

    /// A client's first message has not come back.
    fn is_unheard(&self) -> bool {
        self.first_byte_from.is_some()
    }

    /// Asks the gateway for a sign of life.
    pub(crate) fn ping(&mut self, work: &Work) {
        let now = work.instant(work.book.clock.now());
        self.keepalive.ask(now);
        self.command_out(ToGateway::Ping);
    }
}

fn read_challenge<S: Stream>(
    stream: &mut S,
    challenge: &mut [u8; Challenge::BYTES],
    got: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while *got < challenge.len() {
        let mut buffer = ReadBuf::new(&mut challenge[*got..]);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        *got += buffer.filled().len();
    }
    Poll::Ready(Ok(()))
}

const TRY_SERVER_TLS: &str = ", which may have TLS (--server-tls)";

fn connect_error(error: &io::Error, side: Side) -> Ended {
    let (kind, remedy) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            (ErrorKind::Refused, "; nobody listens there: start the gateway, or check the address")
        }
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => (
            ErrorKind::ConnectFailed,
            "; no local port is left: name more addresses to connect from with --source",
        ),
        // Of TLS, whatever it is.
        io::ErrorKind::InvalidData => (ErrorKind::ConnectFailed, tls_flags(side)),
        _ if error.raw_os_error() == Some(24) => {
            (ErrorKind::ConnectFailed, "; raise the limit of open files: ulimit -n")
        }
        _ => (ErrorKind::ConnectFailed, ""),
    };
    Ended { kind, text: format!("{error}{remedy}") }
}

fn failed(error: &io::Error, desk: &Desk, is_encrypted: bool) -> Ended {
    if desk.side == Side::Server && !desk.is_confirmed && !is_tls(error) {
        return desk.closed_error(is_encrypted);
    }
    if desk.side == Side::Client && desk.is_unheard() && !is_encrypted {
        return desk.closed_error(is_encrypted);
    }
    Ended { kind: ErrorKind::LinkFailed, text: error.to_string() }
}

fn tls_flags(side: Side) -> &'static str {
    match side {
        Side::Client => "; --tls, --tls-ca and --tls-server-name say what is expected",
        Side::Server => "; --server-tls, --server-tls-ca and --server-tls-server-name say what is expected",
    }
}

/// In TLS 1.3, whoever connects learns after its own handshake that its certificate is not accepted.
fn is_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted && error.raw_os_error().is_none()
}

fn read_error(error: ReadError<CommandError>, desk: &Desk, is_encrypted: bool) -> Ended {
    match error {
        ReadError::Io(error) => failed(&error, desk, is_encrypted),
        ReadError::Frame(error) => Ended { kind: ErrorKind::Malformed, text: error.to_string() },
        ReadError::Handler(error) => Ended { kind: ErrorKind::Malformed, text: error.to_string() },
    }
}
