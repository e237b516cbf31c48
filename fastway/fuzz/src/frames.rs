//! [`FrameReader`] over any bytes, which arrive in any pieces and are handled in any steps, against a parser that has all
//! the bytes at once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use arbitrary::{Arbitrary, Unstructured};
use fastway::buffers::{Buffers, Heap};
use fastway::frame::{FrameError, MaxPacket};
use fastway::reader::{Flow, FrameReader, MIN_SCRATCH_BYTES, Progress, ReadError, with_scratch};
use fastway::run::Run;
use tokio::io::{AsyncRead, ReadBuf};

use crate::Bytes;

#[derive(Arbitrary, Debug)]
struct Settings {
    /// Above the smallest limit there is.
    max_packet: u16,
    small_scratch: bool,
    by_runs: bool,
    /// The stream ends with an error.
    fails: bool,
}

/// A part of the stream, or of what happens to it.
#[derive(Arbitrary, Debug)]
enum Part<'a> {
    /// Any bytes.
    Bytes(Bytes<'a>),
    /// A frame of this connection.
    Frame(u8, Bytes<'a>),
    /// A frame with a message of so many bytes, modulo 16 Ki.
    Long(u8, u16),
    /// Only the length of a frame.
    Length(u32),
    /// A read brings so many bytes at most; with 0 it has to wait.
    Read(u16),
    /// The handler takes so many frames, then holds back.
    Take(u8),
}

/// Whatever arrives in whichever pieces, the reader gives the same frames and the same end as the plain parser, and
/// keeps exactly what was not handled, in buffers that are no larger than that justifies.
pub fn frames(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(settings) = Settings::arbitrary(&mut input) else { return };
    let (mut wire, mut reads, mut takes) = (Vec::new(), VecDeque::new(), VecDeque::new());
    while !input.is_empty()
        && let Ok(part) = Part::arbitrary(&mut input)
    {
        match part {
            Part::Bytes(Bytes(bytes)) => wire.extend_from_slice(bytes),
            Part::Frame(conn, Bytes(message)) => push_frame(&mut wire, conn, message),
            Part::Long(conn, bytes) => {
                push_frame(&mut wire, conn, &vec![conn; usize::from(bytes % (16 << 10))])
            }
            Part::Length(length) => wire.extend_from_slice(&length.to_le_bytes()),
            Part::Read(bytes) => reads.push_back(bytes.into()),
            Part::Take(frames) => takes.push_back(frames.into()),
        }
    }
    compare(&settings, &wire, reads, takes);
}

/// Without the library's help.
fn push_frame(wire: &mut Vec<u8>, conn: u8, message: &[u8]) {
    wire.extend_from_slice(&(message.len() as u32 + 4).to_le_bytes());
    wire.extend_from_slice(&u32::from(conn).to_le_bytes());
    wire.extend_from_slice(message);
}

fn compare(settings: &Settings, wire: &[u8], reads: VecDeque<usize>, takes: VecDeque<usize>) {
    let max = MaxPacket::SMALLEST + u32::from(settings.max_packet);
    let (frames, expected_end) = parse(wire, max);
    let unhandled = Rc::new(Cell::new(0));
    let mut stream =
        Stream { rest: wire, reads, fails: settings.fails, read: 0, unhandled: unhandled.clone() };
    let mut handler = Handler { frames: &frames, takes, unhandled: unhandled.clone() };
    let max = MaxPacket::new(max).expect("it is above the smallest");
    let mut reader = FrameReader::with_buffers(max, Metered(unhandled.clone()));
    let end = loop {
        stream.read = 0;
        let polled = with_scratch(|scratch| {
            let scratch = if settings.small_scratch { &mut scratch[..MIN_SCRATCH_BYTES] } else { scratch };
            let cx = &mut Context::from_waker(Waker::noop());
            if settings.by_runs {
                reader.poll_runs(cx, &mut stream, scratch, |run| handler.handle_run(run))
            } else {
                reader.poll_frames(cx, &mut stream, scratch, |frame| {
                    Ok(handler.handle(frame.conn().map_or(0, |conn| conn.get()), frame.as_bytes()))
                })
            }
        });
        match polled {
            Poll::Pending => assert_eq!(stream.read, 0),
            Poll::Ready(Ok(Progress::Read(bytes) | Progress::Held(bytes))) => assert_eq!(bytes, stream.read),
            Poll::Ready(end) => break end,
        }
        assert_eq!(reader.kept_bytes(), unhandled.get(), "it keeps what is not handled, and nothing else");
        assert_eq!(reader.is_held(), matches!(polled, Poll::Ready(Ok(Progress::Held(_)))));
    };
    assert!(handler.frames.is_empty(), "{} frames are missing", handler.frames.len());
    match (end, expected_end) {
        (Err(ReadError::Frame(error)), End::Malformed(expected)) => assert_eq!(error, expected),
        (Err(ReadError::Io(_)), End::Rest(_)) => assert!(settings.fails),
        (Ok(Progress::Eof { mid_frame }), End::Rest(bytes)) => assert_eq!(mid_frame, bytes > 0),
        (end, expected) => panic!("{end:?} instead of {expected:?}"),
    }
}

/// How a stream ends.
#[derive(Debug)]
enum End {
    Malformed(FrameError),
    /// So many bytes are left that are no frame.
    Rest(usize),
}

/// One frame: its connection, and all its bytes.
type Whole<'a> = (u32, &'a [u8]);

