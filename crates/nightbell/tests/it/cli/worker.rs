//! `nightbell worker`.

use jiff::Timestamp;
use serde_json::json;

use crate::stand_in::StandIn;

#[test]
fn list_shows_who_is_connected() {
    let since = Timestamp::now() - jiff::SignedDuration::from_secs(60);
    let workers = json!([
        { "name": "host:1", "taskHub": "default", "agent": "durabletask-python/1.12.0",
          "since": since.to_string(), "out": { "orchestrations": 1, "activities": 2, "entities": 0 },
          "limits": { "orchestrations": 0, "activities": 0, "entities": 0 }, "handed": 7 },
        { "name": "host:2", "taskHub": "h", "agent": "x", "since": since.to_string(),
          "out": { "orchestrations": 0, "activities": 0, "entities": 0 }, "handed": 0,
          "filters": { "orchestrations": ["o@1"], "activities": ["a", "b"], "entities": [] } },
    ]);
    let server = StandIn::start().says("GET /api/workers", 200, workers.clone());
    assert_eq!(
        server.run(&["worker", "list"]).exits(0).lines(),
        [
            "WORKER HUB SINCE BUSY WITH HANDED AGENT DOES",
            "host:1 default 1 min ago 3 7 durabletask-python/1.12.0 everything",
            "host:2 h 1 min ago 0 0 x o@1, a, b",
        ]
    );
    let outcome = server.run(&["worker", "list", "--hub", "h", "--json"]).exits(0);
    assert_eq!(outcome.json(), workers);
    assert_eq!(server.heard(), ["GET /api/workers", "GET /api/workers?taskHub=h"]);
    let none = StandIn::start().says("GET /api/workers", 200, json!([]));
    assert!(none.run(&["worker", "list"]).exits(0).stderr.contains("no workers"));
}
