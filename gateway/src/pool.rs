//! Buffers by size class: for what is kept between turns. Cut-off frames, large frames, what waits to be written.
//!
//! A buffer is a `Vec` whose capacity is that of a class. It is taken when there is something to keep, and given back when
//! that is handled or written, so an idle session holds none. What no class is large enough for comes from the allocator and
//! goes back to it. A buffer that is dropped instead of given back is not missed.
//!
//! What lies here unused is bounded: a page for each class. [`Pool::trim`] gives half of it to the allocator at each call,
//! so a pool that nobody uses is soon empty.
//!
//! Buffers are taken by the thread that fills them and given back by the thread that writes them, which may be another. So
//! caches of threads ([`MemPoolType::Sync`]) exchange batches through the shared shelf: a thread that only ever takes, and
//! one that only ever gives, meet there once in [`BATCH`] buffers.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use fastway::buffers::Buffers;

use crate::config::{MemPoolConfig, MemPoolType};
use crate::sync::{Mutex, thread_local};

/// How often [`Pool::trim`] should be called.
pub(crate) const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Buffers of one class that go from a thread's cache to the shelf, or back, in one go. A cache holds twice as many at most.
const BATCH: usize = 32;

/// A pool. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// From the smallest to the largest.
    classes: Box<[Class]>,
    /// Where to begin to look for a class, by the bits of the size.
    first_class: [usize; usize::BITS as usize + 1],
    store: Store,
}

#[derive(Debug)]
struct Class {
    bytes: usize,
    /// Unused buffers that are kept of it: a page of them, on the shelf and in each cache.
    most: usize,
}

/// Where unused buffers lie: one place for each class.
#[derive(Debug)]
enum Store {
    Sync { id: CacheId, shelves: Box<[Shelf]> },
    Atom(Box<[ArrayQueue<Vec<u8>>]>),
    Chan(Box<[Shelf]>),
}

/// What one thread has for itself, by class.
type Cache = Box<[Vec<Vec<u8>>]>;

thread_local! {
    /// The caches of this thread: one, but for programs that run several gateways.
    static CACHES: RefCell<Vec<(u64, Cache)>> = const { RefCell::new(Vec::new()) };
}

/// The name of a pool's caches. Dropping it drops that of the calling thread; others go with their threads.
#[derive(Debug)]
struct CacheId(u64);

impl CacheId {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Calls `f` with the cache of this thread. `None` if the thread is ending and has none any more.
    fn with<R>(&self, classes: usize, f: impl FnOnce(&mut Cache) -> R) -> Option<R> {
        let with = |caches: &RefCell<Vec<(u64, Cache)>>| {
            let caches = &mut *caches.borrow_mut();
            let place = caches.iter().position(|(id, _)| *id == self.0).unwrap_or_else(|| {
                caches.push((self.0, vec![Vec::new(); classes].into()));
                caches.len() - 1
            });
            f(&mut caches[place].1)
        };
        CACHES.try_with(with).ok()
    }
}

impl Drop for CacheId {
    fn drop(&mut self) {
        let _ = CACHES.try_with(|caches| caches.borrow_mut().retain(|(id, _)| *id != self.0));
    }
}

/// What all threads share.
#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<Vec<u8>>>);

impl Pool {
    pub(crate) fn new(config: MemPoolConfig) -> Self {
        let larger = |bytes: &usize| {
            (*bytes < config.max_chunk_bytes).then(|| (bytes * config.factor).min(config.max_chunk_bytes))
        };
        let sizes = std::iter::successors(Some(config.min_chunk_bytes), larger);
        let classes: Box<[_]> = sizes.map(|bytes| Class { bytes, most: config.page_bytes / bytes }).collect();
        let shelves = classes.iter().map(|_| Shelf::default());
        let store = match config.pool_type {
            MemPoolType::Sync => Store::Sync { id: CacheId::new(), shelves: shelves.collect() },
            MemPoolType::Atom => {
                Store::Atom(classes.iter().map(|class| ArrayQueue::new(class.most)).collect())
            }
            MemPoolType::Chan => Store::Chan(shelves.collect()),
        };
        let first_class = std::array::from_fn(|bits| {
            let smallest = bits.checked_sub(1).map_or(0, |bits| 1_usize << bits);
            classes.partition_point(|class| class.bytes <= smallest)
        });
        Self(Arc::new(Shared { classes, first_class, store }))
    }

    /// Gives half of what lies unused to the allocator: of the calling thread's cache, and if `shared` of what threads share.
    pub(crate) fn trim(&self, shared: bool) {
        match &self.0.store {
            Store::Sync { id, shelves } => {
                id.with(shelves.len(), |cache| cache.iter_mut().for_each(halve));
                shelves.iter().filter(|_| shared).for_each(Shelf::trim);
            }
            Store::Chan(shelves) => shelves.iter().filter(|_| shared).for_each(Shelf::trim),
            Store::Atom(queues) => {
                for queue in queues.iter().filter(|_| shared) {
                    (0..queue.len().div_ceil(2)).for_each(|_| drop(queue.pop()));
                }
            }
        }
    }
}

