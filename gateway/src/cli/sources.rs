//! Where settings come from. A flag counts more than the environment, that more than the file, and that more than the default.
//!
//! clap knows all of these but for the file. So a first look finds out which file there is, its settings take the place of
//! clap's defaults, and a second look gives every setting with its origin.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use tracing::warn;

use super::file::{File, Place, is_setting};
use super::flags::{Action, Cli, command};
use super::meaning::AdminSettings;
use crate::config::Config;
use crate::expiry::log_expiring;

/// Secrets, and the files that have them.
const SECRETS: [[&str; 2]; 2] =
    [["server_auth_password", "server_auth_password_file"], ["admin_token", "admin_token_file"]];

/// What was typed. The environment and the file, which one of these names, are found when they are needed.
#[derive(Debug)]
pub(super) struct Sources {
    args: Vec<OsString>,
}

/// What all sources say together.
#[derive(Debug)]
pub(super) struct Settings {
    /// What is to be done with them.
    pub(super) action: Action,
    /// As they were given.
    pub(super) cli: Cli,
    /// What they mean.
    pub(super) config: Config,
    /// Where the admin server listens, if anywhere, and who may ask it.
    pub(super) admin: AdminSettings,
    /// Each of them, in the order of the flags.
    pub(super) each: Vec<Setting>,
    file: Option<File>,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its flag.
    pub(super) arg: Arg,
    /// What it is set to, as text; several of them if it is a list.
    pub(super) value: Option<Vec<OsString>>,
    /// Who says so.
    pub(super) origin: Origin,
}

/// Who says what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody.
    Unset,
    Default,
    File(Place),
    /// The variable.
    Env(String),
    Flag,
    /// Somebody, but there is another setting for the same, which counts more.
    Outvoted {
        origin: Box<Origin>,
        by: String,
    },
}

impl Sources {
    /// Arguments, the first of which is the name of the program.
    pub(super) fn new(args: impl IntoIterator<Item = OsString>) -> Self {
        Self { args: args.into_iter().collect() }
    }

    /// Reads and judges everything, as far as that is possible without a network: the environment, the file, and the file
    /// with the password too. It changes nothing, so it can be asked again what a changed file says.
    pub(super) fn load(&self) -> anyhow::Result<Settings> {
        let (_, matches) = self.parse(command())?;
        let path = matches.get_one::<PathBuf>("config");
        self.settle(path.map(|path| File::read(path, &Cli::command())).transpose()?)
    }

    /// The same, with this text in the place of a file.
    pub(super) fn load_text(&self, text: &[u8]) -> anyhow::Result<Settings> {
        self.settle(Some(File::of(Path::new("text"), text, false, &Cli::command())?))
    }

    fn settle(&self, file: Option<File>) -> anyhow::Result<Settings> {
        let command = command();
        let (action, mut matches) = self.parse(match &file {
            Some(file) => file.as_defaults(command),
            None => command,
        })?;
        let flags = Cli::command();
        let settings = flags.get_arguments().filter(|arg| is_setting(arg));
        let mut each: Vec<_> =
            settings.map(|arg| Setting::new(arg.clone(), &matches, file.as_ref())).collect();
        for [secret, file] in SECRETS {
            choose_secret(&mut each, &mut matches, secret, file)?;
        }
        let cli = Cli::from_arg_matches(&matches)?;
        let config = cli.config().map_err(|error| with_origins(&error, &each))?;
        let admin = cli.admin.settings().map_err(|error| with_origins(&error, &each))?;
        Ok(Settings { action, cli, config, admin, each, file })
    }

    fn parse(&self, command: Command) -> Result<(Action, ArgMatches), clap::Error> {
        let mut matches = command.try_get_matches_from(&self.args)?;
        Ok(match matches.remove_subcommand() {
            Some((name, matches)) => (Action::of(&name), matches),
            None => (Action::Run, matches),
        })
    }
}

impl Settings {
    /// The file that was read.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(File::path)
    }

    /// What works, but should be seen to.
    pub(super) fn log_warnings(&self) {
        if let Some(file) = self.file.as_ref().filter(|file| file.shows_a_password()) {
            warn!(
                file = %file.path().display(),
                "the file has the password in it, and others than its owner may open it: chmod 600"
            );
        }
        log_expiring(&self.config);
    }
}

