//! Finding and reading files of the repository; running the gateway and other programs on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// A file or folder of the repository.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents of a YAML file. What is said twice is a mistake, and what the type does not have as well, if it denies that.
pub(crate) fn yaml<T: DeserializeOwned>(name: &str) -> Vec<T> {
    serde_saphyr::from_multiple(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A value in a TOML file, by the names that lead to it, in words; those of a list are in lines of their own.
pub(crate) fn toml(file: &str, names: &[&str]) -> String {
    fn words(value: &DeValue<'_>) -> String {
        match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Array(values) => {
                values.iter().map(|value| words(value.get_ref())).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{other:?} is nothing that is asked for here"),
        }
    }
    let text = read(file);
    let mut value = DeValue::Table(DeTable::parse(&text).unwrap().into_inner());
    for name in names {
        let inner = value.get(*name).unwrap_or_else(|| panic!("{file} has no {names:?}"));
        value = inner.get_ref().clone();
    }
    words(&value)
}

/// What `gateway check` says with these arguments, if it would not start.
pub(crate) fn check(args: &[&str]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway")).arg("check").args(args).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// Whether a program is installed. Whoever asks has nothing to test otherwise, and that is said.
pub(crate) fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    is_there
}

/// A file outside of the repository, gone when the test is over.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    /// In a folder of its own, so that it can have the name that its reader expects.
    pub(crate) fn new(test: &str, name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("fastway-deploy-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        Self(folder.join(name))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}
