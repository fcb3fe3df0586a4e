//! JOIN and EXCLUSIVE_JOIN: waiting for branches. Looked at when a branch ends, never by the clock.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::draft::{Draft, End, reference_at};
use super::super::event::{Event, Progressed};
use super::super::execution::{Execution, Task, suffixed};
use super::super::object::ObjectText;
use super::super::plan::{BlockId, Kind, NodeId};
use super::super::status::TaskStatus;
use super::script::is_javascript;
use super::{fork, switch};
use crate::json::Json;
use crate::script::Form;

/// What a JOIN waits for: after a dynamic fork each branch, otherwise what the author listed; inside
/// loops, of the present iteration; nothing after a fork that was skipped.
pub(in super::super) fn references(state: &Execution, join: NodeId, path: &[u32]) -> Vec<Arc<str>> {
    let node = state.node(join);
    let fork = fork_before(state, join, path);
    if fork.is_some_and(|fork| fork.status == TaskStatus::Skipped) {
        return Vec::new();
    }
    let dynamic = fork.filter(|fork| fork.kind == Kind::DynamicFork);
    match dynamic {
        Some(task) => {
            let last = |block: &BlockId| state.block(*block).nodes.last().copied();
            fork::branches_of(state, task.sequence)
                .iter()
                .filter_map(last)
                .map(|last| suffixed(&state.node(last).reference, path))
                .collect()
        }
        None => node.task.join_on.iter().map(|name| reference_at(state, name, path)).collect(),
    }
}

/// The fork that stands directly before a JOIN.
fn fork_before<'s>(state: &'s Execution, join: NodeId, path: &[u32]) -> Option<&'s Task> {
    let node = state.node(join);
    let before = *state.block(node.block).nodes.get(node.index.checked_sub(1)?)?;
    let is_fork = matches!(state.node(before).kind, Kind::Fork | Kind::DynamicFork);
    state.attempt_at(before, path).filter(|_| is_fork)
}

impl Execution {
    /// The tasks that a JOIN waits for, by reference name.
    ///
    /// After a dynamic fork nobody has listed them: there a branch that is a SWITCH has ended when
    /// the last task of the chosen case has. After a fork whose branches stand in the definition,
    /// the author's list counts as it is.
    pub fn joined(&self, join: &Task) -> Vec<Arc<str>> {
        let end = self.branch_end(join);
        join.join_on.iter().map(end).collect()
    }

    /// The task whose end is that of a branch which a JOIN names.
    fn branch_end(&self, join: &Task) -> impl Fn(&Arc<str>) -> Arc<str> {
        let fork = fork_before(self, join.node, &join.path);
        let is_dynamic =
            join.kind == Kind::Join && fork.is_some_and(|fork| fork.kind == Kind::DynamicFork);
        move |branch| if is_dynamic { self.end_of_cases(branch) } else { branch.clone() }
    }

    /// The last task of the case that a SWITCH chose, and so on inwards; anything else is itself.
    fn end_of_cases(&self, branch: &Arc<str>) -> Arc<str> {
        let mut end = branch.clone();
        while let Some(task) = self.latest(&end)
            && matches!(task.kind, Kind::Switch | Kind::Decision)
            && task.status.is_success()
            && task.status != TaskStatus::Skipped
            && let Some(case) = switch::chosen(self, task)
            && let Some(last) = self.block(case).nodes.last()
        {
            end = suffixed(&self.node(*last).reference, &task.path);
        }
        end
    }
}

pub(in super::super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    draft.push(Event::Begun { sequence, until: None });
    draft.look_at_join(sequence);
}

/// Looks whether a JOIN may end.
pub(in super::super) fn look(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    if task.status.is_closed() || !task.begun {
        return;
    }
    let end = if task.kind == Kind::ExclusiveJoin {
        first_of(draft.state, task)
    } else if has_script(draft.state, task) {
        return look_by_script(draft, sequence);
    } else {
        all_of(draft.state, sequence)
    };
    if let Some(end) = end {
        draft.close(sequence, end);
        draft.continue_after(sequence);
    }
}

/// Every branch has ended: how the JOIN ends.
fn all_of(state: &mut Execution, sequence: u32) -> Option<End> {
    let (cursor, end) = {
        let join = state.task(sequence)?;
        let end_of = state.branch_end(join);
        let closed = |branch: &&Arc<str>| {
            state.latest(&end_of(branch)).is_some_and(|branch| branch.status.is_closed())
        };
        let from = state.join_cursors.get(&sequence).copied().unwrap_or(0);
        let cursor = from + join.join_on.iter().skip(from).take_while(closed).count();
        let end = (cursor == join.join_on.len()).then(|| verdict(state, &state.joined(join)));
        (cursor, end)
    };
    state.join_cursors.insert(sequence, cursor);
    end
}

