//! HUMAN tasks: whose they are, claimed, released and completed by the users and groups that they are assigned
//! to.

mod assignment;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use engine::Engine;
use engine::search::{Filter, TextField};
use kernel::access::Permission;
use kernel::graph::{Execution, Kind, Task, TaskStatus};
use kernel::{TaskId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::candidates::Candidates;
use super::extract::{Body, LargeAnswer, Path, Query, Share};
use super::query::{self, Question};
use super::tasks::{Outcome, report_on};
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use assignment::{Assigned, Assignee, CONTEXT, Person, UserType, Work};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(search_human_tasks))
        .on(Permission::Read, routes!(human_task))
        .act(Permission::Respond | Permission::Run, routes!(claim_human_task))
        .act(Permission::Respond | Permission::Run, routes!(release_human_task))
        .act(Permission::Respond | Permission::Run, routes!(update_human_task))
        .layer(Extension(Acts::default()))
}

/// One act at a time, so that two do not claim the same task.
#[derive(Clone, Debug, Default)]
struct Acts(Arc<Mutex<()>>);

/// Who asks, as assignments name people.
fn person(engine: &Engine, actor: &Actor) -> Person {
    let Some(who) = actor.principal() else { return Person::default() };
    let name = engine.access().user_name(&who.id);
    Person { name, groups: who.groups().iter().map(|group| group.name.clone()).collect() }
}

/// The actor as one who has claimed a task.
fn claimant(engine: &Engine, actor: &Actor) -> Assignee {
    let name = person(engine, actor).name.map(|name| name.to_string());
    Assignee { user_type: UserType::ConductorUser, user: name.unwrap_or_else(|| actor.shown()) }
}

fn work_of(state: &Execution, task: &Task) -> Work {
    Work::of(&task.input, &state.output_of(task), task.started_at.unwrap_or(task.scheduled_at))
}

/// Orkes' word for how it stands with a task.
fn state_of(task: &Task, work: &Work) -> &'static str {
    match task.status {
        TaskStatus::Completed | TaskStatus::CompletedWithErrors => "COMPLETED",
        TaskStatus::TimedOut => "TIMED_OUT",
        status if status.is_closed() => "DELETED",
        _ if work.claimant.is_some() => "IN_PROGRESS",
        _ => "ASSIGNED",
    }
}

fn shown(state: &Execution, task: &Task, now: Timestamp) -> Value {
    let work = work_of(state, task);
    let (input, output) = (state.shown(&task.input), state.shown(&state.output_of(task)));
    let assignee = match work.assigned(now) {
        Assigned::To(assignee) => Some(assignee),
        Assigned::Open | Assigned::Unreadable => None,
    };
    let input = input.parse();
    json!({
        "taskId": state.task_id(task.sequence).to_string(),
        "taskRefName": task.reference,
        "displayName": work.display_name(),
        "definitionName": task.name,
        "workflowId": state.id,
        "workflowName": state.plan().definition.name,
        "state": state_of(task, &work),
        "assignee": assignee,
        "claimant": work.claimant,
        "assignmentProblem": work.problem(),
        "humanTaskDef": input.get(assignment::DEFINITION),
        "output": output.parse(),
        "createdOn": task.scheduled_at.millis(),
        "updatedOn": task.updated_at.millis(),
        "input": input,
    })
}

/// Which tasks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct HumanTaskSearch {
    /// `INBOX` (the default): tasks for the caller; `ADMIN`: all.
    search_type: Option<String>,
    /// `ASSIGNED`, `IN_PROGRESS`, `COMPLETED`, `TIMED_OUT`, `DELETED`; default: the first two.
    states: Vec<String>,
    /// Names of workflows; default: all.
    workflow_names: Vec<String>,
    /// Reference names; default: all.
    task_ref_names: Vec<String>,
    /// Tasks to skip.
    start: u64,
    /// Tasks to return; default 15, at most 100.
    size: Option<u64>,
}

/// The states of tasks that are still to be done.
const OPEN: [&str; 2] = ["ASSIGNED", "IN_PROGRESS"];
/// Tasks in a page of which the size is not given, and at most.
const SIZES: (u64, u64) = (15, 100);

