//! `nightbell trigger`: methods and paths that start runs, or tell of them.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::document::{Files, Removal};
use super::failure::Failure;
use super::output::Output;
use super::table::Table;

/// What to do with triggers.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List triggers
    List,
    /// Print a trigger as JSON
    Get {
        /// Name of the trigger
        name: String,
    },
    /// Create new triggers
    #[command(after_help = "\
A file holds one trigger or a list of them:
  { \"name\": \"order\", \"method\": \"POST\", \"path\": \"/orders/{number}\",
    \"start\": { \"name\": \"handle_order\", \"correlationId\": \"${request.path.number}\",
               \"defaults\": { \"priority\": 1 } } }
  { \"name\": \"order_state\", \"method\": \"GET\", \"path\": \"/orders/{number}\",
    \"show\": { \"name\": \"handle_order\", \"correlationId\": \"${request.path.number}\",
              \"body\": { \"state\": \"${workflow.status}\" } } }")]
    Create(Files),
    /// Replace triggers that exist
    Update(Files),
    /// Delete triggers; runs that they have started continue
    Delete(Removal),
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Get { name } => output.json(&get(&name, client).await?),
        Verb::Create(files) => files.save("trigger", "triggers", false, client, output).await,
        Verb::Update(files) => files.save("trigger", "triggers", true, client, output).await,
        Verb::Delete(removal) => removal.run("trigger", &["triggers"], client, output).await,
    }
}

async fn get(name: &str, client: &Client) -> Result<Value, Failure> {
    client.get(&["triggers", name]).send().await?.value()
}

/// What a table shows of a trigger.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    name: String,
    description: Option<String>,
    method: String,
    path: String,
    start: Option<Named>,
    show: Option<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["triggers"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let triggers: Vec<Shown> = understand("list of triggers", &answer)?;
    let mut table = Table::new(&["NAME", "METHOD", "PATH", "DOES", "~WORKFLOW", "~DESCRIPTION"]);
    for shown in &triggers {
        let (does, workflow) = match (&shown.start, &shown.show) {
            (Some(start), _) => ("start", start.name.as_str()),
            (None, Some(show)) => ("show", show.name.as_str()),
            (None, None) => ("", ""),
        };
        table.row([
            (&shown.name).into(),
            shown.method.to_ascii_uppercase().into(),
            (&shown.path).into(),
            does.into(),
            workflow.into(),
            shown.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if triggers.is_empty() {
        output.note("no triggers; create one with `nightbell trigger create -f FILE`");
    }
    Ok(())
}
