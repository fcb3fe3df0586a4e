//! `nightbell run start`.

use serde_json::{Map, Value, json};

use super::{fetch, watch};
use crate::cli::client::Client;
use crate::cli::failure::Exit;
use crate::cli::input;
use crate::cli::moment;
use crate::cli::output::Output;

/// What to start.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the id of the run; with --wait the output of the workflow instead.

Examples:
  nightbell run start flow
  nightbell run start flow -i '{\"page\": 1}' --correlation-id nightly-2026-03-01
  nightbell run start flow -i @input.json --wait | jq .total
  id=$(nightbell run start flow) && nightbell run watch $id")]
pub(crate) struct Arguments {
    /// Name of the workflow
    name: String,
    /// Version [default: the latest]
    #[arg(long)]
    version: Option<u32>,
    /// Input, a JSON object: itself, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    input: Option<String>,
    /// A label of your own, for searching
    #[arg(long, value_name = "LABEL")]
    correlation_id: Option<String>,
    /// 0 to 99; tasks of a higher priority are handed out first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=99))]
    priority: Option<u8>,
    /// Follow the run until it ends; exits with 5 if it does not complete
    #[arg(long, short)]
    wait: bool,
}

/// Runs the command.
pub(super) async fn run(
    arguments: Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let input = match &arguments.input {
        Some(text) => input::object_argument("--input", text)?,
        None => json!({}),
    };
    let mut request = Map::new();
    request.insert("name".to_owned(), arguments.name.into());
    request.insert("input".to_owned(), input);
    let optional = [
        ("version", arguments.version.map(Value::from)),
        ("correlationId", arguments.correlation_id.map(Value::from)),
        ("priority", arguments.priority.map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    }
    let call = client.post(&["workflow"]).json(&Value::Object(request));
    let answer = call.send().await.map_err(|mut failure| {
        if failure.exit == Exit::NotFound {
            let hint =
                "orchestrations, which are code, are started by `nightbell orchestration start`";
            failure.hint.get_or_insert_with(|| hint.to_owned());
        }
        failure
    })?;
    let id = answer.text();
    if !arguments.wait {
        if output.is_json() {
            return output.json(&json!({ "workflowId": id }));
        }
        output.line(&id)?;
        if output.screen().is_terminal() {
            output.note(format_args!("follow it with `nightbell run watch {id}`"));
        }
        return Ok(());
    }
    output.note(format_args!("started {id}"));
    let workflow = watch::follow(&id, &mut watch::Progress::as_messages(output), client).await?;
    let (mut value, _) = fetch(&id, output.is_json(), client).await?;
    if output.is_json() {
        moment::readable(&mut value);
        output.json(&value)?;
    } else {
        output.json(&value["output"])?;
    }
    Ok(workflow.verdict()?)
}