/// Lists HUMAN tasks, newest execution first: those assigned to the caller, or all.
#[utoipa::path(
    post, path = "/api/human/tasks/search", tag = "human tasks", request_body = HumanTaskSearch,
    responses(
        (status = 200, description = "The tasks", body = serde_json::Value),
        (status = 400, description = "Unknown state, or too many executions would have to be read"),
    )
)]
async fn search_human_tasks(
    State(api): State<Api>,
    actor: Actor,
    Body(wanted): Body<Option<HumanTaskSearch>>,
) -> Result<LargeAnswer, Problem> {
    let wanted = wanted.unwrap_or_default();
    let is_mine = match wanted.search_type.as_deref() {
        None | Some("INBOX") => true,
        Some("ADMIN") => false,
        Some(_) => return Err(Problem::bad_request("'searchType' is INBOX or ADMIN")),
    };
    let states: Vec<&str> = wanted.states.iter().map(String::as_str).collect();
    let states = if states.is_empty() { OPEN.to_vec() } else { states };
    let (person, now) = (person(&api.engine, &actor), api.engine.now());
    let question =
        Question { query: Some("taskType = 'HUMAN'"), size: SIZES.0, ..Question::default() };
    let mut executions = query::search_by_tasks(&question)?.executions;
    if states.iter().all(|state| OPEN.contains(state)) {
        let running = vec!["RUNNING".to_owned(), "PAUSED".to_owned()];
        executions.filters.push(Filter::In(TextField::Status, running));
    }
    if !wanted.workflow_names.is_empty() {
        executions.filters.push(Filter::In(TextField::Name, wanted.workflow_names.clone()));
    }
    let size = wanted.size.unwrap_or(SIZES.0).min(SIZES.1);
    let page = wanted.start..wanted.start.saturating_add(size);
    let is_meant = |state: &Execution, task: &Task| {
        let named = &wanted.task_ref_names;
        if task.kind != Kind::Human
            || !(named.is_empty() || named.iter().any(|it| **it == *task.reference))
        {
            return false;
        }
        let work = work_of(state, task);
        states.contains(&state_of(task, &work)) && (!is_mine || work.is_for(&person, now))
    };
    let mut candidates = Candidates::of(&api.engine, executions);
    let (mut found, mut total, mut share) = (Vec::new(), 0_u64, Share::default());
    // Of those behind the page it is only told that there are some.
    while total <= page.end
        && let Some(head) = candidates.next().await?
    {
        let (mut here, mut bytes) = (Vec::new(), 0_usize);
        let look = |state: &Execution| {
            for task in state.tasks().filter(|task| is_meant(state, task)) {
                if page.contains(&total) {
                    here.push(task.sequence);
                    bytes += task.input.len() + task.output.len();
                }
                total += 1;
            }
        };
        api.engine.read(&head.id, look).await?;
        if here.is_empty() {
            continue;
        }
        share.add(&api.settings.large_answers, bytes).await?;
        let look = |state: &Execution| {
            let tasks = here.iter().filter_map(|sequence| state.task(*sequence));
            found.extend(tasks.map(|task| shown(state, task, now)));
        };
        api.engine.read(&head.id, look).await?;
    }
    let answer = json!({
        "results": found, "totalHits": total, "start": wanted.start, "pageSizeLimit": size,
    });
    Ok(LargeAnswer(kernel::Json::from(&answer), share))
}

/// Shows a HUMAN task with its assignee and who has claimed it.
#[utoipa::path(
    get, path = "/api/human/tasks/{id}", tag = "human tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "The task", body = serde_json::Value),
        (status = 404, description = "No such HUMAN task"),
    )
)]
async fn human_task(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let now = api.engine.now();
    read(&api.engine, &id, |state, task| shown(state, task, now))
        .await
        .map(|(_, shown)| Json(shown))
}

async fn read<T>(
    engine: &Engine,
    id: &str,
    look: impl Fn(&Execution, &Task) -> T,
) -> Result<(TaskId, T), Problem> {
    let unknown = || {
        let shown: String = id.chars().take(100).collect();
        Problem::not_found(format!("there is no HUMAN task with the id {shown}"))
    };
    let task = TaskId::parse(id).ok_or_else(unknown)?;
    let sequence = task.sequence;
    let look = |state: &Execution| {
        let found = state.task(sequence).filter(|task| task.kind == Kind::Human)?;
        Some(look(state, found))
    };
    let found = engine.read(&task.execution, look).await?.flatten().ok_or_else(unknown)?;
    Ok((task, found))
}

/// A task that is still to be done, and who may do it.
async fn open(api: &Api, id: &str) -> Result<(TaskId, Work), Problem> {
    let look = |state: &Execution, task: &Task| {
        let is_open = !state.status.is_closed() && !task.status.is_closed() && task.begun;
        is_open.then(|| work_of(state, task))
    };
    let (task, work) = read(&api.engine, id, look).await?;
    let work = work.ok_or_else(|| Problem::conflict("the task has ended, or is not begun yet"))?;
    Ok((task, work))
}

