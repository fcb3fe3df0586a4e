//! `nightbell mcp` as an assistant starts it: a process, and a line for each message.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::live::{Live, binary};
use crate::service::{folder, write};

/// An assistant's side of the conversation.
struct Assistant {
    child: Child,
    says: Option<ChildStdin>,
    hears: BufReader<ChildStdout>,
}

impl Assistant {
    fn start(arguments: &[&str], url: &str) -> Self {
        let mut command = Command::new(binary());
        command.arg("mcp").args(arguments).env("NIGHTBELL_URL", url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (says, hears) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, says, hears: BufReader::new(hears) }
    }

    fn tell(&mut self, message: &Value) {
        writeln!(self.says.as_mut().unwrap(), "{message}").unwrap();
    }

    fn ask(&mut self, id: u32, method: &str, params: &Value) -> Value {
        let asked = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.tell(&asked);
        let mut line = String::new();
        self.hears.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(id)), "{answer}");
        answer["result"].clone()
    }

    fn call(&mut self, id: u32, name: &str, arguments: &Value) -> (String, bool) {
        let params = json!({ "name": name, "arguments": arguments });
        let result = self.ask(id, "tools/call", &params);
        let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"));
        (text.to_owned(), result["isError"].as_bool().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assistant_greets_lists_and_calls_over_a_process() {
    let live = Live::start(&[]).await;
    let task = json!({ "name": "pack", "taskReferenceName": "pack", "type": "SIMPLE" });
    live.define("order", json!([task])).await;
    let id = live.begin("order", &json!({})).await;
    let files = folder();
    write(files.path(), "watch.yaml", "monitors: { web: { http: \"http://127.0.0.1:1/\" } }\n");
    let here = files.path().to_str().unwrap().to_owned();
    let url = live.url("");
    let talk = move || {
        let mut assistant = Assistant::start(&["--dir", &here], &url);
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        let told = assistant.ask(1, "initialize", &hello);
        assert_eq!(told["protocolVersion"], "2025-06-18");
        assert_eq!(told["serverInfo"]["name"], "nightbell");
        assistant.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        let told = assistant.ask(2, "tools/list", &json!({}));
        let tools = told["tools"].as_array().unwrap().iter();
        let names: Vec<&str> = tools.map(|tool| tool["name"].as_str().unwrap()).collect();
        for name in ["red", "why", "explain", "history", "test", "plan", "backtest", "replay"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(!names.contains(&"retry"), "it acts, and was not allowed");

        let (history, is_wrong) = assistant.call(3, "history", &json!({ "id": id }));
        assert!(!is_wrong && history.contains("started"), "{history}");
        let (found, is_wrong) = assistant.call(4, "check_files", &json!({ "folder": here }));
        assert!(is_wrong && found.contains("watch.yaml"), "a monitor needs every: {found}");
        let (refused, is_wrong) = assistant.call(5, "check_files", &json!({ "folder": "/etc" }));
        assert!(is_wrong && refused.contains("--dir"), "{refused}");
        // It ends with the assistant.
        assistant.says = None;
        assert!(assistant.child.wait().unwrap().success());
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
}
