//! `/metrics`: what is exported is what is documented, in both formats, and queues count right.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Server, line};

/// The type and the labels of each family, by name.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// The heading of what only a server shows that hands requests on.
const OF_FOLLOWERS: &str = "## A server that follows";

/// What the page in `docs` says of a server that owns its store.
fn documented() -> Families {
    let page = include_str!("../../../../docs/metrics.md");
    let (before, after) = page.split_once(OF_FOLLOWERS).expect("the heading");
    let (_, after) = after.split_once("\n## ").expect("another heading");
    families_of(&format!("{before}{after}"))
}

/// What it says of one that hands requests on.
fn documented_of_followers() -> Families {
    let page = include_str!("../../../../docs/metrics.md");
    let (_, section) = page.split_once(OF_FOLLOWERS).expect("the heading");
    let (section, _) = section.split_once("\n## ").expect("another heading");
    let is_shared = |name: &String| {
        name.starts_with("process_")
            || ["nightbell_build_info", "nightbell_cluster_leader"].contains(&name.as_str())
    };
    let shared = documented().into_iter().filter(|(name, _)| is_shared(name));
    families_of(section).into_iter().chain(shared).collect()
}

fn families_of(page: &str) -> Families {
    let mut families = Families::new();
    for line in page
        .lines()
        .filter(|line| line.starts_with("| `nightbell_") || line.starts_with("| `process_"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { panic!("{line}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        let labels = labels.split(',').map(|it| it.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        let name = name.trim_matches('`').to_owned();
        let twice = families.insert(name, (kind.to_owned(), labels));
        assert!(twice.is_none(), "{line}");
    }
    families
}

/// What a page in the plain format announces, with the labels of what it shows.
fn exported(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            // The plain format knows no other type for it.
            let kind = if name.ends_with("_info") { "info" } else { kind };
            assert!(families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new())).is_none());
        } else if !line.starts_with('#') {
            let (name, labels) = sample(line);
            let of = |suffix| name.strip_suffix(suffix).filter(|it| families.contains_key(*it));
            let family = ["_bucket", "_sum", "_count"].into_iter().find_map(of).unwrap_or(name);
            let family = families.get_mut(family).unwrap_or_else(|| panic!("unannounced: {line}"));
            family.1.extend(labels.into_keys().filter(|label| label != "le"));
        }
    }
    families
}

/// The name and the labels of a sample; the test has none with quotes in them.
fn sample(line: &str) -> (&str, BTreeMap<String, String>) {
    let (series, _) = line.rsplit_once(' ').expect("a sample and its value");
    let Some((name, labels)) = series.split_once('{') else { return (series, BTreeMap::new()) };
    let pairs = labels.trim_end_matches('}').split("\",");
    let pair = |it: &str| {
        let (label, value) = it.split_once("=\"").expect("a label and its value");
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    };
    (name, pairs.map(pair).collect())
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    line.parse().expect("a number")
}

