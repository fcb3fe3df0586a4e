//! Fact by fact: could this lawfully follow from what was recorded before?

use serde_json::Value;

use super::messages::Owed;
use super::record::{Attempt, Record};
use super::{Auditor, Batch, Verdict, broken, number};

impl Auditor {
    /// Judges one fact, then writes it down.
    pub(super) fn fact(
        &self,
        record: &mut Record,
        event: &Value,
        batch: &mut Batch,
        id: &str,
    ) -> Verdict {
        let (name, body) = match event {
            Value::String(name) => (name.as_str(), &Value::Null),
            Value::Object(members) => match members.iter().next() {
                Some((name, body)) => (name.as_str(), body),
                None => return broken("events parse", "an empty event"),
            },
            _ => return broken("events parse", event.to_string()),
        };
        if name == "at" {
            let at = body.as_i64().unwrap_or_default();
            if at < record.now {
                return broken("time goes on", format!("{at} after {}", record.now));
            }
            record.now = at;
            // A commit may hold two decisions: the second may have done what the first left over.
            record.yielded = false;
            return Ok(());
        }
        if name == "started" {
            return self.started(record, body, batch, id);
        }
        if !record.begun {
            return broken("begin first", format!("{name} before it was started"));
        }
        let lives_on =
            matches!(name, "revived" | "asked") || (name == "ended" && body["t"] == "TERMINATED");
        if record.is_over() && !lives_on {
            return broken("the end is the end", format!("{event} after {}", record.status));
        }
        if matches!(
            name,
            "paused" | "resumed" | "revived" | "yielded" | "variables" | "ended" | "asked"
        ) {
            return of_execution(record, name, body, batch);
        }
        if name == "scheduled" {
            return scheduled(record, body, batch);
        }
        let Some(sequence) = number(body, "s") else {
            return broken("events parse", event.to_string());
        };
        let Some(attempt) = record.attempts.get(&sequence).cloned() else {
            return broken("tasks are known", format!("{event} of a task that is not there"));
        };
        let open = attempt.is_open();
        let may_be_closed = matches!(name, "reopened" | "rewound" | "forked");
        if !open && !may_be_closed {
            let status = &attempt.status;
            return broken("a task ends once", format!("{event}, but it is {status}"));
        }
        match name {
            "closed" => self.closed(record, &attempt, body, batch, id),
            "iterated" => iterated(record, &attempt, body, batch),
            "begun" => begun(record, &attempt, body, batch),
            "rewound" => rewound(record, &attempt, body, batch),
            "forked" => {
                let branches = body["t"].as_array().cloned().unwrap_or_default();
                for task in branches {
                    let row = record.outline.row(&Value::Array(vec![task]), Some(attempt.place));
                    if let Some(attempt) = record.attempts.get_mut(&sequence) {
                        attempt.branches.push(row);
                    }
                }
                Ok(())
            }
            _ => small(record, &attempt, name, body, batch),
        }
    }

    fn started(&self, record: &mut Record, body: &Value, batch: &mut Batch, id: &str) -> Verdict {
        let again = body["r"] == true;
        if record.begun && !(again && record.is_over()) {
            return broken("begin once", format!("started while {}", record.status));
        }
        if self.gone.contains(id) && !self.post.is_root(id) {
            return broken("begin once", "started after it was removed");
        }
        let hash = body["p"].as_str().unwrap_or_default();
        let Some(plan) = self.plans.get(hash) else {
            return broken("plans are pinned", format!("no plan {hash}"));
        };
        let parent = body["o"]["x"].as_str().zip(number(&body["o"], "s"));
        let parent = parent.map(|(execution, sequence)| (execution.to_owned(), sequence));
        if again {
            batch.owed.extend(parent.clone().map(Owed::Revived));
        } else {
            batch.owed.extend(self.post.asker(id)?.map(Owed::Started));
        }
        *record = Record {
            begun: true,
            outline: (**plan).clone(),
            status: "RUNNING".to_owned(),
            now: record.now,
            counted_from: record.now,
            parent,
            highest: record.highest,
            endings: std::mem::take(&mut record.endings),
            ..Record::default()
        };
        Ok(())
    }

