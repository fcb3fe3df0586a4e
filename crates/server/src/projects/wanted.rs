//! What the files of a project define, judged as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use engine::{Authored, Engine};
use kernel::alert::definition::{ChecklistOptions, File, Known, Level, load_judged, secrets_in};
use kernel::definition::{Problem as Flaw, TaskDef};

use super::defined::{Defined, holds_task_defs, read as read_file};
use super::object::{Kind, Object, hash};
use super::{ProjectFile, compare};
use crate::problem::Problem;
use crate::rest::metadata::apart;
use crate::triggers;

/// What files define.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) defined: Defined,
    /// Files of monitors by their source, with the hash of their text.
    pub(super) monitors: BTreeMap<Arc<str>, (File, String)>,
    /// Secrets that the server does not have.
    pub(super) missing_secrets: BTreeSet<String>,
}

impl Wanted {
    /// The objects.
    pub(super) fn objects(&self) -> BTreeSet<Object> {
        let monitors = self.monitors.keys().map(|source| Object::new(Kind::Monitors, source, 0));
        self.defined.objects().into_iter().map(|(_, object)| object).chain(monitors).collect()
    }

    /// What acts by itself.
    pub(super) fn authored(&self) -> Vec<(Authored, Arc<str>)> {
        let Defined { schedules, handlers, triggers, webhooks, .. } = &self.defined;
        let schedules = schedules.iter().map(|it| (Authored::Schedule, it.name.clone()));
        let handlers = handlers.iter().map(|it| (Authored::EventHandler, it.name.as_str().into()));
        let triggers = triggers.iter().map(|it| (Authored::Trigger, it.name.as_str().into()));
        let webhooks = webhooks.iter().map(|it| (Authored::Webhook, it.id().into()));
        schedules.chain(handlers).chain(triggers).chain(webhooks).collect()
    }

    /// The files of monitors alone.
    pub(super) fn sources(&self) -> BTreeMap<Arc<str>, File> {
        self.monitors.iter().map(|(source, (file, _))| (source.clone(), file.clone())).collect()
    }

    /// What differs from what is registered.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn differing(&self, engine: &Engine) -> Result<Defined, Problem> {
        compare::differing(engine, self.defined.clone()).await
    }
}

/// The source of a project's file of monitors begins so.
pub(super) fn source_prefix(project: &str) -> String {
    format!("project:{project}/")
}

/// Reads and judges files.
///
/// # Errors
/// 400 with everything that is wrong; the store's.
pub(super) async fn read(
    engine: &Engine,
    project: &str,
    files: Vec<ProjectFile>,
) -> Result<Wanted, Problem> {
    let mut known = Known::default();
    engine.add_known(&mut known, "").await?;
    let (aside, project) = (engine.clone(), project.to_owned());
    let wanted = apart(move || judge(&aside, &project, files, known)).await?;
    let groups = [&*wanted.defined.triggers];
    match triggers::judge(engine, &groups).await?.pop().flatten() {
        Some(problem) => Err(problem),
        None => Ok(wanted),
    }
}

fn judge(
    engine: &Engine,
    project: &str,
    files: Vec<ProjectFile>,
    mut known: Known,
) -> Result<Wanted, Problem> {
    let (monitors, mut files): (Vec<_>, Vec<_>) = files.into_iter().partition(|it| it.monitors);
    // Workflows are judged by task definitions, and pin them.
    files.sort_by_key(|file| !holds_task_defs(Path::new(&file.path)));
    let (mut wanted, mut wrong) = (Wanted::default(), Vec::new());
    let mut tasks: Vec<TaskDef> = Vec::new();
    let mut places: BTreeMap<Object, String> = BTreeMap::new();
    for file in &files {
        match read_file(Path::new(&file.path), &file.text, &tasks, engine) {
            Ok(found) => {
                tasks.extend(found.tasks.iter().cloned());
                found.add_to(&mut known);
                let path = &file.path;
                for (_, object) in found.objects() {
                    match places.insert(object.clone(), path.clone()) {
                        Some(other) if other == *path => {
                            wrong.push(format!("{path}: defines {object} twice"));
                        }
                        Some(other) => {
                            wrong.push(format!("{path}: defines {object}, as {other} does"));
                        }
                        None => {}
                    }
                }
                wanted.defined.extend(found);
            }
            Err(mistakes) => wrong.extend(mistakes),
        }
        wanted.missing_secrets.extend(unknown_secrets(engine, &file.text));
    }
    let prefix = source_prefix(project);
    for source in engine.monitor_sources().iter().filter(|it| !it.starts_with(&prefix)) {
        known.extend_by(engine.monitors_of(source).unwrap_or_default());
    }
    for file in &monitors {
        known.extend(Known::of(&file.text));
    }
    for ProjectFile { path, text, .. } in monitors {
        let secrets = secrets_in(&text);
        let (there, missing): (Vec<_>, Vec<_>) =
            secrets.into_iter().partition(|name| engine.values().secret(name).is_some());
        known.secrets.get_or_insert_default().extend(there);
        wanted.missing_secrets.extend(missing.iter().map(ToString::to_string));
        let loaded = load_judged(&text, &ChecklistOptions::default(), &known, engine);
        if let Some(file) = loaded.file {
            let source = format!("{prefix}{path}");
            if wanted.monitors.insert(source.into(), (file, hash(&text))).is_some() {
                wrong.push(format!("{path}: is there twice"));
            }
        } else {
            let told = loaded.problems.iter().filter(|it| it.level == Level::Error);
            wrong.extend(told.map(|it| format!("{path}:{it}")));
        }
    }
    if wrong.is_empty() {
        return Ok(wanted);
    }
    let flaw = |told| Flaw::new("", "project-file", told, "Mend the file and plan again.");
    Err(Problem::invalid(wrong.into_iter().map(flaw).collect()))
}

/// Secrets that a text names and the server does not have.
fn unknown_secrets(engine: &Engine, text: &str) -> BTreeSet<String> {
    let named = text.split("${workflow.secrets.").skip(1).filter_map(|rest| {
        let end = rest.find(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == '-'))?;
        Some(rest[..end].to_owned())
    });
    named.filter(|name| !name.is_empty() && engine.values().secret(name).is_none()).collect()
}
