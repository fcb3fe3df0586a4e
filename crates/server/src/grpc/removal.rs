//! Purges, and ends without asking.

use std::time::Duration;

use engine::durable::Purge;
use engine::{Engine, Error};
use kernel::durable::instance::Input;
use kernel::{ExecutionId, Rejected};
use proto::purge_instances_request::Request as Which;
use proto::{
    PurgeInstancesRequest, PurgeInstancesResponse, SkipGracefulOrchestrationTerminationsRequest,
};
use tonic::Status;

use super::convert::text;
use super::{listing, status};

/// Instances named in one call.
const BATCH_MAX: usize = 500;

/// Removes what has ended and is named.
pub(super) async fn purge(
    engine: &Engine,
    hub: &str,
    request: PurgeInstancesRequest,
) -> Result<PurgeInstancesResponse, Status> {
    let recursive = request.recursive;
    match request.request {
        Some(Which::InstanceId(id)) => each(engine, hub, &[id], recursive).await,
        Some(Which::InstanceBatch(batch)) => {
            bounded(&batch.instance_ids)?;
            each(engine, hub, &batch.instance_ids, recursive).await
        }
        Some(Which::PurgeInstanceFilter(filter)) => {
            let timeout = filter.timeout.map(|timeout| {
                let seconds = u64::try_from(timeout.seconds).unwrap_or_default();
                let nanos = u32::try_from(timeout.nanos).unwrap_or_default();
                Duration::from_secs(seconds) + Duration::from_nanos(nanos.into())
            });
            let purge = Purge {
                statuses: listing::stands(&filter.runtime_status)?,
                created_from: listing::moment(filter.created_time_from.as_ref()),
                created_to: listing::moment(filter.created_time_to.as_ref()),
                recursive,
                timeout,
                ..Purge::default()
            };
            let purged = engine.purge_instances(hub, &purge).await.map_err(status::of)?;
            Ok(answer(purged.count, purged.complete))
        }
        None => Err(Status::invalid_argument("a purge names an instance, a batch or a filter")),
    }
}

async fn each(
    engine: &Engine,
    hub: &str,
    ids: &[String],
    recursive: bool,
) -> Result<PurgeInstancesResponse, Status> {
    let mut count = 0;
    for id in ids {
        let removed = if id.starts_with('@') {
            engine.remove(&ExecutionId::entity(hub, id)).await.map(u64::from)
        } else {
            engine.purge_instance(&ExecutionId::instance(hub, id), recursive).await
        };
        count += match removed {
            // What has not ended stays.
            Err(Error::Rejected(Rejected::Conflict(_))) => 0,
            removed => removed.map_err(status::of)?,
        };
    }
    Ok(answer(count, true))
}

fn answer(count: u64, is_complete: bool) -> PurgeInstancesResponse {
    PurgeInstancesResponse {
        deleted_instance_count: i32::try_from(count).unwrap_or(i32::MAX),
        is_complete: Some(is_complete),
    }
}

/// Ends instances without asking their orchestrators; answers those that it could not end.
pub(super) async fn end_at_once(
    engine: &Engine,
    hub: &str,
    request: SkipGracefulOrchestrationTerminationsRequest,
) -> Result<Vec<String>, Status> {
    let ids = request.instance_batch.unwrap_or_default().instance_ids;
    bounded(&ids)?;
    let reason = text(request.reason);
    let mut left = Vec::new();
    for id in ids {
        let input = Input::Terminate { output: reason.clone(), recurse: false, at_once: true };
        match engine.step(&ExecutionId::instance(hub, &id), input).await {
            Ok(()) => {}
            Err(Error::Rejected(_)) => left.push(id),
            Err(error) => return Err(status::of(error)),
        }
    }
    Ok(left)
}

fn bounded(ids: &[String]) -> Result<(), Status> {
    if ids.len() > BATCH_MAX {
        let words = format!("{} instances are named, at most {BATCH_MAX} can be", ids.len());
        return Err(Status::invalid_argument(words));
    }
    Ok(())
}
