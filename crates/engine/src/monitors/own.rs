//! What monitors hear from others than their checks: from Nightbell itself, from tasks of
//! definitions, from whoever tests a receiver; and what the kinds think of settings.
//!
//! A monitor that is spoken of and that no source defines is made: it checks nothing and waits for
//! nobody.

use std::sync::Arc;

use kernel::alert::definition::{Judge, Kind, MonitorDef, Remark, task_type};
use kernel::alert::{Input, Monitor, NotificationEvent, Observation, notify_workflow};
use kernel::{ExecutionId, Json};
use serde_json::{Value, json};

use super::{ApplyError, OWN_MONITOR};
use crate::engine::Engine;

/// Monitors that were made because somebody spoke of them, at most.
const MADE_MAX: usize = 500;

impl Engine {
    /// Says to Nightbell's own monitor how something of Nightbell is, such as a file of monitors.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    pub async fn observe_own(&self, observation: Observation) -> Result<(), ApplyError> {
        self.observe(OWN_MONITOR, vec![observation], None).await
    }

    /// Says to a monitor how things are; keys that are not among them stay as they are.
    ///
    /// # Errors
    /// [`ApplyError::Unfit`] if there is none of this name, and it cannot be made.
    pub async fn observe(
        &self,
        monitor: &str,
        observations: Vec<Observation>,
        who: Option<Arc<str>>,
    ) -> Result<(), ApplyError> {
        self.make(monitor).await?;
        let input = Input::Observe { observations, complete: false, who };
        Ok(self.step(&ExecutionId::monitor(monitor), input).await?)
    }

    /// Makes sure that there is a monitor of this name.
    pub(crate) async fn make(&self, name: &str) -> Result<(), ApplyError> {
        const NAME_MAX: usize = 150;
        if self.source_of_monitor(name).is_some() {
            return Ok(());
        }
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            let message =
                format!("a monitor's name has 1 to {NAME_MAX} bytes, all of them printable");
            return Err(ApplyError::Unfit(vec![message]));
        }
        let _alone = self.inner.monitors.making.lock().await;
        if self.source_of_monitor(name).is_some() {
            return Ok(());
        }
        let mut file = self.monitors_of(OWN_MONITOR).unwrap_or_default();
        if file.monitors.len() >= MADE_MAX && name != OWN_MONITOR {
            let message = format!(
                "there is no monitor {name}, and {MADE_MAX} were made already: define it in a file"
            );
            return Err(ApplyError::Unfit(vec![message]));
        }
        file.monitors.push(MonitorDef::new(name, Kind::Heartbeat, Json::empty_object()));
        self.apply_monitors(OWN_MONITOR, file).await?;
        Ok(())
    }

    /// Sends a test notification to a receiver, as a delivery of Nightbell's own monitor; answers
    /// its execution, which is about to begin. `None` if there is no receiver of this name.
    ///
    /// # Errors
    /// As [`Engine::observe`].
    pub async fn test_receiver(
        &self,
        name: &str,
        who: Option<&str>,
    ) -> Result<Option<ExecutionId>, ApplyError> {
        if self.definitions().plan(&notify_workflow(name), None).is_none() {
            return Ok(None);
        }
        self.make(OWN_MONITOR).await?;
        // Nobody else tests meanwhile, so that the latest test is ours.
        let _alone = self.inner.monitors.making.lock().await;
        let input = Input::Test { receiver: name.into(), who: who.map(Into::into) };
        self.step(&ExecutionId::monitor(OWN_MONITOR), input).await?;
        let latest = |monitor: &Monitor| {
            let test = monitor.deliveries.values().rfind(|delivery| {
                delivery.event == NotificationEvent::Test && *delivery.receiver == *name
            });
            test.map(|delivery| monitor.delivery_execution(delivery.sequence))
        };
        Ok(self.monitor(OWN_MONITOR, latest).await?.flatten())
    }

    /// What is wrong with the program that makes alerts of other payloads.
    fn judged_map(&self, settings: &Value) -> Vec<Remark> {
        let Some(program) = settings.get("map").and_then(Value::as_str) else { return Vec::new() };
        let wrong = self.scripts().check_jq(program).err();
        wrong
            .map(|error| Remark::error(Some("map"), format!("the jq program: {error}")))
            .into_iter()
            .collect()
    }

    fn judged(&self, task_type: &str, input: &Value) -> Vec<Remark> {
        self.inner.runners.get(task_type).map(|runner| runner.judge(input)).unwrap_or_default()
    }
}

/// Those who will be given the settings say what they think of them.
impl Judge for Engine {
    fn receiver(&self, kind: &str, settings: &Value) -> Vec<Remark> {
        self.judged("NOTIFY", &json!({ "kind": kind, "settings": settings }))
    }

    fn monitor(&self, kind: Kind, settings: &Value) -> Vec<Remark> {
        if kind == Kind::Alerts {
            return self.judged_map(settings);
        }
        self.judged(task_type(kind), &json!({ "settings": settings }))
    }
}
