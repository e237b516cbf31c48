//! The settings in effect, as a file that says the same, each with where it comes from.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use clap::Arg;

use super::file::{is_list, is_secret};
use super::sources::{Origin, Setting, Settings};
use crate::config::Config;
use crate::size::Size;

/// A setting, and what there is to say about it.
type Line = (String, String);

/// What a gateway with these settings does, as TOML. What nobody has set, and what is secret, is in comments.
pub(super) fn effective(settings: &Settings) -> String {
    let lines: Vec<Line> = settings.each.iter().map(|setting| line(setting, &settings.config)).collect();
    let width = lines.iter().map(|(setting, _)| setting.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut heading = None;
    for (setting, (left, right)) in settings.each.iter().zip(&lines) {
        if setting.arg.get_help_heading() != heading {
            let space = if heading.is_some() { "\n" } else { "" };
            heading = setting.arg.get_help_heading();
            text += &format!("{space}# {}\n", heading.unwrap_or_default());
        }
        let _ = writeln!(text, "{left:width$}   # {right}");
    }
    text
}

fn line(setting: &Setting, config: &Config) -> Line {
    let Setting { arg, value, origin } = setting;
    let name = setting.name();
    let Some(values) = value else { return without_value(setting, config) };
    if is_secret(arg) {
        return (format!("# {name} = \"…\""), format!("{origin}, masked"));
    }
    match written(values, is_list(arg)) {
        Some(value) => (format!("{name} = {value}"), origin.to_string()),
        None => (format!("# {name}"), format!("{origin}; it is no UTF-8, which a file cannot say")),
    }
}

fn without_value(setting: &Setting, config: &Config) -> Line {
    let Setting { arg, origin, .. } = setting;
    let name = setting.name();
    if is_list(arg) {
        let origin = if *origin == Origin::Unset { &Origin::Default } else { origin };
        return (format!("{name} = []"), origin.to_string());
    }
    let left = match in_its_place(name, config) {
        Some(value) => format!("# {name} = {value}"),
        None => format!("# {name}"),
    };
    match default_in_words(arg).filter(|_| *origin == Origin::Unset) {
        Some(words) => (left, format!("{origin}: {words}")),
        None => (left, origin.to_string()),
    }
}

/// What applies where nobody has said anything.
fn in_its_place(name: &str, config: &Config) -> Option<String> {
    let duration = |duration| quoted(&humantime::format_duration(duration).to_string());
    match name {
        "client-idle-timeout" => Some(duration(config.client.keepalive.idle_timeout)),
        "server-idle-timeout" => Some(duration(config.server.keepalive.idle_timeout)),
        "max-buffered-bytes" => Some(quoted(&Size(config.max_buffered_bytes).to_string())),
        "threads" => Some(config.threads.get().to_string()),
        _ => None,
    }
}

/// A default that is no value stands in the help of its flag.
pub(super) fn default_in_words(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, after) = help.split_once("[default: ")?;
    Some(after.split_once(']')?.0.to_owned())
}

/// `None` for text that is no UTF-8: TOML has no way to write it.
pub(super) fn written(values: &[OsString], is_list: bool) -> Option<String> {
    let values: Option<Vec<&str>> = values.iter().map(|value| OsStr::to_str(value)).collect();
    let values = values?;
    if is_list {
        let values: Vec<_> = values.into_iter().map(quoted).collect();
        return Some(format!("[{}]", values.join(", ")));
    }
    values.first().map(|value| bare_or_quoted(value))
}

