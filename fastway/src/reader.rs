//! Frames from a stream: what is read, what is kept between reads, and what is held back.
//!
//! A link reads into a scratch buffer that it only borrows (one per thread serves any number of links) and walks
//! over the whole frames in it without copying. Between reads it keeps just the cut-off tail of the last frame.
//! A short tail is joined with the next read; a long one is completed in place, in a buffer that becomes the frame.
//! So memory follows what arrived, never what a length field announced.
//!
//! Whoever handles the frames may refuse one for now ([`Flow::Hold`]): it stays here, with all that was read
//! behind it, and is offered again at the next call, before anything more is read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BufMut as _;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::buffers::{Buffers, Heap};
use crate::frame::{Frame, FrameError, MaxPacket, Split, split};
use crate::run::{Run, split_run};

/// Up to here a cut-off tail is copied in front of the next read. A longer one is completed where it is, with a
/// read of its own: copying it again for every few bytes that trickle in would cost more than that.
const JOINED_TAIL_BYTES: usize = 4 * 1024;

/// The smallest scratch buffer that [`FrameReader::poll_frames`] takes, in bytes.
pub const MIN_SCRATCH_BYTES: usize = 2 * JOINED_TAIL_BYTES;

/// What the handler did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Done with it; the next one.
    Next,
    /// Not now: offer this frame again later, and read nothing more until then.
    Hold,
}

/// What one call of [`FrameReader::poll_frames`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes came from the stream (0 where held frames were offered again), and every whole frame in
    /// them was handled.
    Read(usize),
    /// The handler holds a frame back. So many bytes came from the stream before that.
    Held(usize),
    /// The stream has ended. `mid_frame`: it ended inside a frame.
    Eof {
        /// Bytes of an unfinished frame were left.
        mid_frame: bool,
    },
}

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The stream failed.
    #[error(transparent)]
    Io(io::Error),
    /// The peer sent a length that no frame may have.
    #[error(transparent)]
    Frame(FrameError),
    /// The handler gave up.
    #[error(transparent)]
    Handler(E),
}

/// Bytes of the buffer that [`with_scratch`] lends: as much as one read takes at most.
pub const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends the thread's scratch buffer, of [`SCRATCH_BYTES`]: one serves every link of a thread, since a link needs it
/// only for the length of a poll.
///
/// # Panics
///
/// If it is lent already: `f` may not call this again.
pub fn with_scratch<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| f(scratch))
}

/// The reading half of one link. What it keeps between calls is in buffers of `B`.
#[derive(Debug)]
pub struct FrameReader<B = Heap> {
    max: MaxPacket,
    /// What was read and not yet handled: from the start of a frame.
    kept: Vec<u8>,
    /// The first frame in `kept` is whole, and the handler did not want it yet.
    held: bool,
    buffers: B,
}

impl FrameReader {
    /// A reader that accepts frames up to `max`. It keeps no memory while no frame is in progress.
    #[must_use]
    pub fn new(max: MaxPacket) -> Self {
        Self::with_buffers(max, Heap)
    }
}

impl<B: Buffers> FrameReader<B> {
    /// The same, with the buffers of `buffers`.
    #[must_use]
    pub fn with_buffers(max: MaxPacket, buffers: B) -> Self {
        Self { max, kept: Vec::new(), held: false, buffers }
    }

    /// Whether a frame is held back: the next call offers it again and reads nothing.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Bytes that are kept between calls.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Reads once from `stream`, then hands every whole frame to `handle`, in order.
    ///
    /// A frame that was held back comes first, without a read. `scratch` is only used during the call.
    /// The handler may take a frame's bytes only if it answers [`Flow::Next`].
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the reader is of no use afterwards. Frames before the offending one were handled.
    ///
    /// # Panics
    ///
    /// If `scratch` is shorter than [`MIN_SCRATCH_BYTES`].
    pub fn poll_frames<S, E>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        scratch: &mut [u8],
        mut handle: impl FnMut(&mut Frame<'_>) -> Result<Flow, E>,
    ) -> Poll<Result<Progress, ReadError<E>>>
    where
        S: AsyncRead + Unpin,
    {
        self.poll_runs(cx, stream, scratch, |run| {
            while let Some(mut frame) = run.pop() {
                if handle(&mut frame)? == Flow::Hold {
                    run.put_back(frame);
                    return Ok(Flow::Hold);
                }
            }
            Ok(Flow::Next)
        })
    }

