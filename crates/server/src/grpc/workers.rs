//! Who is connected: every stream of work items, what it takes, and what it has in hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kernel::Timestamp;
use kernel::durable::{WorkKind, WorkQueue};
use parking_lot::Mutex;
use proto::{GetWorkItemsRequest, WorkItemFilters, WorkerCapability};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

/// Items of one kind that a stream may have in hand if its worker names no limit.
const IN_HAND_MAX: usize = 10_000;

/// All connected workers, and all that is in their hands.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connected: u64,
    workers: BTreeMap<u64, Arc<Worker>>,
    /// By token.
    in_hand: HashMap<String, InHand>,
}

/// A stream of work items.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number, unlike that of any other since the start.
    pub(super) number: u64,
    /// The task hub.
    pub(super) hub: Arc<str>,
    /// It can fetch a history in pieces.
    pub(super) streams_history: bool,
    about: About,
    takes: [Takes; 3],
    limits: [Option<usize>; 3],
    rooms: [Arc<Semaphore>; 3],
}

/// What a worker says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    /// Its own name for itself.
    pub(super) id: String,
    /// What software it is.
    pub(super) user_agent: String,
    /// Where it connected from.
    pub(super) since: Timestamp,
}

/// Which work of one kind a worker takes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Takes {
    Everything,
    /// Names with their versions; no versions = any.
    Only(Vec<(String, Vec<String>)>),
}

/// A work item that was sent and not answered.
#[derive(Debug)]
pub(super) struct InHand {
    /// Who has it.
    pub(super) worker: u64,
    /// What it is.
    pub(super) kind: WorkKind,
    /// Whose work it is.
    pub(super) instance: Arc<str>,
    /// The activity's number; 0 of everything else.
    pub(super) task: i32,
    hub: Arc<str>,
    since: Timestamp,
    _room: OwnedSemaphorePermit,
}

impl Workers {
    /// Writes a worker down; it is there until [`Workers::leave`].
    pub(super) fn join(
        &self,
        hub: &str,
        about: About,
        request: &GetWorkItemsRequest,
    ) -> Arc<Worker> {
        let limits = [
            request.max_concurrent_orchestration_work_items,
            request.max_concurrent_activity_work_items,
            request.max_concurrent_entity_work_items,
        ]
        .map(|limit| usize::try_from(limit).ok().filter(|limit| *limit > 0));
        let rooms = limits.map(|limit| {
            let room = limit.unwrap_or(IN_HAND_MAX).min(IN_HAND_MAX);
            Arc::new(Semaphore::new(room))
        });
        let mut state = self.state.lock();
        state.connected += 1;
        let worker = Arc::new(Worker {
            number: state.connected,
            hub: hub.into(),
            streams_history: request
                .capabilities()
                .any(|capability| capability == WorkerCapability::HistoryStreaming),
            about,
            takes: WorkKind::ALL.map(|kind| Takes::of(request.work_item_filters.as_ref(), kind)),
            limits,
            rooms,
        });
        state.workers.insert(worker.number, worker.clone());
        worker
    }

    /// Forgets a worker whose stream has ended; answers the tokens of what it had in hand.
    pub(super) fn leave(&self, worker: &Worker) -> Vec<String> {
        let mut state = self.state.lock();
        state.workers.remove(&worker.number);
        let mine = state.in_hand.iter().filter(|(_, item)| item.worker == worker.number);
        let tokens: Vec<String> = mine.map(|(token, _)| token.clone()).collect();
        for token in &tokens {
            state.in_hand.remove(token);
        }
        tokens
    }

    /// Notes that an item is on its way to a worker.
    pub(super) fn hand(
        &self,
        worker: &Worker,
        token: String,
        item: (WorkKind, Arc<str>, i32),
        now: Timestamp,
        room: OwnedSemaphorePermit,
    ) {
        let (kind, instance, task) = item;
        let item = InHand {
            worker: worker.number,
            kind,
            instance,
            task,
            hub: worker.hub.clone(),
            since: now,
            _room: room,
        };
        self.state.lock().in_hand.insert(token, item);
    }

    /// Takes an item out of its worker's hands: it is answered, or given back.
    pub(super) fn take(&self, token: &str) -> Option<InHand> {
        self.state.lock().in_hand.remove(token)
    }

