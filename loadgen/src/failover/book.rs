//! Where everybody notes what they saw, while it happens. Each virtual connection (*lane*) has a page of its own: what it
//! waits for, and since when it is without service.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use super::message::Question;
use super::plan::FailoverPlan;
use super::record::{Mark, Outage, Record, bin_of};
use super::troubles::Troubles;
use crate::clock::{Clock, Nanos, nanos};

/// What all of a run share, whoever ends first: what is noted when the record was taken is in no record, and does no harm.
#[derive(Debug)]
pub(super) struct Book {
    clock: Clock,
    pages: Mutex<Pages>,
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    /// How long everybody has talked.
    pub(super) elapsed: Duration,
    /// Virtual connections that were answered at least once.
    pub(super) answered_once: usize,
    /// Virtual connections that wait for longer than they should.
    pub(super) without_service: usize,
    /// Counters until now.
    pub(super) answered: u64,
    /// See `answered`.
    pub(super) outages: usize,
    /// See `answered`.
    pub(super) lost: u64,
}

impl Book {
    pub(super) fn new(plan: &FailoverPlan) -> Self {
        Self { clock: Clock::start(), pages: Mutex::new(Pages::new(plan)) }
    }

    /// This virtual connection is there, for the first time or again: what it says next begins a new conversation.
    pub(super) fn opened(&self, lane: usize, gateway: &str) {
        self.pages.lock().opened(lane, gateway);
    }

    /// It was lost, and what it waited for will not come.
    pub(super) fn lost(&self, lane: usize) {
        self.pages.lock().lost(lane);
    }

    /// The next question, which was due so long ago. [`unsaid`](Self::unsaid) takes it back.
    pub(super) fn ask(&self, lane: usize, late: Duration) -> Vec<u8> {
        self.pages.lock().ask(lane, late, self.clock.now())
    }

    /// The last question was not sent: there is no connection.
    pub(super) fn unsaid(&self, lane: usize) {
        self.pages.lock().unsaid(lane);
    }

    /// So many questions were due while there was no connection.
    pub(super) fn missed(&self, lane: usize, questions: u64) {
        self.pages.lock().missed(lane, questions);
    }

    /// An answer came.
    pub(super) fn answered(&self, lane: usize, message: &[u8]) {
        self.pages.lock().answered(lane, message, self.clock.now());
    }

    /// A client was connected to a gateway.
    pub(super) fn connected(&self, gateway: &str) {
        let now = self.clock.now();
        let mut pages = self.pages.lock();
        let gateway = pages.gateway(gateway);
        pages.record.connects.push((now, gateway));
    }

    /// The library, or an endpoint, said something of a gateway.
    pub(super) fn trouble(&self, text: &str) {
        let now = self.clock.now();
        self.pages.lock().troubles.note(text, now);
    }

    /// What times are measured by.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Somebody said something.
    pub(super) fn mark(&self, mark: Mark) {
        self.pages.lock().record.marks.push(mark);
    }

    /// Why there is nothing to measure.
    pub(super) fn fail(&self, failure: String) {
        self.pages.lock().record.failure.get_or_insert(failure);
    }

    /// A signal came. Whether it was not the first.
    pub(super) fn interrupt(&self, signal: i32) -> bool {
        self.pages.lock().record.interrupted.replace(signal).is_some()
    }

    /// Everybody talks: what is noted from now on counts.
    pub(super) fn begin(&self) {
        self.pages.lock().begin(self.clock.now());
    }

    /// Nobody asks any more, from now on.
    pub(super) fn end(&self) {
        self.pages.lock().ended = Some(self.clock.now());
    }

    /// Whether nobody asks any more.
    pub(super) fn is_over(&self) -> bool {
        self.pages.lock().ended.is_some()
    }

    /// Whether somebody still waits for an answer.
    pub(super) fn has_open(&self) -> bool {
        self.pages.lock().lanes.iter().any(|lane| !lane.open.is_empty())
    }

    /// How it goes.
    pub(super) fn glance(&self) -> Glance {
        self.pages.lock().glance(self.clock.now())
    }

    /// What was seen until now.
    pub(super) fn record(&self) -> Record {
        self.pages.lock().record(self.clock.now())
    }
}

/// The pages. Times are the clock's.
#[derive(Debug, Default)]
struct Pages {
    record: Record,
    /// The addresses of its gateways.
    addrs: Vec<String>,
    troubles: Troubles,
    lanes: Vec<Lane>,
    conns_per_client: usize,
    message_bytes: usize,
    stall: Nanos,
    begun: Option<Nanos>,
    ended: Option<Nanos>,
}