/// Numbers and switches as such, if that is the same text when it is read.
fn bare_or_quoted(text: &str) -> String {
    let is_number = text.parse().is_ok_and(|number: i64| number.to_string() == text);
    if is_number || matches!(text, "true" | "false") { text.to_owned() } else { quoted(text) }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{TempFile, VALUES, is_tls_file, load, try_load};

    fn meaning(settings: &Settings) -> String {
        let Settings { config, cli, .. } = settings;
        format!("{config:?} {:?} {:?} {:?}", cli.process, cli.admin, cli.log)
    }

    #[test]
    fn what_is_printed_can_be_read_and_says_the_same() {
        let defaults = load(&[]);
        for setting in defaults.each.iter().filter(|setting| !is_secret(&setting.arg)) {
            let name = setting.name();
            if is_tls_file(name) {
                continue;
            }
            let key = TempFile::new("a-key");
            let mut suited = 0;
            for value in VALUES.iter().chain([&key.path()]) {
                let Ok(settings) = try_load(&[&format!("--{name}={value}")]) else { continue };
                let printed = effective(&settings);
                let file = TempFile::new(&printed);
                let again = load(&["--config", file.path()]);
                assert_eq!(meaning(&again), meaning(&settings), "--{name}={value}: {printed}");
                suited += usize::from(meaning(&settings) != meaning(&defaults));
            }
            assert!(suited > 0, "no value changes {name}: add one that does");
        }
    }

    #[test]
    fn every_setting_is_printed_once_under_its_heading() {
        let printed = effective(&load(&["--client-max-conn", "5", "--server-ping-interval", "40s"]));
        for setting in &load(&[]).each {
            let is_it = |line: &&str| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                line.split(' ').next() == Some(setting.name())
            };
            assert_eq!(printed.lines().filter(is_it).count(), 1, "{}: {printed}", setting.name());
        }
        let column = |line: &str| line.rfind("   # ");
        let line = |start: &str| printed.lines().find(|line| line.starts_with(start)).expect(start);
        assert_eq!(column(line("client-max-conn = 5 ")), column(line("client-addr = \"0.0.0.0:7010\" ")));
        assert!(line("client-max-conn = 5 ").ends_with("   # flag"), "{printed}");
        assert!(line("client-addr = ").ends_with("   # default"), "{printed}");
        assert!(line("reuse-port = false ").ends_with("   # default"), "{printed}");
        assert!(line("server-allow = [] ").ends_with("   # default"), "{printed}");
        let idle = line("# server-idle-timeout = \"1m 20s\" ");
        assert!(idle.ends_with("   # not set: twice the ping interval"), "{printed}");
        assert!(line("# threads = ").ends_with("   # not set: the number of cores"), "{printed}");
        assert!(line("# max-buffered-bytes = \"").contains("   # not set: a quarter of"), "{printed}");
        let [clients, servers] =
            ["# Clients (public port)", "# Servers (internal port)"].map(|heading| printed.find(heading));
        assert!(clients < printed.find("max-clients") && printed.find("max-clients") < servers, "{printed}");
    }

    #[test]
    fn a_password_is_masked() {
        for name in ["server-auth-password", "admin-token"] {
            let file = TempFile::new(&format!("{name} = 's3cret'"));
            for args in [[&format!("--{name}"), "s3cret"], ["--config", file.path()]] {
                let printed = effective(&load(&args));
                assert!(!printed.contains("s3cret"), "{printed}");
                let masked = format!("# {name} = \"…\"");
                let line = printed.lines().find(|line| line.starts_with(&masked));
                assert!(line.is_some_and(|line| line.ends_with(", masked")), "{printed}");
            }
        }
    }

    #[test]
    fn text_is_quoted_as_toml_wants_it() {
        for text in ["", "a b", "\"", "\\", "\n\t\u{7f}\u{0}", "é…\u{10ffff}", "#", "-0", "007", "+5", "1_0"]
        {
            let line = format!("a = {}", bare_or_quoted(text));
            let table = toml::de::DeTable::parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let value =
                table.get_ref().iter().next().expect("a value").1.get_ref().as_str().map(str::to_owned);
            assert_eq!(value.as_deref(), Some(text), "{line}");
        }
        assert_eq!(["16", "-1", "true"].map(bare_or_quoted), ["16", "-1", "true"]);
    }

    #[test]
    fn a_path_that_is_no_text_is_not_printed_as_a_setting() {
        use std::os::unix::ffi::OsStrExt as _;
        assert_eq!(written(&[OsStr::from_bytes(b"/\xff").to_owned()], false), None);
    }
}
