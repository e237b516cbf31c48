//! A gateway under test, in this process or in one that can be stopped, and the tool as a process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastway::net::TcpNetwork;
use fastway::net::tls::TlsAcceptor;
use fastway_gateway::{Config, Counts, Gateway, Handle, Totals};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::authority::Pem;

/// Whatever takes longer is a failure. Nothing waits for this to pass.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until there is something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets time pass that a test is about.
pub(crate) fn let_pass(time: Duration) {
    std::thread::sleep(time);
}

/// The gateway, on a thread of its own.
pub(crate) struct TestGateway {
    pub(crate) client_addr: SocketAddr,
    pub(crate) server_addr: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl TestGateway {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.client.addr = "127.0.0.1:0".parse().unwrap();
        config.server.addr = "127.0.0.1:0".parse().unwrap();
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gateway = runtime.block_on(Gateway::bind(&TcpNetwork::new(), config, [7; 32])).unwrap();
        let (client_addr, server_addr) = (gateway.client_addr(), gateway.server_addr());
        let handle = gateway.handle();
        let thread = std::thread::spawn(move || runtime.block_on(gateway.run()).unwrap());
        Self { client_addr, server_addr, handle, thread: Some(thread) }
    }

    /// As the tool's command line names it.
    pub(crate) fn target(&self) -> String {
        format!("{}/{}", self.client_addr, self.server_addr)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.handle.counts()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.handle.totals()
    }

    pub(crate) fn stop(&self) {
        self.handle.stop();
    }

