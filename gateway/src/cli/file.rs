//! The configuration file: TOML in, settings with their lines out.
//!
//! It knows no setting by itself. Names are those of the flags, where a table is the beginning of a name, and every value becomes
//! text that is read as the flag's would be. So there is one parser, and one set of words for what is wrong.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Who may do what with a file, but for its owner.
const OTHERS: u32 = 0o077;

/// A file that is larger is another one: /dev/zero has no end.
const LARGEST: u64 = 1024 * 1024;

/// One configuration file, whose every value its flag would take.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    entries: Vec<Entry>,
    open_to_others: bool,
}

/// One setting of a file.
#[derive(Debug)]
struct Entry {
    /// Of the flag.
    id: String,
    key: String,
    values: Vec<String>,
    line: usize,
    secret: bool,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    line: usize,
}

impl fmt::Display for Place {
    /// On one line, whatever the file is called.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string().replace(char::is_control, "\u{fffd}");
        write!(f, "{path}:{}", self.line)
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("--config {} cannot be read: {error}", .path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("--config {} is larger than 1 MiB: name a file of settings", .path.display())]
    TooLarge { path: PathBuf },
    #[error("{place}: {problem}")]
    Line { place: Place, problem: Problem },
}

/// What is wrong in one line, and what would be right. It never shows text of the file but for names of settings and for
/// values that a parser has judged: there may be a password next to it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("this is no UTF-8: save the file as UTF-8")]
    NoUtf8,
    #[error(
        "this is no TOML: {message}. A line is NAME = VALUE, and a VALUE that is neither a whole number nor true or false \
         has quotes, such as \"30s\", \"512K\" or \":7010\""
    )]
    NoToml { message: String },
    #[error("{key} is there already: leave one of them out")]
    TwiceInToml { key: String },
    #[error("{key} is set already in line {first}: leave one of them out")]
    Twice { key: String, first: usize },
    #[error("there is no setting {key}: {remedy}")]
    Unknown { key: String, remedy: String },
    #[error("config cannot be set in a file, which would name another one: use --config or FASTWAY_CONFIG")]
    Config,
    #[error("{key} is of the type {is}, but must be {expected}")]
    WrongType { key: String, is: &'static str, expected: &'static str },
    #[error("{key} is {value}, but {reason}")]
    WrongValue { key: String, value: String, reason: String },
}

impl File {
    /// Reads a file whose settings are flags of this command.
    pub(super) fn read(path: &Path, command: &Command) -> Result<Self, FileError> {
        let mut bytes = Vec::new();
        let mut read = || -> io::Result<u32> {
            let file = fs::File::open(path)?;
            let mode = file.metadata()?.permissions().mode();
            file.take(LARGEST + 1).read_to_end(&mut bytes)?;
            Ok(mode)
        };
        let mode = read().map_err(|error| FileError::Read { path: path.to_owned(), error })?;
        if bytes.len() as u64 > LARGEST {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        Self::of(path, &bytes, mode & OTHERS != 0, command)
    }

    /// What a file with this text says.
    pub(super) fn of(
        path: &Path,
        text: &[u8],
        open_to_others: bool,
        command: &Command,
    ) -> Result<Self, FileError> {
        let entries = parse(text, command).map_err(|(line, problem)| FileError::Line {
            place: Place { path: path.to_owned(), line },
            problem,
        })?;
        Ok(Self { path: path.to_owned(), entries, open_to_others })
    }

    /// The line that sets the flag with this ID.
    pub(super) fn place(&self, id: &str) -> Option<Place> {
        self.get(id).map(|entry| Place { path: self.path.clone(), line: entry.line })
    }

    /// The command with the file's settings in the place of its defaults.
    pub(super) fn as_defaults(&self, command: Command) -> Command {
        let default = |arg: Arg| match self.get(arg.get_id().as_str()) {
            Some(entry) => arg.default_values(&entry.values),
            None => arg,
        };
        command.mut_args(default).mut_subcommands(|subcommand| subcommand.mut_args(default))
    }

    /// There is a password in it that others than its owner can read.
    pub(super) fn shows_a_password(&self) -> bool {
        self.open_to_others && self.entries.iter().any(|entry| entry.secret)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }
}

/// A problem and its line.
type Located = (usize, Problem);

fn parse(bytes: &[u8], command: &Command) -> Result<Vec<Entry>, Located> {
    let text = str::from_utf8(bytes).map_err(|error| (line(bytes, error.valid_up_to()), Problem::NoUtf8))?;
    let table = DeTable::parse(text).map_err(|error| no_toml(text, &error))?;
    let mut keys = Vec::new();
    flatten("", table.get_ref(), &mut keys);
    // A table is sorted by name, but what is wrong first in the file should be told first.
    keys.sort_by_key(|key| key.offset);
    let mut entries: Vec<Entry> = Vec::new();
    for key in keys {
        let entry = entry(&key, bytes, command)?;
        if let Some(first) = entries.iter().find(|first| first.id == entry.id) {
            return Err((entry.line, Problem::Twice { key: entry.key, first: first.line }));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// A name as the flag has it, and what it is set to.
struct Key<'a> {
    name: String,
    offset: usize,
    value: &'a Spanned<DeValue<'a>>,
}

/// `[client] max-conn` is `client-max-conn`.
fn flatten<'a>(prefix: &str, table: &'a DeTable<'a>, keys: &mut Vec<Key<'a>>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => flatten(&format!("{name}-"), table, keys),
            _ => keys.push(Key { name, offset: key.span().start, value }),
        }
    }
}

