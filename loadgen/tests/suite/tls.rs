//! Gateways with TLS on either port, and what is said when the two ends do not agree about it.

use std::path::{Path, PathBuf};

use fastway::net::tls::TlsAcceptor;

use crate::authority::{Authority, Pem};
use crate::support::{Folder, TestGateway, Tool};

/// Soon over, and nothing is asked of the machine.
const SHORT: [&str; 8] = ["-c", "4", "--conns", "2", "-n", "400", "-w", "0s"];

/// Certificates, in files too.
pub(crate) struct Trust {
    folder: Folder,
    pub(crate) authority: Authority,
    pub(crate) ca: String,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let (folder, authority) = (Folder::new(), Authority::new());
        let ca = write(&folder.file("ca"), &authority.pem());
        Self { folder, authority, ca }
    }

    pub(crate) fn acceptor(&self, of_servers: Option<&Authority>) -> TlsAcceptor {
        let identity = self.authority.issue("gateway.internal").identity();
        TlsAcceptor::new(identity, of_servers.map(Authority::authorities)).unwrap()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        write(&self.folder.file(name), text)
    }
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    PathBuf::from(path).into_os_string().into_string().unwrap()
}

fn run(gateway: &TestGateway, args: &[&str]) -> crate::support::Ended {
    Tool::run(&[&["run", &gateway.target()], &SHORT[..], args].concat())
}

#[test]
fn messages_come_back_over_tls_on_either_port_and_on_both() {
    let trust = Trust::new();
    let client = ["--tls", "--tls-ca", &trust.ca, "--tls-server-name", "gateway.internal"];
    let server =
        ["--server-tls", "--server-tls-ca", &trust.ca, "--server-tls-server-name", "gateway.internal"];
    for (clients, servers, says) in
        [(true, false, "clients over TLS"), (false, true, "servers over TLS"), (true, true, "both over TLS")]
    {
        let gateway = TestGateway::start_with(|config| {
            config.client.tls = clients.then(|| trust.acceptor(None));
            config.server.tls = servers.then(|| trust.acceptor(None));
        });
        let args = [if clients { &client[..] } else { &[] }, if servers { &server } else { &[] }].concat();
        // Links end too, and begin again; and messages are larger than a record of TLS.
        let more = ["-s", "uniform:16-60K", "--reconnect", "20", "--calls", "20"];
        let ended = run(&gateway, &[&args[..], &more].concat());
        ended.expect_code(0);
        ended.all_came_back();
        assert_eq!(ended.number("/counts/errors"), 0, "{}", ended.tale());
        assert_eq!(ended.json["plan"]["client_tls"], clients);
        assert_eq!(ended.json["plan"]["server_tls"], servers);
        assert!(ended.says(says), "{}", ended.tale());
        // Each of them has said goodbye.
        let totals = gateway.totals();
        for side in [fastway::id::Side::Client, fastway::id::Side::Server] {
            assert_eq!(totals.side(side).ended(fastway_gateway::Ended::Failed), 0, "{side}");
        }
    }
}

#[test]
fn servers_can_show_a_certificate() {
    let (trust, servers) = (Trust::new(), Authority::new());
    let gateway = TestGateway::start_with(|config| config.server.tls = Some(trust.acceptor(Some(&servers))));
    let Pem { certificate, key } = servers.issue("game-server-1");
    let (certificate, key) = (trust.file("cert", &certificate), trust.file("key", &key));
    let tls = ["--server-tls", "--server-tls-ca", &trust.ca, "--server-tls-server-name", "gateway.internal"];
    let identity = ["--server-tls-cert", &certificate, "--server-tls-key", &key];
    let ended = run(&gateway, &[&tls[..], &identity].concat());
    ended.expect_code(0);
    ended.all_came_back();

    let ended = run(&gateway, &tls);
    assert_eq!(ended.code, Some(1), "{}", ended.tale());
    assert!(ended.says("it asks for a certificate, and was shown none"), "{}", ended.tale());
}

