//! A headless Chromium, told what to do through chromedriver in the words of WebDriver: JSON over HTTP.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// For anything that the page is to do. A script may take 30 seconds.
const PATIENCE_MS: u32 = 20_000;

pub(crate) struct Browser {
    driver: Child,
    /// What it says is not read any more, but it must be able to say it.
    _said: BufReader<ChildStdout>,
    url: String,
}

impl Browser {
    /// One for a test, and none, with a line that says so, where there is no Chromium. In CI there has to be one.
    pub(crate) fn start() -> Option<Self> {
        let started = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(error) => {
                let sentence = format!(
                    "chromedriver cannot be started ({error}): install Chromium with it, in Debian the packages \
                     chromium and chromium-driver"
                );
                assert!(std::env::var_os("CI").is_none(), "{sentence}");
                skip(&sentence);
                return None;
            }
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port = port(&mut said);
        let mut browser = Self { driver, _said: said, url: format!("http://127.0.0.1:{port}/session") };
        // Without a sandbox, since root cannot have one, and the page is ours.
        let args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let capabilities = json!({
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": args },
        });
        let session = browser.post("", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        browser.url = format!("{}/{}", browser.url, session["sessionId"].as_str().unwrap());
        browser.look(1280, 900, false);
        Some(browser)
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub(crate) fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// What a function with this body returns.
    pub(crate) fn run(&self, body: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// The text of what a selector finds first.
    pub(crate) fn text(&self, selector: &str) -> String {
        // What is drawn has no `innerText`.
        let body = format!(
            "const it = document.querySelector({selector:?}); return it && (it.innerText ?? it.textContent)"
        );
        self.run(&body).as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    pub(crate) fn until(&self, expression: &str) {
        let script = format!(
            "const [tell] = arguments;
             const end = performance.now() + {PATIENCE_MS};
             const look = () => ({expression}) || performance.now() > end ? tell(performance.now() <= end) : setTimeout(look, 10);
             look();"
        );
        let was = self.post("/execute/async", &json!({ "script": script, "args": [] }));
        assert_eq!(was, true, "never: {expression}\n{:?}", self.errors());
    }

    /// What went wrong in the page since this was last asked: errors of scripts, and what its policy forbids.
    pub(crate) fn errors(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        log.as_array().unwrap().iter().map(|line| line["message"].to_string()).collect()
    }

    /// Another size of the window, and the dark or the light of its colours.
    pub(crate) fn look(&self, width: u64, height: u64, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What is in the window, as a PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let url = format!("{}/screenshot", self.url);
        let answer = json_of(ureq::get(&url).call().unwrap());
        STANDARD.decode(answer["value"].as_str().unwrap()).unwrap()
    }

    fn devtools(&self, command: &str, params: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("{}{path}", self.url);
        let response = agent.post(&url).content_type("application/json").send(body.to_string()).unwrap();
        let is_fine = response.status().is_success();
        let mut answer = json_of(response);
        assert!(is_fine, "{path} {body}: {answer}");
        answer["value"].take()
    }
}

fn json_of(mut response: ureq::http::Response<ureq::Body>) -> Value {
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

/// Chromium ends with its session.
impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.url).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// From its line "ChromeDriver was started successfully on port 12345."
fn port(said: &mut impl BufRead) -> u16 {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "chromedriver ends without a port");
        let port = line.split("successfully on port ").nth(1);
        if let Some(port) = port.and_then(|rest| rest.trim_end_matches(['.', '\n']).parse().ok()) {
            return port;
        }
    }
}

/// Past the test harness, which keeps to itself what a test that passes prints.
fn skip(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {sentence}");
}
