//! What open pages ask for again after a commit, many of them at once.

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use kernel::access::{Mode, Role};
use serde_json::json;

use crate::console::{Browser, hidden};
use crate::console_runs::counting;
use crate::support::{Server, waiting};

const PART: (&str, &str) = ("hx-request", "true");
/// Pages that are open.
const PAGES: usize = 200;

#[tokio::test]
async fn many_open_pages_are_served_by_few_renderings_that_know_every_commit() {
    let (server, reads) = counting().await;
    server.register(waiting("waits")).await;
    server.start("waits", &json!({})).await;
    let browser = Browser::at(server);
    let look = || browser.send(Method::GET, "/console/runs", &[PART], "");
    let counted = || reads.load(Ordering::Relaxed);
    let before = counted();
    let first = look().await;
    let one = counted() - before;
    assert!(one > 0, "a list is read from the store");
    assert!(
        first.text.starts_with("<title>Runs") && !first.text.contains("<nav"),
        "{}",
        first.text
    );
    assert!(first.text.contains("<div id=\"live\""), "{}", first.text);
    assert!(first.headers["vary"].to_str().is_ok_and(|it| it.contains("HX-Request")));
    // The token of forms is no part of what is shown to many: a page has its own.
    assert_eq!(hidden(&first.text, "csrf"), "");
    let page = browser.get("/console/runs").await.text;
    assert!(page.contains(&format!("data-csrf=\"{}\"", hidden(&page, "csrf"))), "{page}");
    // Told of a commit, all look at once: each sees it, and it is made for them together.
    let run = browser.server().start("waits", &json!({})).await;
    let before = counted();
    let parts = join_all((0..PAGES).map(|_| look())).await;
    assert!(counted() - before <= 2 * one, "{} questions for {PAGES} pages", counted() - before);
    for part in parts {
        assert_eq!(part.status, StatusCode::OK);
        assert!(part.text.contains(&run), "no {run} in {}", part.text);
    }
}

#[tokio::test]
async fn a_part_is_shared_only_by_those_who_may_see_and_do_the_same() {
    let server = Server::new().await;
    let key = async |name: &str, role: Role| {
        let access = server.engine.access();
        let made = access.create_key(name, vec![role], None, "test", server.engine.now());
        let text = made.await.expect("memory takes all").text.to_string();
        format!("Bearer {text}")
    };
    let viewer = key("viewer", Role::Viewer).await;
    let responder = key("responder", Role::Responder).await;
    let other = key("other", Role::Responder).await;
    let file =
        json!({ "monitors": { "backup": { "heartbeat": { "every": "1h", "key": "k-1" } } } });
    server.post("/api/monitors", &file).await.ok();
    server.send(Method::POST, "/ping/k-1/3", "full".to_owned()).await.ok_text();
    let browser = Browser::at(server.with(|settings| settings.auth = Mode::On));
    let look = async |key: &str| {
        let headers = [PART, ("authorization", key)];
        browser.send(Method::GET, "/console/", &headers, "").await.text
    };
    let (seen, more, same) = (look(&viewer).await, look(&responder).await, look(&other).await);
    assert!(!seen.contains("value=\"acknowledge\""), "{seen}");
    assert!(more.contains("value=\"acknowledge\""), "{more}");
    assert!(same.contains("value=\"acknowledge\""), "{same}");
    let nobody = browser.send(Method::GET, "/console/", &[PART], "").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_list_that_is_kept_as_it_was_says_how_many_are_newer() {
    let server = Server::new().await;
    server.register(waiting("waits")).await;
    let old = server.start("waits", &json!({})).await;
    // By another millisecond, as instants tell rows apart.
    let begun = server.engine.now();
    while server.engine.now() <= begun {
        tokio::task::yield_now().await;
    }
    let browser = Browser::at(server);
    let page = browser.get("/console/runs").await.text;
    let newest = page.split("data-newest=\"").nth(1).and_then(|it| it.split('"').next());
    let newest = newest.expect("a list says where it begins").to_owned();
    let run = browser.server().start("waits", &json!({})).await;
    let kept = browser.get(&format!("/console/runs?upto={newest}")).await.text;
    assert!(kept.contains(">1 newer</a>") && !kept.contains(&run), "{kept}");
    assert!(kept.contains(&old) && kept.contains("hx-get=\"/console/runs\""), "{kept}");
    let all = browser.get("/console/runs").await.text;
    assert!(all.contains(&run) && !all.contains("newer</a>"), "{all}");
}
