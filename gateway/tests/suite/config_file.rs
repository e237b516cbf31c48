//! The configuration file, as whoever starts the binary sees it: what counts more, what is said about mistakes, and the
//! subcommands that look at settings without starting anything.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{ChildStderr, Command, Stdio};

use super::folder::Folder;

/// What one run of the binary said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// With a configuration file in it, for the binary to run there.
fn folder(file: &str) -> Folder {
    let folder = Folder::new();
    folder.write("gateway.toml", file);
    folder
}

impl Folder {
    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.root().join(name), Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(args).env_clear().envs(env.iter().copied()).current_dir(self.root());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// To the end. A gateway that starts, which none should here, has no exit code.
    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Said {
        let mut child = self.command(args, env).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let err = log_until("listening", &mut lines);
        if err.contains("listening") {
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Said { code: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err }
    }

    /// All that a gateway logs that is stopped as soon as it runs.
    fn start(&self, args: &[&str], env: &[(&str, &str)]) -> String {
        let mut child = self.command(args, env).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut log = log_until("side=\"server\"", &mut lines);
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        lines.read_to_string(&mut log).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
        log
    }

    /// What `gateway config` says of one setting: the setting as TOML, and where it comes from.
    fn effective(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> (String, String) {
        let said = self.run(&[&["config"], args].concat(), env);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let is_it = |line: &&str| line.trim_start_matches("# ").split(' ').next() == Some(name);
        let line = said.out.lines().find(is_it).unwrap();
        let (setting, origin) = line.rsplit_once("   # ").unwrap();
        (setting.trim_end().to_owned(), origin.to_owned())
    }
}

/// Standard error up to a line with these words, or to its end.
fn log_until(words: &str, lines: &mut BufReader<ChildStderr>) -> String {
    let mut log = String::new();
    while !log.contains(words) && lines.read_line(&mut log).unwrap() > 0 {}
    log
}

const FILE: [&str; 2] = ["--config", "gateway.toml"];

#[test]
fn a_flag_counts_more_than_the_environment_that_more_than_the_file_and_that_more_than_the_default() {
    let folder = folder(
        "client-max-conn = 5\nclient-idle-timeout = '90s'\nreuse-port = true\nserver-allow = ['10.0.0.0/8']\n",
    );
    for (name, default, in_file, (env, value, in_env), (flag, typed)) in [
        (
            "client-max-conn",
            ("client-max-conn = 16", "default"),
            ("client-max-conn = 5", "gateway.toml:1"),
            ("FASTWAY_CLIENT_MAX_CONN", "6", "client-max-conn = 6"),
            ("--client-max-conn=7", "client-max-conn = 7"),
        ),
        (
            "client-idle-timeout",
            ("# client-idle-timeout = \"1m\"", "not set: twice the ping interval"),
            ("client-idle-timeout = \"90s\"", "gateway.toml:2"),
            ("FASTWAY_CLIENT_IDLE_TIMEOUT", "91s", "client-idle-timeout = \"91s\""),
            ("--client-idle-timeout=92s", "client-idle-timeout = \"92s\""),
        ),
        (
            "reuse-port",
            ("reuse-port = false", "default"),
            ("reuse-port = true", "gateway.toml:3"),
            ("FASTWAY_REUSE_PORT", "no", "reuse-port = false"),
            ("--reuse-port", "reuse-port = true"),
        ),
        (
            "server-allow",
            ("server-allow = []", "default"),
            ("server-allow = [\"10.0.0.0/8\"]", "gateway.toml:4"),
            ("FASTWAY_SERVER_ALLOW", "::1,127.0.0.1", "server-allow = [\"::1\", \"127.0.0.1\"]"),
            ("--server-allow=fd00::/8", "server-allow = [\"fd00::/8\"]"),
        ),
    ] {
        let said = |args: &[&str], env: &[(&str, &str)]| folder.effective(name, args, env);
        let pair = |(setting, origin): (&str, &str)| (setting.to_owned(), origin.to_owned());
        let variable = [(env, value)];
        assert_eq!(said(&[], &[]), pair(default));
        assert_eq!(said(&FILE, &[]), pair(in_file));
        assert_eq!(said(&[], &[("FASTWAY_CONFIG", "gateway.toml")]), pair(in_file));
        assert_eq!(said(&FILE, &variable), pair((in_env, env)));
        assert_eq!(said(&[], &variable), pair((in_env, env)));
        assert_eq!(said(&[&FILE[..], &[flag]].concat(), &variable), pair((typed, "flag")));
        assert_eq!(said(&[&FILE[..], &[flag]].concat(), &[]), pair((typed, "flag")));
    }
}

#[test]
fn a_gateway_runs_by_its_file() {
    let folder = folder("[client]\naddr = '127.0.0.9:0'\n[server]\naddr = '127.0.0.8:0'\n");
    let log = folder.start(&FILE, &[]);
    assert!(log.contains("side=\"client\" addr=127.0.0.9:") && log.contains("addr=127.0.0.8:"), "{log}");
    let typed = [&FILE[..], &["--server-addr=127.0.0.7:0"]].concat();
    let log = folder.start(&typed, &[("FASTWAY_CLIENT_ADDR", "127.0.0.6:0")]);
    assert!(log.contains("side=\"client\" addr=127.0.0.6:") && log.contains("addr=127.0.0.7:"), "{log}");
}

#[test]
fn check_says_what_a_start_would_say() {
    let folder = folder("client-max-conn = 5\nserver-auth-password-file = 'key'\n");
    let check = |args: &[&str], env: &[(&str, &str)]| folder.run(&[&["check"], args].concat(), env);
    let invalid = |said: Said, words: &[&str]| {
        assert!(said.code == Some(2) && said.out.is_empty(), "{:?} {}", said.code, said.out);
        assert!(words.iter().all(|word| said.err.contains(word)), "{words:?} should be in {:?}", said.err);
    };
    invalid(check(&FILE, &[]), &["--server-auth-password-file key cannot be read", "is from gateway.toml:2"]);
    invalid(
        folder.run(&FILE, &[]),
        &["--server-auth-password-file key cannot be read", "is from gateway.toml:2"],
    );
    folder.write("key", "s3cret\n");
    let said = check(&FILE, &[]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "gateway.toml is valid\n", ""));
    let said = check(&[], &[("FASTWAY_CONFIG", "gateway.toml")]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "gateway.toml is valid\n"));
    let said = check(&[], &[]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "the configuration is valid\n"));
    invalid(
        check(&[], &[("FASTWAY_THREADS", "0")]),
        &["--threads is 0", "(--threads is from FASTWAY_THREADS)"],
    );
    invalid(check(&["--server-addr=:7020"], &[]), &["--server-auth-password is empty", "--allow-no-auth"]);
    invalid(folder.run(&["--threads=2", "check"], &[]), &["'check' cannot be used with '--threads"]);
}

