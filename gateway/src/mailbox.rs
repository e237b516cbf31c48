//! Wakes that go to other shards, gathered.
//!
//! To wake a task of another thread costs a system call each time, whether that thread sleeps or not; and one that is woken
//! for the first of fifty messages soon sleeps again. So a session's waker is left in its shard's mailbox. Who leaves the first
//! one there remembers to announce it, and does so at the end of the turn: by one wake of the task that empties the mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use crate::sync::{AtomicBool, Mutex};

/// The mailbox of one shard.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    arrived: Mutex<Arrived>,
    /// Mailboxes of other shards that this one has left something in, and not announced it.
    to_announce: Mutex<Vec<Arc<Mailbox>>>,
    /// There are some.
    has_to_announce: AtomicBool,
}

#[derive(Debug, Default)]
struct Arrived {
    sessions: Vec<Waker>,
    /// Whoever empties it, as soon as it has done so once.
    owner: Option<Waker>,
}

impl Mailbox {
    /// Leaves the waker of a session of the shard `to`; to be followed by [`announce`](Self::announce).
    pub(crate) fn leave(&self, session: Waker, to: &Arc<Self>) {
        let mut arrived = to.arrived.lock();
        arrived.sessions.push(session);
        let is_first = arrived.sessions.len() == 1;
        drop(arrived);
        if is_first {
            self.to_announce.lock().push(to.clone());
            self.has_to_announce.store(true, Ordering::Relaxed);
        }
    }

    /// Has everything that was left elsewhere attended to. For the end of every turn of this shard's sessions.
    pub(crate) fn announce(&self) {
        if !self.has_to_announce.load(Ordering::Relaxed) {
            return;
        }
        self.has_to_announce.store(false, Ordering::Relaxed);
        let mailboxes = std::mem::take(&mut *self.to_announce.lock());
        for mailbox in mailboxes {
            let owner = mailbox.arrived.lock().owner.clone();
            if let Some(owner) = owner {
                owner.wake();
            }
        }
    }

    /// Wakes all sessions, on their own thread now. To be called by one task, whenever it is woken.
    pub(crate) fn empty(&self, cx: &Context<'_>) {
        let mut arrived = self.arrived.lock();
        arrived.owner.get_or_insert_with(|| cx.waker().clone());
        let sessions = std::mem::take(&mut arrived.sessions);
        drop(arrived);
        sessions.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn an_owner_is_woken_once_for_many_and_each_of_them_is_woken() {
        let (here, there) = (Mailbox::default(), Arc::new(Mailbox::default()));
        let (owner, session) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (owner_waker, waker) = (Waker::from(owner.clone()), Waker::from(session.clone()));
        let cx = Context::from_waker(&owner_waker);
        // Before the owner has had its first turn.
        here.leave(waker.clone(), &there);
        here.announce();
        assert_eq!((owner.take(), session.take()), (0, 0));
        there.empty(&cx);
        assert_eq!((owner.take(), session.take()), (0, 1));
        for _ in 0..3 {
            (0..10).for_each(|_| here.leave(waker.clone(), &there));
            assert_eq!((owner.take(), session.take()), (0, 0));
            here.announce();
            here.announce();
            assert_eq!((owner.take(), session.take()), (1, 0));
            // On its way already.
            here.leave(waker.clone(), &there);
            here.announce();
            there.empty(&cx);
            assert_eq!((owner.take(), session.take()), (0, 11));
        }
    }
}
