//! A browser to look at pages with: Chromium without a screen, driven over WebDriver.

use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Child;
use crate::host::{free_port, tool};
use crate::http::Server;
use crate::{patient, seconds, wait_for};

/// How WebDriver names keys.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";

/// Dropping it ends the browser.
pub struct Browser {
    server: Server,
    session: String,
    // Ends before its directory goes.
    _driver: Child,
    _directory: TempDir,
}

impl Browser {
    /// A window of this size.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(width: u32, height: u32) -> Browser {
        let directory = TempDir::new().expect("a temporary directory");
        let port = free_port();
        let mut driver = Command::new(tool("chromedriver"));
        let driver = Child::spawn(driver.arg(format!("--port={port}")));
        let server = Server::Tcp(port);
        wait_for("the driver", seconds(20), || server.get("/status").ok().filter(|answer| answer.status == 200));
        let options = json!({
            "binary": tool("chromium"),
            // The browser's own sandbox does not work for root.
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     format!("--window-size={width},{height}"), format!("--user-data-dir={}", directory.path().display())],
        });
        let wanted = json!({"capabilities": {"alwaysMatch":
            {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let answer = post(&server, "/session", &wanted);
        let session = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Browser { server, session, _driver: driver, _directory: directory }
    }

    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// What a function's body returns in the page.
    pub fn script(&self, body: &str) -> Value {
        self.command("execute/sync", &json!({"script": body, "args": []}))
    }

    /// The text that somebody sees.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().expect("a text").to_owned()
    }

    /// The text, once it is so.
    ///
    /// # Panics
    /// When it is not in time; it prints the text.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + patient(seconds(20));
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < end, "waited in vain for {what}: {text}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        self.command("actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// A command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What somebody sees who asked for `dark` or `light`.
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// The window as a PNG.
    pub fn screenshot(&self) -> Vec<u8> {
        let answer = self.devtools("Page.captureScreenshot", &json!({"format": "png"}));
        BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// What the page's console said since the last time: refused by the policy, or an error of its script.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({"type": "browser"}));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        post(&self.server, &format!("/session/{}/{name}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.server.request("DELETE", &format!("/session/{}", self.session), &[]);
    }
}

/// The value in the driver's answer.
fn post(server: &Server, path: &str, body: &Value) -> Value {
    let answer = server.send("POST", path, &[("Content-Type", "application/json")], &body.to_string());
    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()["value"].clone()
}
