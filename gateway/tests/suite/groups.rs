//! Server groups: clients dial one ID, and servers of a range serve it. What peers see of it, to the byte; who gets which server;
//! and what becomes of a dial when servers fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastway::id::Side;
use fastway::net::Network;
use fastway_gateway::{Config, Refusal, ServerGroup};
use ipnet::IpNet;
use tokio::time::timeout;

use super::folder::Folder;
use super::stopping::{LOOPBACK, Process};
use super::support::{KEY, Raw, TestGateway, config_with, connect, hello, threads, wire};

fn groups(groups: &[&str]) -> Vec<ServerGroup> {
    groups.iter().map(|group| group.parse().unwrap()).collect()
}

fn with_groups(meant: &[&str], change: impl FnOnce(&mut Config)) -> Config {
    config_with(|config| {
        config.server.groups = groups(meant);
        config.client.max_conn = usize::MAX;
        change(config);
    })
}

/// Dials and is accepted: the number of the connection.
async fn dial<S>(client: &mut Raw<S>, remote: u32) -> u32
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    client.send(wire::dial(remote)).await;
    let accept = client.frame().await;
    let conn = u32::from_le_bytes(accept[9..13].try_into().unwrap());
    assert_eq!(accept, wire::accept(conn, remote));
    conn
}

/// Which of these servers is told of a connection, by its index, when no other connection is new.
async fn who_is_told<S>(servers: &mut [Raw<S>], conn: u32) -> usize
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut told = Vec::new();
    for (index, server) in servers.iter_mut().enumerate() {
        server.send(wire::ping()).await;
        let frame = server.frame().await;
        if frame != wire::ping() {
            assert_eq!(frame[..13], wire::connect(conn, 0)[..13]);
            server.expect(wire::ping()).await;
            told.push(index);
        }
    }
    assert_eq!(told.len(), 1, "{told:?} are told");
    told[0]
}

/// A client and servers that know nothing of groups.
#[tokio::test]
async fn peers_see_what_they_see_without_groups() {
    let gateway = TestGateway::start(with_groups(&["1000=1001-1010", "2000=2001-2004:client"], |_| ())).await;
    let (mut client, mut server) = (gateway.client().await, gateway.server(1007).await);
    client.send([wire::dial(1000), wire::dial(2000), wire::dial(1007), wire::dial(1001)].concat()).await;
    client.expect(wire::accept(1, 1000)).await;
    client.expect(wire::refuse(2000)).await;
    client.expect(wire::accept(2, 1007)).await;
    client.expect(wire::refuse(1001)).await;
    server.expect(wire::connect(1, 1)).await;
    server.expect(wire::connect(2, 1)).await;
    server.send([wire::dial(1), wire::dial(1000), wire::data(1, b"welcome")].concat()).await;
    server.expect(wire::accept(3, 1)).await;
    server.expect(wire::refuse(1000)).await;
    client.expect(wire::connect(3, 1007)).await;
    client.expect(wire::data(1, b"welcome")).await;
    client.send([wire::data(1, b"hello"), wire::close(1), wire::data(2, b"")].concat()).await;
    server.expect(wire::data(1, b"hello")).await;
    server.expect(wire::close(1)).await;
    server.expect(wire::data(2, b"")).await;
    client.expect(wire::close(1)).await;
    drop(server);
    for _ in 0..2 {
        let close = client.frame().await;
        assert!(close == wire::close(2) || close == wire::close(3));
    }
    client.send(wire::dial(1000)).await;
    client.expect(wire::refuse(1000)).await;
    client.expect_nothing().await;
    assert_eq!(gateway.handle.refusals(Refusal::DialNobody), 4);
    drop(client);
    gateway.nothing_is_left().await;
}

#[tokio::test]
async fn connections_are_spread_evenly_and_fill_up_what_was_closed() {
    for shards in [1, 2] {
        let config = with_groups(&["1000=1001-1003"], |config| config.threads = threads(shards));
        let gateway = TestGateway::start(config).await;
        let mut servers = Vec::new();
        for id in 1001..=1003 {
            servers.push(gateway.server(id).await);
        }
        let (mut one, mut other) = (gateway.client().await, gateway.client().await);
        let mut open: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); 3];
        for _ in 0..15 {
            for client in [&mut one, &mut other] {
                let conn = dial(client, 1000).await;
                open[who_is_told(&mut servers, conn).await].insert(conn);
            }
        }
        assert_eq!(open.iter().map(BTreeSet::len).collect::<Vec<_>>(), [10; 3]);
        // The servers close them.
        for (server, closes) in [(0, 7), (2, 3)] {
            for _ in 0..closes {
                let conn = open[server].pop_first().unwrap();
                servers[server].send(wire::close(conn)).await;
                servers[server].expect(wire::close(conn)).await;
            }
        }
        let mut again = [0; 3];
        for _ in 0..10 {
            // The Close of what was closed comes first.
            other.send(wire::dial(1000)).await;
            let conn = loop {
                let frame = other.frame().await;
                if frame[8] == 1 {
                    break u32::from_le_bytes(frame[9..13].try_into().unwrap());
                }
            };
            again[who_is_told(&mut servers, conn).await] += 1;
        }
        assert_eq!(again, [7, 0, 3]);
    }
}

