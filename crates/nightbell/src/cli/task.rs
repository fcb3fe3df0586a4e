//! `nightbell task`: definitions of tasks, and the work of a worker done by hand.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::{Files, Removal, at};
use super::failure::{Exit, Failure};
use super::input::{self, Document};
use super::moment::{self, Moment};
use super::output::{Output, clean, clean_lines};
use super::table::Table;

/// What to do with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List definitions of tasks
    List,
    /// Print the definition of a task as JSON
    Get {
        /// Name of the task
        name: String,
    },
    /// Register definitions of tasks; one that exists already is replaced
    Create(Files),
    /// Replace definitions of tasks that exist
    Update(Files),
    /// Remove definitions of tasks
    Delete(Removal),
    /// Poll tasks from a queue, as a worker does
    #[command(after_help = "\
A polled task must be completed or failed, or it times out and is handed out again.

Example, a worker in the shell:
  task=$(nightbell task poll greet --json | jq -r '.[0].taskId')
  nightbell task complete \"$task\" --data '{\"greeting\": \"hello\"}'")]
    Poll {
        /// Type of the task
        #[arg(value_name = "TYPE")]
        task_type: String,
        /// How many tasks to poll at most
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// How long to wait for the first one, in milliseconds, at most 5000
        #[arg(long, default_value_t = 100, value_name = "MS",
              value_parser = clap::value_parser!(u32).range(0..=5000))]
        timeout: u32,
        /// Name of the worker
        #[arg(long, default_value = "nightbell-cli")]
        worker_id: String,
        /// Only tasks of this domain
        #[arg(long)]
        domain: Option<String>,
    },
    /// Complete a task
    #[command(after_help = "\
Examples:
  nightbell task complete TASK_ID --data '{\"n\": 1}'
  nightbell task complete --run RUN_ID --ref approve_ref      also ends a HUMAN or WAIT task")]
    Complete {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        report: Report,
    },
    /// Fail a task
    Fail {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        report: Report,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// Do not retry it (`FAILED_WITH_TERMINAL_ERROR`)
        #[arg(long)]
        terminal: bool,
    },
    /// Print what a task logged
    Logs {
        /// Id of the task
        id: String,
    },
}

/// Which task a report is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Id of the task
    #[arg(required_unless_present = "run", value_name = "TASK_ID")]
    id: Option<String>,
    /// Instead of the id of the task: the id of its run, with --ref
    #[arg(long, value_name = "RUN_ID", requires = "reference", conflicts_with = "id")]
    run: Option<String>,
    /// Reference name of the task, with --run
    #[arg(long = "ref", value_name = "REF", requires = "run")]
    reference: Option<String>,
}

/// What a report says besides the status.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// Output of the task, a JSON object: itself, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    data: Option<String>,
    /// A line for the log of the task; may be repeated
    #[arg(long, value_name = "TEXT")]
    log: Vec<String>,
    /// Name of the worker
    #[arg(long, default_value = "nightbell-cli")]
    worker_id: String,
}

/// What a table shows of a definition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Definition {
    name: String,
    description: Option<String>,
    retry_count: i64,
    retry_logic: String,
    retry_delay_seconds: i64,
    timeout_seconds: i64,
    response_timeout_seconds: i64,
    concurrent_exec_limit: Option<i64>,
    rate_limit_per_frequency: Option<i64>,
    rate_limit_frequency_in_seconds: Option<i64>,
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: None,
            retry_count: 3,
            retry_logic: "FIXED".to_owned(),
            retry_delay_seconds: 60,
            timeout_seconds: 0,
            response_timeout_seconds: 3600,
            concurrent_exec_limit: None,
            rate_limit_per_frequency: None,
            rate_limit_frequency_in_seconds: None,
        }
    }
}

