//! A run from its beginning to its end.

use std::io::{self, Write as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::book::Book;
use super::live::Live;
use super::marks::Marks;
use super::panics::Panics;
use super::plan::{FailoverPlan, Play};
use super::record::Record;
use super::sides::{Servers, start_clients};
use crate::run::Signals;

/// How often it is looked whether it is over, and whether somebody said something.
const LOOK: Duration = Duration::from_millis(50);

/// Carries a plan out, on this thread. Ends after its duration, or at the end of the marks if it has none, or with SIGINT or
/// SIGTERM: then with a report all the same. A second signal ends the process.
///
/// With marks, a line `ready` on standard output says that everybody talks.
///
/// # Errors
///
/// If the operating system refuses timers or signals. What goes wrong with gateways is part of what is returned.
pub fn run(plan: &FailoverPlan, quiet: bool) -> io::Result<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lead(plan, quiet))
}

async fn lead(plan: &FailoverPlan, quiet: bool) -> io::Result<Record> {
    let book = Arc::new(Book::new(plan));
    let leader = Leader {
        plan: Arc::new(plan.clone()),
        signals: Signals::new()?,
        panics: Panics::watch(),
        live: Live::new(quiet, plan.duration),
        marks: plan.marks.then(|| Marks::read(book.clock())),
        book,
    };
    Ok(leader.lead().await)
}

/// Who leads a run.
struct Leader {
    plan: Arc<FailoverPlan>,
    book: Arc<Book>,
    signals: Signals,
    panics: Panics,
    live: Live,
    marks: Option<Marks>,
}

impl Leader {
    async fn lead(mut self) -> Record {
        let servers = match self.plan.play {
            Play::Clients => None,
            Play::Both | Play::Servers => match Servers::start(&self.plan, &self.book) {
                Ok(servers) => Some(servers),
                Err(error) => {
                    self.book.fail(error.to_string());
                    return self.book.record();
                }
            },
        };
        let goes_on = match &servers {
            Some(servers) => self.servers_are_ready(servers).await,
            None => true,
        };
        let clients = match self.plan.play {
            Play::Both | Play::Clients if goes_on => Some(start_clients(&self.plan, &self.book)),
            _ => None,
        };
        if goes_on && (clients.is_none() || self.everybody_talks().await) {
            self.book.begin();
            self.tell_ready();
            self.watch().await;
            self.book.end();
            if clients.is_some() {
                self.await_open().await;
            }
        }
        let mut record = self.book.record();
        self.live.finish();
        drop(clients);
        if let Some(servers) = servers {
            servers.close(self.plan.grace).await;
        }
        if let Some(panic) = self.panics.first() {
            record.failure.get_or_insert(panic);
        }
        record
    }

    /// Waits until servers are linked, but not for ever: clients say better what is wrong. `false`: it is over.
    async fn servers_are_ready(&mut self, servers: &Servers) -> bool {
        self.live.stage("servers connect".to_owned());
        let (mut ready, deadline) = (pin!(servers.ready()), Instant::now() + self.plan.give_up);
        while Instant::now() < deadline && timeout(Duration::ZERO, &mut ready).await.is_err() {
            if self.look().await {
                return false;
            }
        }
        true
    }

    /// Waits until every virtual connection was answered once. `false`: it will not come to that.
    async fn everybody_talks(&mut self) -> bool {
        let (all, deadline) = (self.plan.conns(), Instant::now() + self.plan.give_up);
        loop {
            let there = self.book.glance().answered_once;
            self.live.stage(format!("{there} of {all} virtual connections were answered"));
            if there == all {
                return true;
            }
            if self.look().await {
                return false;
            }
            if Instant::now() > deadline {
                let time = self.plan.give_up;
                self.book.fail(format!(
                    "only {there} of {all} virtual connections had an answer within {time:?}; see what is said of gateways"
                ));
                return false;
            }
        }
    }

    /// Until it is over.
    async fn watch(&mut self) {
        let end = self.plan.duration.map(|duration| Instant::now() + duration);
        while end.is_none_or(|end| Instant::now() < end) {
            if self.look().await || (end.is_none() && self.plan.marks && self.marks.is_none()) {
                return;
            }
            self.live.show(self.book.glance());
        }
    }

    async fn await_open(&mut self) {
        self.live.stage("waiting for what is open".to_owned());
        let deadline = Instant::now() + self.plan.grace;
        while self.book.has_open() && Instant::now() < deadline && !self.look().await {}
    }

    /// Lets a little time pass. Whether it is over: something panicked, or a signal has come.
    async fn look(&mut self) -> bool {
        sleep(LOOK).await;
        if let Some(panic) = self.panics.first() {
            self.book.fail(panic);
            return true;
        }
        if let Some(marks) = &mut self.marks
            && !marks.take(|mark| self.book.mark(mark))
        {
            self.marks = None;
        }
        let Some(signal) = self.signals.poll() else { return false };
        if self.book.interrupt(signal) {
            std::process::exit(128 + signal);
        }
        true
    }

    fn tell_ready(&self) {
        if self.plan.marks {
            // If nobody reads it, nobody waits for it.
            let _ = writeln!(io::stdout(), "ready").and_then(|()| io::stdout().flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::sample;
    use super::*;
    use crate::plan::Target;

    /// Whichever task: this one is not the tool's own, as the library's are not.
    #[test]
    fn a_task_that_panics_fails_the_run_at_once() {
        let addr = "127.0.0.1:1".to_owned();
        let nobody = Target { client_addr: addr.clone(), server_addr: addr }.into();
        let plan =
            FailoverPlan { targets: vec![nobody], play: Play::Servers, duration: None, ..sample::plan() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let record = runtime.block_on(async {
            tokio::spawn(async { panic!("a task ends here") });
            timeout(Duration::from_secs(60), lead(&plan, true)).await.expect("it is over").unwrap()
        });
        let failure = record.failure.expect("it failed");
        assert!(failure.contains("panicked at") && failure.contains("a task ends here"), "{failure}");
    }
}
