//! `HTTP_POLL`: the same request again and again, until a condition over the answer holds.
//!
//! The task is not held between two polls: each ends with an order to be run again later, so a
//! thousand waiting polls cost a thousand rows, and a restart goes on where the last answer left
//! off. How many there were is counted by the engine, with the attempt.

mod condition;
mod schedule;

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Engine, Handoff, Outcome, OutcomeStatus, TaskRunner, WeakEngine};
use kernel::{Json, Scripts};
use tokio_util::sync::CancellationToken;

use crate::http::fields::Fields;
use crate::http::{self, Client, Code, Filter, Problem, Request};
use crate::javascript::JavaScript;
use condition::{Condition, Verdict};
use schedule::Schedule;

/// Bounds of polling.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shortest pause between two polls; a definition that asks for less gets this. Orkes' servers
    /// insist on a minute. 1 second, the least there can be.
    pub interval_min: Duration,
    /// Longest pause that a strategy comes to; a `pollingInterval` that is longer itself is obeyed.
    /// An hour.
    pub backoff_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { interval_min: Duration::from_secs(1), backoff_max: Duration::from_hours(1) }
    }
}

/// Runs tasks of type `HTTP_POLL`.
pub struct HttpPoll {
    client: Client,
    scripts: JavaScript,
    settings: Settings,
    /// Evaluates conditions where nothing else is held up.
    engine: OnceLock<WeakEngine>,
}

impl HttpPoll {
    /// Makes the runner from a client whose connections it shares and an engine for conditions.
    pub fn new(client: Client, scripts: JavaScript, settings: Settings) -> Self {
        Self { client, scripts, settings, engine: OnceLock::new() }
    }

    async fn judge(&self, condition: Condition, input: &Json, output: &Json) -> Verdict {
        let Some(engine) = self.engine.get().and_then(WeakEngine::upgrade) else {
            let run = |source: &str, form, seen: &Json| self.scripts.run(source, form, seen);
            return condition.judge(run, input, output);
        };
        let (input, output) = (input.clone(), output.clone());
        let judge = move |_: &Engine, scripts: &dyn Scripts| {
            let run = |source: &str, form, seen: &Json| scripts.javascript(source, form, seen);
            condition.judge(run, &input, &output)
        };
        engine.evaluate(judge).await.unwrap_or_else(|error| Verdict::Broken {
            reason: format!("its terminationCondition was not evaluated: {error}"),
            terminal: false,
        })
    }
}

/// One task's input, read.
struct Poll {
    request: Request,
    filter: Option<Filter>,
    condition: Condition,
    schedule: Schedule,
}

impl Poll {
    /// Reads `terminationCondition`, `pollingInterval` (seconds), `pollingStrategy` and
    /// `maxPollCount` from `http_request`, where Orkes' documents put them, or beside it.
    fn parse(task: &Handoff, settings: &Settings) -> Result<Self, Problem> {
        let request = Request::parse(&task.input)?.traced(task.traceparent.as_deref());
        let not_object =
            || Problem::new(Code::InvalidInput, "The HTTP_POLL task's input must be an object");
        let outer = Fields::of(task.input.text()).ok_or_else(not_object)?;
        let inner = outer.get("http_request").and_then(|request| Fields::of(request.get()));
        let places: Vec<_> = inner.iter().chain([&outer]).collect();
        Ok(Self {
            request,
            filter: Filter::parse(&task.input, &task.reference)?,
            condition: Condition::parse(&places)?,
            schedule: Schedule::parse(&places, settings)?,
        })
    }
}

#[async_trait]
impl TaskRunner for HttpPoll {
    fn task_type(&self) -> &'static str {
        "HTTP_POLL"
    }

    fn attach(&self, engine: WeakEngine) {
        self.engine.get_or_init(|| engine);
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let poll = match Poll::parse(&task, &self.settings) {
            Ok(poll) => poll,
            Err(problem) => return http::refused(&problem),
        };
        let response = match http::call(&self.client, &poll.request, &cancelled).await {
            Ok(response) => response,
            Err(outcome) => return outcome,
        };
        let output = response.output();
        let verdict = self.judge(poll.condition, &task.input, &output).await;
        let output = http::shown(poll.filter.as_ref(), output);
        let polls = task.runs.saturating_add(1);
        let (status, reason) = match verdict {
            Verdict::Done => {
                let waits = poll.request.async_complete.unwrap_or(task.async_complete);
                return http::completed(output, waits);
            }
            Verdict::Again if polls < poll.schedule.polls_max => {
                let again_after = Some(poll.schedule.pause(polls));
                return Outcome {
                    status: OutcomeStatus::InProgress { again_after },
                    output,
                    reason: None,
                };
            }
            Verdict::Again => {
                let reason = format!("{polls} polls (maxPollCount) did not meet its condition");
                (OutcomeStatus::Failed, reason)
            }
            Verdict::Failed => {
                (OutcomeStatus::Failed, "its terminationCondition answered -1, failure".to_owned())
            }
            Verdict::Broken { reason, terminal: true } => (OutcomeStatus::FailedTerminally, reason),
            Verdict::Broken { reason, terminal: false } => (OutcomeStatus::Failed, reason),
        };
        Outcome { status, output, reason: Some(format!("{}: {reason}", poll.request)) }
    }
}
