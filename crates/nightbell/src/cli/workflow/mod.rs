//! `nightbell workflow`: definitions of workflows.

mod concerned;
pub(super) mod replay;
mod test;
mod validate;

use std::collections::BTreeMap;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::{Client, understand};
use crate::cli::confirm;
use crate::cli::document::{Files, Versions};
use crate::cli::failure::{Exit, Failure};
use crate::cli::input::Document;
use crate::cli::moment::Moment;
use crate::cli::output::{Output, clean};
use crate::cli::table::Table;

/// What to do with definitions.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List definitions, the latest version of each
    List {
        /// List every version
        #[arg(long)]
        versions: bool,
        /// Also list those of checks and deliveries, which the server creates itself
        #[arg(long)]
        all: bool,
    },
    /// Print a definition as JSON
    Get {
        /// Name of the workflow
        name: String,
        /// Version [default: the latest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Register new definitions
    #[command(after_help = "\
A file holds one definition or a list of them.

Examples:
  nightbell workflow create -f flow.json
  nightbell workflow create -f a.json -f b.json
  generate-flow | nightbell workflow create -f -")]
    Create {
        #[command(flatten)]
        files: Files,
        /// Replace a version that already exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Register definitions, replacing those that exist
    ///
    /// Runs in progress keep the definition that they were started with; their number, and the
    /// schedules that start the workflow, are printed. `nightbell plan` shows this in advance, with
    /// the differences.
    Update(Files),
    /// Delete versions of a definition; their runs are not affected
    Delete(Versions),
    /// Check definitions without registering them; needs no server
    ///
    /// Prints every problem on a line of its own: file, place in it as a JSON pointer, reason,
    /// hint. Exits with 1 if there is any. For a folder, every JSON file with definitions is read,
    /// together with the task definitions in it.
    #[command(after_help = "\
Examples:
  nightbell workflow validate flow.json
  nightbell workflow validate definitions/ --strict
  generate-flow | nightbell workflow validate -")]
    Validate(validate::Arguments),
    /// Test a workflow with mocked tasks: no worker, no outgoing call, nothing is stored
    ///
    /// Every task that would act outside takes the next mock of its reference name; scripts and
    /// control tasks are real, and the clock jumps to whatever is due next. Exits with 5 if the
    /// workflow does not complete.
    #[command(after_help = "\
Mocks are a JSON object from reference names to lists of task results, in order:
  { \"fetch\": [ { \"status\": \"FAILED\" }, { \"output\": { \"n\": 3 }, \"executionTime\": 200 } ] }

Examples:
  nightbell workflow test orders -i '{\"customer\": \"acme\"}' --mocks @mocks.json
  nightbell workflow test -f orders.json --mocks @mocks.json")]
    Test(test::Arguments),
    /// Try a changed definition on runs that have ended
    ///
    /// The recorded results of workers, services and people are used again; scripts and control
    /// tasks are computed again, on this machine and in virtual time. Nothing is changed on the
    /// server, and nothing is called. Exits with 5 if a run differs. Runs that their own definition
    /// does not reproduce, because an operator changed them, are counted separately.
    #[command(after_help = "\
Examples:
  nightbell workflow replay -f orders.json
  nightbell workflow replay orders -f definitions/ --last 1000 --status COMPLETED
  nightbell workflow replay -f orders.json --mock answers.yaml
  nightbell workflow replay -f orders.json --save regressions/")]
    Replay(replay::Arguments),
}

/// What a table shows of a definition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    name: String,
    #[serde(default = "first_version")]
    version: i64,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    tasks: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    create_time: Moment,
    #[serde(default)]
    update_time: Moment,
}

fn first_version() -> i64 {
    1
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { versions, all } => list(versions, all, client, output).await,
        Verb::Get { name, version } => {
            let call = client.get(&["metadata", "workflow", &name]).query_if("version", version);
            output.json(&call.send().await?.value()?)
        }
        Verb::Create { files, overwrite } => {
            create(&files.read()?, overwrite, client, output).await
        }
        Verb::Update(files) => update(files.read()?, client, output).await,
        Verb::Delete(versions) => delete(&versions, client, output).await,
        Verb::Validate(arguments) => validate::run(&arguments, client, output).await,
        Verb::Test(arguments) => test::run(&arguments, client, output).await,
        Verb::Replay(arguments) => replay::run(&arguments, client, output).await,
    }
}

/// Names of the definitions that the server makes itself begin so.
const MADE: [&str; 2] = ["check:", "nightbell_notify:"];

