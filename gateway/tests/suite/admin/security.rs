//! Who may ask, and what browsers may do with an answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastway::net::TcpNetwork;
use fastway_gateway::admin::{Admin, AdminConfig, AdminError, AdminToken};

use super::http::send;
use super::{Operated, config, with_token};

/// Everything that can be asked, and changes nothing.
const READS: [&str; 8] = ["/", "/page.js", "/live", "/ready", "/metrics", "/status", "/sessions", "/servers"];
const CHANGES: [&str; 4] = ["/drain", "/reload", "/log-level?level=off", "/sessions/client/1/close"];

/// DNS rebinding: the name of a page's own host can lead to this address.
#[tokio::test]
async fn it_answers_to_no_foreign_name() {
    let operated =
        Operated::start_with(config(), |config| config.hosts = vec!["gateway-1.example".to_owned()]).await;
    for host in ["evil.example", "localhost.evil.example:80"] {
        for path in READS {
            let error = operated.ask("GET", path, &[("Host", host)], "").await.error(421);
            assert!(error.contains("--admin-host"), "{error}");
        }
        for path in CHANGES {
            operated.ask("POST", path, &[("Host", host)], "").await.error(421);
        }
    }
    operated.nothing_was_done();
    for host in ["127.0.0.1", "[::1]:7030", "localhost:7030", "gateway-1.example"] {
        assert_eq!(operated.ask("GET", "/status", &[("Host", host)], "").await.status, 200, "{host}");
    }
    assert!(operated.ask("GET", "/live", &[("Host", "")], "").await.error(400).contains("Host"));
    let two = "GET /live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    send(operated.addr, two).await.error(421);
    let whole = "GET http://evil.example/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    send(operated.addr, whole).await.error(421);
    // As health checks of load balancers ask.
    assert_eq!(send(operated.addr, "GET /ready HTTP/1.0\r\n\r\n").await.status, 200);
}

/// Forms of other sites can be sent here, and no browser asks first.
#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let operated = Operated::start().await;
    let own = format!("http://{}", operated.addr);
    for headers in [
        &[("Origin", "http://evil.example")][..],
        &[("Origin", "null")],
        &[("Origin", "http://127.0.0.1:1")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", &own)],
    ] {
        for path in CHANGES {
            let error = operated.ask("POST", path, headers, "").await.error(403);
            assert!(error.contains("another site"), "{error}");
        }
    }
    operated.nothing_was_done();
    let ours = [("Origin", &own[..]), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(operated.ask("POST", "/drain", &ours, "").await.status, 200);
    // Links from elsewhere are followed, but what they lead to is for nobody else to read.
    let link = operated.ask("GET", "/", &[("Sec-Fetch-Site", "cross-site")], "").await;
    assert_eq!(link.status, 200);
    assert_eq!(link.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_token_is_asked_for_by_everything_but_the_probes() {
    let operated = Operated::start_with(config(), with_token("s3cret")).await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let wrong =
        ["", "Bearer s3cre", "Bearer", "s3cret", &basic("s3cret:"), &basic("admin:S3cret"), "Basic !"];
    for path in READS {
        for value in wrong {
            let answer = operated.ask("GET", path, &[("Authorization", value)], "").await;
            if ["/live", "/ready"].contains(&path) {
                assert_eq!(answer.status, 200);
                continue;
            }
            let error = answer.error(401);
            assert!(error.contains("--admin-token") && !error.contains("s3cret"), "{error}");
            let asked = answer.header("www-authenticate").unwrap();
            assert!(asked.starts_with("Basic realm=") && asked.contains("Bearer"), "{asked}");
        }
        for value in ["Bearer s3cret", &basic("admin:s3cret"), &basic(":s3cret")] {
            let answer = operated.ask("GET", path, &[("Authorization", value)], "").await;
            assert_eq!(answer.status, 200, "{path} {value}");
        }
    }
    for path in CHANGES.iter().chain(&["/nowhere"]) {
        operated.post(path).await.error(401);
    }
    operated.nothing_was_done();
    // A browser sends what it remembers with the form of another site, too.
    let (token, origin) = (("Authorization", "Bearer s3cret"), ("Origin", "http://evil.example"));
    operated.ask("POST", "/drain", &[token, origin], "").await.error(403);
    operated.nothing_was_done();
    assert_eq!(operated.ask("POST", "/drain", &[token], "").await.status, 200);
}

#[tokio::test]
async fn browsers_keep_nothing_and_load_nothing_from_elsewhere() {
    let operated = Operated::start().await;
    for path in READS.iter().chain(&["/nowhere"]) {
        let answer = operated.get(path).await;
        let header = |name: &str| answer.header(name).unwrap_or_else(|| panic!("{path} lacks {name}"));
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }
    let page = operated.get("/").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.body.starts_with("<!doctype html>"));
    for attribute in ["src=\"", "href=\""] {
        for link in page.body.split(attribute).skip(1) {
            let link = link.split_once('"').unwrap().0;
            if link.starts_with("data:") || link.starts_with('#') {
                continue;
            }
            let file = operated.get(&format!("/{link}")).await;
            assert_eq!(file.status, 200, "{link}");
        }
    }
}

#[tokio::test]
async fn beyond_loopback_it_does_not_listen_without_a_token() {
    let mut config = AdminConfig::new("0.0.0.0:0".parse().unwrap());
    let error = Admin::bind(&TcpNetwork::new(), config.clone()).await.unwrap_err();
    assert!(matches!(error, AdminError::Config(_)) && error.to_string().contains("0.0.0.0:0"), "{error}");
    config.token = Some(AdminToken::new("s3cret").unwrap());
    assert!(Admin::bind(&TcpNetwork::new(), config).await.is_ok());
}

impl Operated {
    #[track_caller]
    fn nothing_was_done(&self) {
        let asked = self.controls.0.lock().unwrap();
        assert!(asked.reloads == 0 && asked.levels.is_empty() && !self.gateway.handle.is_draining());
    }
}
