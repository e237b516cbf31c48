//! Reading all settings again while the gateway runs, by SIGHUP or whoever else asks for it.
//!
//! What can be changed is, and nobody is dropped for it ([`crate::reconfigure`]). A mistake anywhere changes nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing::{error, info};

use super::flags::{LogFlags, ProcessFlags};
use super::log::Log;
use super::meaning::AdminSettings;
use super::notify::ServiceManager;
use super::sources::{Settings, Sources};
use crate::admin::{AdminAccess, AdminConfig, Controls};
use crate::gateway::Handle;
use crate::reconfigure::{Effect, Reconfigured};

/// Reads all settings again. A clone does it for the same gateway.
#[derive(Clone, Debug)]
pub(crate) struct Reloader(Arc<Process>);

#[derive(Debug)]
struct Process {
    sources: Sources,
    gateway: Handle,
    access: Option<AdminAccess>,
    log: Log,
    service_manager: ServiceManager,
    /// What the gateway itself does not know of. The lock keeps two who read at the same time apart.
    running: Mutex<(LogFlags, ProcessFlags, AdminSettings)>,
}

impl Reloader {
    /// For a gateway that was started with these settings.
    pub(super) fn new(
        sources: Sources,
        settings: &Settings,
        gateway: Handle,
        access: Option<AdminAccess>,
        log: Log,
        service_manager: ServiceManager,
    ) -> Self {
        let running = (settings.cli.log.clone(), settings.cli.process.clone(), settings.admin.clone());
        let running = Mutex::new(running);
        Self(Arc::new(Process { sources, gateway, access, log, service_manager, running }))
    }

    /// Reads the environment and all files again, puts what has changed into force, as far as that is possible, and logs what
    /// came of it. It waits for the disk, so it is not for a thread that serves connections.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong. Nothing has changed then.
    pub(crate) fn reload(&self) -> anyhow::Result<Reconfigured> {
        let _reloading = self.0.service_manager.reloading();
        let outcome = self.apply();
        match &outcome {
            Ok(reconfigured) => info!("settings read again: {reconfigured}"),
            Err(error) => error!("the settings stay as they are, since they cannot be read again: {error:#}"),
        }
        outcome
    }

    fn apply(&self) -> anyhow::Result<Reconfigured> {
        let Process { sources, gateway, access, log, running, .. } = &*self.0;
        let mut running = running.lock();
        let settings = sources.load()?;
        let (log_flags, process, admin) = &mut *running;
        // It stays where it is, and what is new has to suit that.
        let wanted_admin = AdminSettings { addr: admin.addr, ..settings.admin.clone() };
        wanted_admin.config().as_ref().map_or(Ok(()), AdminConfig::check)?;
        let mut reconfigured = gateway.reconfigure(settings.config.clone())?;
        let wanted = &settings.cli.log;
        if wanted.log_level != log_flags.log_level {
            log.set_level(wanted.log_level.into());
            log_flags.log_level = wanted.log_level;
            reconfigured.note("--log-level", Effect::AtOnce);
        }
        if wanted.log_format != log_flags.log_format {
            reconfigured.note("--log-format", Effect::Restart);
        }
        if settings.cli.process.pid_file != process.pid_file {
            reconfigured.note("--pid-file", Effect::Restart);
        }
        for (setting, differs, effect) in [
            ("--admin-addr", settings.admin.addr != admin.addr, Effect::Restart),
            ("--admin-token", wanted_admin.token != admin.token, Effect::AtOnce),
            ("--admin-host", wanted_admin.hosts != admin.hosts, Effect::AtOnce),
        ] {
            if differs {
                reconfigured.note(setting, effect);
            }
        }
        if let Some(access) = access {
            access.change(wanted_admin.token.clone(), wanted_admin.hosts.clone())?;
        }
        *admin = wanted_admin;
        settings.log_warnings();
        Ok(reconfigured)
    }
}