/// One virtual connection.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// How often it was dialled.
    life: u32,
    /// The number of its next question.
    next: u64,
    /// What waits for its answer: the number, and when it was asked.
    open: VecDeque<(u64, Nanos)>,
    gateway: usize,
    /// The last answer, and through which gateway it came.
    last: Option<(Nanos, usize)>,
    /// It was lost since then.
    broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Broken {
    lost: u64,
    unsent: u64,
}

impl Pages {
    fn new(plan: &FailoverPlan) -> Self {
        let (addrs, gateways): (Vec<_>, Vec<_>) = plan.known().into_iter().unzip();
        let answers = vec![Vec::new(); gateways.len()];
        Self {
            record: Record { gateways, answers, ..Record::default() },
            addrs,
            lanes: vec![Lane::default(); plan.conns()],
            conns_per_client: plan.conns_per_client,
            message_bytes: plan.message_bytes,
            stall: nanos(plan.stall),
            ..Self::default()
        }
    }

    /// The place of a gateway among all that were seen.
    fn gateway(&mut self, addr: &str) -> usize {
        self.addrs.iter().position(|known| known == addr).unwrap_or_else(|| {
            self.addrs.push(addr.to_owned());
            self.record.gateways.push(addr.to_owned());
            self.record.answers.push(Vec::new());
            self.addrs.len() - 1
        })
    }

    fn opened(&mut self, lane: usize, gateway: &str) {
        if self.lanes[lane].life > 0 {
            self.lost(lane);
        }
        let gateway = self.gateway(gateway);
        let lane = &mut self.lanes[lane];
        (lane.life, lane.gateway) = (lane.life + 1, gateway);
    }

    /// Twice is once.
    fn lost(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        self.record.counts.lost_conns += u64::from(lane.broken.is_none());
        let broken = lane.broken.get_or_insert_default();
        let lost = lane.open.drain(..).count() as u64;
        broken.lost += lost;
        self.record.counts.lost += lost;
    }

    fn ask(&mut self, lane: usize, late: Duration, now: Nanos) -> Vec<u8> {
        let page = &mut self.lanes[lane];
        let question = Question { lane: lane as u32, life: page.life, number: page.next };
        page.open.push_back((page.next, now));
        page.next += 1;
        self.record.counts.asked += 1;
        self.record.lag.record(nanos(late));
        question.encode(self.message_bytes)
    }

    /// What is open now was lost; but the last of it never was on its way.
    fn unsaid(&mut self, lane: usize) {
        self.lanes[lane].open.pop_back();
        self.record.counts.asked -= 1;
        self.lost(lane);
        self.missed(lane, 1);
    }

    fn missed(&mut self, lane: usize, questions: u64) {
        self.record.counts.unsent += questions;
        if let Some(broken) = &mut self.lanes[lane].broken {
            broken.unsent += questions;
        }
    }

    fn answered(&mut self, lane: usize, message: &[u8], now: Nanos) {
        let page = &mut self.lanes[lane];
        let expected = page.open.front().map(|(number, _)| Question {
            lane: lane as u32,
            life: page.life,
            number: *number,
        });
        let answer = Question::decode(message);
        if answer.is_none() || answer != expected {
            let (count, first) = &mut self.record.wrong;
            if *count == 0 {
                let expected =
                    expected.map_or_else(|| "nothing was asked".to_owned(), |it| format!("{it:?}"));
                let came = answer.map_or_else(|| "something damaged".to_owned(), |it| format!("{it:?}"));
                *first = format!("{expected}, but {came} came");
            }
            *count += 1;
            return;
        }
        let Some((_, asked)) = page.open.pop_front() else { return };
        let waited = now - asked;
        self.record.response.record(waited);
        self.record.counts.answered += 1;
        let broken = page.broken.take();
        if let Some((from_ns, before)) = page.last
            && (broken.is_some() || waited > self.stall)
        {
            let was_lost = broken.is_some();
            let Broken { lost, unsent } = broken.unwrap_or_default();
            self.record.outages.push(Outage {
                lane,
                client: lane / self.conns_per_client,
                from_ns,
                to_ns: Some(now),
                was_lost,
                lost,
                unsent,
                before,
                after: Some(page.gateway),
            });
        }
        page.last = Some((now, page.gateway));
        if let Some(begun) = self.begun
            && self.ended.is_none()
        {
            let answers = &mut self.record.answers[page.gateway];
            let bin = bin_of(now - begun);
            if answers.len() <= bin {
                answers.resize(bin + 1, 0);
            }
            answers[bin] += 1;
        }
    }

    fn begin(&mut self, now: Nanos) {
        self.begun = Some(now);
        self.record.early.lost_conns = self.record.counts.lost_conns;
    }

