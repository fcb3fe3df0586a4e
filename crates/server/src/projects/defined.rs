//! What a file of definitions holds, told from its name and its members, and judged.

use std::path::Path;

use engine::{Change, Engine};
use kernel::alert::definition::Known;
use kernel::definition::{
    EventHandler, Problem, SchemaDef, TaskDef, WorkflowDef, inspect_workflow, is_schema,
    parse_event_handlers, parse_schemas, parse_task_defs, parse_workflows, validate_event_handler,
    validate_task_def,
};
use kernel::schedule::{ScheduleSpec, parse_schedules};
use kernel::status_page::{StatusPage, is_status_page, parse_status_pages};
use serde_json::Value;

use super::object::{Kind, Object};
use crate::hooks::{self, Webhook, is_webhook, read_webhooks};
use crate::triggers::{self, Trigger};

/// What one file defines.
#[derive(Clone, Debug, Default)]
pub struct Defined {
    /// Workflows.
    pub workflows: Vec<WorkflowDef>,
    /// Task definitions.
    pub tasks: Vec<TaskDef>,
    /// Schedules.
    pub schedules: Vec<ScheduleSpec>,
    /// Event handlers.
    pub handlers: Vec<EventHandler>,
    /// HTTP triggers.
    pub triggers: Vec<Trigger>,
    /// Public status pages.
    pub status_pages: Vec<StatusPage>,
    /// Schemas that definitions name.
    pub schemas: Vec<SchemaDef>,
    /// Webhooks.
    pub webhooks: Vec<Webhook>,
}

impl Defined {
    /// All that is defined, each with the number of its document among those of its kind: in its file, as
    /// a file holds one kind.
    pub fn objects(&self) -> Vec<(usize, Object)> {
        // A kind that is new does not compile before it is here.
        let Self {
            workflows,
            tasks,
            schedules,
            handlers,
            triggers,
            status_pages,
            schemas,
            webhooks,
        } = self;
        let version = |version: i32| u32::try_from(version).unwrap_or(1);
        let mut all = Vec::new();
        let mut add = |kind, names: &mut dyn Iterator<Item = (&str, u32)>| {
            let numbered = names.enumerate();
            all.extend(
                numbered.map(|(at, (name, version))| (at, Object::new(kind, name, version))),
            );
        };
        add(Kind::Workflow, &mut workflows.iter().map(|it| (&*it.name, version(it.version))));
        add(Kind::Schema, &mut schemas.iter().map(|it| (&*it.name, version(it.version))));
        add(Kind::Task, &mut tasks.iter().map(|it| (&*it.name, 0)));
        add(Kind::Schedule, &mut schedules.iter().map(|it| (&*it.name, 0)));
        add(Kind::Handler, &mut handlers.iter().map(|it| (&*it.name, 0)));
        add(Kind::Trigger, &mut triggers.iter().map(|it| (&*it.name, 0)));
        add(Kind::StatusPage, &mut status_pages.iter().map(|it| (&*it.name, 0)));
        add(Kind::Webhook, &mut webhooks.iter().map(|it| (it.id(), 0)));
        all
    }

    /// How many definitions there are.
    pub fn count(&self) -> usize {
        self.objects().len()
    }

    /// Adds all that another file defines.
    pub fn extend(&mut self, found: Self) {
        self.workflows.extend(found.workflows);
        self.tasks.extend(found.tasks);
        self.schedules.extend(found.schedules);
        self.handlers.extend(found.handlers);
        self.triggers.extend(found.triggers);
        self.status_pages.extend(found.status_pages);
        self.schemas.extend(found.schemas);
        self.webhooks.extend(found.webhooks);
    }

    /// The change that defines them all but the triggers, which [`triggers::change`] adds.
    pub fn change(self) -> (Vec<Trigger>, Change) {
        let change = Change {
            tasks: self.tasks,
            workflows: self.workflows,
            schemas: self.schemas,
            handlers: self.handlers,
            schedules: self.schedules,
            ..Change::default()
        };
        let change = engine::status_pages_change(&self.status_pages, change);
        (self.triggers, hooks::prepare(&self.webhooks, change))
    }

    /// Adds what monitors may speak of.
    pub fn add_to(&self, known: &mut Known) {
        let workflows = self.workflows.iter().map(|it| it.name.as_str().into());
        known.workflows.get_or_insert_default().extend(workflows);
        let schedules = self.schedules.iter().map(|it| it.name.clone());
        known.schedules.get_or_insert_default().extend(schedules);
    }
}

/// Whether a file holds task definitions, by its name.
pub fn holds_task_defs(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "taskdefs.json" || name.ends_with(".taskdefs.json")
}

