//! `nightbell auth`: why somebody may do something or not, and what is weak about who may do what.

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::client::{Client, understand};
use super::failure::Failure;
use super::grant::holder;
use super::output::Output;
use super::table::{Cell, Table};

/// What to ask about access control.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check whether a key or a user has a permission, and show which grant decides, by which group
    ///
    /// Exits with 0 if it is allowed, and with 1 if not.
    #[command(after_help = "\
Permissions: read, respond, run, edit, name-secrets, write-secrets, work, metrics, audit, admin

Examples:
  nightbell auth explain 4f1d0c8a2b6e metrics
  nightbell auth explain user:ann respond
  nightbell auth explain 4f1d0c8a2b6e work hub=sales
  nightbell auth explain 4f1d0c8a2b6e work task=load,domain=eu
  nightbell auth explain 4f1d0c8a2b6e run kind=workflow,name=etl-orders")]
    Explain(Explanation),
    /// List weaknesses: settings, keys, users and triggers that allow more than needed
    ///
    /// Exits with 1 if there is a warning; notes are for you to judge.
    Check,
}

/// Who, and what about.
#[derive(Debug, Args)]
pub(crate) struct Explanation {
    /// The id of a key, or user:NAME
    #[arg(value_name = "WHO")]
    who: String,
    /// The permission
    #[arg(value_name = "PERMISSION")]
    permission: String,
    /// On which one thing, as a selector without `*`; on everything without it
    #[arg(value_name = "WHAT")]
    on: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Explained {
    allowed: bool,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Weakness {
    level: String,
    code: String,
    subject: String,
    message: String,
    hint: String,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Explain(explanation) => explain(explanation, client, output).await,
        Verb::Check => check(client, output).await,
    }
}

async fn explain(asked: Explanation, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Explanation { who, permission, on } = asked;
    let (kind, who) = match holder(&who) {
        ("group", name) => {
            let hint = format!("`nightbell grant list --group {name}` lists what its members have");
            return Err(Failure::usage("ask about a key or a user").with_hint(hint).into());
        }
        found => found,
    };
    let call = client.get(&["access", "explain"]).query(kind, who);
    let call = call.query("permission", permission).query_if("on", on);
    let answer = call.send().await?.value()?;
    let explained: Explained = understand("explanation", &answer)?;
    if output.is_json() {
        output.json(&answer)?;
    } else if explained.allowed {
        output.line(format_args!("allowed: {}", explained.reason))?;
    }
    if explained.allowed {
        return Ok(());
    }
    Err(Failure::error(format!("not allowed: {}", explained.reason)).into())
}

async fn check(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["access", "check"]).send().await?.value()?;
    let found: Vec<Weakness> = understand("list of weaknesses", &answer)?;
    if output.is_json() {
        output.json(&answer)?;
    } else {
        let mut table = Table::new(&["LEVEL", "CODE", "SUBJECT", "~WHAT", "~WHAT TO DO"]);
        for it in &found {
            table.row([
                Cell::status(&it.level),
                (&it.code).into(),
                (&it.subject).into(),
                (&it.message).into(),
                (&it.hint).into(),
            ]);
        }
        output.table(&table)?;
        if found.is_empty() {
            output.note("nothing is weak that this command knows of");
        }
    }
    match found.iter().filter(|it| it.level == "warning").count() {
        0 => Ok(()),
        1 => Err(Failure::error("there is 1 warning").into()),
        warnings => Err(Failure::error(format!("there are {warnings} warnings")).into()),
    }
}