    /// Who is late is without service, whether it was found out already or not.
    fn glance(&self, now: Nanos) -> Glance {
        let late = |lane: &&Lane| {
            lane.broken.is_some() || lane.open.front().is_some_and(|(_, asked)| now - asked > self.stall)
        };
        Glance {
            elapsed: self.begun.map_or(Duration::ZERO, |begun| Duration::from_nanos(now - begun)),
            answered_once: self.lanes.iter().filter(|lane| lane.last.is_some()).count(),
            without_service: self.lanes.iter().filter(late).count(),
            answered: self.record.counts.answered,
            outages: self.record.outages.len(),
            lost: self.record.counts.lost,
        }
    }

    fn record(&self, now: Nanos) -> Record {
        let ended = self.ended.unwrap_or(now);
        let mut record = Record { troubles: self.troubles.all(), ..self.record.clone() };
        for (number, page) in self.lanes.iter().enumerate() {
            record.counts.open += page.open.len() as u64;
            let is_late = page.open.front().is_some_and(|(_, asked)| now.saturating_sub(*asked) > self.stall);
            if let Some((from_ns, before)) = page.last
                && (page.broken.is_some() || is_late)
            {
                let Broken { lost, unsent } = page.broken.unwrap_or_default();
                record.outages.push(Outage {
                    lane: number,
                    client: number / self.conns_per_client,
                    from_ns,
                    to_ns: None,
                    was_lost: page.broken.is_some(),
                    lost,
                    unsent,
                    before,
                    after: None,
                });
            }
        }
        let begun = self.begun.unwrap_or(ended);
        record.length_ns = ended - begun;
        since(record, begun)
    }
}

