//! Acts in the console on what has moved on since it was shown.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::console::{Browser, hidden, is_whole};
use crate::support::{Answer, Server, waiting};

/// What a page says of how its object stands, as forms send it.
fn seen(page: &str) -> String {
    hidden(page, "seen").replace(' ', "+").replace('@', "%40")
}

/// The page that asks again in place of doing.
fn asked_again(answer: &Answer) -> &str {
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.text);
    is_whole("/console/act", answer);
    assert!(answer.text.contains("Nothing was changed: it has moved on"), "{}", answer.text);
    &answer.text
}

fn is_done(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
}

#[tokio::test]
async fn a_run_that_moved_on_since_its_preview_is_previewed_again() {
    let server = Server::new().await;
    server.register(waiting("waits")).await;
    let run = server.start("waits", &json!({})).await;
    let browser = Browser::at(server);
    let server = browser.server();
    let status = async || server.workflow(&run).await["status"].clone();
    let preview = browser.get(&format!("/console/confirm?act=terminate&id={run}")).await.text;
    assert!(preview.contains("As it stands now: "), "{preview}");
    let form = |page: &str| {
        format!("act=terminate&id={run}&token={}&seen={}", hidden(page, "token"), seen(page))
    };
    let pause = format!("/api/workflow/{run}/pause");
    server.send(Method::PUT, &pause, String::new()).await.ok_text();
    let told = browser.act(&form(&preview)).await;
    let told = asked_again(&told);
    assert!(told.contains("was shown as") && told.contains("paused</span> now"), "{told}");
    assert!(told.contains("/pause"), "the ledger tells who did what: {told}");
    assert_eq!(status().await, "PAUSED");
    is_done(&browser.act(&form(told)).await);
    assert_eq!(status().await, "TERMINATED");
    // What is pressed on the page of a run carries how that was shown, too.
    let over = browser.get(&format!("/console/runs/{run}")).await.text;
    let retry = format!("act=retry&id={run}&seen={}", seen(&over));
    is_done(&browser.act(&retry).await);
    let told = browser.act(&retry).await;
    assert!(asked_again(&told).contains("running</span> now"), "{}", told.text);
}

#[tokio::test]
async fn what_others_did_about_an_incident_meanwhile_is_told_by_name() {
    let server = Server::new().await;
    let file =
        json!({ "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } } });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1/3", "full".to_owned()).await.ok_text();
    let incident = server.get("/api/incidents").await.ok()["results"][0]["id"].clone();
    let id = incident.as_str().expect("an id").replace('/', "%2F");
    let browser = Browser::at(server);
    let server = browser.server();
    let page = browser.get(&format!("/console/incidents/{id}")).await.text;
    let ack = json!({ "who": "Ida <i>", "why": "mine" });
    server.post(&format!("/api/incidents/{id}/acknowledge"), &ack).await.ok();
    let snooze = |page: &str| format!("act=snooze&id={id}&for=1h&seen={}", seen(page));
    let told = browser.act(&snooze(&page)).await;
    let told = asked_again(&told);
    assert!(told.contains("Ida &lt;i&gt;") && told.contains("“mine”"), "{told}");
    let state = async || server.get(&format!("/api/incidents/{id}")).await.ok()["state"].clone();
    assert_eq!(state().await, "acknowledged");
    // To acknowledge what is acknowledged is no mistake, whatever was shown.
    is_done(&browser.act(&format!("act=acknowledge&id={id}&seen={}", seen(&page))).await);
    is_done(&browser.act(&snooze(told)).await);
    assert_eq!(state().await, "snoozed");
}

#[tokio::test]
async fn a_form_that_is_sent_twice_acts_once() {
    let server = Server::new().await;
    server.register(waiting("waits")).await;
    let silence = json!({ "name": "s", "match": { "monitor": "web" }, "for": "2h" });
    server.post("/api/silences?force=true", &silence).await.ok();
    let schedule = json!({ "name": "nightly", "cronExpression": "0 0 2 * * *",
        "startWorkflowRequest": { "name": "waits", "version": 1 } });
    server.post("/api/scheduler/schedules", &schedule).await.ok();
    let browser = Browser::at(server);
    let page = browser.get("/console/silences").await.text;
    let extend =
        format!("act=extend-silence&id={}&for=1h&seen={}", hidden(&page, "id"), seen(&page));
    is_done(&browser.act(&extend).await);
    asked_again(&browser.act(&extend).await);
    let preview = browser.get("/console/confirm?act=trigger&id=nightly").await.text;
    let token = hidden(&preview, "token");
    let trigger = format!("act=trigger&id=nightly&token={token}&seen={}", seen(&preview));
    is_done(&browser.act(&trigger).await);
    asked_again(&browser.act(&trigger).await);
}