    /// The token of what was handed out for an instance, for workers that do not send it back.
    pub(super) fn token_of(
        &self,
        hub: &str,
        kind: WorkKind,
        instance: &str,
        task: i32,
    ) -> Option<String> {
        let state = self.state.lock();
        let is_it = |item: &InHand| {
            item.kind == kind && item.task == task && *item.instance == *instance && *item.hub == *hub
        };
        state.in_hand.iter().find(|(_, item)| is_it(item)).map(|(token, _)| token.clone())
    }

    /// Items of a kind that are in hand since before an instant.
    pub(super) fn in_hand_since(&self, kind: WorkKind, before: Timestamp) -> Vec<String> {
        let state = self.state.lock();
        let late = state.in_hand.iter().filter(|(_, item)| item.kind == kind && item.since < before);
        late.map(|(token, _)| token.clone()).collect()
    }

    /// Every connected worker, as it is shown.
    pub(crate) fn list(&self) -> Vec<Connected> {
        let state = self.state.lock();
        let mut counts: HashMap<(u64, WorkKind), usize> = HashMap::new();
        for item in state.in_hand.values() {
            *counts.entry((item.worker, item.kind)).or_default() += 1;
        }
        let count = |worker: &Worker, kind| counts.get(&(worker.number, kind)).copied();
        state
            .workers
            .values()
            .map(|worker| worker.shown(|kind| count(worker, kind).unwrap_or_default()))
            .collect()
    }
}

impl Worker {
    /// The room for items of a kind.
    pub(super) fn room(&self, kind: WorkKind) -> Arc<Semaphore> {
        self.rooms[index(kind)].clone()
    }

    /// Whether it takes anything of a kind at all.
    pub(super) fn takes_any(&self, kind: WorkKind) -> bool {
        self.takes[index(kind)] != Takes::Only(Vec::new())
    }

    /// Whether it takes what stands in a queue.
    pub(super) fn takes(&self, queue: &WorkQueue) -> bool {
        if queue.hub != self.hub {
            return false;
        }
        match &self.takes[index(queue.kind)] {
            Takes::Everything => true,
            Takes::Only(names) => {
                let version = queue.version.as_deref().unwrap_or_default();
                names.iter().any(|(name, versions)| {
                    let is_named = match queue.kind {
                        WorkKind::Entity => name.eq_ignore_ascii_case(&queue.name),
                        WorkKind::Orchestration | WorkKind::Activity => **name == *queue.name,
                    };
                    is_named && (versions.is_empty() || versions.iter().any(|v| v == version))
                })
            }
        }
    }

    /// What it calls itself.
    pub(super) fn id(&self) -> &str {
        &self.about.id
    }

    fn shown(&self, outstanding: impl Fn(WorkKind) -> usize) -> Connected {
        let work = WorkKind::ALL.map(|kind| Share {
            kind: kind.as_str(),
            names: match &self.takes[index(kind)] {
                Takes::Everything => None,
                Takes::Only(names) => Some(names.iter().map(shown_name).collect()),
            },
            limit: self.limits[index(kind)],
            outstanding: outstanding(kind),
        });
        Connected {
            worker_id: self.about.id.clone(),
            task_hub: self.hub.to_string(),
            user_agent: self.about.user_agent.clone(),
            since: self.about.since.millis(),
            outstanding: work.iter().map(|share| share.outstanding).sum(),
            work: work.into(),
        }
    }
}

fn shown_name((name, versions): &(String, Vec<String>)) -> String {
    match versions.as_slice() {
        [] => name.clone(),
        versions => format!("{name} ({})", versions.join(", ")),
    }
}

fn index(kind: WorkKind) -> usize {
    match kind {
        WorkKind::Orchestration => 0,
        WorkKind::Activity => 1,
        WorkKind::Entity => 2,
    }
}

impl Takes {
    fn of(filters: Option<&WorkItemFilters>, kind: WorkKind) -> Self {
        let Some(filters) = filters else { return Self::Everything };
        Self::Only(match kind {
            WorkKind::Orchestration => {
                let filters = filters.orchestrations.iter();
                filters.map(|filter| (filter.name.clone(), filter.versions.clone())).collect()
            }
            WorkKind::Activity => {
                let filters = filters.activities.iter();
                filters.map(|filter| (filter.name.clone(), filter.versions.clone())).collect()
            }
            WorkKind::Entity => {
                filters.entities.iter().map(|filter| (filter.name.clone(), Vec::new())).collect()
            }
        })
    }
}

