//! `nightbell workflow replay`: what runs that have ended would have done with another definition.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kernel::alert::definition::ChecklistOptions;
use kernel::definition::TaskDef;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::client::{Client, understand};
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::output::{Output, clean};
use crate::cli::run::{Status, as_test};
use crate::cli::table::Table;
use crate::load;
use crate::scripts::Engines;
use crate::testing::replay::{self, Answers, Run, Trial, Verdict};

/// Runs that are asked for at a time.
const PAGE: u32 = 500;
/// Runs that are held in memory at a time.
const AT_A_TIME: usize = 50;
/// Runs that are read from the server at the same time.
const READS: usize = 4;
/// Ids that are told of a group of runs; JSON has them all.
const IDS_TOLD: usize = 3;

/// What to replay.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the workflow [default: the only one in the files]
    name: Option<String>,
    /// File or folder with the definition to try, and with those of tasks and sub-workflows that
    /// change with it; may be repeated
    #[arg(short, long, value_name = "PATH", required = true, num_args = 1)]
    file: Vec<PathBuf>,
    /// How many of the latest runs
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    last: u32,
    /// Only runs with this final status; may be repeated [default: all that have ended]
    #[arg(long, ignore_case = true)]
    status: Vec<Status>,
    /// File with results for tasks that the runs did not have: by reference name, in the form of
    /// `mocks` of a test
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    /// Write each run that differs as a test into this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

/// Runs with the same verdict.
#[derive(Debug, Serialize)]
struct Group<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    runs: Vec<&'a str>,
}

/// Runs the command.
///
/// # Errors
/// A definition is wrong, or no run could be tried (1); a run differs (5).
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mocks = match &arguments.mock {
        Some(file) => Answers::read(file).map_err(|wrong| invalid("the answers", wrong))?,
        None => Answers::default(),
    };
    let definitions = definitions(&arguments.file).await?;
    let unfit = mocks.unfit(&definitions.workflows);
    if !unfit.is_empty() {
        return Err(invalid("the answers", unfit).into());
    }
    let name = named(arguments, &definitions)?;
    let tasks = client.get(&["metadata", "taskdefs"]).send().await?.value()?;
    let tasks: Vec<TaskDef> = understand("task definitions", &tasks)?;
    let ids = ids(&name, arguments, client).await?;
    if ids.is_empty() {
        let message = format!("no run of {} has ended, or none so", clean(&name));
        return Err(Failure::error(message).into());
    }
    let scripts = Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
    let built_in = offline::task_types()?.into();
    let trial = Arc::new(Trial { definitions, tasks, mocks, scripts, built_in });
    let mut all = Vec::new();
    for ids in ids.chunks(AT_A_TIME) {
        let runs = read(ids, client).await?;
        let verdicts = judged(&trial, &runs).await?;
        if let Some(folder) = &arguments.save {
            save(folder, &name, &runs, &verdicts)?;
        }
        all.extend(runs.into_iter().map(|(id, _)| id).zip(verdicts));
    }
    tell(&name, &all, output)
}

/// Reads runs with their tasks; one that is no longer there is none.
async fn read(ids: &[String], client: &Client) -> anyhow::Result<Vec<(String, Option<Value>)>> {
    let read = ids.iter().map(async |id| {
        let call = client.get(&["workflow", id]).query("includeTasks", true);
        let read = async { call.send().await?.value() }.await;
        match read {
            Ok(run) => Ok((id.clone(), Some(run))),
            Err(failure) if failure.exit == Exit::NotFound => Ok((id.clone(), None)),
            Err(failure) => Err(failure),
        }
    });
    Ok(stream::iter(read).buffered(READS).try_collect().await?)
}

/// Replays runs on threads of their own, in their order.
async fn judged(
    trial: &Arc<Trial>,
    runs: &[(String, Option<Value>)],
) -> anyhow::Result<Vec<Verdict>> {
    let understood: Vec<Result<Run, String>> = runs
        .iter()
        .map(|(_, run)| {
            run.as_ref().map_or_else(|| Err("it has been removed meanwhile".to_owned()), Run::of)
        })
        .collect();
    let trial = trial.clone();
    let judged = tokio::task::spawn_blocking(move || replay::replay(&trial, &understood));
    Ok(judged.await?)
}

/// What the files define.
pub(in crate::cli) async fn definitions(paths: &[PathBuf]) -> anyhow::Result<load::Definitions> {
    for path in paths {
        if let Err(error) = std::fs::metadata(path)
            && error.kind() == ErrorKind::NotFound
        {
            return Err(Failure::error(format!("{}: {error}", path.display())).into());
        }
    }
    let judge = offline::engine().await?;
    let read = load::definitions(&judge, paths, &ChecklistOptions::default());
    judge.close().await?;
    read.map_err(|wrong| invalid("the definitions", wrong).into())
}

fn invalid(what: &str, wrong: Vec<String>) -> Failure {
    Failure::new(Exit::Error, format!("{what} are not valid")).with_details(wrong)
}

