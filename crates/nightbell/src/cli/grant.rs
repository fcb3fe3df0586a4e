//! `nightbell grant`: what keys may do, and on what.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::output::Output;
use super::table::Table;

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Grant a key more; it counts at the next request
    #[command(after_help = "\
Examples:
  nightbell grant add 4f1d0c8a2b6e --role worker --on hub=sales
  nightbell grant add 4f1d0c8a2b6e --role runner --on 'kind=workflow,name=etl-*'
  nightbell grant add 4f1d0c8a2b6e --role metrics")]
    Add(Granting),
    /// Take grants from a key, as `grant list` shows them; they are gone at the next request
    Remove(Granting),
    /// List who holds which role, and on what
    List {
        /// Only of this key
        #[arg(long, value_name = "KEYID")]
        key: Option<String>,
    },
}

/// Which roles, and on what.
#[derive(Debug, Args)]
pub(crate) struct Granting {
    /// The id of the key
    #[arg(value_name = "KEYID")]
    key: String,
    /// The role; repeat it for several
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// On what: a selector such as hub=sales; repeat it for several. On everything without it
    #[arg(long = "on", value_name = "SELECTOR")]
    on: Vec<String>,
}

/// A grant as the server lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    key_id: String,
    name: String,
    role: String,
    on: Option<String>,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    let path = ["access", "grants"];
    let answer = match verb {
        Verb::List { key } => client.get(&path).query_if("key", key).send().await?.value()?,
        Verb::Add(Granting { key, roles, on }) => {
            let body = json!({ "key": key, "roles": roles, "on": on });
            client.post(&path).json(&body).send().await?.value()?
        }
        Verb::Remove(Granting { key, roles, on }) => {
            let mut call = client.delete(&path).query("key", key);
            for role in roles {
                call = call.query("role", role);
            }
            for selector in on {
                call = call.query("on", selector);
            }
            call.send().await?.value()?
        }
    };
    show(&answer, output)
}

fn show(answer: &Value, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(answer);
    }
    let grants: Vec<Shown> = understand("list of grants", answer)?;
    let mut table = Table::new(&["KEY", "NAME", "ROLE", "ON"]);
    for grant in &grants {
        table.row([
            (&grant.key_id).into(),
            (&grant.name).into(),
            (&grant.role).into(),
            grant.on.as_deref().unwrap_or("everything").into(),
        ]);
    }
    output.table(&table)?;
    if grants.is_empty() {
        output.note("no grants: such a key may do nothing");
    }
    Ok(())
}
