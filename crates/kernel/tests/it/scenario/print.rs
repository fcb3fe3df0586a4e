//! Histories in compact words: `+` scheduled, `=` ended, `>` owed to the world.

use std::fmt::Write as _;

use kernel::graph::{
    Closed, Ended, Event, Execution, GATE_PLACE, KEY_PLACE, Message, PRINCIPAL_PLACE, Scheduled,
    StartMessage, Task,
};
use kernel::{Dispatch, Effect, Json, Timestamp};

use super::machine::BEGIN;

/// Longest JSON or reason shown; what is longer is cut.
const SHOWN_MAX: usize = 300;

/// Ids derived from higher sequence numbers are shown as they are.
const NAMED_MAX: u32 = 60;

/// An instant as seconds since the begin of the scenario.
pub(super) fn at(instant: Timestamp) -> String {
    let millis = instant.since(BEGIN);
    if millis % 1000 == 0 { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn millis(millis: i64) -> String {
    at(BEGIN.plus_millis(millis))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

/// Text with the derived ids in it replaced by what they are ids of.
pub(super) fn named(state: &Execution, text: &str) -> String {
    let looks_derived = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    if !text.split(|c: char| c != '-' && !c.is_ascii_hexdigit()).any(looks_derived) {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    for sequence in 0..=NAMED_MAX {
        for purpose in ["child", "failure"] {
            let id = state.id.derive(purpose, sequence);
            text = text.replace(id.as_str(), &format!("{purpose}-{sequence}"));
        }
    }
    text
}

fn who(state: &Execution, sequence: u32) -> String {
    let reference = state.task(sequence).map_or("?", |task| &task.reference);
    format!("{reference}#{sequence}")
}

fn json_unless_empty(json: &Json) -> String {
    if json.is_empty_object() { String::new() } else { format!(" {}", cut(json.text())) }
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" \"{}\"", cut(reason)))
}

/// One line for a fact; `None` for the instant, which the step tells.
pub(super) fn event(state: &Execution, event: &Event) -> Option<String> {
    Some(match event {
        Event::At(_) => return None,
        Event::Started(started) => {
            let word = if started.restart { "restarted" } else { "started" };
            format!("{word}{}", json_unless_empty(&started.input))
        }
        Event::Scheduled(scheduled) => schedule(state, scheduled),
        Event::Forked { sequence, tasks, .. } => {
            let branches: Vec<&str> =
                tasks.iter().map(|task| task.task_reference_name.as_str()).collect();
            format!("fork {} into [{}]", who(state, *sequence), branches.join(", "))
        }
        Event::Begun { sequence, until } => {
            let until = until.map_or_else(String::new, |until| format!(" until {}", at(until)));
            format!("begin {}{until}", who(state, *sequence))
        }
        Event::Claimed { sequence, worker } => {
            format!("claimed {} by {}", who(state, *sequence), worker.as_deref().unwrap_or("-"))
        }
        Event::Progressed(progressed) => {
            let mut line = format!("progress {}", who(state, progressed.sequence));
            if let Some(after) = progressed.callback_after {
                write!(line, " again in {after}s").expect("fits");
            }
            line + &progressed.output.as_ref().map_or_else(String::new, json_unless_empty)
                + &because(progressed.reason.as_deref())
        }
        Event::Closed(closed) => close(state, closed),
        Event::Iterated { sequence, iteration, forget } => {
            let forgets =
                if *forget > 0 { format!(", forgets up to {forget}") } else { String::new() };
            format!("iteration {iteration} of {}{forgets}", who(state, *sequence))
        }
        Event::Variables { set } => format!("variables {}", cut(set.text())),
        Event::Paused => "paused".to_owned(),
        Event::Resumed => "resumed".to_owned(),
        Event::Alerted { sequence } => format!("alert {}", who(state, *sequence)),
        Event::Yielded => "yields".to_owned(),
        Event::Revived => "revived".to_owned(),
        Event::Reopened { sequence, .. } => format!("reopened {}", who(state, *sequence)),
        Event::Asked { asked } => format!("asked by the parent, count {asked}"),
        Event::Rewound { sequence, fresh: true, .. } => format!("back before #{sequence}"),
        Event::Rewound { sequence, input, .. } => {
            let input = input.as_ref().map_or_else(String::new, json_unless_empty);
            format!("rewound to {}{input}", who(state, *sequence))
        }
        Event::Amended { input, correlation_id } => {
            let input = input.as_ref().map_or_else(String::new, json_unless_empty);
            let label = correlation_id.as_ref().map_or_else(String::new, |c| format!(" label {c}"));
            format!("amended{input}{label}")
        }
        Event::Upgraded { .. } => {
            format!("upgraded to version {}", state.plan().definition.version)
        }
        Event::Posted { message } => format!("posted {}", cut(message.text())),
        Event::Collected { count } => format!("collected {count}"),
        Event::ChildStarted { sequence, instead: None, .. } => {
            format!("child of {} exists", who(state, *sequence))
        }
        Event::ChildStarted { sequence, instead: Some(instead), .. } => {
            let word = if instead.adopted { "adopts" } else { "has" };
            format!("{} {word} {}", who(state, *sequence), instead.id)
        }
        Event::Watched { watcher } => {
            format!("watched by {}-{}", watcher.execution, watcher.sequence)
        }
        Event::Gated { key, limit, admitted } => {
            let word = if *admitted { "passes" } else { "waits at" };
            format!("{word} the gate '{key}' for {limit}")
        }
        Event::Admitted => "admitted".to_owned(),
        Event::Counted => "counts for its principal".to_owned(),
        Event::Ended(ended) => end(ended),
        Event::ClockSetBack { by } => format!("the clock was set back by {}s", by / 1000),
        Event::Snapshot(_) => "snapshot".to_owned(),
        Event::Branched(whole) => {
            let origin = whole.state.branched_from.as_ref().expect("a fork is of something");
            let kept: Vec<String> =
                whole.state.tasks().map(|task| task.reference.to_string()).collect();
            let (from, version, at) = (&origin.from, origin.version, &origin.at);
            format!("branched from {from} (version {version}) at {at}, with [{}]", kept.join(", "))
        }
    })
}

fn schedule(state: &Execution, scheduled: &Scheduled) -> String {
    let mut line = format!("+ {}", who(state, scheduled.sequence));
    let reference = state.task(scheduled.sequence).map_or("", |task| &*task.reference);
    if reference.split("__").next() != Some(&*scheduled.task_type) {
        write!(line, " {}", scheduled.task_type).expect("fits");
    }
    if scheduled.retries > 0 {
        write!(line, " retry {} of #{}", scheduled.attempt, scheduled.retries).expect("fits");
    }
    if scheduled.delay > 0 {
        write!(line, " in {}", millis(scheduled.delay)).expect("fits");
    }
    if let Some(domain) = &scheduled.domain {
        write!(line, " domain {domain}").expect("fits");
    }
    if !scheduled.join_on.is_empty() {
        write!(line, " on [{}]", scheduled.join_on.join(", ")).expect("fits");
    }
    line + &json_unless_empty(&scheduled.input)
}

fn close(state: &Execution, closed: &Closed) -> String {
    let mut line = format!("= {} {}", who(state, closed.sequence), closed.status.as_str());
    line += &closed.output.as_ref().map_or_else(String::new, json_unless_empty);
    line + &because(closed.reason.as_deref())
}

fn end(ended: &Ended) -> String {
    let reason = because(ended.reason.as_deref());
    format!("END {} {}{reason}", ended.status.as_str(), cut(ended.output.text()))
}

/// One line for work owed.
pub(super) fn effect(state: &Execution, effect: &Effect) -> String {
    match effect {
        Effect::Dispatch(dispatch) => dispatched(state, dispatch),
        Effect::Withdraw { sequence: GATE_PLACE | KEY_PLACE | PRINCIPAL_PLACE } => {
            "> gives up its place".to_owned()
        }
        Effect::Withdraw { sequence } => format!("> withdraw {}", who(state, *sequence)),
        Effect::Hold { sequence } => format!("> hold {}", who(state, *sequence)),
        Effect::Send { to, message } => format!("> to {to}: {}", said(message)),
        Effect::Record(record) => format!("> {} {}: {}", record.ledger, record.key, record.status),
        Effect::Publish(event) => {
            format!("> publish {} to {}: {}", event.id, event.sink, cut(event.payload.text()))
        }
        Effect::Forget(execution) => format!("> forget {execution}"),
        Effect::Sample(sample) => format!("> sample {}", sample.number),
        Effect::Reuse(left) => {
            let (name, key, until) = (&left.name, &left.key, at(left.until));
            format!("> keep the output of {name} for '{key}' until {until}")
        }
        Effect::Admit(place) => {
            let word = if place.held { "takes" } else { "waits for" };
            format!("> {word} a place at {}, at most {}", place.gate, place.limit)
        }
    }
}

fn dispatched(state: &Execution, dispatch: &Dispatch) -> String {
    let mut line = format!("> dispatch {} to {}", who(state, dispatch.sequence), dispatch.queue);
    write!(line, " at {}", at(dispatch.ready_at)).expect("fits");
    if dispatch.priority > 0 {
        write!(line, " priority {}", dispatch.priority).expect("fits");
    }
    if dispatch.concurrent_max > 0 {
        write!(line, " at most {} of {}", dispatch.concurrent_max, dispatch.name).expect("fits");
    }
    if dispatch.rate_max > 0 {
        let (rate, window) = (dispatch.rate_max, dispatch.rate_window_seconds);
        write!(line, " at most {rate} per {window}s of {}", dispatch.name).expect("fits");
    }
    line
}

fn said(message: &Message) -> String {
    match message {
        Message::Start(start) => start_message(start),
        Message::Started { sequence, instead: None, .. } => format!("started, for #{sequence}"),
        Message::Started { sequence, instead: Some(instead), .. } => {
            let word = if instead.adopted { "found" } else { "started" };
            format!("{word}, for #{sequence}: {}", instead.id)
        }
        Message::Watch { asker, .. } => format!("watch, for {}", asker.by.execution),
        Message::Refused { sequence, reason, .. } => format!("refused, for #{sequence}: {reason}"),
        Message::Ended { sequence, status, output, reason, .. } => {
            let reason = because(reason.as_deref());
            format!("ended {}, for #{sequence}: {}{reason}", status.as_str(), cut(output.text()))
        }
        Message::Revived { sequence, .. } => format!("revived, for #{sequence}"),
        Message::Terminate { reason } => format!("terminate \"{}\"", cut(reason)),
        Message::Retry { asked, .. } => format!("retry, count {asked}"),
        Message::Durable(letter) => format!("{letter:?}"),
        Message::Observed(it) => format!("observed {} {}", it.key, it.status),
    }
}

fn start_message(start: &StartMessage) -> String {
    let mut line = format!("start {}", start.name);
    if let Some(version) = start.version {
        write!(line, " version {version}").expect("fits");
    }
    if start.definition.is_some() {
        line.push_str(" by its own definition");
    }
    line.push_str(&json_unless_empty(&start.input));
    if let Some(label) = &start.correlation_id {
        write!(line, " correlation {label}").expect("fits");
    }
    if start.priority > 0 {
        write!(line, " priority {}", start.priority).expect("fits");
    }
    if let Some(domains) = &start.task_to_domain {
        write!(line, " domains {}", domains.text()).expect("fits");
    }
    if let Some(promise) = &start.idempotency {
        let strategy = promise.strategy.map_or("a label", |strategy| strategy.as_str());
        write!(line, " key {} ({strategy})", promise.key).expect("fits");
    }
    if start.parent.is_none() {
        line.push_str(", nobody waits");
    }
    if let Some(failed) = &start.failure_of {
        write!(line, ", with the whole of {failed}").expect("fits");
    }
    line
}

/// Where everything stands at the end.
pub(super) fn summary(state: &Execution, now: Timestamp) -> String {
    let mut text = format!("{} {}", state.status.as_str(), cut(state.output.text()));
    text += &because(state.reason.as_deref());
    text.push('\n');
    if !state.variables.is_empty_object() {
        writeln!(text, "  variables {}", cut(state.variables.text())).expect("fits");
    }
    let many = state.task_count() > 40;
    if many {
        writeln!(text, "  {} tasks", state.task_count()).expect("fits");
    }
    for task in state.tasks().filter(|task| !many || !task.status.is_success()) {
        writeln!(text, "  {}", row(state, task)).expect("fits");
    }
    for waiting in state.waiting(now) {
        writeln!(text, "  {}: {}: {}", waiting.reference, waiting.code, waiting.reason)
            .expect("fits");
    }
    named(state, &text)
}

fn row(state: &Execution, task: &Task) -> String {
    let mut line = format!("{} {}", who(state, task.sequence), task.status.as_str());
    if task.retried {
        line.push_str(" (retried)");
    }
    line + &json_unless_empty(&state.output_of(task))
}

/// The lines that differ, with a few around them.
pub(super) fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let rest = expected[same..].iter().rev().zip(found[same..].iter().rev());
    let tail = rest.take_while(|(a, b)| a == b).count();
    let mut text = String::new();
    let mut add = |mark: &str, lines: &[&str]| {
        for line in lines {
            writeln!(text, "{mark} {line}").expect("fits");
        }
    };
    add(" ", &found[same.saturating_sub(4)..same]);
    add("-", &expected[same..expected.len() - tail]);
    add("+", &found[same..found.len() - tail]);
    text
}
