//! On call in calendar programs: they subscribe to an address with a key in it.

use axum::http::Method;
use kernel::access::{Mode, Role};
use serde_json::json;

use crate::support::Server;

async fn guarded() -> (Server, String) {
    let server = Server::new().await;
    let file = json!({
        "receivers": { "ann": { "inbox": { "name": "ann" } } },
        "people": { "ann": "ann", "bo": "ann" },
        "rotations": { "primary": { "tz": "Europe/Oslo", "layers": [
            { "people": ["ann", "bo"], "handover": "Mon 09:00", "from": "2020-01-06" },
        ] } },
    });
    server.post("/api/monitors", &file).await.ok();
    let now = server.engine.now();
    let key = server.engine.access().create_key("phone", vec![Role::Viewer], None, "test", now);
    let key = key.await.expect("memory takes all").text.to_string();
    (server.with(|settings| settings.auth = Mode::On), key)
}

#[tokio::test]
async fn a_rotation_is_a_calendar_at_an_address_with_a_key() {
    let (server, key) = guarded().await;
    let answer = server.get(&format!("/oncall/primary.ics?key={key}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "text/calendar; charset=utf-8");
    let lines: Vec<&str> = answer.text.split("\r\n").collect();
    assert_eq!((lines[0], lines[1]), ("BEGIN:VCALENDAR", "VERSION:2.0"));
    let count = |text: &str| lines.iter().filter(|line| **line == text).count();
    // Four weeks back and 180 days ahead are 29 or 30 hand-overs.
    let (ann, bo) = (count("SUMMARY:primary: ann"), count("SUMMARY:primary: bo"));
    assert!((30..=32).contains(&(ann + bo)) && ann.abs_diff(bo) <= 1, "{ann} and {bo}: {lines:?}");
    let uids: std::collections::BTreeSet<_> =
        lines.iter().filter(|line| line.starts_with("UID:")).collect();
    assert_eq!(uids.len(), ann + bo, "each has a name of its own");

    for path in [format!("/oncall/primary?key={key}"), format!("/oncall/nobody.ics?key={key}")] {
        server.get(&path).await.failed(404);
    }
    let header = [("authorization", &*format!("Bearer {key}"))];
    let method = Method::GET;
    let by_header = server.send_with(method, "/oncall/primary.ics", &header, String::new()).await;
    assert_eq!(by_header.status, 200);
}

#[tokio::test]
async fn a_key_in_an_address_counts_for_calendars_alone_and_is_written_nowhere() {
    let (server, key) = guarded().await;
    for path in ["/oncall/primary.ics", "/oncall/primary.ics?key=", "/oncall/primary.ics?key=nb_x"]
    {
        server.get(path).await.failed(401);
    }
    for path in ["/api/oncall", "/api/monitors", "/api/workflow/search", "/oncall/primary.ics"] {
        for parameter in ["key", "code"] {
            if (path, parameter) == ("/oncall/primary.ics", "key") {
                continue;
            }
            server.get(&format!("{path}?{parameter}={key}")).await.failed(401);
        }
    }
    // The ledger tells of refusals by their path.
    let wrong = format!("{}x", &key[..key.len() - 1]);
    server.get(&format!("/oncall/primary.ics?key={wrong}")).await.failed(401);
    let now = server.engine.now();
    let admin = server.engine.access().create_key("admin", vec![Role::Admin], None, "test", now);
    let admin = format!("Bearer {}", admin.await.expect("memory takes all").text.as_str());
    let header = [("authorization", &*admin)];
    let told = async || {
        let path = "/api/audit";
        server.send_with(Method::GET, path, &header, String::new()).await.ok_text()
    };
    // A refusal is written beside the answer.
    let written = async {
        loop {
            let told = told().await;
            if told.contains("GET /oncall/{file}") {
                break told;
            }
            tokio::task::yield_now().await;
        }
    };
    let written = tokio::time::timeout(std::time::Duration::from_secs(30), written).await;
    let written = written.expect("the refusal is in the ledger");
    assert!(!written.contains(&wrong[wrong.len() - 12..]), "{written}");
}
