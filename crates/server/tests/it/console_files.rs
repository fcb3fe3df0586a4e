//! What is handed over from the console: an incident or a run as one file, and the page of a night.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::code_worker::Worker;
use crate::console::{Browser, is_whole};
use crate::support::{Server, line};

/// A document that needs nothing else.
async fn file(browser: &Browser, path: &str) -> String {
    let file = browser.get(path).await;
    assert_eq!(file.status, StatusCode::OK, "{path}: {}", file.text);
    let kept = file.headers["content-disposition"].to_str().expect("text");
    assert!(kept.starts_with("attachment; filename=\"") && kept.ends_with(".html\""), "{kept}");
    assert_eq!(file.headers["cache-control"], "no-store");
    assert!(file.text.starts_with("<!doctype html>"), "{}", file.text);
    for refers in ["src=", "href=", "url(", "@import", "<link", "<script", "<form"] {
        assert!(!file.text.contains(refers), "{path}: {refers}");
    }
    file.text
}

#[tokio::test]
async fn a_run_is_one_file() {
    let worker = Worker::new().await;
    worker.post("/orchestrators/hello/one", "").await;
    let browser = Browser::at(worker.server);
    let server = browser.server();
    let mut definition = line("etl", &["load"]);
    definition["maskedFields"] = json!(["card"]);
    server.register(json!([definition])).await;
    let run = server.start("etl", &json!({ "card": "4111", "text": "<script>" })).await;
    server.fail("load").await;
    server.until(&run, "FAILED").await;
    let page = browser.get(&format!("/console/runs/{run}")).await.text;
    assert!(page.contains(&format!("href=\"/console/runs/{run}/file\"")), "{page}");
    let kept = file(&browser, &format!("/console/runs/{run}/file")).await;
    for words in ["etl 1", "load: FAILED", "it broke", "&lt;script&gt;"] {
        assert!(kept.contains(words), "{words}: {kept}");
    }
    assert!(!kept.contains("4111"), "what the API masks is masked: {kept}");
    let found = server.get("/api/workflow/search?size=5&find=kind:orchestration").await.ok();
    let code = found["results"][0]["workflowId"].as_str().expect("an id").replace('/', "%2F");
    let code = file(&browser, &format!("/console/runs/{code}/file")).await;
    assert!(code.contains("hello"), "{code}");
    for missing in ["/console/runs/none/file", "/console/incidents/none/file"] {
        assert_eq!(browser.get(missing).await.status, StatusCode::NOT_FOUND, "{missing}");
    }
}

#[tokio::test]
async fn a_night_is_handed_over_with_what_people_did() {
    let server = Server::new().await;
    let file_of = json!({ "monitors": {
        "backup": { "heartbeat": { "every": "1h", "key": "k-1" } },
        "mail": { "heartbeat": { "every": "1h", "key": "k-2" } } } });
    server.post("/api/monitors", &file_of).await.ok();
    for key in ["k-1", "k-2"] {
        server.send(Method::POST, &format!("/ping/{key}/3"), "full".to_owned()).await.ok_text();
    }
    let silence = json!({ "name": "s", "match": { "monitor": "mail" }, "for": "2h", "by": "Bo",
        "comment": "moving" });
    server.post("/api/silences", &silence).await.ok();
    let incidents = server.get("/api/incidents?monitor=backup").await.ok();
    let id = incidents["results"][0]["id"].as_str().expect("an id").replace('/', "%2F");
    let note = json!({ "who": "Ida <i>", "text": "disk is full" });
    server.post(&format!("/api/incidents/{id}/note"), &note).await.ok();
    let snooze = json!({ "who": "Ida <i>", "for": "4h" });
    server.post(&format!("/api/incidents/{id}/snooze"), &snooze).await.ok();
    let browser = Browser::at(server);
    let page = browser.get("/console/handover").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    is_whole("/console/handover", &page);
    let page = page.text;
    for words in [
        "2 rang, 2 are not over",
        "snoozed until",
        "Ida &lt;i&gt;",
        "disk is full",
        "monitor=mail",
        "moving",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let kept = file(&browser, &format!("/console/incidents/{id}/file")).await;
    assert!(kept.contains("<h1>Incident ") && kept.contains("disk is full"), "{kept}");
    assert!(kept.contains("Ida &lt;i&gt;"), "{kept}");
}
