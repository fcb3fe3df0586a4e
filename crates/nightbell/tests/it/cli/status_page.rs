//! `nightbell status-page`.

use serde_json::{Value, json};

use crate::stand_in::StandIn;

fn page() -> Value {
    json!({ "name": "shop", "title": "Our shop", "public": true, "groups": [
        { "title": "Web", "components": [{ "label": "Orders", "monitor": "web" }] } ] })
}

#[test]
fn pages_are_listed_and_saved() {
    let server = StandIn::start().says("GET /api/status-pages", 200, json!([page()]));
    let lines = server.run(&["status-page", "list"]).exits(0).lines();
    assert_eq!(lines, ["NAME PUBLIC PATH COMPONENTS TITLE", "shop yes /status/shop 1 Our shop"]);
    let text = page().to_string();
    let there = StandIn::start().says("GET /api/status-pages/shop", 200, page());
    let refused = there.run_with_input(&["status-page", "create", "-f", "-"], &text).exits(4);
    assert!(refused.stderr.contains("status-page update"), "{refused:?}");
    let new = StandIn::start().says("POST /api/status-pages", 200, json!([page()]));
    let saved = new.run_with_input(&["status-page", "create", "-f", "-"], &text).exits(0);
    assert!(saved.stderr.contains("saved status page shop"), "{saved:?}");
    assert_eq!(new.body(1), page());
}

#[test]
fn posts_are_made_listed_and_taken_back() {
    let post =
        json!({ "id": 7, "at": 1_700_000_000_000_i64, "by": "Ida", "text": "It is <slow>." });
    let server = StandIn::start()
        .says("POST /api/status-pages/shop/posts", 200, post.clone())
        .says("GET /api/status-pages/shop/posts", 200, json!([post]))
        .says("DELETE /api/status-pages/shop/posts/7", 200, json!(null));
    let made =
        server.run(&["status-page", "post", "shop", "It is <slow>.", "--by", "Ida"]).exits(0);
    assert_eq!(made.stdout, "7\n");
    assert_eq!(server.body(0), json!({ "text": "It is <slow>.", "by": "Ida" }));
    let lines = server.run(&["status-page", "posts", "shop"]).exits(0).lines();
    assert!(lines[1].starts_with("7 ") && lines[1].ends_with("Ida It is <slow>."), "{lines:?}");
    server.run(&["status-page", "unpost", "shop", "7"]).exits(0);
    server.run(&["status-page", "unpost", "shop", "8"]).exits(3);
}
