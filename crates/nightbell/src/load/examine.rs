//! Looks at files as a start of the server would, and further: what is wrong, what runs and is
//! surely not meant, what is worth a look. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Engine;
use kernel::alert::definition::{ChecklistOptions, File, Kind, Known, nearest_hint};
use kernel::cron::Occurrence;
use kernel::definition::{Beside, Problem, WorkflowStart, lint_start, lint_workflow};
use kernel::durable::WORKFLOW;
use kernel::schedule::ScheduleSpec;
use kernel::{Json, Place};
use serde_json::{Map, Value, json};

use super::finding::{Finding, Level};
use super::reading::{self, Source, text_of};
use super::references::{Name, names_written_in};
use super::{Defined, below, clash, monitors};

/// The mailbox that Robopager takes from its `etl.cfg`, which is none of these files.
const MAILBOX: &str = "robopager";

/// Everything that is found in the files below the paths, by file and place.
///
/// Workflows and schedules that others speak of are looked for in the files alone, if there are any
/// workflows among them: which there are on a server nobody here knows. The same holds for secrets.
pub(crate) fn examine(
    engine: &Engine,
    paths: &[PathBuf],
    checklist: &ChecklistOptions,
) -> Vec<Finding> {
    examine_beside(engine, paths, checklist, Known::default())
}

/// The same, beside what there is on a server.
pub(crate) fn examine_beside(
    engine: &Engine,
    paths: &[PathBuf],
    checklist: &ChecklistOptions,
    there: Known,
) -> Vec<Finding> {
    let (below, unreadable) = below::all(paths);
    let mut findings: Vec<Finding> = unreadable;
    findings.extend(below.not_read());
    let (of_monitors, files) = super::by_kind(below.files);
    let reading::Found { defined, refused, doubtful } = reading::all(&files, engine);
    let unfinished = written_in(refused.keys());
    findings.extend(refused.into_values().flatten());
    findings.extend(doubtful);
    findings.extend(clash::all(&[], &defined).iter().map(clash::Clash::finding));
    // What else there is may tell somebody.
    let is_online = there.workflows.is_some();
    let mut known = Known { now: Some(engine.now()), ..there };
    let is_written = unfinished.as_ref().is_some_and(|names| !names.is_empty());
    if is_written
        || known.workflows.is_some()
        || defined.iter().any(|(_, found)| !found.workflows.is_empty())
    {
        known.workflows.get_or_insert_default();
        for (_, found) in &defined {
            found.add_to(&mut known);
        }
    }
    match &unfinished {
        Some(names) => {
            let names = names.iter().map(|name| Arc::from(name.as_str()));
            known.workflows.iter_mut().for_each(|known| known.extend(names.clone()));
        }
        // What stands in a file that cannot be read may be what others speak of.
        None => known.workflows = None,
    }
    let beside = WorkflowsBeside::of(&defined, known.workflows.as_ref(), unfinished.as_ref());
    // A folder is all that there is; a single file leaves out what lies beside it.
    let elsewhere =
        if paths.iter().any(|path| path.is_dir()) { Level::Warning } else { Level::Note };
    for (file, found) in &defined {
        of_workflows(file, found, &beside, &mut findings);
        of_starts(file, found, &beside, elsewhere, &mut findings);
        of_clocks(file, found, engine, &mut findings);
    }
    known.sources.entry(MAILBOX.into()).or_insert_with(|| Json::of(&json!({ "url": "etl.cfg" })));
    let read = monitors::read(engine, &of_monitors, checklist, &known);
    if !beside.is_hidden {
        let schedules = defined.iter().flat_map(|(_, found)| &found.schedules);
        let schedules: BTreeSet<&str> = schedules.map(|it| &*it.name).collect();
        for (file, found) in of_monitors.iter().filter_map(|file| Some((file, read.of(file)?))) {
            of_elsewhere((file, found), &known, &schedules, elsewhere, &mut findings);
        }
    }
    findings.extend(read.into_findings(if is_online { Level::Note } else { elsewhere }));
    findings.sort();
    findings.dedup();
    findings
}

