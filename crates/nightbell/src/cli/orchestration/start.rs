//! `nightbell orchestration start`.

use reqwest::Method;
use serde_json::Value;

use super::Hub;
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::input;
use crate::cli::output::{Output, clean};

/// What to start.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --wait it prints the output of the instance, and exits with 5 if it did not complete in time.

Examples:
  nightbell orchestration start monitor_job -i '{\"job_id\": \"17\"}'
  nightbell orchestration start monitor_job --id job-17 --wait 50")]
pub(crate) struct Arguments {
    /// Name of an orchestration, or of a workflow
    name: String,
    /// Id of the instance [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Its version [default: the latest]
    #[arg(long = "of-version", value_name = "VERSION")]
    version: Option<String>,
    /// Its input: JSON, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    input: Option<String>,
    /// Wait up to so many seconds for its end
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=50))]
    wait: Option<u64>,
    #[command(flatten)]
    hub: Hub,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut path = vec!["orchestrators", &arguments.name];
    path.extend(arguments.id.as_deref());
    let call = client.durable(Method::POST, &path);
    let mut call = arguments.hub.of(call).query_if("version", arguments.version.as_deref());
    if let Some(seconds) = arguments.wait {
        call = call.query("timeout", seconds);
    }
    if let Some(text) = &arguments.input {
        call = call.json(&input::argument("--input", text)?);
    }
    let answer = call.send().await?.value()?;
    let links = answer.get("statusQueryGetUri").is_some();
    let Some(seconds) = arguments.wait else {
        if output.is_json() {
            return output.json(&answer);
        }
        return output.line(clean(answer["id"].as_str().unwrap_or_default()));
    };
    output.json(&answer)?;
    if links {
        let id = clean(answer["id"].as_str().unwrap_or_default());
        let message = format!("instance {id} has not ended after {seconds} s");
        let hint = format!("see `nightbell orchestration show {id}`");
        return Err(Failure::new(Exit::WorkflowFailed, message).with_hint(hint).into());
    }
    // What has completed answers its output; anything else answers where it stands.
    match (answer.get("instanceId").and_then(Value::as_str), answer.get("runtimeStatus")) {
        (Some(id), Some(Value::String(status))) if status != "Completed" => {
            let message = format!("instance {} is {}", clean(id), clean(status));
            Err(Failure::new(Exit::WorkflowFailed, message).into())
        }
        _ => Ok(()),
    }
}
