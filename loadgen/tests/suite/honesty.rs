//! Nothing is hidden: neither a stall of the target, nor one of the tool, nor what never came back.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{GatewayProcess, Tool, let_pass};

const LOAD: [&str; 8] = ["-R", "1k", "-w", "0s", "-c", "2", "--conns", "2"];

/// Stops whoever `signal` reaches. For how long it was.
fn stop_for(time: Duration, signal: impl Fn(Signal)) -> Duration {
    let begun = Instant::now();
    signal(Signal::STOP);
    let_pass(time);
    signal(Signal::CONT);
    begun.elapsed()
}

/// Whoever is due `x` into a stall of `S` waits for `S - x`. At a constant rate, the longest hundredth of a run of `T` waits for
/// more than `S - T / 100`.
#[test]
fn a_stall_of_the_target_gives_the_p99_that_arithmetic_predicts() {
    const RUN: Duration = Duration::from_secs(5);
    let gateway = GatewayProcess::start();
    let mut tool = Tool::start(&[&["run", &gateway.target, "-d", "5s"], &LOAD[..]].concat());
    tool.until_at_work(5);
    let stall = stop_for(Duration::from_millis(500), |signal| gateway.signal(signal));
    let ended = tool.end();
    ended.all_came_back();
    assert_eq!(ended.number("/counts/measured_due"), 5000, "{}", ended.tale());
    let p99 = ended.number("/times/response/p99_ns") as f64 / 1e9;
    let predicted = (stall - RUN / 100).as_secs_f64();
    // On a busy machine there is more to wait for than this stall: the tool says how late it was itself.
    let lag = ended.number("/generator/lag_max_ns") as f64 / 1e9;
    let off_by = (p99 - predicted).abs();
    let tale = ended.tale();
    assert!(off_by < predicted * 0.05 + lag, "p99 is {p99} s, predicted were {predicted} s\n{tale}");
}

#[test]
fn a_tool_that_was_stopped_says_that_its_numbers_are_invalid() {
    let gateway = GatewayProcess::start();
    let mut tool = Tool::start(&[&["run", &gateway.target, "-d", "3s"], &LOAD[..]].concat());
    tool.until_at_work(3);
    stop_for(Duration::from_millis(200), |signal| tool.signal(signal));
    let ended = tool.end();
    assert_eq!(ended.code, Some(5), "{}", ended.tale());
    assert!(ended.says("stood still for") && ended.says("INVALID"), "{}", ended.tale());
    assert!(ended.number("/generator/threads/0/stood_still_ns") >= 150_000_000, "{}", ended.tale());
    ended.all_came_back();
}

/// What was due while the tool did not look counts, also if the time was up when it looked again.
#[test]
fn what_was_due_while_the_tool_was_stopped_over_the_end_is_not_forgotten() {
    let gateway = GatewayProcess::start();
    let load = ["-R", "10k", "-w", "0s", "-c", "2", "--conns", "2", "-d", "4s"];
    let mut tool = Tool::start(&[&["run", &gateway.target], &load[..]].concat());
    // Early enough to be in time on a busy machine, and for long enough to be over the end.
    tool.until_at_work(5);
    stop_for(Duration::from_secs(4), |signal| tool.signal(signal));
    let ended = tool.end();
    assert_eq!(ended.code, Some(5), "{}", ended.tale());
    assert!(ended.says("stood still for"), "{}", ended.tale());
    assert_eq!(ended.number("/counts/measured_due"), 40_000, "{}", ended.tale());
    ended.is_clean();
}

#[test]
fn what_never_comes_back_counts_with_its_age() {
    let gateway = GatewayProcess::start();
    let args = [&["run", &gateway.target, "-d", "3s", "--grace", "1s"], &LOAD[..]].concat();
    let mut tool = Tool::start(&args);
    tool.until_at_work(5);
    let stopped = Instant::now();
    gateway.signal(Signal::STOP);
    let ended = tool.end();
    let stall = stopped.elapsed();
    assert!(stall < Duration::from_secs(15), "it took {stall:?}");
    assert_eq!(ended.code, Some(5), "{}", ended.tale());
    assert!(ended.number("/counts/censored") > 500, "{}", ended.tale());
    assert_eq!(
        ended.number("/counts/measured_due"),
        ended.number("/times/response/count") + ended.number("/counts/not_sent"),
        "each message that was due is in the histogram\n{}",
        ended.tale()
    );
    // The first message of the stall is as old as the stall, but for the time that the process needs to end.
    let oldest = Duration::from_nanos(ended.number("/times/response/max_ns"));
    assert!(oldest > stall * 4 / 5 && oldest > Duration::from_secs(1), "{oldest:?} of {stall:?}");
    ended.is_clean();
    assert!(ended.number("/integrity/back/open") >= ended.number("/counts/censored"));
}
