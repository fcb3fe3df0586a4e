//! `nightbell run fork`: a new run goes on from a task of another one, which stays as it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cli::client::{Client, understand};
use crate::cli::confirm;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::moment::Moment;
use crate::cli::output::{Output, clean};

/// What to fork.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The fork is a run of its own. It begins with what the other run had before the task: ended tasks
with their outputs, changed by --set. Then it goes on as `run rerun` would. The other run, ended or
running, stays as it is.

Tasks that acted outside and act again in the fork are listed, and asked about.

Examples:
  nightbell run fork ID --at ship --dry-run
  nightbell run fork ID --at ship --set 'fetch.output.n=3' --set 'workflow.input.mode=\"slow\"'
  nightbell run fork ID --at ship__2      # before the second iteration
  nightbell run fork ID --at 'ship#2'     # before the second attempt
  nightbell run fork ID --at ship -f orders.json --yes")]
pub(crate) struct Arguments {
    /// Id of the run
    id: String,
    /// Task before which the fork starts: its reference name, with the number of a later iteration
    /// or attempt as in the examples
    #[arg(long, value_name = "REF")]
    at: String,
    /// A value that is different: REF.output.NAME, workflow.input.NAME, workflow.variables.NAME, or
    /// output.NAME of the task right before; a JSON value, or a text
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Go on with the definition in a file; it must fit what is kept
    #[arg(short, long, value_name = "DEF", conflicts_with = "version")]
    file: Option<String>,
    /// Continue with another registered version; it must fit the history that is kept
    #[arg(long)]
    version: Option<u32>,
    /// A label of your own, for searching [default: that of the run]
    #[arg(long, value_name = "LABEL")]
    correlation_id: Option<String>,
    /// Idempotency key: the same command with the same key returns the same fork
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Only list the tasks that would act again
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before tasks act again
    #[arg(long, short)]
    yes: bool,
}

impl Arguments {
    /// The id of the run.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    workflow_id: String,
    existing: bool,
    done_again: Vec<DoneAgain>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DoneAgain {
    reference_task_name: String,
    task_type: String,
    status: String,
}

/// Runs the command.
pub(super) async fn run(
    arguments: Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut request = request(&arguments)?;
    let path = ["workflow", arguments.id.as_str(), "fork"];
    let mut trial = request.clone();
    trial.insert("dryRun".to_owned(), true.into());
    let value = client.post(&path).json(&Value::Object(trial)).send().await?.value()?;
    let answer: Answer = understand("answer", &value)?;
    let again: Vec<String> = answer.done_again.iter().map(DoneAgain::line).collect();
    if arguments.dry_run {
        if output.is_json() {
            return output.json(&value);
        }
        if again.is_empty() {
            output.note("nothing that acted outside would act again");
        }
        return again.iter().try_for_each(|line| output.line(clean(line)));
    }
    if !again.is_empty() {
        let action = format!("let these act again in a fork of run {}", arguments.id);
        confirm(&action, &again, arguments.yes)?;
    }
    let key = arguments.idempotency_key.clone();
    let key = key.unwrap_or_else(|| engine::Engine::new_id().to_string());
    request.insert("idempotencyKey".to_owned(), key.into());
    let value = client.post(&path).json(&Value::Object(request)).send().await?.value()?;
    let answer: Answer = understand("answer", &value)?;
    if output.is_json() {
        return output.json(&value);
    }
    output.line(clean(&answer.workflow_id))?;
    if answer.existing {
        output.note("it was there before, made with the same key");
    }
    Ok(())
}

impl DoneAgain {
    fn line(&self) -> String {
        format!("task {} ({}, {})", self.reference_task_name, self.task_type, self.status)
    }
}

fn request(arguments: &Arguments) -> Result<Map<String, Value>, Failure> {
    let mut set = Map::new();
    for text in &arguments.set {
        let Some((path, value)) = text.split_once('=').filter(|(path, _)| !path.is_empty()) else {
            return Err(Failure::usage(format!("--set {text} has no value"))
                .with_hint("write it like --set 'fetch.output.n=3'"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        set.insert(path.to_owned(), value);
    }
    let mut request = Map::new();
    request.insert("at".to_owned(), arguments.at.clone().into());
    let definition = arguments.file.as_ref().map(|file| definition(file)).transpose()?;
    let optional = [
        ("set", Some(Value::Object(set)).filter(|set| *set != json!({}))),
        ("workflowDef", definition),
        ("version", arguments.version.map(Value::from)),
        ("correlationId", arguments.correlation_id.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    }
    Ok(request)
}

/// The one definition of a file.
fn definition(file: &str) -> Result<Value, Failure> {
    let mut documents = input::documents(&[file.to_owned()])?;
    match (documents.pop(), documents.len()) {
        (Some(document), 0) => Ok(document.value),
        _ => Err(Failure::usage(format!("{file} holds several definitions"))
            .with_hint("give a file with the one that the fork goes on with")),
    }
}

/// A fork of a run, as the server lists it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Fork {
    workflow_id: String,
    status: String,
    at: String,
    #[serde(skip_serializing)]
    forked_at: Moment,
}

impl Fork {
    /// The fork in a line.
    pub(super) fn line(&self, now: jiff::Timestamp) -> String {
        let (id, at, status) = (clean(&self.workflow_id), clean(&self.at), clean(&self.status));
        format!("{id}, at {at}, {} ({status})", self.forked_at.relative(now))
    }
}

/// The execution that a run began as a fork of.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BranchedFrom {
    workflow_id: String,
    at: String,
}

impl BranchedFrom {
    /// The origin in a line.
    pub(super) fn line(&self) -> String {
        format!("{} at {}", clean(&self.workflow_id), clean(&self.at))
    }
}

/// What was forked from a run; nothing if the server does not know the question.
pub(super) async fn of(id: &str, client: &Client) -> Result<Vec<Fork>, Failure> {
    match client.get(&["workflow", id, "forks"]).send().await {
        Ok(answer) => understand("forks", &answer.value()?),
        Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Error) => Ok(Vec::new()),
        Err(failure) => Err(failure),
    }
}
