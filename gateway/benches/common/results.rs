//! Where results go: a line that says what is being done, and a file with all values.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// What is being done, on stderr, if that is a terminal.
pub(crate) fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg}: {prefix}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar
}

/// Where the values go: what `--json` says, or this file in the target folder.
pub(crate) fn json_path(json: Option<&Path>, default: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = json {
        return Ok(path.to_owned());
    }
    // This program is `release/deps/NAME-HASH` in the target folder.
    let program = std::env::current_exe()?;
    let folder = program.ancestors().nth(3).unwrap_or(&program);
    Ok(folder.join(default))
}

/// Writes all values.
pub(crate) fn write_json(path: &Path, values: &impl Serialize) -> anyhow::Result<()> {
    std::fs::write(path, serde_json::to_vec_pretty(values)?)
        .with_context(|| format!("--json {} cannot be written", path.display()))
}
