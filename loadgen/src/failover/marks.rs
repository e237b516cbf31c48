//! What somebody says while it goes on, a line each on standard input: `(sleep 20; ssh gw1 …; echo gw1 killed) | loadgen …`.

use std::io::BufRead as _;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::record::Mark;
use crate::clock::Clock;

/// The lines that come.
#[derive(Debug)]
pub(super) struct Marks(UnboundedReceiver<Mark>);

impl Marks {
    /// Begins to read.
    #[expect(
        clippy::disallowed_methods,
        reason = "reading from standard input stops the thread that does it"
    )]
    pub(super) fn read(clock: Clock) -> Self {
        let (lines, marks) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let mark = Mark { at_ns: clock.now(), text: line.trim().to_owned() };
                if !mark.text.is_empty() && lines.send(mark).is_err() {
                    return;
                }
            }
        });
        Self(marks)
    }

    /// What was said, and whether more can come.
    pub(super) fn take(&mut self, mut note: impl FnMut(Mark)) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(mark) => note(mark),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}
