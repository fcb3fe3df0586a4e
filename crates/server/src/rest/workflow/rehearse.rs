//! Testing a workflow with given answers: a rehearsal in memory, of which nothing remains.

use std::collections::{BTreeMap, VecDeque};

use axum::extract::State;
use engine::{Engine, Mock, Mocks, REHEARSAL_STEPS_MAX, UnknownMock};
use kernel::access::Permission;
use kernel::graph::{Execution, TaskStatus};
use kernel::{Json, Scripts};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::start::{StartRequest, rehearsed};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Answer, Body, Query, lenient, object, unreadable};
use crate::rest::view::{self, Lens};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Edit, routes!(test_workflow))
        .on(Permission::Edit, routes!(test_workflow_and_answer))
}

/// What a test says beside the start: a part of the protocol's `WorkflowTestRequest`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_field_names, reason = "the protocol's names")]
struct TestRequest {
    task_ref_to_mock_output: Option<BTreeMap<String, Vec<TaskMock>>>,
    sub_workflow_test_request: Option<BTreeMap<String, TestRequest>>,
    #[serde(deserialize_with = "lenient::number")]
    max_loops: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TaskMock {
    status: Option<String>,
    output: Option<Json>,
    #[serde(deserialize_with = "lenient::number")]
    execution_time: Option<i64>,
    #[serde(deserialize_with = "lenient::number")]
    queue_wait_time: Option<i64>,
}

/// Longest time that a mock may take, in milliseconds: ten years.
const TIME_MAX: i64 = 10 * 365 * 86_400_000;

impl TestRequest {
    fn mocks(self) -> Result<Mocks, Problem> {
        let mut mocks = Mocks::default();
        for (reference, list) in self.task_ref_to_mock_output.unwrap_or_default() {
            let made: Result<VecDeque<Mock>, String> =
                list.into_iter().map(TaskMock::checked).collect();
            let made = made.map_err(|why| {
                Problem::bad_request(format!("taskRefToMockOutput of '{reference}': {why}"))
            })?;
            mocks.tasks.insert(reference, made);
        }
        for (reference, request) in self.sub_workflow_test_request.unwrap_or_default() {
            mocks.children.insert(reference, request.mocks()?);
        }
        Ok(mocks)
    }
}

impl TaskMock {
    fn checked(self) -> Result<Mock, String> {
        let status = match self.status.as_deref().unwrap_or("COMPLETED") {
            "IN_PROGRESS" | "SCHEDULED" => None,
            word => match TaskStatus::parse(word) {
                Some(status) if status.is_closed() && status != TaskStatus::Skipped => Some(status),
                _ => return Err(format!("a mock cannot have the status '{word}'")),
            },
        };
        let output = object(self.output.unwrap_or_default(), "'output'");
        let time = |name: &str, millis: Option<i64>| match millis.unwrap_or(0) {
            millis @ 0..=TIME_MAX => Ok(millis),
            _ => Err(format!("'{name}' must be milliseconds from 0 to ten years")),
        };
        Ok(Mock {
            status,
            output: output.map_err(|problem| problem.message)?,
            runs_for: time("executionTime", self.execution_time)?,
            waits_for: time("queueWaitTime", self.queue_wait_time)?,
        })
    }
}

/// Tests a workflow: runs it with mocked task outputs and shows how it ended, or at which task a
/// mock was missing.
///
/// Nothing is called and nothing is stored: no worker gets a task, no built-in task runs, and the
/// ids in the response refer to nothing. Every task that would act outside takes the next mock of
/// its reference name (with retries and iterations, in order); scripts and control tasks are real,
/// and the clock jumps to whatever is due next.
#[utoipa::path(
    post, path = "/api/workflow/test", tag = "workflow", request_body = serde_json::Value,
    responses((status = 200, description = "The execution", body = serde_json::Value))
)]
async fn test_workflow(State(api): State<Api>, Body(body): Body<Json>) -> Result<Answer, Problem> {
    rehearse(&api.engine, body, show).await.map(Answer)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct TestParams {
    /// Echoed in the response.
    request_id: Option<String>,
}

/// The same, with the response in the form of synchronous executions; `signalTimeout` says that a
/// mock was missing.
#[utoipa::path(
    post, path = "/api/workflow/test/sync", tag = "workflow", request_body = serde_json::Value,
    params(TestParams),
    responses((status = 200, description = "The execution", body = serde_json::Value))
)]
async fn test_workflow_and_answer(
    State(api): State<Api>,
    Query(params): Query<TestParams>,
    Body(body): Body<Json>,
) -> Result<Answer, Problem> {
    let request_id = params.request_id.filter(|id| !id.is_empty());
    let request_id = request_id.unwrap_or_else(|| Engine::new_id().to_string());
    let answer = move |state: &Execution| {
        let mut members: Map<String, Value> =
            serde_json::from_str(show(state).text()).unwrap_or_default();
        let added = [
            ("responseType", "TARGET_WORKFLOW".into()),
            ("targetWorkflowId", state.id.as_str().into()),
            ("targetWorkflowStatus", state.status.as_str().into()),
            ("requestId", request_id.into()),
            ("signalTimeout", (!state.status.is_closed()).into()),
        ];
        members.extend(added.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
        Json::of(&members)
    };
    rehearse(&api.engine, body, answer).await.map(Answer)
}

fn show(state: &Execution) -> Json {
    view::workflow(state, true, Lens { now: state.updated_at, engine: None })
}

/// 400 for mocks that nothing would ever take.
fn no_task_has(unknown: &[UnknownMock]) -> Problem {
    let told: Vec<String> = unknown
        .iter()
        .map(|UnknownMock { name, known }| {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            format!("there is no task '{name}' to mock; there are {}", known.join(", "))
        })
        .collect();
    Problem::bad_request(told.join("; "))
        .with_hint("A mock bears the taskReferenceName of the task that it answers for.")
}

async fn rehearse(
    engine: &Engine,
    body: Json,
    answer: impl FnOnce(&Execution) -> Json + Send + 'static,
) -> Result<Json, Problem> {
    let body = object(body, "the request body")?;
    let request: StartRequest =
        serde_json::from_str(body.text()).map_err(|error| unreadable(&error))?;
    let test: TestRequest =
        serde_json::from_str(body.text()).map_err(|error| unreadable(&error))?;
    let loops = test.max_loops.and_then(|loops| usize::try_from(loops).ok());
    let steps_max = loops.filter(|loops| *loops > 0).unwrap_or(REHEARSAL_STEPS_MAX);
    let mocks = test.mocks()?;
    let work = move |engine: &Engine, scripts: &dyn Scripts| {
        let start = rehearsed(engine, request)?;
        let rehearsed = engine.rehearse(start, mocks, steps_max, scripts)?;
        if !rehearsed.unknown.is_empty() {
            return Err(no_task_has(&rehearsed.unknown));
        }
        let mut members: Map<String, Value> =
            serde_json::from_str(answer(&rehearsed.execution).text()).unwrap_or_default();
        if !rehearsed.execution.status.is_closed() {
            members.insert("waitsFor".to_owned(), rehearsed.waits_for.into());
        }
        Ok(Json::of(&members))
    };
    engine.evaluate(work).await?
}