/// The workflows that files which are refused would define; `None` if one of them does not say.
fn written_in<'a>(refused: impl Iterator<Item = &'a PathBuf>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in refused {
        names.extend(names_written_in(file)?.into_iter().filter_map(|name| match name {
            Name::Workflow(name) => Some(name),
            Name::Task(_) => None,
        }));
    }
    Some(names)
}

/// The workflows and task definitions of all files.
struct WorkflowsBeside<'a> {
    lint: Beside<'a>,
    /// There may be workflows in a file that is refused.
    is_hidden: bool,
}

impl<'a> WorkflowsBeside<'a> {
    /// `names` are all workflows, if they are known; what a file that is refused would define, in
    /// `unfinished`, may be in any version and declare anything.
    fn of(
        all: &'a [(PathBuf, Defined)],
        names: Option<&'a BTreeSet<Arc<str>>>,
        unfinished: Option<&BTreeSet<String>>,
    ) -> Self {
        let is_finished = |name: &str| unfinished.is_none_or(|it| !it.contains(name));
        let named = names.into_iter().flatten().map(|name| (&**name, Vec::new()));
        let mut workflows: BTreeMap<&str, Vec<_>> = named.collect();
        for workflow in all.iter().flat_map(|(_, found)| &found.workflows) {
            let versions = workflows.entry(&workflow.name).or_default();
            versions.extend(is_finished(&workflow.name).then_some(workflow));
        }
        let tasks = all.iter().flat_map(|(_, found)| &found.tasks);
        let tasks = tasks.map(|task| (task.name.as_str(), task)).collect();
        let lint = Beside { workflows: names.map(|_| workflows), tasks };
        Self { lint, is_hidden: unfinished.is_none_or(|it| !it.is_empty()) }
    }
}

/// What runs in workflows, but is surely not meant.
fn of_workflows(
    file: &Path,
    found: &Defined,
    beside: &WorkflowsBeside<'_>,
    findings: &mut Vec<Finding>,
) {
    let mut text = None;
    for (index, workflow) in found.workflows.iter().enumerate() {
        let lint = lint_workflow(workflow, &beside.lint);
        let warnings = lint.warnings.iter().map(|problem| (Level::Warning, problem));
        let notes = lint.notes.iter().map(|problem| (Level::Note, problem));
        for (level, problem) in warnings.chain(notes) {
            // Read again only for what is found, which is seldom.
            let text = text.get_or_insert_with(|| text_of(file).unwrap_or_default());
            findings.push(Source { file, text }.finding(index, level, problem));
        }
    }
}

/// Something that starts a workflow, in the document of its file.
struct Starter {
    /// The number of the document in its file.
    index: usize,
    /// What it is, in a sentence.
    what: String,
    /// The name of the workflow.
    starts: String,
    version: Option<i64>,
    input: Option<Map<String, Value>>,
    /// The JSON pointer of the object that has `name`, `version` and `input`.
    at: String,
}