#[tokio::test]
async fn what_is_exported_is_what_is_documented() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    server.start("orders", &json!({})).await;
    let text = server.get("/metrics").await.ok_text();
    let (exported, documented) = (exported(&text), documented());
    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&exported), names(&documented));
    for (name, (kind, labels)) in &documented {
        assert_eq!(&exported[name].0, kind, "{name}");
        // What nothing is shown of here has no labels; nothing may have others.
        assert!(exported[name].1.is_empty() || exported[name].1 == *labels, "{name}: {exported:?}");
    }
    // Each has one line of help.
    for name in exported.keys() {
        let help = format!("# HELP {name} ");
        assert_eq!(text.lines().filter(|line| line.starts_with(&help)).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_follows_exports_what_is_documented() {
    let node = server::cluster::Node::new(&engine::vault::Key::new([7; 32]), "1.2.3");
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = node.public_router().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(exported(&text), documented_of_followers(), "{text}");
    assert_eq!(value(&text, "nightbell_cluster_leader") as u32, 0);
}

#[tokio::test]
async fn both_formats_say_the_same() {
    let server = Server::new().await;
    let router = server::router(server.api());
    let ask = |accept: &'static str| {
        let request = Request::get("/metrics").header(header::ACCEPT, accept).body(Body::empty());
        let router = router.clone();
        async move {
            let response = router.oneshot(request.unwrap()).await.unwrap();
            let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (kind, String::from_utf8(body.to_vec()).unwrap())
        }
    };
    // Both after the first request, which both count.
    ask("*/*").await;
    let (kind, plain) = ask("text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let (kind, open) = ask("application/openmetrics-text; version=1.0.0").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.ends_with("\n# EOF\n") && !plain.contains("# EOF"));
    let series = |text: &str| -> BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(series(&plain), series(&open));
    assert!(open.contains("# TYPE nightbell_decisions counter\nnightbell_decisions_total "));
}

#[tokio::test]
#[allow(clippy::float_cmp, reason = "these are counts, and a zero that is exact")]
async fn queues_tell_what_waits_since_when_and_what_is_held() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    for _ in 0..3 {
        server.start("orders", &json!({})).await;
    }
    let series = |name: &str| format!("nightbell_queue_{name}{{queue=\"pack\"}}");
    let waits = "nightbell_queue_wait_seconds_count{taker=\"worker\"}";
    let text = server.get("/metrics").await.ok_text();
    assert_eq!((value(&text, &series("waiting")), value(&text, &series("held"))), (3.0, 0.0));
    assert_eq!(value(&text, waits), 0.0);
    let polled = server.get("/api/tasks/poll/batch/pack?count=2&workerid=w").await.ok();
    let text = server.get("/metrics").await.ok_text();
    assert_eq!((value(&text, &series("waiting")), value(&text, &series("held"))), (1.0, 2.0));
    assert_eq!(value(&text, waits), 2.0);
    for task in polled.as_array().expect("tasks") {
        let result = json!({ "taskId": task["taskId"], "status": "COMPLETED",
            "workflowInstanceId": task["workflowInstanceId"] });
        server.post("/api/tasks", &result).await.ok_text();
    }
    // The last one grows older until it is taken.
    let (age, begun) = (series("oldest_age_seconds"), std::time::Instant::now());
    loop {
        let text = server.get("/metrics").await.ok_text();
        assert_eq!((value(&text, &series("waiting")), value(&text, &series("held"))), (1.0, 0.0));
        if value(&text, &age) > 0.05 {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{text}");
        tokio::task::yield_now().await;
    }
    server.get("/api/tasks/poll/batch/pack?workerid=w").await.ok();
    let text = server.get("/metrics").await.ok_text();
    assert_eq!((value(&text, &series("waiting")), value(&text, &series("held"))), (0.0, 1.0));
    assert_eq!(value(&text, &age), 0.0);
}

#[tokio::test]
#[allow(clippy::float_cmp, reason = "these are counts")]
async fn requests_are_timed_by_path_method_and_class_of_status() {
    let server = Server::new().await;
    server.register(line("orders", &["pack"])).await;
    let router = server::router(server.api());
    let ask = |path: &'static str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let router = router.clone();
        async move { router.oneshot(request).await.expect("an answer") }
    };
    ask("/api/tasks/one").await;
    ask("/api/tasks/two").await;
    ask("/api/metadata/workflow").await;
    let page = ask("/metrics").await.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(page.to_vec()).expect("UTF-8");
    for (labels, count) in [
        ("method=\"GET\",path=\"/api/tasks/{id}\",status=\"4xx\"", 2.0),
        ("method=\"GET\",path=\"/api/metadata/workflow\",status=\"2xx\"", 1.0),
    ] {
        let name = "nightbell_http_request";
        assert_eq!(value(&text, &format!("{name}s_total{{{labels}}}")), count);
        assert_eq!(value(&text, &format!("{name}_duration_seconds_count{{{labels}}}")), count);
        let last = format!("{name}_duration_seconds_bucket{{{labels},le=\"+Inf\"}}");
        assert_eq!(value(&text, &last), count);
        assert!(value(&text, &format!("{name}_duration_seconds_sum{{{labels}}}")) > 0.0);
    }
    // Only what was asked for is there.
    let paths = text.lines().filter(|line| line.starts_with("nightbell_http_requests_total{"));
    assert_eq!(paths.count(), 2, "{text}");
}