impl Setting {
    fn new(arg: Arg, matches: &ArgMatches, file: Option<&File>) -> Self {
        let id = arg.get_id().as_str();
        let value = match matches.try_get_one::<bool>(id) {
            // There are many words for it.
            Ok(Some(switch)) => Some(vec![switch.to_string().into()]),
            _ => matches.get_raw(id).map(|values| values.map(OsStr::to_owned).collect()),
        };
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => Origin::Env(variable(&arg)),
            source => match file.and_then(|file| file.place(id)) {
                Some(place) => Origin::File(place),
                None if source.is_some() => Origin::Default,
                None => Origin::Unset,
            },
        };
        Self { arg, value, origin }
    }

    /// The name of the flag without its dashes.
    pub(super) fn name(&self) -> &str {
        self.arg.get_long().unwrap_or_default()
    }

    /// As whoever sets it calls it.
    fn name_there(&self) -> String {
        match &self.origin {
            Origin::File(place) => format!("{} ({place})", self.name()),
            Origin::Env(variable) => variable.clone(),
            _ => format!("--{}", self.name()),
        }
    }
}

impl Origin {
    /// What counts more is greater; 0 if nobody has set it.
    fn weight(&self) -> u8 {
        match self {
            Self::Unset | Self::Default | Self::Outvoted { .. } => 0,
            Self::File(_) => 1,
            Self::Env(_) => 2,
            Self::Flag => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("not set"),
            Self::Default => f.write_str("default"),
            Self::File(place) => place.fmt(f),
            Self::Env(variable) => f.write_str(variable),
            Self::Flag => f.write_str("flag"),
            Self::Outvoted { origin, by } => write!(f, "{origin}, but {by} counts more"),
        }
    }
}

