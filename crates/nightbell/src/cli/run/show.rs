//! `nightbell run show` and `nightbell run logs`.

use jiff::Timestamp;
use serde_json::Value;

use super::{Workflow, as_test, fetch, fork, why};
use crate::cli::client::{Client, understand};
use crate::cli::moment;
use crate::cli::output::{Output, clean, clean_lines, cut};
use crate::cli::table::{Cell, Table, Tone};
use crate::cli::task;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the run
    id: String,
    /// Also list the tasks
    #[arg(long)]
    tasks: bool,
    /// Also print every input and output in full
    #[arg(long)]
    full: bool,
    /// Print a test of its workflow in which every task answers as it did: for `nightbell test`
    #[arg(long, conflicts_with_all = ["tasks", "full"])]
    as_test: bool,
    /// As it was after this commit; `run history` lists them, `run step` goes through them
    #[arg(long, value_name = "COMMIT", conflicts_with = "as_test")]
    at: Option<u64>,
}

impl Arguments {
    /// The id of the run.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Runs `show`.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let with_tasks = arguments.tasks || arguments.full || arguments.as_test || output.is_json();
    let (mut value, workflow, then) = match arguments.at {
        None => {
            let (value, workflow) = fetch(&arguments.id, with_tasks, client).await?;
            (value, workflow, None)
        }
        Some(commit) => {
            let path = ["workflow", &arguments.id, "at", &commit.to_string()];
            let mut past = client.get(&path).send().await?.value()?;
            let workflow = understand("run", &past["workflow"])?;
            (past["workflow"].take(), workflow, Some(past))
        }
    };
    if arguments.as_test {
        return output.line(as_test::text(&value).trim_end_matches('\n'));
    }
    if output.is_json() {
        moment::readable(&mut value);
        return output.json(&value);
    }
    let now = match &then {
        None => Timestamp::now(),
        // Times are told as they were told then.
        Some(past) => moment::Moment::of(&past["at"]).0.unwrap_or_else(Timestamp::now),
    };
    header(&workflow, now, output)?;
    if let Some(past) = &then {
        for waited in waited(past) {
            field("Waited", &waited, output)?;
        }
    } else {
        for fork in fork::of(&arguments.id, client).await? {
            field("Fork", &fork.line(now), output)?;
        }
    }
    if then.is_none() && !workflow.is_over() && !workflow.id.is_empty() {
        for task in why::waiting(&value, &workflow, client).await? {
            let text = format!("{}: {}", clean(&task.reference), clean(&task.reason));
            field("Waits", &text, output)?;
        }
    }
    for (name, key) in [("Input", "input"), ("Output", "output")] {
        payload(name, &value[key], arguments.full, output)?;
    }
    if with_tasks {
        output.line("")?;
        output.table(&tasks(&workflow, now))?;
    }
    if arguments.full {
        for (task, value) in
            workflow.tasks.iter().zip(value["tasks"].as_array().into_iter().flatten())
        {
            let reference = clean(&task.reference);
            output.line(format_args!("\n{reference} ({})", clean(&task.id)))?;
            payload("Input", &value["inputData"], true, output)?;
            payload("Output", &value["outputData"], true, output)?;
        }
    }
    Ok(())
}

/// A line of a page about one thing; nothing if there is nothing to say.
fn field(name: &str, text: &str, output: &Output) -> anyhow::Result<()> {
    if text.is_empty() { Ok(()) } else { output.line(format_args!("{name:<12}{text}")) }
}

fn header(workflow: &Workflow, now: Timestamp, output: &Output) -> anyhow::Result<()> {
    let Workflow { name, version, status, .. } = workflow;
    let text = |text: &Option<String>| clean(text.as_deref().unwrap_or_default());
    let status = Tone::paint(Tone::of_status(status), &clean(status), output.screen());
    field("Run", &clean(&workflow.id), output)?;
    field("Workflow", &format!("{}, version {version}", clean(name)), output)?;
    field("Status", &status, output)?;
    field("Reason", &text(&workflow.reason_for_incompletion), output)?;
    field("Started", &workflow.start_time.full(now), output)?;
    field("Ended", &workflow.end_time.full(now), output)?;
    field("Took", &workflow.start_time.until(workflow.end_time, now), output)?;
    field("Correlation", &text(&workflow.correlation_id), output)?;
    field("Parent", &text(&workflow.parent_workflow_id), output)?;
    if let Some(origin) = &workflow.branched_from {
        field("Forked from", &origin.line(), output)?;
    }
    if workflow.priority != 0 {
        field("Priority", &workflow.priority.to_string(), output)?;
    }
    Ok(())
}

fn payload(name: &str, value: &Value, full: bool, output: &Output) -> anyhow::Result<()> {
    if full {
        output.line(format_args!("{name}"))?;
        return output.json(value);
    }
    let text = match value {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    let width = output.screen().width.map_or(usize::MAX, |width| width - 12);
    field(name, &cut(&text, width), output)
}

fn tasks(workflow: &Workflow, now: Timestamp) -> Table {
    let heads = ["TASK", "TYPE", "STATUS", "ATTEMPT", "STARTED", "TOOK", "ID", "~REASON"];
    let mut table = Table::new(&heads);
    for task in &workflow.tasks {
        table.row([
            (&task.reference).into(),
            (&task.kind).into(),
            Cell::status(&task.status),
            (task.retry_count + 1).into(),
            task.start_time.relative(now).into(),
            task.start_time.until(task.end_time, now).into(),
            (&task.id).into(),
            task.reason_for_incompletion.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

/// What a run waited for as it stood after a commit, a line for each task.
pub(super) fn waited(past: &Value) -> Vec<String> {
    let waiting = past["waiting"].as_array().into_iter().flatten();
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    waiting.map(|it| format!("{}: {}", text(&it["reference"]), text(&it["reason"]))).collect()
}

/// Lists the tasks of a run as it stood after a commit.
pub(super) fn tasks_at(past: &Value, output: &Output) -> anyhow::Result<()> {
    let workflow: Workflow = understand("run", &past["workflow"])?;
    let then = moment::Moment::of(&past["at"]).0.unwrap_or_else(Timestamp::now);
    output.table(&tasks(&workflow, then))
}

/// Runs `logs`.
pub(super) async fn logs(
    id: &str,
    reference: Option<&str>,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let (_, workflow) = fetch(id, true, client).await?;
    let wanted =
        workflow.tasks.iter().filter(|task| reference.is_none_or(|name| task.reference == name));
    let mut collected = Vec::new();
    for task in wanted {
        for mut entry in task::fetch_logs(&task.id, client).await? {
            if output.is_json() {
                entry.value["referenceTaskName"] = task.reference.as_str().into();
                moment::readable(&mut entry.value);
                collected.push(entry.value);
            } else {
                let at = entry.at.rfc3339().unwrap_or_default();
                let name = clean(&task.reference);
                output.line(format_args!("{at}  {name}  {}", clean_lines(&entry.text)))?;
                collected.push(Value::Null);
            }
        }
    }
    if output.is_json() {
        return output.json(&collected);
    }
    if collected.is_empty() {
        output.note("no task of this run has logged anything");
    }
    Ok(())
}
