//! Commands that change runs: one request for one run, a bulk request for several.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::code::{self, RunAction};
use super::{Targets, fetch};
use crate::cli::client::{Client, understand};
use crate::cli::confirm;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::output::Output;

/// How many ids the server takes in one bulk request.
const BULK_MAX: usize = 1000;

/// A change of any number of runs.
#[derive(Debug)]
pub(super) struct Action {
    /// The verb, as in "retry 3 runs".
    verb: &'static str,
    /// What has been done, as in "retried ID".
    past: &'static str,
    method: fn() -> Method,
    /// The last segment of the path for one run; nothing if the run itself is meant.
    one: Option<&'static str>,
    bulk_method: fn() -> Method,
    bulk: &'static str,
    /// The name of the one query parameter.
    parameter: &'static str,
    /// Whether even one run is not touched without asking.
    destructive: bool,
    /// How it is done to a run that is code.
    code: RunAction,
}

pub(super) const PAUSE: Action = Action {
    verb: "pause",
    past: "paused",
    method: || Method::PUT,
    one: Some("pause"),
    bulk_method: || Method::PUT,
    bulk: "pause",
    parameter: "",
    destructive: false,
    code: RunAction::Post("suspend"),
};

pub(super) const RESUME: Action = Action {
    verb: "resume",
    past: "resumed",
    one: Some("resume"),
    bulk: "resume",
    code: RunAction::Post("resume"),
    ..PAUSE
};

pub(super) const TERMINATE: Action = Action {
    verb: "terminate",
    past: "terminated",
    method: || Method::DELETE,
    one: None,
    bulk_method: || Method::POST,
    bulk: "terminate",
    parameter: "reason",
    destructive: false,
    code: RunAction::Post("terminate"),
};

pub(super) const RESTART: Action = Action {
    verb: "restart",
    past: "restarted",
    method: || Method::POST,
    one: Some("restart"),
    bulk_method: || Method::POST,
    bulk: "restart",
    parameter: "useLatestDefinitions",
    destructive: false,
    code: RunAction::Restart,
};

pub(super) const RETRY: Action = Action {
    verb: "retry",
    past: "retried",
    one: Some("retry"),
    bulk: "retry",
    parameter: "resumeSubworkflowTasks",
    code: RunAction::Post("rewind"),
    ..RESTART
};

pub(super) const DELETE: Action = Action {
    verb: "delete",
    past: "deleted",
    method: || Method::DELETE,
    one: Some("remove"),
    bulk_method: || Method::DELETE,
    bulk: "remove",
    parameter: "archiveWorkflow",
    destructive: true,
    code: RunAction::Purge,
};

/// What happened to each of several runs.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Results {
    bulk_successful_results: Vec<String>,
    bulk_error_results: BTreeMap<String, String>,
}

impl Action {
    /// Does it. `value` is that of the action's query parameter.
    pub(super) async fn run(
        &self,
        targets: Targets,
        value: Option<String>,
        client: &Client,
        output: &Output,
    ) -> anyhow::Result<()> {
        let ids = input::ids(&targets.ids)?;
        match ids.as_slice() {
            [_] if !self.destructive => {}
            [_] => confirm(&format!("{} this run", self.verb), &ids, targets.yes)?,
            _ => confirm(&format!("{} {} runs", self.verb, ids.len()), &ids, targets.yes)?,
        }
        let results = match ids.as_slice() {
            [id] => self.one(id, value, client).await?,
            ids => self.bulk(ids, value.as_ref(), client).await?,
        };
        self.tell(&results, output)
    }

    async fn one(
        &self,
        id: &str,
        value: Option<String>,
        client: &Client,
    ) -> Result<Results, Failure> {
        let done = Results { bulk_successful_results: vec![id.to_owned()], ..Results::default() };
        let reason = value.as_deref().filter(|_| self.parameter == "reason");
        if code::is_whole(id) {
            return self.code.run(id, reason, client).await.map(|()| done);
        }
        let mut path = vec!["workflow", id];
        path.extend(self.one);
        let call = client.call((self.method)(), &path).query_if(self.parameter, value.as_ref());
        match call.send().await {
            // It may be the id of code in the default hub.
            Err(missing) if missing.exit == Exit::NotFound => {
                self.code.run(id, reason, client).await.map_err(|failure| match failure.exit {
                    Exit::NotFound => missing,
                    _ => failure,
                })?;
            }
            answer => drop(answer?),
        }
        Ok(done)
    }

