//! A run as spans: one for each attempt at a task, and one for the run. Nothing that a run was given, has
//! computed or answers is in them.

use kernel::graph::{Execution, Parent, Status as RunStatus, Task, TaskStatus};
use kernel::trace::{SpanId, TraceId, TraceParent};
use kernel::{ExecutionId, Timestamp};
use proto::otlp::any_value::Value;
use proto::otlp::{AnyValue, KeyValue, Link, Span, SpanKind, Status, StatusCode};

/// Bytes of the longest name, and of the longest reason.
pub(super) const NAME_MAX: usize = 256;
const REASON_MAX: usize = 1024;
/// Of the flags of a span: it is sampled; whether it is of another process is known; it is.
const SAMPLED: u32 = 1;
const ORIGIN_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// What there is to say about a run beside the run itself.
pub(super) struct About {
    /// Its trace.
    pub(super) trace: TraceId,
    /// What ended before this was exported before.
    pub(super) since: Timestamp,
    /// The span of whatever waits for it.
    pub(super) parent: Option<SpanId>,
    /// The span of the run that it is a fork of.
    pub(super) forked_from: Option<(TraceId, SpanId)>,
}

/// The spans of a run from a number on, at most so many, and whether these are its last.
pub(super) fn of(run: &Execution, about: &About, from: usize, most: usize) -> (Vec<Span>, bool) {
    let tasks = run.tasks().filter(|task| about.has(run, task)).skip(from).take(most);
    let mut spans: Vec<Span> = tasks.map(|task| of_task(run, about, task)).collect();
    let is_whole = spans.len() < most;
    if is_whole {
        spans.push(of_run(run, about));
    }
    (spans, is_whole)
}

impl About {
    /// Whether a task is exported with the run. All that is left open when it ends is closed then.
    fn has(&self, run: &Execution, task: &Task) -> bool {
        // Where there was nothing before, a clock that was set back hides nothing.
        let is_all = run.life() == 0 && run.branched_from.is_none();
        task.ended_at.is_some_and(|at| is_all || at >= self.since)
    }
}

