//! How soon an evaluation ends, for whoever waits for it, after its limit.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::underway::{task, until};
use super::watch::{alone, is_measured, note};
use crate::live::Live;

/// What the contract promises.
const LATE_MAX: Duration = Duration::from_millis(250);
/// What shows that it ends.
const LATE_ALIVE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(1);

fn endless() -> Vec<(&'static str, Value)> {
    let script =
        |text: &str| task("INLINE", &json!({ "evaluatorType": "javascript", "expression": text }));
    let jq = |text: &str| task("JSON_JQ_TRANSFORM", &json!({ "queryExpression": text }));
    let generator = format!("last({})", vec!["(1,1)"; 40].join("|"));
    let texts =
        "var x = 'x'.repeat(2e6); var a = x + 'a', b = x + 'b'; for (;;) if (a === b) break; 1";
    vec![
        ("a loop", script("for (;;) {}")),
        ("a script that cannot be interrupted", script(texts)),
        // One call takes several seconds, in which nothing interrupts it.
        ("array-likes", script("for (;;) { try { [].sort.call({length: 8e5}) } catch (e) {} }")),
        ("a regular expression", script("/^(a|a)*$/.test('a'.repeat(60) + 'b')")),
        ("a jq generator", jq(&generator)),
        (
            "jq's regular expressions",
            jq("[range(1e6) | (\"a\" * 20000) | test(\"^(?:(a?){40}|b)*x?$\")] | length"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn any_evaluation_ends_soon_after_its_limit() {
    let _alone = alone().await;
    let live = Live::start(&["--script-time", "1s"]).await;
    for (number, (what, task)) in endless().into_iter().enumerate() {
        let name = format!("endless-{number}");
        live.define(&name, json!([task])).await;
        let begun = Instant::now();
        // The start is answered when the first decision is made.
        let id = live.begin(&name, &json!({})).await;
        let run = live.ended(&id, LATE_ALIVE).await;
        let late = begun.elapsed().saturating_sub(LIMIT);
        assert_eq!(run["status"], "FAILED", "{what}: {run}");
        assert!(late < LATE_ALIVE, "{what} ended {late:?} after its limit");
        note(&format!("{what:<44} ended {:>4} ms after its limit\n", late.as_millis()));
        assert!(!is_measured() || late <= LATE_MAX, "{what} ended {late:?} after its limit");
        // One that was given up must not slow down the next.
        until(&live, "/health", |health| health["evaluations"]["stuck"] == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_that_end_by_themselves_are_not_given_up() {
    let live = Live::start(&["--script-time", "300ms"]).await;
    let loops = json!({ "evaluatorType": "javascript", "expression": "for (;;) {}" });
    // Whoever starts them does not wait for their ends.
    let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
        "inputParameters": { "duration": "1 seconds" } });
    live.define("w", json!([wait, task("INLINE", &loops)])).await;
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(live.begin("w", &json!({})).await);
    }
    for id in ids {
        let run = live.ended(&id, Duration::from_mins(2)).await;
        let reason = run["reasonForIncompletion"].as_str().unwrap_or_default();
        assert!(reason.contains("ran longer than"), "{run}");
    }
    let health = live.get("/health").await;
    assert_eq!(health["evaluations"]["givenUp"], 0, "{health}");
}