impl Controls for Reloader {
    fn reload(&self) -> Result<String, String> {
        match Self::reload(self) {
            Ok(reconfigured) => Ok(reconfigured.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    fn set_log_level(&self, level: LevelFilter) -> Result<(), String> {
        self.0.log.set_level(level);
        Ok(())
    }
}

/// SIGHUP has everything read again.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the process around a gateway, and nothing is simulated here"
)]
pub(super) fn reload_on_signal(reloader: Reloader) -> std::io::Result<()> {
    let mut signals = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            let reloader = reloader.clone();
            // Elsewhere: this thread serves connections.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use fastway::net::MemoryNetwork;

    use super::*;
    use crate::cli::file::is_list;
    use crate::cli::print::written;
    use crate::cli::testing::{TempFile, VALUES, is_tls_file};
    use crate::gateway::Gateway;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reloading.md");

    /// What the document says of a setting.
    fn documented(name: &str, document: &str) -> String {
        let row = format!("| `--{name}` | ");
        let line = document.lines().find_map(|line| line.strip_prefix(&row));
        let line =
            line.unwrap_or_else(|| panic!("docs/reloading.md does not say when --{name} takes effect"));
        line.split(" |").next().unwrap_or_default().to_owned()
    }

    fn in_words(reconfigured: &Reconfigured, flag: &'static str) -> Vec<&'static str> {
        let Reconfigured { at_once, for_new_connections, at_restart } = reconfigured;
        let groups =
            [("at once", at_once), ("for new connections", for_new_connections), ("at restart", at_restart)];
        groups.into_iter().filter(|(_, flags)| flags.contains(&flag)).map(|(words, _)| words).collect()
    }

    async fn reloader(file: &TempFile) -> (Reloader, Gateway<MemoryNetwork>) {
        let sources = Sources::new(["gateway", "--config", file.path()].map(OsString::from));
        let settings = sources.load().unwrap();
        let gateway = Gateway::bind(&MemoryNetwork::new(), settings.config.clone(), [7; 32]).await.unwrap();
        (
            Reloader::new(
                sources,
                &settings,
                gateway.handle(),
                None,
                Log::detached(),
                ServiceManager::default(),
            ),
            gateway,
        )
    }

    /// Every flag, but for the one that names the file.
    #[tokio::test]
    async fn every_setting_takes_effect_when_the_document_says() {
        let document = std::fs::read_to_string(DOCUMENT).unwrap();
        let (file, key) = (TempFile::new(""), TempFile::new("a-key"));
        let (first, _gateway) = reloader(&file).await;
        let names: Vec<_> = first.0.sources.load().unwrap().each.into_iter().map(|each| each.arg).collect();
        for arg in names {
            let name = arg.get_long().unwrap();
            // Whoever has the password in a file changes the password.
            let flag = format!("--{}", name.trim_end_matches("-file")).replace("--pid", "--pid-file");
            let flag: &'static str = flag.leak();
            if is_tls_file(name) {
                assert_eq!(documented(name, &document), "for new connections");
                continue;
            }
            let mut suited = 0;
            for value in VALUES.iter().chain([&key.path()]) {
                file.write("");
                let (reloader, _gateway) = reloader(&file).await;
                let value = written(&[OsString::from(value)], is_list(&arg)).unwrap();
                file.write(&format!("{name} = {value}"));
                let Ok(reconfigured) = reloader.reload() else { continue };
                let words = in_words(&reconfigured, flag);
                if !words.is_empty() {
                    assert_eq!(words, [documented(name, &document)], "{name} = {value}: {reconfigured}");
                    suited += 1;
                }
            }
            assert!(suited > 0, "no value changes {name}, or its change is not noticed (reconfigure.rs)");
        }
    }

    #[tokio::test]
    async fn a_mistake_changes_nothing() {
        let file = TempFile::new("client-max-conn = 5");
        let (reloader, _gateway) = reloader(&file).await;
        file.write("client-max-conn = 6\nlog-level = 'debug'\ndial-rate = 'fast'");
        let error = format!("{:#}", reloader.reload().unwrap_err());
        assert!(error.contains(&format!("{}:3: dial-rate is fast", file.path())), "{error}");
        file.write("client-max-conn = 5");
        assert_eq!(reloader.reload().unwrap(), Reconfigured::default());
    }

    #[tokio::test]
    async fn what_waits_for_a_restart_is_said_each_time() {
        let file = TempFile::new("");
        let (reloader, _gateway) = reloader(&file).await;
        file.write("pid-file = 'a'\nreuse-port = true\nlog-format = 'json'\nlog-level = 'off'");
        assert_eq!(
            reloader.reload().unwrap().to_string(),
            "in force at once: --log-level; not before a restart: --reuse-port, --log-format, --pid-file"
        );
        assert_eq!(
            reloader.reload().unwrap().to_string(),
            "not before a restart: --reuse-port, --log-format, --pid-file"
        );
    }
}
