//! The files of TLS, as whoever starts the binary sees them: what is said about those that cannot be used.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::date_time_ymd;

use super::authority::Authority;
use super::folder::Folder;
use super::stopping::{LOOPBACK, Process};

#[expect(clippy::disallowed_methods, reason = "certificates end by the wall clock")]
pub(crate) fn from_now(time: Duration) -> SystemTime {
    SystemTime::now() + time
}

/// The exit code of a subcommand, and what it says.
fn run(folder: &Folder, subcommand: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let output = command.arg(subcommand).args(args).env_clear().current_dir(folder.root()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_flag_and_why() {
    let folder = Folder::new();
    let authority = Authority::new();
    let good = authority.issue("a.example");
    let dated = |from, to| {
        authority.issue_with("a.example", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    let (expired, future) = (dated(2000, 2001), dated(3000, 3001));
    for (name, text) in [
        ("cert", &good.certificate),
        ("key", &good.key),
        ("other-key", &authority.issue("b.example").key),
        ("expired", &expired.certificate),
        ("expired-key", &expired.key),
        ("future", &future.certificate),
        ("future-key", &future.key),
        ("ca", &authority.pem()),
        ("empty", &String::new()),
    ] {
        folder.write(name, text);
    }
    let client = ["--client-tls-cert", "--client-tls-key", ""];
    let server = ["--server-tls-cert", "--server-tls-key", "--server-tls-client-ca"];
    for (flags, files, words) in [
        (client, ["none", "key", ""], &["--client-tls-cert none", "cannot be read"][..]),
        (client, ["cert", "none", ""], &["--client-tls-key none", "cannot be read"]),
        (client, ["cert", "", ""], &["--client-tls-cert", "without --client-tls-key"]),
        (client, ["", "key", ""], &["--client-tls-key", "without --client-tls-cert"]),
        (client, ["key", "key", ""], &["--client-tls-cert key", "no certificate in it"]),
        (client, ["cert", "cert", ""], &["--client-tls-key cert", "no private key in it"]),
        (
            client,
            ["cert", "other-key", ""],
            &["--client-tls-key other-key", "not the one of the certificate"],
        ),
        (client, ["empty", "key", ""], &["--client-tls-cert empty", "it is empty"]),
        (client, ["cert", "empty", ""], &["--client-tls-key empty", "it is empty"]),
        (client, ["expired", "expired-key", ""], &["--client-tls-cert expired", "expired", "days ago"]),
        (client, ["future", "future-key", ""], &["--client-tls-cert future", "not valid yet", "clock"]),
        (server, ["cert", "other-key", ""], &["--server-tls-key other-key"]),
        (server, ["cert", "key", "none"], &["--server-tls-client-ca none", "cannot be read"]),
        (server, ["cert", "key", "cert"], &["--server-tls-client-ca cert", "no", "CA"]),
        (server, ["cert", "key", "key"], &["--server-tls-client-ca key", "no certificate in it"]),
        (server, ["", "", "ca"], &["--server-tls-client-ca", "without --server-tls-cert"]),
    ] {
        let args: Vec<_> = flags.into_iter().zip(files).filter(|(_, file)| !file.is_empty()).collect();
        let args: Vec<_> = args.into_iter().flat_map(|(flag, file)| [flag, file]).collect();
        let (code, said) = run(&folder, "check", &args);
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: {word:?} is not in {said}");
        }
    }
    let all = [client[0], "cert", client[1], "key", server[0], "cert", server[1], "key", server[2], "ca"];
    let (code, said) = run(&folder, "check", &all);
    assert_eq!(code, Some(0), "{said}");
    // What is printed is a configuration file again.
    let (code, printed) = run(&folder, "config", &all);
    assert_eq!(code, Some(0), "{printed}");
    folder.write("gateway.toml", &printed);
    let (code, said) = run(&folder, "config", &["--config", "gateway.toml"]);
    assert_eq!(code, Some(0), "{said}");
    for line in ["client-tls-cert = \"cert\"", "server-tls-client-ca = \"ca\""] {
        assert!(printed.contains(line) && said.contains(line), "{said}");
    }
}

/// At the start, by `gateway check`, and at each reload, until it was renewed.
#[test]
fn a_certificate_that_is_about_to_expire_is_said_in_the_log() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let write = |days: u64| {
        let at = from_now(Duration::from_secs(days * 24 * 3600 + 90));
        let pem = authority.issue_with("a.example", |params| params.not_after = at.into());
        [folder.write("cert", &pem.certificate), folder.write("key", &pem.key)]
    };
    let [certificate, key] = write(13);
    let args = ["--client-tls-cert", &certificate, "--client-tls-key", &key];
    let (code, said) = run(&folder, "check", &args);
    let warning =
        "WARN --client-tls-cert: the certificate, or one that leads from it to its CA, expires in 13days 1m";
    assert!(code == Some(0) && said.contains(warning), "{said}");
    let mut process = Process::start(&[&LOOPBACK[..], &args].concat());
    process.line_with(warning);
    write(1);
    process.signal("HUP");
    process.line_with("ERROR --client-tls-cert");
    process.line_with("settings read again");
    write(100);
    process.signal("HUP");
    assert!(!process.line().contains("expires"));
    process.signal("INT");
    let (code, log) = process.end();
    assert!(code == Some(0) && !log.contains("expires"), "{log}");
}
