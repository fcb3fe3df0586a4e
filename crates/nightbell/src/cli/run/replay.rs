//! `nightbell run replay`: the runs of a bundle played again, without a server.

use std::path::PathBuf;
use std::sync::Arc;

use kernel::definition::TaskDef;
use serde_json::{Value, json};

use super::bundle::Bundle;
use crate::cli::client::understand;
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::output::{Output, clean};
use crate::cli::table::Table;
use crate::cli::workflow::replay::{definitions, differs, told};
use crate::load;
use crate::scripts::Engines;
use crate::testing::replay::{self, Answers, Run, Trial, Verdict};

/// What to replay.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The bundle
    bundle: PathBuf,
    /// File or folder with changed definitions: the runs of the workflows in it are tried with these;
    /// without it each run is tried with the definition that it had. May be repeated
    #[arg(short, long, value_name = "PATH", num_args = 1)]
    file: Vec<PathBuf>,
    /// File with results for tasks that the runs did not have, in the form of `mocks` of a test
    #[arg(long, value_name = "FILE", requires = "file")]
    mock: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The bundle or a definition cannot be read, or no run could be tried (1); a run differs (5).
pub(super) async fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<()> {
    let bundle = Bundle::read(&arguments.bundle)?;
    let changed = match &arguments.file[..] {
        [] => None,
        paths => Some(definitions(paths).await?),
    };
    let mocks = || match &arguments.mock {
        Some(file) => Answers::read(file)
            .map_err(|wrong| Failure::error("the answers are not valid").with_details(wrong)),
        None => Ok(Answers::default()),
    };
    let tasks: Vec<TaskDef> = understand("task definitions", &Value::Array(bundle.tasks))?;
    let built_in: Arc<[&'static str]> = offline::task_types()?.into();
    let mut verdicts = Vec::new();
    for run in bundle.runs {
        let name = run["workflowDefinition"]["name"].as_str().unwrap_or_default().to_owned();
        let id = run["workflowId"].as_str().unwrap_or_default().to_owned();
        let own = |run: &Value| {
            let own = serde_json::from_value(run["workflowDefinition"].clone()).ok();
            load::Definitions { workflows: own.into_iter().collect(), ..Default::default() }
        };
        let definitions = match &changed {
            Some(changed) if changed.workflows.iter().any(|it| *it.name == *name) => {
                changed.clone()
            }
            Some(_) => continue,
            None => own(&run),
        };
        let scripts =
            Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
        let (tasks, built_in) = (tasks.clone(), built_in.clone());
        let trial = Trial { definitions, tasks, mocks: mocks()?, scripts, built_in };
        let judged = tokio::task::spawn_blocking(move || replay::replay(&trial, &[Run::of(&run)]));
        let verdict = judged.await?.pop();
        verdicts.extend(verdict.map(|verdict| (id, name, verdict)));
    }
    tell(&verdicts, output)
}

fn tell(verdicts: &[(String, String, Verdict)], output: &Output) -> anyhow::Result<()> {
    if verdicts.is_empty() {
        return Err(Failure::error("the bundle has no run of the workflows in the files").into());
    }
    if output.is_json() {
        let runs = verdicts
            .iter()
            .map(|(id, name, verdict)| json!({ "run": id, "workflow": name, "verdict": verdict }));
        output.json(&runs.collect::<Vec<_>>())?;
    } else {
        let mut table = Table::new(&["RUN", "WORKFLOW", "RESULT", "~DIFFERENCE"]);
        for (id, name, verdict) in verdicts {
            let (result, difference) = told(verdict);
            table.row([
                clean(id).into(),
                clean(name).into(),
                result.into(),
                clean(&difference).into(),
            ]);
        }
        output.table(&table)?;
    }
    let all = verdicts.len();
    if verdicts.iter().all(|(.., it)| matches!(it, Verdict::NotReproduced { .. })) {
        return Err(Failure::error(format!("none of {all} runs could be tried")).into());
    }
    match verdicts.iter().filter(|(.., it)| differs(it)).count() {
        0 => Ok(()),
        different => {
            let message = format!("{different} of {all} runs differ");
            Err(Failure::new(Exit::WorkflowFailed, message).into())
        }
    }
}