impl Shared {
    /// The smallest class with room for so many bytes.
    fn class_for(&self, bytes: usize) -> Option<(usize, &Class)> {
        let bits = usize::BITS - bytes.saturating_sub(1).leading_zeros();
        let first = self.first_class[bits as usize];
        self.classes.iter().enumerate().skip(first).find(|(_, class)| class.bytes >= bytes)
    }

    fn take(&self, index: usize, class: &Class) -> Vec<u8> {
        let unused = match &self.store {
            Store::Sync { id, shelves } => id.with(shelves.len(), |cache| {
                let buffers = &mut cache[index];
                if buffers.is_empty() {
                    shelves[index].take_batch(buffers);
                }
                buffers.pop()
            }),
            Store::Atom(queues) => Some(queues[index].pop()),
            Store::Chan(shelves) => Some(shelves[index].0.lock().pop()),
        };
        unused.flatten().unwrap_or_else(|| Vec::with_capacity(class.bytes))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let Some((index, class)) = self.class_for(buffer.capacity()) else { return };
        if class.bytes != buffer.capacity() {
            return;
        }
        buffer.clear();
        match &self.store {
            Store::Sync { id, shelves } => {
                id.with(shelves.len(), |cache| {
                    let buffers = &mut cache[index];
                    if buffers.len() == class.most.min(2 * BATCH) {
                        let batch = buffers.drain(buffers.len().saturating_sub(BATCH)..);
                        shelves[index].give(batch, class.most);
                    }
                    buffers.push(buffer);
                });
            }
            // It has room for as many as there may be.
            Store::Atom(queues) => drop(queues[index].push(buffer)),
            Store::Chan(shelves) => shelves[index].give([buffer].into_iter(), class.most),
        }
    }
}

impl Buffers for Pool {
    fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
        if buffer.capacity() >= bytes {
            return;
        }
        let Some((index, class)) = self.0.class_for(bytes) else {
            return buffer.reserve_exact(bytes - buffer.len());
        };
        let mut larger = self.0.take(index, class);
        larger.extend_from_slice(buffer);
        self.give(std::mem::replace(buffer, larger));
    }

    fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 {
            self.0.give(buffer);
        }
    }
}

impl Shelf {
    fn take_batch(&self, buffers: &mut Vec<Vec<u8>>) {
        let mut unused = self.0.lock();
        let rest = unused.len().saturating_sub(BATCH);
        buffers.extend(unused.drain(rest..));
    }

    /// Puts them here, as far as there are not more than `most` then.
    fn give(&self, buffers: impl Iterator<Item = Vec<u8>>, most: usize) {
        let mut unused = self.0.lock();
        let room = most - unused.len();
        unused.extend(buffers.take(room));
    }

    fn trim(&self) {
        halve(&mut self.0.lock());
    }
}

