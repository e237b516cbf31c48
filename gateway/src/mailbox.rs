//! Wakes that come from other shards, gathered.
//!
//! To wake a task of another thread costs a system call each time, whether that thread sleeps or not. A message of another
//! shard is worth that only if the thread sleeps. So it leaves the session's waker here: the first one wakes the shard's one
//! task for that, and the others are there when that has its turn.

use std::task::{Context, Waker};

use parking_lot::Mutex;

/// The mailbox of one shard.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    sessions: Vec<Waker>,
    /// Whoever empties it, as soon as it has done so once.
    owner: Option<Waker>,
}

impl Mailbox {
    /// Has a session of this shard woken soon.
    pub(crate) fn put(&self, session: Waker) {
        let mut content = self.0.lock();
        content.sessions.push(session);
        let owner = if content.sessions.len() == 1 { content.owner.clone() } else { None };
        drop(content);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    /// Wakes all of them, on their own thread now. To be called by one task, whenever it is woken.
    pub(crate) fn empty(&self, cx: &Context<'_>) {
        let mut content = self.0.lock();
        content.owner.get_or_insert_with(|| cx.waker().clone());
        let sessions = std::mem::take(&mut content.sessions);
        drop(content);
        sessions.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
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
    fn the_owner_is_woken_once_for_many_and_each_of_them_is_woken() {
        let (mailbox, owner, session) =
            (Mailbox::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        let (owner_waker, waker) = (Waker::from(owner.clone()), Waker::from(session.clone()));
        let cx = Context::from_waker(&owner_waker);
        // Before the owner has had its first turn.
        mailbox.put(waker.clone());
        assert_eq!((owner.take(), session.take()), (0, 0));
        mailbox.empty(&cx);
        assert_eq!((owner.take(), session.take()), (0, 1));
        for _ in 0..3 {
            (0..10).for_each(|_| mailbox.put(waker.clone()));
            assert_eq!((owner.take(), session.take()), (1, 0));
            mailbox.empty(&cx);
            assert_eq!((owner.take(), session.take()), (0, 10));
        }
    }
}
