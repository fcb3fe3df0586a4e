//! `nightbell queue`.

use jiff::Timestamp;
use serde_json::json;

use crate::stand_in::StandIn;

fn server() -> StandIn {
    // One instant for all: those that polled at the same time are listed as they came.
    let now = Timestamp::now().as_millisecond();
    let ago = |seconds: i64| now - seconds * 1000 - 100;
    let polls = json!([
        { "queueName": "a", "domain": "DEFAULT", "workerId": "w-1", "lastPollTime": ago(60) },
        { "queueName": "a", "domain": "DEFAULT", "workerId": "w-2", "lastPollTime": ago(120) },
        { "queueName": "a", "domain": "eu", "workerId": "w-3", "lastPollTime": ago(60) },
    ]);
    StandIn::start()
        .says("GET /api/tasks/queue/all", 200, json!({ "a": 3, "b": 7 }))
        .says("GET /api/tasks/queue/polldata/all", 200, polls.clone())
        .says("GET /api/tasks/queue/sizes", 200, json!({ "a": 3 }))
        .says("GET /api/tasks/queue/polldata", 200, polls)
}

#[test]
fn list_shows_who_waits_for_whom() {
    let outcome = server().run(&["queue", "list"]).exits(0);
    assert_eq!(
        outcome.lines(),
        ["QUEUE WAITING LAST POLL BY", "a 3 1 min ago w-1", "b 7 never", "eu:a 0 1 min ago w-3",]
    );
    let outcome = server().run(&["queue", "list", "--waiting", "--json"]).exits(0);
    let queues = outcome.json();
    assert_eq!(queues.as_array().unwrap().len(), 2);
    assert_eq!(
        queues[1],
        json!({ "queue": "b", "size": 7, "lastPollTime": null, "workerId": null })
    );
}

#[test]
fn queues_of_the_server_itself_are_listed_while_tasks_wait_in_them() {
    let server = || {
        StandIn::start()
            .says(
                "GET /api/tasks/queue/all",
                200,
                json!({ "a": 0, "HTTP": 0, "EVENT": 2, "JDBC": 0 }),
            )
            .says("GET /api/tasks/queue/polldata/all", 200, json!([]))
    };
    let outcome = server().run(&["queue", "list"]).exits(0);
    assert_eq!(outcome.lines(), ["QUEUE WAITING LAST POLL BY", "EVENT 2 never", "a 0 never"]);
    let told = "2 of the server itself are not shown; --all shows them";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    let outcome = server().run(&["queue", "list", "--all"]).exits(0);
    assert_eq!(outcome.lines().len(), 5);
    let outcome = server().run(&["queue", "list", "--json"]).exits(0);
    assert_eq!(outcome.json().as_array().unwrap().len(), 4, "programs see all");
}

#[test]
fn show_lists_every_worker_of_a_queue() {
    let server = server();
    let outcome = server.run(&["queue", "show", "a"]).exits(0);
    assert_eq!(
        outcome.lines(),
        [
            "3 waiting",
            "WORKER DOMAIN LAST POLL",
            "w-1 DEFAULT 1 min ago",
            "w-3 eu 1 min ago",
            "w-2 DEFAULT 2 min ago",
        ]
    );
    assert_eq!(
        server.heard(),
        ["GET /api/tasks/queue/sizes?taskType=a", "GET /api/tasks/queue/polldata?taskType=a"]
    );
    let outcome = server.run(&["queue", "show", "a", "--json"]).exits(0);
    assert_eq!(outcome.json()["size"], 3);
}