#[test]
fn what_is_wrong_in_a_file_ends_it_with_code_2_line_name_and_remedy() {
    let folder = folder("");
    for (text, words) in [
        (
            "\nclient-max-con = 5",
            &["gateway.toml:2: there is no setting client-max-con", "client-max-conn?"][..],
        ),
        ("threads = [1]", &["gateway.toml:1: threads is of the type array, but must be a whole number"]),
        ("[client]\nmax-conn = 'many'", &["gateway.toml:2: client-max-conn is many", "such as 16"]),
        ("threads = 0", &["--threads is 0, but must be 1 to 1024", "gateway.toml:1"]),
        ("log-level = 'info'\nlog.level = 'info'", &["gateway.toml:2: log-level is set already in line 1"]),
        ("log-level = 'info'\nlog-level = 'info'", &["gateway.toml:2: log-level is there already"]),
        ("config = 'a.toml'", &["gateway.toml:1: config cannot be set in a file"]),
        ("frame-timeout = 60s", &["gateway.toml:1: this is no TOML", "\"30s\""]),
        (
            "client-addr = ':1'\nserver-addr = ':1'",
            &["--client-addr is from gateway.toml:1, --server-addr is from gateway.toml:2"],
        ),
    ] {
        folder.write("gateway.toml", text);
        for args in [&FILE[..], &["check", "--config=gateway.toml"], &["config", "--config=gateway.toml"]] {
            let said = folder.run(args, &[]);
            assert!(said.code == Some(2) && said.out.is_empty(), "{text:?}: {:?} {}", said.code, said.out);
            assert!(said.err.starts_with("error: ") && said.err.lines().count() == 1, "{}", said.err);
            for word in words {
                assert!(said.err.contains(word), "{text:?}: {word:?} should be in {:?}", said.err);
            }
        }
    }
    folder.write("gateway.toml", b"threads = 1\nlog-level = '\xff'");
    let said = folder.run(&FILE, &[]);
    assert!(said.code == Some(2) && said.err.contains("gateway.toml:2: this is no UTF-8"), "{}", said.err);
    let said = folder.run(&["check"], &[("FASTWAY_CONFIG", "none.toml")]);
    assert!(
        said.code == Some(2) && said.err.contains("--config none.toml cannot be read: No such file"),
        "{}",
        said.err
    );
    let said = folder.run(&["--config", "."], &[]);
    assert!(said.code == Some(2) && said.err.contains("--config . cannot be read"), "{}", said.err);
    let said = folder.run(&["--config", "/dev/zero"], &[]);
    assert!(said.code == Some(2) && said.err.contains("/dev/zero is larger than 1 MiB"), "{}", said.err);
}

