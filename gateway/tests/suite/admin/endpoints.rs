//! What can be asked, and done.

use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::{Operated, config};
use crate::support::config_with;

#[tokio::test]
async fn it_is_alive_and_ready_until_it_drains() {
    let operated = Operated::start().await;
    let mut client = operated.gateway.client().await;
    client.expect_nothing().await;
    assert_eq!(operated.get("/live").await.json(), json!({ "live": true }));
    let ready = operated.get("/ready").await;
    assert_eq!((ready.status, ready.json()), (200, json!({ "ready": true })));

    let drained = operated.post("/drain").await;
    assert_eq!((drained.status, drained.json()), (200, json!({ "draining": true })));
    let ready = operated.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.json()["reason"].as_str().unwrap().contains("drains"), "{ready:?}");
    assert_eq!(operated.get("/live").await.status, 200);
    let status = operated.get("/status").await.json();
    assert_eq!((&status["gateway"]["ready"], &status["gateway"]["draining"]), (&json!(false), &json!(true)));
}

/// Whoever asks while the last messages are sent is told so.
#[tokio::test]
async fn it_is_alive_but_not_ready_when_it_stops() {
    let operated = Operated::start().await;
    operated.gateway.handle.stop();
    let ready = operated.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json(), json!({ "ready": false, "reason": "the gateway stops" }));
    assert_eq!(operated.get("/live").await.status, 200);
}

#[tokio::test]
async fn settings_are_read_again_or_the_mistake_is_told() {
    let operated = Operated::start().await;
    let reloaded = operated.post("/reload").await;
    assert_eq!((reloaded.status, reloaded.json()), (200, json!({ "report": "nothing has changed" })));
    let mistake = "gateway.toml:3: client-max-conn is five, but a count is a whole number, such as 16";
    operated.controls.0.lock().unwrap().mistake = Some(mistake.to_owned());
    assert_eq!(operated.post("/reload").await.error(422), mistake);
    assert_eq!(operated.controls.0.lock().unwrap().reloads, 2);
}

#[tokio::test]
async fn the_log_level_comes_as_parameter_or_as_body() {
    let operated = Operated::start().await;
    for (path, body, level) in [
        ("/log-level?level=debug", "", "debug"),
        ("/log-level?level=WARN", "ignored", "warn"),
        ("/log-level", "trace", "trace"),
        ("/log-level", " off\n", "off"),
    ] {
        let answer = operated.ask("POST", path, &[], body).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "level": level })), "{path} {body}");
    }
    let levels = [LevelFilter::DEBUG, LevelFilter::WARN, LevelFilter::TRACE, LevelFilter::OFF];
    assert_eq!(operated.controls.0.lock().unwrap().levels, levels);

    for (path, body, status, word) in [
        ("/log-level", "", 400, "one of off, error, warn, info, debug, trace"),
        ("/log-level", "loud", 400, "one of off, error, warn, info, debug, trace"),
        ("/log-level?level=3", "debug", 400, "one of off"),
        ("/log-level?level=", "", 400, "one of off"),
        ("/log-level?lvl=debug", "", 400, "?level=debug"),
        ("/log-level?level=debug&level=info", "", 400, "?level=debug"),
        ("/log-level", "a word that is far too long", 413, "one word"),
    ] {
        let error = operated.ask("POST", path, &[], body).await.error(status);
        assert!(error.contains(word), "{path} {body}: {error}");
    }
    assert_eq!(operated.controls.0.lock().unwrap().levels.len(), levels.len(), "nothing was changed");
}

#[tokio::test]
async fn what_is_not_there_is_answered_in_a_sentence() {
    let operated = Operated::start().await;
    let error = operated.get("/metricz").await.error(404);
    assert!(error.contains("/metricz") && error.contains("/metrics"), "{error}");
    for (method, path, allowed) in [
        ("GET", "/drain", "POST"),
        ("POST", "/status", "GET,HEAD"),
        ("DELETE", "/sessions/client/1/close", "POST"),
    ] {
        let answer = operated.ask(method, path, &[], "").await;
        let error = answer.error(405);
        assert!(error.contains(path) && error.contains(method), "{error}");
        assert_eq!(answer.header("allow").as_deref(), Some(allowed));
    }
    assert!(!operated.gateway.handle.is_draining(), "nothing was done");
}

