//! Schedules that could not start what they should: an incident of Nightbell's own monitor, until
//! the next firing starts something.

use kernel::alert::definition::nearest_hint;
use kernel::alert::{Monitor, Observation, Status};
use kernel::schedule::ScheduleSpec;
use kernel::{Effect, ExecutionId, MachineKind};

use super::OWN_MONITOR;
use crate::engine::Engine;

/// What a decision of a schedule says of its firings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// One has started something.
    Started,
    /// One could not, for this reason.
    Refused(String),
}

impl Fired {
    /// What the effects of a decision say, the last word if there are several.
    pub(crate) fn of(id: &ExecutionId, effects: &[Effect]) -> Option<Self> {
        if id.machine() != MachineKind::Schedule {
            return None;
        }
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
        let version = given("version").and_then(serde_json::Value::as_u64);
        let version = version.and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0);
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
        let name = id.name().to_owned();
        let key: std::sync::Arc<str> = format!("schedule:{name}").into();
        // Nothing is open where there is no such monitor yet.
        if fired == Fired::Started && self.source_of_monitor(OWN_MONITOR).is_none() {
            return;
        }
        // What is told late must not be told over what came after it.
        self.inner.monitors.fired.lock().insert(name.clone().into(), fired);
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let _alone = engine.inner.monitors.telling_of_schedules.lock().await;
            let latest = engine.inner.monitors.fired.lock().remove(&*name);
            let Some(fired) = latest else { return };
            let open = |it: &Monitor| it.incident(&key).is_some_and(|it| it.state.is_open());
            let observation = match &fired {
                Fired::Refused(reason) => Observation::of(
                    Status::Fail,
                    format!("the schedule {name} could not start its workflow: {reason}"),
                ),
                Fired::Started => match engine.monitor(OWN_MONITOR, open).await {
                    Ok(Some(true)) => {
                        Observation::of(Status::Ok, format!("the schedule {name} starts again"))
                    }
                    _ => return,
                },
            };
            let told = engine.observe_own(Observation { key: key.clone(), ..observation }).await;
            if let Err(error) = told {
                tracing::warn!(%error, schedule = name, "an incident could not be told");
            }
        });
    }
}
