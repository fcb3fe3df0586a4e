//! Whom a change touches: running executions, next firings, and who is told of incidents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use engine::Engine;
use engine::search::{Counting, Filter, PAGE_MAX, Search, TextField};
use kernel::alert::definition::{File, Severity};
use kernel::alert::{Monitor, State, Subject, Supposed, WhoIsTold, who_is_told, who_is_told_of};
use kernel::definition::{WorkflowDef, WorkflowTask};
use kernel::graph::Execution;
use kernel::schedule::{Schedule, ScheduleSpec};
use kernel::{ExecutionId, Timestamp};

use super::difference::{Action, Difference};
use super::object::{Kind, Object};
use super::wanted::{Wanted, source_prefix};
use crate::problem::Problem;

/// Running executions of one workflow that are looked at one by one.
const LOOKED_AT_MAX: usize = 10_000;
/// Reasons and names that are told before the rest is counted.
const TOLD_MAX: usize = 5;
/// Open incidents that are told one by one; the rest is counted.
const INCIDENTS_MAX: usize = 20;

/// Whom the change of one object touches, in words.
///
/// # Errors
/// The store's.
pub(super) async fn of(
    engine: &Engine,
    object: &Object,
    action: Action,
    wanted: &Wanted,
) -> Result<Vec<String>, Problem> {
    match (object.kind, action) {
        (_, Action::Adopt) => Ok(Vec::new()),
        (Kind::Workflow, Action::Remove) => {
            let running = running(engine, &object.name).await?.len();
            let told = format!("{running} running go on with the plan that they have");
            Ok(if running > 0 { vec![told] } else { Vec::new() })
        }
        (Kind::Workflow, _) => {
            let version = |it: &&WorkflowDef| i64::from(it.version) == i64::from(object.version);
            let new = wanted.defined.workflows.iter().filter(|it| *it.name == *object.name);
            let Some(definition) = new.clone().find(version).or_else(|| new.clone().next()) else {
                return Ok(Vec::new());
            };
            let mut told = executions(engine, definition).await?;
            let is_update = action == Action::Update;
            told.extend(is_update.then(|| same_version(engine, object, definition)).flatten());
            Ok(told)
        }
        (Kind::Schedule, _) => {
            let spec = wanted.defined.schedules.iter().find(|it| *it.name == *object.name);
            firings(engine, &object.name, spec, &wanted.defined.workflows).await
        }
        _ => Ok(Vec::new()),
    }
}

/// The executions of a workflow that have not ended.
///
/// # Errors
/// The store's.
pub(super) async fn running(engine: &Engine, name: &str) -> Result<Vec<ExecutionId>, Problem> {
    let mut ids = Vec::new();
    loop {
        let filters = vec![
            Filter::Closed(false),
            // A star in a name would match more: such names are compared below.
            Filter::In(TextField::Name, vec![name.to_owned()]),
        ];
        let search = Search {
            filters,
            start: ids.len() as u64,
            size: PAGE_MAX,
            counting: Counting::Far,
            ..Search::default()
        };
        let page = engine.store().search(&search).await?;
        let last = (page.rows.len() as u64) < PAGE_MAX;
        ids.extend(page.rows.into_iter().filter(|it| *it.name == *name).map(|head| head.id));
        if last {
            return Ok(ids);
        }
    }
}

async fn executions(engine: &Engine, definition: &WorkflowDef) -> Result<Vec<String>, Problem> {
    let ids = running(engine, &definition.name).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let plan = engine.definitions().pin(definition.clone());
    let (mut fit, mut unfit) = (0, BTreeMap::<String, usize>::new());
    for id in ids.iter().take(LOOKED_AT_MAX) {
        let look = |state: &Execution| state.check_upgrade(&plan);
        match engine.read(id, look).await? {
            Some(Ok(())) => fit += 1,
            Some(Err(reason)) => *unfit.entry(reason).or_default() += 1,
            None => {}
        }
    }
    let total = ids.len();
    let mut told = format!("{total} running keep the old plan; {fit} could be upgraded");
    let unfit_count: usize = unfit.values().sum();
    if unfit_count > 0 {
        let reasons: Vec<&str> = unfit.keys().map(String::as_str).take(TOLD_MAX).collect();
        let _ = write!(told, ", {unfit_count} not ({})", reasons.join("; "));
    }
    if total > LOOKED_AT_MAX {
        let _ = write!(told, ", {} were not looked at", total - LOOKED_AT_MAX);
    }
    Ok(vec![told])
}

