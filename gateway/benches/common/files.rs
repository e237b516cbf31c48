//! Open files of a process.

use anyhow::Context as _;

/// So many files the process has open.
pub(crate) fn open_files(pid: i32) -> anyhow::Result<usize> {
    let files =
        std::fs::read_dir(format!("/proc/{pid}/fd")).context("the process that is measured is gone")?;
    Ok(files.count())
}
