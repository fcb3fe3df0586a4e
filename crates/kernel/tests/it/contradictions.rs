//! Facts that contradict those before them stop folding, and say of which machine, where and why.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kernel::alert::Monitor;
use kernel::durable::entity::Entity;
use kernel::durable::instance::Instance;
use kernel::graph::Execution;
use kernel::schedule::Schedule;
use serde_json::{Value, json};

use crate::golden::{Stored, plans_of, read_golden};

/// What folding says of a golden history that goes on with a fact.
fn said<M: Stored>(name: &str, fact: &Value) -> Result<(), String> {
    let golden = read_golden(M::FOLDER, name);
    let id = golden["id"].as_str().expect("it has an id");
    let mut commits = golden["history"].as_array().expect("it has a history").clone();
    commits.push(json!([fact]));
    let plans = plans_of(&golden);
    let folded = catch_unwind(AssertUnwindSafe(|| {
        M::open(id, &commits, &plans).expect("a fact of a known form").dump()
    }));
    folded.map(drop).map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

fn contradicts<M: Stored>(name: &str, facts: &[(Value, &str)]) {
    for (fact, why) in facts {
        let said = said::<M>(name, fact).expect_err("a fact that contradicts the state is folded");
        assert!(said.contains("contradicts itself") && said.contains(why), "{fact}: {said}");
    }
}

fn goes_on<M: Stored>(name: &str, facts: &[Value]) {
    for fact in facts {
        assert_eq!(said::<M>(name, fact), Ok(()), "{fact}");
    }
}

#[test]
fn of_executions() {
    let facts = [
        (json!({ "begun": { "s": 99 } }), "order-1"),
        (json!({ "begun": { "s": 99 } }), "a fact 'begun': there is no task 99"),
        (json!({ "claimed": { "s": 99 } }), "no task 99"),
        (json!({ "progressed": { "s": 99 } }), "no task 99"),
        (json!({ "closed": { "s": 99, "t": "COMPLETED" } }), "no task 99"),
        (json!({ "forked": { "s": 99, "t": [], "i": [] } }), "no task 99"),
        (json!({ "iterated": { "s": 99, "n": 1 } }), "no task 99"),
        (json!({ "alerted": { "s": 99 } }), "no task 99"),
        (json!({ "reopened": { "s": 99 } }), "no task 99"),
        (json!({ "rewound": { "s": 99 } }), "no task 99"),
        (json!({ "child_started": { "s": 99 } }), "no task 99"),
        (json!({ "closed": { "s": 14, "t": "IN_PROGRESS" } }), "does not end IN_PROGRESS"),
        (json!({ "ended": { "t": "PAUSED", "o": {} } }), "does not end PAUSED"),
        (json!({ "scheduled": { "s": 3, "n": 0, "t": "x", "i": {} } }), "number 3 is taken"),
        (json!({ "collected": { "n": 3 } }), "3 messages of 2"),
    ];
    contradicts::<Execution>("waiting", &facts);
    contradicts::<Execution>("completed", &[(json!("admitted"), "it waits at no gate")]);
    goes_on::<Execution>(
        "waiting",
        &[json!("resumed"), json!({ "closed": { "s": 1, "t": "FAILED" } })],
    );
}

#[test]
fn of_schedules() {
    let fired = |number: u32| json!({ "n": number, "t": 0, "w": "due" });
    let facts = [
        (json!({ "fired": fired(9) }), "number 9 is taken"),
        (json!({ "buffered": fired(9) }), "number 9 is taken"),
        (json!({ "released": { "n": 3 } }), "firing 3 does not wait"),
        (json!({ "started": { "n": 2 } }), "firing 2 is not open"),
        (json!({ "refused": { "n": 2 } }), "firing 2 is not open"),
        (json!({ "stopped": { "n": 2 } }), "firing 2 is not open"),
        (json!({ "ended": { "n": 2 } }), "firing 2 is not open"),
    ];
    contradicts::<Schedule>("every-fact", &facts);
    contradicts::<Schedule>("paused", &[(json!("backfill_done"), "no backfill has begun")]);
    goes_on::<Schedule>("every-fact", &[json!("resumed"), json!({ "fired": fired(10) })]);
}

#[test]
fn of_monitors() {
    let none = "no incident has its key";
    let delivered = json!({ "delivered": { "s": 99, "o": true } });
    let facts = [
        (json!({ "seen": { "k": "x", "s": "fail" } }), none),
        (json!({ "absent": { "k": "x" } }), none),
        (json!({ "moved": { "k": "x", "to": "open", "y": "" } }), none),
        (json!({ "stepped": { "k": "x", "n": 1 } }), none),
        (json!({ "rerouted": { "k": "x" } }), none),
        (json!({ "fell_back": { "k": "x", "t": "a", "f": "b" } }), none),
        (json!({ "owed": { "k": "x", "t": "a", "e": "trigger" } }), none),
        (json!({ "suppressed": { "k": "x", "r": "" } }), none),
        (json!({ "released": { "k": "x" } }), none),
        (json!({ "began": { "k": "web2" } }), "its key has an incident"),
        (json!({ "checked": { "s": 8, "o": { "unknown": { "r": "" } } } }), "check 8 does not run"),
        (json!({ "checking": { "s": 8, "w": { "f": 0, "t": 1 } } }), "number 8 is taken"),
        (json!({ "notified": { "s": 8, "t": "a", "e": "test", "k": [] } }), "number 8 is taken"),
        (delivered, "there is no delivery 99"),
        (json!({ "resent": { "s": 99 } }), "there is no delivery 99"),
    ];
    contradicts::<Monitor>("every-incident-fact", &facts);
    goes_on::<Monitor>("every-incident-fact", &[json!({ "dropped": { "k": "x" } })]);
}

#[test]
fn of_instances() {
    let turned =
        |processed: u32| json!({ "turned": { "started": 0, "at": 0, "processed": processed } });
    let ended = json!({ "ended": { "id": 1, "at": 0, "end": { "outcome": "completed" } } });
    let continued = json!({ "continued": { "at": 0, "execution_id": "x" } });
    let rewound = json!({ "rewound": { "at": 0, "history": [], "execution_id": "x" } });
    let rewinding = json!({ "rewinding": { "event": { "t": 0, "f": "orchestrator_started" } } });
    let open = [
        (turned(9), "9 events of 0 were looked at"),
        (rewinding, "it has not ended"),
        (rewound, "no rewind was asked for"),
        (json!({ "child": { "task": 99, "id": "x" } }), "action 99 has no child"),
    ];
    contradicts::<Instance>("running", &open);
    let over = "it has ended";
    contradicts::<Instance>("terminated", &[(turned(0), over), (ended, over), (continued, over)]);
    let unasked = json!({ "received": { "events": [{ "t": 0, "f": { "task_completed": { "task": 99 } } }] } });
    goes_on::<Instance>("running", &[unasked]);
}

#[test]
fn of_entities() {
    let lock = json!({ "holder": "instance:default:x", "request":
        { "critical_section_id": "x", "lock_set": ["@counter@one"], "position": 0 } });
    let facts = [
        (json!({ "due": { "at": 0, "number": 99 } }), "no scheduled signal 99"),
        (json!({ "batched": { "at": 0, "done": 9 } }), "9 operations of 2 are done"),
        (json!({ "unlocked": { "at": 0 } }), "it is not locked"),
        (json!({ "locked": { "at": 0, "lock": lock } }), "the request is not the first"),
    ];
    contradicts::<Entity>("every-fact", &facts);
    let again = json!({ "locked": { "at": 0, "lock": lock } });
    contradicts::<Entity>("locked", &[(again, "it is locked already")]);
    goes_on::<Entity>("every-fact", &[json!({ "released": { "at": 0 } })]);
}
