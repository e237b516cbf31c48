//! The unit for systemd.

use std::process::Command;

use super::files::{TempFile, check, is_installed, path, read};

const UNIT: &str = "deploy/systemd/gateway.service";
const PROGRAM: &str = "/usr/local/bin/gateway";

/// What the exposure may be, from 0, nothing, to 10, everything. Half of what is left is having a network.
const MAX_EXPOSURE: f64 = 1.5;

/// The values of a key, in the order of the file.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    if !is_installed("systemd-analyze") {
        return;
    }
    // It looks whether the program is there.
    let unit = read(UNIT).replace(PROGRAM, env!("CARGO_BIN_EXE_gateway"));
    let unit = TempFile::new("verify", "gateway.service", &unit);
    let output = Command::new("systemd-analyze").args(["verify", unit.path()]).output().unwrap();
    // Names that it does not know are a mere warning to it.
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_unit_leaves_the_gateway_little_to_harm() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let threshold = format!("--threshold={}", MAX_EXPOSURE * 10.0);
    let unit = path(UNIT);
    let args = ["security", "--offline=true", "--no-pager", &threshold, unit.to_str().unwrap()];
    let output = Command::new("systemd-analyze").args(args).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let exposure = said.lines().find(|line| line.contains("Overall exposure level"));
    println!("{}", exposure.unwrap_or("no exposure is said"));
    assert!(
        output.status.success() && exposure.is_some(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_unit_starts_a_gateway_that_can_run() {
    let (unit, password) = (read(UNIT), TempFile::new("password", "server-auth-password", "secret\n"));
    let [command] = &values(&unit, "ExecStart")[..] else { panic!("one command starts it") };
    let args: Vec<_> = command.strip_prefix(PROGRAM).expect("it is the gateway").split_whitespace().collect();
    let config = path("deploy/gateway.toml");
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| if arg == "/etc/fastway/gateway.toml" { config.to_str().unwrap() } else { arg })
        .collect();
    check(&args).unwrap();

    // The credential, where it is found, and the setting that names it.
    let [credential] = &values(&unit, "LoadCredential")[..] else { panic!("one credential") };
    let (name, _) = credential.split_once(':').unwrap();
    let [variable] = &values(&unit, "Environment")[..] else { panic!("one variable") };
    let (variable, file) = variable.split_once('=').unwrap();
    assert_eq!(file, format!("%d/{name}"));
    let mut beyond_loopback = Command::new(env!("CARGO_BIN_EXE_gateway"));
    beyond_loopback.args(["check", "--server-addr", ":7020"]).env(variable, password.path());
    assert!(beyond_loopback.output().unwrap().status.success(), "{variable} names the password");
}