    pub(crate) fn drain(&self) {
        self.handle.drain();
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The gateway in a process of its own, which can be stopped and continued.
pub(crate) struct GatewayProcess {
    child: Child,
    pub(crate) target: String,
}

/// How the process of the gateway tells where it listens.
const LISTENING: &str = "listening: ";

/// And where it is told what it shows on both ports.
const TLS: [&str; 2] = ["TEST_GATEWAY_CERTIFICATE", "TEST_GATEWAY_KEY"];

impl GatewayProcess {
    /// This program once more, as [`a_gateway_for_other_tests`].
    pub(crate) fn start() -> Self {
        Self::start_with([])
    }

    /// The same, with TLS on both ports.
    pub(crate) fn start_over_tls(Pem { certificate, key }: &Pem) -> Self {
        Self::start_with([(TLS[0], certificate), (TLS[1], key)])
    }

    fn start_with<const N: usize>(variables: [(&str, &String); N]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::a_gateway_for_other_tests", "--ignored", "--nocapture"])
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let target = lines
            .find_map(|line| line.unwrap().split_once(LISTENING).map(|(_, target)| target.to_owned()))
            .expect("it listens");
        Self { child, target }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // Stopped processes, too, can be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "it is a process that other tests start, and ends when its standard input does"]
fn a_gateway_for_other_tests() {
    let acceptor = || match TLS.map(std::env::var) {
        [Ok(certificate), Ok(key)] => {
            Some(TlsAcceptor::new(Pem { certificate, key }.identity(), None).unwrap())
        }
        _ => None,
    };
    let gateway = TestGateway::start_with(|config| {
        (config.client.tls, config.server.tls) = (acceptor(), acceptor());
    });
    writeln!(std::io::stdout(), "{LISTENING}{}", gateway.target()).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn send_signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A directory that is gone after the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("loadgen-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The tool, at work; killed at the end of the test if it is still there.
pub(crate) struct Tool {
    child: Child,
    folder: Folder,
}

/// What it left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) report: String,
    pub(crate) complaint: String,
    /// Null if there is none.
    pub(crate) json: Value,
}

impl Tool {
    /// With a JSON report and a time series.
    pub(crate) fn start(args: &[&str]) -> Self {
        let folder = Folder::new();
        let (json, series) = (folder.file("json"), folder.file("series"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(args).args(["--quiet", "--interval", "100ms", "--json"]).arg(&json);
        command.arg("--timeseries").arg(&series);
        Self::spawn(command, folder)
    }

    /// With these arguments and no others.
    pub(crate) fn start_bare(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(args);
        Self::spawn(command, Folder::new())
    }

    pub(crate) fn spawn(mut command: Command, folder: Folder) -> Self {
        let child = command
            .env_remove("FASTWAY_SERVER_AUTH_PASSWORD")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// A whole run.
    pub(crate) fn run(args: &[&str]) -> Ended {
        Self::start(args).end()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Waits until `--marks` says that everybody talks.
    pub(crate) fn until_ready(&mut self) {
        let mut line = [0; 6];
        self.child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(line.as_slice(), b"ready\n");
    }

    /// Waits until it has a handler for that signal.
    pub(crate) fn until_it_heeds(&self, signal: Signal) {
        let path = format!("/proc/{}/status", self.child.id());
        wait_for("it heeds the signal", || {
            let status = std::fs::read_to_string(&path).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            (caught >> (signal.as_raw() - 1) & 1 == 1).then_some(())
        });
    }

    /// Waits until so many intervals have passed in which echoes came.
    pub(crate) fn until_at_work(&mut self, intervals: usize) {
        let path = self.folder.file("series");
        wait_for("echoes come", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended before");
            let busy = series(&path)
                .iter()
                .filter(|cells| cells.get(4).is_some_and(|received| received != "0"))
                .count();
            (busy >= intervals).then_some(())
        });
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn end(mut self) -> Ended {
        let status = wait_for("the tool ends", || self.has_ended());
        let (mut report, mut complaint) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        let json = std::fs::read_to_string(self.folder.file("json")).unwrap_or_default();
        let json = serde_json::from_str(&json).unwrap_or_default();
        let code = status.code();
        let ended = Ended { code, report, complaint, json };
        if !ended.json.is_null() {
            assert_eq!(ended.json["exit_code"], code.unwrap(), "{}", ended.tale());
        }
        ended
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn series(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A line without its end is still being written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

impl Ended {
    /// For the message of an assertion.
    pub(crate) fn tale(&self) -> String {
        format!("exit code {:?}\n{}{}{:#}", self.code, self.report, self.complaint, self.json["reasons"])
    }

    pub(crate) fn number(&self, pointer: &str) -> u64 {
        let number = self.json.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no number at {pointer}\n{}", self.tale()))
    }

    /// The exit code is this one; or 5, with a reason, should the machine have been too busy for the tool.
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) {
        let is_invalid =
            self.json["reasons"]["invalid"].as_array().is_some_and(|reasons| !reasons.is_empty());
        let expected = if is_invalid && code != 4 && code != 1 { 5 } else { code };
        assert_eq!(self.code, Some(expected), "{}", self.tale());
    }

    /// The report is a text that is broken into lines: whether it says this, wherever the breaks are.
    pub(crate) fn says(&self, words: &str) -> bool {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        flat(&self.report).contains(words) || flat(&self.complaint).contains(words)
    }

    /// All messages are accounted for, and nothing was wrong with any.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        for way in ["there", "back"] {
            let ledger = &self.json["integrity"][way];
            assert_eq!(ledger["balances"], true, "{way}: {ledger}\n{}", self.tale());
            let faults = ledger["faults"].as_object().unwrap();
            assert!(
                faults.len() == 6 && faults.values().all(|count| *count == 0),
                "{way}: {ledger}\n{}",
                self.tale()
            );
            assert_eq!(ledger["examples"].as_array().map(Vec::len), Some(0), "{}", self.tale());
        }
    }

    /// Nothing is open, and something was sent.
    #[track_caller]
    pub(crate) fn all_came_back(&self) {
        self.is_clean();
        for way in ["there", "back"] {
            let count = |what: &str| self.number(&format!("/integrity/{way}/{what}"));
            assert!(
                count("sent") > 0 && count("sent") == count("received") && count("open") == 0,
                "{}",
                self.tale()
            );
        }
    }
}
