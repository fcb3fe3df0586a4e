//! Chromium as a test steers it: through its driver, by the few commands of `WebDriver` that are needed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::skipped::skipped;

/// Where Debian's packages `chromium` and `chromium-driver` put the programs.
const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// How long the driver may take to answer, and a page to come.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a browser may take to end.
const END_MAX: Duration = Duration::from_secs(10);

/// A browser without a window; it ends with the value.
pub(crate) struct Chromium {
    driver: Child,
    base: String,
    http: reqwest::Client,
    profile: tempfile::TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // A driver that is killed leaves its browser behind: the session is ended first.
        if let Some((host, path)) = self.base["http://".len()..].split_once('/')
            && let Ok(mut driver) = TcpStream::connect(host)
        {
            let _ = driver.set_read_timeout(Some(END_MAX));
            let request = format!(
                "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = driver.write_all(request.as_bytes());
            let _ = driver.read(&mut [0; 256]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Chromium {
    /// Starts a browser; `None`, which is said, if there is none here and none is required.
    pub(crate) async fn start() -> Option<Self> {
        if !Path::new(BROWSER).exists() || !Path::new(DRIVER).exists() {
            let what = format!("there is no {BROWSER} or no {DRIVER}");
            skipped(&format!("{what}; cargo xtask test installs them"));
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().expect("a client");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let driver = Command::new(DRIVER)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let profile = tempfile::tempdir().expect("a folder");
        let address = format!("http://127.0.0.1:{port}");
        let mut chromium = Self { driver, base: address.clone(), http, profile };
        chromium.until_ready().await;
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            &format!("--user-data-dir={}", chromium.profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": BROWSER, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = chromium.post("/session", &wanted).await;
        let id = session["sessionId"].as_str().expect("a session has an id");
        chromium.base = format!("{address}/session/{id}");
        Some(chromium)
    }

    /// Waits until the driver answers.
    async fn until_ready(&self) {
        let ready = async {
            loop {
                let answer = self.http.get(format!("{}/status", self.base)).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the driver answers");
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.base)).json(body).send().await;
        let mut answer: Value = answer.expect("the driver answers").json().await.expect("JSON");
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    /// A command of the browser's own protocol.
    async fn cdp(&self, command: &str, params: Value) {
        let body = json!({ "cmd": command, "params": params });
        self.post("/goog/cdp/execute", &body).await;
    }

    /// Makes the window so wide, and lets pages be light or dark.
    pub(crate) async fn look(&self, width: u32, theme: &str) {
        self.look_at(width, 800, theme).await;
    }

    /// The same, with a height.
    pub(crate) async fn look_at(&self, width: u32, height: u32, theme: &str) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", size).await;
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.cdp("Emulation.setEmulatedMedia", theme).await;
    }

    /// Shows no scrollbars, as phones do not.
    pub(crate) async fn without_scrollbars(&self) {
        self.cdp("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
    }

    /// Makes the network as slow as that of a phone far from a mast: `kbit_s` in both directions, and
    /// `latency_ms` before each answer.
    pub(crate) async fn slow_down(&self, kbit_s: u32, latency_ms: u32) {
        let bytes = kbit_s * 1000 / 8;
        let slow = json!({ "offline": false, "latency": latency_ms,
            "downloadThroughput": bytes, "uploadThroughput": bytes });
        self.cdp("Network.enable", json!({})).await;
        self.cdp("Network.emulateNetworkConditions", slow).await;
    }

    /// Forgets files that were loaded before.
    pub(crate) async fn forget_files(&self) {
        self.cdp("Network.clearBrowserCache", json!({})).await;
    }

    /// Switches the scripts of pages off, from the next page on.
    pub(crate) async fn without_scripts(&self) {
        self.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// What a piece of script returns.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// What a piece of script hands to the function that is its last argument.
    pub(crate) async fn later(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// Clicks what a selector names.
    pub(crate) async fn click(&self, selector: &str) {
        let found =
            self.post("/element", &json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|it| it.values().next()).and_then(Value::as_str);
        let id = id.unwrap_or_else(|| panic!("no {selector}: {found}"));
        self.post(&format!("/element/{id}/click"), &json!({})).await;
    }

    /// Presses keys one after the other; `\u{e007}` is Enter, `\u{e004}` is Tab.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let strokes: Vec<Value> = strokes.collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.post("/actions", &body).await;
    }

    /// Opens one more tab, which is looked at from now on; its handle.
    pub(crate) async fn tab(&self) -> String {
        let tab = self.post("/window/new", &json!({ "type": "tab" })).await;
        let handle = tab["handle"].as_str().expect("a tab has a handle").to_owned();
        self.post("/window", &json!({ "handle": handle })).await;
        handle
    }

    /// What is in the window, as PNG.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        use base64::Engine as _;
        let answer = self.http.get(format!("{}/screenshot", self.base)).send().await;
        let answer: Value = answer.expect("the driver answers").json().await.expect("JSON");
        let picture = answer["value"].as_str().unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(picture).expect("base64")
    }

    /// The document as it stands.
    pub(crate) async fn source(&self) -> String {
        let answer = self.http.get(format!("{}/source", self.base)).send().await;
        let answer: Value = answer.expect("the driver answers").json().await.expect("JSON");
        answer["value"].as_str().unwrap_or_default().to_owned()
    }

    /// What the console of the browser says since it was asked last: violations of the policy and
    /// failures of scripts are among it.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" })).await;
        let lines = log.as_array().into_iter().flatten();
        lines.filter_map(|it| it["message"].as_str()).map(str::to_owned).collect()
    }

    /// Every address that was asked for since the last time.
    pub(crate) async fn requested(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "performance" })).await;
        let lines = log.as_array().into_iter().flatten().filter_map(|it| it["message"].as_str());
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|it| it["message"]["method"] == "Network.requestWillBeSent")
            .filter_map(|it| Some(it["message"]["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }
}
