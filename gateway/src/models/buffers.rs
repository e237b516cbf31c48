//! Buffers that threads share: the shelf behind the caches of threads (`sync`), and the list with a lock (`chan`). The queue
//! without locks (`atom`) is crossbeam's, and tested there.

use std::collections::BTreeSet;

use fastway::buffers::Buffers as _;

use super::*;

const BYTES: usize = 64;

/// One class, of which one buffer is kept, and one in each cache.
fn pool(pool_type: MemPoolType) -> Pool {
    let sizes = MemPoolConfig { min_chunk_bytes: BYTES, max_chunk_bytes: BYTES, ..MemPoolConfig::default() };
    Pool::new(MemPoolConfig { pool_type, page_bytes: BYTES, ..sizes })
}

/// Addresses of the buffers that threads have. Not of the model: it is the witness.
#[derive(Default)]
struct Taken(parking_lot::Mutex<BTreeSet<usize>>);

impl Taken {
    fn take(&self, pool: &Pool) -> Vec<u8> {
        let mut buffer = Vec::new();
        pool.grow(&mut buffer, BYTES);
        assert!(self.0.lock().insert(buffer.as_ptr().addr()), "somebody has it");
        buffer
    }

    fn give(&self, pool: &Pool, buffer: Vec<u8>) {
        assert!(self.0.lock().remove(&buffer.as_ptr().addr()));
        pool.give(buffer);
    }
}

#[test]
fn no_buffer_is_taken_twice_and_no_more_are_kept_than_may_be() {
    for kind in [MemPoolType::Sync, MemPoolType::Chan] {
        explore(move || {
            let (pool, taken) = (pool(kind), Arc::new(Taken::default()));
            let come_and_go = {
                let (pool, taken) = (pool.clone(), taken.clone());
                move || {
                    for _ in 0..2 {
                        let buffers = [taken.take(&pool), taken.take(&pool)];
                        buffers.into_iter().for_each(|buffer| taken.give(&pool, buffer));
                    }
                }
            };
            let other = spawn(come_and_go.clone());
            come_and_go();
            other.join().unwrap();
            let cached = usize::from(kind == MemPoolType::Sync);
            assert_eq!(pool.unused(BYTES), (1, cached), "{kind:?}");
        });
    }
}

/// One trims what another takes from and gives to.
#[test]
fn a_pool_is_trimmed_while_it_is_used() {
    for kind in [MemPoolType::Sync, MemPoolType::Chan] {
        explore(move || {
            let (pool, taken) = (pool(kind), Arc::new(Taken::default()));
            let trimmed = pool.clone();
            let trimming = spawn(move || trimmed.trim(true));
            let buffers = [taken.take(&pool), taken.take(&pool)];
            buffers.into_iter().for_each(|buffer| taken.give(&pool, buffer));
            drop(taken.take(&pool));
            trimming.join().unwrap();
            let (shelf, cached) = pool.unused(BYTES);
            assert!(shelf <= 1 && cached <= 1);
        });
    }
}