    fn closed(
        &self,
        record: &mut Record,
        attempt: &Attempt,
        body: &Value,
        batch: &mut Batch,
        id: &str,
    ) -> Verdict {
        let status = body["t"].as_str().unwrap_or_default().to_owned();
        let sequence = attempt.sequence;
        let place = record.place_of(attempt).clone();
        let witness = place.is_handed_out() || matches!(place.kind.as_str(), "WAIT" | "HUMAN");
        let said = body["o"]["said"].as_str().filter(|_| witness);
        let stopped = batch.ended.is_some()
            && body["o"].is_null()
            && (status == "CANCELED" || (place.kind == "DO_WHILE" && status == "FAILED"));
        let what = format!("{}-{sequence} ({}) {status}", id, place.reference);
        let paused = record.status == "PAUSED" && !place.is_handed_out() && said.is_none();
        if paused
            && batch.ended.is_none()
            && !matches!(place.kind.as_str(), "SUB_WORKFLOW" | "START_WORKFLOW")
        {
            return broken("paused is paused", what);
        }
        let closed_at = record.now;
        if let Some(attempt) = record.attempts.get_mut(&sequence) {
            attempt.status.clone_from(&status);
            attempt.stopped = stopped;
            attempt.ended_at = closed_at;
            if let Some(started_at) = body["b"].as_i64() {
                attempt.started_at.get_or_insert(started_at);
            }
            if !body["o"].is_null() {
                attempt.output = body["o"].clone();
            }
        }
        if stopped {
            if place.kind == "SUB_WORKFLOW" {
                batch.owed.push(Owed::Terminate(sequence));
            }
            return Ok(());
        }
        let now = record.attempts[&sequence].clone();
        if place.kind == "TERMINATE" && status == "COMPLETED" {
            batch.terminator = Some(sequence);
        }
        if let Some(said) = said {
            return testified(record, &now, said, &what);
        }
        match status.as_str() {
            "SKIPPED" => return Ok(()),
            "TIMED_OUT" | "COMPLETED_WITH_ERRORS" | "FAILED" | "CANCELED"
                if matches!(place.kind.as_str(), "SUB_WORKFLOW" | "START_WORKFLOW") =>
            {
                let over = timed_out(record, attempt);
                return if over { Ok(()) } else { self.answered(record, &now, &what, id) };
            }
            "TIMED_OUT" => {
                let over = timed_out(record, attempt);
                return if over { Ok(()) } else { broken("timeouts are never early", what) };
            }
            "COMPLETED_WITH_ERRORS" if place.kind != "JOIN" => {
                if !place.flag("optional") {
                    return broken("errors are not hidden", what);
                }
                return Ok(());
            }
            _ => {}
        }
        match place.kind.as_str() {
            "SIMPLE" | "HTTP" | "DYNAMIC" => {
                broken("workers decide", format!("{what}: nobody said so"))
            }
            "SUB_WORKFLOW" | "START_WORKFLOW" => self.answered(record, &now, &what, id),
            "INLINE" => inline(&now, &what),
            "SWITCH" => switched(record, &now, &what),
            "JOIN" => joined(record, &now, &what),
            "DO_WHILE" => looped(record, &now, &what),
            "WAIT" => match attempt.until {
                Some(until) if until <= record.now => Ok(()),
                until => broken("waits are kept", format!("{what} at {} of {until:?}", record.now)),
            },
            "HUMAN" => broken("workers decide", format!("{what}: nobody said so")),
            _ => Ok(()),
        }
    }