/// What a file of definitions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Task definitions.
    Tasks,
    /// Schedules.
    Schedules,
    /// Event handlers.
    Handlers,
    /// HTTP triggers.
    Triggers,
    /// Public status pages.
    StatusPages,
    /// Schemas that definitions name.
    Schemas,
    /// Webhooks.
    Webhooks,
    /// Workflows, and whatever is none of the others.
    Workflows,
}

impl FileKind {
    /// Tells the kind from the name, and the members of the first document.
    pub fn of(path: &Path, text: &str) -> Self {
        if holds_task_defs(path) {
            Self::Tasks
        } else if holds(text, is_schedule) {
            Self::Schedules
        } else if holds(text, is_event_handler) {
            Self::Handlers
        } else if holds(text, is_trigger) {
            Self::Triggers
        } else if holds(text, is_status_page) {
            Self::StatusPages
        } else if holds(text, is_webhook) {
            Self::Webhooks
        } else if holds(text, is_schema) {
            Self::Schemas
        } else {
            Self::Workflows
        }
    }
}

/// Whether a document, or the first of a list, is what `tells` says. What is no JSON at all is told
/// elsewhere.
fn holds(text: &str, tells: impl Fn(&Value) -> bool) -> bool {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return false };
    tells(document.get(0).unwrap_or(&document))
}

fn is_schedule(document: &Value) -> bool {
    ["startWorkflowRequest", "cronExpression", "cronSchedules"]
        .iter()
        .any(|member| document.get(member).is_some())
}

fn is_trigger(document: &Value) -> bool {
    document.get("method").is_some() || document.get("path").is_some()
}

fn is_event_handler(document: &Value) -> bool {
    document.get("event").is_some() && document.get("actions").is_some()
}

/// Reads the text of one file; `tasks` are those about to be registered with it.
///
/// # Errors
/// Everything that is wrong, with the file's name.
pub(super) fn read(
    path: &Path,
    text: &str,
    tasks: &[TaskDef],
    engine: &Engine,
) -> Result<Defined, Vec<String>> {
    let at = |message: String| vec![format!("{}: {message}", path.display())];
    let told = |problems: Vec<Problem>| {
        problems.into_iter().flat_map(|problem| at(problem.to_string())).collect::<Vec<_>>()
    };
    let kind = FileKind::of(path, text);
    if kind == FileKind::Tasks {
        let tasks = parse_task_defs(text).map_err(told)?;
        let problems: Vec<Problem> = tasks.iter().flat_map(validate_task_def).collect();
        if !problems.is_empty() {
            return Err(told(problems));
        }
        return Ok(Defined { tasks, ..Defined::default() });
    }
    if kind == FileKind::Schedules {
        let schedules = parse_schedules(text).map_err(told)?;
        return Ok(Defined { schedules, ..Defined::default() });
    }
    if kind == FileKind::Handlers {
        let handlers = parse_event_handlers(text).map_err(told)?;
        let check = |handler| validate_event_handler(handler, engine.scripts());
        let problems: Vec<Problem> = handlers.iter().flat_map(check).collect();
        if !problems.is_empty() {
            return Err(told(problems));
        }
        return Ok(Defined { handlers, ..Defined::default() });
    }
    if kind == FileKind::Triggers {
        let triggers = triggers::read(text, engine.scripts()).map_err(told)?;
        return Ok(Defined { triggers, ..Defined::default() });
    }
    if kind == FileKind::StatusPages {
        let status_pages = parse_status_pages(text).map_err(told)?;
        return Ok(Defined { status_pages, ..Defined::default() });
    }
    if kind == FileKind::Schemas {
        let schemas = parse_schemas(text).map_err(told)?;
        return Ok(Defined { schemas, ..Defined::default() });
    }
    if kind == FileKind::Webhooks {
        let webhooks = read_webhooks(text).map_err(told)?;
        return Ok(Defined { webhooks, ..Defined::default() });
    }
    let workflows = parse_workflows(text).map_err(told)?;
    let has_template = |name: &str, key: &str| {
        let registered = || engine.definitions().task(name);
        let beside = tasks.iter().rfind(|task| task.name == name);
        beside.map_or_else(
            || registered().is_some_and(|task| task.input_template.contains_key(key)),
            |task| task.input_template.contains_key(key),
        )
    };
    let mut problems = Vec::new();
    for workflow in &workflows {
        let findings = inspect_workflow(workflow, engine.scripts(), &has_template);
        problems.extend(findings.problems);
        for warning in findings.warnings {
            tracing::warn!("{}: {warning}", path.display());
        }
    }
    if problems.is_empty() {
        Ok(Defined { workflows, ..Defined::default() })
    } else {
        Err(told(problems))
    }
}
