//! `nightbell workflow validate`: definitions are judged here, by the code that would run them, or by
//! a server.

use std::path::{Path, PathBuf};

use kernel::alert::definition::ChecklistOptions;
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
use crate::cli::output::{Output, clean};
use crate::load::{self, Finding, Level};

/// What to judge.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    paths: Paths,
    /// Let the server validate, with the task definitions that it has
    #[arg(long)]
    online: bool,
    /// Also fail on warnings
    #[arg(long)]
    strict: bool,
}

/// What is wrong with a document, and what runs but is hardly meant.
#[derive(Default)]
struct Verdict {
    problems: Vec<Violation>,
    warnings: Vec<Violation>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    problems: usize,
    warnings: usize,
    /// All of it, for programs.
    listed: Vec<Value>,
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Arguments,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let mut found = Found::default();
    let documents = if arguments.online {
        let documents = input_documents(arguments.paths.all())?;
        for document in &documents {
            found.take(judged_there(&document.value, client).await?, document, output)?;
        }
        documents
    } else {
        judged_here(arguments, &mut found, output).await?
    };
    if output.is_json() {
        output.json(&found.listed)?;
    }
    match found.problems + if arguments.strict { found.warnings } else { 0 } {
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

impl Found {
    /// Takes what was said of a document that has no file, or of which only a server knows more.
    fn take(
        &mut self,
        verdict: Verdict,
        document: &Document,
        output: &Output,
    ) -> anyhow::Result<()> {
        let Document { origin, value } = document;
        self.problems += verdict.problems.len();
        self.warnings += verdict.warnings.len();
        let problems = verdict.problems.into_iter().map(|it| ("error", it));
        let all = problems.chain(verdict.warnings.into_iter().map(|it| ("warning", it)));
        for (level, violation) in all {
            if output.is_json() {
                let mut shown = serde_json::to_value(&violation)?;
                shown["file"] = origin.as_str().into();
                shown["name"] = value["name"].clone();
                shown["level"] = level.into();
                self.listed.push(shown);
            } else {
                let level = if level == "error" { "" } else { "warning: " };
                output.line(format_args!("{origin}: {level}{violation}"))?;
            }
        }
        Ok(())
    }

    /// Takes what was found in a file.
    fn note(&mut self, finding: &Finding, output: &Output) -> anyhow::Result<()> {
        if finding.level == Level::Error {
            self.problems += 1;
        } else {
            self.warnings += 1;
        }
        if !output.is_json() {
            return output.line(clean(&finding.to_string()));
        }
        let mut shown = serde_json::to_value(finding)?;
        shown["pointer"] = finding.path.as_str().into();
        self.listed.push(shown);
        Ok(())
    }
}

/// Judges files as `nightbell check` does, as far as it concerns workflows, and standard input by itself.
/// Answers the definitions.
async fn judged_here(
    arguments: &Arguments,
    found: &mut Found,
    output: &Output,
) -> anyhow::Result<Vec<Document>> {
    let (stdin, paths): (Vec<&str>, Vec<&str>) =
        arguments.paths.all().partition(|path| *path == "-");
    let paths: Vec<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
    let engine = offline::engine().await?;
    // A file by itself may speak of workflows that are beside it.
    let is_whole = paths.iter().any(|path| path.is_dir());
    let mut all = load::examine(&engine, &paths, &ChecklistOptions::default());
    all.retain(|it| it.level != Level::Note && (is_whole || it.code != "unknown-workflow"));
    all.retain(|it| it.code == "unreadable-file" || load::holds_workflows(&it.file));
    all.iter().try_for_each(|finding| found.note(finding, output))?;
    let (_, files) = load::files_by_kind(&paths);
    let (of_tasks, files): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| load::holds_task_defs(file));
    let is_refused =
        |file: &PathBuf| all.iter().any(|it| it.level == Level::Error && it.file == *file);
    let good = files.iter().filter(|file| !is_refused(file) && load::holds_workflows(file));
    let mut documents = Vec::new();
    for file in good {
        documents.extend(input_documents([file.display().to_string().as_str()])?);
    }
    if !stdin.is_empty() {
        let mut tasks = Vec::new();
        for file in of_tasks.iter().filter(|file| !is_refused(file)) {
            let read = parse_task_defs(&input::read(&file.display().to_string())?);
            tasks.extend(read.unwrap_or_default());
        }
        for document in input_documents(stdin)? {
            found.take(judged_alone(&document.value, &tasks, &engine), &document, output)?;
            documents.push(document);
        }
    }
    engine.close().await?;
    if documents.is_empty() && found.problems == 0 {
        return Err(Failure::usage("there is no definition of a workflow in these files").into());
    }
    Ok(documents)
}

/// The documents of paths; of folders, the definitions of workflows.
fn input_documents<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for path in paths {
        if path == "-" || !Path::new(path).is_dir() {
            documents.extend(input::documents(&[path.to_owned()])?);
            continue;
        }
        let unreadable = |error: std::io::Error| Failure::error(format!("{path}: {error}"));
        for file in load::json_below(Path::new(path)).map_err(unreadable)? {
            if !load::holds_task_defs(&file) {
                let found = input::documents(&[file.display().to_string()])?;
                documents.extend(found.into_iter().filter(|it| it.value.get("tasks").is_some()));
            }
        }
    }
    if documents.is_empty() {
        return Err(Failure::usage("there is no definition of a workflow in these files"));
    }
    Ok(documents)
}

/// Judges a definition of standard input; `tasks` are those of the files beside it.
fn judged_alone(value: &Value, tasks: &[TaskDef], engine: &engine::Engine) -> Verdict {
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