fn entry(key: &Key<'_>, bytes: &[u8], command: &Command) -> Result<Entry, Located> {
    let line_of_key = line(bytes, key.offset);
    let arg = find(&key.name, command).map_err(|problem| (line_of_key, problem))?;
    let mut values = Vec::new();
    let elements = match key.value.get_ref() {
        DeValue::Array(elements) if is_list(arg) => &elements[..],
        _ => std::slice::from_ref(key.value),
    };
    for element in elements {
        let text = text(arg, &key.name, element.get_ref())
            .and_then(|text| judge(arg, &text).map(|()| text))
            .map_err(|problem| (line(bytes, element.span().start), problem))?;
        values.push(text);
    }
    Ok(Entry {
        id: arg.get_id().to_string(),
        key: key.name.clone(),
        values,
        line: line_of_key,
        secret: is_secret(arg),
    })
}

fn find<'a>(key: &str, command: &'a Command) -> Result<&'a Arg, Problem> {
    match command.get_arguments().find(|arg| arg.get_long() == Some(key)) {
        Some(arg) if is_setting(arg) => Ok(arg),
        Some(_) => Err(Problem::Config),
        None => {
            let remedy = match nearest(key, command) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "settings have the names of the flags that gateway --help lists".to_owned(),
            };
            Err(Problem::Unknown { key: key.to_owned(), remedy })
        }
    }
}

/// The setting that was probably meant: what clap would say to a flag of that name.
fn nearest(key: &str, command: &Command) -> Option<String> {
    let error = command.clone().try_get_matches_from(["gateway", &format!("--{key}")]).err()?;
    let Some(ContextValue::String(flag)) = error.get(ContextKind::SuggestedArg) else { return None };
    let arg = command.get_arguments().find(|arg| arg.get_long() == flag.strip_prefix("--"))?;
    is_setting(arg).then(|| flag.trim_start_matches('-').to_owned())
}

/// What would have been typed.
fn text(arg: &Arg, key: &str, value: &DeValue<'_>) -> Result<String, Problem> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        // Whether 0x10 is a password of two characters or of four should not be a matter of taste.
        DeValue::Integer(number) if !is_secret(arg) => Ok(decimal(number)),
        DeValue::Boolean(switch) if !is_secret(arg) => Ok(switch.to_string()),
        other => Err(Problem::WrongType {
            key: key.to_owned(),
            is: other.type_str(),
            expected: match arg {
                arg if is_secret(arg) => "text in quotes",
                arg if is_list(arg) => "text in quotes, or a list of such",
                _ => "a whole number, true or false, or text in quotes",
            },
        }),
    }
}

fn decimal(number: &DeInteger<'_>) -> String {
    let digits = number.as_str();
    match i128::from_str_radix(digits, number.radix()) {
        Ok(number) => number.to_string(),
        // No setting takes that, and its parser says so.
        Err(_) => digits.to_owned(),
    }
}

