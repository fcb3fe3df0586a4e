//! `nightbell workflow validate`: definitions are judged here, by the code that would run them, or by
//! a server.

use std::path::Path;

use kernel::definition::{
    Beside, Problem, TaskDef, inspect_workflow, lint_workflow, parse_task_defs, parse_workflow,
};
use serde_json::Value;

use super::label;
use crate::cli::client::Client;
use crate::cli::document::Paths;
use crate::cli::failure::{Failure, Violation};
use crate::cli::input::{self, Document};
use crate::cli::offline;
use crate::cli::output::Output;

/// What to judge.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    paths: Paths,
    /// Let the server judge, which knows its own task definitions
    #[arg(long)]
    online: bool,
    /// Warnings fail, too
    #[arg(long)]
    strict: bool,
}

/// What is wrong with a document, and what runs but is hardly meant.
#[derive(Default)]
struct Verdict {
    problems: Vec<Violation>,
    warnings: Vec<Violation>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let (documents, tasks) = read(&arguments.paths)?;
    let engine = if arguments.online { None } else { Some(offline::engine().await?) };
    let (mut found, mut warned, mut listed) = (0, 0, Vec::new());
    for Document { origin, value } in &documents {
        let verdict = match &engine {
            Some(engine) => judged_here(value, &tasks, engine),
            None => judged_there(value, client).await?,
        };
        let (problems, warnings) = (verdict.problems.len(), verdict.warnings.len());
        (found, warned) = (found + problems, warned + warnings);
        let problems = verdict.problems.into_iter().map(|it| ("error", it));
        for (level, violation) in
            problems.chain(verdict.warnings.into_iter().map(|it| ("warning", it)))
        {
            if output.is_json() {
                let mut shown = serde_json::to_value(&violation)?;
                shown["file"] = origin.as_str().into();
                shown["name"] = value["name"].clone();
                shown["level"] = level.into();
                listed.push(shown);
            } else {
                let level = if level == "error" { "" } else { "warning: " };
                output.line(format_args!("{origin}: {level}{violation}"))?;
            }
        }
    }
    if output.is_json() {
        output.json(&listed)?;
    }
    if let Some(engine) = engine {
        engine.close().await?;
    }
    let failed = found + if arguments.strict { warned } else { 0 };
    match failed {
        0 => {
            for document in &documents {
                output.note(format_args!("{} is valid", label(&document.value)));
            }
            Ok(())
        }
        1 => Err(Failure::error("1 problem").into()),
        failed => Err(Failure::error(format!("{failed} problems")).into()),
    }
}

/// The definitions of workflows, and the task definitions that lie beside them in folders.
fn read(paths: &Paths) -> anyhow::Result<(Vec<Document>, Vec<TaskDef>)> {
    let (mut documents, mut tasks) = (Vec::new(), Vec::new());
    for path in paths.all() {
        if path == "-" || !Path::new(path).is_dir() {
            documents.extend(input::documents(&[path.to_owned()])?);
            continue;
        }
        for file in crate::load::json_below(Path::new(path))? {
            let shown = file.display().to_string();
            if crate::load::holds_task_defs(&file) {
                let found = parse_task_defs(&input::read(&shown)?);
                tasks.extend(found.map_err(|problems| {
                    let told = problems.iter().map(ToString::to_string);
                    Failure::error(format!("{shown}: not valid")).with_details(told)
                })?);
                continue;
            }
            let found = input::documents(&[shown])?;
            documents.extend(found.into_iter().filter(|it| it.value.get("tasks").is_some()));
        }
    }
    if documents.is_empty() {
        return Err(Failure::usage("there is no definition of a workflow in these files").into());
    }
    Ok((documents, tasks))
}

fn judged_here(value: &Value, tasks: &[TaskDef], engine: &engine::Engine) -> Verdict {
    let told = |problems: Vec<Problem>| problems.into_iter().map(violation).collect();
    let definition = match parse_workflow(&value.to_string()) {
        Ok(definition) => definition,
        Err(problems) => return Verdict { problems: told(problems), ..Verdict::default() },
    };
    let has_template = |name: &str, key: &str| {
        let task = tasks.iter().rfind(|task| task.name == name);
        task.is_some_and(|task| task.input_template.contains_key(key))
    };
    let mut findings = inspect_workflow(&definition, engine.scripts(), &has_template);
    let tasks = tasks.iter().map(|task| (task.name.as_str(), task)).collect();
    // Which workflows there are beside this one is for `nightbell check` to find.
    let lint = lint_workflow(&definition, &Beside { workflows: None, tasks });
    findings.warnings.extend(lint.warnings);
    Verdict { problems: told(findings.problems), warnings: told(findings.warnings) }
}

fn violation(problem: Problem) -> Violation {
    Violation {
        pointer: Some(problem.pointer),
        path: problem.path,
        message: problem.message,
        hint: Some(problem.hint).filter(|hint| !hint.is_empty()),
    }
}

async fn judged_there(definition: &Value, client: &Client) -> Result<Verdict, Failure> {
    match client.post(&["metadata", "workflow", "validate"]).json(definition).send().await {
        Ok(answer) => {
            let warnings = answer.value()?["warnings"].take();
            let warnings = serde_json::from_value(warnings).unwrap_or_default();
            Ok(Verdict { warnings, ..Verdict::default() })
        }
        Err(failure) if !failure.violations.is_empty() => {
            Ok(Verdict { problems: failure.violations, ..Verdict::default() })
        }
        Err(failure) => Err(failure),
    }
}