/// What changes within a version: executions of before and after bear the same.
fn same_version(engine: &Engine, object: &Object, new: &WorkflowDef) -> Option<String> {
    let old = engine.definitions().workflow(&object.name, Some(object.version))?;
    let (old, new) = (old.collect_tasks(), new.collect_tasks());
    let alike = |one: &&&WorkflowTask, others: &[&WorkflowTask]| {
        let same = |it: &&&WorkflowTask| it.task_reference_name == one.task_reference_name;
        others.iter().find(same).is_some_and(|it| is_alike(it, one))
    };
    let changed = new.iter().filter(|it| !alike(it, &old)).count();
    let names = |all: &[&WorkflowTask]| -> BTreeSet<String> {
        all.iter().map(|it| it.task_reference_name.clone()).collect()
    };
    let gone = names(&old).difference(&names(&new)).count();
    let what = match changed + gone {
        0 => "other settings".to_owned(),
        1 => "1 task changed".to_owned(),
        count => format!("{count} tasks changed"),
    };
    let versions = engine.definitions().versions(&object.name);
    let next = versions.iter().map(|it| it.version).max()?.saturating_add(1);
    Some(format!("{what}, same version: --bump makes it v{next}"))
}

/// Whether two tasks are the same, apart from the tasks within them.
fn is_alike(one: &WorkflowTask, other: &WorkflowTask) -> bool {
    let bare = |task: &WorkflowTask| {
        let cases = task.decision_cases.keys().map(|case| (case.to_owned(), Vec::new()));
        WorkflowTask {
            decision_cases: cases.collect(),
            default_case: Vec::new(),
            fork_tasks: Vec::new(),
            loop_over: Vec::new(),
            ..task.clone()
        }
    };
    bare(one) == bare(other)
}

/// When a schedule fires next, before and after.
async fn firings(
    engine: &Engine,
    name: &str,
    spec: Option<&ScheduleSpec>,
    workflows: &[WorkflowDef],
) -> Result<Vec<String>, Problem> {
    let (id, now) = (ExecutionId::schedule(name), engine.now());
    let next = |state: &Schedule| state.upcoming(now, 1).first().map(|it| it.at);
    let look = |it: &engine::AnyMachine| {
        let state = it.schedule()?;
        let touched = state.spec.as_deref().and_then(|spec| touched(spec, now));
        Some((next(state), state.is_defined() && state.paused, touched))
    };
    let seen = engine.look(&id, look).await?.flatten();
    let is_new = seen.is_none();
    let (before, paused, was_touched) = seen.unwrap_or_default();
    let after = spec.and_then(|spec| {
        let mut state = Schedule::new(id.clone());
        (state.paused, state.cursor) = (spec.paused.unwrap_or(paused), now);
        state.spec = Some(Box::new(spec.clone()));
        next(&state)
    });
    let told = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let mut told = vec![format!("fires next {} → {}", told(before), told(after))];
    let is_touched = spec.and_then(|spec| touched(spec, now));
    told.extend(match (was_touched, is_touched) {
        (None, None) => None,
        (was, is) if was == is => None,
        (_, Some(is)) => Some(format!("a change of the clock touches it: {is}")),
        (Some(was), None) if spec.is_some() && !is_new => {
            Some(format!("no change of the clock touches it any more: {was}"))
        }
        (Some(_), None) => None,
    });
    // What comes by the same plan is there before the schedule.
    let comes = |spec: &&ScheduleSpec| {
        let (name, version) = (spec.workflow_name(), spec.workflow_version());
        let is_it = |it: &WorkflowDef| {
            it.name == name
                && version.is_none_or(|wanted| i64::from(it.version) == i64::from(wanted))
        };
        workflows.iter().any(is_it)
    };
    told.extend(spec.filter(|it| !comes(it)).and_then(|spec| engine.missing_workflow(spec)));
    Ok(told)
}

/// The first firing within a year that a change of the clock touches, in words.
fn touched(spec: &ScheduleSpec, now: Timestamp) -> Option<String> {
    let first = spec.touched_by_the_clock(now).into_iter().min_by_key(|(_, firing)| firing.at);
    first.map(|(_, firing)| format!("{} {}", firing.local, firing.mark.describe()))
}