    async fn bulk(
        &self,
        ids: &[String],
        value: Option<&String>,
        client: &Client,
    ) -> Result<Results, Failure> {
        let mut all = Results::default();
        let (code, graphs): (Vec<_>, Vec<_>) =
            ids.iter().cloned().partition(|id| code::is_whole(id));
        for id in code {
            match self.one(&id, value.cloned(), client).await {
                Ok(_) => all.bulk_successful_results.push(id),
                Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
                Err(failure) => drop(all.bulk_error_results.insert(id, failure.message)),
            }
        }
        for chunk in graphs.chunks(BULK_MAX) {
            let call = client.call((self.bulk_method)(), &["workflow", "bulk", self.bulk]);
            let call = call.query_if(self.parameter, value).json(&json!(chunk));
            let results: Results = understand("answer", &call.send().await?.value()?)?;
            all.bulk_successful_results.extend(results.bulk_successful_results);
            all.bulk_error_results.extend(results.bulk_error_results);
        }
        Ok(all)
    }

    fn tell(&self, results: &Results, output: &Output) -> anyhow::Result<()> {
        let Results { bulk_successful_results: done, bulk_error_results: failed } = results;
        if output.is_json() {
            output.json(&json!({ "succeeded": done, "failed": failed }))?;
        } else {
            for id in done {
                output.note(format_args!("{} {id}", self.past));
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let total = done.len() + failed.len();
        let message = format!("could not {} {} of {total} runs", self.verb, failed.len());
        let lines = failed.iter().map(|(id, why)| format!("{id}: {why}"));
        Err(Failure::error(message).with_details(lines).into())
    }
}

/// What to run again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --from the run starts again at its first task, with --input if that is given.
The run itself goes on: its output, and that of the tasks that run again, are replaced. Of a run
that has completed this is asked for.

Examples:
  nightbell run rerun ID --from load_ref
  nightbell run rerun ID --from load_ref --task-input '{\"page\": 7}'")]
pub(crate) struct Rerun {
    /// Id of the run
    id: String,
    /// Task to start from: its reference name or its id
    #[arg(long, value_name = "TASK")]
    from: Option<String>,
    /// New input of the workflow: JSON, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    input: Option<String>,
    /// New input of the task: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", requires = "from")]
    task_input: Option<String>,
    /// Do not ask before the output of a completed run is replaced
    #[arg(long, short)]
    yes: bool,
}

impl Rerun {
    /// The id of the run.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Runs `rerun`.
pub(super) async fn rerun(
    arguments: Rerun,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let id = &arguments.id;
    let mut request = Map::new();
    let (_, workflow) = fetch(id, true, client).await?;
    if let Some(task) = &arguments.from {
        let task_id = task_id(id, task, &workflow)?;
        request.insert("reRunFromTaskId".to_owned(), task_id.into());
    }
    if workflow.status == "COMPLETED" {
        let begin = request.get("reRunFromTaskId").and_then(Value::as_str);
        let again = workflow.tasks.iter().skip_while(|it| begin.is_some_and(|id| it.id != id));
        let mut replaced = vec!["the output of the run".to_owned()];
        replaced.extend(again.map(|it| format!("task {} ({})", it.reference, it.status)));
        confirm(&format!("replace what run {id} has completed with"), &replaced, arguments.yes)?;
    }
    if let Some(text) = &arguments.input {
        let input = input::object_argument("--input", text)?;
        request.insert("workflowInput".to_owned(), input);
    }
    if let Some(text) = &arguments.task_input {
        let input = input::object_argument("--task-input", text)?;
        request.insert("taskInput".to_owned(), input);
    }
    let call = client.post(&["workflow", id, "rerun"]).json(&Value::Object(request));
    let answered = call.send().await?.text();
    if output.is_json() {
        return output.json(&json!({ "workflowId": answered }));
    }
    output.line(answered)
}

/// The id of the task that is meant by an id, or by a reference name: its latest attempt.
fn task_id(run: &str, task: &str, workflow: &super::Workflow) -> Result<String, Failure> {
    let meant = |found: &&super::Task| found.id == task || found.reference == task;
    if let Some(found) = workflow.tasks.iter().rev().find(meant) {
        return Ok(found.id.clone());
    }
    let mut names: Vec<_> = workflow.latest_tasks().map(|task| task.reference.as_str()).collect();
    names.dedup();
    let known = names.join(", ");
    Err(Failure::new(Exit::NotFound, format!("run {run} has no task {task}"))
        .with_hint(format!("it has {}", crate::cli::output::cut(&known, 400))))
}

/// Runs `skip-task`.
pub(super) async fn skip_task(
    id: &str,
    reference: &str,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    client.put(&["workflow", id, "skiptask", reference]).send().await?;
    output.note(format_args!("run {id} will skip {reference}"));
    if output.is_json() {
        return output.json(&json!({ "workflowId": id, "skipped": reference }));
    }
    Ok(())
}