fn variable(arg: &Arg) -> String {
    arg.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A secret and the file that has it say the same thing, so that the one which counts more is taken. In the same place, nobody
/// could tell which one was meant.
fn choose_secret(
    each: &mut [Setting],
    matches: &mut ArgMatches,
    secret_id: &str,
    file_id: &str,
) -> anyhow::Result<()> {
    let [Some(secret), Some(file)] =
        [secret_id, file_id].map(|id| each.iter().position(|setting| setting.arg.get_id() == id))
    else {
        unreachable!("both are flags");
    };
    let (outvoted, by) = match [secret, file].map(|index| each[index].origin.weight()) {
        [0, _] | [_, 0] => return Ok(()),
        [a, b] if a == b => bail!(
            "{} cannot be used with {}: leave one of them out",
            each[file].name_there(),
            each[secret].name_there()
        ),
        [a, b] if a < b => {
            matches.remove_one::<String>(secret_id);
            (secret, file)
        }
        _ => {
            matches.remove_one::<PathBuf>(file_id);
            (file, secret)
        }
    };
    let by = each[by].name().to_owned();
    let Setting { value, origin, .. } = &mut each[outvoted];
    *value = None;
    *origin = Origin::Outvoted { origin: Box::new(origin.clone()), by };
    Ok(())
}

/// An error names flags, but the one to blame may never have been typed.
fn with_origins(error: &anyhow::Error, each: &[Setting]) -> anyhow::Error {
    let text = format!("{error:#}");
    let is_named = |setting: &&Setting| {
        let flag = format!("--{}", setting.name());
        text.split(|c: char| c != '-' && !c.is_alphanumeric()).any(|word| word == flag)
    };
    let origins: Vec<_> = each
        .iter()
        .filter(is_named)
        .filter(|setting| matches!(setting.origin, Origin::File(_) | Origin::Env(_)))
        .map(|setting| format!("--{} is from {}", setting.name(), setting.origin))
        .collect();
    if origins.is_empty() { anyhow!(text) } else { anyhow!("{text} ({})", origins.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{TempFile, load, load_error};

    fn origin(settings: &Settings, name: &str) -> String {
        settings.each.iter().find(|setting| setting.name() == name).expect("a setting").origin.to_string()
    }

    #[test]
    fn every_setting_has_its_origin() {
        let file = TempFile::new("reuse-port = true\n[client]\nmax-conn = 5\nidle-timeout = '70s'");
        let settings = load(&["--config", file.path(), "--client-idle-timeout", "80s", "--allow-no-auth"]);
        assert_eq!(settings.action, Action::Run);
        assert_eq!(settings.config.client.max_conn, 5);
        assert_eq!(settings.config.client.keepalive.idle_timeout.as_secs(), 80);
        assert!(settings.config.reuse_port && settings.config.server.allow_no_auth);
        for (name, expected) in [
            ("client-max-conn", format!("{}:3", file.path())),
            ("client-idle-timeout", "flag".to_owned()),
            ("server-idle-timeout", "not set".to_owned()),
            ("reuse-port", format!("{}:1", file.path())),
            ("allow-no-auth", "flag".to_owned()),
            ("log-level", "default".to_owned()),
        ] {
            assert_eq!(origin(&settings, name), expected, "{name}");
        }
    }

    #[test]
    fn a_switch_that_is_on_in_the_file_can_be_turned_off() {
        let file = TempFile::new("reuse-port = true");
        assert!(load(&["--config", file.path()]).config.reuse_port);
        assert!(!load(&["--config", file.path(), "--reuse-port=false"]).config.reuse_port);
    }

    #[test]
    fn a_list_is_replaced_as_a_whole() {
        let file = TempFile::new("server-allow = ['10.0.0.0/8', '::1']");
        let allow = |args: &[&str]| load(args).config.server.allow;
        assert_eq!(allow(&["--config", file.path()]).len(), 2);
        let typed = allow(&["--config", file.path(), "--server-allow", "192.168.0.0/16"]);
        assert_eq!(typed, ["192.168.0.0/16".parse().expect("a network")]);
        let empty = TempFile::new("server-allow = []");
        assert!(allow(&["--config", empty.path()]).is_empty());
    }

    /// What is asked again finds what the file says then, and a mistake in it changes nothing.
    #[test]
    fn sources_can_be_read_again() {
        let file = TempFile::new("client-max-conn = 5\ndial-rate = 7");
        let sources =
            Sources::new(["gateway", "--dial-rate", "9", "--config", file.path()].map(OsString::from));
        let first = sources.load().expect("it works").config;
        assert_eq!((first.client.max_conn, first.client.dial_rate), (5, 9));
        file.write("client-max-conn = 'five'");
        let error = sources.load().expect_err("it is no number").to_string();
        assert!(error.contains(&format!("{}:1: client-max-conn is five", file.path())), "{error}");
        file.write("client-max-conn = 6");
        let again = sources.load().expect("it works again").config;
        assert_eq!((again.client.max_conn, again.client.dial_rate), (6, 9));
    }

    #[test]
    fn what_counts_more_decides_where_the_password_comes_from() {
        let key = TempFile::new("from its own file");
        let both = format!("server-auth-password = 'a'\n[server]\nauth-password-file = '{}'", key.path());
        let (both, text) = (TempFile::new(&both), TempFile::new("server-auth-password = 'from the file'"));
        let settings = load(&["--config", text.path(), "--server-auth-password-file", key.path()]);
        assert_eq!(settings.config.server.key.as_bytes(), b"from its own file");
        assert_eq!(
            origin(&settings, "server-auth-password"),
            format!("{}:1, but server-auth-password-file counts more", text.path())
        );
        let named = TempFile::new(&format!("server-auth-password-file = '{}'", key.path()));
        let settings = load(&["--config", named.path(), "--server-auth-password", "typed"]);
        assert_eq!(settings.config.server.key.as_bytes(), b"typed");
        let error = load_error(&["--config", both.path()]);
        let place = |line| format!("({}:{line})", both.path());
        assert!(error.contains(&place(1)) && error.contains(&place(3)), "{error}");
        assert!(error.contains("leave one of them out"), "{error}");
        let error = load_error(&["--server-auth-password", "a", "--server-auth-password-file", key.path()]);
        assert!(
            error.contains("--server-auth-password-file cannot be used with --server-auth-password:"),
            "{error}"
        );
    }

    #[test]
    fn who_set_what_cannot_work_is_said() {
        let file = TempFile::new("threads = 1\n\nclient-send-queue-bytes = '100K'\nmax-packet-size = '512K'");
        let error = load_error(&["--config", file.path(), "--max-packet-size", "513K"]);
        assert!(error.contains("--client-send-queue-bytes is 100K"), "{error}");
        let place = format!("(--client-send-queue-bytes is from {}:3)", file.path());
        assert!(error.ends_with(&place), "{error}");
        let typed = load_error(&["--threads", "0"]);
        assert!(typed.ends_with("1 to 1024"), "nobody has to be told what they typed: {typed}");
    }

    #[test]
    fn a_password_in_a_file_that_others_can_open_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let (secret, other) = (TempFile::new("[server]\nauth-password = 'a'"), TempFile::new("threads = 1"));
        for (file, mode, shows) in [(&secret, 0o600, false), (&secret, 0o640, true), (&other, 0o644, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("it is ours");
            let settings = load(&["--config", file.path()]);
            assert_eq!(settings.file.is_some_and(|file| file.shows_a_password()), shows, "{mode:o}");
        }
    }
}
