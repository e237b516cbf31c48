//! For the tests of this module: settings from arguments and from files that exist for the test alone.

use std::ffi::OsString;

use tempfile::NamedTempFile;

use super::sources::{Settings, Sources};

/// Some of it suits every flag that takes a value.
pub(super) const VALUES: [&str; 15] = [
    "7",
    "4K",
    "3M",
    "3G",
    "90s",
    "1h 30m",
    "127.0.0.1:9",
    "10.0.0.0/8,fd00::/8",
    "true",
    "ON",
    "chan",
    "json",
    "debug",
    "1/10",
    "1000=1001-1010,2000=2001-2004:client",
];

/// A file that is gone when the test is over.
pub(super) struct TempFile(NamedTempFile);

impl TempFile {
    pub(super) fn new(text: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".toml").tempfile();
        let file = Self(file.expect("the temporary folder can be written to"));
        file.write(text);
        file
    }

    pub(super) fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("the temporary folder can be written to");
    }

    pub(super) fn path(&self) -> &str {
        self.0.path().to_str().expect("it is called so here")
    }
}

pub(super) fn try_load(args: &[&str]) -> anyhow::Result<Settings> {
    Sources::new([&["gateway"], args].concat().into_iter().map(OsString::from)).load()
}

pub(super) fn load(args: &[&str]) -> Settings {
    try_load(args).unwrap_or_else(|error| panic!("{args:?}: {error:#}"))
}

pub(super) fn load_error(args: &[&str]) -> String {
    format!("{:#}", try_load(args).expect_err("it cannot work"))
}

/// None of these can be set alone; the suite has them (`tls.rs`).
pub(super) fn is_tls_file(name: &str) -> bool {
    ["tls-cert", "tls-key", "tls-client-ca"].iter().any(|file| name.ends_with(file))
}
