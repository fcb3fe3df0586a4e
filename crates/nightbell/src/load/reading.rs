//! Reads files of definitions: what each defines, what is wrong with it, and what is hardly meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use engine::Engine;
use kernel::definition::{
    Problem, TaskDef, WorkflowDef, inspect_workflow, parse_event_handlers, parse_schemas,
    parse_task_defs, parse_workflows, unknown_handler_keys, unknown_task_def_keys,
    unknown_workflow_keys, validate_event_handler, validate_task_def,
};
use kernel::schedule::parse_schedules;
use kernel::status_page::parse_status_pages;
use server::hooks::read_webhooks;
use server::projects::FileKind;
use server::triggers;

use super::finding::{Finding, Level};
use super::{Defined, FILE_MAX, holds_task_defs};

/// What several files hold.
#[derive(Default)]
pub(super) struct Found {
    /// What the good ones define, in the order in which it is to be applied.
    pub(super) defined: Vec<(PathBuf, Defined)>,
    /// What is wrong with the others.
    pub(super) refused: BTreeMap<PathBuf, Vec<Finding>>,
    /// What runs, but is hardly meant.
    pub(super) doubtful: Vec<Finding>,
}

/// Reads files in the order in which they are to be applied: task definitions first, because
/// workflows are judged by them and pin them. A file with a mistake is left out.
pub(super) fn all(files: &[PathBuf], engine: &Engine) -> Found {
    let mut all = Found::default();
    let mut tasks = Vec::new();
    let (of_tasks, of_workflows): (Vec<_>, Vec<_>) =
        files.iter().partition(|file| holds_task_defs(file));
    for file in of_tasks.into_iter().chain(of_workflows) {
        match one(file, &tasks, engine, &mut all.doubtful) {
            Ok(found) => {
                tasks.extend(found.tasks.iter().cloned());
                all.defined.push((file.clone(), found));
            }
            Err(found) => drop(all.refused.insert(file.clone(), found)),
        }
    }
    all
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is larger than any that is meant.
pub(super) fn text_of(file: &Path) -> Result<String, Box<Finding>> {
    let unreadable = |message: String| {
        Box::new(Finding::of_file(file, Level::Error, "unreadable-file", message))
    };
    let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(unreadable(format!("the file has {size} bytes, more than {FILE_MAX}")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    // Editors of Windows write it in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A file with its text, to tell of places in it.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// What a problem of the document at `index` of the file is; of one that is no list there is
    /// only one document.
    pub(super) fn finding(&self, index: usize, level: Level, problem: &Problem) -> Finding {
        let is_list = self.text.trim_start_matches('\u{feff}').trim_start().starts_with('[');
        let base = if is_list { format!("/{index}") } else { String::new() };
        Finding::of_problem(self.file, self.text, &base, level, problem)
    }

    /// Problems whose pointers begin at the file's root.
    fn refused(&self, problems: &[Problem]) -> Vec<Finding> {
        let finding =
            |problem| Finding::of_problem(self.file, self.text, "", Level::Error, problem);
        problems.iter().map(finding).collect()
    }

    /// Judges each of the documents that were read.
    fn judged<T>(
        &self,
        documents: Vec<T>,
        judge: impl Fn(&T) -> Vec<Problem>,
    ) -> Result<Vec<T>, Vec<Finding>> {
        let mut findings = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let found = judge(document);
            findings.extend(found.iter().map(|it| self.finding(index, Level::Error, it)));
        }
        if findings.is_empty() { Ok(documents) } else { Err(findings) }
    }
}

/// Reads one file; `tasks` are those about to be registered with it.
fn one(
    file: &Path,
    tasks: &[TaskDef],
    engine: &Engine,
    doubtful: &mut Vec<Finding>,
) -> Result<Defined, Vec<Finding>> {
    let text = text_of(file).map_err(|finding| vec![*finding])?;
    let source = Source { file, text: &text };
    let refused = |problems: Vec<Problem>| source.refused(&problems);
    let mut defined = Defined::default();
    let mut slips = |found: Vec<Problem>| {
        let finding = |it: &Problem| Finding::of_problem(file, &text, "", Level::Warning, it);
        doubtful.extend(found.iter().map(finding));
    };
    let kind = FileKind::of(file, &text);
    match kind {
        FileKind::Tasks => slips(unknown_task_def_keys(&text)),
        FileKind::Handlers => slips(unknown_handler_keys(&text)),
        FileKind::Workflows => slips(unknown_workflow_keys(&text)),
        // Their readers refuse what they do not know, or have no keys that are nearly the same.
        FileKind::Schedules
        | FileKind::Triggers
        | FileKind::StatusPages
        | FileKind::Schemas
        | FileKind::Webhooks => {}
    }
    match kind {
        FileKind::Tasks => {
            let found = parse_task_defs(&text).map_err(refused)?;
            defined.tasks = source.judged(found, validate_task_def)?;
        }
        FileKind::Schedules => {
            defined.schedules = parse_schedules(&text).map_err(refused)?;
        }
        FileKind::Handlers => {
            let found = parse_event_handlers(&text).map_err(refused)?;
            let judge = |handler: &_| validate_event_handler(handler, engine.scripts());
            defined.handlers = source.judged(found, judge)?;
        }
        FileKind::Triggers => {
            defined.triggers = triggers::read(&text, engine.scripts()).map_err(refused)?;
        }
        FileKind::StatusPages => {
            defined.status_pages = parse_status_pages(&text).map_err(refused)?;
        }
        FileKind::Schemas => {
            defined.schemas = parse_schemas(&text).map_err(refused)?;
        }
        FileKind::Webhooks => {
            defined.webhooks = read_webhooks(&text).map_err(refused)?;
        }
        FileKind::Workflows => {
            let found = parse_workflows(&text).map_err(refused)?;
            defined.workflows = workflows(&source, found, tasks, engine, doubtful)?;
        }
    }
    Ok(defined)
}

fn workflows(
    source: &Source<'_>,
    workflows: Vec<WorkflowDef>,
    tasks: &[TaskDef],
    engine: &Engine,
    doubtful: &mut Vec<Finding>,
) -> Result<Vec<WorkflowDef>, Vec<Finding>> {
    let has_template = |name: &str, key: &str| {
        let registered = || engine.definitions().task(name);
        let beside = tasks.iter().rfind(|task| task.name == name);
        beside.map_or_else(
            || registered().is_some_and(|task| task.input_template.contains_key(key)),
            |task| task.input_template.contains_key(key),
        )
    };
    let mut problems = Vec::new();
    for (index, workflow) in workflows.iter().enumerate() {
        let found = inspect_workflow(workflow, engine.scripts(), &has_template);
        problems.extend(found.problems.iter().map(|it| source.finding(index, Level::Error, it)));
        doubtful.extend(found.warnings.iter().map(|it| source.finding(index, Level::Warning, it)));
    }
    if problems.is_empty() { Ok(workflows) } else { Err(problems) }
}