/// The workflow to try.
fn named(arguments: &Arguments, definitions: &load::Definitions) -> anyhow::Result<String> {
    let known: Vec<&str> = definitions.workflows.iter().map(|it| &*it.name).collect();
    let listed = known.join(", ");
    match (&arguments.name, &known[..]) {
        (Some(name), _) if known.contains(&name.as_str()) => Ok(name.clone()),
        (Some(name), _) => {
            let hint = format!("they define {listed}");
            let failure = Failure::error(format!("the files do not define {}", clean(name)));
            Err(if known.is_empty() { failure } else { failure.with_hint(hint) }.into())
        }
        (None, [name]) => Ok((*name).to_owned()),
        (None, []) => Err(Failure::error("the files define no workflow").into()),
        (None, _) => {
            let message = format!("the files define several workflows: {listed}; name one");
            Err(Failure::usage(message).into())
        }
    }
}

/// The latest runs that have ended, latest first.
async fn ids(name: &str, arguments: &Arguments, client: &Client) -> anyhow::Result<Vec<String>> {
    let ends = [Status::Completed, Status::Failed, Status::TimedOut, Status::Terminated];
    let wanted = if arguments.status.is_empty() { &ends[..] } else { &arguments.status };
    let words = wanted.iter().filter_map(clap::ValueEnum::to_possible_value);
    let words: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
    let query = format!("workflowType='{name}' AND status IN ({})", words.join(","));
    let mut ids = Vec::new();
    while (ids.len() as u32) < arguments.last {
        let size = PAGE.min(arguments.last - ids.len() as u32);
        let call = client.get(&["workflow", "search"]).query("start", ids.len());
        let call = call.query("size", size).query("sort", "startTime:DESC").query("query", &query);
        let page = call.send().await?.value()?;
        let found = page["results"].as_array().into_iter().flatten();
        let before = ids.len();
        ids.extend(found.filter_map(|it| it["workflowId"].as_str().map(str::to_owned)));
        if ids.len() - before < size as usize {
            break;
        }
    }
    Ok(ids)
}

/// Writes the runs that differ as tests.
fn save(
    folder: &Path,
    name: &str,
    runs: &[(String, Option<Value>)],
    verdicts: &[Verdict],
) -> anyhow::Result<()> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::error(format!("{}: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let plain = |it: char| if it.is_ascii_alphanumeric() || "-_.".contains(it) { it } else { '_' };
    let different = runs.iter().zip(verdicts).filter(|(_, verdict)| differs(verdict));
    for ((id, run), _) in different {
        let Some(run) = run else { continue };
        let file: String = format!("{name}-{id}.test.yaml").chars().map(plain).collect();
        let path = folder.join(file);
        std::fs::write(&path, as_test::text(run)).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

/// Whether a run differs, as far as can be said.
pub(in crate::cli) fn differs(verdict: &Verdict) -> bool {
    !matches!(verdict, Verdict::Same | Verdict::NotReproduced { .. })
}

fn tell(name: &str, all: &[(String, Verdict)], output: &Output) -> anyhow::Result<()> {
    let mut groups: BTreeMap<&Verdict, Vec<&str>> = BTreeMap::new();
    for (id, verdict) in all {
        groups.entry(verdict).or_default().push(id);
    }
    let mut groups: Vec<Group<'_>> =
        groups.into_iter().map(|(verdict, runs)| Group { verdict, runs }).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.runs.len()));
    let different: usize =
        groups.iter().filter(|it| differs(it.verdict)).map(|it| it.runs.len()).sum();
    if output.is_json() {
        output.json(&json!({ "workflow": name, "runs": all.len(), "groups": groups }))?;
    } else {
        let mut table = Table::new(&["RUNS", "RESULT", "~DIFFERENCE", "~FOR EXAMPLE"]);
        for group in &groups {
            let (result, difference) = told(group.verdict);
            let examples = &group.runs[..group.runs.len().min(IDS_TOLD)];
            let examples = if *group.verdict == Verdict::Same { &[] } else { examples };
            table.row([
                group.runs.len().into(),
                result.into(),
                clean(&difference).into(),
                clean(&examples.join(" ")).into(),
            ]);
        }
        output.table(&table)?;
    }
    if groups.iter().all(|it| matches!(it.verdict, Verdict::NotReproduced { .. })) {
        return Err(Failure::error(format!("none of {} runs could be tried", all.len())).into());
    }
    if different == 0 {
        return Ok(());
    }
    let message = format!("{different} of {} runs differ", all.len());
    Err(Failure::new(Exit::WorkflowFailed, message).into())
}

/// A verdict in words: what it is, and where.
pub(in crate::cli) fn told(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Same => ("same", String::new()),
        Verdict::OtherPath { at, was, now } => {
            ("other path", format!("at {at}: was {was}, is {now}"))
        }
        Verdict::AskedOtherwise { at, difference } => {
            ("asked otherwise", format!("{at}: {difference}"))
        }
        Verdict::Unanswered { at, task_type } => {
            ("unanswered", format!("{at} ({task_type}) is new: --mock answers it"))
        }
        Verdict::OtherEnd { was, now } => ("other end", format!("was {was}, is {now}")),
        Verdict::OtherOutput { difference } => ("other output", difference.clone()),
        Verdict::NotReproduced { why } => ("not reproduced", why.clone()),
    }
}
