//! What the kernel tells of another process.

use anyhow::Context as _;

/// The resident memory of a process now, in bytes, counted page by page: the kernel's running counters are some hundred KiB
/// off.
pub(crate) fn rss_bytes(pid: i32) -> anyhow::Result<f64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .context("the process that is measured is gone")?;
    let line = maps.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .context("the kernel does not tell how much memory a process has")?;
    Ok(kib * 1024.0)
}
