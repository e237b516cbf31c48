//! `deploy/gateway.toml` shows every setting with its default, and here it is kept true. After a change of the flags,
//! `cargo test -p fastway-gateway --lib -- --ignored write_the_example` writes it anew.

use std::ffi::OsString;

use clap::{Arg, CommandFactory as _};

use super::file::is_setting;
use super::flags::Cli;
use super::print::{default_in_words, written};
use super::testing::{TempFile, load};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/gateway.toml");

const HEAD: &str = "\
# Every setting of the gateway, with its default. Take the # away from a line to change what it says.
#
#     gateway check --config gateway.toml     says whether a gateway would start with it
#     gateway config --config gateway.toml    says what is in effect, and where it comes from
#     gateway --config gateway.toml           starts it
#
# A flag counts more than the environment, that more than this file, and that more than the default. Names are those of
# the flags; a table is the beginning of a name, so that max-conn in [client] is client-max-conn. Sizes are bytes, or
# 1024-based with K, M, G; durations have a unit.
";

fn example() -> String {
    let mut text = HEAD.to_owned();
    let mut heading = None;
    for arg in Cli::command().get_arguments().filter(|arg| is_setting(arg)) {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            text += &format!("\n\n### {}\n", heading.expect("settings have headings"));
        }
        text += &entry(arg);
    }
    text
}

fn entry(arg: &Arg) -> String {
    let name = arg.get_long().expect("settings have names");
    let mut words = arg.get_help().expect("settings have help").to_string();
    let default = default_in_words(arg);
    if let Some(default) = &default {
        words = words.replace(&format!(" [default: {default}]"), "");
    }
    let possible: Vec<_> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !possible.is_empty() {
        words += &format!(" [one of: {}]", possible.join(", "));
    }
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_os_string()).collect();
    let (values, remark) = if values.is_empty() {
        let default = default.map(|default| format!("Without it: {default}. ")).unwrap_or_default();
        (shown(name), format!("# {default}For example:\n"))
    } else {
        (values, String::new())
    };
    let value = written(&values, arg.get_value_delimiter().is_some()).expect("it is UTF-8");
    format!("\n{}{remark}#{name} = {value}\n", comment(&words))
}

/// What may be there where there is no default.
fn shown(name: &str) -> Vec<OsString> {
    let values = match name {
        "client-idle-timeout" | "server-idle-timeout" => &["1m"][..],
        "server-auth-password" => &["long and random"],
        "server-auth-password-file" => &["/etc/fastway/key"],
        "client-tls-cert" => &["/etc/fastway/client.pem"],
        "client-tls-key" => &["/etc/fastway/client.key"],
        "server-tls-cert" => &["/etc/fastway/server.pem"],
        "server-tls-key" => &["/etc/fastway/server.key"],
        "server-tls-client-ca" => &["/etc/fastway/ca.pem"],
        "server-allow" => &["10.0.0.0/8", "fd00::/8"],
        "server-groups" => &["1000=1001-1010", "2000=2001-2004:client"],
        "client-proxy-protocol" => &["10.0.0.0/24"],
        "pid-file" => &["/run/fastway/gateway.pid"],
        "admin-addr" => &["127.0.0.1:7030"],
        "admin-token" => &["long-and-random"],
        "admin-token-file" => &["/etc/fastway/admin-token"],
        "admin-host" => &["gateway-1.example"],
        "max-buffered-bytes" => &["2G"],
        "threads" => &["4"],
        other => panic!("{other} has no default: say here what should be shown"),
    };
    values.iter().map(OsString::from).collect()
}

/// Settings that name a file that is read at the start.
const NOT_THERE: [&str; 7] = [
    "admin-token-file",
    "server-auth-password-file",
    "client-tls-cert",
    "client-tls-key",
    "server-tls-cert",
    "server-tls-key",
    "server-tls-client-ca",
];

/// Lines of 110 characters at most.
fn comment(words: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in words.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the beginning");
        if line.chars().count() + 1 + word.chars().count() > 110 {
            lines.push(format!("# {word}"));
        } else {
            *line += &format!(" {word}");
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_example_is_up_to_date() {
    let file = std::fs::read_to_string(PATH).expect("it is in the repository");
    assert!(
        file == example(),
        "deploy/gateway.toml is not what the flags say: \
         cargo test -p fastway-gateway --lib -- --ignored write_the_example"
    );
}

#[test]
#[ignore = "it writes deploy/gateway.toml"]
fn write_the_example() {
    std::fs::write(PATH, example()).expect("the repository can be written to");
}

#[test]
fn the_example_can_be_read_and_changes_nothing() {
    let file = std::fs::read_to_string(PATH).expect("it is in the repository");
    let as_it_is = load(&["--config", PATH]);
    let nothing = load(&[]);
    assert_eq!(format!("{:?}", as_it_is.config), format!("{:?}", nothing.config));
    // With every # taken away, but for what names a file that is not there.
    let settings: String = file
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty())
        })
        .filter(|line| !NOT_THERE.iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\n"))
        .collect();
    let all = TempFile::new(&settings);
    let all = load(&["--config", all.path()]);
    for (setting, default) in all.each.iter().zip(&nothing.each) {
        if !NOT_THERE.contains(&setting.name()) {
            assert!(setting.origin.to_string().contains(".toml:"), "{} is not in the file", setting.name());
        }
        if default.value.is_some() {
            assert_eq!(setting.value, default.value, "{}", setting.name());
        }
    }
}
