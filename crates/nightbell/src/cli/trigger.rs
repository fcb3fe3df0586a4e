//! `nightbell trigger`: methods and paths that start runs, or tell of them.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::confirm;
use super::failure::{Exit, Failure};
use super::input::{self, Document};
use super::output::{Output, clean};
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
    Create {
        /// File with triggers, - for standard input
        #[arg(short, long, required = true, num_args = 1..)]
        file: Vec<String>,
    },
    /// Replace triggers that exist
    Update {
        /// File with triggers, - for standard input
        #[arg(short, long, required = true, num_args = 1..)]
        file: Vec<String>,
    },
    /// Delete triggers; what they have started goes on
    Delete {
        /// Names of triggers
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Get { name } => output.json(&get(&name, client).await?),
        Verb::Create { file } => save(&input::documents(&file)?, false, client, output).await,
        Verb::Update { file } => save(&input::documents(&file)?, true, client, output).await,
        Verb::Delete { names, yes } => {
            let labels: Vec<_> = names.iter().map(|name| format!("trigger {name}")).collect();
            confirm("delete", &labels, yes)?;
            for name in &names {
                client.delete(&["triggers", name]).send().await?;
                output.note(format_args!("deleted trigger {name}"));
            }
            if output.is_json() { output.json(&names) } else { Ok(()) }
        }
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

async fn save(
    documents: &[Document],
    exists: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    for Document { origin, value } in documents {
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            // A wrong name is told by the server, with everything else that is wrong.
            continue;
        }
        match get(name, client).await {
            Ok(_) if !exists => {
                let message = format!("{origin}: there is a trigger {name} already");
                let hint = "use `nightbell trigger update`";
                return Err(Failure::new(Exit::Conflict, message).with_hint(hint).into());
            }
            Err(mut failure) if failure.exit == Exit::NotFound && exists => {
                failure.message = format!("{origin}: {}", failure.message);
                return Err(failure.with_hint("use `nightbell trigger create`").into());
            }
            Err(failure) if failure.exit != Exit::NotFound => return Err(failure.into()),
            _ => {}
        }
    }
    // All at once, so that either all are saved or none.
    let body = match documents {
        [Document { value, .. }] => value.clone(),
        many => Value::Array(many.iter().map(|document| document.value.clone()).collect()),
    };
    let answer = client.post(&["triggers"]).json(&body).send().await.map_err(|mut failure| {
        if let [Document { origin, .. }] = documents {
            failure.message = format!("{origin}: {}", failure.message);
        }
        failure
    })?;
    for Document { value, .. } in documents {
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        output.note(format_args!("saved trigger {}", clean(name)));
    }
    if output.is_json() { output.json(&answer.value()?) } else { Ok(()) }
}
