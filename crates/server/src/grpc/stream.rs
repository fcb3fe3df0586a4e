//! The stream of work items that a worker holds open.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine::durable::{NameFilter, Profile, Room, WorkFilters, WorkerSession};
use engine::{Engine, Error};
use futures_util::Stream;
use proto::{GetWorkItemsRequest, WorkItem, WorkItemFilters, WorkerCapability};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Request, Status};

use super::chunks::Chunks;
use super::tokens::Tokens;
use super::{caller, items, status};

/// The answer of a stream of work items.
pub(super) type WorkItems = Pin<Box<dyn Stream<Item = Result<WorkItem, Status>> + Send>>;

/// Items on their way to a worker that does not read fast enough.
const ON_THE_WAY_MAX: usize = 64;
/// Pause before work is looked for again when the store is away.
const RETRY: Duration = Duration::from_millis(500);

/// What makes work items of what the engine hands out.
pub(super) struct Feeder {
    pub(super) engine: Engine,
    pub(super) tokens: Arc<Tokens>,
    pub(super) chunks: Arc<Chunks>,
}

/// Lets a worker attend its hub, as long as it holds the stream open.
///
/// # Errors
/// `INVALID_ARGUMENT` for a hub that there cannot be: the worker would wait for ever.
pub(super) fn open(
    feeder: Feeder,
    ping_every: Duration,
    request: Request<GetWorkItemsRequest>,
) -> Result<WorkItems, Status> {
    let metadata = request.metadata();
    let (name, agent) = (caller::worker(metadata), caller::agent(metadata));
    let hub = caller::hub(metadata);
    engine::durable::check_hub(&hub).map_err(|rejected| status::of(Error::from(rejected)))?;
    let request = request.into_inner();
    let room = |limit: i32| usize::try_from(limit).unwrap_or_default();
    let profile = Profile {
        hub,
        name,
        agent,
        room: Room {
            orchestrations: room(request.max_concurrent_orchestration_work_items),
            activities: room(request.max_concurrent_activity_work_items),
            entities: room(request.max_concurrent_entity_work_items),
        },
        filters: request.work_item_filters.as_ref().map(filters),
    };
    let streams_history =
        request.capabilities().any(|one| one == WorkerCapability::HistoryStreaming);
    let (items, taken) = mpsc::channel(ON_THE_WAY_MAX);
    let attendance = feeder.engine.attend(profile);
    let mut pings = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(async move {
        feed(&feeder, &attendance, items, pings, streams_history).await;
        // What it has begun to answer will not be finished.
        feeder.chunks.forget_worker(attendance.number());
    });
    Ok(Box::pin(futures_util::stream::unfold(taken, |mut taken| async move {
        taken.recv().await.map(|item| (item, taken))
    })))
}

fn filters(filters: &WorkItemFilters) -> WorkFilters {
    let named = |name: &str, versions: &[String]| NameFilter {
        name: name.into(),
        versions: versions.iter().map(|version| version.as_str().into()).collect(),
    };
    WorkFilters {
        orchestrations: filters
            .orchestrations
            .iter()
            .map(|filter| named(&filter.name, &filter.versions))
            .collect(),
        activities: filters
            .activities
            .iter()
            .map(|filter| named(&filter.name, &filter.versions))
            .collect(),
        entities: filters.entities.iter().map(|filter| filter.name.as_str().into()).collect(),
    }
}

type Items = mpsc::Sender<Result<WorkItem, Status>>;

/// Sends what the worker can do, until it goes away or the server stops. What it has in hand then
/// goes to others, as the attendance ends.
async fn feed(
    feeder: &Feeder,
    attendance: &WorkerSession,
    items: Items,
    mut pings: Interval,
    streams_history: bool,
) {
    loop {
        let mut claim = std::pin::pin!(attendance.claim());
        let claimed = loop {
            tokio::select! {
                biased;
                () = items.closed() => return,
                _ = pings.tick() => if items.send(Ok(items::ping())).await.is_err() {
                    return;
                },
                claimed = claim.as_mut() => break claimed,
            }
        };
        match claimed {
            // Only a server that stops has nothing to give.
            Ok(claimed) if claimed.is_empty() => {
                // Whoever does not hear it hears the connection end.
                let _ = items.send(Err(status::closing())).await;
                return;
            }
            Ok(claimed) => {
                for item in &claimed {
                    let message = items::message(feeder, item, streams_history).await;
                    if let Some(message) = message
                        && items.send(Ok(message)).await.is_err()
                    {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "store unavailable; work items delayed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