/// With times from then on, without what was before.
fn since(mut record: Record, begun: Nanos) -> Record {
    record.outages.retain_mut(|outage| {
        let is_since = outage.from_ns >= begun;
        outage.from_ns = outage.from_ns.saturating_sub(begun);
        outage.to_ns = outage.to_ns.map(|to| to.saturating_sub(begun));
        is_since
    });
    record.connects.retain_mut(|(at, _)| {
        let is_since = *at >= begun;
        *at = at.saturating_sub(begun);
        is_since
    });
    let early = record.marks.extract_if(.., |mark| mark.at_ns < begun);
    record.early.marks = early.map(|mark| mark.text).collect();
    for mark in &mut record.marks {
        mark.at_ns -= begun;
    }
    for trouble in &mut record.troubles {
        trouble.first_ns = trouble.first_ns.saturating_sub(begun);
        trouble.last_ns = trouble.last_ns.saturating_sub(begun);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::super::plan::Gateway;
    use super::super::record::Early;
    use super::*;
    use crate::clock::MILLI;
    use crate::plan::Target;

    /// Two clients with two virtual connections each.
    fn pages() -> Pages {
        let plan = FailoverPlan { clients: 2, conns_per_client: 2, ..FailoverPlan::default() };
        let mut pages = Pages::new(&plan);
        pages.begun = Some(0);
        pages
    }

    fn ask(pages: &mut Pages, lane: usize, at_ms: u64) -> Vec<u8> {
        pages.ask(lane, Duration::ZERO, at_ms * MILLI)
    }

    #[test]
    fn an_outage_is_from_the_last_answer_before_to_the_first_one_after() {
        let mut pages = pages();
        pages.opened(3, "a");
        let question = ask(&mut pages, 3, 100);
        pages.answered(3, &question, 101 * MILLI);
        ask(&mut pages, 3, 200);
        ask(&mut pages, 3, 300);
        ask(&mut pages, 3, 400);
        pages.unsaid(3);
        pages.missed(3, 2);
        pages.opened(3, "b");
        let question = ask(&mut pages, 3, 700);
        pages.answered(3, &question, 702 * MILLI);
        let record = pages.record(1000 * MILLI);
        let expected = Outage {
            lane: 3,
            client: 1,
            from_ns: 101 * MILLI,
            to_ns: Some(702 * MILLI),
            was_lost: true,
            lost: 2,
            unsent: 3,
            before: 0,
            after: Some(1),
        };
        assert_eq!(record.outages, [expected]);
        let counts = record.counts;
        assert_eq!((counts.asked, counts.answered, counts.lost, counts.unsent), (4, 2, 2, 3));
        assert_eq!((counts.open, counts.lost_conns), (0, 1));
        assert_eq!(record.answers, [vec![0, 1], vec![0, 0, 0, 0, 0, 0, 0, 1]]);
    }

    #[test]
    fn who_waited_for_long_was_without_service_though_nothing_was_lost() {
        let mut pages = pages();
        pages.opened(0, "a");
        for (asked_ms, answered_ms) in [(0, 5), (200, 1200), (1300, 2301)] {
            let question = ask(&mut pages, 0, asked_ms);
            pages.answered(0, &question, answered_ms * MILLI);
        }
        let record = pages.record(3000 * MILLI);
        let [outage] = &record.outages[..] else { panic!("one outage: {:?}", record.outages) };
        assert_eq!((outage.from_ns, outage.to_ns), (1200 * MILLI, Some(2301 * MILLI)));
        assert!(!outage.was_lost && outage.lost == 0);
    }

    #[test]
    fn who_never_came_back_is_in_the_record() {
        let mut pages = pages();
        for lane in 0..3 {
            pages.opened(lane, "a");
            let question = ask(&mut pages, lane, 10);
            pages.answered(lane, &question, 11 * MILLI);
        }
        pages.lost(0);
        ask(&mut pages, 1, 500);
        ask(&mut pages, 2, 2900);
        assert_eq!(pages.glance(3000 * MILLI).without_service, 2, "the third one does not wait for long");
        let record = pages.record(3000 * MILLI);
        let lanes: Vec<_> = record.outages.iter().map(|outage| (outage.lane, outage.to_ns)).collect();
        assert_eq!(lanes, [(0, None), (1, None)]);
        assert_eq!(record.counts.open, 2);
    }

    #[test]
    fn what_was_before_everybody_talked_does_not_count() {
        let mut pages = pages();
        pages.begun = None;
        pages.opened(0, "a");
        for (asked_ms, answered_ms) in [(0, 5), (10, 2000)] {
            let question = ask(&mut pages, 0, asked_ms);
            pages.answered(0, &question, answered_ms * MILLI);
        }
        pages.lost(0);
        pages.record.connects = vec![(MILLI, 0), (2500 * MILLI, 0)];
        let mark = |at_ms: u64, text: &str| Mark { at_ns: at_ms * MILLI, text: text.to_owned() };
        pages.record.marks = vec![mark(2000, "killed"), mark(2200, "back")];
        pages.begin(2100 * MILLI);
        pages.ended = Some(2600 * MILLI);
        let record = pages.record(3000 * MILLI);
        assert_eq!((record.outages.len(), &record.connects[..]), (0, &[(400 * MILLI, 0)][..]));
        assert_eq!((record.length_ns, &record.answers[0][..]), (500 * MILLI, &[][..]));
        assert_eq!(record.marks, [mark(100, "back")]);
        assert_eq!(record.early, Early { marks: vec!["killed".to_owned()], lost_conns: 1 });
    }

    #[test]
    fn who_still_talks_when_the_record_is_taken_does_no_harm() {
        let plan = FailoverPlan { clients: 2, ..FailoverPlan::default() };
        let book = Book::new(&plan);
        book.opened(1, "a");
        book.begin();
        let question = book.ask(1, Duration::ZERO);
        book.end();
        let record = book.record();
        assert!(book.is_over(), "nobody asks again");
        book.answered(1, &question);
        book.ask(1, Duration::ZERO);
        book.unsaid(1);
        book.missed(0, 1);
        book.opened(0, "b");
        book.connected("c");
        book.lost(1);
        assert_eq!((record.counts.open, record.counts.answered, record.gateways.len()), (1, 0, 1));
    }

    #[test]
    fn a_gateway_that_is_listed_twice_is_one_and_has_its_name() {
        let gateway = |name: Option<&str>, addr: &str| Gateway {
            name: name.map(str::to_owned),
            target: Target { client_addr: addr.to_owned(), server_addr: addr.to_owned() },
        };
        let targets = vec![
            gateway(Some("gw1"), "127.0.0.1:7010"),
            gateway(None, "127.0.0.1:7010"),
            gateway(None, "GW2:7010"),
            gateway(None, "gw2:7010"),
        ];
        let mut pages = Pages::new(&FailoverPlan { targets, ..FailoverPlan::default() });
        let places = ["127.0.0.1:7010", "gw2:7010", "10.0.0.9:7010"].map(|addr| pages.gateway(addr));
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(pages.record(0).gateways, ["gw1", "gw2:7010", "10.0.0.9:7010"]);
    }

    #[test]
    fn wrong_answers_are_found() {
        type Change = fn(&mut Vec<u8>);
        let changes: [Change; 4] = [
            |message| message[0] ^= 1,
            |message| message[4] ^= 1,
            |message| message[8] ^= 1,
            |message| message.truncate(10),
        ];
        for change in changes {
            let mut pages = pages();
            pages.opened(0, "a");
            let mut message = ask(&mut pages, 0, 0);
            change(&mut message);
            pages.answered(0, &message, MILLI);
            assert_eq!((pages.record.wrong.0, pages.record.counts.answered), (1, 0));
        }
        let mut pages = pages();
        pages.opened(0, "a");
        let (first, second) = (ask(&mut pages, 0, 0), ask(&mut pages, 0, 0));
        pages.answered(0, &second, MILLI);
        pages.answered(0, &first, MILLI);
        pages.answered(0, &first, MILLI);
        assert_eq!(pages.record.wrong.0, 2, "overtaken, and twice");
    }
}
