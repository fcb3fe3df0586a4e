//! `INCIDENT`: lets a definition say how something is, so that an incident opens or is over, and
//! people are told by the routes of monitors.
//!
//! Input: `{"monitor", "key", "status", "text", "value", "attrs"}`. `status` is `fail` unless it
//! says `warn` or `ok`; what is `ok` again is over. A monitor of this name need not be defined: one
//! that checks nothing is made. Without `monitor` it is Nightbell's own, and `key` says what it is
//! about. The run and the task are added to `attrs`, so that a page leads to them.
//!
//! Output: `{"monitor", "key", "incident", "state"}`, the last two null if there is no incident.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use engine::monitors::{ApplyError, OWN_MONITOR};
use engine::{Engine, Handoff, Outcome, Requirement, TaskRunner, WeakEngine};
use kernel::alert::{Monitor, read_reported};
use kernel::{Json, Rejected};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::input::{completed, failed, failed_for_good};

/// Tells monitors of the engine that it serves.
#[derive(Default)]
pub struct Incident {
    engine: OnceLock<WeakEngine>,
}

#[async_trait]
impl TaskRunner for Incident {
    fn task_type(&self) -> &'static str {
        "INCIDENT"
    }

    fn attach(&self, engine: WeakEngine) {
        // There is one engine; a second one would have runners of its own.
        drop(self.engine.set(engine));
    }

    fn requires(&self) -> Requirement {
        Requirement::OwnRun
    }

    async fn run(&self, task: Handoff, _cancelled: CancellationToken) -> Outcome {
        let (monitor, row) = match said(&task) {
            Ok(said) => said,
            Err(wrong) => return failed_for_good(format!("INCIDENT: {wrong}")),
        };
        let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) else {
            return failed("the server is shutting down".to_owned());
        };
        match tell(&engine, &task, &monitor, row).await {
            Ok(output) => completed(Json::of(&output)),
            Err(ApplyError::Unfit(why)) => failed_for_good(format!("INCIDENT: {}", why.join("; "))),
            Err(ApplyError::Engine(engine::Error::Rejected(
                Rejected::Invalid(why) | Rejected::Stale(why),
            ))) => failed_for_good(format!("INCIDENT: {why}")),
            Err(error) => failed(error.to_string()),
        }
    }
}

/// The monitor, and what is said to it.
fn said(task: &Handoff) -> Result<(String, Map<String, Value>), String> {
    let Value::Object(mut input) = task.input.parse() else {
        return Err("the input must be an object".to_owned());
    };
    let monitor = match input.remove("monitor") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if !name.trim().is_empty() => Some(name),
        Some(_) => return Err("`monitor` must be the name of a monitor".to_owned()),
    };
    let keyed = input.get("key").is_some_and(|key| !key.is_null() && key != "");
    if monitor.is_none() && !keyed {
        return Err("`monitor` or `key` must say what it is about".to_owned());
    }
    let known = ["key", "status", "text", "value", "attrs"];
    if let Some(name) = input.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("unknown member `{name}`; there are monitor, {}", known.join(", ")));
    }
    let attrs = input.entry("attrs").or_insert_with(|| json!({}));
    if attrs.is_null() {
        *attrs = json!({});
    }
    let Some(attrs) = attrs.as_object_mut() else { return Err("`attrs` must be a map".to_owned()) };
    attrs.insert("execution".to_owned(), task.execution_id.clone().into());
    attrs.insert("task".to_owned(), task.task_id.clone().into());
    input.retain(|_, value| !value.is_null());
    input.entry("status").or_insert_with(|| "fail".into());
    input.entry("key").or_insert_with(|| "".into());
    Ok((monitor.unwrap_or_else(|| OWN_MONITOR.to_owned()), input))
}

async fn tell(
    engine: &Engine,
    task: &Handoff,
    monitor: &str,
    row: Map<String, Value>,
) -> Result<Value, ApplyError> {
    let observation =
        read_reported(Value::Object(row)).map_err(|why| ApplyError::Unfit(vec![why]))?;
    let key = observation.key.clone();
    let who = Arc::from(format!("the run {}", task.execution_id));
    engine.observe(monitor, vec![observation], Some(who)).await?;
    let found = |it: &Monitor| {
        it.incidents.get(&key).map(|incident| (incident.id(), incident.state.as_str()))
    };
    let found = engine.monitor(monitor, found).await?.flatten();
    let (incident, state) = found.unzip();
    Ok(json!({ "monitor": monitor, "key": key, "incident": incident, "state": state }))
}
