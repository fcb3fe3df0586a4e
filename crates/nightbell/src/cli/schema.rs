//! `nightbell schema`: named schemas that definitions refer to.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, understand};
use super::confirm;
use super::document::{Files, Versions, at, judge, name_of};
use super::failure::Failure;
use super::input::Document;
use super::moment::Moment;
use super::output::{Output, clean};
use super::table::Table;

/// What to do with schemas.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List schemas, the latest version of each
    List {
        /// List every version
        #[arg(long)]
        versions: bool,
    },
    /// Print a schema as JSON
    Get {
        /// Name of the schema
        name: String,
        /// Version [default: the latest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Create new schemas, all or none
    #[command(after_help = "\
A file holds one schema or a list of them:
  { \"name\": \"order\", \"version\": 1, \"type\": \"JSON\",
    \"data\": { \"type\": \"object\", \"required\": [\"id\"] } }

Definitions name one as inputSchema or outputSchema: { \"name\": \"order\", \"version\": 1 }.")]
    Create {
        #[command(flatten)]
        files: Files,
        /// Give each the version after its latest, ignoring the version in the file
        #[arg(long)]
        new_version: bool,
    },
    /// Replace versions of schemas that exist, all or none
    Update(Files),
    /// Delete versions of a schema; definitions that name them no longer validate
    Delete(Versions),
}

/// What a table shows of a schema.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shown {
    name: String,
    version: i64,
    #[serde(rename = "type")]
    kind: String,
    external_ref: Option<String>,
    update_time: Moment,
}

/// Runs the command.
pub(super) async fn run(verb: Verb, client: &Client, output: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::List { versions } => list(versions, client, output).await,
        Verb::Get { name, version } => output.json(&get(&name, version, client).await?),
        Verb::Create { files, new_version } => {
            save(&files.read()?, Saving { replaces: false, new_version }, client, output).await
        }
        Verb::Update(files) => {
            let saving = Saving { replaces: true, new_version: false };
            save(&files.read()?, saving, client, output).await
        }
        Verb::Delete(versions) => delete(&versions, client, output).await,
    }
}

async fn get(name: &str, version: Option<u32>, client: &Client) -> Result<Value, Failure> {
    let version = version.map(|version| version.to_string());
    let mut path = vec!["schema", name];
    path.extend(version.as_deref());
    client.get(&path).send().await?.value()
}

async fn list(versions: bool, client: &Client, output: &Output) -> anyhow::Result<()> {
    let answer = client.get(&["schema"]).query("short", true).send().await?.value()?;
    let mut listed: Vec<(Shown, Value)> = Vec::new();
    for value in answer.as_array().into_iter().flatten() {
        listed.push((understand("schema", value)?, value.clone()));
    }
    listed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
    if !versions {
        listed.dedup_by(|(older, _), (newer, _)| older.name == newer.name);
    }
    if output.is_json() {
        return output.json(&listed.iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["NAME", "VERSION", "TYPE", "CHANGED", "~ELSEWHERE"]);
    for (schema, _) in &listed {
        table.row([
            (&schema.name).into(),
            schema.version.into(),
            (&schema.kind).into(),
            schema.update_time.relative(now).into(),
            schema.external_ref.as_deref().unwrap_or_default().into(),
        ]);
    }
    output.table(&table)?;
    if listed.is_empty() {
        output.note("no schemas; create one with `nightbell schema create -f FILE`");
    }
    Ok(())
}

/// How schemas are saved.
#[derive(Clone, Copy, Debug)]
struct Saving {
    replaces: bool,
    new_version: bool,
}

async fn save(
    documents: &[Document],
    saving: Saving,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    for Document { origin, value } in documents.iter().filter(|_| !saving.new_version) {
        let name = name_of(value);
        // A wrong version is told by the server, with everything else that is wrong.
        let version = value.get("version").map_or(Some(1), Value::as_u64);
        if let Some(version) = version.and_then(|version| u32::try_from(version).ok())
            && !name.is_empty()
        {
            let found = get(name, Some(version), client).await;
            let what = format!("version {version} of the schema {name}");
            judge(found, saving.replaces, "schema", origin, &what)?;
        }
    }
    // All at once, so that either all are saved or none.
    let body = documents.iter().map(|document| document.value.clone()).collect();
    let call = client.post(&["schema"]).json(&Value::Array(body));
    let call = call.query_if("newVersion", saving.new_version.then_some(true));
    call.send().await.map_err(|failure| match documents {
        [Document { origin, .. }] => at(origin, failure),
        _ => failure,
    })?;
    let names: Vec<&str> = documents.iter().map(|document| name_of(&document.value)).collect();
    for name in &names {
        output.note(format_args!("saved schema {}", clean(name)));
    }
    if output.is_json() { output.json(&names) } else { Ok(()) }
}

async fn delete(versions: &Versions, client: &Client, output: &Output) -> anyhow::Result<()> {
    let Versions { name, version, .. } = versions;
    let label = match version {
        Some(version) => format!("schema {name} version {version}"),
        None => format!("every version of the schema {name}"),
    };
    confirm("delete", std::slice::from_ref(&label), versions.yes)?;
    let version = version.map(|version| version.to_string());
    let mut path = vec!["schema", name];
    path.extend(version.as_deref());
    client.delete(&path).send().await?;
    output.note(format_args!("deleted {label}"));
    if output.is_json() {
        output.json(&json!({ "name": name, "version": versions.version }))
    } else {
        Ok(())
    }
}