    /// The same by runs: frames of one virtual connection that arrived together come together.
    ///
    /// With [`Flow::Next`] the whole run is done with. With [`Flow::Hold`] what is left in it is held back: a handler may
    /// have taken frames off its front before.
    ///
    /// # Errors
    ///
    /// As for [`poll_frames`](Self::poll_frames).
    ///
    /// # Panics
    ///
    /// If `scratch` is shorter than [`MIN_SCRATCH_BYTES`].
    pub fn poll_runs<S, E>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        scratch: &mut [u8],
        mut handle: impl FnMut(&mut Run<'_>) -> Result<Flow, E>,
    ) -> Poll<Result<Progress, ReadError<E>>>
    where
        S: AsyncRead + Unpin,
    {
        assert!(scratch.len() >= MIN_SCRATCH_BYTES, "the scratch buffer is too short");
        if self.held {
            self.walk_kept(&mut handle)?;
            return Poll::Ready(Ok(self.progress(0)));
        }
        let read = match self.unfinished_frame() {
            Some(total) if self.kept.len() > JOINED_TAIL_BYTES => {
                let read = ready!(self.poll_read_in_place(cx, stream, total)).map_err(ReadError::Io)?;
                if self.kept.len() == total {
                    self.walk_kept(&mut handle)?;
                }
                read
            }
            _ => {
                let joined = self.kept.len();
                scratch[..joined].copy_from_slice(&self.kept);
                let mut buffer = ReadBuf::new(&mut scratch[joined..]);
                ready!(Pin::new(stream).poll_read(cx, &mut buffer)).map_err(ReadError::Io)?;
                let read = buffer.filled().len();
                if read > 0 {
                    let arrived = &scratch[..joined + read];
                    let rest = self.walk(arrived, &mut handle)?;
                    self.keep(&arrived[arrived.len() - rest..]);
                }
                read
            }
        };
        if read == 0 {
            return Poll::Ready(Ok(Progress::Eof { mid_frame: !self.kept.is_empty() }));
        }
        Poll::Ready(Ok(self.progress(read)))
    }

    fn progress(&self, read: usize) -> Progress {
        if self.held { Progress::Held(read) } else { Progress::Read(read) }
    }

    /// The size of the frame that `kept` is the beginning of. Its length was found valid when it was kept.
    fn unfinished_frame(&self) -> Option<usize> {
        match split(&self.kept, self.max) {
            Ok(Split::Incomplete { total }) => total,
            _ => None,
        }
    }

