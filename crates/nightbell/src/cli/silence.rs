//! `nightbell silence`: who is not told what, and when.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::failure::Failure;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::{Cell, Table};

/// What to do with silences.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List silences
    List,
    /// Create a silence; prints its name
    #[command(after_help = "\
Examples:
  nightbell silence add --match monitor=web --for 2h --comment deploying
  nightbell silence add --match team=data --hours \"Sat 02:00-04:00\" --tz Europe/Oslo --name weekly")]
    Add(Silence),
    /// List the open incidents that a silence would hide, without creating it
    Preview(Silence),
    /// Delete silences: open incidents that they have hidden are notified now
    Delete {
        /// Names of silences
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// A silence.
#[derive(Debug, Args)]
pub(crate) struct Silence {
    /// What it hides: LABEL=VALUE, with monitor, key and severity among the labels; all must hold
    #[arg(long = "match", value_name = "LABEL=VALUE")]
    matchers: Vec<String>,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Start [default: now]
    #[arg(long, conflicts_with = "hours")]
    from: Option<String>,
    /// Until then
    #[arg(long, conflicts_with_all = ["hours", "length"])]
    to: Option<String>,
    /// For so long, such as 2h [default: 1h, unless --to or --hours is given]
    #[arg(long = "for", value_name = "SPAN", conflicts_with = "hours")]
    length: Option<String>,
    /// Recurring hours, such as "Sat 02:00-04:00"
    #[arg(long)]
    hours: Option<String>,
    /// The zone of these times
    #[arg(long)]
    tz: Option<String>,
    /// Who creates it [default: you]
    #[arg(long, env = "USER")]
    by: Option<String>,
    /// Why, for people
    #[arg(long)]
    comment: Option<String>,
    /// Make it even if no monitor has the labels that it matches
    #[arg(long)]
    force: bool,
}

/// How long a silence lasts that is given no end, as in Alertmanager's amtool.
const LENGTH: &str = "1h";

impl Silence {
    fn document(&self) -> Result<Value, Failure> {
        let mut matchers = Map::new();
        for text in &self.matchers {
            let Some((label, value)) = text.split_once('=') else {
                return Err(Failure::usage(format!("--match {text} is not LABEL=VALUE")));
            };
            matchers.insert(label.to_owned(), value.into());
        }
        let mut document = json!({ "match": matchers });
        for (name, value) in [
            ("name", &self.name),
            ("from", &self.from),
            ("to", &self.to),
            ("for", &self.length),
            ("hours", &self.hours),
            ("tz", &self.tz),
            ("by", &self.by),
            ("comment", &self.comment),
        ] {
            if let Some(value) = value {
                document[name] = value.as_str().into();
            }
        }
        if self.to.is_none() && self.length.is_none() && self.hours.is_none() {
            document["for"] = LENGTH.into();
        }
        Ok(document)
    }
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List => list(client, output).await,
        Verb::Add(silence) => {
            let call = client.post(&["silences"]).json(&silence.document()?);
            let call = call.query_if("force", silence.force.then_some(true));
            let made = call.send().await?.value()?;
            for warning in made["warnings"].as_array().into_iter().flatten() {
                let warning = clean(warning.as_str().unwrap_or_default());
                output.note(format_args!("warning: {warning}"));
            }
            if let Some(end) = Moment::of(&made["to"]).rfc3339() {
                output.note(format_args!("until {end}"));
            }
            if output.is_json() {
                return output.json(&made);
            }
            output.line(made["id"].as_str().unwrap_or_default())
        }
        Verb::Preview(silence) => {
            let call = client.post(&["silences", "preview"]).json(&silence.document()?);
            let hidden = call.send().await?.value()?;
            if output.is_json() {
                return output.json(&hidden);
            }
            let mut table = Table::new(&["ID", "MONITOR", "KEY", "STATE", "~TEXT"]);
            let text = |value: &Value| clean(value.as_str().unwrap_or_default());
            for it in hidden.as_array().into_iter().flatten() {
                table.row([
                    text(&it["id"]).into(),
                    text(&it["monitor"]).into(),
                    text(&it["key"]).into(),
                    Cell::status(&text(&it["state"])),
                    text(&it["text"]).into(),
                ]);
            }
            output.table(&table)
        }
        Verb::Delete { names } => {
            for name in &names {
                client.delete(&["silences", name]).send().await?;
                output.note(format_args!("deleted silence {name}"));
            }
            Ok(())
        }
    }
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let silences = client.get(&["silences"]).send().await?.value()?;
    if output.is_json() {
        return output.json(&silences);
    }
    let mut table = Table::new(&["NAME", "IN FORCE", "MATCH", "HOURS", "BY", "~COMMENT"]);
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    for silence in silences.as_array().into_iter().flatten() {
        let in_force = if silence["inForceUntil"].is_null() { "no" } else { "yes" };
        table.row([
            text(&silence["id"]).into(),
            in_force.into(),
            clean(&silence["match"].to_string()).into(),
            text(&silence["hours"]).into(),
            text(&silence["by"]).into(),
            text(&silence["comment"]).into(),
        ]);
    }
    output.table(&table)
}