    /// A task that started an execution ends with what became of it.
    fn answered(&self, record: &Record, attempt: &Attempt, what: &str, id: &str) -> Verdict {
        const LAW: &str = "parents hear of children";
        if !attempt.begun && attempt.status != "COMPLETED" {
            return Ok(());
        }
        let Some(child) = self.post.child(id, attempt.sequence) else {
            return broken(LAW, format!("{what}: it has no child"));
        };
        let child_record = self.records.get(child);
        if attempt.status == "COMPLETED" && record.place_of(attempt).kind == "START_WORKFLOW" {
            let lives = child_record.is_some_and(|child| child.begun);
            return if lives {
                Ok(())
            } else {
                broken(LAW, format!("{what}: {child} is not there"))
            };
        }
        let Some(child_record) = child_record else {
            // It could not be started, or it was removed and cannot be tried again.
            let could = !self.gone.contains(child) || attempt.by_hand;
            let bad = matches!(attempt.status.as_str(), "FAILED" | "COMPLETED_WITH_ERRORS");
            return if bad && could {
                Ok(())
            } else {
                broken(LAW, format!("{what}: {child} is not there"))
            };
        };
        let fits = |ending: &String| match ending.as_str() {
            "COMPLETED" => attempt.status == "COMPLETED",
            "TIMED_OUT" => matches!(attempt.status.as_str(), "TIMED_OUT" | "COMPLETED_WITH_ERRORS"),
            "TERMINATED" => attempt.status == "CANCELED",
            _ => matches!(attempt.status.as_str(), "FAILED" | "COMPLETED_WITH_ERRORS"),
        };
        if child_record.endings.iter().any(fits) {
            return Ok(());
        }
        broken(LAW, format!("{what}, but {child} ended as {:?}", child_record.endings))
    }
}

/// What a worker said is what stands there, but for an optional task that has failed for good.
fn testified(record: &Record, attempt: &Attempt, said: &str, what: &str) -> Verdict {
    let optional = record.place_of(attempt).flag("optional");
    if attempt.status == "COMPLETED_WITH_ERRORS" {
        let mut failed = attempt.clone();
        failed.status = said.into();
        let failure = matches!(said, "FAILED" | "FAILED_WITH_TERMINAL_ERROR");
        if failure && optional && record.is_exhausted(&failed) {
            return Ok(());
        }
    } else if attempt.status == said {
        return Ok(());
    }
    broken("workers decide", format!("{what}, but the worker said {said}"))
}

fn timed_out(record: &Record, attempt: &Attempt) -> bool {
    let place = record.place_of(attempt);
    attempt.deadlines(place).iter().any(|(_, at)| *at <= record.now)
}

fn inline(attempt: &Attempt, what: &str) -> Verdict {
    let source = attempt.input["expression"].as_str().unwrap_or_default();
    let right = match (source, attempt.status.as_str()) {
        ("slow", "FAILED") | ("fail" | "", "FAILED_WITH_TERMINAL_ERROR") => true,
        (source, "COMPLETED") => {
            source.strip_prefix("const:") == attempt.output["result"].as_str()
                && source.starts_with("const:")
        }
        _ => false,
    };
    if right { Ok(()) } else { broken("scripts decide", format!("{what} of '{source}'")) }
}

fn switched(record: &Record, attempt: &Attempt, what: &str) -> Verdict {
    let written = &record.place_of(attempt).written;
    let expression = written["expression"].as_str().unwrap_or_default();
    let right = match expression.strip_prefix("const:") {
        Some(value) => value,
        None => attempt.input[expression].as_str().unwrap_or("null"),
    };
    if attempt.status == "COMPLETED" && attempt.output["selectedCase"] == *right {
        return Ok(());
    }
    broken("the right case", format!("{what} took {} instead of {right}", attempt.output))
}