/// Has the flag's own parser judge what the flag would be given.
fn judge(arg: &Arg, text: &str) -> Result<(), Problem> {
    let key = arg.get_long().unwrap_or_default();
    let alone = Command::new("gateway").no_binary_name(true).arg(arg.clone().env(None));
    match alone.try_get_matches_from([OsString::from(format!("--{key}={text}"))]) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Problem::WrongValue { key: key.to_owned(), value: shown(text), reason: reason(&error) })
        }
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { "empty".to_owned() } else { text.replace(char::is_control, "\u{fffd}") }
}

/// What a parser has to say, without the flag and the value, which are named anyway.
fn reason(error: &clap::Error) -> String {
    if let Some(reason) = error.source() {
        return reason.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("must be one of {}", values.join(", "))
        }
        _ => "must have a value".to_owned(),
    }
}

fn no_toml(text: &str, error: &toml::de::Error) -> Located {
    let span = error.span().unwrap_or_default();
    let line = line(text.as_bytes(), span.start);
    match (error.message(), text.get(span)) {
        ("duplicate key", Some(key)) => (line, Problem::TwiceInToml { key: key.to_owned() }),
        (message, _) => (line, Problem::NoToml { message: message.to_owned() }),
    }
}

/// The number of the line that this byte is in.
fn line(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// Everything that can be set but for the file itself.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_id() != "config"
}

/// A flag that can have more than one value.
pub(super) fn is_list(arg: &Arg) -> bool {
    arg.get_value_delimiter().is_some()
}

