//! The file that names the process, for whoever wants to send it a signal.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, bail};
use sysinfo::{Pid, ProcessStatus, ProcessesToUpdate, System};

/// Everybody may read it, and nobody else may say what is to be killed.
const MODE: u32 = 0o644;

/// A file with the ID of this process, and a line end. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Whether the file may be written: there is none, or one of a process that has ended.
    ///
    /// # Errors
    ///
    /// If another process runs by that ID, or if the file is something else: nobody wants to lose that by a slip of the pen.
    pub(super) fn check(path: &Path) -> anyhow::Result<()> {
        let text = match fs::read(path) {
            Ok(text) => String::from_utf8_lossy(&text).trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("--pid-file {} cannot be read", path.display()));
            }
        };
        let path = path.display();
        if text.is_empty() {
            // A process that died between making the file and writing to it.
            return Ok(());
        }
        let Ok(pid) = text.parse() else {
            bail!("--pid-file {path} is there and holds no process ID: name another file");
        };
        if pid != process::id() && is_alive(pid)? {
            bail!(
                "--pid-file {path} says that process {pid} runs: stop it, or remove the file if that is none of ours"
            );
        }
        Ok(())
    }

    /// Writes the file, in place of the one that was [checked](Self::check).
    pub(super) fn write(path: &Path) -> anyhow::Result<Self> {
        replace(path).with_context(|| format!("--pid-file {} cannot be written", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == process::id().to_string()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// The file is a new one, so it is not written through a link, nor into a file that others hold open or may write to.
fn replace(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Whatever the mask of the process says.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(format!("{}\n", process::id()).as_bytes())
}

fn is_alive(pid: u32) -> anyhow::Result<bool> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new()?;
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), false);
    Ok(system.process(pid).is_some_and(|process| process.status() != ProcessStatus::Zombie))
}