fn joined(record: &Record, attempt: &Attempt, what: &str) -> Verdict {
    let mut statuses = Vec::new();
    for reference in &attempt.joins {
        let branch = record.branch_end(attempt, reference);
        let Some(branch) = branch.filter(|branch| !branch.is_open()) else {
            return broken("joins wait", format!("{what}, but {reference} has not ended"));
        };
        if branch.ended_badly() && !branch.stopped && !record.lets_pass(branch) {
            return broken("joins wait", format!("{what}, but {reference} may be tried again"));
        }
        statuses.push((branch.status.as_str(), branch.ended_well()));
    }
    let failed = statuses.iter().any(|(_, well)| !well);
    let cancelled = failed && statuses.iter().all(|(status, _)| *status == "CANCELED");
    let errors = statuses.iter().any(|(status, _)| *status == "COMPLETED_WITH_ERRORS");
    let right = match (cancelled, failed, errors) {
        (true, ..) => "CANCELED",
        (_, true, _) => "FAILED",
        (_, _, true) => "COMPLETED_WITH_ERRORS",
        _ => "COMPLETED",
    };
    let hidden = record.place_of(attempt).flag("optional") && right == "FAILED";
    if attempt.status == right || (hidden && attempt.status == "COMPLETED_WITH_ERRORS") {
        return Ok(());
    }
    broken("joins tell", format!("{what} instead of {right}"))
}

/// How often a loop goes round: as often as its items or its condition say.
fn rounds(record: &Record, attempt: &Attempt) -> Option<u32> {
    let written = &record.place_of(attempt).written;
    if !written["items"].is_null() {
        return match &attempt.input["items"] {
            Value::Array(items) => Some(items.len() as u32),
            Value::Null => Some(0),
            _ => Some(1),
        };
    }
    let condition = written["loopCondition"].as_str()?;
    condition.rsplit_once('<')?.1.parse::<u32>().ok().map(|count| count.max(1))
}

fn looped(record: &Record, attempt: &Attempt, what: &str) -> Verdict {
    if attempt.status != "COMPLETED" {
        // A rerun may have given it something that is no list.
        let right =
            attempt.status == "FAILED_WITH_TERMINAL_ERROR" && rounds(record, attempt).is_none();
        return if right { Ok(()) } else { broken("loops go round", what) };
    }
    let right = rounds(record, attempt);
    if right.is_none_or(|right| attempt.iteration < right) || (right != Some(attempt.iteration)) {
        let iteration = attempt.iteration;
        return broken("loops go round", format!("{what} after {iteration} of {right:?}"));
    }
    body_is_over(record, attempt, what)
}

fn body_is_over(record: &Record, attempt: &Attempt, what: &str) -> Verdict {
    let mut path = attempt.path.clone();
    path.push(attempt.iteration);
    let rows = &record.place_of(attempt).inner;
    if attempt.iteration == 0 || rows.iter().all(|row| record.is_finished(*row, &path)) {
        return Ok(());
    }
    broken("loops go round", format!("{what}, but iteration {} is not over", attempt.iteration))
}

fn iterated(record: &mut Record, attempt: &Attempt, body: &Value, batch: &Batch) -> Verdict {
    let next = number(body, "n").unwrap_or_default();
    let forget = number(body, "f").unwrap_or_default();
    let what = format!("{} comes to iteration {next}", attempt.sequence);
    if record.status != "RUNNING" {
        return broken("paused is paused", what);
    }
    let keep = attempt.input["keepLastN"].as_u64().unwrap_or(0) as u32;
    let surplus = if keep == 0 { 0 } else { attempt.iteration.saturating_sub(keep) };
    // What an operator has reopened in an iteration before is not forgotten under a worker's hands.
    let depth = attempt.path.len();
    let reopened = record.attempts.values().filter(|inner| {
        inner.is_open()
            && inner.path.len() > depth
            && inner.path.starts_with(&attempt.path)
            && record.outline.is_inside(inner.place, attempt.place)
    });
    let first = reopened.map(|inner| inner.path[depth]).min();
    let surplus = first.map_or(surplus, |first| surplus.min(first.saturating_sub(1)));
    let tidies_up = next == attempt.iteration && forget > 0 && forget == surplus;
    if tidies_up {
        // At its end a loop keeps no more than it was asked to.
    } else if !batch.reopened.contains(&attempt.sequence) {
        if next != attempt.iteration + 1 {
            return broken("loops go round", format!("{what} after {}", attempt.iteration));
        }
        if rounds(record, attempt).is_some_and(|rounds| next > rounds) {
            return broken("loops go round", format!("{what}, which is one too many"));
        }
        body_is_over(record, attempt, &what)?;
        if forget != surplus {
            return broken("loops keep", format!("{what} and forgets {forget}, not {surplus}"));
        }
    }
    let (outer, path) = (attempt.place, attempt.path.clone());
    if let Some(attempt) = record.attempts.get_mut(&attempt.sequence) {
        attempt.iteration = next;
        attempt.heard_at = record.now;
    }
    if forget > 0 {
        record.forget(|record, inner| {
            inner.path.len() > path.len()
                && inner.path.starts_with(&path)
                && inner.path[path.len()] <= forget
                && record.outline.is_inside(inner.place, outer)
        });
    }
    Ok(())
}

