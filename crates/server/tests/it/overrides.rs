//! Who stands in on call: overrides that people make, beside those of files.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/api/oncall/primary/overrides";

async fn roster(server: &Server) {
    let file = json!({
        "receivers": { "ann": { "inbox": { "name": "ann" } } },
        "people": { "ann": "ann", "bo": "ann", "eve": "ann" },
        "rotations": { "primary": { "tz": "Europe/Oslo", "layers": [{ "people": ["ann"] }] } },
    });
    server.post("/api/monitors?source=team", &file).await.ok();
}

async fn who(server: &Server, at: &str) -> Value {
    let told = server.get(&format!("/api/oncall?at={at}")).await.ok();
    told["results"][0]["people"].clone()
}

fn times(who: &str) -> Value {
    json!({ "who": who, "from": "2030-12-24 09:00", "to": "2030-12-26 09:00" })
}

const WITHIN: &str = "2030-12-24T08:00:00Z";
const BEFORE: &str = "2030-12-24T07:59:59Z";

#[tokio::test]
async fn an_override_counts_above_those_of_files_and_is_corrected_in_its_place() {
    let server = Server::new().await;
    roster(&server).await;
    // A source whose name comes later does not decide for that.
    let mut of_file = times("eve");
    of_file["rotation"] = json!("primary");
    of_file["tz"] = json!("Europe/Oslo");
    let zulu = "/api/monitors?source=zulu";
    server.post(zulu, &json!({ "overrides": [of_file] })).await.ok();
    assert_eq!(who(&server, WITHIN).await, json!(["eve"]));

    let made = server.post(PATH, &times("bo")).await.ok();
    assert_eq!((&made["from"], &made["replaced"]), (&json!(WITHIN), &json!(false)), "{made}");
    assert_eq!(who(&server, WITHIN).await, json!(["bo"]));
    assert_eq!(who(&server, BEFORE).await, json!(["ann"]));
    let made = server.post(PATH, &times("ann")).await.ok();
    assert_eq!(made["replaced"], true);
    assert_eq!(who(&server, WITHIN).await, json!(["ann"]));

    let listed = server.get(PATH).await.ok();
    let of: Vec<_> = listed["results"].as_array().expect("a list").iter().collect();
    assert_eq!(of.len(), 2, "one of the file, one of people: {listed}");
    let [own, other] = ["overrides", "zulu"].map(|source| {
        let found = of.iter().find(|it| it["source"] == source);
        found.unwrap_or_else(|| panic!("{source}: {listed}"))
    });
    assert_eq!((&own["who"], &own["problem"]), (&json!(["ann"]), &Value::Null));
    assert!(other["problem"].as_str().is_some_and(|it| it.contains("takes its place")), "{other}");

    let query = format!("{PATH}?from={WITHIN}&to=2030-12-26T08:00:00Z");
    server.delete(&query).await.ok_text();
    assert_eq!(who(&server, WITHIN).await, json!(["eve"]), "the file's counts again");
    let refused = server.delete(&query).await.failed(409);
    assert!(refused.contains("zulu"), "{refused}");
    server.delete(&format!("{PATH}?from={BEFORE}&to=2030-12-26T08:00:00Z")).await.failed(404);
}

#[tokio::test]
async fn a_file_posted_again_corrects_its_override() {
    let server = Server::new().await;
    roster(&server).await;
    for who in ["bo", "eve"] {
        let mut own = times(who);
        own["rotation"] = json!("primary");
        own["tz"] = json!("Europe/Oslo");
        server.post("/api/monitors?source=team", &json!({ "overrides": [own] })).await.ok();
    }
    assert_eq!(who(&server, WITHIN).await, json!(["eve"]));
    assert_eq!(server.get(PATH).await.ok()["results"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_file_may_take_away_whom_an_override_names() {
    let server = Server::new().await;
    roster(&server).await;
    server.post(PATH, &times("bo")).await.ok();
    let file = json!({
        "receivers": { "ann": { "inbox": { "name": "ann" } } }, "people": { "ann": "ann" },
        "rotations": { "primary": { "layers": [{ "people": ["ann"] }] } },
    });
    let put = server.send(Method::PUT, "/api/monitors?source=team", file.to_string());
    put.await.ok_text();
    assert_eq!(who(&server, WITHIN).await, json!(["ann"]));
    let listed = server.get(PATH).await.ok();
    assert_eq!(listed["results"][0]["problem"], "there is no person bo");
    roster(&server).await;
    assert_eq!(who(&server, WITHIN).await, json!(["bo"]), "it counts again");
}

#[tokio::test]
async fn what_is_wrong_with_an_override_is_said() {
    let server = Server::new().await;
    roster(&server).await;
    let with = |member: &str, value: Value| {
        let mut body = times("bo");
        body[member] = value;
        body
    };
    for (body, why) in [
        (with("who", json!("zed")), "zed"),
        (with("who", json!([])), "needs who"),
        (with("to", json!("2030-12-24 08:00")), "before it begins"),
        (with("from", json!("2001-01-01 08:00")), ""),
        (with("rotation", json!("other")), "not the one that the path names"),
        (with("tz", json!("Mars/Base")), "Mars/Base"),
        (with("for", json!("2h")), "for"),
        (json!([]), "a JSON object"),
    ] {
        let answer = server.post(PATH, &body).await;
        if why.is_empty() {
            answer.ok();
            continue;
        }
        let told = answer.failed(400);
        assert!(told.contains(why), "{body}: {told}");
    }
    let mut over = with("from", json!("2001-01-01 08:00"));
    over["to"] = json!("2001-01-02 08:00");
    assert!(server.post(PATH, &over).await.failed(400).contains("over since"));
    let told = server.post("/api/oncall/primray/overrides", &times("bo")).await.failed(404);
    assert!(told.contains("primary"), "{told}");
}