/// A flag whose value is for nobody's eyes.
pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::flags::Cli;

    fn entries(text: &str) -> Vec<(String, Vec<String>, usize)> {
        let entries =
            parse(text.as_bytes(), &Cli::command()).map_err(|(line, problem)| format!("{line}: {problem}"));
        entries.unwrap().into_iter().map(|entry| (entry.key, entry.values, entry.line)).collect()
    }

    fn wrong(text: impl AsRef<[u8]>) -> (usize, String) {
        let (line, problem) = parse(text.as_ref(), &Cli::command()).expect_err("it is wrong");
        (line, problem.to_string())
    }

    #[test]
    fn a_table_is_the_beginning_of_a_name() {
        for text in [
            "client-max-conn = 5\nserver-allow = ['10.0.0.0/8']\nlog-level = 'warn'",
            "[client]\nmax-conn = 5\n[server]\nallow = ['10.0.0.0/8']\n[log]\nlevel = 'warn'",
            "client.max-conn = 5\nserver = { allow = ['10.0.0.0/8'] }\nlog.level = 'warn'",
            "[client.max]\nconn = 5\n[server]\nallow = '10.0.0.0/8'\n[log]\nlevel = 'warn'",
        ] {
            let found: Vec<_> =
                entries(text).into_iter().map(|(key, values, _)| (key, values.join(","))).collect();
            let expected = [("client-max-conn", "5"), ("server-allow", "10.0.0.0/8"), ("log-level", "warn")];
            assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_value_is_what_would_have_been_typed() {
        for (text, value) in [
            ("client-max-conn = 1_000", "1000"),
            ("client-max-conn = 0x10", "16"),
            ("client-max-conn = '16'", "16"),
            ("reuse-port = true", "true"),
            ("reuse-port = 'off'", "off"),
            ("max-packet-size = 4096", "4096"),
            ("max-packet-size = '4K'", "4K"),
            ("server-ping-interval = 0", "0"),
            ("server-auth-password = ' a\\b,c=\"#'", " a\\b,c=\"#"),
            ("server-allow = '10.0.0.0/8,::1'", "10.0.0.0/8,::1"),
        ] {
            assert_eq!(entries(text)[0].1, [value], "{text}");
        }
        assert_eq!(entries("server-allow = ['10.0.0.0/8', '::1']")[0].1, ["10.0.0.0/8", "::1"]);
        assert!(entries("server-allow = []")[0].1.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_line_name_and_remedy() {
        for (text, at, words) in [
            ("\nclient-max-con = 5", 2, &["no setting client-max-con:", "did you mean client-max-conn?"][..]),
            (
                "[clients]\n\nmax-conn = 5",
                3,
                &["no setting clients-max-conn:", "did you mean client-max-conn?"],
            ),
            ("zzz = 5", 1, &["no setting zzz:", "gateway --help"]),
            ("help = true", 1, &["no setting help:", "gateway --help"]),
            ("version = 1", 1, &["no setting version:"]),
            ("'' = 1", 1, &["no setting :"]),
            (
                "\n\nconfig = 'other.toml'",
                3,
                &["config cannot be set in a file", "--config", "FASTWAY_CONFIG"],
            ),
            ("confi = 1", 1, &["no setting confi:", "gateway --help"]),
            ("log-level = 'info'\n[log]\nlevel = 'warn'", 3, &["log-level", "already in line 1"]),
            ("[log]\nlevel = 'info'\nlevel = 'warn'", 3, &["level is there already"]),
            ("[log]\nlevel = 'info'\n[log]\nformat = 'json'", 3, &["log is there already"]),
            ("\nclient-ping-interval = 30s", 2, &["this is no TOML", "\"30s\""]),
            ("log-level\n", 1, &["this is no TOML", "NAME = VALUE"]),
            ("threads = 1.5", 1, &["threads is of the type float", "a whole number"]),
            ("threads = [1]", 1, &["threads is of the type array", "a whole number"]),
            ("threads = 2026-01-01", 1, &["threads is of the type datetime"]),
            ("server-allow = [\n'10.0.0.0/8',\n1.5]", 3, &["server-allow is of the type float", "a list"]),
            (
                "server-auth-password = 1234",
                1,
                &["server-auth-password is of the type integer", "text in quotes"],
            ),
            ("server-auth-password = true", 1, &["server-auth-password is of the type boolean"]),
            (
                "client-max-conn = 'many'",
                1,
                &["client-max-conn is many, but a count is a whole number, such as 16"],
            ),
            ("client-max-conn = -1", 1, &["client-max-conn is -1, but a count is a whole number"]),
            ("client-max-conn = true", 1, &["client-max-conn is true, but a count is"]),
            (
                "\n[client]\nping-interval = 30",
                3,
                &["client-ping-interval is 30, but a duration is a number with a unit"],
            ),
            ("max-packet-size = '12x'", 1, &["max-packet-size is 12x, but a size is", "512K"]),
            ("client-addr = 'nowhere'", 1, &["client-addr is nowhere, but an address is IP:PORT"]),
            ("client-addr = ''", 1, &["client-addr is empty, but an address is IP:PORT"]),
            ("mem-pool-type = 'slab'", 1, &["mem-pool-type is slab, but must be one of sync, atom, chan"]),
            ("reuse-port = 'perhaps'", 1, &["reuse-port is perhaps, but a switch is true or false"]),
            (
                "server-auth-password-file = ''",
                1,
                &["server-auth-password-file is empty, but must have a value"],
            ),
            (
                "server-allow = [\n'10.0.0.0/8',\n'10.0.0.0/33']",
                3,
                &["server-allow is 10.0.0.0/33, but a network is"],
            ),
            (
                "server-groups = [\n'1000=1001-1010',\n'2000=2001-2004:any']",
                3,
                &["server-groups is 2000=2001-2004:any, but there is no policy \"any\": write least"],
            ),
        ] {
            let (line, problem) = wrong(text);
            assert_eq!(line, at, "{text:?}: {problem}");
            for word in words {
                assert!(problem.contains(word), "{text:?}: {word:?} is not in {problem:?}");
            }
        }
        assert_eq!(
            wrong(b"threads = 1\n# \xff\n"),
            (2, "this is no UTF-8: save the file as UTF-8".to_owned())
        );
    }

    /// With a line break forgotten, a quote missing, or a wrong name beside it.
    #[test]
    fn no_error_shows_a_password() {
        for text in [
            "server-auth-password = s3cret",
            "server-auth-password = \"s3cret",
            "server-auth-password = \"s3cret\" threads = 2",
            "server-auth-password = \"s3cret\"\nserver-auth-password = \"s3cret\"",
            "server-auth-password = [\"s3cret\"]",
            "server-auth-passwort = \"s3cret\"",
            "server-auth-password = \"s3cret\\q\"",
            "server-auth-password : s3cret",
        ] {
            let (_, problem) = wrong(text);
            assert!(!problem.contains("s3cret"), "{text}: {problem}");
        }
    }
}
