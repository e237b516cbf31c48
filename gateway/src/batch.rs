//! Frames that wait to be written: gathered in chunks by those who push, written chunk by chunk by the session.
//!
//! Small frames are copied one behind the other, so that a hundred of them are one `write`; a large frame moves in
//! as a chunk of its own. No chunk is ever grown beyond [`CHUNK_BYTES`] by copying, so a long queue costs no long
//! copies.

use std::borrow::Cow;
use std::collections::VecDeque;

use fastway::frame::LENGTH_BYTES;

/// Small frames are gathered up to here.
const CHUNK_BYTES: usize = 64 * 1024;

/// An owned frame from here on moves in as it is; a smaller one is copied, to share a `write`.
const LARGE_FRAME_BYTES: usize = 16 * 1024;

/// Whole frames, one behind the other.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    messages: usize,
    /// A large frame that moved in. It is not made longer, which would copy it.
    is_closed: bool,
}

/// Frames that wait for the session to collect them.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    list: VecDeque<Chunk>,
    messages: usize,
    bytes: usize,
    /// A buffer that is kept for the next frame.
    spare: Vec<u8>,
}

impl Chunks {
    pub(crate) fn push(&mut self, frame: Cow<'_, [u8]>) {
        self.messages += 1;
        self.bytes += frame.len();
        match frame {
            Cow::Owned(frame) if frame.len() >= LARGE_FRAME_BYTES => {
                self.list.push_back(Chunk { bytes: frame, messages: 1, is_closed: true });
            }
            frame => {
                let chunk = self.chunk_with_room(frame.len());
                chunk.bytes.extend_from_slice(&frame);
                chunk.messages += 1;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves all frames behind those of `batch`, and takes its spare buffer for the next ones.
    pub(crate) fn move_to(&mut self, batch: &mut Batch) {
        if batch.list.is_empty() {
            std::mem::swap(&mut self.list, &mut batch.list);
        } else {
            batch.list.append(&mut self.list);
        }
        batch.messages += std::mem::take(&mut self.messages);
        batch.bytes += std::mem::take(&mut self.bytes);
        if self.spare.capacity() == 0 {
            self.spare = std::mem::take(&mut batch.spare);
        }
    }

    pub(crate) fn release_spare(&mut self) {
        self.spare = Vec::new();
        if self.list.is_empty() {
            self.list = VecDeque::new();
        }
    }

    fn chunk_with_room(&mut self, bytes: usize) -> &mut Chunk {
        let fits = |last: &Chunk| !last.is_closed && last.bytes.len() + bytes <= CHUNK_BYTES;
        let room = self.list.back().is_some_and(fits);
        if !room {
            let bytes = if self.list.is_empty() {
                std::mem::take(&mut self.spare)
            } else {
                // There is a lot to write: the next chunk fills up as well, and should not grow step by step.
                Vec::with_capacity(CHUNK_BYTES)
            };
            self.list.push_back(Chunk { bytes, messages: 0, is_closed: false });
        }
        self.list.back_mut().expect("one has room now")
    }
}

/// Frames that the session is writing.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    list: VecDeque<Chunk>,
    /// Not yet written as a whole.
    messages: usize,
    bytes: usize,
    /// Bytes of the first chunk that are written.
    written: usize,
    /// Where in the first chunk the first unwritten frame begins.
    frame: usize,
    /// A buffer that is kept for the next frames.
    spare: Vec<u8>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Frames of which something is still to be written.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes still to be written.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next bytes to write; empty if there are none.
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.list.front().map_or(&[], |chunk| &chunk.bytes[self.written..])
    }

    /// So many of [`unwritten`](Self::unwritten) are written. A chunk of at most `spare_bytes` stays as the
    /// buffer for what comes.
    pub(crate) fn advance(&mut self, written: usize, spare_bytes: usize) {
        self.bytes -= written;
        self.written += written;
        let Some(chunk) = self.list.front_mut() else { return };
        if self.written < chunk.bytes.len() {
            while let Some(end) = frame_end(&chunk.bytes, self.frame).filter(|end| *end <= self.written) {
                self.frame = end;
                self.messages -= 1;
                chunk.messages -= 1;
            }
            return;
        }
        self.messages -= chunk.messages;
        self.written = 0;
        self.frame = 0;
        let done = self.list.pop_front().expect("there is a first one");
        if self.spare.capacity() == 0 && done.bytes.capacity() <= spare_bytes {
            self.spare = done.bytes;
            self.spare.clear();
        }
    }

    /// Gives back memory that is only kept for what may come.
    pub(crate) fn release_spare(&mut self) {
        self.spare = Vec::new();
        if self.list.is_empty() {
            self.list = VecDeque::new();
        }
    }
}

/// Where the frame that begins at `start` ends, by its length field.
fn frame_end(chunk: &[u8], start: usize) -> Option<usize> {
    let length = chunk.get(start..start + LENGTH_BYTES)?;
    let length = u32::from_le_bytes(length.try_into().expect("a length has four bytes"));
    Some(start + LENGTH_BYTES + length as usize)
}

#[cfg(test)]
mod tests {
    use fastway::frame::encode;
    use fastway::id::ConnId;

