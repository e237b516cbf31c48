//! Frames that wait to be written: gathered in chunks by those who push, written chunk by chunk by the session. Chunks come
//! from the pool when there is something to write, and go back to it when it is written.
//!
//! Small frames are copied one behind the other, so that a hundred of them are one `write`; a large frame moves in
//! as a chunk of its own. No chunk is ever grown beyond [`CHUNK_BYTES`] by copying, so a long queue costs no long
//! copies.

use std::borrow::Cow;
use std::collections::LinkedList;

use fastway::buffers::Buffers as _;
use fastway::frame::{HEADER_BYTES, LENGTH_BYTES, frame_ends};

use crate::pool::Pool;

/// Small frames are gathered up to here.
const CHUNK_BYTES: usize = 64 * 1024;

/// An owned frame from here on moves in as it is; a smaller one is copied, to share a `write`.
const LARGE_FRAME_BYTES: usize = 16 * 1024;

/// Whole frames, one behind the other.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    messages: u32,
    /// How many of them are commands. They are short, and their chunk is not.
    commands: u16,
    /// A large frame that moved in. It is not made longer, which would copy it.
    is_closed: bool,
}

/// Whether the first frame of these is a command.
fn is_command(frames: &[u8]) -> bool {
    frames[LENGTH_BYTES..HEADER_BYTES] == [0; HEADER_BYTES - LENGTH_BYTES]
}

/// Frames in the order in which they are to be written. No frames, no memory.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Those before the last. As a rule there are none.
    earlier: LinkedList<Chunk>,
    last: Chunk,
    messages: u32,
    /// Limits keep it far from overflowing (`Config::check`).
    bytes: u32,
}

