//! Who answers the tasks of a staged workflow: mocks, in the order in which they are written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, Handoff, Outcome, OutcomeStatus, PollRequest, TaskRunner};
use kernel::graph::{Awaits, Execution, Report, TaskStatus, Verdict};
use kernel::{ExecutionId, Json, TaskId};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::file::{Answer, Mocks};

/// What happened on the stage.
#[derive(Debug)]
pub(super) enum Noted {
    /// An execution has changed, or is about to.
    Changed(ExecutionId),
    /// A task waits in this queue for a worker.
    Queued(Arc<str>),
    /// A task was asked for that nobody answers.
    Unanswered(Asked),
}

/// A task that nobody answers.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) execution: ExecutionId,
    pub(super) reference: String,
    pub(super) task_type: String,
    pub(super) input: Json,
}

/// What tasks answer; clones are the same.
#[derive(Clone)]
pub(super) struct Script {
    left: Arc<Mutex<BTreeMap<String, VecDeque<Answer>>>>,
    says: UnboundedSender<Noted>,
}

/// How long a worker waits for work: longer than any test takes.
const WAIT: Duration = Duration::from_hours(24 * 3650);

impl Script {
    pub(super) fn new(mocks: &Mocks, says: UnboundedSender<Noted>) -> Self {
        let left = mocks.iter().map(|(name, it)| (name.clone(), it.iter().cloned().collect()));
        Self { left: Arc::new(Mutex::new(left.collect())), says }
    }

    /// The next answer of a reference name: that of this iteration, or that of any.
    pub(super) fn take(&self, reference: &str) -> Option<Answer> {
        let mut left = self.left.lock();
        let exact = left.get_mut(reference).and_then(VecDeque::pop_front);
        exact.or_else(|| left.get_mut(bare(reference))?.pop_front())
    }

    /// How many answers of each name nobody took, if any.
    pub(super) fn unused(&self) -> Vec<(String, usize)> {
        let left = self.left.lock();
        let unused = left.iter().filter(|(_, answers)| !answers.is_empty());
        unused.map(|(name, answers)| (name.clone(), answers.len())).collect()
    }

    /// Takes the answer of a task, or says that there is none.
    fn answer(&self, asked: impl FnOnce() -> Asked, reference: &str) -> Option<Answer> {
        let answer = self.take(reference);
        if answer.is_none() {
            // Nobody listens any more when the test is over.
            drop(self.says.send(Noted::Unanswered(asked())));
        }
        answer
    }
}

/// A reference name without the numbers of iterations.
pub(crate) fn bare(reference: &str) -> &str {
    let mut name = reference;
    while let Some((before, number)) = name.rsplit_once("__") {
        if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) {
            break;
        }
        name = before;
    }
    name
}

/// Runs the tasks of one built-in type by the script.
pub(super) struct Mocked {
    pub(super) task_type: &'static str,
    pub(super) script: Script,
}

#[async_trait]
impl TaskRunner for Mocked {
    fn task_type(&self) -> &'static str {
        self.task_type
    }

    fn takes_secrets(&self) -> bool {
        false
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let asked = || Asked {
            execution: ExecutionId::new(task.execution_id.clone()),
            reference: task.reference.clone(),
            task_type: self.task_type.to_owned(),
            input: task.input.clone(),
        };
        let Some(answer) = self.script.answer(asked, &task.reference) else {
            // It is never done.
            cancelled.cancelled().await;
            return outcome(&Answer::default());
        };
        let span = answer.after + answer.takes;
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {}
            () = pause(span) => {}
        }
        outcome(&answer)
    }
}

pub(super) async fn pause(millis: i64) {
    tokio::time::sleep(Duration::from_millis(millis.max(0).unsigned_abs())).await;
}

/// How a failure ends its task, and why.
fn failure(answer: &Answer) -> Option<(TaskStatus, &str)> {
    let why = answer.fail.as_deref()?;
    Some(match why.strip_prefix("terminal:") {
        Some(why) => (TaskStatus::FailedWithTerminalError, why.trim()),
        None => (TaskStatus::Failed, why),
    })
}

fn outcome(answer: &Answer) -> Outcome {
    let output = Json::of(&Value::Object(answer.output.clone()));
    let (status, reason) = match failure(answer) {
        None => (OutcomeStatus::Completed, None),
        Some((TaskStatus::Failed, why)) => (OutcomeStatus::Failed, Some(why.to_owned())),
        Some((_, why)) => (OutcomeStatus::FailedTerminally, Some(why.to_owned())),
    };
    Outcome { status, output, reason }
}

