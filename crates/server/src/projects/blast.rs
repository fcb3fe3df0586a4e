//! Whom a change touches: running executions, next firings, and who is told of incidents.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::Engine;
use engine::search::{Counting, Filter, PAGE_MAX, Search, TextField};
use kernel::alert::definition::File;
use kernel::alert::{Monitor, State, Supposed, WhoIsTold, who_is_told};
use kernel::definition::WorkflowDef;
use kernel::graph::Execution;
use kernel::schedule::{Schedule, ScheduleSpec};
use kernel::{ExecutionId, Timestamp};

use super::difference::{Action, Difference};
use super::object::{Kind, Object};
use super::wanted::{Wanted, source_prefix};
use crate::problem::Problem;

/// Running executions of one workflow that are looked at one by one.
const LOOKED_AT_MAX: usize = 2000;
/// Reasons and names that are told before the rest is counted.
const TOLD_MAX: usize = 5;

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
            match new.clone().find(version).or_else(|| new.clone().next()) {
                Some(definition) => executions(engine, definition).await,
                None => Ok(Vec::new()),
            }
        }
        (Kind::Schedule, _) => {
            let spec = wanted.defined.schedules.iter().find(|it| *it.name == *object.name);
            firings(engine, &object.name, spec).await
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

/// When a schedule fires next, before and after.
async fn firings(
    engine: &Engine,
    name: &str,
    spec: Option<&ScheduleSpec>,
) -> Result<Vec<String>, Problem> {
    let (id, now) = (ExecutionId::schedule(name), engine.now());
    let next = |state: &Schedule| state.upcoming(now, 1).first().map(|it| it.at);
    let look = |it: &engine::AnyMachine| {
        it.schedule().map(|state| (next(state), state.is_defined() && state.paused))
    };
    let (before, paused) = engine.look(&id, look).await?.flatten().unwrap_or_default();
    let after = spec.and_then(|spec| {
        let mut state = Schedule::new(id.clone());
        (state.paused, state.cursor) = (spec.paused.unwrap_or(paused), now);
        state.spec = Some(Box::new(spec.clone()));
        next(&state)
    });
    let told = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let mut told = vec![format!("fires next {} → {}", told(before), told(after))];
    told.extend(spec.and_then(|spec| engine.missing_workflow(spec)));
    Ok(told)
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
        Err(unfit) => return Ok(Err(unfit)),
    };
    let mut told = Vec::new();
    for monitor in &before.monitors {
        let open = open_incidents(engine, &monitor.name).await?;
        let name = &monitor.name;
        let stays = after.monitors.iter().any(|it| it.name == *name);
        if !stays {
            let open = open.join(", ");
            let resolved =
                if open.is_empty() { String::new() } else { format!(", resolves {open}") };
            told.push(format!("monitor {name} is removed{resolved}"));
            continue;
        }
        let (was, will) =
            (receivers(&before, name, engine.now()), receivers(&after, name, engine.now()));
        if was != will {
            let open = open.join(", ");
            let open = if open.is_empty() { String::new() } else { format!("; open now: {open}") };
            told.push(format!("monitor {name} rings elsewhere: {was} → {will}{open}"));
        }
    }
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

/// Who is told of an incident of a monitor, in words, by the code that routes.
fn receivers(file: &File, monitor: &str, at: Timestamp) -> String {
    let supposed = Supposed { monitor: Some(monitor.into()), at, ..Supposed::default() };
    match who_is_told(file, &supposed) {
        Ok(WhoIsTold { nobody: Some(_), .. }) | Err(_) => "nobody".to_owned(),
        Ok(told) => {
            let steps = told.steps.iter().map(|step| {
                let called = |to: &std::sync::Arc<str>| {
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
    }
}

/// The keys of a monitor's open incidents.
async fn open_incidents(engine: &Engine, name: &str) -> Result<Vec<String>, Problem> {
    let open = |it: &Monitor| -> Vec<String> {
        let open = it.incidents.values().filter(|it| State::is_open(it.state));
        open.map(|it| format!("\"{}\"", it.key)).collect()
    };
    Ok(engine.monitor(name, open).await?.unwrap_or_default())
}