/// The plain parser: all bytes at once.
fn parse(wire: &[u8], max: u32) -> (Vec<Whole<'_>>, End) {
    let (mut frames, mut rest) = (Vec::new(), wire);
    while let Some(length) = rest.first_chunk() {
        let length = u32::from_le_bytes(*length);
        if length < 4 {
            return (frames, End::Malformed(FrameError::TooShort { length }));
        }
        if length > max {
            return (frames, End::Malformed(FrameError::TooLarge { length, max }));
        }
        let Some((frame, behind)) = rest.split_at_checked(4 + length as usize) else { break };
        let conn = frame[4..8].try_into().expect("four bytes");
        frames.push((u32::from_le_bytes(conn), frame));
        rest = behind;
    }
    (frames, End::Rest(rest.len()))
}

/// Gives the bytes in pieces.
struct Stream<'a> {
    rest: &'a [u8],
    reads: VecDeque<usize>,
    fails: bool,
    /// Bytes that came in this call of the reader.
    read: usize,
    unhandled: Rc<Cell<usize>>,
}

impl AsyncRead for Stream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(buffer.remaining() > 0, "nothing would be read, and taken for the end");
        let most = self.reads.pop_front().unwrap_or(usize::MAX);
        if most == 0 {
            return Poll::Pending;
        }
        if self.rest.is_empty() && self.fails {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let (piece, rest) = self.rest.split_at(most.min(buffer.remaining()).min(self.rest.len()));
        buffer.put_slice(piece);
        self.rest = rest;
        self.read += piece.len();
        self.unhandled.set(self.unhandled.get() + piece.len());
        Poll::Ready(Ok(()))
    }
}

/// Takes frames and compares them with those that should come.
struct Handler<'a> {
    frames: &'a [Whole<'a>],
    takes: VecDeque<usize>,
    unhandled: Rc<Cell<usize>>,
}

impl Handler<'_> {
    fn handle(&mut self, conn: u32, bytes: &[u8]) -> Flow {
        match self.takes.front_mut() {
            Some(0) => {
                self.takes.pop_front();
                return Flow::Hold;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let ((expected, behind), frame) =
            (self.frames.split_first().expect("there are no more frames"), (conn, bytes));
        assert_eq!(frame, *expected);
        self.frames = behind;
        self.unhandled.set(self.unhandled.get() - bytes.len());
        Flow::Next
    }

    fn handle_run(&mut self, run: &mut Run<'_>) -> Result<Flow, Infallible> {
        let conn = run.conn().map_or(0, |conn| conn.get());
        let expected = &self.frames[..run.frames()];
        assert!(!expected.is_empty() && expected.iter().all(|(of, _)| *of == conn));
        assert!(expected.len() == 1 || conn != 0, "commands come alone");
        assert_eq!(run.as_bytes().len(), expected.iter().map(|(_, frame)| frame.len()).sum::<usize>());
        let frames = run.frames();
        for taken in 0..frames {
            assert_eq!(run.first_bytes(), self.frames[0].1.len());
            assert_eq!(run.frames(), frames - taken);
            if self.takes.front() == Some(&0) {
                return Ok(self.handle(conn, &[]));
            }
            let frame = run.take(1);
            assert_eq!(self.handle(conn, &frame), Flow::Next);
        }
        Ok(Flow::Next)
    }
}

/// Buffers for a reader that may keep so many bytes.
struct Metered(Rc<Cell<usize>>);

impl Buffers for Metered {
    fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
        assert!(bytes <= 2 * self.0.get(), "room for {bytes} bytes when {} have arrived", self.0.get());
        Heap.grow(buffer, bytes);
    }

    fn give(&self, buffer: Vec<u8>) {
        assert!(buffer.capacity() > 0, "there is nothing to give back");
    }
}