    use super::*;

    fn frame(message_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        encode(ConnId::new(1).unwrap(), &vec![7; message_bytes], &mut out);
        out
    }

    fn batch_of(frames: &[Vec<u8>]) -> Batch {
        let (mut chunks, mut batch) = (Chunks::default(), Batch::default());
        for frame in frames {
            chunks.push(Cow::Borrowed(frame));
        }
        chunks.move_to(&mut batch);
        assert!(chunks.is_empty() && chunks.messages() == 0 && chunks.bytes() == 0);
        batch
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
            batch.advance(written, 0);
            assert_eq!(batch.messages(), messages);
        }
        assert!(batch.is_empty() && batch.bytes() == 0);
    }

    #[test]
    fn a_large_owned_frame_is_not_copied() {
        let large = frame(LARGE_FRAME_BYTES);
        let at = large.as_ptr();
        let (mut chunks, mut batch) = (Chunks::default(), Batch::default());
        chunks.push(Cow::Owned(frame(1)));
        chunks.push(Cow::Owned(large));
        chunks.push(Cow::Owned(frame(1)));
        chunks.move_to(&mut batch);
        batch.advance(9, 0);
        assert_eq!(batch.unwritten().as_ptr(), at);
        batch.advance(LARGE_FRAME_BYTES + 8, 0);
        assert_eq!((batch.messages(), batch.bytes()), (1, 9));
    }

    #[test]
    fn no_chunk_is_copied_to_grow_beyond_its_bound() {
        let batch = batch_of(&vec![frame(1_000); 1_000]);
        assert!(batch.list.len() > 10);
        assert!(batch.list.iter().all(|chunk| chunk.bytes.len() <= CHUNK_BYTES));
        assert!(batch.list.iter().skip(1).all(|chunk| chunk.bytes.capacity() == CHUNK_BYTES));
    }

    #[test]
    fn a_spare_buffer_stays_within_its_bound() {
        let mut batch = batch_of(&[frame(100)]);
        batch.advance(108, 64);
        assert_eq!(batch.spare.capacity(), 0, "too large to keep");
        let mut batch = batch_of(&[frame(20)]);
        batch.advance(28, 64);
        assert!((1..=64).contains(&batch.spare.capacity()));
        batch.release_spare();
        assert_eq!(batch.spare.capacity(), 0);
    }

    #[test]
    fn frames_of_moderate_size_share_a_chunk_owned_or_not() {
        assert_eq!(batch_of(&vec![frame(1_000); 10]).list.len(), 1);
        let mut chunks = Chunks::default();
        for _ in 0..4 {
            chunks.push(Cow::Owned(frame(10_000)));
        }
        assert_eq!(chunks.list.len(), 1);
    }

    #[test]
    fn a_buffer_goes_round_and_is_given_back() {
        let mut chunks = Chunks::default();
        let mut batch = batch_of(&[frame(100)]);
        batch.advance(108, 1_000);
        let capacity = batch.spare.capacity();
        assert!(capacity > 0);
        chunks.push(Cow::Owned(frame(1)));
        chunks.move_to(&mut batch);
        assert_eq!((chunks.spare.capacity(), batch.spare.capacity()), (capacity, 0));
        chunks.release_spare();
        assert_eq!(chunks.spare.capacity(), 0);
    }
}
