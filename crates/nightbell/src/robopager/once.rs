//! Single-job mode: one check, the page that it owes, and an exit code.
//!
//! It runs in a store that ends with the process, beside a service if need be. Nothing is known of
//! earlier runs, so a good run tells the pager that it is over, which the pager ignores unless an
//! incident of this check is open there.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::memory::Memory;
use engine::{Engine, Parts, SystemClock};
use kernel::alert::definition::{ChecklistOptions, File, Level, Schedule, load};
use kernel::alert::{
    CHECK_KEY, DeliveryStatus, Input, Monitor, Status, fingerprint, notify_workflow,
};
use kernel::graph::Start;
use kernel::{ExecutionId, Json};
use serde_json::json;

use super::{Robopager, say};
use crate::cli::Failure;
use crate::config::Config;
use crate::scripts::Engines;
use crate::values::FromEnvironment;

/// Between two tries of a check that could not tell.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the page may take to arrive, beyond the time that is left to other servers.
const PAGE_MAX: Duration = Duration::from_mins(5);

/// Runs one check of a checklist.
pub(super) async fn run(config: &Config, name: &str, checklist: &Path) -> anyhow::Result<ExitCode> {
    // Everything that keeps it from being checked is the same to whoever asks: nobody can tell.
    let robopager = Robopager::of(config).map_err(|error| Failure::usage(format!("{error:#}")))?;
    let file = only(&robopager, name, checklist)?;
    robopager.suffices(&file).map_err(|error| Failure::usage(format!("{error:#}")))?;
    let engine = open(config, &robopager).await?;
    engine.apply_monitors("checklist", file).await?;
    let run = Run { engine, id: ExecutionId::monitor(name), name: name.to_owned() };
    let code = run.check(&robopager.checklist()).await;
    run.engine.close().await?;
    code
}

/// The part of a checklist that is about one check, which is never due by itself.
fn only(robopager: &Robopager, name: &str, path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    // The types that a service runs are no concern here: this check was asked for.
    let options = ChecklistOptions { only: Vec::new(), ..robopager.checklist() };
    let loaded = load(&text, &options);
    let told = |level: Level| {
        let problems = loaded.problems.iter().filter(move |it| it.level == level);
        problems.map(|it| format!("{shown}:{it}"))
    };
    for warning in told(Level::Warning) {
        tracing::warn!("{warning}");
    }
    let Some(mut file) = loaded.file.clone() else {
        let message = "the checklist has mistakes, nothing was checked";
        return Err(Failure::usage(message).with_details(told(Level::Error)).into());
    };
    let names: Vec<&str> = file.monitors.iter().map(|it| &*it.name).collect();
    if !names.contains(&name) {
        let hint = format!("it has {}", names.join(", "));
        let message = format!("{shown} has no check {name:?}");
        return Err(Failure::usage(message).with_hint(hint).into());
    }
    file.monitors.retain(|it| *it.name == *name);
    for monitor in &mut file.monitors {
        monitor.schedule = Schedule::default();
        monitor.remind = None;
        let to = monitor.to.clone();
        file.receivers.retain(|receiver, _| to.contains(receiver));
    }
    Ok(file)
}

async fn open(config: &Config, robopager: &Robopager) -> anyhow::Result<Engine> {
    let mut settings = crate::serve::task_settings(config);
    robopager.configure(&mut settings);
    let parts = Parts {
        store: Arc::new(Memory::new()),
        clock: Arc::new(SystemClock),
        scripts: Engines::new(
            crate::serve::javascript_limits(config),
            crate::serve::jq_limits(config),
        ),
        runners: tasks::registry::runners(&settings)?,
        values: Arc::new(FromEnvironment),
        describe: server::rest::view::describe,
        options: crate::serve::options(config),
    };
    Engine::open(parts).await.context("the engine cannot be opened")
}

struct Run {
    engine: Engine,
    id: ExecutionId,
    name: String,
}

/// How the check ended.
enum Verdict {
    Ok(String),
    Warning(String),
    Failed(String),
    Unknown(String),
}

impl Run {
    async fn check(&self, options: &ChecklistOptions) -> anyhow::Result<ExitCode> {
        let tries =
            self.look(|it| it.spec.as_ref().map_or(1, |it| it.monitor.on_error.after)).await?;
        let mut left = tries.max(1);
        let verdict = loop {
            let who = Some(Arc::from("nightbell robopager"));
            self.engine.step(&self.id, Input::Check { who }).await?;
            self.until(|it| it.check.is_none()).await?;
            let verdict = self.look(judge).await?;
            left -= 1;
            match verdict {
                Verdict::Unknown(why) if left > 0 => {
                    tracing::warn!("{}: {why}; it is tried again", self.name);
                    tokio::time::sleep(PAUSE).await;
                }
                verdict => break verdict,
            }
        };
        let (word, text, code) = match &verdict {
            Verdict::Ok(text) => ("ok", text, 0),
            Verdict::Warning(text) => ("warning", text, 0),
            Verdict::Failed(text) => ("FAILED", text, 1),
            Verdict::Unknown(text) => ("CANNOT TELL", text, 2),
        };
        say(&format!("{}: {word}: {text}", self.name));
        match verdict {
            Verdict::Ok(_) if !options.hourly => self.take_back().await?,
            Verdict::Ok(_) | Verdict::Warning(_) => {}
            Verdict::Failed(_) | Verdict::Unknown(_) => {
                let patience = PAGE_MAX + Duration::from_millis(options.offset.unsigned_abs());
                self.told(patience).await?;
            }
        }
        Ok(ExitCode::from(code))
    }