fn verdict(state: &Execution, join_on: &[Arc<str>]) -> End {
    let branches: Vec<&Task> = join_on.iter().filter_map(|r| state.latest(r)).collect();
    let failed: Vec<&&Task> = branches.iter().filter(|branch| branch.status.is_failure()).collect();
    if !failed.is_empty() {
        let reasons: Vec<&str> = failed
            .iter()
            .map(|branch| branch.reason.as_deref().unwrap_or(&branch.reference))
            .collect();
        if failed.iter().all(|branch| branch.status == TaskStatus::Canceled) {
            let reason = Some(format!("branches were cancelled: {}", reasons.join("; ")).into());
            return End { status: TaskStatus::Canceled, output: None, reason };
        }
        return End::failed(format!("branches failed: {}", reasons.join("; ")));
    }
    let passed_over: Vec<String> = branches
        .iter()
        .filter(|branch| branch.status == TaskStatus::CompletedWithErrors)
        .map(|branch| format!("{}/{}", branch.name, state.task_id(branch.sequence)))
        .collect();
    if !passed_over.is_empty() {
        let reason = Some(format!("{} completed with errors", passed_over.join(" ")).into());
        return End { status: TaskStatus::CompletedWithErrors, output: None, reason };
    }
    End::done()
}

/// The first of the listed tasks that was reached, once it has ended; else that of the defaults.
fn first_of(state: &Execution, task: &Task) -> Option<End> {
    let node = &state.node_of(task).task;
    let ended = |names: &[String]| {
        names
            .iter()
            .filter_map(|name| state.latest(&reference_at(state, name, &task.path)))
            .find(|branch| branch.status != TaskStatus::Skipped)
            .filter(|branch| branch.status.is_closed())
    };
    let branch = ended(&node.join_on).or_else(|| ended(&node.default_exclusive_join_task))?;
    let output = state.output_of(branch);
    Some(if branch.status.is_failure() {
        let reason = branch.reason.as_deref().unwrap_or("it gave no reason");
        End {
            output: Some(output),
            ..End::failed(format!("'{}' failed: {reason}", branch.reference))
        }
    } else {
        End::completed(output)
    })
}

fn has_script(state: &Execution, task: &Task) -> bool {
    let node = &state.node_of(task).task;
    let given = node.expression.as_deref().is_some_and(|text| !text.trim().is_empty());
    given && is_javascript(node.evaluator_type.as_deref().unwrap_or_default())
}

/// What a join script answers when it is not a plain truth value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: String,
    #[serde(default)]
    reason_for_incompletion: Option<String>,
    #[serde(default)]
    output_data: Option<Box<RawValue>>,
}

/// Lets the author's script say whether the JOIN may end: `true`, or an object with a status.
fn look_by_script(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let source = draft.state.node_of(task).task.expression.clone().unwrap_or_default();
    let input = script_input(draft.state, task);
    let present = task.reason.clone();
    let answer = match draft.context.scripts.javascript(&source, Form::Statements, &input) {
        Ok(answer) => answer,
        Err(error) => {
            let reason = format!("the join script failed: {error}");
            draft.close(sequence, End::failed_terminally(reason));
            return draft.continue_after(sequence);
        }
    };
    let parsed = serde_json::from_str::<Answer>(answer.text()).ok();
    let output = |raw: Option<Box<RawValue>>| {
        raw.and_then(|raw| Json::from_text(raw.get().to_owned()).ok()).filter(Json::is_object)
    };
    match (answer.text(), parsed) {
        ("true", _) => draft.close(sequence, End::done()),
        (_, Some(answer)) => match TaskStatus::parse(&answer.status) {
            Some(status) if status.is_closed() => {
                let reason = answer.reason_for_incompletion.map(Into::into);
                draft.close(sequence, End { status, output: output(answer.output_data), reason });
            }
            _ => {
                let reason: Option<Arc<str>> = answer.reason_for_incompletion.map(Into::into);
                if reason.is_some() && reason != present {
                    let output = output(answer.output_data);
                    let progressed =
                        Progressed { sequence, output, reason, ..Progressed::default() };
                    draft.push(Event::Progressed(Box::new(progressed)));
                }
                return;
            }
        },
        _ => return,
    }
    draft.continue_after(sequence);
}

/// `$` of a join script: the JOIN's input, `joinOn`, and each branch's status and output.
fn script_input(state: &Execution, task: &Task) -> Json {
    let mut object = ObjectText::new();
    object.members_of(&task.input);
    let joined = state.joined(task);
    object.member("joinOn", Json::of(&joined).text());
    for reference in &joined {
        if let Some(branch) = state.latest(reference) {
            let mut shown = ObjectText::new();
            shown.member("status", Json::of(&branch.status.as_str()).text());
            shown.member("output", state.output_of(branch).text());
            shown.member("outputData", state.output_of(branch).text());
            object.member(reference, shown.finish().text());
        }
    }
    object.finish()
}
