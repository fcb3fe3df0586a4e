//! Runs that workers replay as code: which of the commands of `run` fit them, and how.
//!
//! Such a run is named by its whole id, `instance:HUB:ID`, as lists show it, or by that within the
//! default hub if no workflow has it.

use reqwest::Method;
use serde_json::Value;

use super::why::Waiting;
use super::{Workflow, fetch as fetch_workflow, is_missing};
use crate::cli::client::{Client, understand};
use crate::cli::failure::{Exit, Failure};
use crate::cli::orchestration::{self, Hub};

/// How a command for runs is done to code.
#[derive(Clone, Copy, Debug)]
pub(super) enum RunAction {
    /// Posted to the path of this name.
    Post(&'static str),
    /// Begun anew under its own id.
    Restart,
    /// Removed.
    Purge,
}

impl RunAction {
    /// Does it.
    pub(super) async fn run(
        self,
        id: &str,
        reason: Option<&str>,
        client: &Client,
    ) -> Result<(), Failure> {
        let hub = Hub::default();
        let call = match self {
            Self::Post(verb) => {
                hub.call(client, Method::POST, id, &[verb]).query_if("reason", reason)
            }
            Self::Restart => hub
                .call(client, Method::POST, id, &["restart"])
                .query("restartWithNewInstanceId", false),
            Self::Purge => hub.call(client, Method::DELETE, id, &[]),
        };
        call.send().await.map(|_| ())
    }
}

/// Whether an id can only be that of code.
pub(super) fn is_whole(id: &str) -> bool {
    orchestration::whole(id).is_some()
}

/// What an orchestration instance is and waits for.
pub(super) async fn fetch(id: &str, client: &Client) -> Result<(Workflow, Vec<Waiting>), Failure> {
    let value = orchestration::standing(id, client).await?;
    let text = |member: &str| value[member].as_str().unwrap_or_default();
    let status = match text("runtimeStatus") {
        "Completed" => "COMPLETED",
        "Failed" => "FAILED",
        "Terminated" | "Canceled" => "TERMINATED",
        "Suspended" => "PAUSED",
        _ => "RUNNING",
    };
    let mut workflow = Workflow {
        id: id.to_owned(),
        name: text("name").to_owned(),
        status: status.to_owned(),
        start_time: understand("instance", &value["createdTime"])?,
        is_code: true,
        ..Workflow::default()
    };
    if workflow.is_over() {
        workflow.end_time = understand("instance", &value["lastUpdatedTime"])?;
        workflow.reason_for_incompletion = match &value["output"] {
            Value::String(reason) if status != "COMPLETED" => Some(reason.clone()),
            _ => None,
        };
    }
    let waiting = match &value["waiting"] {
        Value::Null => Vec::new(),
        waiting => understand("reasons", waiting)?,
    };
    Ok((workflow, waiting))
}

/// The orchestration of an id. A workflow is an instance, too: of one that is there, something else was not found.
pub(super) async fn standing(id: &str, client: &Client) -> Option<Value> {
    let workflow = fetch_workflow(id, false, client).await;
    let is_none = workflow.is_err_and(|failure| failure.exit == Exit::NotFound);
    if is_none { orchestration::standing(id, client).await.ok() } else { None }
}

/// What to say when there is no workflow of that id: that it is code, for which `instead` is the
/// command; or what was said.
pub(super) async fn refused(
    id: &str,
    missing: anyhow::Error,
    instead: &str,
    client: &Client,
) -> anyhow::Error {
    if !is_missing(&missing) || standing(id, client).await.is_none() {
        return missing;
    }
    let message = format!("run {id} is an orchestration: it is code, and has no tasks");
    Failure::new(Exit::Usage, message).with_hint(instead).into()
}
