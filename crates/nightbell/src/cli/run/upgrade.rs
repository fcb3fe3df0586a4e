//! `nightbell run upgrade`: lets running runs obey another version of their definition.

use serde_json::{Map, Value, json};

use super::Targets;
use crate::cli::client::Client;
use crate::cli::confirm;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::output::Output;

/// Which runs, and to what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    targets: Targets,
    /// The version; the latest by default
    #[arg(long, value_name = "VERSION")]
    to: Option<u32>,
    /// Members to put over the input of the runs: JSON, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    input: Option<String>,
    /// The output of a task that is new and stands before where the runs are: it is skipped
    #[arg(long, value_name = "REF=JSON")]
    task_output: Vec<String>,
}

impl Arguments {
    /// The only run, if there is one.
    pub(super) fn only_id(&self) -> Option<&str> {
        match self.targets.ids.as_slice() {
            [id] => Some(id),
            _ => None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Runs that cannot obey that version, each with the reason; they go on as they did.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let request = request(arguments)?;
    let ids = input::ids(&arguments.targets.ids)?;
    if ids.len() > 1 {
        confirm(&format!("upgrade {} runs", ids.len()), &ids, arguments.targets.yes)?;
    }
    let (mut done, mut failed) = (Vec::new(), Map::new());
    for id in &ids {
        match client.post(&["workflow", id, "upgrade"]).json(&request).send().await {
            Ok(_) => done.push(id),
            // One that is not there may be code, which the caller looks for.
            Err(failure) if failure.exit == Exit::Unreachable || ids.len() == 1 => {
                return Err(failure.into());
            }
            Err(failure) => drop(failed.insert(id.clone(), failure.message.into())),
        }
    }
    if output.is_json() {
        output.json(&json!({ "succeeded": done, "failed": failed }))?;
    } else {
        for id in &done {
            output.note(format_args!("upgraded {id}"));
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("could not upgrade {} of {} runs", failed.len(), ids.len());
    let lines =
        failed.iter().map(|(id, why)| format!("{id}: {}", why.as_str().unwrap_or_default()));
    Err(Failure::error(message).with_details(lines).into())
}

fn request(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut request = Map::new();
    if let Some(version) = arguments.to {
        request.insert("version".to_owned(), version.into());
    }
    if let Some(text) = &arguments.input {
        request.insert("workflowInput".to_owned(), input::object_argument("--input", text)?);
    }
    let mut outputs = Map::new();
    for given in &arguments.task_output {
        let (reference, text) = given.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--task-output {given}: there is no '='"))
                .with_hint("write REF=JSON, such as fetch='{\"rows\": []}'")
        })?;
        let value = input::object_argument("--task-output", text)?;
        outputs.insert(reference.to_owned(), value);
    }
    if !outputs.is_empty() {
        request.insert("taskOutput".to_owned(), outputs.into());
    }
    Ok(request.into())
}
