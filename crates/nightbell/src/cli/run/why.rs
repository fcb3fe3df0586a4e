//! `nightbell run why`: why a run does not go on.
//!
//! The server knows: it keeps the reason of every waiting task as data. A Conductor server does not
//! have this path; there the state of the tasks is all that can be told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fork::{BranchedFrom, Fork};
use super::{Workflow, fetch};
use crate::cli::client::{Client, understand};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment::{self, Moment};
use crate::cli::output::{Output, clean};
use crate::cli::table::Tone;

/// One waiting task.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Waiting {
    /// The task.
    pub(super) task_id: String,
    /// Its reference name.
    pub(super) reference: String,
    /// Its type.
    pub(super) task_type: String,
    /// The kind of reason.
    pub(super) code: String,
    /// The reason in a sentence.
    pub(super) reason: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    since: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    until: Value,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Why {
    workflow_id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branched_from: Option<BranchedFrom>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forks: Vec<Fork>,
    waiting: Vec<Waiting>,
}

/// Runs the command.
pub(super) async fn run(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let why = if let Some(why) = ask(id, client).await? {
        why
    } else {
        let (value, workflow) = fetch(id, true, client).await?;
        output.note("this server keeps no reasons; the state of the tasks is:");
        guess(&value, workflow)
    };
    if output.is_json() {
        let mut value = serde_json::to_value(&why)?;
        moment::readable(&mut value);
        return output.json(&value);
    }
    let status = Tone::paint(Tone::of_status(&why.status), &clean(&why.status), output.screen());
    match why.reason.as_deref() {
        None | Some("") => output.line(&status)?,
        Some(reason) => output.line(format_args!("{status}: {}", clean(reason)))?,
    }
    let now = Timestamp::now();
    if let Some(origin) = &why.branched_from {
        output.line(format_args!("forked from {}", origin.line()))?;
    }
    for fork in &why.forks {
        output.line(format_args!("has the fork {}", fork.line(now)))?;
    }
    for task in &why.waiting {
        let name = clean(&task.reference);
        let kind = clean(&task.task_type);
        output.line(format_args!("{name} ({kind}): {}", clean(&task.reason)))?;
        let since = Moment::of(&task.since).relative(now);
        let until = Moment::of(&task.until).relative(now);
        match (since.is_empty(), until.is_empty()) {
            (true, true) => {}
            (false, true) => output.line(format_args!("  since {since}"))?,
            (true, false) => output.line(format_args!("  until {until}"))?,
            (false, false) => output.line(format_args!("  since {since}, until {until}"))?,
        }
    }
    if why.waiting.is_empty() {
        output.note("no task waits");
    }
    Ok(())
}

/// The waiting tasks of a run, with the server's reasons if it has any.
pub(super) async fn waiting(
    value: &Value,
    workflow: &Workflow,
    client: &Client,
) -> Result<Vec<Waiting>, Failure> {
    match ask(&workflow.id, client).await? {
        Some(why) => Ok(why.waiting),
        None => Ok(guess_waiting(value, workflow)),
    }
}

/// Asks the server; nothing if it does not know the question, or not the run.
async fn ask(id: &str, client: &Client) -> Result<Option<Why>, Failure> {
    match client.get(&["workflow", id, "why"]).send().await {
        Ok(answer) => understand("reasons", &answer.value()?).map(Some),
        // A Conductor server answers such a path with one of these.
        Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Error) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn guess(value: &Value, workflow: Workflow) -> Why {
    let waiting = guess_waiting(value, &workflow);
    Why {
        workflow_id: workflow.id,
        status: workflow.status,
        reason: workflow.reason_for_incompletion,
        branched_from: workflow.branched_from,
        forks: Vec::new(),
        waiting,
    }
}

fn guess_waiting(value: &Value, workflow: &Workflow) -> Vec<Waiting> {
    let values = value["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let open = workflow.tasks.iter().zip(values).filter(|(task, _)| !task.is_over());
    open.map(|(task, value)| Waiting {
        task_id: task.id.clone(),
        reference: task.reference.clone(),
        task_type: task.kind.clone(),
        code: task.status.to_ascii_lowercase().replace('_', "-"),
        reason: match task.worker_id.as_deref() {
            Some(worker) if task.status == "IN_PROGRESS" => format!("in progress at {worker}"),
            _ if task.status == "IN_PROGRESS" => "in progress".to_owned(),
            _ => "scheduled, and nobody has begun it".to_owned(),
        },
        since: match task.start_time {
            Moment(None) => value["scheduledTime"].clone(),
            Moment(Some(_)) => value["startTime"].clone(),
        },
        until: Value::Null,
    })
    .collect()
}