/// A connected worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connected {
    /// Its own name for itself.
    worker_id: String,
    /// The task hub that it works for.
    task_hub: String,
    /// What software it is.
    user_agent: String,
    /// When its stream began, in milliseconds since 1970.
    since: i64,
    /// Items sent to it and not answered.
    outstanding: usize,
    /// What it does, by kind of work.
    work: Vec<Share>,
}

/// What a worker does of one kind of work.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Share {
    /// `orchestration`, `activity` or `entity`.
    kind: &'static str,
    /// The names that it takes, with their versions; absent = every name.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    /// How many it takes at a time; absent = any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// Items sent to it and not answered.
    outstanding: usize,
}

#[cfg(test)]
mod tests {
    use proto::{ActivityFilter, EntityFilter, OrchestrationFilter};

    use super::*;

    fn queue(kind: WorkKind, name: &str, version: Option<&str>) -> WorkQueue {
        WorkQueue::new("hub", kind, name, version)
    }

    fn join(filters: Option<WorkItemFilters>) -> Arc<Worker> {
        let request =
            GetWorkItemsRequest { work_item_filters: filters, ..GetWorkItemsRequest::default() };
        Workers::default().join("hub", About::default(), &request)
    }

    #[test]
    fn without_filters_everything_of_the_hub_is_taken() {
        let worker = join(None);
        for kind in WorkKind::ALL {
            assert!(worker.takes_any(kind));
            assert!(worker.takes(&queue(kind, "anything", Some("1"))));
            assert!(!worker.takes(&WorkQueue::new("other", kind, "anything", None)));
        }
    }

    #[test]
    fn an_empty_category_takes_nothing_and_versions_narrow() {
        let worker = join(Some(WorkItemFilters {
            orchestrations: vec![
                OrchestrationFilter { name: "any".to_owned(), versions: vec![] },
                OrchestrationFilter { name: "two".to_owned(), versions: vec!["2".to_owned()] },
            ],
            activities: Vec::<ActivityFilter>::new(),
            entities: vec![EntityFilter { name: "Counter".to_owned() }],
        }));
        let cases = [
            (WorkKind::Orchestration, "any", None, true),
            (WorkKind::Orchestration, "any", Some("9"), true),
            (WorkKind::Orchestration, "Any", None, false),
            (WorkKind::Orchestration, "two", Some("2"), true),
            (WorkKind::Orchestration, "two", Some("1"), false),
            (WorkKind::Orchestration, "two", None, false),
            (WorkKind::Activity, "any", None, false),
            (WorkKind::Entity, "counter", None, true),
            (WorkKind::Entity, "other", None, false),
        ];
        for (kind, name, version, wanted) in cases {
            assert_eq!(worker.takes(&queue(kind, name, version)), wanted, "{kind:?} {name}");
        }
        assert!(!worker.takes_any(WorkKind::Activity));
    }

    #[tokio::test]
    async fn what_a_worker_leaves_behind_is_known() {
        let workers = Workers::default();
        let request = GetWorkItemsRequest {
            max_concurrent_activity_work_items: 1,
            ..GetWorkItemsRequest::default()
        };
        let worker = workers.join("hub", About::default(), &request);
        let room = worker.room(WorkKind::Activity);
        let permit = room.clone().acquire_owned().await.expect("open");
        let item = (WorkKind::Activity, "instance".into(), 7);
        workers.hand(&worker, "token".to_owned(), item, Timestamp::from_millis(1), permit);
        assert_eq!(room.available_permits(), 0);
        assert_eq!(workers.list()[0].outstanding, 1);
        let found = workers.token_of("hub", WorkKind::Activity, "instance", 7);
        assert_eq!(found.as_deref(), Some("token"));
        assert_eq!(workers.token_of("other", WorkKind::Activity, "instance", 7), None);
        assert_eq!(workers.leave(&worker), ["token"]);
        assert_eq!(room.available_permits(), 1);
        assert!(workers.list().is_empty());
        assert!(workers.take("token").is_none());
    }
}
