//! `nightbell run export`: a run with everything that explains it, as one file.

use std::collections::{BTreeSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::bundle::{Bundle, Manifest};
use crate::cli::client::Client;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, clean};

/// Runs in a bundle; sub-workflows beyond that are named and left out.
const RUNS_MAX: usize = 1000;
/// Commits that are asked for at a time.
const PAGE: u64 = 1000;

/// What to export.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the run
    id: String,
    /// File to write
    #[arg(short = 'O', long, value_name = "FILE")]
    out: PathBuf,
    /// Replace what is there, and the same values wherever else they occur: input.card,
    /// tasks.REF.output.token, * for any member; may be repeated. They are found as they are, as JSON
    /// writes them and in base64; so are names of members, unless a definition speaks of them
    #[arg(long, value_name = "PATH")]
    redact: Vec<String>,
}

/// Writes a file that only its owner can read: what is in it went through a workflow.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Runs the command.
///
/// # Errors
/// There is no such run (3); a path leads to nothing, or the file cannot be written (1).
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut bundle = gather(&arguments.id, client).await?;
    bundle.redact(&arguments.redact)?;
    let (runs, missing) = (bundle.runs.len(), bundle.manifest.missing.clone());
    let secrets = bundle.manifest.secrets.clone();
    let packed = bundle.pack()?;
    let bytes = packed.len();
    write(&arguments.out, &packed)
        .map_err(|error| Failure::error(format!("{}: {error}", arguments.out.display())))?;
    for id in &missing {
        output.note(format_args!("sub-workflow {} is not in it", clean(id)));
    }
    if output.is_json() {
        return output.json(&json!({
            "file": arguments.out, "runs": runs, "bytes": bytes, "secrets": secrets,
            "missing": missing,
        }));
    }
    let file = arguments.out.display();
    let plural = if runs == 1 { "" } else { "s" };
    output.note(format_args!("wrote {file}: {runs} run{plural}, {bytes} bytes"));
    Ok(())
}

/// A run with those below it, and what they obey.
async fn gather(id: &str, client: &Client) -> anyhow::Result<Bundle> {
    let mut bundle = Bundle::default();
    let (mut queue, mut known) = (VecDeque::from([id.to_owned()]), BTreeSet::new());
    while let Some(next) = queue.pop_front() {
        if !known.insert(next.clone()) {
            continue;
        }
        if bundle.runs.len() == RUNS_MAX {
            bundle.manifest.missing.push(next);
            continue;
        }
        let call =
            client.get(&["workflow", &next]).query("includeTasks", true).query("maskSecrets", true);
        let run = match call.send().await {
            Err(failure) if failure.exit == Exit::NotFound && next != id => {
                bundle.manifest.missing.push(next);
                continue;
            }
            answer => answer?.value()?,
        };
        let tasks = run["tasks"].as_array().into_iter().flatten();
        queue.extend(tasks.filter_map(|task| task["subWorkflowId"].as_str()).map(str::to_owned));
        let commits = history(&next, client).await?;
        bundle.histories.push(json!({ "run": next, "commits": commits }));
        bundle.runs.push(run);
    }
    let defined: Vec<&Value> = bundle.runs.iter().map(|run| &run["workflowDefinition"]).collect();
    let mut names = Names::default();
    for definition in &defined {
        names.look(definition);
    }
    let all = client.get(&["metadata", "taskdefs"]).send().await?.value()?;
    let all = all.as_array().cloned().unwrap_or_default();
    let used = |task: &Value| task["name"].as_str().is_some_and(|it| names.tasks.contains(it));
    bundle.tasks = all.into_iter().filter(used).collect();
    for schema in &names.schemas {
        match client.get(&["schema", schema]).send().await {
            Ok(answer) => bundle.schemas.push(answer.value()?),
            Err(failure) if failure.exit == Exit::NotFound => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    let server = client.get(&["version"]).send().await.ok();
    bundle.manifest = Manifest {
        run: id.to_owned(),
        exported_at: Timestamp::now().to_string(),
        nightbell: env!("CARGO_PKG_VERSION").to_owned(),
        server: server.map(|answer| answer.text()).unwrap_or_default(),
        secrets: names.secrets.into_iter().collect(),
        ..bundle.manifest
    };
    Ok(bundle)
}

/// The commits of a run.
async fn history(id: &str, client: &Client) -> anyhow::Result<Vec<Value>> {
    let (mut commits, mut from) = (Vec::new(), None);
    loop {
        let call = client.get(&["workflow", id, "history"]).query("size", PAGE);
        let page = match call.query_if("from", from).send().await {
            // What an orchestration did its own history tells.
            Err(failure) if failure.exit == Exit::NotFound => return Ok(commits),
            answer => answer?.value()?,
        };
        let found = page["commits"].as_array().cloned().unwrap_or_default();
        let last = found.last().and_then(|commit| commit["version"].as_u64());
        let full = found.len() as u64 >= PAGE;
        commits.extend(found);
        match last.filter(|_| full) {
            Some(last) => from = Some(last + 1),
            None => return Ok(commits),
        }
    }
}

/// What definitions name.
#[derive(Default)]
struct Names {
    tasks: BTreeSet<String>,
    schemas: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Names {
    fn look(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.secrets(text),
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(members) => {
                let name = |value: &Value| value["name"].as_str().map(str::to_owned);
                if members.contains_key("taskReferenceName") {
                    self.tasks.extend(name(value));
                }
                for schema in ["inputSchema", "outputSchema"] {
                    self.schemas.extend(members.get(schema).and_then(name));
                }
                members.values().for_each(|member| self.look(member));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn secrets(&mut self, text: &str) {
        for part in text.split("${workflow.secrets.").skip(1) {
            let end = part.find(['}', '.']).unwrap_or(part.len());
            self.secrets.insert(part[..end].to_owned());
        }
    }
}
