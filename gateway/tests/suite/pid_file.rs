//! The file that names the process.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use super::folder::Folder;
use super::stopping::{LOOPBACK, Process};

fn start(pid_file: &str) -> Process {
    Process::start(&flags(pid_file))
}

/// The same after a line of shell, in the same process.
fn start_after(line: &str, pid_file: &str) -> Process {
    let script = format!("{line}; exec {} \"$@\"", env!("CARGO_BIN_EXE_gateway"));
    Process::spawn(Command::new("sh").args(["-c", &script, "sh"]).args(flags(pid_file)))
}

fn flags(pid_file: &str) -> Vec<&str> {
    [&LOOPBACK[..], &["--pid-file", pid_file]].concat()
}

#[test]
fn it_is_there_while_the_process_runs_and_only_its_owner_can_write_it() {
    let folder = Folder::new();
    let file = folder.path("gateway.pid");
    // Without help, every file that it makes could be written by everybody.
    let mut process = start_after("umask 0", &file);
    process.addrs();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", process.child.id()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);

    let (code, log) = start(&file).end();
    assert_eq!(code, Some(2), "{log}");
    let running = format!("--pid-file {file} says that process {} runs", process.child.id());
    assert!(log.contains(&running) && !log.contains("listening"), "{log}");

    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
    assert!(!fs::exists(&file).unwrap());
}

#[test]
fn one_that_was_left_behind_is_replaced_and_not_written_through() {
    let folder = Folder::new();
    let (file, other) = (folder.path("gateway.pid"), folder.root().join("other"));
    let mut ended = Command::new("true").spawn().unwrap();
    let stale = ended.id().to_string();
    ended.wait().unwrap();
    for left in [&stale[..], ""] {
        fs::write(&other, left).unwrap();
        symlink(&other, &file).unwrap();
        let mut process = start(&file);
        process.addrs();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", process.child.id()));
        assert_eq!(fs::read_to_string(&other).unwrap(), left);
        process.signal("TERM");
        assert_eq!(process.end().0, Some(0));
    }
}

/// In a container, a process often has the ID of the one before.
#[test]
fn one_with_its_own_id_is_of_a_process_before_it() {
    let folder = Folder::new();
    let file = folder.path("gateway.pid");
    let mut process = start_after(&format!("echo $$ > {file}"), &file);
    process.addrs();
    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
}

#[test]
fn what_is_no_pid_file_stays() {
    let folder = Folder::new();
    let file = folder.path("gateway.pid");
    fs::write(&file, "precious").unwrap();
    let (code, log) = start(&file).end();
    assert!(code == Some(2) && log.contains("name another file"), "{log}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let nowhere = folder.root().join("nowhere/gateway.pid");
    let (code, log) = start(nowhere.to_str().unwrap()).end();
    assert!(code == Some(2) && log.contains("cannot be written"), "{log}");
}

/// Another process may have taken the file over.
#[test]
fn one_of_somebody_else_is_not_removed() {
    let folder = Folder::new();
    let file = folder.path("gateway.pid");
    let mut process = start(&file);
    process.addrs();
    fs::write(&file, "1\n").unwrap();
    process.signal("TERM");
    assert_eq!(process.end().0, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
}