fn of_run(run: &Execution, about: &About) -> Span {
    let definition = &run.plan().definition;
    let mut attributes = vec![
        text("nightbell.workflow.id", run.id.as_str()),
        text("nightbell.workflow.name", &definition.name),
        number("nightbell.workflow.version", definition.version.into()),
        text("nightbell.workflow.status", run.status.as_str()),
    ];
    let said = [
        ("nightbell.workflow.correlation_id", run.correlation_id.as_deref()),
        ("nightbell.workflow.event", run.event.as_deref()),
        ("nightbell.workflow.parent", run.parent.as_ref().map(|it| it.execution.as_str())),
    ];
    attributes.extend(said.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    let life = run.life();
    let mut links = Vec::new();
    if let Some(caller) = run.traceparent.as_deref().and_then(TraceParent::parse) {
        links.push(to_caller(caller));
    }
    if let Some(before) = life.checked_sub(1) {
        let span = SpanId::of_run(&run.id, before);
        links.push(link(about.trace, span, "earlier_run", SAMPLED | ORIGIN_KNOWN));
    }
    if let Some((trace, span)) = about.forked_from {
        links.push(link(trace, span, "forked_from", SAMPLED | ORIGIN_KNOWN));
    }
    let status = match run.status {
        RunStatus::Completed => None,
        _ => Some(failed(run.reason.as_deref().unwrap_or(run.status.as_str()))),
    };
    Span {
        trace_id: about.trace.bytes().to_vec(),
        span_id: SpanId::of_run(&run.id, life).bytes().to_vec(),
        parent_span_id: about.parent.map(|span| span.bytes().to_vec()).unwrap_or_default(),
        name: cut(&definition.name, NAME_MAX).to_owned(),
        kind: SpanKind::Internal.into(),
        links,
        ..span(about.since, run.ended_at, attributes, status)
    }
}

fn of_task(run: &Execution, about: &About, task: &Task) -> Span {
    let node = run.node_of(task);
    let mut attributes = vec![
        text("nightbell.task.id", &run.task_id(task.sequence).to_string()),
        text("nightbell.task.reference", &task.reference),
        text("nightbell.task.name", task.definition_name()),
        text("nightbell.task.type", &task.task_type),
        text("nightbell.task.status", task.status.as_str()),
        number("nightbell.task.retry_count", task.attempt.into()),
        text("nightbell.workflow.id", run.id.as_str()),
    ];
    if let Some(worker) = &task.worker {
        attributes.push(text("nightbell.worker.id", worker));
    }
    if let Some(domain) = &task.domain {
        attributes.push(text("nightbell.task.domain", domain));
    }
    if let Some(child) = &task.child {
        attributes.push(text("nightbell.task.child", child.as_str()));
    }
    let ready_at = task.scheduled_at.plus_millis(task.delay);
    if let Some(started_at) = task.started_at {
        // Since it was ready, not counting the pause before a retry.
        let waited = started_at.since(ready_at).max(0) as f64 / 1000.0;
        attributes.push(attribute("nightbell.task.queue_time", Value::DoubleValue(waited)));
    }
    let is_failed = task.status != TaskStatus::Canceled
        && (task.status.is_failure() || task.status == TaskStatus::CompletedWithErrors);
    let reason = task.reason.as_deref();
    if let Some(reason) = reason.filter(|_| !is_failed) {
        attributes.push(text("nightbell.task.reason", cut(reason, REASON_MAX)));
    }
    let status = is_failed.then(|| failed(reason.unwrap_or(task.status.as_str())));
    let calls = matches!(&*task.task_type, "HTTP" | "HTTP_POLL");
    let began = task.started_at.unwrap_or(task.scheduled_at);
    Span {
        trace_id: about.trace.bytes().to_vec(),
        span_id: SpanId::of_task(&run.id, run.life(), task.sequence).bytes().to_vec(),
        parent_span_id: SpanId::of_run(&run.id, run.life()).bytes().to_vec(),
        // Without the number of the iteration: what is alike has one name.
        name: cut(&node.reference, NAME_MAX).to_owned(),
        kind: if calls { SpanKind::Client } else { SpanKind::Internal }.into(),
        ..span(began, task.ended_at, attributes, status)
    }
}

/// What all spans have in common. Clocks that were set back make none that ends before it begins.
pub(super) fn span(
    began: Timestamp,
    ended: Option<Timestamp>,
    attributes: Vec<KeyValue>,
    status: Option<Status>,
) -> Span {
    let ended = ended.unwrap_or(began).max(began);
    Span {
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(ended),
        attributes,
        status,
        flags: SAMPLED | ORIGIN_KNOWN,
        ..Span::default()
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0).saturating_mul(1_000_000)
}

pub(super) fn failed(why: &str) -> Status {
    Status { message: cut(why, REASON_MAX).to_owned(), code: StatusCode::Error.into() }
}

/// The link to the span of a caller outside.
pub(super) fn to_caller(caller: TraceParent) -> Link {
    let flags = u32::from(caller.sampled) | ORIGIN_KNOWN | REMOTE;
    link(caller.trace, caller.span, "caller", flags)
}

fn link(trace: TraceId, span: SpanId, what: &str, flags: u32) -> Link {
    Link {
        trace_id: trace.bytes().to_vec(),
        span_id: span.bytes().to_vec(),
        attributes: vec![text("nightbell.link", what)],
        flags,
    }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(cut(value, REASON_MAX).to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The run that a run is a fork of, and what waits for it.
pub(super) fn origin_of(run: &Execution) -> (Option<ExecutionId>, Option<Parent>) {
    (run.branched_from.as_ref().map(|origin| origin.from.clone()), run.parent.clone())
}