/// What schedules, event handlers and triggers start.
fn starters(found: &Defined) -> Vec<Starter> {
    let mut all = Vec::new();
    for (index, schedule) in found.schedules.iter().enumerate() {
        let request = schedule.start_workflow_request.parse();
        if request.get("workflowDef").is_some_and(|it| !it.is_null()) {
            continue;
        }
        all.push(Starter {
            index,
            what: format!("the schedule {}", schedule.name),
            starts: schedule.workflow_name(),
            version: request["version"].as_i64(),
            input: request["input"].as_object().cloned(),
            at: "/startWorkflowRequest".to_owned(),
        });
    }
    for (index, handler) in found.handlers.iter().enumerate() {
        for (number, action) in handler.actions.iter().enumerate() {
            let Some(start) = &action.start_workflow else { continue };
            all.push(Starter {
                index,
                what: format!("the event handler {}", handler.name),
                starts: start.name.clone(),
                version: start.version.map(i64::from),
                input: Some(start.input.clone()),
                at: format!("/actions/{number}/start_workflow"),
            });
        }
    }
    for (index, trigger) in found.triggers.iter().enumerate() {
        let Some(name) = trigger.starts() else { continue };
        let start = &trigger.document["start"];
        all.push(Starter {
            index,
            what: format!("the trigger {}", trigger.name),
            starts: name.strip_prefix(WORKFLOW).unwrap_or(name).to_owned(),
            version: start["version"].as_i64(),
            input: start["input"].as_object().cloned(),
            at: "/start".to_owned(),
        });
    }
    for (index, webhook) in found.webhooks.iter().enumerate() {
        all.extend(webhook.started().map(|starts| Starter {
            index,
            what: format!("the webhook {}", webhook.id()),
            starts: starts.to_owned(),
            version: None,
            input: None,
            at: "/workflowsToStart".to_owned(),
        }));
    }
    // What is only known at run time, and what workers run as code, is in no file.
    let is_fixed = |name: &str| {
        !name.is_empty() && !name.contains("${") && !name.starts_with("orchestration:")
    };
    all.retain(|it| is_fixed(&it.starts));
    all
}

/// Starts of workflows that are not there, or that they do not fit.
fn of_starts(
    file: &Path,
    found: &Defined,
    beside: &WorkflowsBeside<'_>,
    elsewhere: Level,
    findings: &mut Vec<Finding>,
) {
    let starters = starters(found);
    if starters.is_empty() {
        return;
    }
    let text = text_of(file).unwrap_or_default();
    let source = Source { file, text: &text };
    for starter in starters {
        let Starter { index, what, starts, version, input, at } = starter;
        let name_at = format!("{at}/name");
        let Some(workflows) = &beside.lint.workflows else {
            if !beside.is_hidden {
                let message = format!("{what} starts {starts:?}, which no file here defines");
                let hint = "Check the folder of its definition with it, or look with --online.";
                let problem = Problem::new(name_at, "workflow-elsewhere", message, hint);
                findings.push(source.finding(index, elsewhere, &problem.at_word(starts)));
            }
            continue;
        };
        let Some(definitions) = workflows.get(starts.as_str()) else {
            let near = nearest_hint(&starts, workflows.keys().copied());
            let message = format!("{what} starts {starts:?}, which does not exist{near}");
            let hint =
                "Each start would fail: add the workflow to the folder, or correct the name.";
            let problem = Problem::new(name_at, "unknown-workflow", message, hint);
            findings.push(source.finding(index, Level::Warning, &problem.at_word(starts)));
            continue;
        };
        let (version_at, input_at) = (format!("{at}/version"), format!("{at}/input"));
        let start = WorkflowStart {
            name: &starts,
            version: version.map(|version| (version, &*version_at)),
            input: input.as_ref().map(|input| (input, &*input_at)),
        };
        for problem in lint_start(start, definitions) {
            findings.push(source.finding(index, Level::Warning, &problem));
        }
    }
}

