//! A Durable Task worker: it replays histories by plain functions, as an SDK would by its own means.

use std::sync::Arc;
use std::time::Duration;

use engine::durable::{Answer, Profile, Room, WorkItem, WorkerSession};
use engine::{Engine, Error};
use kernel::ExecutionId;
use kernel::durable::entity::BatchResult;
use kernel::durable::instance::{Instance, Start, TurnResult, Work};
use kernel::durable::{
    Action, ActionKind, Call, Completion, Fact, HistoryEvent, OperationResult, Outcome, Status,
    Tags, WorkToken,
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn profile(hub: &str) -> Profile {
    Profile {
        hub: hub.into(),
        name: "worker".into(),
        agent: "test".into(),
        filters: None,
        room: Room::default(),
    }
}

/// What comes next, in time.
pub(crate) async fn claim(worker: &WorkerSession) -> Vec<WorkItem> {
    let claimed = tokio::time::timeout(PATIENCE, worker.claim()).await;
    claimed.expect("work comes in time").expect("the store answers")
}

/// The one thing that comes next.
pub(crate) async fn claim_one(worker: &WorkerSession) -> WorkItem {
    let mut items = claim(worker).await;
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

pub(crate) fn answer(token: &WorkToken, actions: Vec<Action>) -> TurnResult {
    let token = token.clone();
    TurnResult { token, actions, custom_status: None, processed: None, trace: None }
}

#[expect(clippy::unnecessary_wraps, reason = "what takes a text takes it or leaves it")]
pub(crate) fn text(text: &str) -> Option<Arc<str>> {
    Some(text.into())
}

pub(crate) fn task(id: i32, name: &str) -> Action {
    Action { id, kind: ActionKind::ScheduleTask(Box::new(Call::new(name, text("1")))) }
}

pub(crate) fn child(id: i32, name: &str) -> Action {
    let call = Box::new(Call::new(name, text("{\"who\":\"you\"}")));
    Action { id, kind: ActionKind::CreateSubOrchestration { instance_id: "".into(), call } }
}

pub(crate) fn completed(id: i32, result: &str) -> Action {
    let completion = Completion {
        outcome: Outcome::Completed,
        result: text(result),
        failure: None,
        new_version: None,
        carryover: Vec::new(),
        tags: Tags::new(),
    };
    Action { id, kind: ActionKind::Complete(Box::new(completion)) }
}

pub(crate) async fn start(engine: &Engine, id: &str, name: &str) -> ExecutionId {
    let start = Start::new(name, text("\"in\""), Engine::new_execution_id());
    engine.start_instance("hub", Some(id), start).await.expect("it starts")
}

/// Waits until an instance has ended.
pub(crate) async fn ended(engine: &Engine, id: &ExecutionId) -> (Status, Option<Arc<str>>) {
    let look =
        |state: &Instance| state.status.is_closed().then(|| (state.status, state.output.clone()));
    let end = tokio::time::timeout(PATIENCE, engine.wait_instance(id, look)).await;
    end.expect("it ends in time").expect("the store answers").expect("it is there")
}

/// Does whatever comes to a hub until the engine stops, or this is dropped.
pub(crate) fn work(engine: &Engine, hub: &str) -> tokio::task::JoinHandle<()> {
    let (engine, worker) = (engine.clone(), engine.attend(profile(hub)));
    tokio::spawn(async move {
        loop {
            let items = worker.claim().await.unwrap_or_default();
            if items.is_empty() {
                return;
            }
            for item in items {
                match carry_out(&engine, item).await {
                    Ok(_) | Err(Error::Closing) => {}
                    Err(error) => panic!("an answer was refused: {error}"),
                }
            }
        }
    })
}

pub(crate) async fn carry_out(engine: &Engine, item: WorkItem) -> Result<Answer, Error> {
    match item {
        WorkItem::Instance(Work::Turn { token, past, new, .. }) => {
            let all: Vec<HistoryEvent> = past.into_iter().chain(new).collect();
            let actions = orchestrate(&all);
            engine.complete_turn(answer(&token, actions)).await
        }
        WorkItem::Instance(Work::Activity { token, call, .. }) => {
            let result = Ok(text(&format!("\"{} done\"", call.name)));
            engine.complete_activity(token, result).await
        }
        WorkItem::Batch(batch) => {
            let mut state: i64 =
                batch.state.as_deref().map_or(0, |it| it.parse().expect("its state is a number"));
            let mut results = Vec::new();
            let mut gone = false;
            for event in &batch.operations {
                let (Fact::EntitySignaled(it) | Fact::EntityCalled(it)) = &event.fact else {
                    panic!("no operation: {event:?}")
                };
                gone = &*it.operation == "delete";
                state += i64::from(&*it.operation == "add");
                results.push(OperationResult::Done { result: text(&state.to_string()) });
            }
            let state = (!gone).then(|| Arc::from(state.to_string()));
            let result = BatchResult {
                token: batch.token,
                results,
                actions: Vec::new(),
                state,
                failure: None,
            };
            engine.complete_batch(result).await
        }
    }
}

/// What the orchestrators of the tests do, by name.
fn orchestrate(all: &[HistoryEvent]) -> Vec<Action> {
    let name = all.iter().find_map(|event| match &event.fact {
        Fact::ExecutionStarted(started) => Some(started.name.clone()),
        _ => None,
    });
    let asked = all.iter().filter(|event| event.id > 0).count();
    let answered = |task: i32| {
        all.iter().find_map(|event| match &event.fact {
            Fact::TaskCompleted { task: of, result } if *of == task => Some(result.clone()),
            Fact::SubOrchestrationCompleted { task: of, result } if *of == task => {
                Some(result.clone())
            }
            Fact::TimerFired { timer, .. } if *timer == task => Some(None),
            _ => None,
        })
    };
    let now = all
        .iter()
        .rev()
        .find(|event| event.fact == Fact::OrchestratorStarted)
        .map(|event| event.at)
        .expect("a turn has its time");
    match (&*name.expect("it has begun"), asked) {
        // An activity, a timer, a child, one after the other.
        ("chain", 0) => vec![task(1, "greet")],
        ("chain", 1) if answered(1).is_some() => {
            vec![Action { id: 2, kind: ActionKind::CreateTimer { fire_at: now.plus_millis(5) } }]
        }
        ("chain", 2) if answered(2).is_some() => vec![child(3, "leaf")],
        ("chain", 3) => match answered(3) {
            Some(result) => vec![completed(4, &result.unwrap_or_default())],
            None => Vec::new(),
        },
        ("leaf", _) => vec![completed(1, "\"leaf\"")],
        ("crossing", 0) => vec![child(1, "workflow:echoes")],
        ("crossing", _) => match answered(1) {
            Some(result) => vec![completed(2, &result.unwrap_or_default())],
            None => Vec::new(),
        },
        ("fan", 0) => (1..=20).map(|id| task(id, "part")).collect(),
        ("fan", _) if (1..=20).all(|id| answered(id).is_some()) => vec![completed(21, "20")],
        _ => Vec::new(),
    }
}
