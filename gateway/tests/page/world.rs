//! What a gateway might say: worlds whose every number follows from the second in which it is asked for.

use std::f64::consts::TAU;

use serde_json::{Value, json};

/// Server `id` gets `id` KiB and 100 messages a second, and sends half of that. The last one takes nothing.
pub(crate) fn steady(servers: u64, second: u64) -> Value {
    let session = |id: u64| {
        json!({
            "id": id, "peer": format!("10.0.0.5:{}", 40_000 + id), "age_s": 3600 + second, "conns": 1200 + id, "opened": 5000,
            "sent": { "messages": 100 * second, "bytes": 1024 * id * second },
            "received": { "messages": 50 * second, "bytes": 512 * id * second },
            "queued_messages": 12, "queued_bytes": 16 << 20, "queue_limit_bytes": 64 << 20,
            "blocked": id == servers && servers > 1,
        })
    };
    let sum = servers * (servers + 1) / 2;
    let (there, back) = (
        traffic(100 * servers * second, 1024 * sum * second),
        traffic(50 * servers * second, 512 * sum * second),
    );
    json!({
        "gateway": {
            "version": "1.2.3", "started": "2026-01-02T03:04:05Z", "uptime_s": 93_784 + second, "ready": true,
            "draining": false, "threads": 3, "client_addr": "0.0.0.0:7010", "server_addr": "127.0.0.1:7020",
        },
        "now": {
            "clients": 12_345, "servers": servers, "conns": 54_321, "buffered_bytes": 512 << 20,
            "max_buffered_bytes": 1_u64 << 30,
            "received": { "client": there, "server": back }, "sent": { "client": back, "server": there },
        },
        "refusals": [
            { "kind": "clients", "words": "never happened", "count": 0 },
            { "kind": "handshake", "words": "it did not prove that it knows the password", "count": 7 + 2 * second },
        ],
        "ended": [{ "side": "client", "reason": "closed", "words": "the peer closed it", "count": 98_765 }],
        "servers": (1..=servers).map(session).collect::<Vec<_>>(),
        "slowest_clients": [{
            "id": 77, "peer": "[2001:db8::1]:5000", "age_s": 3, "conns": 1, "opened": 1,
            "sent": traffic(0, 0), "received": traffic(0, 0),
            "queued_messages": 3, "queued_bytes": 768 << 10, "queue_limit_bytes": 1 << 20, "blocked": true,
        }],
        "warnings": [{ "level": "critical", "text": "server 9 is slow" }],
    })
}

pub(crate) fn traffic(messages: u64, bytes: u64) -> Value {
    json!({ "messages": messages, "bytes": bytes })
}

/// One that looks alive, for pictures: waves of traffic, a server and two clients in trouble.
pub(crate) fn lively(servers: u64, second: u64) -> Value {
    let mut world = steady(servers, second);
    let (mut there, mut back) = ((0, 0), (0, 0));
    for server in world["servers"].as_array_mut().expect("it was made just now") {
        let id = server["id"].as_u64().expect("it was made just now");
        let stuck = id == servers * 2 / 3 + 1;
        // Few do much and most do little, in no order.
        let luck =
            |salt: u64| (id * 7919 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / u64::MAX as f64;
        let weight = 20.0 + 60.0 / (luck(1) + 0.004) * 8.0 / (servers as f64).sqrt();
        // The integral of a rate that goes up and down, at paces and from starts of its own.
        let wave = |time: f64| {
            let part = |salt: u64, pace: f64| pace / TAU * 0.3 * (time / pace * TAU + 7.0 * luck(salt)).sin();
            time + part(2, 40.0 + 50.0 * luck(3)) + part(4, 130.0 + 200.0 * luck(5))
        };
        let total = |factor: f64| (weight * factor * (1000.0 + wave(second as f64))) as u64;
        let sent = if stuck { (70_000, 7_000_000) } else { (total(1.0), total(96.0)) };
        let received = (total(0.9), total(170.0));
        there = (there.0 + sent.0, there.1 + sent.1);
        back = (back.0 + received.0, back.1 + received.1);
        let queued =
            if stuck { (64 << 20) - 5000 } else { (id * second * 7919) % 90_000 / (1 + id % 3 * 90) };
        server["peer"] = json!(format!("10.0.{}.{}:{}", id / 200, 5 + id % 200, 30_000 + id * 7919 % 30_000));
        server["age_s"] = json!(id * 7919 % 90_000 + second);
        server["conns"] = json!(60 + id * 131 % 400);
        server["sent"] = traffic(sent.0, sent.1);
        server["received"] = traffic(received.0, received.1);
        server["queued_bytes"] = json!(queued);
        server["queued_messages"] = json!(queued / 180);
        server["blocked"] = json!(stuck);
    }
    let (there, back) = (traffic(there.0, there.1), traffic(back.0, back.1));
    world["gateway"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    world["now"]["received"] = json!({ "client": there, "server": back });
    world["now"]["sent"] = json!({ "client": back, "server": there });
    world["now"]["clients"] = json!(860 + (20.0 * (second as f64 / 30.0).sin()) as i64);
    world["now"]["conns"] = json!(3180 + (40.0 * (second as f64 / 40.0).cos()) as i64);
    world["now"]["buffered_bytes"] = json!((66 << 20) + second * 7919 % 1_000_000);
    let client = |n: u64| {
        let queued = (990 << 10) / (1 + n) + second * 31 % 900;
        json!({
            "id": 41_234 + n * 371, "peer": format!("198.51.100.{}:{}", 3 + n * 7, 51_000 + n * 77), "age_s": 4 * (n + 1).pow(4),
            "conns": 3, "opened": 9, "sent": traffic(0, 0), "received": traffic(0, 0), "queued_messages": queued / 200,
            "queued_bytes": queued, "queue_limit_bytes": 1 << 20, "blocked": n < 2,
        })
    };
    world["slowest_clients"] = (0..6).map(client).collect();
    let ended = |side: &str, words: &str, count: u64| json!({ "side": side, "words": words, "count": count });
    world["ended"] = json!([
        ended("client", "the peer closed it", 881_223 + second * 12),
        ended("client", "it said nothing for too long", 2231),
        ended("server", "another server took its ID", 2),
    ]);
    world["refusals"] = json!([
        { "words": "it did not prove that it knows the password", "count": 7 },
        { "words": "it has dialled as many connections as --client-max-conn allows", "count": 18_422 + second * 3 },
    ]);
    let text = format!(
        "server {} is slow: its queue is 99 % full, and at 100 % its clients are held back",
        servers * 2 / 3 + 1
    );
    world["warnings"] = json!([{ "level": "warning", "text": text }]);
    world
}
