//! A server is killed, a gateway is, another one is cut off, one drains, all are killed: on hosts of their own, with the real
//! programs. The short version of the bench `failover`, whose network, programs and steps these are; it asks whether everybody is
//! served again, and leaves the exact times to the bench and a quiet machine.
//!
//! Where network namespaces cannot be made it is skipped, with a line that says so.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test says what it skips, and processes live on the machine's real time and threads"
)]

#[path = "../../benches/common/hosts.rs"]
mod hosts;
#[path = "../../benches/common/interrupt.rs"]
mod interrupt;
#[path = "../../benches/failover/judge.rs"]
mod judge;
mod judging;
#[path = "../../benches/common/started.rs"]
mod started;
#[path = "../../benches/failover/steps.rs"]
mod steps;
#[path = "../../benches/failover/tool.rs"]
mod tool;
#[path = "../../benches/failover/world.rs"]
mod world;

use std::time::Duration;

use crate::judge::Wanted;
use crate::world::{Places, Setup, World};

const DETECTION: Duration = Duration::from_secs(1);

#[test]
fn clients_find_another_gateway_and_their_server_again() {
    let places = match Places::make() {
        Ok(places) => places,
        Err(error) => {
            println!("skipped: {error:#}");
            return;
        }
    };
    let setup = Setup {
        gateway: env!("CARGO_BIN_EXE_gateway").into(),
        tool_args: &["--exact", "the_tool_for_the_other_test", "--ignored", "--nocapture"],
        clients: 60,
        servers: 2,
        pace: Duration::from_millis(200),
        detection: DETECTION,
        spread: Duration::from_millis(500),
        accept_rate: 1000,
        drain_timeout: Duration::from_millis(500),
        drain_spread: Duration::from_secs(1),
        svg: None,
    };
    interrupt::watch().unwrap();
    let mut world = World::start(setup, places).unwrap();
    steps::take_all(&mut world, DETECTION, |_| ()).unwrap();
    let report = world.end().unwrap();
    // Bounds for a machine that does other things too.
    let wanted = Wanted {
        seen: Duration::from_secs(3),
        detection: DETECTION,
        server: Duration::from_secs(3),
        connects_per_s: 1000,
    };
    let outcomes: Vec<_> = steps::ALL.iter().map(|step| wanted.judge(*step, &report)).collect();
    judge::print(&outcomes, &report);
    for outcome in &outcomes {
        assert!(
            outcome.hit > 0 && outcome.missed().next().is_none(),
            "{outcome:#?}\n{:#}",
            report["failures"]
        );
    }
    assert_eq!(report["reasons"]["integrity"], serde_json::json!([]));
}

#[test]
#[ignore = "it is a process that the other test starts"]
fn the_tool_for_the_other_test() {
    tool::be();
}
