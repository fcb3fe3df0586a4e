//! Which secrets data may name in an execution: none, but for what its definition lists and what an
//! earlier release has begun.

use std::sync::Arc;

use kernel::definition::parse_workflow;
use kernel::graph::{Event, Execution, Plan};
use kernel::{ExecutionId, Json};
use serde_json::{Value, json};

/// An execution as its history tells of it, begun by this release or by one before references.
fn begun(definition: &Value, started: Value, references: bool) -> Execution {
    let definition = parse_workflow(&definition.to_string()).expect("it parses");
    let plan = Plan::pin(definition, &|_| None);
    let plan = Arc::new(plan.with_references(&|named| format!("<{named}>")));
    let mut started = started;
    started["p"] = json!(&*plan.hash);
    if references {
        started["f"] = true.into();
    }
    let history = json!([{ "at": 1000 }, { "started": started }]);
    let mut events: Vec<Event> = serde_json::from_value(history).expect("it is a history");
    let mut state = Execution::new(ExecutionId::new("run"));
    for event in &mut events {
        if let Some(pinned) = event.plan_mut() {
            pinned.plan = Some(plan.clone());
        }
        state.apply(event);
    }
    state
}

fn definition() -> Value {
    json!({ "name": "flow", "version": 1, "tasks": [{
        "name": "work", "taskReferenceName": "work", "type": "SIMPLE",
        "inputParameters": { "key": "k=${workflow.secrets.OWN.part}" } }] })
}

#[test]
fn data_names_only_what_the_definition_lists() {
    let input = json!({ "i": { "a": "${workflow.secrets.GIVEN}" }, "o": { "x": "p", "s": 1 } });
    let state = begun(&definition(), input.clone(), true);
    for name in ["OWN", "GIVEN", "OTHER", ""] {
        assert!(!state.lets_data_name(name), "{name}");
    }
    let mut listing = definition();
    listing["secretsInData"] = json!(["OTHER"]);
    let state = begun(&listing, input, true);
    assert!(state.lets_data_name("OTHER") && !state.lets_data_name("OWN"));
}

#[test]
fn what_an_earlier_release_began_goes_on_with_the_names_in_its_definition_and_its_parents() {
    let input = json!({ "a": "${workflow.secrets.GIVEN}" });
    let child = json!({ "i": input, "o": { "x": "parent", "s": 1 } });
    let state = begun(&definition(), child, false);
    for (name, honoured) in [("OWN", true), ("GIVEN", true), ("OTHER", false)] {
        assert_eq!(state.lets_data_name(name), honoured, "{name}");
    }
    // What nobody's definition wrote may come from anywhere.
    let state = begun(&definition(), json!({ "i": input }), false);
    assert!(state.lets_data_name("OWN") && !state.lets_data_name("GIVEN"));
    // A snapshot does not forget it.
    let taken = serde_json::to_value(state.snapshot()).expect("it serializes");
    assert!(taken["snapshot"]["x"].get("references").is_none(), "{taken}");
}

#[test]
fn a_pinned_text_is_kept_as_written_and_compiled_with_references() {
    let state = begun(&definition(), json!({ "i": {} }), true);
    let plan = state.plan();
    assert!(plan.text.contains("${workflow.secrets.OWN.part}"));
    let shown = Json::of(&plan.definition);
    assert!(shown.text().contains("k=<OWN.part>") && !shown.text().contains("secrets.OWN"));
    let same = Plan::from_text(plan.text.clone()).expect("it compiles");
    assert_eq!(same.hash, plan.hash, "a plan is named by what its author wrote");
}