/// What a table shows of a polled task.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Polled {
    task_id: String,
    reference_task_name: String,
    workflow_instance_id: String,
    workflow_type: String,
    scheduled_time: Moment,
    input_data: Value,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Get { name } => {
            let call = client.get(&["metadata", "taskdefs", &name]);
            output.json(&call.send().await?.value()?)
        }
        Verb::Create(files) => {
            let documents = files.read()?;
            let definitions = documents.iter().map(|document| document.value.clone()).collect();
            client.post(&["metadata", "taskdefs"]).json(&Value::Array(definitions)).send().await?;
            registered(&documents, output)
        }
        Verb::Update(files) => {
            let documents = files.read()?;
            for Document { origin, value } in &documents {
                let call = client.put(&["metadata", "taskdefs"]).json(value);
                call.send().await.map_err(|failure| at(origin, failure))?;
            }
            registered(&documents, output)
        }
        Verb::Delete(removal) => {
            let names = removal.confirmed("the definition of the task")?;
            for name in names {
                client.delete(&["metadata", "taskdefs", name]).send().await?;
                output.note(format_args!("deleted {}", clean(name)));
            }
            if output.is_json() { output.json(&json!({ "names": names })) } else { Ok(()) }
        }
        Verb::Poll { task_type, count, timeout, worker_id, domain } => {
            let call = client
                .get(&["tasks", "poll", "batch", &task_type])
                .query("count", count)
                .query("timeout", timeout)
                .query("workerid", worker_id)
                .query_if("domain", domain);
            polled(call.send().await?.value()?, output)
        }
        Verb::Complete { target, report } => {
            tell(&target, &report, "COMPLETED", None, client, output).await
        }
        Verb::Fail { target, report, reason, terminal } => {
            let status = if terminal { "FAILED_WITH_TERMINAL_ERROR" } else { "FAILED" };
            tell(&target, &report, status, reason, client, output).await
        }
        Verb::Logs { id } => logs(&id, client, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["metadata", "taskdefs"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let mut definitions: Vec<Definition> = understand("definitions", &answer)?;
    definitions.sort_by(|a, b| a.name.cmp(&b.name));
    let mut table =
        Table::new(&["NAME", "RETRIES", "TIMEOUT", "RESPONSE", "AT ONCE", "RATE", "~DESCRIPTION"]);
    for task in &definitions {
        table.row([
            (&task.name).into(),
            retries(task).into(),
            seconds(task.timeout_seconds).into(),
            seconds(task.response_timeout_seconds).into(),
            task.concurrent_exec_limit
                .filter(|limit| *limit > 0)
                .map_or(String::new(), |limit| limit.to_string())
                .into(),
            rate(task).into(),
            task.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if definitions.is_empty() {
        output.note("no definitions of tasks");
    }
    Ok(())
}

fn retries(task: &Definition) -> String {
    if task.retry_count == 0 {
        return "none".to_owned();
    }
    let logic = task.retry_logic.trim_end_matches("_BACKOFF").to_ascii_lowercase();
    format!("{} {logic} {}", task.retry_count, moment::span(task.retry_delay_seconds * 1000))
}

fn seconds(seconds: i64) -> String {
    if seconds <= 0 { String::new() } else { moment::span(seconds.saturating_mul(1000)) }
}

fn rate(task: &Definition) -> String {
    match (task.rate_limit_per_frequency, task.rate_limit_frequency_in_seconds) {
        (Some(count), frequency) if count > 0 => {
            format!("{count}/{} s", frequency.unwrap_or(1))
        }
        _ => String::new(),
    }
}

fn registered(documents: &[Document], output: &Output) -> anyhow::Result<()> {
    let name = |document: &Document| document.value["name"].clone();
    for document in documents {
        output.note(format_args!("registered {}", clean(name(document).as_str().unwrap_or("?"))));
    }
    if !output.is_json() {
        return Ok(());
    }
    output.json(&json!({ "names": documents.iter().map(name).collect::<Vec<_>>() }))
}

fn polled(mut answer: Value, output: &Output) -> anyhow::Result<()> {
    if answer.is_null() {
        answer = json!([]);
    }
    if output.is_json() {
        moment::readable(&mut answer);
        return output.json(&answer);
    }
    let tasks: Vec<Polled> = understand("tasks", &answer)?;
    if tasks.is_empty() {
        output.note("no task waits");
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["ID", "TASK", "WORKFLOW", "RUN", "SCHEDULED", "~INPUT"]);
    for task in &tasks {
        table.row([
            (&task.task_id).into(),
            (&task.reference_task_name).into(),
            (&task.workflow_type).into(),
            (&task.workflow_instance_id).into(),
            task.scheduled_time.relative(now).into(),
            (&task.input_data).into(),
        ]);
    }
    output.table(&table)
}

async fn tell(
    target: &Target,
    report: &Report,
    status: &str,
    reason: Option<String>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let data = match &report.data {
        Some(text) => input::object_argument("--data", text)?,
        None => json!({}),
    };
    let (run, task) = resolve(target, client).await?;
    let now = Timestamp::now().as_millisecond();
    let logs: Vec<_> = report
        .log
        .iter()
        .map(|log| json!({ "log": log, "taskId": task, "createdTime": now }))
        .collect();
    let mut result = json!({
        "workflowInstanceId": run,
        "taskId": task,
        "workerId": report.worker_id,
        "status": status,
        "outputData": data,
        "logs": logs,
    });
    if let Some(reason) = reason {
        result["reasonForIncompletion"] = reason.into();
    }
    client.post(&["tasks"]).json(&result).send().await?;
    output.note(format_args!("reported {task} as {status}"));
    if output.is_json() {
        return output.json(&json!({ "taskId": task, "workflowId": run, "status": status }));
    }
    Ok(())
}

/// The ids of the run and of the task that are meant.
async fn resolve(target: &Target, client: &Client) -> Result<(String, String), Failure> {
    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Task {
        #[serde(rename = "taskId")]
        id: String,
        workflow_instance_id: String,
        reference_task_name: String,
        status: String,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Run {
        tasks: Vec<Task>,
    }
    if let Some(id) = &target.id {
        let answer = client.get(&["tasks", id]).send().await?.value()?;
        let task: Task = understand("task", &answer)?;
        return Ok((task.workflow_instance_id, id.clone()));
    }
    let run = target.run.clone().unwrap_or_default();
    let reference = target.reference.as_deref().unwrap_or_default();
    let answer =
        client.get(&["workflow", &run]).query("includeTasks", true).send().await?.value()?;
    let tasks = understand::<Run>("run", &answer)?.tasks;
    let open = |task: &&Task| {
        task.reference_task_name == reference
            && matches!(task.status.as_str(), "SCHEDULED" | "IN_PROGRESS")
    };
    if let Some(task) = tasks.iter().rev().find(open) {
        return Ok((run, task.id.clone()));
    }
    let message = format!("no task {reference} is open in run {run}");
    Err(Failure::new(Exit::NotFound, message)
        .with_hint(format!("`nightbell run show {run} --tasks` lists its tasks")))
}

/// A line that a task logged.
#[derive(Debug)]
pub(super) struct LogEntry {
    /// The text.
    pub(super) text: String,
    /// When it was logged.
    pub(super) at: Moment,
    /// All that the server says about it.
    pub(super) value: Value,
}

/// What a task logged, in order.
pub(super) async fn fetch_logs(id: &str, client: &Client) -> Result<Vec<LogEntry>, Failure> {
    let answer = client.get(&["tasks", id, "log"]).send().await?.value()?;
    // An empty answer is an empty log.
    let entries = if let Value::Array(entries) = answer { entries } else { Vec::new() };
    let read = |value: Value| LogEntry {
        text: value["log"].as_str().unwrap_or_default().to_owned(),
        at: Moment::of(&value["createdTime"]),
        value,
    };
    Ok(entries.into_iter().map(read).collect())
}

async fn logs(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let mut entries = fetch_logs(id, client).await?;
    if output.is_json() {
        for entry in &mut entries {
            moment::readable(&mut entry.value);
        }
        return output.json(&entries.iter().map(|entry| &entry.value).collect::<Vec<_>>());
    }
    for entry in &entries {
        let at = entry.at.rfc3339().unwrap_or_default();
        output.line(format_args!("{at}  {}", clean_lines(&entry.text)))?;
    }
    if entries.is_empty() {
        output.note("the task has logged nothing");
    }
    Ok(())
}