/// Who is told elsewhere than before, and what becomes of open incidents. What keeps the files of
/// monitors from fitting the rest is the error within.
///
/// # Errors
/// The store's.
pub(super) async fn monitors(
    engine: &Engine,
    project: &str,
    wanted: &Wanted,
    difference: &Difference,
) -> Result<Result<Vec<String>, Vec<String>>, Problem> {
    let touched = difference.changes.keys().any(|object| object.kind == Kind::Monitors);
    if !touched {
        return Ok(Ok(Vec::new()));
    }
    let prefix = source_prefix(project);
    let sources = wanted.sources();
    let gone = |source: &str| source.starts_with(&prefix) && !sources.contains_key(source);
    let before = engine.monitors_file();
    let after = match engine.monitors_after(&sources, gone) {
        Ok(after) => after,
        Err(misfits) => return Ok(Err(misfits.iter().map(ToString::to_string).collect())),
    };
    let (mut told, mut elsewhere) = (Vec::new(), Vec::new());
    let now = engine.now();
    for monitor in &before.monitors {
        let open = open_incidents(engine, &monitor.name).await?;
        let name = &monitor.name;
        let stays = after.monitors.iter().any(|it| it.name == *name);
        if !stays {
            let keys: Vec<String> =
                open.iter().take(INCIDENTS_MAX).map(|it| format!("{:?}", &*it.key)).collect();
            let resolved = match (open.len(), keys.join(", ")) {
                (0, _) => String::new(),
                // A monitor as a whole has an incident without a key.
                (1, keys) if keys == "\"\"" => ", resolves its open incident".to_owned(),
                (count, keys) if count > INCIDENTS_MAX => {
                    format!(", resolves {count} incidents, among them {keys}")
                }
                (_, keys) => format!(", resolves {keys}"),
            };
            told.push(format!("monitor {name} is removed{resolved}"));
            continue;
        }
        let (was, will) = (receivers(&before, name, now), receivers(&after, name, now));
        if was != will {
            told.push(format!("monitor {name} rings elsewhere: {was} → {will}"));
        }
        for incident in open {
            let (was, will) =
                (incident.receivers(&before, name, now), incident.receivers(&after, name, now));
            if was != will {
                let key = &incident.key;
                let key = if key.is_empty() { String::new() } else { format!(" \"{key}\"") };
                elsewhere.push(format!("incident {name}{key} rings elsewhere: {was} → {will}"));
            }
        }
    }
    let more = elsewhere.len().saturating_sub(INCIDENTS_MAX);
    told.extend(elsewhere.into_iter().take(INCIDENTS_MAX));
    told.extend((more > 0).then(|| format!("{more} more open incidents ring elsewhere")));
    let new = after
        .monitors
        .iter()
        .filter(|it| before.monitors.iter().all(|other| other.name != it.name));
    for monitor in new {
        let will = receivers(&after, &monitor.name, engine.now());
        told.push(format!("monitor {} is new, rings {will}", monitor.name));
    }
    Ok(Ok(told))
}

/// Who is told of an incident of a monitor that has no row, in words.
fn receivers(file: &File, monitor: &str, at: Timestamp) -> String {
    let supposed = Supposed { monitor: Some(monitor.into()), at, ..Supposed::default() };
    in_words(who_is_told(file, &supposed).ok().as_ref())
}

/// Who is told, by the code that routes, in words.
fn in_words(told: Option<&WhoIsTold>) -> String {
    let Some(told) = told.filter(|it| it.nobody.is_none()) else { return "nobody".to_owned() };
    let steps = told.steps.iter().map(|step| {
        let called = |to: &Arc<str>| {
            let called = step.on_call.iter().find(|it| it.target == *to);
            match called {
                Some(call) => format!("{to} (now {})", call.people.join(", ")),
                None => to.to_string(),
            }
        };
        let to: Vec<String> = step.to.iter().map(called).collect();
        match step.after {
            0 => to.join(", "),
            after => format!("{} after {} s", to.join(", "), after / 1000),
        }
    });
    steps.collect::<Vec<_>>().join(", then ")
}

/// What routes see of an open incident.
struct OpenIncident {
    key: Arc<str>,
    severity: Severity,
    labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl OpenIncident {
    fn receivers(&self, file: &File, monitor: &str, at: Timestamp) -> String {
        let Self { key, severity, labels } = self;
        let subject = Subject { monitor, key, severity: *severity, labels };
        in_words(who_is_told_of(file, subject, at).as_ref())
    }
}

/// The open incidents of a monitor.
async fn open_incidents(engine: &Engine, name: &str) -> Result<Vec<OpenIncident>, Problem> {
    let open = |it: &Monitor| -> Vec<OpenIncident> {
        let open = it.incidents.values().filter(|it| State::is_open(it.state));
        open.map(|it| OpenIncident {
            key: it.key.clone(),
            severity: it.worst,
            labels: it.labels.clone(),
        })
        .collect()
    };
    Ok(engine.monitor(name, open).await?.unwrap_or_default())
}