/// Whoever comes from the machine itself is a proxy.
fn behind_a_proxy() -> Vec<IpNet> {
    vec!["127.0.0.1/32".parse().unwrap()]
}

/// A proxy's line in front of a client's connection.
async fn client_of<N: Network>(gateway: &TestGateway<N>, addr: &str) -> Raw<N::Stream> {
    let mut client = Raw::new(gateway.network.connect(&gateway.client_addr.to_string()).await.unwrap());
    client.send(format!("PROXY TCP4 {addr} 10.0.0.1 5 7010\r\n")).await;
    client.expect_nothing().await;
    client
}

/// At two gateways, with other client numbers, other connections and in another order of the servers.
#[tokio::test]
async fn a_client_gets_the_same_server_at_every_gateway() {
    let config = || {
        with_groups(&["1000=1001-1005:client"], |config| {
            config.client.proxy_protocol = behind_a_proxy();
        })
    };
    let gateways =
        [TestGateway::start_in_memory(config()).await, TestGateway::start_in_memory(config()).await];
    let mut servers: [Vec<_>; 2] = Default::default();
    for index in 0..5 {
        servers[0].push(gateways[0].server(1001 + index).await);
        servers[1].push(gateways[1].server(1005 - index).await);
    }
    let (mut clients, mut gets) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let addr = format!("192.0.2.{number}");
        let mut servers_of_address = BTreeSet::new();
        for _ in 0..2 {
            let mut client = client_of(&gateways[0], &addr).await;
            let conn = dial(&mut client, 1000).await;
            servers_of_address.insert(who_is_told(&mut servers[0], conn).await);
            clients.push(client);
        }
        assert_eq!(servers_of_address.len(), 1, "{addr}");
        gets.push((addr, servers_of_address.pop_first().unwrap()));
    }
    for (addr, server) in gets.iter().rev() {
        let mut client = client_of(&gateways[1], addr).await;
        let conn = dial(&mut client, 1000).await;
        assert_eq!(4 - who_is_told(&mut servers[1], conn).await, *server, "{addr}");
        clients.push(client);
    }
    assert!(gets.iter().map(|(_, server)| server).collect::<BTreeSet<_>>().len() >= 4, "{gets:?}");
}

#[tokio::test]
async fn when_a_server_ends_the_next_one_serves_and_at_last_the_group_is_refused() {
    for policy in ["least", "client"] {
        let gateway = TestGateway::start(with_groups(&[&format!("1000=1001-1003:{policy}")], |_| ())).await;
        let mut client = gateway.client().await;
        let mut servers = Vec::new();
        for id in 1001..=1003 {
            servers.push(gateway.server(id).await);
        }
        while !servers.is_empty() {
            let conn = dial(&mut client, 1000).await;
            let chosen = who_is_told(&mut servers, conn).await;
            drop(servers.remove(chosen));
            // By then it is not found any more.
            client.expect(wire::close(conn)).await;
        }
        client.send(wire::dial(1000)).await;
        client.expect(wire::refuse(1000)).await;
        let mut back = gateway.server(1002).await;
        client.open(1000, &mut back).await;
    }
}

/// The client holds two connections at most, wherever they lead, and however many servers were tried.
#[tokio::test]
async fn rule_3_a_client_holds_as_many_connections_to_a_group_as_to_a_server() {
    let config = with_groups(&["1000=1001-1009"], |config| config.client.max_conn = 2);
    let gateway = TestGateway::start_in_memory(config).await;
    let mut client = gateway.client().await;
    let mut servers = Vec::new();
    for id in 1001..=1003 {
        servers.push(gateway.server(id).await);
    }
    for _ in 0..10 {
        let conns = [dial(&mut client, 1000).await, dial(&mut client, 1000).await];
        client.send(wire::dial(1000)).await;
        client.expect(wire::refuse(1000)).await;
        for conn in conns {
            client.send(wire::close(conn)).await;
            client.expect(wire::close(conn)).await;
        }
    }
    assert_eq!(gateway.handle.refusals(Refusal::DialQuota), 10);
    assert_eq!(gateway.handle.counts().conns, 0);
}