fn begun(record: &mut Record, attempt: &Attempt, body: &Value, batch: &mut Batch) -> Verdict {
    let place = record.place_of(attempt).clone();
    let what = format!("{} ({}) is begun", attempt.sequence, place.reference);
    if record.status != "RUNNING" {
        return broken("paused is paused", what);
    }
    if attempt.begun || place.is_handed_out() {
        return broken("tasks begin once", what);
    }
    if record.now < attempt.scheduled_at + attempt.delay {
        return broken("delays are kept", what);
    }
    let until = body["u"].as_i64();
    if place.kind == "WAIT" {
        let seconds = attempt.input["duration"].as_str().and_then(|text| text.strip_suffix('s'));
        let seconds = seconds.and_then(|seconds| seconds.parse::<i64>().ok());
        let right = seconds.map(|seconds| record.now + seconds * 1000);
        if until != right {
            return broken("waits are kept", format!("{what} until {until:?}, not {right:?}"));
        }
    }
    if matches!(place.kind.as_str(), "SUB_WORKFLOW" | "START_WORKFLOW") {
        batch.owed.push(Owed::Start(attempt.sequence));
    }
    let now = record.now;
    if let Some(attempt) = record.attempts.get_mut(&attempt.sequence) {
        attempt.begun = true;
        attempt.status = "IN_PROGRESS".into();
        attempt.started_at = Some(now);
        attempt.until = until;
        attempt.heard_at = now;
    }
    Ok(())
}

fn rewound(record: &mut Record, attempt: &Attempt, body: &Value, batch: &Batch) -> Verdict {
    if !batch.revived {
        return broken("the past stands", format!("{} rewound", attempt.sequence));
    }
    let sequence = attempt.sequence;
    if body["a"] == true {
        // One that was stopped waits again where it was; what stands after it does not change.
        if attempt.status != "CANCELED" {
            return broken("the past stands", format!("{sequence} set back, not cancelled"));
        }
    } else {
        record.forget(|record, other| record.comes_after(other, attempt));
    }
    let now = record.now;
    if let Some(again) = record.attempts.get_mut(&sequence) {
        let input = if body["i"].is_null() { again.input.clone() } else { body["i"].clone() };
        *again = Attempt {
            input,
            number: again.number,
            repeats: again.repeats,
            ..Attempt::fresh(sequence, again.place, again.path.clone(), now, again)
        };
    }
    Ok(())
}

impl Attempt {
    /// An attempt that nothing has happened to yet.
    fn fresh(sequence: u32, place: usize, path: Vec<u32>, now: i64, like: &Self) -> Self {
        Self {
            sequence,
            place,
            path,
            input: Value::Null,
            output: Value::Null,
            policy: like.policy.clone(),
            number: 0,
            delay: 0,
            status: "SCHEDULED".to_owned(),
            repeats: None,
            retried: false,
            by_hand: true,
            scheduled_at: now,
            first_at: now,
            started_at: None,
            ended_at: 0,
            heard_at: now,
            callback: 0,
            until: None,
            begun: false,
            worker: false,
            held: false,
            alerted: false,
            iteration: 0,
            joins: like.joins.clone(),
            branches: Vec::new(),
            stopped: false,
        }
    }
}

