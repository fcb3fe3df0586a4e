//! The message at the start: a page that is resolved at once, so that somebody sees the restart and
//! nobody has to clean up after it.

use std::collections::BTreeMap;

use engine::Engine;
use kernel::alert::definition::{ChecklistOptions, File, Kind, Matcher, Route, Step};
use kernel::alert::{Monitor, notify_workflow};
use kernel::definition::parse_workflow;
use kernel::graph::Start;
use kernel::{Json, Timestamp};
use serde_json::{Value, json};

/// The source that defines the receiver.
const SOURCE: &str = "robopager";
/// The receiver; checks' own have a colon in their names.
const RECEIVER: &str = "robopager heartbeat";
/// What says it.
const WORKFLOW: &str = "robopager_startup";

/// Says to the service of this integration key what is watched, and has it hear of files that were
/// refused; without a key, takes both back.
pub(super) async fn announce(
    engine: &Engine,
    options: &ChecklistOptions,
    key: Option<&str>,
) -> anyhow::Result<()> {
    listen(engine, options, key).await?;
    if key.is_none() {
        return Ok(());
    }
    engine.definitions().put_workflows(vec![workflow()?]).await?;
    let plan = engine.definitions().plan(WORKFLOW, None);
    let plan = plan.ok_or_else(|| anyhow::anyhow!("{WORKFLOW} is not there"))?;
    let refused = engine.monitor(engine::monitors::OWN_MONITOR, Monitor::is_down).await?;
    let said = message(&engine.monitors_file(), refused == Some(true), engine.now());
    let start = Start {
        plan,
        input: Json::from(said),
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
    engine.begin(start, None).await?;
    Ok(())
}

/// Has the service of this integration key hear of files that were refused; without a key, nobody.
pub(super) async fn listen(
    engine: &Engine,
    options: &ChecklistOptions,
    key: Option<&str>,
) -> anyhow::Result<()> {
    let file = key.map(|key| file(options, key)).unwrap_or_default();
    if file != File::default() || engine.monitors_of(SOURCE).is_some() {
        engine.apply_monitors(SOURCE, file).await?;
    }
    Ok(())
}

fn file(options: &ChecklistOptions, key: &str) -> File {
    // Each start is an incident of its own, whatever the checks' are.
    let options = ChecklistOptions { hourly: false, ..options.clone() };
    let own = Matcher {
        label: "monitor".into(),
        values: vec![engine::monitors::OWN_MONITOR.into()],
        negated: false,
    };
    let step = Step { to: vec![RECEIVER.into()], ..Step::default() };
    let route = Route { matchers: vec![own], steps: vec![step], ..Route::default() };
    File {
        receivers: BTreeMap::from([(RECEIVER.into(), options.pagerduty(key))]),
        routes: vec![route],
        ..File::default()
    }
}

/// First that it began, and when that has arrived, that it is over.
fn workflow() -> anyhow::Result<kernel::definition::WorkflowDef> {
    let tell = |event: &str| {
        json!({
            "name": event, "taskReferenceName": event, "type": "SUB_WORKFLOW",
            "subWorkflowParam": { "name": notify_workflow(RECEIVER) },
            "inputParameters": {
                "receiver": RECEIVER, "notification": format!("${{workflow.input.{event}}}"),
            },
        })
    };
    let definition = json!({
        "name": WORKFLOW, "version": 1, "ownerEmail": "nightbell",
        "description": "Says that Robopager has started",
        "tasks": [tell("trigger"), tell("resolve")],
    });
    parse_workflow(&definition.to_string()).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", problems.join("; "))
    })
}

fn message(file: &File, refused: bool, now: Timestamp) -> Value {
    let checks: Vec<String> = file
        .monitors
        .iter()
        .filter(|monitor| matches!(monitor.kind, Kind::Email | Kind::Job))
        .map(|monitor| format!("- {} ({})", monitor.name, kind(monitor.kind)))
        .collect();
    let word = if refused { "FAILURE" } else { "OK" };
    let trigger = json!({
        "event": "trigger",
        "dedup_key": format!("robopager-startup-{}-{}", super::host(), now.millis()),
        "monitor": "robopager",
        "severity": if refused { "error" } else { "info" },
        "title": format!("{word}: Robopager Startup"),
        "text": format!("{} have been scheduled on {}:\n{}", checks.len(), super::host(),
            checks.join("\n")),
        "at": now.to_string(),
    });
    let mut resolve = trigger.clone();
    resolve["event"] = "resolve".into();
    json!({ "trigger": trigger, "resolve": resolve })
}

fn kind(kind: Kind) -> &'static str {
    if kind == Kind::Email { "email" } else { "batchy" }
}
