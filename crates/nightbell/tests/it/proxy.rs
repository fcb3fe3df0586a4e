//! Calls by a proxy of the environment, beside a server that refuses to be called by itself.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use serde_json::json;

use crate::live::Live;

const PATIENCE: Duration = Duration::from_mins(1);

/// The proxy has a name that leads to this machine, where the server listens: what is looked up for a
/// call by it is the proxy, on a port of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_this_machine_leads_to_any_host_on_the_servers_own_port() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let router = Router::new().fallback(|uri: axum::http::Uri| async move { uri.to_string() });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let variables = [("http_proxy", &*proxy), ("HTTP_PROXY", &proxy), ("NO_PROXY", "127.0.0.1")];
    let live = Live::start_as("serve", &[], &variables).await;
    let call = |host: &str| {
        let uri = format!("http://{host}:{}/health", live.port());
        json!([{ "name": "call", "taskReferenceName": "call", "type": "HTTP",
            "inputParameters": { "uri": uri, "method": "GET" } }])
    };
    live.define("outside", call("outside.example")).await;
    live.define("itself", call("127.0.0.1")).await;
    let id = live.begin("outside", &json!({})).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    let said = &ended["tasks"][0]["outputData"]["response"]["body"];
    assert!(said.as_str().unwrap().contains("outside.example"), "{ended}");
    let id = live.begin("itself", &json!({})).await;
    let ended = live.ended(&id, PATIENCE).await;
    assert_eq!(ended["status"], "FAILED", "{ended}");
    assert!(ended["reasonForIncompletion"].as_str().unwrap().contains("outgoing_own"), "{ended}");
}
