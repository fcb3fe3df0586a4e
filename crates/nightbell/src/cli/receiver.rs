//! `nightbell receiver`: who is told, and whether it arrives.

use clap::Subcommand;
use serde_json::Value;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::output::{Output, clean};
use super::table::Table;

/// What to do with receivers.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List receivers
    List,
    /// Send a test notification and tell what the receiver answered; exits with 5 if it did not
    /// arrive
    Test {
        /// Name of the receiver
        name: String,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Test { name } => {
            let call = client.post(&["receivers", &name, "test"]).query("by", "cli");
            let answer = call.send().await?.value()?;
            if output.is_json() {
                output.json(&answer)?;
            }
            if answer["delivered"] == true {
                output.note(format_args!("{name} took the notification"));
                return Ok(());
            }
            let reason = answer["reason"].as_str().unwrap_or("it has not answered yet");
            let run = answer["workflowId"].as_str().unwrap_or_default();
            let message = format!("{name} did not take the notification: {}", clean(reason));
            Err(Failure::new(Exit::WorkflowFailed, message)
                .with_hint(format!("nightbell run get {run}"))
                .into())
        }
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let receivers = client.get(&["receivers"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&receivers);
    }
    let mut table = Table::new(&["NAME", "KIND", "FALLBACK", "~SOURCE"]);
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    for receiver in receivers.as_array().into_iter().flatten() {
        let cells = ["name", "kind", "fallback", "source"].map(|it| text(&receiver[it]).into());
        table.row(cells);
    }
    output.table(&table)
}