#[tokio::test]
async fn a_session_is_closed_and_only_that_one() {
    let operated = Operated::start().await;
    let (mut client, mut server) = (operated.gateway.client().await, operated.gateway.server(7).await);
    let mut other = operated.gateway.client().await;
    let conn = client.open(7, &mut server).await;
    let sessions = operated.get("/sessions?side=client&sort=conns").await.json();
    let id = sessions["sessions"][0]["id"].as_u64().unwrap();

    let path = format!("/sessions/client/{id}/close");
    let closed = operated.post(&path).await;
    assert_eq!((closed.status, closed.json()), (200, json!({ "closed": { "side": "client", "id": id } })));
    client.expect_end().await;
    server.expect(crate::support::wire::close(conn)).await;
    server.expect_nothing().await;
    other.expect_nothing().await;
    operated.gateway.until("it is gone", |counts| counts.clients == 1).await;

    let error = operated.post(&path).await.error(404);
    assert!(error.contains(&format!("no client {id}")) && error.contains("/sessions?side=client"), "{error}");
    assert!(operated.post("/sessions/server/9/close").await.error(404).contains("no server 9"));
    for (path, word) in [
        ("/sessions/gateway/1/close", "/sessions/client/ID/close"),
        ("/sessions/client/one/close", "0 to 4294967295"),
        ("/sessions/client/4294967296/close", "0 to 4294967295"),
        ("/sessions/%ff/1/close", "/sessions/client/ID/close"),
    ] {
        let error = operated.post(path).await.error(400);
        assert!(error.contains(word), "{path}: {error}");
    }
    assert_eq!(operated.post("/sessions/server/7/close").await.status, 200);
    server.expect_end().await;
}

/// What the page lives on.
#[tokio::test]
async fn the_status_is_what_the_page_expects() {
    let operated =
        Operated::start_with(config_with(|config| config.max_buffered_bytes = 1 << 30), |_| ()).await;
    let empty = operated.get("/status").await.json();
    assert!(empty["warnings"].to_string().contains("no server is registered"), "{empty:#}");
    let (mut client, mut server, conn) = operated.gateway.pair().await;
    client.send(crate::support::wire::data(conn, &[1; 100])).await;
    server.expect(crate::support::wire::data(conn, &[1; 100])).await;

    let status = operated.get("/status").await.json();
    let gateway = &status["gateway"];
    assert_eq!(gateway["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(gateway["client_addr"], operated.gateway.client_addr.to_string());
    assert_eq!(gateway["server_addr"], operated.gateway.server_addr.to_string());
    assert_eq!(
        (&gateway["ready"], &gateway["draining"], &gateway["threads"]),
        (&json!(true), &json!(false), &json!(1))
    );
    let started = gateway["started"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(started).unwrap().elapsed().unwrap().as_secs() < 60, "{started}");
    assert!((0.0..60.0).contains(&gateway["uptime_s"].as_f64().unwrap()));

    let now = &status["now"];
    assert_eq!((&now["clients"], &now["servers"], &now["conns"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&now["buffered_bytes"], &now["max_buffered_bytes"]), (&json!(0), &json!(1 << 30)));
    assert_eq!(now["received"]["client"]["messages"], 1);
    assert_eq!(now["sent"]["server"]["messages"], 1);
    assert!(now["received"]["client"]["bytes"].as_u64().unwrap() >= 108);
    assert_eq!(
        (&now["received"]["server"]["messages"], &now["sent"]["client"]["messages"]),
        (&json!(0), &json!(0))
    );

    let servers = status["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 1);
    let row = &servers[0];
    assert_eq!(
        (&row["id"], &row["conns"], &row["opened"], &row["blocked"]),
        (&json!(7), &json!(1), &json!(1), &json!(false))
    );
    assert!(row["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&row["queued_messages"], &row["queued_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(row["queue_limit_bytes"], config().server.queue.bytes);
    assert_eq!(row["sent"]["messages"], 1);
    assert_eq!(status["slowest_clients"], json!([]), "nothing waits for any");
    assert_eq!(status["warnings"], json!([]));

    let kinds: Vec<_> = status["refusals"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), fastway_gateway::Refusal::ALL.len());
    assert!(
        kinds.iter().all(|kind| kind["count"] == 0 && kind["kind"].is_string() && kind["words"].is_string())
    );
    let ended = status["ended"].as_array().unwrap();
    assert_eq!(ended.len(), 2 * fastway_gateway::Ended::ALL.len());
    assert!(ended.iter().all(|ended| ended["count"] == 0 && ended["reason"].is_string()));
}

/// A client that does not read, and a server that has none to send to.
#[tokio::test]
async fn the_status_names_the_slowest_clients() {
    let operated =
        Operated::start_with(config_with(|config| config.client.queue.bytes = 64 << 20), |_| ()).await;
    let (client, mut server, conn) = operated.gateway.pair().await;
    let message = crate::support::wire::data(conn, &[1; 500_000]);
    server.send(message.repeat(40)).await;
    server.expect_nothing().await;
    let status = operated.get("/status").await.json();
    let slowest = &status["slowest_clients"][0];
    assert_eq!((&slowest["side"], &slowest["blocked"]), (&json!("client"), &json!(true)), "{status:#}");
    let queued = slowest["queued_bytes"].as_u64().unwrap();
    assert!(queued > 1 << 20, "{status:#}");
    assert_eq!(slowest["queue_limit_bytes"], 64 << 20);
    assert!(status["now"]["buffered_bytes"].as_u64().unwrap() >= queued, "{status:#}");
    drop(client);
}
