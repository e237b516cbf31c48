//! Where buffers come from that outlive a poll: the allocator, or a pool that keeps them for reuse.

/// A source of buffers.
///
/// A buffer is a plain [`Vec`]: whoever has one may grow it by other means, or drop it. It is lost to the source then, and
/// nothing else happens.
pub trait Buffers {
    /// Makes `buffer` so large that `bytes` fit into it in all, and keeps what is in it. An empty `Vec` becomes a new
    /// buffer this way.
    fn grow(&self, buffer: &mut Vec<u8>, bytes: usize);

    /// Takes back a buffer that is not needed any more.
    fn give(&self, buffer: Vec<u8>);
}

/// The allocator: nothing is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap;

impl Buffers for Heap {
    fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
        buffer.reserve_exact(bytes.saturating_sub(buffer.len()));
    }

    fn give(&self, _: Vec<u8>) {}
}
