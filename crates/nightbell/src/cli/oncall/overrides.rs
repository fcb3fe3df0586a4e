//! `nightbell oncall override`: who stands in for whoever has the turn.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, clean};
use crate::cli::schedule::test::{instant, zone};
use crate::cli::table::Table;

/// What to do with overrides.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Let somebody stand in; takes the place of the override from and to the same times
    #[command(after_help = "\
Examples:
  nightbell oncall override add primary --who bo --to 2026-12-26T09:00
  nightbell oncall override add primary --who bo --from 2026-12-24T09:00 --to 2026-12-26T09:00 --tz Europe/Oslo

What was told stays told: an open incident is that of those whom it called (docs/on-call.md).")]
    Add(Add),
    /// List the overrides of a rotation, those of files as well
    List(List),
    /// Take back an override that was made here; what was told stays told
    Remove(Remove),
}

/// Who stands in, and when.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The rotation
    rotation: String,
    /// Who is on call instead; several times, or apart by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "PERSON")]
    who: Vec<String>,
    /// From then on: 2026-12-24T09:00, or with an offset [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Time zone of times without an offset [default: that of the rotation]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
}

/// Which to list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The rotation
    rotation: String,
    /// Also those that are over
    #[arg(long)]
    all: bool,
    /// Time zone that is shown
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

/// Which to take back.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The rotation
    rotation: String,
    /// When it begins, as the list tells it
    #[arg(long, value_name = "TIME")]
    from: String,
    /// When it ends
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Time zone of times without an offset
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Add(asked) => add(&asked, client, output).await,
        Verb::List(asked) => list(&asked, client, output).await,
        Verb::Remove(asked) => {
            let place = zone(&asked.tz)?;
            let from = instant("--from", &asked.from, &place)?;
            let to = instant("--to", &asked.to, &place)?;
            let call = client.delete(&["oncall", &asked.rotation, "overrides"]);
            call.query("from", from).query("to", to).send().await?;
            output.note(format_args!("removed the override from {from} to {to}"));
            Ok(())
        }
    }
}

async fn add(asked: &Add, client: &Client, output: &Output) -> anyhow::Result<()> {
    if let Some(name) = &asked.tz {
        zone(name)?;
    }
    if asked.who.iter().any(String::is_empty) {
        return Err(Failure::usage("--who names nobody").into());
    }
    let mut body = json!({ "who": asked.who, "to": asked.to });
    for (member, value) in [("from", &asked.from), ("tz", &asked.tz)] {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
    let call = client.post(&["oncall", &asked.rotation, "overrides"]).json(&body);
    let made = call.send().await?.value()?;
    if made["replaced"] == true {
        output.note("it takes the place of the one that was there");
    }
    if output.is_json() {
        return output.json(&made);
    }
    let who = people(&made["who"]);
    let [from, to] = ["from", "to"].map(|member| made[member].as_str().unwrap_or_default());
    output.line(format!("{who} from {} to {}", clean(from), clean(to)))
}

fn people(names: &Value) -> String {
    let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(clean).collect::<Vec<_>>().join(", ")
}

async fn list(asked: &List, client: &Client, output: &Output) -> anyhow::Result<()> {
    let place = zone(&asked.tz)?;
    let call = client.get(&["oncall", &asked.rotation, "overrides"]);
    let told = call.send().await?.value()?;
    let mut found = told["results"].as_array().cloned().unwrap_or_default();
    found.retain(|it| asked.all || it["over"] != true);
    if output.is_json() {
        return output.json(&found);
    }
    let mut table = Table::new(&["FROM", "UNTIL", "ON CALL", "SOURCE", "~PROBLEM"]);
    for own in &found {
        let moment = |member: &str| {
            let at = own[member].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            at.map_or_else(|| "-".to_owned(), |at| super::local(at.into(), &place))
        };
        table.row([
            moment("from").into(),
            moment("to").into(),
            people(&own["who"]).into(),
            clean(own["source"].as_str().unwrap_or_default()).into(),
            clean(own["problem"].as_str().unwrap_or_default()).into(),
        ]);
    }
    output.table(&table)
}