/// Checks that a task is for whoever asks to do. Whoever may run everything may do any.
fn must_be_for(api: &Api, actor: &Actor, work: &Work) -> Result<(), Problem> {
    let now = api.engine.now();
    if actor.may(api, Permission::Run) || work.is_for(&person(&api.engine, actor), now) {
        return Ok(());
    }
    let whose = match (&work.claimant, work.assigned(now)) {
        (Some(claimant), _) => format!("'{}' has claimed the task", claimant.user),
        (None, Assigned::To(assignee)) => format!("the task is assigned to '{}'", assignee.user),
        (None, _) => "nobody can tell whom the task is assigned to".to_owned(),
    };
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", whose)
        .with_hint("Ask them, or somebody with the role runner, who may complete any task."))
}

/// What the task keeps of its claim.
fn context(state: &str, claimant: Option<&Assignee>, now: Timestamp) -> Value {
    json!({ "state": state, "claimant": claimant, "lastUpdated": now.millis() })
}

async fn note(
    api: &Api,
    task: &TaskId,
    outcome: Outcome,
    mut output: Map<String, Value>,
    context: Value,
) -> Result<(), Problem> {
    output.insert(CONTEXT.to_owned(), context);
    report_on(&api.engine, task, outcome, kernel::Json::of(&output), None).await
}

/// Claims a task: only the claimant, and callers with the permission to run everything, can
/// complete it then.
#[utoipa::path(
    post, path = "/api/human/tasks/{id}/claim", tag = "human tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "The task", body = serde_json::Value),
        (status = 403, description = "It is assigned to others, or was claimed by another"),
        (status = 404, description = "No such HUMAN task"),
        (status = 409, description = "It has ended"),
    )
)]
async fn claim_human_task(
    State(api): State<Api>,
    Extension(Acts(acts)): Extension<Acts>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let _alone = acts.lock().await;
    let (task, work) = open(&api, &id).await?;
    must_be_for(&api, &actor, &work)?;
    let claimant = claimant(&api.engine, &actor);
    let context = context("IN_PROGRESS", Some(&claimant), api.engine.now());
    note(&api, &task, Outcome::InProgress, Map::new(), context).await?;
    human_task(State(api), Path(id)).await
}

/// Releases a claimed task to its assignees.
#[utoipa::path(
    post, path = "/api/human/tasks/{id}/release", tag = "human tasks",
    params(("id" = String, Path, description = "The id of the task")),
    responses(
        (status = 200, description = "The task", body = serde_json::Value),
        (status = 403, description = "It was claimed by another"),
        (status = 404, description = "No such HUMAN task"),
        (status = 409, description = "It has ended, or is not claimed"),
    )
)]
async fn release_human_task(
    State(api): State<Api>,
    Extension(Acts(acts)): Extension<Acts>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let _alone = acts.lock().await;
    let (task, work) = open(&api, &id).await?;
    must_be_for(&api, &actor, &work)?;
    if work.claimant.is_none() {
        return Err(Problem::conflict("nobody has claimed the task"));
    }
    let context = context("ASSIGNED", None, api.engine.now());
    note(&api, &task, Outcome::InProgress, Map::new(), context).await?;
    human_task(State(api), Path(id)).await
}

/// What is to become of a task.
#[derive(Debug, Deserialize, IntoParams)]
struct UpdateParams {
    /// Whether to complete the task.
    #[serde(default)]
    complete: bool,
}

/// Updates the output of a task, and completes it on request.
#[utoipa::path(
    post, path = "/api/human/tasks/{id}/update", tag = "human tasks", request_body = serde_json::Value,
    params(("id" = String, Path, description = "The id of the task"), UpdateParams),
    responses(
        (status = 200, description = "The task", body = serde_json::Value),
        (status = 403, description = "It is assigned to others, or was claimed by another"),
        (status = 404, description = "No such HUMAN task"),
        (status = 409, description = "It has ended"),
    )
)]
async fn update_human_task(
    State(api): State<Api>,
    Extension(Acts(acts)): Extension<Acts>,
    actor: Actor,
    Path(id): Path<String>,
    Query(UpdateParams { complete }): Query<UpdateParams>,
    Body(output): Body<Option<Map<String, Value>>>,
) -> Result<Json<Value>, Problem> {
    let _alone = acts.lock().await;
    let (task, work) = open(&api, &id).await?;
    must_be_for(&api, &actor, &work)?;
    let (state, outcome) = if complete {
        ("COMPLETED", Outcome::Ended(TaskStatus::Completed))
    } else {
        (if work.claimant.is_some() { "IN_PROGRESS" } else { "ASSIGNED" }, Outcome::InProgress)
    };
    // Who completes it has done it.
    let doer = complete.then(|| claimant(&api.engine, &actor)).or(work.claimant);
    let context = context(state, doer.as_ref(), api.engine.now());
    note(&api, &task, outcome, output.unwrap_or_default(), context).await?;
    human_task(State(api), Path(id)).await
}
