//! SRV records, asked of name servers of the test's own, on the real clock: there are sockets in between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod name_server;

use std::io;
use std::time::Duration;

use fastway::fleet::{DnsResolver, Event, FleetConfig, Gateways, Resolve as _, Server};
use fastway::id::ServerId;
use fastway::net::MemoryNetwork;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use self::name_server::{Answer, NameServer, srv};

const SERVICE: &str = "_servers._tcp.gateways.test";

/// As the resolver has it: one name server has this time for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

fn sorted(mut addrs: Vec<String>) -> Vec<String> {
    addrs.sort();
    addrs
}

fn resolver<'a>(name_servers: impl IntoIterator<Item = &'a NameServer>) -> DnsResolver {
    DnsResolver::of(name_servers.into_iter().map(NameServer::addr)).unwrap()
}

async fn resolve(name_server: &NameServer, name: &str) -> io::Result<Vec<String>> {
    resolver([name_server]).resolve(name).await
}

#[tokio::test]
async fn a_service_has_hosts_and_ports() {
    let name_server = NameServer::start().await;
    let records = [srv(10, 7020, "gateway-0.gateways.test"), srv(20, 7120, "gateway-1.gateways.test")];
    name_server.set(SERVICE, Answer::Records(records.into()));
    let found = resolve(&name_server, SERVICE).await.unwrap();
    assert_eq!(sorted(found), ["gateway-0.gateways.test:7020", "gateway-1.gateways.test:7120"]);
    assert_eq!(name_server.asked_by_tcp(), 0);
}

/// A datagram has room for 1232 bytes.
#[tokio::test]
async fn more_gateways_than_fit_into_a_datagram_are_all_found() {
    let name_server = NameServer::start().await;
    let hosts: Vec<_> = (100..200).map(|i| format!("gateway-{i}.gateways.test")).collect();
    name_server.set(SERVICE, Answer::Records(hosts.iter().map(|host| srv(0, 7020, host)).collect()));
    let found = resolve(&name_server, SERVICE).await.unwrap();
    assert_eq!(sorted(found), hosts.iter().map(|host| format!("{host}:7020")).collect::<Vec<_>>());
    assert_eq!(name_server.asked_by_tcp(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_and_what_is_empty_is_not() {
    let name_server = NameServer::start().await;
    let error = resolve(&name_server, SERVICE).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::NotFound, "there is no such name")
    );
    name_server.set(SERVICE, Answer::Records(Vec::new()));
    assert_eq!(resolve(&name_server, SERVICE).await.unwrap(), [""; 0]);
    // The root is nobody's host: there is decidedly no such service.
    name_server.set(SERVICE, Answer::Records(vec![srv(0, 0, "")]));
    assert_eq!(resolve(&name_server, SERVICE).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_a_name_server_says_wrong_is_said_to_be_its_fault() {
    let name_server = NameServer::start().await;
    let cut_off = srv(0, 7020, "gateway-0.gateways.test")[..9].to_vec();
    for (answer, expected) in
        [(Answer::Failure, "it says SERVFAIL"), (Answer::Records(vec![cut_off]), "its answer is malformed")]
    {
        name_server.set(SERVICE, answer);
        let error = resolve(&name_server, SERVICE).await.unwrap_err().to_string();
        let whose = format!("no answer from the name server {}: {expected}", name_server.addr());
        assert!(error.starts_with(&whose), "{error}");
    }
}

#[tokio::test]
async fn a_name_server_that_says_nothing_is_asked_twice_and_given_up() {
    let name_server = NameServer::start().await;
    name_server.lose(usize::MAX);
    let begun = Instant::now();
    let error = resolve(&name_server, SERVICE).await.unwrap_err();
    let expected = format!("no answer from the name server {} within 2s", name_server.addr());
    assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::TimedOut, expected));
    assert!(begun.elapsed() >= TIMEOUT * 2, "it had its time");
    assert_eq!(name_server.asked(), 2);
}

#[tokio::test]
async fn a_lost_question_is_asked_again() {
    let name_server = NameServer::start().await;
    name_server.set(SERVICE, Answer::Records(vec![srv(0, 1, "a.test")]));
    name_server.lose(1);
    assert_eq!(resolve(&name_server, SERVICE).await.unwrap(), ["a.test:1"]);
    assert_eq!(name_server.asked(), 2);
}

#[tokio::test]
async fn another_name_server_is_asked_where_one_fails() {
    let (unwell, gone) = (NameServer::start().await, NameServer::start().await);
    unwell.set(SERVICE, Answer::Failure);
    let well = NameServer::start().await;
    well.set(SERVICE, Answer::Records(vec![srv(0, 1, "a.test")]));
    let resolver = resolver([&unwell, &gone, &well]);
    gone.stop().await;
    assert_eq!(resolver.resolve(SERVICE).await.unwrap(), ["a.test:1"]);
    // That there is no such name is an answer: nobody else is asked.
    let asked = well.asked();
    resolver.resolve("_other._tcp.test").await.unwrap_err();
    assert_eq!((unwell.asked(), well.asked()), (2, asked));
}

#[tokio::test]
async fn nothing_is_kept() {
    let name_server = NameServer::start().await;
    let resolver = resolver([&name_server]);
    for host in ["old.test", "new.test"] {
        name_server.set(SERVICE, Answer::Records(vec![srv(0, 1, host)]));
        assert_eq!(resolver.resolve(SERVICE).await.unwrap(), [format!("{host}:1")]);
    }
}

/// Names are looked up for as long as a process lives.
#[tokio::test]
async fn a_lookup_leaves_no_task_behind() {
    let name_server = NameServer::start().await;
    name_server.set(SERVICE, Answer::Records(vec![srv(0, 7020, "gateway-0.gateways.test")]));
    let before = Handle::current().metrics().num_alive_tasks();
    for _ in 0..10 {
        resolve(&name_server, SERVICE).await.unwrap();
    }
    let all_gone = async {
        while Handle::current().metrics().num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), all_gone).await.unwrap();
}

