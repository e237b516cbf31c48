//! The bytes that wait in a whole gateway: in send queues, and as frames that have not arrived as a whole.
//!
//! Every session's queue has its own limit, but ten thousand queues that are just below theirs are more than a machine has.
//! So all of them together have one too. Near it ([`Budget::is_tight`]) no more clients are let in; at it, those who owe the most
//! are cut off ([`relieve`]).
//!
//! Each shard counts for itself, in a cache line of its own: what its sessions queue, also at sessions of other shards, and
//! what they write. One shard's number alone means nothing, and can be below zero; their sum is right at all times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::error;

use crate::log_limit::LogLimit;
use crate::outbox::{Cut, Outbox};
use crate::refusal::{Refusal, Refusals};
use crate::router::Router;
use crate::sync::AtomicIsize;

/// Of a limit of so many, …
const PARTS: usize = 10;
/// … so many are left to those who are there.
const TIGHT_PARTS: usize = 9;

/// The sum is looked at whenever a shard's number has changed by this part of the limit.
const LOOKS: usize = 64;
/// But not more often than that, in bytes.
const SMALLEST_STEP: usize = 16 * 1024;

/// What all sessions of a gateway may let wait.
#[derive(Debug)]
pub(crate) struct Budget {
    /// 0 is no limit. It can be changed at any time, and a sum that is judged by the old one once more is no worse than one
    /// that came a moment earlier.
    limit: AtomicUsize,
    /// A power of two.
    step: AtomicUsize,
    shards: Box<[Line]>,
    overdrawn: Notify,
}

/// Far enough from the next one that two cores do not fight for it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicIsize);

impl Budget {
    pub(crate) fn new(limit: usize, shards: usize) -> Self {
        let shards = (0..shards).map(|_| Line::default()).collect();
        let budget = Self { limit: 0.into(), step: 0.into(), shards, overdrawn: Notify::new() };
        budget.set_limit(limit);
        budget
    }

    /// From now on so many bytes may wait; 0 for any number. If there are more, those who owe the most are cut off.
    pub(crate) fn set_limit(&self, limit: usize) {
        let step = (limit / LOOKS).max(SMALLEST_STEP).next_power_of_two();
        self.step.store(step, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        if limit > 0 && self.bytes() >= limit {
            self.overdrawn.notify_one();
        }
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that wait at this moment.
    pub(crate) fn bytes(&self) -> usize {
        let sum: isize = self.shards.iter().map(|line| line.0.load(Ordering::Relaxed)).sum();
        // While one shard counts what another has written already.
        usize::try_from(sum).unwrap_or(0)
    }

    /// Nine tenths of the limit are used.
    pub(crate) fn is_tight(&self) -> bool {
        self.limit() > 0 && self.bytes() >= self.tight_bytes()
    }

    fn tight_bytes(&self) -> usize {
        self.limit() / PARTS * TIGHT_PARTS
    }
}

/// Where the sessions of one shard count.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    shard: usize,
}

impl Account {
    pub(crate) fn new(budget: Arc<Budget>, shard: usize) -> Self {
        Self { budget, shard }
    }

    /// So many bytes more wait.
    pub(crate) fn add(&self, bytes: usize) {
        let (limit, step) = (self.budget.limit(), self.budget.step.load(Ordering::Relaxed));
        let before = self.line().fetch_add(bytes.cast_signed(), Ordering::Relaxed);
        let has_passed_a_step = (before ^ (before + bytes.cast_signed())).cast_unsigned() >= step;
        if has_passed_a_step && limit > 0 && self.budget.bytes() >= limit {
            self.budget.overdrawn.notify_one();
        }
    }

    /// So many bytes wait no more: they are written, or dropped.
    pub(crate) fn remove(&self, bytes: usize) {
        self.line().fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
    }

    fn line(&self) -> &AtomicIsize {
        &self.budget.shards[self.shard].0
    }
}

/// Whenever the limit is reached, cuts off those who owe the most, until a tenth of it is free; never returns.
///
/// Those that were cut before and still have to find out do not count: what they owe is as good as gone.
pub(crate) async fn relieve(budget: &Budget, router: &Router, refusals: &Refusals, lines: &LogLimit) {
    loop {
        budget.overdrawn.notified().await;
        let mut debtors = router.debtors();
        let mut owed: usize = debtors.iter().map(|(bytes, _)| bytes).sum();
        let limit = budget.limit();
        // It may have been lifted meanwhile.
        if limit == 0 || owed < limit {
            continue;
        }
        // The smallest first, so the largest are at the end.
        debtors.sort_by_key(|(bytes, outbox)| (*bytes, outbox.owner()));
        let mut cut = 0;
        while owed > budget.tight_bytes()
            && let Some((bytes, outbox)) = debtors.pop()
        {
            owed -= bytes;
            cut += 1;
            refusals.count(Refusal::Debt);
            outbox.cut(Cut::Debt);
        }
        if let Some(left_out) = lines.allow(Instant::now()) {
            error!(
                cut,
                limit, left_out, "--max-buffered-bytes is reached: those who owed the most were cut off"
            );
        }
    }
}

/// Somebody's debt, in bytes.
pub(crate) type Debtor = (usize, Arc<Outbox>);

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_overdrawn(budget: &Budget) -> bool {
        pin!(budget.overdrawn.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn what_one_shard_queues_another_may_write() {
        let budget = Arc::new(Budget::new(0, 2));
        let [first, second] = [0, 1].map(|shard| Account::new(budget.clone(), shard));
        first.add(1000);
        second.remove(400);
        assert_eq!(budget.bytes(), 600);
        second.add(7);
        first.remove(607);
        assert_eq!(budget.bytes(), 0);
        assert!(!budget.is_tight() && !is_overdrawn(&budget), "there is no limit");
    }

    #[test]
    fn nine_tenths_are_tight_and_all_is_overdrawn() {
        for limit in [100_000, 1 << 30] {
            let budget = Arc::new(Budget::new(limit, 2));
            let [first, second] = [0, 1].map(|shard| Account::new(budget.clone(), shard));
            first.add(limit / 2);
            second.add(budget.tight_bytes() - limit / 2 - 1);
            assert!(!budget.is_tight());
            second.add(1);
            assert!(budget.is_tight() && !is_overdrawn(&budget));
            // By many small steps, of which each is looked at now and then only.
            let mut added = 0;
            while !is_overdrawn(&budget) {
                first.add(1000);
                added += 1000;
            }
            assert!(
                added >= limit / 10 && added <= limit / 10 + 2 * budget.step.load(Ordering::Relaxed),
                "{added} of {limit}"
            );
        }
    }
}