/// Those who stand for workers and people.
pub(super) struct Cast {
    engine: Engine,
    script: Script,
    /// Types that the server itself runs.
    built_in: BTreeSet<&'static str>,
    /// Queues at which somebody waits.
    queues: BTreeSet<Arc<str>>,
    /// Tasks that somebody is about to signal, or that nobody will.
    seen: BTreeSet<(ExecutionId, u32)>,
}

impl Cast {
    pub(super) fn new(engine: &Engine, script: &Script, built_in: BTreeSet<&'static str>) -> Self {
        let (queues, seen) = (BTreeSet::new(), BTreeSet::new());
        Self { engine: engine.clone(), script: script.clone(), built_in, queues, seen }
    }

    /// Somebody comes to work at a queue, if nobody does.
    pub(super) fn work_at(&mut self, queue: Arc<str>) {
        if self.built_in.contains(&*queue) || !self.queues.insert(queue.clone()) {
            return;
        }
        let (engine, script) = (self.engine.clone(), self.script.clone());
        tokio::spawn(async move {
            loop {
                let worker = Some("test".into());
                let request = PollRequest { queue: queue.clone(), worker, count: 1, wait: WAIT };
                let Ok(tasks) = engine.poll(request).await else { return };
                for task in tasks {
                    tokio::spawn(work(engine.clone(), script.clone(), task));
                }
            }
        });
    }

    /// Looks at what an execution waits for from people and others outside.
    pub(super) async fn look_at(&mut self, id: &ExecutionId) {
        let Ok(Some(waiting)) = self.engine.read(id, waiting_for_signals).await else { return };
        for (sequence, asked, by_itself) in waiting {
            if !self.seen.insert((id.clone(), sequence)) {
                continue;
            }
            let answer = self.script.take(&asked.reference);
            match answer {
                Some(answer) => {
                    let (engine, id) = (self.engine.clone(), id.clone());
                    tokio::spawn(async move {
                        pause(answer.after + answer.takes).await;
                        report(&engine, &id, sequence, &answer).await;
                    });
                }
                None if by_itself => {}
                None => drop(self.script.says.send(Noted::Unanswered(asked))),
            }
        }
    }
}

/// The open tasks that somebody outside ends, and whether they also end by themselves.
fn waiting_for_signals(state: &Execution) -> Vec<(u32, Asked, bool)> {
    if state.status.is_closed() {
        return Vec::new();
    }
    let waits = state.open_tasks().filter(|task| {
        task.begun && matches!(task.kind.awaits(), Awaits::Signal | Awaits::Message)
    });
    waits
        .map(|task| {
            let asked = Asked {
                execution: state.id.clone(),
                reference: task.reference.to_string(),
                task_type: task.task_type.to_string(),
                input: task.input.clone(),
            };
            (task.sequence, asked, task.until.is_some())
        })
        .collect()
}

/// A worker does what it was handed.
async fn work(engine: Engine, script: Script, task: TaskId) {
    let look = |state: &Execution| {
        let found = state.task(task.sequence)?;
        Some(Asked {
            execution: task.execution.clone(),
            reference: found.reference.to_string(),
            task_type: found.task_type.to_string(),
            input: found.input.clone(),
        })
    };
    let Ok(Some(Some(asked))) = engine.read(&task.execution, look).await else { return };
    let reference = asked.reference.clone();
    let Some(answer) = script.answer(|| asked, &reference) else { return };
    pause(answer.after + answer.takes).await;
    report(&engine, &task.execution, task.sequence, &answer).await;
}

async fn report(engine: &Engine, id: &ExecutionId, sequence: u32, answer: &Answer) {
    let failure = failure(answer);
    let report = Report {
        sequence,
        verdict: Verdict::Done(failure.map_or(TaskStatus::Completed, |(status, _)| status)),
        output: Some(Json::of(&Value::Object(answer.output.clone()))),
        merge: false,
        reason: failure.map(|(_, why)| why.into()),
        worker: Some("test".into()),
        started_at: None,
        metadata: None,
    };
    if let Err(error) = engine.report(id, report).await {
        tracing::debug!(%error, "task of a test rejected its mocked result");
    }
}