async fn list(versions: bool, all: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["metadata", "workflow"]).send().await?.value()?;
    let mut listed: Vec<(Definition, Value)> = Vec::new();
    for value in answer.as_array().into_iter().flatten() {
        listed.push((understand("definition", value)?, value.clone()));
    }
    listed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
    if !versions {
        listed.dedup_by(|(older, _), (newer, _)| older.name == newer.name);
    }
    if output.is_json() {
        return output.json(&listed.iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
    let is_made = |name: &str| MADE.iter().any(|prefix| name.starts_with(prefix));
    let before = listed.len();
    listed.retain(|(definition, _)| all || !is_made(&definition.name));
    let hidden = before - listed.len();
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "VERSION", "TASKS", "CHANGED", "~DESCRIPTION"]);
    for (definition, _) in &listed {
        let changed = match definition.update_time {
            Moment(None) => definition.create_time,
            updated => updated,
        };
        table.row([
            (&definition.name).into(),
            definition.version.into(),
            definition.tasks.len().into(),
            changed.relative(now).into(),
            definition.description.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if hidden > 0 {
        output.note(format_args!(
            "{hidden} of checks and deliveries are not shown; --all shows them"
        ));
    }
    if listed.is_empty() {
        output.note("no definitions; register one with `nightbell workflow create -f FILE`");
    }
    Ok(())
}

/// The name and version of a definition as its author wrote them.
fn label(value: &Value) -> String {
    let name = value.get("name").and_then(Value::as_str).unwrap_or("a definition without a name");
    match value.get("version").and_then(Value::as_i64) {
        Some(version) => format!("{} version {version}", clean(name)),
        None => clean(name),
    }
}

async fn create(
    documents: &[Document],
    overwrite: bool,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut created = Vec::new();
    for Document { origin, value } in documents {
        let call = client.post(&["metadata", "workflow"]).json(value);
        let call = call.query_if("overwrite", overwrite.then_some(true));
        let label = label(value);
        call.send().await.map_err(|mut failure| {
            failure.message = format!("{origin}: {label}: {}", failure.message);
            if failure.exit == Exit::Conflict {
                let hint = "use `nightbell workflow update`, or give it a new version";
                failure.hint.get_or_insert_with(|| hint.to_owned());
            }
            failure
        })?;
        output.note(format_args!("registered {label}"));
        created.push(json!({ "name": value["name"], "version": value["version"] }));
    }
    if output.is_json() { output.json(&created) } else { Ok(()) }
}

/// The answer to a request about many things at once.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BulkAnswer {
    bulk_error_results: BTreeMap<String, String>,
}

async fn update(documents: Vec<Document>, client: &Client, output: &Output) -> anyhow::Result<()> {
    let labels: Vec<_> = documents.iter().map(|document| label(&document.value)).collect();
    let definitions: Vec<_> = documents.into_iter().map(|document| document.value).collect();
    let definitions = Value::Array(definitions);
    let call = client.put(&["metadata", "workflow"]).json(&definitions);
    let answer = call.send().await?.value()?;
    let bulk: BulkAnswer = match &answer {
        Value::Null => BulkAnswer::default(),
        answer => understand("answer", answer)?,
    };
    if output.is_json() {
        output.json(&answer)?;
    }
    if bulk.bulk_error_results.is_empty() {
        let definitions = definitions.as_array().into_iter().flatten();
        for (number, (label, definition)) in labels.iter().zip(definitions).enumerate() {
            let concerned = match number {
                ..concerned::ASKED_MAX => concerned::by(definition, client).await,
                _ => String::new(),
            };
            output.note(format_args!("registered {label}{concerned}"));
        }
        return Ok(());
    }
    let lines = bulk.bulk_error_results.iter().map(|(name, why)| format!("{name}: {why}"));
    let message = format!("{} of {} failed", bulk.bulk_error_results.len(), labels.len());
    Err(Failure::error(message).with_details(lines).into())
}

async fn delete(meant: &Versions, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Versions { name, version, yes, .. } = meant;
    let versions: Vec<i64> = match version {
        Some(version) => vec![(*version).into()],
        None => all_versions(name, client).await?,
    };
    let labels: Vec<_> =
        versions.iter().map(|version| format!("{name} version {version}")).collect();
    confirm("delete", &labels, *yes)?;
    for (version, label) in versions.iter().zip(&labels) {
        let path = ["metadata", "workflow", name, &version.to_string()];
        client.delete(&path).send().await?;
        output.note(format_args!("deleted {label}"));
    }
    if output.is_json() {
        output.json(&json!({ "name": name, "versions": versions }))
    } else {
        Ok(())
    }
}

async fn all_versions(name: &str, client: &Client) -> anyhow::Result<Vec<i64>> {
    let answer = client.get(&["metadata", "workflow"]).send().await?.value()?;
    let definitions: Vec<Definition> = understand("definitions", &answer)?;
    let found: Vec<_> = definitions
        .iter()
        .filter(|definition| definition.name == name)
        .map(|definition| definition.version)
        .collect();
    if found.is_empty() {
        let message = format!("no such workflow found by name: {name}");
        return Err(Failure::new(Exit::NotFound, message).into());
    }
    Ok(found)
}