#[tokio::test]
async fn a_host_and_a_port_are_left_to_the_operating_system() {
    let name_server = NameServer::start().await;
    for addr in ["127.0.0.1:7020", "[::1]:7020"] {
        assert_eq!(resolve(&name_server, addr).await.unwrap(), [addr]);
    }
    let found = resolve(&name_server, "localhost:7020").await.unwrap();
    assert!(found.contains(&"127.0.0.1:7020".to_owned()), "{found:?}");
    assert_eq!(name_server.asked(), 0);
}

#[tokio::test]
async fn what_is_no_name_is_said_to_be_none() {
    let name_server = NameServer::start().await;
    let neither =
        ["gateways.test", "gateways.test:", "gateways.test:x", "", "_servers._tcp.gateways.test:7020"];
    for (names, why) in
        [(neither.as_slice(), "is neither"), (&["_servers..test", "_servers.test.."], "is not a name")]
    {
        for name in names {
            let error = resolve(&name_server, name).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}: {error}");
            assert!(error.to_string().starts_with(&format!("{name:?} {why}")), "{error}");
        }
    }
    assert_eq!(name_server.asked(), 0);
    assert!(DnsResolver::of([]).unwrap_err().to_string().starts_with("no name server is given"));
}

#[tokio::test]
async fn a_server_finds_its_gateways_by_a_service() {
    let name_server = NameServer::start().await;
    let gateways = Gateways::resolved(resolver([&name_server]), SERVICE, Duration::from_millis(200));
    let server =
        Server::start(MemoryNetwork::new(), gateways, ServerId::new(1), b"key", FleetConfig::default());
    let mut events = server.events();
    let not_found = events.recv().await.unwrap().to_string();
    assert!(not_found.contains(SERVICE) && not_found.contains("there is no such name"), "{not_found}");
    name_server.set(SERVICE, Answer::Records(vec![srv(0, 7020, "gateway-0.gateways.test")]));
    let found = async {
        loop {
            if let Event::Found(gateway) = events.recv().await.unwrap() {
                break gateway;
            }
        }
    };
    let found = timeout(Duration::from_secs(5), found).await.unwrap();
    assert_eq!(found.as_str(), "gateway-0.gateways.test:7020");
}