/// Drops the upper half, and the memory for it.
fn halve(buffers: &mut Vec<Vec<u8>>) {
    buffers.truncate(buffers.len() / 2);
    buffers.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [MemPoolType; 3] = [MemPoolType::Sync, MemPoolType::Atom, MemPoolType::Chan];

    fn pool(pool_type: MemPoolType) -> Pool {
        Pool::new(MemPoolConfig { pool_type, ..MemPoolConfig::default() })
    }

    impl Pool {
        /// Buffers of one class that lie unused: on the shelf, and in the calling thread's cache.
        pub(crate) fn unused(&self, class_bytes: usize) -> (usize, usize) {
            let (index, _) = self.0.class_for(class_bytes).unwrap();
            match &self.0.store {
                Store::Sync { id, shelves } => {
                    let cached = id.with(shelves.len(), |cache| cache[index].len());
                    (shelves[index].0.lock().len(), cached.unwrap_or_default())
                }
                Store::Atom(queues) => (queues[index].len(), 0),
                Store::Chan(shelves) => (shelves[index].0.lock().len(), 0),
            }
        }

        fn buffer(&self, bytes: usize) -> Vec<u8> {
            let mut buffer = Vec::new();
            self.grow(&mut buffer, bytes);
            buffer
        }
    }

    #[test]
    fn classes_grow_by_the_factor_from_the_smallest_to_the_largest() {
        let config =
            MemPoolConfig { factor: 3, min_chunk_bytes: 100, max_chunk_bytes: 1000, ..Default::default() };
        let pool = Pool::new(config);
        let sizes: Vec<_> = pool.0.classes.iter().map(|class| class.bytes).collect();
        assert_eq!(sizes, [100, 300, 900, 1000]);
        for bytes in 0..1100 {
            let smallest = sizes.iter().position(|size| *size >= bytes);
            assert_eq!(pool.0.class_for(bytes).map(|(index, _)| index), smallest, "{bytes}");
        }
        let capacities = [1, 100, 101, 900, 901, 1000, 1001].map(|bytes| pool.buffer(bytes).capacity());
        assert_eq!(capacities, [100, 100, 300, 900, 1000, 1000, 1001]);
    }

    #[test]
    fn a_buffer_that_was_given_back_is_taken_again() {
        for kind in KINDS {
            let pool = pool(kind);
            let mut buffer = pool.buffer(100);
            buffer.push(7);
            let at = buffer.as_ptr();
            pool.give(buffer);
            let again = pool.buffer(65);
            assert_eq!((again.as_ptr(), again.len(), again.capacity()), (at, 0, 128), "{kind:?}");
        }
    }

    #[test]
    fn a_buffer_that_grows_keeps_its_content_and_gives_its_old_memory_back() {
        for kind in KINDS {
            let pool = pool(kind);
            let mut buffer = pool.buffer(64);
            buffer.extend(1..=60);
            pool.grow(&mut buffer, 1000);
            assert_eq!((buffer.len(), buffer.capacity()), (60, 1024));
            assert!(buffer.iter().copied().eq(1..=60));
            let (shelf, cached) = pool.unused(64);
            assert_eq!(shelf + cached, 1, "{kind:?}");
            pool.grow(&mut buffer, 100_000);
            assert_eq!((buffer.len(), buffer.capacity()), (60, 100_000), "beyond the classes");
        }
    }

    #[test]
    fn what_is_of_no_class_goes_to_the_allocator() {
        for kind in KINDS {
            let pool = pool(kind);
            for bytes in [1, 63, 65, 65_535, 65_537, 1 << 20] {
                pool.give(Vec::with_capacity(bytes));
            }
            let unused = |class: &Class| pool.unused(class.bytes);
            assert!(pool.0.classes.iter().map(unused).all(|unused| unused == (0, 0)), "{kind:?}");
        }
    }

    #[test]
    fn a_page_of_each_class_is_kept_and_no_more() {
        for kind in KINDS {
            let pool = pool(kind);
            for bytes in [256, 65_536] {
                let buffers: Vec<_> = (0..2 * (1 << 20) / bytes).map(|_| pool.buffer(bytes)).collect();
                buffers.into_iter().for_each(|buffer| pool.give(buffer));
                let page = (1 << 20) / bytes;
                let cached = if kind == MemPoolType::Sync { page.min(2 * BATCH) } else { 0 };
                let (shelf, in_cache) = pool.unused(bytes);
                assert_eq!(shelf, page, "{kind:?}, {bytes} B");
                assert!(in_cache <= cached, "{kind:?}, {bytes} B: {in_cache}");
            }
        }
    }

    #[test]
    fn an_idle_pool_empties_itself() {
        for kind in KINDS {
            let pool = pool(kind);
            let buffers: Vec<_> = (0..1000).map(|_| pool.buffer(64)).collect();
            buffers.into_iter().for_each(|buffer| pool.give(buffer));
            let (shelf, cached) = pool.unused(64);
            assert_eq!(shelf + cached, 1000);
            pool.trim(false);
            assert_eq!(pool.unused(64), (shelf, cached / 2), "{kind:?}: the shelf is for one shard to trim");
            (0..10).for_each(|_| pool.trim(true));
            assert_eq!(pool.unused(64), (0, 0), "{kind:?}");
        }
    }

    #[test]
    fn a_pool_that_is_gone_leaves_no_cache_behind() {
        let caches = || CACHES.with(|caches| caches.borrow().len());
        let (first, second) = (pool(MemPoolType::Sync), pool(MemPoolType::Sync));
        for pool in [&first, &second] {
            pool.give(pool.buffer(64));
        }
        assert_eq!((first.unused(64), second.unused(64)), ((0, 1), (0, 1)));
        drop(first);
        assert_eq!((caches(), second.unused(64)), (1, (0, 1)));
        drop(second);
        assert_eq!(caches(), 0);
    }

    /// A thread that only takes, and one that only gives, as shards do when all servers are on one of them.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "what is shared between threads is tested with threads")]
    fn buffers_find_their_way_back_to_the_thread_that_takes() {
        for kind in KINDS {
            let pool = pool(kind);
            let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<u8>>(100);
            let giver = pool.clone();
            let gives =
                std::thread::spawn(move || receiver.into_iter().for_each(|buffer| giver.give(buffer)));
            let mut addresses = std::collections::BTreeSet::new();
            for _ in 0..10_000 {
                let buffer = pool.buffer(128);
                addresses.insert(buffer.as_ptr().addr());
                sender.send(buffer).unwrap();
            }
            drop(sender);
            gives.join().unwrap();
            let bound = 2 * (100 + 3 * BATCH);
            assert!(addresses.len() < bound, "{kind:?}: {} buffers went round", addresses.len());
        }
    }
}
