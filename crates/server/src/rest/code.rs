//! Instances of code as the protocol's `WorkflowSummary` and `Workflow`, for lists of both dialects.
//!
//! They are found only by those who ask for the classifier `orchestration`: what a client finds
//! without, it may go on to steer by the paths of workflows, which know no instances.

use std::collections::BTreeSet;

use kernel::durable::FailureDetails;
use kernel::durable::instance::Instance;
use kernel::{ExecutionId, Json, Timestamp};
use serde::Serialize;

use super::summary::{Summary, instant};
use crate::durable::{ORCHESTRATION, payload, told};

/// An instance in a line of a list. Its id is the whole one, `instance:HUB:ID`.
pub(super) fn summary(state: &Instance) -> Json {
    let shown = Shown::of(state);
    Json::of(&Summary {
        workflow_type: &shown.name,
        version: shown.version,
        workflow_id: &state.id,
        correlation_id: None,
        start_time: instant(state.created_at),
        update_time: instant(state.updated_at),
        end_time: state.ended_at.map(instant),
        status: state.status.of_execution().as_str(),
        input: shown.input.text(),
        output: shown.output.text(),
        reason_for_incompletion: shown.reason.as_deref(),
        execution_time: state.ended_at.map_or(0, |ended| ended.since(state.created_at)),
        event: None,
        failed_reference_task_names: String::new(),
        priority: 0,
        failed_task_names: BTreeSet::new(),
        created_by: None,
        task_to_domain: Json::default(),
        idempotency_key: None,
        parent_workflow_id: shown.parent.as_ref().map_or("", ExecutionId::as_str),
        classifier: ORCHESTRATION,
        input_size: shown.input.len(),
        output_size: shown.output.len(),
    })
}

/// An instance whole, without tasks: it has a history instead, which another path shows.
pub(super) fn workflow(state: &Instance) -> Json {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        create_time: Timestamp,
        start_time: Timestamp,
        update_time: Timestamp,
        end_time: Timestamp,
        status: &'static str,
        workflow_id: &'a ExecutionId,
        workflow_name: &'a str,
        workflow_version: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_workflow_id: Option<&'a ExecutionId>,
        input: Json,
        output: Json,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason_for_incompletion: Option<&'a str>,
        tasks: [(); 0],
        priority: u8,
        variables: Json,
        classifier: &'static str,
    }
    let shown = Shown::of(state);
    Json::of(&Whole {
        create_time: state.created_at,
        start_time: state.created_at,
        update_time: state.updated_at,
        end_time: state.ended_at.unwrap_or_default(),
        status: state.status.of_execution().as_str(),
        workflow_id: &state.id,
        workflow_name: &shown.name,
        workflow_version: shown.version,
        parent_workflow_id: shown.parent.as_ref(),
        input: object("input", shown.input),
        output: object("result", shown.output),
        reason_for_incompletion: shown.reason.as_deref(),
        tasks: [],
        priority: 0,
        variables: Json::default(),
        classifier: ORCHESTRATION,
    })
}

/// What both forms show.
struct Shown {
    name: String,
    version: i32,
    input: Json,
    output: Json,
    reason: Option<String>,
    parent: Option<ExecutionId>,
}

impl Shown {
    fn of(state: &Instance) -> Self {
        let start = state.start.as_deref();
        Self {
            name: state.name().to_string(),
            version: start.and_then(|start| start.version.as_deref()?.parse().ok()).unwrap_or(1),
            input: payload(start.and_then(|start| start.input.as_ref())),
            output: payload(state.output.as_ref()),
            reason: state.failure.as_deref().map(|failure: &FailureDetails| told(failure)),
            parent: state.parent(),
        }
    }
}

/// The protocol's payloads are objects; anything else becomes the one member of one.
fn object(member: &str, payload: Json) -> Json {
    if payload.is_object() {
        return payload;
    }
    let mut members = serde_json::Map::new();
    if !payload.is_null() {
        members.insert(member.to_owned(), payload.parse());
    }
    Json::of(&members)
}
