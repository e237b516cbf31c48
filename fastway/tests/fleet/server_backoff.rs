//! When a lost gateway is tried again: soon, then less often, never all at once, and the same in each run of one seed.

use super::scripted::*;

/// Whether a wait is one that is drawn after so many failures in a row.
fn fits(wait: Duration, failures: u32) -> bool {
    let Backoff { first, max } = Backoff::default();
    let longest = (first * 2_u32.pow(failures.min(20) - 1)).min(max);
    // The clock of the test has whole milliseconds.
    wait + MS >= longest / 2 && wait <= longest + MS
}

fn gaps(lost: Instant, tries: &[Instant]) -> Vec<Duration> {
    let begins = [lost].into_iter().chain(tries.iter().copied());
    begins.zip(tries).map(|(begun, tried)| *tried - begun).collect()
}

/// When a server tries again that had a link for a while and lost it.
async fn tries_after_loss(seed: u64, times: usize) -> Vec<Duration> {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let _server = start_with(&network, list([A]), config(seed));
    let a = at_a.let_in().await;
    sleep(SECOND * 60).await;
    drop(a);
    let lost = Instant::now();
    gaps(lost, &at_a.hang_up(times).await)
}

#[tokio::test(start_paused = true)]
async fn a_lost_gateway_is_tried_soon_and_then_less_often() {
    let gaps = tries_after_loss(1, 9).await;
    for (failures, gap) in (1..).zip(&gaps) {
        assert!(fits(*gap, failures), "after {failures} failures: {gap:?} of {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn lots_are_drawn_by_the_seed() {
    let first = tries_after_loss(1, 5).await;
    assert_eq!(first, tries_after_loss(1, 5).await);
    assert_ne!(first, tries_after_loss(2, 5).await);
}

/// It closes each link right after it has let the server in: as two servers with one ID do to each other.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_ends_each_link_at_once_is_tried_less_and_less_often() {
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let server = start(&network, list([A]));
    let mut events = server.events();
    for failures in 1..=8 {
        drop(at_a.let_in().await);
        let (_, retry_in, text) = next_trouble(&mut events, A).await;
        assert!(fits(retry_in, failures), "after {failures} failures: {text}");
        assert_eq!(server.status()[0].failures, failures);
    }
    // It is well for longer than the longest wait: that was that.
    let a = at_a.let_in().await;
    sleep(Backoff::default().max).await;
    assert_eq!(server.status()[0].failures, 0);
    drop(a);
    let (_, retry_in, text) = next_trouble(&mut events, A).await;
    assert!(fits(retry_in, 1), "{text}");
    assert_eq!(server.status()[0].failures, 1);
}

/// Many servers lose the same gateway in the same instant, and it does not come back.
#[tokio::test(start_paused = true)]
async fn servers_that_lost_a_gateway_together_do_not_come_back_together() {
    const SERVERS: usize = 100;
    let network = MemoryNetwork::new();
    let mut at_a = Port::bind(&network, A).await;
    let mut servers = Vec::new();
    let mut links = Vec::new();
    for seed in 0..SERVERS {
        servers.push(start_with(&network, list([A]), config(seed as u64)));
        links.push(at_a.let_in().await);
    }
    sleep(SECOND * 60).await;
    drop(links);
    let lost = Instant::now();
    let tries: Vec<_> = at_a.hang_up(SERVERS * 3).await.iter().map(|tried| *tried - lost).collect();
    // The first tries are spread over 100 ms, all in all; the third ones over more than half a second.
    let busiest = tries
        .iter()
        .map(|begun| tries.iter().filter(|tried| (*begun..*begun + MS * 10).contains(tried)).count())
        .max();
    assert!(busiest <= Some(SERVERS / 4), "{busiest:?} tries within 10 ms");
    assert!(tries[0] >= MS * 99 && *tries.last().unwrap() > MS * 800, "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_one_gateway_is_nothing_to_the_others() {
    let network = MemoryNetwork::new();
    let (mut at_a, mut at_b) = (Port::bind(&network, A).await, Port::bind(&network, B).await);
    let server = start(&network, list([A, B]));
    let (mut a, b) = tokio::join!(at_a.let_in(), at_b.let_in());
    a.connect(1, 1).await;
    a.send(1, b"hello").await;
    let (mut conn, _) = accept_one(&server).await;
    drop((b, at_b));
    sleep(HOUR).await;
    conn.send("still here").await.unwrap();
    a.expect_message(1, b"still here").await;
    let mut at_b = Port::bind(&network, B).await;
    let begun = Instant::now();
    let _b = at_b.let_in().await;
    assert!(begun.elapsed() <= Backoff::default().max);
    at_a.expect_nobody().await;
}