/// Facts that change one thing about a task.
fn small(
    record: &mut Record,
    attempt: &Attempt,
    name: &str,
    body: &Value,
    batch: &mut Batch,
) -> Verdict {
    let (now, handed_out) = (record.now, record.place_of(attempt).is_handed_out());
    let alerts = attempt.deadlines(record.place_of(attempt)).iter().any(|(_, at)| *at <= now);
    let Some(task) = record.attempts.get_mut(&attempt.sequence) else { return Ok(()) };
    match name {
        "claimed" => {
            if task.status != "SCHEDULED" || !handed_out {
                return broken(
                    "one holder",
                    format!("{} claimed as {}", task.sequence, task.status),
                );
            }
            if now < task.ready_at() && task.callback == 0 {
                return broken("delays are kept", format!("{} claimed too early", task.sequence));
            }
            task.status = "IN_PROGRESS".into();
            task.started_at.get_or_insert(now);
            task.worker = body["w"].is_string();
            task.callback = 0;
            task.heard_at = now;
        }
        "progressed" => {
            if body["o"].is_object() || !body["c"].is_null() {
                task.held = body["c"].is_null();
            }
            if let Some(after) = body["c"].as_i64() {
                task.callback = after;
                task.status = "SCHEDULED".into();
            }
            task.worker |= body["w"].is_string();
            task.heard_at = now;
        }
        "alerted" => {
            if !alerts || task.alerted {
                return broken("timeouts are never early", format!("{} alerted", task.sequence));
            }
            task.alerted = true;
        }
        "reopened" => {
            if !(batch.revived || task.ended_badly()) {
                return broken("the past stands", format!("{} reopened", task.sequence));
            }
            task.status = "IN_PROGRESS".into();
            task.retried = false;
            task.by_hand = true;
            // It has its whole time again.
            task.started_at = Some(now);
            task.alerted = false;
            task.stopped = false;
            task.heard_at = now;
            let (sequence, waits) =
                (task.sequence, record.outline.places[attempt.place].kind == "SUB_WORKFLOW");
            batch.reopened.push(sequence);
            if waits {
                batch.owed.push(Owed::MayRetry(sequence));
            }
        }
        "child_started" => task.heard_at = now,
        other => return broken("events parse", other),
    }
    Ok(())
}

/// Facts about the execution as a whole.
fn of_execution(record: &mut Record, name: &str, body: &Value, batch: &mut Batch) -> Verdict {
    match name {
        "paused" if record.status != "RUNNING" => {
            return broken("paused is paused", "paused twice");
        }
        "paused" => record.status = "PAUSED".into(),
        "resumed" if record.status != "PAUSED" => {
            return broken("paused is paused", "resumed, but not paused");
        }
        "resumed" => {
            record.status = "RUNNING".into();
            record.counted_from = record.now;
        }
        "revived" => {
            if !record.is_over() {
                return broken("the end is the end", "revived, but not ended");
            }
            record.status = "RUNNING".into();
            record.counted_from = record.now;
            let unasked = record.parent.clone().filter(|_| !batch.asked);
            batch.owed.extend(unasked.map(Owed::Revived));
        }
        "yielded" => record.yielded = true,
        "ended" => return record.ends(body, batch),
        _ => {}
    }
    Ok(())
}

