//! The Model Context Protocol over HTTP: what its rules of the transport say, and tools that ask the API.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Server, line};

async fn asked(server: &Server, path: &str, message: &Value) -> Value {
    server.post(path, message).await.ok()
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": name, "arguments": arguments } })
}

#[tokio::test]
async fn tools_ask_the_api_and_what_acts_is_named_by_the_address() {
    let server = Server::new().await;
    server.register(line("fetch", &["fetch"])).await;
    let id = server.start("fetch", &json!({})).await;

    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let names = |told: &Value| -> Vec<String> {
        let tools = told["result"]["tools"].as_array().expect("tools").iter();
        tools.map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    };
    let told = asked(&server, "/mcp", &list).await;
    // None that needs files of the client's machine.
    assert_eq!(names(&told), ["red", "explain", "why", "history", "runs", "oncall", "backtest"]);
    let told = asked(&server, "/mcp?allow=retry,acknowledge", &list).await;
    assert!(names(&told).ends_with(&["acknowledge".to_owned(), "retry".to_owned()]), "{told}");

    let text =
        |told: &Value| told["result"]["content"][0]["text"].as_str().expect("a text").to_owned();
    let why = asked(&server, "/mcp", &call("why", &json!({ "id": id }))).await;
    assert_eq!((&why["id"], &why["result"]["isError"]), (&json!(7), &json!(false)), "{why}");
    assert!(text(&why).contains("no-worker"), "{why}");
    let runs = asked(&server, "/mcp", &call("runs", &json!({ "status": "RUNNING" }))).await;
    assert!(text(&runs).contains(&id), "{runs}");
    let runs = asked(&server, "/mcp", &call("runs", &json!({}))).await;
    assert!(text(&runs).contains(&id), "{runs}");
    let history = asked(&server, "/mcp", &call("history", &json!({ "id": id }))).await;
    assert!(text(&history).contains("started"), "{history}");
    let given = json!({ "monitor": "none", "since": "2026-01-31T08:00:00Z" });
    let backtest = asked(&server, "/mcp", &call("backtest", &given)).await;
    assert_eq!(backtest["result"]["isError"], true);
    assert!(!text(&backtest).contains("from"), "the time was understood: {backtest}");
    // What needs files of the assistant's machine is refused with the reason, not as unknown.
    for name in ["test", "plan", "check_files", "replay"] {
        let told = asked(&server, "/mcp", &call(name, &json!({ "folder": "/etc" }))).await;
        let why = told["error"]["message"].as_str().expect("why").to_owned();
        assert!(why.contains("nightbell mcp"), "{name}: {why}");
    }
    let given = json!({ "monitor": "m", "since": "2026-01-31T08:00:00Z", "folder": "/etc" });
    let told = asked(&server, "/mcp", &call("backtest", &given)).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");
    let unknown = asked(&server, "/mcp", &call("why", &json!({ "id": "../secrets" }))).await;
    assert_eq!(unknown["result"]["isError"], true, "{unknown}");
    let hidden = asked(&server, "/mcp", &call("retry", &json!({ "id": id }))).await;
    assert!(hidden["error"]["message"].as_str().expect("why").contains("?allow="), "{hidden}");
    let taken = asked(&server, "/mcp?allow=retry", &call("retry", &json!({ "id": id }))).await;
    // It has not failed: the API's own refusal is the tool's.
    assert_eq!(taken["result"]["isError"], true, "{taken}");
}

#[tokio::test]
async fn the_transport_keeps_its_rules() {
    let server = Server::new().await;
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25" } });
    let told = asked(&server, "/mcp", &hello).await;
    assert_eq!(told["result"]["protocolVersion"], "2025-11-25");
    // A notification has no answer, and there is no stream.
    let noted = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(server.post("/mcp", &noted).await.status, 202);
    assert_eq!(server.get("/mcp").await.status, 405);
    assert_eq!(server.delete("/mcp").await.status, 405);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    for (headers, status) in [
        (&[("mcp-protocol-version", "2025-06-18")][..], 200),
        (&[("mcp-protocol-version", "1999-01-01")], 400),
        (&[("accept", "application/json, text/event-stream")], 200),
        (&[("accept", "text/event-stream")], 400),
        (&[("origin", "https://elsewhere.example")], 403),
    ] {
        let answer = server.send_with(Method::POST, "/mcp", headers, ping.clone()).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    let broken = server.send(Method::POST, "/mcp", "{".to_owned()).await;
    assert_eq!((broken.status.as_u16(), &broken.json()["error"]["code"]), (400, &json!(-32700)));
    let large = server.send(Method::POST, "/mcp", " ".repeat((1 << 20) + 1)).await;
    assert_eq!(large.status, 413);
}
