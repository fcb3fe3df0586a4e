//! `nightbell batch`: one act on all runs that a search finds.

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::Client;
use super::confirm;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::Table;

/// Where they are.
const PATH: &str = "batches";

/// What to do with batches.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a batch: an action on all runs that match; prints the id of the batch
    ///
    /// The runs that match now are processed in the background, each once, also after a restart of
    /// the server.
    #[command(after_help = "\
Examples:
  nightbell batch begin retry status:FAILED 'name:nightly*' --reason 'the disk has room again'
  nightbell batch begin terminate why:no-worker queue:load

Words: status:, name:, version:, id:, parent:, correlation:, why:, queue:, own:yes; others are searched in
names, inputs, outputs and reasons. Without words: all runs to which the action applies.")]
    Begin {
        /// What to do
        #[arg(value_parser = ["pause", "resume", "retry", "restart", "terminate"])]
        act: String,
        /// Search words that select the runs
        words: Vec<String>,
        /// Why; kept with the batch, and with what is terminated
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Who starts it [default: you]
        #[arg(long, env = "USER")]
        by: Option<String>,
    },
    /// List batches, the newest first
    List,
    /// Show a batch: its progress, and what was refused
    Get {
        /// Id of the batch
        id: String,
    },
    /// Stop a batch; what was done stays done
    Stop {
        /// Id of the batch
        id: String,
        /// Who stops it [default: you]
        #[arg(long, env = "USER")]
        by: Option<String>,
    },
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Begin { act, words, reason, yes, by } => {
            let asked = json!({ "act": act, "find": words.join(" ") });
            let found = client.post(&[PATH, "preview"]).json(&asked).send().await?.value()?;
            confirm(&question(&act, &found), &ids(&found), yes)?;
            let order = json!({ "preview": found["id"], "reason": reason, "who": by });
            let begun = client.post(&[PATH]).json(&order).send().await?.value()?;
            if output.is_json() {
                return output.json(&begun);
            }
            output.line(begun["id"].as_str().unwrap_or_default())
        }
        Verb::List => list(client, output).await,
        Verb::Get { id } => show(&id, client, output).await,
        Verb::Stop { id, by } => {
            let end = json!({ "who": by });
            client.post(&[PATH, &id, "stop"]).json(&end).send().await?;
            output.note(format_args!("stopped batch {}", clean(&id)));
            Ok(())
        }
    }
}

/// What would be done, in numbers.
fn question(act: &str, found: &Value) -> String {
    let below = match found["subWorkflows"].as_u64() {
        Some(below) if below > 0 => format!(" and {below} running sub-workflows"),
        _ => String::new(),
    };
    let left_out = match found["leftOut"].as_u64() {
        Some(left_out) if left_out > 0 => {
            format!(" ({left_out} sub-workflows that are found are left to their parents)")
        }
        _ => String::new(),
    };
    format!("{act} {} runs{below}{left_out}", found["count"])
}

fn ids(found: &Value) -> Vec<String> {
    let shown = found["workflowIds"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut ids: Vec<String> = shown.map(str::to_owned).collect();
    // So many that the question says how many more there are.
    let count = found["count"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
    ids.resize(ids.len().max(count), String::new());
    ids
}

async fn list(client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&[PATH]).send().await?.value()?;
    if output.is_json() {
        return output.json(&answer);
    }
    let batches = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table =
        Table::new(&["ID", "STATE", "ACT", "RUNS", "DONE", "REFUSED", "BEGUN", "~FIND"]);
    for it in batches {
        let text = |name: &str| clean(it[name].as_str().unwrap_or_default());
        let number = |name: &str| it[name].as_u64().unwrap_or_default();
        table.row([
            text("id").into(),
            text("state").into(),
            text("act").into(),
            number("runs").into(),
            number("done").into(),
            number("refused").into(),
            Moment::of(&it["createTime"]).relative(Timestamp::now()).into(),
            text("find").into(),
        ]);
    }
    output.table(&table)?;
    if batches.is_empty() {
        output.note("no batches; begin one with `nightbell batch begin ACT WORDS…`");
    }
    Ok(())
}

async fn show(id: &str, client: &Client, output: &Output) -> anyhow::Result<()> {
    let it = client.get(&[PATH, id]).send().await?.value()?;
    if output.is_json() {
        return output.json(&it);
    }
    let text = |name: &str| clean(it[name].as_str().unwrap_or_default());
    output.line(format_args!(
        "{} {}: {} of {} runs, {} done, {} refused",
        text("act"),
        text("state"),
        it["passed"],
        it["runs"],
        it["done"],
        it["refused"]
    ))?;
    for refusal in it["refusals"].as_array().into_iter().flatten() {
        let text = |name: &str| clean(refusal[name].as_str().unwrap_or_default());
        output.line(format_args!("  {}: {}", text("workflowId"), text("reason")))?;
    }
    Ok(())
}