fn scheduled(record: &mut Record, body: &Value, batch: &Batch) -> Verdict {
    let sequence = number(body, "s").unwrap_or_default();
    let place = number(body, "n").unwrap_or_default() as usize;
    let path: Vec<u32> = serde_json::from_value(body["l"].clone()).unwrap_or_default();
    let Some(written) = record.outline.places.get(place).cloned() else {
        return broken("tasks are known", format!("place {place} is not in the definition"));
    };
    let what = format!("{sequence} ({}, {path:?})", written.reference);
    if sequence <= record.highest {
        return broken("numbers go up", format!("{what} after {}", record.highest));
    }
    if record.status != "RUNNING" {
        return broken("paused is paused", format!("{what} scheduled while {}", record.status));
    }
    if path.len() != record.outline.loops_around(place) {
        return broken("iterations are named", what);
    }
    record.highest = sequence;
    let policy = if body["p"].is_null() { &written.written["taskDefinition"] } else { &body["p"] };
    let now = record.now;
    let mut attempt = Attempt {
        sequence,
        place,
        path: path.clone(),
        input: body["i"].clone(),
        output: Value::Null,
        policy: policy.clone(),
        number: body["a"].as_i64().unwrap_or(0),
        delay: body["w"].as_i64().unwrap_or(0),
        status: "SCHEDULED".to_owned(),
        repeats: number(body, "r"),
        retried: false,
        by_hand: batch.revived,
        scheduled_at: now,
        first_at: now,
        started_at: None,
        ended_at: 0,
        heard_at: now,
        callback: 0,
        until: None,
        begun: false,
        worker: false,
        held: false,
        alerted: false,
        iteration: 0,
        joins: serde_json::from_value(body["j"].clone()).unwrap_or_default(),
        branches: Vec::new(),
        stopped: false,
    };
    match number(body, "r") {
        Some(previous) => {
            attempt.first_at = record.tries_again(&attempt, previous, batch, &what)?;
        }
        None if batch.skipped.contains(&sequence) => {}
        None => record.may_begin(&attempt, &what)?,
    }
    record.latest.insert((place, path), sequence);
    record.attempts.insert(sequence, attempt);
    Ok(())
}

impl Record {
    /// Judges another attempt; answers when the first was scheduled.
    fn tries_again(
        &mut self,
        attempt: &Attempt,
        previous: u32,
        batch: &Batch,
        what: &str,
    ) -> Result<i64, (&'static str, String)> {
        const LAW: &str = "retries are counted";
        let fail = |what: String| Err((LAW, what));
        let Some(before) = self.attempts.get(&previous).cloned() else {
            return fail(format!("{what} repeats {previous}, which is not there"));
        };
        if before.place != attempt.place || before.path != attempt.path || before.retried {
            return fail(format!("{what} does not follow {previous}"));
        }
        if !before.ended_badly() {
            return fail(format!("{what} repeats {previous}, which is {}", before.status));
        }
        if attempt.number != before.number + 1 {
            return fail(format!("{what} is number {} after {}", attempt.number, before.number));
        }
        let by_hand = batch.revived && attempt.delay == 0;
        if !by_hand {
            if self.is_exhausted_for_sure(&before) {
                return fail(format!("{what} is one attempt too many after {}", before.status));
            }
            let least = before.least_delay();
            let most = least + before.most_jitter();
            if attempt.delay < least || attempt.delay > most {
                let law = "delays are kept";
                return Err((law, format!("{what} waits {} not {least}..{most}", attempt.delay)));
            }
        }
        if let Some(before) = self.attempts.get_mut(&previous) {
            before.retried = true;
        }
        Ok(before.first_at)
    }

    /// As [`Record::is_exhausted`], but where the jitter decides, it is not.
    fn is_exhausted_for_sure(&self, attempt: &Attempt) -> bool {
        let again = matches!(attempt.status.as_str(), "FAILED" | "TIMED_OUT");
        let total = attempt.limit("totalTimeoutSeconds") * 1000;
        !again
            || self.place_of(attempt).is_never_retried()
            || attempt.number >= self.allowed(attempt)
            || (total > 0
                && attempt.first_at + total <= attempt.ended_at + attempt.least_delay().max(1))
    }
}