    /// Keeps this, and nothing else, until the next call. A frame that is longer than what is joined with the next read gets
    /// as much room as it needs, but not more than twice of what has arrived.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            return self.release();
        }
        let room = match split(rest, self.max) {
            Ok(Split::Incomplete { total: Some(total) }) if rest.len() > JOINED_TAIL_BYTES => {
                total.min(2 * rest.len())
            }
            _ => rest.len(),
        };
        self.kept.clear();
        self.buffers.grow(&mut self.kept, room);
        self.kept.extend_from_slice(rest);
    }

    fn release(&mut self) {
        if self.kept.capacity() > 0 {
            self.buffers.give(std::mem::take(&mut self.kept));
        }
    }

    /// Reads on at the end of `kept`, up to the end of its frame. Memory at most doubles what has arrived.
    fn poll_read_in_place<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        total: usize,
    ) -> Poll<io::Result<usize>> {
        let arrived = self.kept.len();
        if self.kept.capacity() == arrived {
            self.buffers.grow(&mut self.kept, total.min(2 * arrived));
        }
        let room = (total - arrived).min(self.kept.capacity() - arrived);
        poll_read_buf(Pin::new(stream), cx, &mut (&mut self.kept).limit(room))
    }

    /// Walks over what was kept: one large frame that moves on as it is, or several that were held back.
    fn walk_kept<E>(
        &mut self,
        handle: &mut impl FnMut(&mut Run<'_>) -> Result<Flow, E>,
    ) -> Result<(), ReadError<E>> {
        let mut kept = std::mem::take(&mut self.kept);
        if let Ok(Split::Frame(_, [])) = split(&kept, self.max) {
            let mut run = Run::of_one(Frame::whole(Cow::Owned(kept)));
            self.held = handle(&mut run).map_err(ReadError::Handler)? == Flow::Hold;
            // Whoever took the frame has its buffer; whoever only looked at it, has not.
            if let Cow::Owned(kept) = run.take(usize::MAX) {
                self.kept = kept;
            }
            if !self.held {
                self.release();
            }
            return Ok(());
        }
        let rest = self.walk(&kept, handle)?;
        kept.drain(..kept.len() - rest);
        self.kept = kept;
        if rest == 0 {
            self.release();
        }
        Ok(())
    }

    /// Hands whole frames to `handle` until it holds one back or they are used up; how many bytes are left.
    fn walk<E>(
        &mut self,
        bytes: &[u8],
        handle: &mut impl FnMut(&mut Run<'_>) -> Result<Flow, E>,
    ) -> Result<usize, ReadError<E>> {
        self.held = false;
        let mut rest = bytes;
        while let Some((mut run, behind)) = split_run(rest, self.max).map_err(ReadError::Frame)? {
            if handle(&mut run).map_err(ReadError::Handler)? == Flow::Hold {
                self.held = true;
                return Ok(run.as_bytes().len() + behind.len());
            }
            rest = behind;
        }
        Ok(rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;
    use crate::frame::encode;
    use crate::id::ConnId;

    /// A stream that gives its chunks one by one, as far as the reader's buffer takes them, then ends.
    struct Chunks(VecDeque<Vec<u8>>);

    impl AsyncRead for Chunks {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut chunk) = self.0.pop_front() {
                let rest = chunk.split_off(chunk.len().min(buffer.remaining()));
                buffer.put_slice(&chunk);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    const MAX: MaxPacket = MaxPacket::new(20_000).unwrap();

    /// Cuts `wire` into pieces of the given sizes (the last piece takes what is left).
    fn cut(wire: &[u8], sizes: &[usize]) -> Chunks {
        let mut rest = wire;
        let mut chunks = VecDeque::new();
        for &size in sizes {
            let (chunk, behind) = rest.split_at(size.min(rest.len()));
            chunks.push_back(chunk.to_vec());
            rest = behind;
        }
        chunks.push_back(rest.to_vec());
        chunks.retain(|chunk| !chunk.is_empty());
        Chunks(chunks)
    }

    type Outcome = (Vec<(Option<ConnId>, Vec<u8>)>, Result<Progress, ReadError<Infallible>>);

    /// Reads to the end. `holds` says, frame by frame, whether it is refused the first time.
    fn read_all(mut stream: Chunks, scratch_bytes: usize, holds: &[bool]) -> Outcome {
        let mut reader = FrameReader::new(MAX);
        let mut scratch = vec![0; scratch_bytes];
        let mut holds = holds.iter().copied().chain(std::iter::repeat(false));
        let mut refused = false;
        let mut frames = Vec::new();
        loop {
            let cx = &mut Context::from_waker(Waker::noop());
            let outcome = reader.poll_frames(cx, &mut stream, &mut scratch, |frame| {
                if !refused && holds.next() == Some(true) {
                    refused = true;
                    return Ok(Flow::Hold);
                }
                refused = false;
                frames.push((frame.conn(), frame.message().to_vec()));
                Ok(Flow::Next)
            });
            let Poll::Ready(outcome) = outcome else { panic!("the stream is always ready") };
            assert!(reader.kept_bytes() <= reader.kept.capacity());
            match outcome {
                Ok(Progress::Read(_) | Progress::Held(_)) => {}
                end => return (frames, end),
            }
        }
    }

    fn messages() -> impl Strategy<Value = Vec<(u32, Vec<u8>)>> {
        let len = prop_oneof![
            8 => 0..200_usize,
            1 => 3_000..6_000_usize,
            1 => Just(MAX.max_message_bytes()),
        ];
        let message = (any::<u32>(), len).prop_map(|(seed, len)| {
            let bytes = (0..len).map(|i| (seed as usize + i * 31) as u8).collect();
            (seed, bytes)
        });
        prop::collection::vec(message, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../proptest-regressions/reader.txt"
            )))),
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_split_of_a_stream_gives_the_same_frames(
            messages in messages(),
            sizes in prop::collection::vec(prop_oneof![1..20_usize, 1..30_000_usize], 0..200),
            scratch_bytes in prop_oneof![Just(MIN_SCRATCH_BYTES), Just(65_536_usize)],
            holds in prop::collection::vec(any::<bool>(), 0..40),
        ) {
            let mut wire = Vec::new();
            for (conn, message) in &messages {
                match ConnId::new(*conn) {
                    Some(conn) => encode(conn, message, &mut wire),
                    None => wire.extend_from_slice(&crate::frame::header(None, 0)),
                }
            }
            let (frames, end) = read_all(cut(&wire, &sizes), scratch_bytes, &holds);
            prop_assert!(matches!(end, Ok(Progress::Eof { mid_frame: false })), "{end:?}");
            prop_assert_eq!(frames.len(), messages.len());
            for (frame, (conn, message)) in frames.iter().zip(&messages) {
                prop_assert_eq!(frame.0, ConnId::new(*conn));
                prop_assert!(*conn == 0 || frame.1 == *message);
            }
        }

        #[test]
        fn any_bytes_give_frames_or_an_error(
            wire in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..300),
            sizes in prop::collection::vec(1..20_usize, 0..20),
        ) {
            let (whole, whole_end) = read_all(cut(&wire, &[]), 65_536, &[]);
            let (split, split_end) = read_all(cut(&wire, &sizes), 65_536, &[]);
            prop_assert_eq!(whole, split);
            prop_assert_eq!(format!("{whole_end:?}"), format!("{split_end:?}"));
        }
    }

    #[test]
    fn memory_follows_what_arrived_not_what_was_announced() {
        let max = MaxPacket::default();
        let mut reader = FrameReader::new(max);
        let mut scratch = vec![0; MIN_SCRATCH_BYTES];
        let mut arrived = 0;
        let frame = [&max.bytes().to_le_bytes()[..], &[7; 300_000]].concat();
        let mut stream = cut(&frame, &[4; 1]);
        loop {
            let cx = &mut Context::from_waker(Waker::noop());
            let outcome =
                reader.poll_frames(cx, &mut stream, &mut scratch, |_| Ok::<_, Infallible>(Flow::Next));
            match outcome {
                Poll::Ready(Ok(Progress::Read(read))) => arrived += read,
                Poll::Ready(Ok(Progress::Eof { mid_frame: true })) => break,
                other => panic!("{other:?}"),
            }
            assert!(reader.kept.capacity() <= 2 * arrived.max(8), "{} for {arrived}", reader.kept.capacity());
        }
        assert_eq!(arrived, frame.len());
    }

    /// Counts what is out.
    #[derive(Clone, Default)]
    struct Counted(std::rc::Rc<std::cell::Cell<usize>>);

    impl Buffers for Counted {
        fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
            self.0.set(self.0.get() + usize::from(buffer.capacity() == 0));
            Heap.grow(buffer, bytes);
        }

        fn give(&self, buffer: Vec<u8>) {
            assert!(buffer.capacity() > 0, "there is nothing to give back");
            self.0.set(self.0.get() - 1);
        }
    }

    /// Small frames in pieces, frames that are held back and then let go, and a large one.
    #[test]
    fn what_was_kept_goes_back_when_it_is_handled() {
        let mut wire = Vec::new();
        let conn = ConnId::new(1).unwrap();
        [10, 10, 15_000, 10, 10, 10].iter().for_each(|len| encode(conn, &vec![7; *len], &mut wire));
        let mut stream = cut(&wire, &[5, 20, 5_000, 10_030, 1, 10]);
        let out = Counted::default();
        let mut reader = FrameReader::with_buffers(MAX, out.clone());
        let mut scratch = vec![0; MIN_SCRATCH_BYTES];
        let (mut calls, mut frames, mut most) = (0, 0, 0);
        loop {
            let cx = &mut Context::from_waker(Waker::noop());
            let outcome = reader.poll_runs(cx, &mut stream, &mut scratch, |run| {
                calls += 1;
                if calls % 2 == 1 {
                    frames += run.frames().min(1);
                    drop(run.pop());
                    return Ok(Flow::Hold);
                }
                frames += run.frames();
                Ok::<_, Infallible>(Flow::Next)
            });
            most = most.max(out.0.get());
            let Poll::Ready(Ok(progress)) = outcome else { panic!("{outcome:?}") };
            if let Progress::Eof { mid_frame } = progress {
                assert!(!mid_frame);
                break;
            }
        }
        // Whoever takes a large frame has its buffer; here it may be dropped.
        assert!(frames == 6 && most <= 2 && out.0.get() <= 1, "{frames} frames, {most} buffers");
        assert_eq!(reader.kept.capacity(), 0);
    }

    #[test]
    fn a_large_frame_moves_on_without_a_copy() {
        let mut wire = Vec::new();
        encode(ConnId::new(1).unwrap(), &[9; 15_000], &mut wire);
        let mut stream = cut(&wire, &[]);
        let mut reader = FrameReader::new(MAX);
        let mut scratch = vec![0; MIN_SCRATCH_BYTES];
        let mut owned = false;
        for _ in 0..3 {
            let cx = &mut Context::from_waker(Waker::noop());
            let _ = reader.poll_frames(cx, &mut stream, &mut scratch, |frame| {
                owned = matches!(frame.take_bytes(), Cow::Owned(_));
                Ok::<_, Infallible>(Flow::Next)
            });
        }
        assert!(owned);
        assert_eq!(reader.kept.capacity(), 0);
    }
}
