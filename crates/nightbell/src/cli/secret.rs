//! `nightbell secret`: names of secrets, and their values on the way in.
//!
//! A value is never an argument, which everybody on the machine could see: it comes from standard
//! input, from a file, or is asked for without being echoed.

use std::io::{self, IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::document::Removal;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::prompt;
use super::table::Table;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the names of all secrets
    List,
    /// Store a secret, replacing the one of this name
    #[command(after_help = "\
Examples:
  nightbell secret put PAGERDUTY_KEY                     asks for the value, without echo
  pass show pagerduty | nightbell secret put PAGERDUTY_KEY -f -
  nightbell secret put GOOGLE_ACCOUNT --value-file account.json

A workflow uses it as ${workflow.secrets.PAGERDUTY_KEY}.")]
    Put(Put),
    /// Delete secrets
    Delete(Removal),
    /// Check whether a secret of this name exists; exits with 3 if not
    Exists {
        /// Name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// What to store.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Name: letters, digits, _ and -
    #[arg(value_name = "NAME")]
    name: String,
    /// Read the value from this file, or from standard input if it is `-`; one line end at its end
    /// is left out
    #[arg(short = 'f', long = "value-file", value_name = "FILE")]
    value_file: Option<String>,
}

/// A secret in the server's list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    tags: Vec<Label>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Label {
    key: String,
    value: String,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Put(put) => {
            let value = value_of(&put)?;
            client.put(&["secrets", &put.name]).json(&Value::from(value)).send().await?;
            output.note(format_args!("stored the secret {}", put.name));
            Ok(())
        }
        Verb::Delete(removal) => {
            for name in removal.confirmed("the secret")? {
                client.delete(&["secrets", name]).send().await?;
                output.note(format_args!("deleted the secret {name}"));
            }
            Ok(())
        }
        Verb::Exists { name } => {
            let exists = client.get(&["secrets", &name, "exists"]).send().await?.value()?;
            let exists = exists == Value::Bool(true);
            if output.is_json() {
                output.json(&json!(exists))?;
            } else {
                output.line(if exists { "yes" } else { "no" })?;
            }
            if exists {
                return Ok(());
            }
            Err(Failure::new(Exit::NotFound, format!("there is no secret of the name {name}"))
                .into())
        }
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let secrets = client.get(&["secrets-v2"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&secrets);
    }
    let secrets: Vec<Named> = understand("secrets", &secrets)?;
    let mut table = Table::new(&["NAME", "~TAGS"]);
    for secret in &secrets {
        let tags = secret.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value));
        table.row([(&*secret.name).into(), tags.collect::<Vec<_>>().join(" ").into()]);
    }
    output.table(&table)?;
    if secrets.is_empty() {
        output.note("no secrets");
    }
    Ok(())
}

fn value_of(put: &Put) -> anyhow::Result<String> {
    let mut text = String::new();
    match put.value_file.as_deref() {
        Some("-") => {
            let read = io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::error(format!("cannot read standard input: {error}")))?;
        }
        Some(file) => {
            text = std::fs::read_to_string(file)
                .map_err(|error| Failure::error(format!("cannot read {file}: {error}")))?;
        }
        None if io::stdin().is_terminal() => {
            text.push_str(&prompt::silent(&format!("Value of {}", put.name))?);
        }
        None => {
            return Err(Failure::usage(
                "standard input is not a terminal, so the value cannot be asked for",
            )
            .with_hint("write `-f -` to read it from standard input, or `-f FILE`")
            .into());
        }
    }
    // Editors and `echo` add one; a value with several keeps the others.
    let end = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    let value = end.unwrap_or(&text);
    if value.is_empty() {
        return Err(Failure::usage("the value is empty").into());
    }
    Ok(value.to_owned())
}