/// A server that reads nothing, with one connection, and one that reads, with two.
#[tokio::test(start_paused = true)]
async fn nobody_has_to_wait_for_a_server_that_does_not_read_while_another_does() {
    for policy in ["least", "client"] {
        let config = with_groups(&[&format!("1000=1001-1002:{policy}")], |config| {
            config.server.queue.messages = 10;
            config.server.stall_timeout = Duration::from_secs(600);
        });
        let gateway = TestGateway::start_in_memory(config).await;
        let mut held = gateway.client().await;
        let mut servers = [gateway.server(1001).await, gateway.server(1002).await];
        let conn = dial(&mut held, 1000).await;
        let full = who_is_told(&mut servers, conn).await;
        let reads = 1 - full;
        for _ in 0..2 {
            held.open([1001, 1002][reads], &mut servers[reads]).await;
        }
        // 64 KiB are in the pipe, ten messages in the queue, and one waits.
        held.send(wire::data(conn, &[1; 10_000]).repeat(18)).await;
        gateway.until("the queue is full", |counts| counts.queued_bytes > 90_000).await;
        let mut client = gateway.client().await;
        for _ in 0..3 {
            client.open(1000, &mut servers[reads]).await;
        }

        // Without the other one, the client waits, and is served in the end.
        let mut servers = Vec::from(servers);
        drop(servers.remove(reads));
        for _ in 0..3 {
            assert_eq!(client.frame().await[8], 4, "Close");
        }
        client.send(wire::dial(1000)).await;
        let waiting = timeout(Duration::from_secs(10), client.frame()).await;
        assert!(waiting.is_err(), "{waiting:?} although there is no room");
        let mut messages = 0;
        for _ in 0..19 {
            let frame = servers[0].frame().await;
            messages += usize::from(frame == wire::data(conn, &[1; 10_000]));
        }
        assert_eq!(messages, 18, "and Connect");
        assert_eq!(client.frame().await[..9], wire::accept(0, 0)[..9]);
    }
}