/// Workflows and schedules that monitors and receivers speak of, in a folder that does not say which there
/// are.
fn of_elsewhere(
    (path, file): (&Path, &File),
    known: &Known,
    schedules: &BTreeSet<&str>,
    level: Level,
    findings: &mut Vec<Finding>,
) {
    let setting = |settings: &Json, name: &str| settings.parse()[name].as_str().map(str::to_owned);
    let of_monitors = file.monitors.iter().filter_map(|it| match it.kind {
        Kind::Workflow => Some((&it.name, "workflow", setting(&it.settings, "name")?)),
        Kind::Job => Some((&it.name, "schedule", setting(&it.settings, "schedule")?)),
        _ => None,
    });
    let of_receivers = file.receivers.iter().filter(|(_, it)| *it.kind == *"workflow");
    let of_receivers = of_receivers
        .filter_map(|(name, it)| Some((name, "workflow", setting(&it.settings, "name")?)));
    let mut text = None;
    for (name, what, meant) in of_monitors.chain(of_receivers) {
        let (code, is_known) = if what == "workflow" {
            ("workflow-elsewhere", known.workflows.is_some())
        } else {
            let is_here = schedules.contains(&*meant);
            ("schedule-elsewhere", is_here || known.schedules.is_some())
        };
        if is_known || meant.contains("${") {
            continue;
        }
        let text = text.get_or_insert_with(|| text_of(path).unwrap_or_default());
        let start = text.find(&**name).unwrap_or_default();
        let at = text[start..].find(&*meant).map_or(start, |at| start + at);
        let place = Place::of_byte(text, at);
        let message = format!("{name} speaks of the {what} {meant:?}, which no file here defines");
        let hint = "Check the folder of its definition with it, or look with --online.".to_owned();
        let finding = Finding::of_file(path, level, code, message);
        findings.push(Finding { line: place.line, column: place.column, hint, ..finding });
    }
}

/// Schedules that a change of the clock leaves out or repeats.
fn of_clocks(file: &Path, found: &Defined, engine: &Engine, findings: &mut Vec<Finding>) {
    let mut text = None;
    for (index, schedule) in found.schedules.iter().enumerate() {
        for problem in clock_changes(schedule, engine) {
            let text = text.get_or_insert_with(|| text_of(file).unwrap_or_default());
            let level = if decides_clock(text, index) { Level::Note } else { Level::Warning };
            findings.push(Source { file, text }.finding(index, level, &problem));
        }
    }
}

/// Whether the author of the schedule at `index` has said what a change of the clock does.
fn decides_clock(text: &str, index: usize) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let schedule = if document.is_array() { &document[index] } else { &document };
    schedule.get("dst").is_some()
}

/// The secrets that files below the paths name, each with the finding that it is missing.
pub(crate) fn secrets_named(paths: &[PathBuf]) -> Vec<(String, Finding)> {
    const MARKS: [&str; 2] = ["${workflow.secrets.", "${secret:"];
    let mut named = Vec::new();
    for file in below::all(paths).0.files {
        let Ok(text) = text_of(&file) else { continue };
        for mark in MARKS {
            for (at, _) in text.match_indices(mark) {
                let start = at + mark.len();
                let is_name = |c: char| c.is_alphanumeric() || "_-".contains(c);
                let end = text[start..].find(|c| !is_name(c)).map_or(text.len(), |it| start + it);
                let name = &text[start..end];
                let place = Place::of_byte(&text, start);
                let message = format!("the server has no secret {name}");
                let hint = format!("Write it with `nightbell secret put {name}`.");
                let finding = Finding::of_file(&file, Level::Warning, "unknown-secret", message);
                let finding = Finding { line: place.line, column: place.column, hint, ..finding };
                named.push((name.to_owned(), finding));
            }
        }
    }
    named
}

/// The next firing of each line that a change of the clock leaves out, moves or repeats.
fn clock_changes(schedule: &ScheduleSpec, engine: &Engine) -> Vec<Problem> {
    let lines = schedule.lines();
    let touched = schedule.touched_by_the_clock(engine.now()).into_iter();
    let problem = |(index, firing): (usize, Occurrence)| {
        let message = format!(
            "a change of the clock touches {} at {} in {}: {}",
            schedule.name,
            firing.local,
            lines.get(index).map_or("", |line| &*line.zone_id),
            firing.mark.describe()
        );
        let hint = "nightbell schedule test -f FILE shows each firing; the setting dst decides.";
        let pointer = if schedule.cron_schedules.is_empty() {
            "/cronExpression".to_owned()
        } else {
            format!("/cronSchedules/{index}")
        };
        Problem::new(pointer, "clock-change", message, hint)
    };
    touched.map(problem).collect()
}
