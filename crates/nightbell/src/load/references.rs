//! What files define and refer to: a file that refers to what a refused one defines waits for it.
//!
//! Its author has seen both as they are in the folder; applied without the other, it would make a
//! state that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use engine::Engine;
use kernel::definition::{WorkflowDef, WorkflowTask};
use serde_json::Value;

use super::rejected::Mistakes;
use super::{Defined, holds_task_defs};

/// What others refer to by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Workflow(String),
    Task(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(name) => write!(f, "the workflow '{name}'"),
            Self::Task(name) => write!(f, "the task '{name}'"),
        }
    }
}

impl Name {
    fn is_registered(&self, engine: &Engine) -> bool {
        match self {
            Self::Workflow(name) => engine.definitions().workflow(name, None).is_some(),
            // A task needs no definition.
            Self::Task(_) => true,
        }
    }
}

/// What files defined when they were last good.
pub(super) type Definers = BTreeMap<PathBuf, BTreeSet<Name>>;

/// What definitions have to do with others.
pub(super) trait Refers {
    /// What it defines that others refer to.
    fn names(&self) -> BTreeSet<Name>;
    /// What it refers to and does not define itself.
    fn references(&self) -> BTreeSet<Name>;
}

impl Refers for Defined {
    fn names(&self) -> BTreeSet<Name> {
        let workflows = self.workflows.iter().map(|it| Name::Workflow(it.name.clone()));
        let tasks = self.tasks.iter().map(|it| Name::Task(it.name.clone()));
        workflows.chain(tasks).collect()
    }

    fn references(&self) -> BTreeSet<Name> {
        let mut names = BTreeSet::new();
        self.workflows.iter().for_each(|it| add_references(it, &mut names));
        let started = self.schedules.iter().map(kernel::schedule::ScheduleSpec::workflow_name);
        let actions = self.handlers.iter().flat_map(|handler| &handler.actions);
        let by_events = actions.filter_map(|it| Some(it.start_workflow.as_ref()?.name.clone()));
        let by_requests = self.triggers.iter().filter_map(|it| Some(it.starts()?.to_owned()));
        let by_hooks = self.webhooks.iter().flat_map(|it| it.started().map(str::to_owned));
        let by_requests = by_requests.chain(by_hooks);
        names.extend(started.chain(by_events).chain(by_requests).map(Name::Workflow));
        let own = self.names();
        // What is only known at run time, and what workers run as code, is in no file.
        let is_fixed = |name: &Name| {
            let (Name::Workflow(text) | Name::Task(text)) = name;
            !text.is_empty() && !text.contains("${") && !text.starts_with("orchestration:")
        };
        names.retain(|name| is_fixed(name) && !own.contains(name));
        names
    }
}

fn add_references(workflow: &WorkflowDef, names: &mut BTreeSet<Name>) {
    names.extend(workflow.failure_workflow.clone().map(Name::Workflow));
    workflow.tasks.iter().for_each(|task| add_of_task(task, names));
}

fn add_of_task(task: &WorkflowTask, names: &mut BTreeSet<Name>) {
    names.insert(Name::Task(task.name.clone()));
    if let Some(params) = &task.sub_workflow_param
        && params.workflow_definition.is_none()
    {
        names.extend(params.name.clone().map(Name::Workflow));
    }
    if task.task_type == "START_WORKFLOW"
        && let Some(request) = task.input_parameters.get("startWorkflow")
    {
        let name = request.get("name").and_then(Value::as_str);
        names.extend(name.map(|name| Name::Workflow(name.to_owned())));
    }
    let nested = task.decision_cases.values().chain([&task.default_case, &task.loop_over]);
    nested.chain(&task.fork_tasks).flatten().for_each(|task| add_of_task(task, names));
}

/// The names in a file that is refused; `None` if it is no JSON.
pub(super) fn names_written_in(file: &Path) -> Option<BTreeSet<Name>> {
    let text = std::fs::read_to_string(file).ok()?;
    let document: Value = serde_json::from_str(&text).ok()?;
    let all = document.as_array().map_or(std::slice::from_ref(&document), Vec::as_slice);
    let of_tasks = holds_task_defs(file);
    let kind = if of_tasks { Name::Task } else { Name::Workflow };
    let named = all.iter().filter(|it| of_tasks || it.get("tasks").is_some());
    let names = named.filter_map(|it| it.get("name").and_then(Value::as_str));
    Some(names.map(|name| kind(name.to_owned())).collect())
}

/// What is known of the refused files.
struct RefusedNames<'a> {
    by_name: BTreeMap<Name, &'a Path>,
    /// One that may define anything.
    unreadable: Option<&'a Path>,
}

impl<'a> RefusedNames<'a> {
    fn of(refused: &'a Mistakes, definers: &Definers) -> Self {
        let mut of = Self { by_name: BTreeMap::new(), unreadable: None };
        for file in refused.keys() {
            let (written, former) = (names_written_in(file), definers.get(file));
            if written.is_none() && former.is_none() {
                of.unreadable = Some(file);
            }
            let names = written.into_iter().chain(former.cloned()).flatten();
            of.by_name.extend(names.map(|name| (name, file.as_path())));
        }
        of
    }

    /// Why a file has to wait that refers to these; `None` if it has not.
    fn keep_back(
        &self,
        references: &BTreeSet<Name>,
        is_there: impl Fn(&Name) -> bool,
    ) -> Option<String> {
        references.iter().find_map(|name| {
            let defined = self.by_name.get(name).copied();
            let unknown = || self.unreadable.filter(|_| !is_there(name));
            let file = defined.or_else(unknown)?.display();
            let how = if defined.is_some() { "defines" } else { "may define" };
            Some(format!("refers to {name}, which {file} {how}, and that file is refused"))
        })
    }
}

/// Moves the files that have to wait for a refused one from those that differ to the refused.
pub(super) fn keep_back(
    engine: &Engine,
    differing: &mut Vec<(PathBuf, Defined)>,
    refused: &mut Mistakes,
    definers: &Definers,
) {
    loop {
        let known: BTreeSet<Name> = differing.iter().flat_map(|(_, found)| found.names()).collect();
        let is_there = |name: &Name| known.contains(name) || name.is_registered(engine);
        let names = RefusedNames::of(refused, definers);
        let waits =
            |(_, found): &(PathBuf, Defined)| names.keep_back(&found.references(), is_there);
        let waiting: Mistakes = (differing.iter())
            .filter_map(|it| {
                let told = format!("{}: {}", it.0.display(), waits(it)?);
                Some((it.0.clone(), vec![told]))
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        differing.retain(|(file, _)| !waiting.contains_key(file));
        refused.extend(waiting);
    }
}
