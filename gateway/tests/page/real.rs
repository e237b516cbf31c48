//! The page as the admin server of a gateway serves it, while a client and a server talk over that gateway.

use std::net::SocketAddr;
use std::time::Duration;

use fastway::endpoint::{Client, EndpointConfig, Server};
use fastway::id::ServerId;
use fastway::net::TcpNetwork;
use fastway_gateway::admin::{Admin, AdminConfig, Controls, RunningAdmin};
use fastway_gateway::{Config, Gateway};
use tokio::runtime::{Builder, Runtime};
use tracing::level_filters::LevelFilter;

use crate::browser::Browser;
use crate::{MACHINE, NO_ERRORS, rows};

/// Between two messages, so that some dozens go both ways in a second.
const PACE: Duration = Duration::from_millis(20);

/// The page has no buttons for these.
struct NoControls;

impl Controls for NoControls {
    fn reload(&self) -> Result<String, String> {
        Err("there is nothing to read".to_owned())
    }

    fn set_log_level(&self, _level: LevelFilter) -> Result<(), String> {
        Err("there is no log".to_owned())
    }
}

struct Operated {
    client_addr: SocketAddr,
    server_addr: SocketAddr,
    admin_addr: SocketAddr,
    _admin: RunningAdmin,
}

async fn start() -> Operated {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::default();
    (config.client.addr, config.server.addr) = (any, any);
    let network = TcpNetwork::new();
    let gateway = Gateway::bind(&network, config, [7; 32]).await.unwrap();
    let admin = Admin::bind(&network, AdminConfig::new(any)).await.unwrap();
    let operated = Operated {
        client_addr: gateway.client_addr(),
        server_addr: gateway.server_addr(),
        admin_addr: admin.addr(),
        _admin: admin.start(&gateway, NoControls).unwrap(),
    };
    tokio::spawn(gateway.run());
    operated
}

/// A client that sends a message each now and then, and a server that sends it back.
async fn talk(client_addr: SocketAddr, server_addr: SocketAddr) {
    let (network, config) = (TcpNetwork::new(), EndpointConfig::default());
    let id = ServerId::new(7);
    let server = Server::connect(&network, &server_addr.to_string(), id, b"", config.clone()).await.unwrap();
    let client = Client::connect(&network, &client_addr.to_string(), config).await.unwrap();
    let mut there = client.dial(id).await.unwrap();
    let mut back = server.accept().await.unwrap();
    tokio::spawn(async move {
        while there.send(vec![3; 1000]).await.is_ok() && there.recv().await.is_some() {
            tokio::time::sleep(PACE).await;
        }
        drop(client);
    });
    tokio::spawn(async move {
        while let Some(message) = back.recv().await {
            let _ = back.send(&message).await;
        }
        drop(server);
    });
}

#[test]
fn it_shows_a_gateway_and_can_steer_it() {
    let _machine = MACHINE.read();
    let Some(browser) = Browser::start() else { return };
    let runtime: Runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = runtime.block_on(start());
    runtime.block_on(talk(gateway.client_addr, gateway.server_addr));
    browser.open(&format!("http://{}/", gateway.admin_addr));

    browser.until("/KiB/.test(document.querySelector('#n-to-bytes').innerText)");
    browser.until("/KiB/.test(document.querySelector('#n-from-bytes').innerText)");
    assert_eq!(browser.text("#state span"), "Ready");
    assert_eq!(browser.text("#client-addr"), gateway.client_addr.to_string());
    assert_eq!(browser.text("#server-addr"), gateway.server_addr.to_string());
    assert_eq!(browser.text("#version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(browser.text("#n-clients"), "1");
    assert_eq!(browser.text("#n-conns"), "1");
    let server = &rows(&browser, "#servers")[0];
    assert_eq!((&*server[0], &*server[2]), ("7", "1"));
    assert!(server[1].starts_with("127.0.0.1:"), "{server:?}");

    let click = |selector: &str| browser.run(&format!("document.querySelector({selector:?}).click()"));
    click("#servers .x");
    click("#ask-yes");
    browser.until("document.querySelector('#n-servers').innerText === '0'");
    assert!(browser.text("#topology svg").contains("no server yet"));
    click("#drain");
    click("#ask-yes");
    browser.until("document.querySelector('#state span').innerText === 'Draining'");
    assert_eq!(browser.errors(), NO_ERRORS);
}