impl Chunks {
    /// Appends so many frames: messages, or a command, which comes alone. If nothing waits yet, memory for `expected_bytes` is taken at once.
    pub(crate) fn push(&mut self, frames: Cow<'_, [u8]>, messages: u32, expected_bytes: usize, pool: &Pool) {
        self.messages += messages;
        self.bytes += frames.len() as u32;
        match frames {
            Cow::Owned(frame) if frame.len() >= LARGE_FRAME_BYTES => {
                self.begin_chunk();
                self.last = Chunk { bytes: frame, messages, commands: 0, is_closed: true };
            }
            frames => {
                self.make_room(frames.len(), expected_bytes, pool);
                self.last.bytes.extend_from_slice(&frames);
                self.last.messages += messages;
                self.last.commands += u16::from(is_command(&frames));
                if let Cow::Owned(frame) = frames {
                    pool.give(frame);
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Moves all frames behind those of `batch`.
    pub(crate) fn move_to(&mut self, batch: &mut Batch) {
        if batch.is_empty() {
            std::mem::swap(self, &mut batch.chunks);
        } else if !self.is_empty() {
            batch.chunks.append(std::mem::take(self));
        }
    }

    fn append(&mut self, mut other: Self) {
        self.begin_chunk();
        self.earlier.append(&mut other.earlier);
        self.last = other.last;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    fn begin_chunk(&mut self) {
        if !self.last.bytes.is_empty() {
            self.earlier.push_back(std::mem::take(&mut self.last));
        }
    }

    /// Room for so many bytes in the last chunk.
    fn make_room(&mut self, bytes: usize, expected_bytes: usize, pool: &Pool) {
        if self.last.is_closed || self.last.bytes.len() + bytes > CHUNK_BYTES {
            self.begin_chunk();
        }
        let chunk = &mut self.last.bytes;
        let needed = chunk.len() + bytes;
        if needed <= chunk.capacity() {
            return;
        }
        let wanted = match chunk.capacity() {
            0 if self.earlier.is_empty() => expected_bytes,
            // There is a lot to write: this chunk fills up as well, and should not grow step by step.
            0 => CHUNK_BYTES,
            full => 2 * full,
        };
        pool.grow(chunk, needed.max(wanted.min(CHUNK_BYTES)));
    }

    fn first(&self) -> &Chunk {
        self.earlier.front().unwrap_or(&self.last)
    }

    fn first_mut(&mut self) -> &mut Chunk {
        self.earlier.front_mut().unwrap_or(&mut self.last)
    }

    fn remove_first(&mut self) -> Chunk {
        self.earlier.pop_front().unwrap_or_else(|| std::mem::take(&mut self.last))
    }
}

/// Frames that the session is writing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What is not yet written as a whole.
    chunks: Chunks,
    /// Bytes of the first chunk that are written.
    written: usize,
    /// Where in the first chunk the first unwritten frame begins.
    frame: usize,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Frames of which something is still to be written.
    pub(crate) fn messages(&self) -> u32 {
        self.chunks.messages
    }

    /// Bytes still to be written.
    pub(crate) fn bytes(&self) -> u32 {
        self.chunks.bytes
    }

    /// The next bytes to write; empty if there are none.
    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.chunks.first().bytes[self.written..]
    }

    /// So many of [`unwritten`](Self::unwritten) are written. The memory of a chunk that is done goes to `pool`. How many
    /// messages, as opposed to commands, are written to their ends by that.
    pub(crate) fn advance(&mut self, written: usize, pool: &Pool) -> u32 {
        self.written += written;
        self.chunks.bytes -= written as u32;
        let Self { chunks, written, frame } = self;
        let chunk = chunks.first_mut();
        if *written < chunk.bytes.len() {
            let ends = frame_ends(&chunk.bytes[*frame..]).map(|end| *frame + end);
            let (mut done, mut commands, mut next) = (0_u32, 0_u16, *frame);
            for end in ends.take_while(|end| end <= written) {
                commands += u16::from(is_command(&chunk.bytes[next..]));
                (done, next) = (done + 1, end);
            }
            chunk.messages -= done;
            chunk.commands -= commands;
            chunks.messages -= done;
            *frame = next;
            return done - u32::from(commands);
        }
        let done = chunks.remove_first();
        chunks.messages -= done.messages;
        (*written, *frame) = (0, 0);
        pool.give(done.bytes);
        done.messages - u32::from(done.commands)
    }
}

#[cfg(test)]
mod tests {
    use fastway::command::ToEndpoint;
    use fastway::frame::encode;
    use fastway::id::ConnId;

    use super::*;
    use crate::config::MemPoolConfig;

    fn frame(message_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        encode(ConnId::new(1).unwrap(), &vec![7; message_bytes], &mut out);
        out
    }

    fn pool() -> Pool {
        Pool::new(MemPoolConfig::default())
    }

    fn batch_of(frames: &[Vec<u8>]) -> Batch {
        let (mut chunks, mut batch, pool) = (Chunks::default(), Batch::default(), pool());
        for frame in frames {
            chunks.push(Cow::Borrowed(frame), 1, 0, &pool);
        }
        chunks.move_to(&mut batch);
        assert!(chunks.is_empty() && chunks.messages() == 0 && chunks.bytes() == 0);
        batch
    }

    fn count(batch: &Batch) -> usize {
        batch.chunks.earlier.len() + 1
    }

    #[test]
    fn small_frames_are_written_together() {
        let frames = vec![frame(10); 100];
        let batch = batch_of(&frames);
        assert_eq!(batch.unwritten(), frames.concat());
        assert_eq!((batch.messages(), batch.bytes()), (100, 1800));
    }

    #[test]
    fn a_message_counts_until_its_last_byte_is_written() {
        let mut batch = batch_of(&[frame(10), frame(0), frame(10)]);
        for (written, messages) in [(17, 3), (1, 2), (7, 2), (3, 1), (15, 1), (1, 0)] {
            let before = batch.messages();
            let done = batch.advance(written, &pool());
            assert_eq!((batch.messages(), done), (messages, before - messages));
        }
        assert!(batch.is_empty() && batch.bytes() == 0);
    }

    #[test]
    fn a_command_is_no_message_however_it_is_written() {
        let (ping, close) = (ToEndpoint::Ping.encode(), ToEndpoint::Close { conn: ConnId::new(1) }.encode());
        let commands = [ping.as_ref(), close.as_ref()].map(<[u8]>::to_vec);
        let frames = [commands[0].clone(), frame(10), commands[1].clone(), frame(0), commands[0].clone()];
        let all: usize = frames.iter().map(Vec::len).sum();
        for step in 1..=all {
            let mut batch = batch_of(&frames);
            let (mut frames, mut messages) = (batch.messages(), 0);
            while !batch.is_empty() {
                messages += batch.advance(step.min(batch.unwritten().len()), &pool());
                assert!(batch.messages() <= frames);
                frames = batch.messages();
            }
            assert_eq!((frames, messages), (0, 2), "{step} bytes at a time");
        }
    }

    #[test]
    fn a_large_owned_frame_is_not_copied() {
        let large = frame(LARGE_FRAME_BYTES);
        let at = large.as_ptr();
        let (mut chunks, mut batch, pool) = (Chunks::default(), Batch::default(), pool());
        chunks.push(Cow::Owned(frame(1)), 1, 0, &pool);
        chunks.push(Cow::Owned(large), 1, 0, &pool);
        chunks.push(Cow::Owned(frame(1)), 1, 0, &pool);
        chunks.move_to(&mut batch);
        batch.advance(9, &pool);
        assert_eq!(batch.unwritten().as_ptr(), at);
        batch.advance(LARGE_FRAME_BYTES + 8, &pool);
        assert_eq!((batch.messages(), batch.bytes()), (1, 9));
    }

    #[test]
    fn what_comes_later_is_written_later() {
        let (mut chunks, pool) = (Chunks::default(), pool());
        let mut batch = batch_of(&[frame(1)]);
        let later: Vec<u8> = [frame(2), frame(40_000), frame(40_000)].concat();
        chunks.push(Cow::Borrowed(&later[..10]), 1, 0, &pool);
        chunks.push(Cow::Borrowed(&later[10..40_018]), 1, 0, &pool);
        chunks.push(Cow::Borrowed(&later[40_018..]), 1, 0, &pool);
        chunks.move_to(&mut batch);
        assert_eq!((batch.messages(), batch.bytes() as usize), (4, 9 + later.len()));
        let mut written = Vec::new();
        while !batch.is_empty() {
            written.extend_from_slice(batch.unwritten());
            batch.advance(batch.unwritten().len(), &pool);
        }
        assert_eq!(written, [frame(1), later].concat());
        assert_eq!(batch.messages(), 0);
    }

    #[test]
    fn no_chunk_is_copied_to_grow_beyond_its_bound() {
        let batch = batch_of(&vec![frame(1_000); 1_000]);
        assert!(count(&batch) > 10);
        let mut later = batch.chunks.earlier.iter().skip(1).chain([&batch.chunks.last]);
        assert!(batch.chunks.first().bytes.len() <= CHUNK_BYTES);
        assert!(later.all(|chunk| chunk.bytes.len() <= CHUNK_BYTES && chunk.bytes.capacity() == CHUNK_BYTES));
    }

    #[test]
    fn frames_of_moderate_size_share_a_chunk_owned_or_not() {
        assert_eq!(count(&batch_of(&vec![frame(1_000); 10])), 1);
        let (mut chunks, pool) = (Chunks::default(), pool());
        for _ in 0..4 {
            chunks.push(Cow::Owned(frame(10_000)), 1, 0, &pool);
        }
        assert!(chunks.earlier.is_empty());
    }

    #[test]
    fn memory_for_what_is_expected_is_taken_at_once() {
        for (expected, capacity) in [(0, 64), (1000, 1024), (100_000, CHUNK_BYTES)] {
            let mut chunks = Chunks::default();
            chunks.push(Cow::Borrowed(&frame(10)), 1, expected, &pool());
            assert_eq!(chunks.last.bytes.capacity(), capacity);
        }
    }

    /// Also of a frame that was gathered in a buffer of its own and then copied, and of a long queue.
    #[test]
    fn what_is_written_leaves_no_memory_behind() {
        let pool = Pool::new(MemPoolConfig { page_bytes: 1 << 30, ..MemPoolConfig::default() });
        let (mut chunks, mut batch) = (Chunks::default(), Batch::default());
        let taken = |bytes| {
            let mut buffer = Vec::new();
            pool.grow(&mut buffer, bytes);
            buffer
        };
        for bytes in [10, 300, 5_000, 20_000, 60_000, 60_000, 60_000] {
            let mut gathered = taken(bytes + 8);
            gathered.extend_from_slice(&frame(bytes));
            let at = gathered.as_ptr();
            chunks.push(Cow::Owned(gathered), 1, 0, &pool);
            chunks.move_to(&mut batch);
            while !batch.is_empty() {
                batch.advance(batch.unwritten().len(), &pool);
            }
            let capacity = |chunks: &Chunks| chunks.last.bytes.capacity() + chunks.earlier.len();
            assert_eq!((capacity(&chunks), capacity(&batch.chunks)), (0, 0));
            let again = [taken(bytes + 8), taken(bytes + 8)];
            assert!(again.iter().any(|buffer| buffer.as_ptr() == at), "the pool has it again");
        }
    }
}
