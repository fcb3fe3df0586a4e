//! How soon a browser paints pages of the console. It prints figures for docs/performance.md and asserts no
//! time: run it with a release binary in `NIGHTBELL_TEST_BINARY`.

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::live::Live;

/// Looks at each page; the median counts.
const LOOKS: usize = 21;
/// Boxes of the large graph: two rows of branches above each other for each fork.
const BOXES: usize = 400;
/// Monitors, of which a page shows fifty.
const MONITORS: usize = 2_000;

/// Milliseconds from the start of the navigation to the first paint with content.
const PAINT: &str = "const done = arguments[arguments.length - 1];
    const look = () => {
      const found = performance.getEntriesByName('first-contentful-paint')[0];
      if (found) done(found.startTime); else requestAnimationFrame(look);
    };
    look();";

/// A server with a graph of many boxes, an incident, fifty runs and many monitors.
async fn seeded() -> (Live, String) {
    let live = Live::start(&[]).await;
    let simple = |at: usize| json!({ "name": "load", "taskReferenceName": format!("t{at}"), "type": "SIMPLE" });
    let mut tasks: Vec<Value> = Vec::new();
    for fork in 0..BOXES / 8 {
        let at = fork * 6;
        tasks.push(json!({ "name": "f", "taskReferenceName": format!("fork{fork}"), "type": "FORK_JOIN",
            "forkTasks": [[simple(at), simple(at + 1)], [simple(at + 2), simple(at + 3)], [simple(at + 4), simple(at + 5)]] }));
        let on = [format!("t{}", at + 1), format!("t{}", at + 3), format!("t{}", at + 5)];
        tasks.push(json!({ "name": "j", "taskReferenceName": format!("join{fork}"), "type": "JOIN", "joinOn": on }));
    }
    live.define("large", Value::from(tasks)).await;
    for _ in 0..50 {
        live.begin("large", &json!({})).await;
    }
    let monitor = |at: usize| {
        (
            format!("job-{at:04}"),
            json!({ "heartbeat": { "every": "1h", "key": format!("k-{at}") } }),
        )
    };
    let monitors: serde_json::Map<String, Value> = (0..MONITORS).map(monitor).collect();
    live.post("/api/monitors", &json!({ "monitors": monitors })).await;
    let (status, said) = live.ask(reqwest::Method::POST, "/ping/k-7/1", "HTTP 503").await;
    assert_eq!(status, 200, "{said}");
    let open = live.get("/api/incidents").await;
    let incident = open["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
    (live, format!("/console/incidents/{incident}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: NIGHTBELL_TEST_BINARY=target/release/nightbell cargo test -p nightbell --test it paints -- --ignored --nocapture"]
async fn first_paints() {
    let chromium = Chromium::start().await.expect("chromium and its driver are installed");
    let (live, incident) = seeded().await;
    chromium.look(1280, "light").await;
    let pages = [
        ("help, no data", "/console/help".to_owned()),
        ("Now", "/console/".to_owned()),
        ("an incident", incident),
        ("50 runs", "/console/runs".to_owned()),
        ("50 of 2,000 monitors", "/console/monitors".to_owned()),
        ("a graph of 400 boxes", "/console/definitions/workflow/large".to_owned()),
    ];
    for (name, path) in pages {
        let mut took = Vec::new();
        for _ in 0..LOOKS {
            chromium.open(&live.url(&path)).await;
            took.push(chromium.later(PAINT).await.as_f64().expect("it is painted"));
        }
        // The first is without a warm cache.
        took.remove(0);
        took.sort_by(f64::total_cmp);
        eprintln!("{}", told(&format!("first paint, {name}"), &took));
    }
    for line in on_a_phone(&chromium, &live).await {
        eprintln!("{line}");
    }
}

/// Bits a second and milliseconds before each answer of a bad connection.
const SLOW: (u32, u32) = (400, 400);

/// From a link in a message to an acknowledgement, over a bad connection and without anything cached.
async fn on_a_phone(chromium: &Chromium, live: &Live) -> Vec<String> {
    chromium.look(360, "dark").await;
    let (mut read, mut acted) = (Vec::new(), Vec::new());
    for at in 0..5 {
        let path = format!("/ping/k-{}/1", 100 + at);
        live.ask(reqwest::Method::POST, &path, "HTTP 503").await;
        let open = live.get(&format!("/api/incidents?monitor=job-{:04}", 100 + at)).await;
        let id = open["results"][0]["id"].as_str().expect("an incident").replace('/', "%2F");
        chromium.slow_down(SLOW.0, SLOW.1).await;
        chromium.forget_files().await;
        chromium.open(&live.url(&format!("/console/incidents/{id}"))).await;
        read.push(chromium.later(PAINT).await.as_f64().expect("it is painted"));
        let pressed = std::time::Instant::now();
        chromium.click("form.act button").await;
        while !chromium.source().await.contains("Acknowledged: nobody") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        acted.push(pressed.elapsed().as_secs_f64() * 1000.0);
    }
    let both = [("an incident is readable", read), ("it is acknowledged", acted)];
    let line = |(what, mut took): (&str, Vec<f64>)| {
        took.sort_by(f64::total_cmp);
        told(&format!("{} kbit/s, {} ms: {what}", SLOW.0, SLOW.1), &took)
    };
    both.into_iter().map(line).collect()
}

/// The median, least and most of what was measured, which is in order.
fn told(what: &str, took: &[f64]) -> String {
    let (least, median, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    format!("{what}: median {median:.0} ms ({least:.0}..{most:.0})")
}
