//! A Durable Task worker in process, which does what a test says.

use std::time::Duration;

use axum::http::Method;
use engine::Options;
use engine::durable::{Leases, NameFilter, Profile, Room, WorkFilters, WorkItem, WorkerSession};
use kernel::durable::entity::Batch;
use kernel::durable::instance::{TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, Call, Completion, FailureDetails, HistoryEvent, Outcome, Tags,
};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::support::Server;

/// How long work may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const BASE: &str = "/runtime/webhooks/durabletask";

/// A worker that does what the test says.
pub(crate) struct Worker {
    pub(crate) server: Server,
    attendance: WorkerSession,
    /// Handed out and not yet done.
    held: Mutex<Vec<WorkItem>>,
}

impl Worker {
    /// A worker that takes everything.
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    /// A worker that takes these orchestrators alone.
    pub(crate) async fn picky(orchestrations: &[&str]) -> Self {
        let named = |name: &&str| NameFilter { name: (*name).into(), versions: Vec::new() };
        let orchestrations = orchestrations.iter().map(named).collect();
        Self::with(Some(WorkFilters { orchestrations, ..WorkFilters::default() })).await
    }

    /// A worker that takes these versions of an orchestrator alone.
    pub(crate) async fn of_versions(name: &str, versions: &[&str]) -> Self {
        let versions = versions.iter().map(|version| (*version).into()).collect();
        let orchestrations = vec![NameFilter { name: name.into(), versions }];
        Self::with(Some(WorkFilters { orchestrations, ..WorkFilters::default() })).await
    }

    async fn with(filters: Option<WorkFilters>) -> Self {
        Self::at(Server::new().await, filters)
    }

    /// A worker that takes everything, whose work is not offered again for long once it is given back.
    pub(crate) async fn not_asked_again() -> Self {
        let leases = Leases { abandoned: Duration::from_mins(10), ..Leases::default() };
        let options = Options { leases, ..Options::default() };
        Self::at(Server::with_options(options).await, None)
    }

    fn at(server: Server, filters: Option<WorkFilters>) -> Self {
        let attendance = server.engine.attend(Profile {
            hub: "default".into(),
            name: "tester".into(),
            agent: "test".into(),
            filters,
            room: Room { orchestrations: 1, activities: 1, entities: 1 },
        });
        Self { server, attendance, held: Mutex::default() }
    }

    /// The next piece of work that fits; there must be one soon.
    pub(crate) async fn next(&self, fits: fn(&WorkItem) -> bool) -> WorkItem {
        loop {
            let mut held = self.held.lock().await;
            if let Some(at) = held.iter().position(fits) {
                return held.remove(at);
            }
            let claimed = tokio::time::timeout(PATIENCE, self.attendance.claim()).await;
            held.extend(claimed.expect("there is work soon").expect("memory answers"));
        }
    }

    pub(crate) async fn batch(&self) -> Batch {
        match self.next(|item| matches!(item, WorkItem::Batch(_))).await {
            WorkItem::Batch(batch) => batch,
            WorkItem::Instance(work) => panic!("a batch was expected: {work:?}"),
        }
    }

    /// Answers the next turn with these actions, and tells what was new in it.
    pub(crate) async fn turn(
        &self,
        actions: Vec<(i32, ActionKind)>,
        custom: Option<&str>,
    ) -> Vec<HistoryEvent> {
        let WorkItem::Instance(Work::Turn { token, new, .. }) = self.next(is_turn).await else {
            panic!("a turn was expected")
        };
        let result = TurnResult {
            token,
            actions: actions.into_iter().map(|(id, kind)| Action { id, kind }).collect(),
            custom_status: custom.map(Into::into),
            processed: None,
            trace: None,
        };
        self.server.engine.complete_turn(result).await.expect("it is taken");
        new
    }

    pub(crate) async fn activity(&self, result: Result<&str, &str>) {
        let WorkItem::Instance(Work::Activity { token, .. }) = self.next(is_activity).await else {
            panic!("an activity was expected")
        };
        let failed = |message| Box::new(FailureDetails::new("ValueError", message));
        let result = match result {
            Ok(result) => Ok(Some(result.into())),
            Err(message) => Err(failed(message.to_owned())),
        };
        self.server.engine.complete_activity(token, result).await.expect("it is taken");
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let answer = self.server.send(method, &format!("{BASE}{path}"), body.to_owned()).await;
        let body = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
        (answer.status.as_u16(), body)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask(Method::POST, path, body).await
    }
}

pub(crate) fn is_turn(item: &WorkItem) -> bool {
    matches!(item, WorkItem::Instance(Work::Turn { .. }))
}

pub(crate) fn is_activity(item: &WorkItem) -> bool {
    matches!(item, WorkItem::Instance(Work::Activity { .. }))
}

pub(crate) fn call(name: &str) -> ActionKind {
    let input = Some("\"Tokyo\"".into());
    ActionKind::ScheduleTask(Box::new(Call { name: name.into(), input, ..Call::default() }))
}

pub(crate) fn end(outcome: Outcome, result: &str) -> ActionKind {
    let failure = (outcome == Outcome::Failed)
        .then(|| Box::new(FailureDetails::new("ValueError", "no luck")));
    ActionKind::Complete(Box::new(Completion {
        outcome,
        result: failure.is_none().then(|| result.into()),
        failure,
        new_version: None,
        carryover: Vec::new(),
        tags: Tags::new(),
    }))
}
