//! `nightbell webhook`: places where other systems leave payloads that start runs and end waits.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, understand};
use super::document::{Files, Removal, at, judge, name_of};
use super::failure::{Exit, Failure};
use super::input::Document;
use super::output::{Output, clean};
use super::table::Table;

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List webhooks, with the paths that they answer at
    List,
    /// Print a webhook as JSON, with its recent deliveries; its secret is not shown
    Get {
        /// Name or id of the webhook
        name: String,
    },
    /// Create new webhooks; prints the path of each
    #[command(after_help = "\
A file holds one webhook or a list of them:
  { \"name\": \"pushes\", \"sourcePlatform\": \"Github\",
    \"verifier\": \"SIGNATURE_BASED\", \"headerKey\": \"X-Hub-Signature-256\",
    \"secretValue\": \"...\", \"receiverWorkflowNamesToVersions\": { \"build\": 1 },
    \"workflowsToStart\": { \"build\": 1 } }")]
    Create(Files),
    /// Replace webhooks that exist, by their ids or names
    Update(Files),
    /// Delete webhooks, by their names or ids; runs that they have started continue
    Delete(Removal),
}

/// What a table shows of a webhook.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    id: String,
    name: String,
    verifier: String,
    url_verified: bool,
    receiver_workflow_names_to_versions: BTreeMap<String, Value>,
    workflows_to_start: BTreeMap<String, Value>,
}

impl Shown {
    fn path(&self) -> String {
        format!("/webhook/{}", self.id)
    }
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Get { name } => {
            let id = id_of(&name, client).await?;
            output.json(&client.get(&["metadata", "webhook", &id]).send().await?.value()?)
        }
        Verb::Create(files) => save(&files.read()?, false, client, output).await,
        Verb::Update(files) => save(&files.read()?, true, client, output).await,
        Verb::Delete(removal) => {
            let names = removal.confirmed("webhook")?;
            for name in names {
                let id = id_of(name, client).await?;
                client.delete(&["metadata", "webhook", &id]).send().await?;
                output.note(format_args!("deleted webhook {name}"));
            }
            if output.is_json() { output.json(&names) } else { Ok(()) }
        }
    }
}

async fn all(client: &Client) -> Result<(Value, Vec<Shown>), Failure> {
    let answer = client.get(&["metadata", "webhook"]).send().await?.value()?;
    let hooks = understand("list of webhooks", &answer)?;
    Ok((answer, hooks))
}

/// The id of the one webhook that a name or an id means.
async fn id_of(name: &str, client: &Client) -> Result<String, Failure> {
    let (_, hooks) = all(client).await?;
    let meant: Vec<&Shown> =
        hooks.iter().filter(|hook| hook.id == name || hook.name == name).collect();
    match meant.as_slice() {
        [hook] => Ok(hook.id.clone()),
        [] => Err(Failure::new(Exit::NotFound, format!("there is no webhook {name}"))),
        many => {
            let ids = many.iter().map(|hook| hook.id.clone());
            let message = format!("{} webhooks are called {name}", many.len());
            Err(Failure::new(Exit::Conflict, message)
                .with_details(ids)
                .with_hint("name it by its id"))
        }
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let (answer, hooks) = all(client).await?;
    if output.is_json() {
        return output.json(&answer);
    }
    let mut table = Table::new(&["NAME", "PATH", "VERIFIER", "VERIFIED", "~STARTS", "~TELLS"]);
    for hook in &hooks {
        let names = |of: &BTreeMap<String, Value>| {
            // Beside the workflows stand the members of idempotency.
            let names = of.keys().filter(|name| !name.starts_with("idempotency"));
            names.cloned().collect::<Vec<_>>().join(", ")
        };
        table.row([
            (&hook.name).into(),
            hook.path().into(),
            (&hook.verifier).into(),
            if hook.url_verified { "yes" } else { "no" }.into(),
            names(&hook.workflows_to_start).into(),
            names(&hook.receiver_workflow_names_to_versions).into(),
        ]);
    }
    output.table(&table)?;
    if hooks.is_empty() {
        output.note("no webhooks; create one with `nightbell webhook create -f FILE`");
    }
    Ok(())
}

async fn save(
    documents: &[Document],
    replaces: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut saved = Vec::new();
    for Document { origin, value } in documents {
        let name = name_of(value);
        let own = value.get("id").and_then(Value::as_str).filter(|id| replaces && !id.is_empty());
        let found = match own {
            Some(id) => id_of(id, client).await,
            None => id_of(name, client).await,
        };
        let id = found.as_ref().ok().cloned();
        // Of several that are called so, none can be meant; but one more can be made.
        match found {
            Err(failure) if failure.exit == Exit::Conflict && replaces => {
                return Err(at(origin, failure).into());
            }
            Err(failure) if failure.exit == Exit::Conflict => {}
            found => {
                let what = format!("webhook {}", clean(name));
                judge(found.map(Value::String), replaces, "webhook", origin, &what)?;
            }
        }
        let call = match (&id, replaces) {
            (Some(id), true) => client.put(&["metadata", "webhook", id]),
            _ => client.post(&["metadata", "webhook"]),
        };
        let answer = call.json(value).send().await.map_err(|failure| at(origin, failure))?;
        let answer = answer.value()?;
        let hook: Shown = understand("webhook", &answer)?;
        output.note(format_args!("saved webhook {}", clean(name)));
        if !output.is_json() {
            output.line(clean(&hook.path()))?;
        }
        saved.push(answer);
    }
    if output.is_json() { output.json(&saved) } else { Ok(()) }
}