#[test]
fn the_environment_decides_about_the_password_before_the_file() {
    let folder = folder("server-auth-password = 's3cret'\n");
    folder.write("key", "an0ther");
    let env = [("FASTWAY_SERVER_AUTH_PASSWORD_FILE", "key")];
    let (setting, origin) = folder.effective("server-auth-password", &FILE, &env);
    assert_eq!(setting, "# server-auth-password");
    assert_eq!(origin, "gateway.toml:1, but server-auth-password-file counts more");
    let (setting, _) = folder.effective("server-auth-password-file", &FILE, &env);
    assert_eq!(setting, "server-auth-password-file = \"key\"");
    let both = [env[0], ("FASTWAY_SERVER_AUTH_PASSWORD", "s3cret")];
    let said = folder.run(&[&["check"], &FILE[..]].concat(), &both);
    assert!(said.code == Some(2) && !said.err.contains("s3cret"), "{}", said.err);
    assert!(
        said.err
            .contains("FASTWAY_SERVER_AUTH_PASSWORD_FILE cannot be used with FASTWAY_SERVER_AUTH_PASSWORD:"),
        "{}",
        said.err
    );
    let said = folder.run(&["check", "--server-auth-password=typed"], &both[..1]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn a_password_is_never_shown_and_its_file_should_be_the_owners_alone() {
    let file = "server-auth-password = 's3cret'\nclient-addr = '127.0.0.1:0'\nlog-level = 'trace'\n";
    let folder = folder(file);
    folder.chmod("gateway.toml", 0o644);
    let env = [("FASTWAY_SERVER_AUTH_PASSWORD", "s3cret")];
    for args in [&["check"][..], &["config"], &["--help"], &["check", "--help"], &["config", "--help"]] {
        let args = [args, &FILE].concat();
        for env in [&[][..], &env] {
            let said = folder.run(&args, env);
            assert!(
                !said.out.contains("s3cret") && !said.err.contains("s3cret"),
                "{args:?}: {}{}",
                said.out,
                said.err
            );
        }
    }
    let said = folder.run(&["check", "--server-auth-password", "s3cret", "--threads", "s"], &[]);
    assert!(said.code == Some(2) && !said.err.contains("s3cret"), "{}", said.err);

    let log = folder.start(&[&FILE[..], &["--server-addr=127.0.0.1:0"]].concat(), &[]);
    assert!(log.contains("chmod 600") && !log.contains("s3cret"), "{log}");

    let warning = |said: &Said| said.err.contains("gateway.toml") && said.err.contains("chmod 600");
    let said = folder.run(&[&["check"], &FILE[..]].concat(), &[]);
    assert!(said.code == Some(0) && warning(&said), "{}", said.err);
    folder.chmod("gateway.toml", 0o600);
    let said = folder.run(&[&["check"], &FILE[..]].concat(), &[]);
    assert!(said.code == Some(0) && !warning(&said), "{}", said.err);
}
