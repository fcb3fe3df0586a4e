//! Schedules that could not start what they should: an incident of Nightbell's own monitor, until
//! the next firing starts something.

use std::sync::Arc;

use kernel::alert::definition::nearest_hint;
use kernel::alert::{Monitor, Observation, Status};
use kernel::schedule::ScheduleSpec;
use kernel::{Effect, ExecutionId};

use super::{ApplyError, OWN_MONITOR, TELL_AGAIN};
use crate::engine::{Engine, Error};

/// What a decision of a schedule says of its firings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// One has started something.
    Started,
    /// One could not, for this reason.
    Refused(String),
}

impl Fired {
    /// What the effects of a schedule's decision say, the last word if there are several.
    pub(crate) fn of(effects: &[Effect]) -> Option<Self> {
        effects.iter().rev().find_map(|effect| match effect {
            Effect::Record(record) if &*record.status == "EXECUTED" => Some(Self::Started),
            Effect::Record(record) if &*record.status == "FAILED" => {
                let body = record.body.parse();
                let reason = body.get("reason").and_then(serde_json::Value::as_str);
                Some(Self::Refused(reason.unwrap_or("it could not be started").to_owned()))
            }
            _ => None,
        })
    }
}

impl Engine {
    /// That the workflow which a schedule starts does not exist, in words. What workers run as code
    /// comes and goes with them, and a definition may stand in the schedule itself.
    pub fn missing_workflow(&self, spec: &ScheduleSpec) -> Option<String> {
        let request = spec.start_workflow_request.parse();
        let given = |name: &str| request.get(name).filter(|it| !it.is_null());
        let name = given("name").and_then(serde_json::Value::as_str)?;
        if given("workflowDef").is_some() || name.starts_with("orchestration:") {
            return None;
        }
        let version = spec.workflow_version();
        if self.definitions().plan(name, version).is_some() {
            return None;
        }
        let version = version.map(|it| format!(" version {it}")).unwrap_or_default();
        let known = self.definitions().workflows();
        let hint = nearest_hint(name, known.iter().map(|it| it.name.as_str()));
        Some(format!(
            "the schedule {} starts {name:?}{version}, which does not exist{hint}",
            spec.name
        ))
    }

    /// Tells Nightbell's own monitor what became of a firing, in the background.
    pub(crate) fn tell_of_schedule(&self, id: &ExecutionId, fired: Fired) {
        let name: Arc<str> = id.name().into();
        // Nothing is open where there is no such monitor yet.
        if fired == Fired::Started && self.source_of_monitor(OWN_MONITOR).is_none() {
            return;
        }
        // What is told late must not be told over what came after it.
        self.inner.monitors.fired.lock().insert(name.clone(), fired);
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            loop {
                let alone = engine.inner.monitors.telling_of_schedules.lock().await;
                let latest = engine.inner.monitors.fired.lock().remove(&*name);
                let Some(fired) = latest else { return };
                match engine.tell_of_firing(&name, &fired).await {
                    Ok(()) | Err(ApplyError::Engine(Error::Closing)) => return,
                    Err(error) if error.is_transient() => {
                        // Unless something newer is to be told by now.
                        engine.inner.monitors.fired.lock().entry(name.clone()).or_insert(fired);
                    }
                    Err(error) => {
                        let schedule = &*name;
                        return tracing::warn!(%error, schedule, "incident about a schedule could not be updated");
                    }
                }
                drop(alone);
                if !engine.pauses(TELL_AGAIN).await {
                    return;
                }
            }
        });
    }

    async fn tell_of_firing(&self, name: &str, fired: &Fired) -> Result<(), ApplyError> {
        let key: Arc<str> = format!("schedule:{name}").into();
        let open = |it: &Monitor| it.incident(&key).is_some_and(|it| it.state.is_open());
        let observation = match fired {
            Fired::Refused(reason) => Observation::of(
                Status::Fail,
                format!("the schedule {name} could not start its workflow: {reason}"),
            ),
            Fired::Started if self.monitor(OWN_MONITOR, open).await? == Some(true) => {
                Observation::of(Status::Ok, format!("the schedule {name} starts again"))
            }
            Fired::Started => return Ok(()),
        };
        self.observe_own(Observation { key: key.clone(), ..observation }).await
    }
}
