//! What would become of firings if nobody looked for a while.

use kernel::schedule::Fate;
use serde_json::{Value, json};

use super::{Run, at};

/// The fates of an hourly schedule from midnight to 04:30, as `hour fate`.
fn fates(members: Value) -> Vec<String> {
    let run = Run::new("2026-02-26T00:00:00Z", members);
    let before = run.state.clone();
    let (from, to) = (at("2026-02-26T00:30:00Z"), at("2026-02-26T04:30:00Z"));
    let told = run.state.outage(from, to, &run.limits);
    assert_eq!(run.state, before, "nothing is changed");
    let told = told.iter().map(|it| {
        let hour = (it.first.millis() - at("2026-02-26T00:00:00Z").millis()) / 3_600_000;
        format!("{hour} {:?}", it.fate)
    });
    told.collect()
}

#[test]
fn the_policies_of_the_schedule_decide() {
    assert_eq!(fates(json!({})), ["1 Missed", "2 Missed", "3 Missed", "4 Missed"]);
    let latest = fates(json!({ "catchUp": "latest" }));
    assert_eq!(latest, ["1 Missed", "2 Missed", "3 Missed", "4 MadeUp"]);
    let all = fates(json!({ "catchUp": "all" }));
    assert_eq!(all, ["1 MadeUp", "2 MadeUp", "3 MadeUp", "4 MadeUp"]);
    let alone = fates(json!({ "catchUp": "all", "overlap": "skip" }));
    assert_eq!(alone, ["1 MadeUp", "2 Skipped", "3 Skipped", "4 Skipped"]);
    let one_waits = fates(json!({ "catchUp": "all", "overlap": "buffer_one" }));
    assert_eq!(one_waits, ["1 MadeUp", "2 Waits", "3 Skipped", "4 Skipped"]);
    assert_eq!(fates(json!({ "paused": true })), Vec::<String>::new());
}

#[test]
fn many_share_a_line_and_what_is_made_up_for_is_bounded() {
    let members = json!({ "cronExpression": "0 * * * * *", "catchUp": "all" });
    let run = Run::new("2026-02-26T00:00:00Z", members);
    let (from, to) = (at("2026-02-26T00:00:00Z"), at("2026-02-27T00:00:00Z"));
    let told = run.state.outage(from, to, &run.limits);
    let count =
        |fate: Fate| -> u64 { told.iter().filter(|it| it.fate == fate).map(|it| it.count).sum() };
    let made_up = run.limits.catch_up_max as u64;
    assert_eq!((count(Fate::MadeUp), count(Fate::Missed)), (made_up, 1440 - made_up));
    assert!(told.len() <= run.limits.catch_up_max + run.limits.missed_lines_max + 1);
    assert!(told.iter().any(|it| it.count > 1 && it.last > it.first));
}
