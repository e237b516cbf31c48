//! The list of sessions, and what can be asked of it.

use serde_json::{Value, json};

use super::Operated;
use crate::support::{config_with, wire};

/// Side and ID of each.
fn ids(list: &Value) -> Vec<String> {
    let row = |row: &Value| format!("{}{}", &row["side"].as_str().unwrap()[..1], row["id"]);
    list["sessions"].as_array().unwrap().iter().map(row).collect()
}

/// Three clients and two servers: client 1 has sent the most, client 2 has the most connections, client 3 has been sent the
/// most and does not read it. Server 7 was there before the others, server 9 came last.
#[tokio::test]
async fn sessions_are_found_by_what_they_are_and_do() {
    let config = config_with(|config| config.client.queue.bytes = 64 << 20);
    let operated = Operated::start_with(config, |_| ()).await;
    let gateway = &operated.gateway;
    let mut server = gateway.server(7).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client().await;
        let conn = client.open(7, &mut server).await;
        clients.push((client, conn));
    }
    let _other = gateway.server(9).await;
    for _ in 0..2 {
        clients[1].0.open(7, &mut server).await;
    }
    let sent = wire::data(clients[0].1, &[1; 10_000]);
    clients[0].0.send(&sent).await;
    server.expect(&sent).await;
    server.send(wire::data(clients[2].1, &[1; 500_000]).repeat(40)).await;
    server.expect_nothing().await;

    for (query, expected) in [
        ("", "c1 c2 c3 s7 s9"),
        ("?side=client", "c1 c2 c3"),
        ("?side=server", "s7 s9"),
        ("?id=2", "c2"),
        ("?id=7&side=client", ""),
        ("?peer=127.0.0.1", "c1 c2 c3 s7 s9"),
        ("?peer=127.0.0.0/8&side=server", "s7 s9"),
        ("?peer=::ffff:127.0.0.1&limit=1", "c1"),
        ("?peer=10.0.0.0/8", ""),
        ("?peer=%3A%3A/0", ""),
        ("?blocked=true", "c3"),
        ("?blocked=false", "c1 c2 s7 s9"),
        ("?min_queued=1", "c3"),
        ("?min_queued=1M", "c3"),
        ("?min_queued=1G", ""),
        ("?sort=queued&limit=1", "c3"),
        ("?sort=age&limit=1", "s7"),
        ("?sort=age&side=client", "c1 c2 c3"),
        ("?sort=received&side=client&limit=1", "c1"),
        ("?sort=sent&limit=2", "c3 s7"),
        ("?sort=conns", "s7 c2 c1 c3 s9"),
        ("?sort=id&limit=2", "c1 c2"),
        ("?limit=0", "c1 c2 c3 s7 s9"),
    ] {
        let list = operated.get(&format!("/sessions{query}")).await.json();
        assert_eq!(ids(&list).join(" "), expected, "{query}");
        assert_eq!(list["listed"], ids(&list).len());
    }
    let list = operated.get("/sessions?side=client&limit=2").await.json();
    assert_eq!((&list["matched"], &list["listed"]), (&json!(3), &json!(2)));

    let list = operated.get("/servers?sort=conns").await.json();
    assert_eq!(ids(&list), ["s7", "s9"]);
    let row = &list["sessions"][0];
    assert_eq!((&row["conns"], &row["opened"]), (&json!(5), &json!(5)));
    assert!(row["age_s"].as_f64().unwrap() < 60.0);
    assert_eq!(row["received"]["messages"], 40);
    assert!(row["received"]["bytes"].as_u64().unwrap() > 40 * 500_000);
}

#[tokio::test]
async fn what_cannot_be_asked_is_answered_with_what_can_be() {
    let operated = Operated::start().await;
    for (query, words) in [
        (
            "/sessions?sid=client",
            &["no parameter sid", "side, id, peer, blocked, min_queued, sort, limit"][..],
        ),
        ("/sessions?Side=client", &["no parameter Side"]),
        ("/sessions?=", &["no parameter "]),
        ("/sessions?side=clients", &["side is \"clients\"", "client or server"]),
        ("/sessions?side=", &["side is \"\"", "client or server"]),
        ("/sessions?id=-1", &["id is \"-1\"", "0 to 4294967295"]),
        ("/sessions?peer=localhost", &["peer is \"localhost\"", "10.0.0.0/8"]),
        ("/sessions?peer=10.0.0.0/33", &["peer is", "10.0.0.0/8"]),
        ("/sessions?blocked=yes", &["blocked is \"yes\"", "true or false"]),
        ("/sessions?min_queued=many", &["min_queued is \"many\"", "64K"]),
        ("/sessions?sort=name", &["sort is \"name\"", "id, queued, age, received, sent, conns"]),
        ("/sessions?limit=-1", &["limit is \"-1\"", "0 is any number"]),
        ("/sessions?limit=1&limit=2", &["limit is there twice"]),
        ("/servers?side=client", &["no parameter side", "id, peer, blocked"]),
        ("/sessions?peer=%22%0a", &["peer is \"\\\"\\n\""]),
    ] {
        let error = operated.get(query).await.error(400);
        assert!(words.iter().all(|word| error.contains(word)), "{query}: {error}");
    }
}

/// In pieces, so what is between two pieces counts.
#[tokio::test]
async fn a_list_of_any_length_is_whole() {
    let operated = Operated::start().await;
    let empty = operated.get("/sessions").await.json();
    assert_eq!(empty, json!({ "matched": 0, "listed": 0, "sessions": [] }));
    let mut clients = Vec::new();
    for count in [1, 255, 256, 257, 511, 512, 513, 1001] {
        while clients.len() < count {
            clients.push(operated.gateway.client().await);
        }
        operated.gateway.until("they are there", |counts| counts.clients == count).await;
        let list = operated.get("/sessions?limit=0").await.json();
        let ids: Vec<_> =
            list["sessions"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect();
        assert!(ids.iter().copied().eq(1..=count as u64), "{count}");
    }
    // Unless it is asked for more.
    let list = operated.get("/sessions").await.json();
    assert_eq!((&list["matched"], &list["listed"]), (&json!(1001), &json!(1000)));
}
