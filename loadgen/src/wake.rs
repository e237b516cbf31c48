//! Who has something to do: one waker for each link, one list for all links of a thread.
//!
//! A thread's links are not tasks. They are polled by the thread's one future, which owns them all: so it can write to any
//! of them, in one turn with the schedule, without a lock and without waking a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// The links of one thread that were woken.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    woken: Mutex<Woken>,
}

#[derive(Debug, Default)]
struct Woken {
    links: Vec<u32>,
    thread: Option<Waker>,
}

/// Wakes one link.
#[derive(Debug)]
struct LinkWaker {
    link: u32,
    /// It is in the list already.
    listed: AtomicBool,
    ready: Arc<Ready>,
}

/// The waker of one link, and what takes the link off the list again.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    link: Arc<LinkWaker>,
    waker: Waker,
}

impl Ready {
    /// A waker for the link of this number.
    pub(crate) fn alert(self: &Arc<Self>, link: u32) -> Alert {
        let link = Arc::new(LinkWaker { link, listed: AtomicBool::new(false), ready: self.clone() });
        Alert { waker: Waker::from(link.clone()), link }
    }

    /// Moves the list of woken links into `links`, which is empty; from now on `thread` is woken with the first one.
    pub(crate) fn take(&self, links: &mut Vec<u32>, thread: &Waker) {
        let mut woken = self.woken.lock();
        std::mem::swap(&mut woken.links, links);
        if !woken.thread.as_ref().is_some_and(|known| known.will_wake(thread)) {
            woken.thread = Some(thread.clone());
        }
    }
}

impl Alert {
    /// To poll the link's stream with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The link is about to be polled: what wakes it from now on lists it again.
    pub(crate) fn begin_turn(&self) {
        self.link.listed.store(false, Ordering::Release);
    }

    /// Lists the link.
    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }
}

impl Wake for LinkWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = self.ready.woken.lock();
        woken.links.push(self.link);
        // The first one is enough; whoever takes the list takes all.
        if woken.links.len() == 1
            && let Some(thread) = &woken.thread
        {
            thread.wake_by_ref();
        }
    }
}
