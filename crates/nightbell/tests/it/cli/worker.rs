//! `nightbell worker`.

use jiff::Timestamp;
use serde_json::json;

use crate::stand_in::StandIn;

#[test]
fn list_shows_who_is_connected() {
    let since = Timestamp::now() - jiff::SignedDuration::from_secs(60);
    let every = |kind| json!({ "kind": kind, "outstanding": 1 });
    let some = |kind, names: &[&str]| json!({ "kind": kind, "names": names, "outstanding": 0 });
    let workers = json!([
        { "workerId": "host:1", "taskHub": "default", "userAgent": "durabletask-python/1.12.0",
          "since": since.as_millisecond(), "outstanding": 3, "handed": 7,
          "work": [every("orchestration"), every("activity"), every("entity")] },
        { "workerId": "host:2", "taskHub": "h", "userAgent": "x", "since": since.as_millisecond(),
          "outstanding": 0, "handed": 0,
          "work": [some("orchestration", &["o@1"]), some("activity", &["a", "b"]), some("entity", &[])] },
    ]);
    let server = StandIn::start().says("GET /api/workers", 200, workers.clone());
    assert_eq!(
        server.run(&["worker", "list"]).exits(0).lines(),
        [
            "WORKER HUB SINCE BUSY WITH HANDED AGENT DOES",
            "host:1 default 1 min ago 3 7 durabletask-python/1.12.0 every orchestration, every activity, every entity",
            "host:2 h 1 min ago 0 0 x o@1, a, b",
        ]
    );
    let outcome = server.run(&["worker", "list", "--hub", "h", "--json"]).exits(0);
    assert_eq!(outcome.json(), workers);
    assert_eq!(server.heard(), ["GET /api/workers", "GET /api/workers?taskHub=h"]);
    let none = StandIn::start().says("GET /api/workers", 200, json!([]));
    assert!(none.run(&["worker", "list"]).exits(0).stderr.contains("no Durable Task workers"));
}

#[test]
fn unfinished_shows_what_keeps_failing_and_why() {
    let next = Timestamp::now() + jiff::SignedDuration::from_secs(120);
    let tried = |given_up: bool| {
        let mut tried = json!({
            "taskHub": "h", "kind": "orchestration", "name": "o", "version": "2.0",
            "instanceId": "i", "attempts": 8, "reason": "the worker gave it back",
            "workerId": "host:1", "refusedByAll": !given_up, "givenUp": given_up,
        });
        if !given_up {
            tried["nextAt"] = next.as_millisecond().into();
        }
        tried
    };
    let work = json!([tried(false), tried(true)]);
    let server = StandIn::start().says("GET /api/workers/unfinished", 200, work.clone());
    let lines = server.run(&["worker", "unfinished", "--hub", "h"]).exits(0).lines();
    assert_eq!(lines[0], "WORK INSTANCE HUB TRIED NEXT LAST BY WHY");
    assert!(lines[1].starts_with("orchestration o 2.0 i h 8 "), "{lines:?}");
    assert!(
        lines[1].contains("no connected worker takes it: the worker gave it back"),
        "{lines:?}"
    );
    assert!(lines[2].contains(" 8 given up host:1 the worker gave it back"), "{lines:?}");
    let outcome = server.run(&["worker", "unfinished", "--json"]).exits(0);
    assert_eq!(outcome.json(), work);
    assert_eq!(
        server.heard(),
        ["GET /api/workers/unfinished?taskHub=h", "GET /api/workers/unfinished"]
    );
    let none = StandIn::start().says("GET /api/workers/unfinished", 200, json!([]));
    assert!(none.run(&["worker", "unfinished"]).exits(0).stderr.contains("was done"));
}
