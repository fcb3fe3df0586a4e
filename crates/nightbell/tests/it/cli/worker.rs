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
    assert!(none.run(&["worker", "list"]).exits(0).stderr.contains("no workers"));
}