/// Servers come and go all the time while clients on other threads dial; one of them stays. No dial is refused, each is answered
/// once, and in the end nothing is left.
#[tokio::test]
async fn no_dial_is_refused_while_a_member_stays() {
    for policy in ["least", "client"] {
        let config = with_groups(&[&format!("1000=1001-1004:{policy}")], |config| {
            config.threads = threads(2);
            config.client.proxy_protocol = behind_a_proxy();
        });
        let gateway = TestGateway::start(config).await;
        let server_addr = gateway.server_addr;
        let mut stays = gateway.server(1001).await;
        let reading = tokio::spawn(async move {
            // Until the gateway ends it.
            let mut connects = 0;
            while let Some(frame) = next(&mut stays).await {
                connects += usize::from(frame[..4] == 13_u32.to_le_bytes() && frame[8] == 2);
            }
            connects
        });
        let served = Arc::new(AtomicUsize::new(0));
        let restless: Vec<_> = (1002..=1004)
            .map(|id| {
                let connects = served.clone();
                tokio::spawn(async move {
                    loop {
                        let mut server = connect(server_addr).await;
                        let challenge: [u8; 8] = server.read_exact().await;
                        server.send([hello(challenge, KEY, id), wire::ping()].concat()).await;
                        // Some end as soon as they can have a connection, some when they have one, if they get it soon.
                        let frames = if id % 2 == 0 { 1 } else { 2 };
                        for _ in 0..frames {
                            let frame = timeout(Duration::from_millis(5), server.frame()).await;
                            let is_connect = frame.is_ok_and(|frame| frame[8] == 2);
                            connects.fetch_add(is_connect.into(), Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let mut dialling = Vec::new();
        for number in 0..8 {
            let mut client = client_of(&gateway, &format!("192.0.2.{number}")).await;
            dialling.push(tokio::spawn(async move {
                let mut open = BTreeSet::new();
                for _ in 0..500 {
                    client.send(wire::dial(1000)).await;
                    loop {
                        let frame = client.frame().await;
                        let number = u32::from_le_bytes(frame[9..13].try_into().unwrap());
                        match frame[8] {
                            1 => {
                                assert_eq!(frame, wire::accept(number, 1000));
                                assert!(open.insert(number), "{number} is open already");
                                break;
                            }
                            4 => assert!(open.remove(&number), "{number} is not open"),
                            other => panic!("command {other} after a dial"),
                        }
                    }
                    if open.len() > 3 {
                        let conn = *open.first().unwrap();
                        client.send(wire::close(conn)).await;
                    }
                }
            }));
        }
        for client in dialling {
            client.await.unwrap();
        }
        for server in restless {
            server.abort();
            assert!(server.await.unwrap_err().is_cancelled());
        }
        gateway.until("they have gone", |counts| counts.servers == 1 && counts.clients == 0).await;
        gateway.stop().await;
        assert!(reading.await.unwrap() > 0 && served.load(Ordering::Relaxed) > 0, "all of them had some");
    }
}

/// The next frame, if there is one.
async fn next<S: tokio::io::AsyncRead + Unpin>(peer: &mut Raw<S>) -> Option<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let length = peer.stream.read_u32_le().await.ok()?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    peer.stream.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

#[tokio::test]
async fn other_groups_are_in_force_at_once_and_what_is_open_stays() {
    let of = |meant: &[&str]| with_groups(meant, |config| config.threads = threads(2));
    let gateway = TestGateway::start(of(&[])).await;
    let mut client = gateway.client().await;
    let mut servers = [gateway.server(1001).await, gateway.server(1002).await];
    client.send(wire::dial(1000)).await;
    client.expect(wire::refuse(1000)).await;

    let reconfigured = gateway.handle.reconfigure(of(&["1000=1001"])).unwrap();
    assert_eq!(reconfigured.at_once, ["--server-groups"]);
    let conn = client.open(1000, &mut servers[0]).await;
    gateway.handle.reconfigure(of(&["1000=1002"])).unwrap();
    for _ in 0..3 {
        client.open(1000, &mut servers[1]).await;
    }
    client.send(wire::data(conn, b"still here")).await;
    servers[0].expect(wire::data(conn, b"still here")).await;
    let error = gateway.handle.reconfigure(of(&["1000=1001-1002", "1001=1"])).unwrap_err().to_string();
    assert!(error.contains("has 1001=1-1:least, whose ID is among the members of"), "{error}");
    client.open(1000, &mut servers[1]).await;

    gateway.handle.reconfigure(of(&[])).unwrap();
    client.send(wire::dial(1000)).await;
    client.expect(wire::refuse(1000)).await;
    servers[0].expect_nothing().await;
    servers[1].expect_nothing().await;
}

#[tokio::test]
async fn sighup_reads_groups_again() {
    let folder = Folder::new();
    let write = |text: &str| folder.write("gateway.toml", text);
    let path = write("[server]\ngroups = ['1000=1001-1010', '2000=2001-2004:client']");
    let mut process = Process::start(&[&LOOPBACK[..], &["--config", &path]].concat());
    let [client_addr, server_addr] = process.addrs();
    let (mut server, mut client) = (connect(server_addr).await, connect(client_addr).await);
    server.register_with(b"", 2004).await;
    client.open(2000, &mut server).await;
    client.send(wire::dial(1000)).await;
    client.expect(wire::refuse(1000)).await;

    write("[server]\ngroups = ['1000=2001-2010']");
    process.signal("HUP");
    let line = process.line_with("settings read again");
    assert!(line.contains("in force at once: --server-groups"), "{line}");
    client.open(1000, &mut server).await;

    write("[server]\ngroups = [\n'1000=2001-2010',\n'1000=3001']");
    process.signal("HUP");
    let line = process.line_with("cannot be read again");
    let words = "--server-groups has 1000=2001-2010:least and 1000=3001-3001:least, with the same ID";
    assert!(line.contains(words) && line.contains(".toml:2)"), "{line}");
    client.open(1000, &mut server).await;
    process.signal("INT");
    assert_eq!(process.end().0, Some(0));
}

/// Least connections with many servers and clients on several threads: off by no more than those who choose at the same moment.
#[tokio::test]
async fn clients_on_other_threads_are_spread_evenly_as_well() {
    let config = with_groups(&["1000=1-8"], |config| config.threads = threads(2));
    let gateway = TestGateway::start(config).await;
    let mut servers = Vec::new();
    for id in 1..=8 {
        servers.push(gateway.server(id).await);
    }
    let mut dialling = Vec::new();
    for _ in 0..4 {
        let mut client = gateway.client().await;
        dialling.push(tokio::spawn(async move {
            client.send(wire::dial(1000).repeat(200)).await;
            for _ in 0..200 {
                assert_eq!(client.frame().await[8], 1, "Accept");
            }
            client
        }));
    }
    let mut clients = Vec::new();
    for client in dialling {
        clients.push(client.await.unwrap());
    }
    let sessions = gateway.handle.sessions();
    let servers = sessions.iter().filter(|session| session.side == Side::Server);
    let conns: Vec<_> = servers.map(|server| server.conns).collect();
    assert_eq!((conns.len(), conns.iter().sum::<usize>()), (8, 800), "{conns:?}");
    assert!(conns.iter().all(|conns| (99..=101).contains(conns)), "{conns:?}");
}