    async fn look<R>(&self, look: impl FnOnce(&Monitor) -> R) -> anyhow::Result<R> {
        let found = self.engine.monitor(&self.name, look).await?;
        found.with_context(|| format!("the monitor {} is gone", self.name))
    }

    async fn until(&self, holds: impl Fn(&Monitor) -> bool) -> anyhow::Result<()> {
        let mut changes = self.engine.watch(&self.id);
        while !self.look(&holds).await? {
            changes.changed().await?;
        }
        Ok(())
    }

    /// Waits until everybody who is to be told was told.
    async fn told(&self, patience: Duration) -> anyhow::Result<()> {
        let late = tokio::time::timeout(patience, self.until(all_told)).await;
        let failed = self.look(|it| {
            let ended = it.deliveries.values().rev();
            ended.filter(|it| it.status == DeliveryStatus::Dead).find_map(|it| it.reason.clone())
        });
        match (late, failed.await?) {
            (Ok(result), None) => return result,
            (Ok(_), Some(reason)) => tracing::error!("nobody was paged: {reason}"),
            (Err(_), _) => {
                let seconds = patience.as_secs();
                tracing::error!("the page did not arrive within {seconds} s, and is given up");
            }
        }
        Ok(())
    }

    /// Says that it is over, whatever it was.
    async fn take_back(&self) -> anyhow::Result<()> {
        let now = self.engine.now();
        for receiver in self
            .look(|it| it.spec.as_ref().map(|it| it.monitor.to.clone()))
            .await?
            .into_iter()
            .flatten()
        {
            let Some(plan) = self.engine.definitions().plan(&notify_workflow(&receiver), None)
            else {
                continue;
            };
            let member = |key: &str| json!({ "dedup_key": fingerprint(&self.name, key), "title": self.name });
            let notification = json!({
                "event": "resolve", "monitor": self.name, "title": format!("{} is well", self.name),
                "at": now.to_string(),
                "group": { "key": "", "display": "", "members": [member(""), member(CHECK_KEY)] },
            });
            let id = Engine::new_id();
            let start = Start {
                plan,
                input: Json::from(json!({ "receiver": receiver, "notification": notification })),
                correlation_id: None,
                priority: 0,
                task_to_domain: None,
                parent: None,
                asked_by: None,
                event: None,
                created_by: Some("nightbell robopager".into()),
                acts_as: None,
                idempotency_key: None,
                traceparent: None,
            };
            let mut changes = self.engine.watch(&id);
            self.engine.step(&id, kernel::graph::Input::Start(Box::new(start))).await?;
            let ended = async {
                loop {
                    let look = |run: &kernel::graph::Execution| run.status.is_closed();
                    if self.engine.read(&id, look).await? != Some(false) {
                        return anyhow::Ok(());
                    }
                    changes.changed().await?;
                }
            };
            if let Ok(result) = tokio::time::timeout(PAGE_MAX, ended).await {
                result?;
            } else {
                tracing::warn!("the pager could not be told that {} is well", self.name);
            }
        }
        Ok(())
    }
}

/// What the last check said.
fn judge(monitor: &Monitor) -> Verdict {
    if monitor.errors > 0 {
        return Verdict::Unknown(
            monitor.error.as_deref().unwrap_or("no reason is known").to_owned(),
        );
    }
    let Some(incident) = monitor.incidents.get("") else {
        return Verdict::Ok("all is as it should be".to_owned());
    };
    let text = incident.text.as_deref().unwrap_or_default().to_owned();
    match incident.status {
        Status::Fail => Verdict::Failed(text),
        Status::Warn => Verdict::Warning(text),
        Status::Ok | Status::Unknown => Verdict::Ok(text),
    }
}

/// Whether nothing is under way and nobody waits to be told.
fn all_told(monitor: &Monitor) -> bool {
    let under_way = monitor.deliveries.values().any(|it| it.status == DeliveryStatus::Queued);
    let waits = monitor.incidents.values().any(|incident| {
        let steps = monitor.route_of(incident).map_or(0, |route| route.steps.len());
        incident.state.is_open() && (incident.steps as usize) < steps
    });
    !under_way && !waits
}
