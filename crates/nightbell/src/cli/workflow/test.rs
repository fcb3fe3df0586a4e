//! `nightbell workflow test`: a run with given answers, of which nothing remains.

use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::output::{Output, clean};
use crate::cli::table::{Cell, Table};

/// What to try, and with which answers.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the workflow
    #[arg(required_unless_present = "file")]
    name: Option<String>,
    /// Version [default: the latest]
    #[arg(long, conflicts_with = "file")]
    version: Option<u32>,
    /// File with a definition that need not be registered, - for standard input
    #[arg(short, long, conflicts_with = "name")]
    file: Option<String>,
    /// Input of the workflow: JSON, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    input: Option<String>,
    /// Mocks by reference name: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    mocks: Option<String>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut request = json!({});
    if let Some(file) = &arguments.file {
        let documents = input::documents(std::slice::from_ref(file))?;
        let [document] = &documents[..] else {
            return Err(Failure::usage(format!("{file} holds more than one definition")).into());
        };
        request["name"] = document.value["name"].clone();
        request["workflowDef"] = document.value.clone();
    }
    if let Some(name) = &arguments.name {
        request["name"] = name.as_str().into();
    }
    if let Some(version) = arguments.version {
        request["version"] = version.into();
    }
    if let Some(text) = &arguments.input {
        request["input"] = input::object_argument("--input", text)?;
    }
    if let Some(text) = &arguments.mocks {
        request["taskRefToMockOutput"] = listed(input::object_argument("--mocks", text)?);
    }
    let run = client.post(&["workflow", "test"]).json(&request).send().await?.value()?;
    if output.is_json() {
        output.json(&run)?;
    } else {
        print(&run, output)?;
    }
    let status = run["status"].as_str().unwrap_or_default();
    if status == "COMPLETED" {
        return Ok(());
    }
    let waits = run["waitsFor"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let waits: Vec<String> = waits.map(clean).collect();
    let why = run["reasonForIncompletion"].as_str().map(clean).filter(|why| !why.is_empty());
    let failure = match (waits.is_empty(), why) {
        (false, _) => {
            let message =
                format!("it stopped at {status}: no mock answers for {}", waits.join(", "));
            Failure::new(Exit::WorkflowFailed, message)
                .with_hint(format!("add to --mocks: {}", json!({ &waits[0]: [{ "output": {} }] })))
        }
        (true, Some(why)) => {
            Failure::new(Exit::WorkflowFailed, format!("it ended {status}: {why}"))
        }
        (true, None) => Failure::new(Exit::WorkflowFailed, format!("it ended {status}")),
    };
    Err(failure.into())
}

/// A single answer counts as a list of one.
fn listed(mut mocks: Value) -> Value {
    for mock in mocks.as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
        if mock.is_object() {
            *mock = json!([mock.take()]);
        }
    }
    mocks
}

fn print(run: &Value, output: &Output) -> anyhow::Result<()> {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    let mut table = Table::new(&["TASK", "TYPE", "STATUS", "~OUTPUT"]);
    for task in run["tasks"].as_array().into_iter().flatten() {
        let failed = task["reasonForIncompletion"].as_str().filter(|why| !why.is_empty());
        let shown = failed.map_or_else(|| task["outputData"].to_string(), str::to_owned);
        table.row([
            text(&task["referenceTaskName"]).into(),
            text(&task["taskType"]).into(),
            Cell::status(&text(&task["status"])),
            clean(&shown).into(),
        ]);
    }
    output.table(&table)?;
    output.line(format_args!("{} {}", text(&run["status"]), run["output"]))
}
