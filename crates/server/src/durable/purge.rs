//! Removing instances that have ended, with everything known of them.

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::StatusCode;
use engine::search::{Filter, Search};
use kernel::ExecutionId;
use kernel::access::{Permission, Resource};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::caller::Caller;
use super::list::Filters;
use super::refusal::Refusal;
use super::status::Wishes;
use super::{Subject, find, show};
use crate::Api;
use crate::access::Routes;
use crate::rest::extract::Path;

pub(super) fn routes() -> Routes {
    let edit = || Permission::Edit.within(&[Resource::Hub]);
    Routes::new().on(edit(), routes!(purge_instance)).on(edit(), routes!(purge_instances))
}

/// Instances looked for at once.
const BATCH: u64 = 500;

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Purged {
    instances_deleted: u64,
}

/// Removes an instance that has ended, or an entity (`@name@key`).
#[utoipa::path(
    delete, path = "/runtime/webhooks/durabletask/instances/{id}", tag = "durable",
    params(("id" = String, Path, description = "The id of the instance or entity")),
    responses(
        (status = 200, description = "Removed", body = Purged),
        (status = 404, description = "No such instance"),
        (status = 412, description = "It has not ended"),
    )
)]
async fn purge_instance(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<AsJson<Purged>, Refusal> {
    if id.starts_with('@') {
        let entity = ExecutionId::entity(caller.own_hub()?, &id);
        let removed = api.engine.remove(&entity).await?;
        return if removed {
            Ok(AsJson(Purged { instances_deleted: 1 }))
        } else {
            Err(Refusal::no_instance(&id))
        };
    }
    let subject = find(&api.engine, &caller, &id).await?;
    let wishes = Wishes { input: false, history: false, history_output: false };
    let status = show(&api.engine, &subject, wishes).await?.runtime_status;
    if !status.is_closed() {
        let message = format!(
            "The instance '{id}' is {}: only one that has ended can be purged.",
            status.as_str()
        );
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, message));
    }
    let instances_deleted = match subject {
        Subject::Code(id) => api.engine.purge_instance(&id, false).await?,
        Subject::Graph(id) => u64::from(api.engine.remove(&id).await?),
    };
    if instances_deleted == 0 {
        return Err(Refusal::no_instance(&id));
    }
    Ok(AsJson(Purged { instances_deleted }))
}

/// Removes every instance that has ended and was created in a period of time.
#[utoipa::path(
    delete, path = "/runtime/webhooks/durabletask/instances", tag = "durable",
    params(
        ("createdTimeFrom" = String, Query, description = "Only those created then or later"),
        ("createdTimeTo" = Option<String>, Query, description = "Only those created before"),
        ("runtimeStatus" = Option<Vec<String>>, Query, description = "Only those that stand so"),
        ("instanceIdPrefix" = Option<String>, Query, description = "Only ids that begin so"),
    ),
    responses(
        (status = 200, description = "Removed", body = Purged),
        (status = 400, description = "createdTimeFrom is missing, or a bound or status cannot be read"),
        (status = 404, description = "Not found"),
    )
)]
async fn purge_instances(
    State(api): State<Api>,
    caller: Caller,
) -> Result<AsJson<Purged>, Refusal> {
    caller.own_hub()?;
    let wanted = Filters::of_purge(&caller)?;
    let mut purged = Purged { instances_deleted: 0 };
    if let Some(purge) = wanted.purge_of_code() {
        let done = api.engine.purge_instances(caller.own_hub()?, &purge).await?;
        purged.instances_deleted += done.count;
    }
    let mut filters = wanted.of_graphs();
    filters.push(Filter::Closed(true));
    loop {
        let mut search = Search { filters: filters.clone(), size: BATCH, ..Search::default() };
        caller.scope().narrow(&api.engine, &mut search).await?;
        let rows = api.engine.store().search(&search).await?.rows;
        let before = purged.instances_deleted;
        for head in &rows {
            purged.instances_deleted += u64::from(api.engine.remove(&head.id).await?);
        }
        // What could not be removed would be found again and again.
        if (rows.len() as u64) < BATCH || purged.instances_deleted == before {
            break;
        }
    }
    if purged.instances_deleted == 0 {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "There is no instance to purge."));
    }
    Ok(AsJson(purged))
}