/// One sentence, on either side: what is wrong, where, and which flag is about it.
#[test]
fn ends_that_do_not_agree_are_told_so() {
    let (trust, stranger) = (Trust::new(), Authority::new());
    let other_ca = trust.file("other-ca", &stranger.pem());
    let plain = TestGateway::start();
    let encrypted = TestGateway::start_with(|config| {
        config.client.tls = Some(trust.acceptor(None));
        config.server.tls = Some(trust.acceptor(None));
    });
    let for_servers = TestGateway::start_with(|config| config.server.tls = Some(trust.acceptor(None)));
    let for_clients = TestGateway::start_with(|config| config.client.tls = Some(trust.acceptor(None)));
    let name = ["--server-tls-server-name", "gateway.internal"];
    let with_ca = ["--server-tls", "--server-tls-ca", &trust.ca];
    let with_other_ca = ["--server-tls", "--server-tls-ca", &other_ca];
    let client_ca = ["--tls", "--tls-ca", &trust.ca];
    let client_other_ca = ["--tls", "--tls-ca", &other_ca, "--tls-server-name", "gateway.internal"];
    for (gateway, args, words) in [
        (&encrypted, [&with_other_ca[..], &name].concat(), &["no CA that is trusted", "--server-tls-ca"][..]),
        (&encrypted, with_ca.to_vec(), &["127.0.0.1", "--server-tls-server-name"]),
        (&plain, with_ca.to_vec(), &["not TLS", "--server-tls"]),
        (&for_servers, vec![], &["no connection within 2s", "which has no TLS unless --server-tls says so"]),
        (&for_clients, client_other_ca.to_vec(), &["client", "no CA that is trusted", "--tls-ca"]),
        (&for_clients, client_ca.to_vec(), &["client", "127.0.0.1", "--tls-server-name"]),
        (&for_clients, vec![], &["client", "its public port has TLS (--tls)"]),
        (&plain, client_ca.to_vec(), &["client", "no connection within 2s", "that the public port has TLS"]),
    ] {
        let ended = run(gateway, &[&args[..], &["--connect-timeout", "2s"]].concat());
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.tale());
        for words in words {
            assert!(ended.says(words), "{args:?}: {words:?} is not in {}", ended.tale());
        }
    }
}

#[test]
fn what_cannot_work_is_said_before_the_run() {
    let trust = Trust::new();
    let pem = trust.authority.issue("game-server-1");
    let (certificate, key) = (trust.file("cert", &pem.certificate), trust.file("key", &pem.key));
    let other_key = trust.file("other-key", &trust.authority.issue("another").key);
    for (args, words) in [
        (&["--tls-ca", &trust.ca][..], &["--tls"][..]),
        (&["--server-tls-ca", &trust.ca], &["--server-tls"]),
        (&["--tls", "--tls-ca", "/nowhere/ca"], &["--tls-ca /nowhere/ca cannot be read", "No such file"]),
        (&["--tls", "--tls-ca", &key], &["--tls-ca", "no certificate in it"]),
        (&["--tls", "--tls-ca", &certificate], &["--tls-ca", "not one of a CA"]),
        (
            &["--tls", "--tls-ca", &trust.ca, "--tls-server-name", "a b"],
            &["--tls-server-name", "\"a b\" is neither"],
        ),
        (&["--server-tls", "--server-tls-cert", &certificate], &["--server-tls-key"]),
        (
            &[
                "--server-tls",
                "--server-tls-ca",
                &trust.ca,
                "--server-tls-cert",
                &certificate,
                "--server-tls-key",
                &other_key,
            ],
            &["--server-tls-key", "other-key: the private key is not the one of the certificate"],
        ),
    ] {
        let ended = Tool::start_bare(&[&["run", "127.94.3.1:7010"], args].concat()).end();
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.tale());
        for words in words {
            assert!(ended.says(words), "{args:?}: {words:?} is not in {}", ended.tale());
        }
    }
    let ended = Tool::start_bare(&["demo", "--tls", "--tls-ca", &trust.ca]).end();
    assert_eq!(ended.code, Some(2), "{}", ended.tale());
    assert!(ended.says("a demo's gateway has no TLS"), "{}", ended.tale());
}
