//! No allocation per message in steady state: of the whole process, which plays servers, clients, and a gateway that does
//! nothing.

use std::alloc::System;
use std::time::Duration;

use fastway::net::TcpNetwork;
use fastway_loadgen::floor::Floor;
use fastway_loadgen::run::{Observer, run};
use fastway_loadgen::{ArrivalKind, Interval, Load, Plan, Sizes, Stage};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Notes, at the end of each interval, how often memory was allocated until then, and how many echoes have come.
#[derive(Default)]
struct Counter {
    echoes: u64,
    seen: Vec<(usize, u64)>,
}

impl Observer for Counter {
    fn stage(&mut self, _: &str) {}

    fn interval(&mut self, _: Duration, interval: &Interval) {
        self.echoes += interval.tally.received;
        let stats = ALLOCATOR.stats();
        self.seen.push((stats.allocations + stats.reallocations, self.echoes));
    }
}

#[test]
fn messages_cost_no_allocation() {
    let target = Floor::start().unwrap();
    let rate = Stage { duration: Duration::from_secs(3), from: 5000.0, to: 5000.0 };
    for load in
        [Load::Closed { inflight: 4 }, Load::Open { stages: vec![rate], arrivals: ArrivalKind::Poisson }]
    {
        let plan = Plan {
            targets: vec![target.clone()],
            clients: 10,
            conns_per_client: 2,
            load,
            sizes: Sizes::Uniform(16, 1024),
            warm_up: Duration::ZERO,
            duration: Some(Duration::from_secs(3)),
            interval: Duration::from_millis(500),
            ..Plan::default()
        };
        let mut counter = Counter::default();
        let results = run(&plan, vec![TcpNetwork::new()], &mut counter).unwrap();
        assert!(results.there.is_clean() && results.back.is_clean(), "{results:?}");
        // Buffers grow to their size in the first interval. What the end costs is counted too, once: threads may begin with it
        // before anybody hears that the last interval is over.
        let [(from, before), .., (to, after)] = counter.seen[..] else { panic!("{:?}", counter.seen) };
        let (allocations, echoes) = (to - from, after - before);
        assert!(echoes > 5000, "{:?}", counter.seen);
        let each = allocations as f64 / echoes as f64;
        assert!(each < 0.02, "{allocations} allocations for {echoes} messages: {:?}", counter.seen);
    }
}
