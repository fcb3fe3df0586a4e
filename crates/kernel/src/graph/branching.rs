//! Forks: where an execution branches off from another one, and what is different there.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;

use super::execution::{Execution, Task};
use super::plan::{Kind, Plan};
use super::status::TaskStatus;
use crate::json::Json;
use crate::machine::Rejected;

/// The ledger of forks: a line for each, with the execution that it branched off from as its subject.
pub const FORKS: &str = "fork";

/// A start with the state of another execution.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The other execution, as it is now.
    pub original: Box<Execution>,
    /// How many commits it has had.
    pub version: u64,
    /// Before which task the new one begins.
    pub at: BranchPoint,
    /// What is different there.
    pub edits: Vec<Edit>,
    /// What to obey instead; it must fit what is kept.
    pub plan: Option<Arc<Plan>>,
    /// Its label; absent = that of the other one.
    pub correlation_id: Option<Arc<str>>,
    /// Who asked for it.
    pub created_by: Option<Arc<str>>,
    /// Names the principal with whose grants its tasks act.
    pub acts_as: Option<Arc<str>>,
}

/// The place right before a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchPoint {
    /// The reference name; `__2` after it means the second iteration, without it the latest.
    pub reference: Arc<str>,
    /// Before which attempt, from 1.
    pub attempt: u32,
}

impl FromStr for BranchPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (reference, attempt) = match text.rsplit_once('#') {
            None => (text, Some(1)),
            Some((reference, number)) => (reference, number.parse().ok().filter(|n| *n > 0)),
        };
        match attempt {
            Some(attempt) if !reference.is_empty() => {
                Ok(Self { reference: reference.into(), attempt })
            }
            _ => Err(format!(
                "'{text}' names no task: write REF, REF__2 for its second iteration, or REF#2 for \
                 its second attempt"
            )),
        }
    }
}

impl fmt::Display for BranchPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            1 => f.write_str(&self.reference),
            attempt => write!(f, "{}#{attempt}", self.reference),
        }
    }
}

/// One value that is different in a fork.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where: `workflow.input.A`, `workflow.variables.A`, `REF.output.A.B` as in expressions, list
    /// items by number. Without `workflow.` and `REF` in front it is the input or the variables of
    /// the execution, or the output of the task right before the fork.
    pub path: Arc<str>,
    /// The value.
    pub value: Json,
}

/// What an edit changes.
enum Target<'a> {
    Input,
    Variables,
    Task(&'a str),
    TaskBefore,
}

impl Edit {
    fn target(&self) -> Result<(Target<'_>, &str), Rejected> {
        let member = |rest: &'static str| {
            let path = self.path.strip_prefix("workflow.").unwrap_or(&self.path);
            let rest = path.strip_prefix(rest)?;
            rest.strip_prefix('.').or_else(|| rest.is_empty().then_some(""))
        };
        if let Some(rest) = member("input") {
            return Ok((Target::Input, rest));
        }
        if let Some(rest) = member("variables") {
            return Ok((Target::Variables, rest));
        }
        if let Some(rest) = member("output").filter(|_| !self.path.starts_with("workflow.")) {
            return Ok((Target::TaskBefore, rest));
        }
        let (reference, rest) = match self.path.split_once(".output.") {
            Some(parts) => parts,
            None => (self.path.strip_suffix(".output").unwrap_or_default(), ""),
        };
        if reference.is_empty() {
            let path = &self.path;
            return Err(Rejected::Invalid(format!(
                "'{path}' names nothing that can be set: write REF.output.NAME, \
                 workflow.input.NAME, workflow.variables.NAME, or output.NAME for the task right \
                 before the fork"
            )));
        }
        Ok((Target::Task(reference), rest))
    }

    /// The value as it stands within what it changes, for whoever looks at its members' names.
    pub fn nested(&self) -> Json {
        let nested = self.path.rsplit('.').fold(self.value.parse(), |inner, name| {
            Value::Object([(name.to_owned(), inner)].into_iter().collect())
        });
        Json::of(&nested)
    }

    /// The edit with the value that [`Edit::nested`] became.
    #[must_use]
    pub fn with_nested(self, nested: &Json) -> Self {
        let value = self.path.split('.').fold(nested.parse(), |mut outer, name| {
            outer.get_mut(name).map(Value::take).unwrap_or_default()
        });
        Self { value: Json::of(&value), ..self }
    }
}

/// Puts a value at a path of member names and list positions; an empty path replaces all.
fn put(json: &Json, path: &str, value: &Json, whole: &str) -> Result<Json, Rejected> {
    let mut root = json.parse();
    let mut place = &mut root;
    for name in path.split('.').filter(|_| !path.is_empty()) {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let inside = match place {
            Value::Object(members) => Some(members.entry(name).or_insert(Value::Null)),
            Value::Array(items) => name.parse().ok().and_then(|at: usize| items.get_mut(at)),
            _ => None,
        };
        place = inside.ok_or_else(|| {
            Rejected::Invalid(format!("'{whole}' cannot be set: there is no place '{name}' in it"))
        })?;
    }
    *place = value.parse();
    if !root.is_object() {
        return Err(Rejected::Invalid(format!("'{whole}' must be an object")));
    }
    Ok(Json::of(&root))
}

impl Execution {
    /// The attempt before which a fork begins.
    ///
    /// # Errors
    /// The execution has no such task, or not so many attempts at it.
    pub(super) fn branch_task(&self, at: &BranchPoint) -> Result<&Task, Rejected> {
        let id = &self.id;
        let Some(latest) = self.latest(&at.reference) else {
            let reached: BTreeSet<&str> = self.tasks().map(|task| &*task.reference).collect();
            let reached: Vec<&str> = reached.into_iter().take(REFERENCES_NAMED_MAX).collect();
            return Err(Rejected::Invalid(format!(
                "workflow {id} has not reached a task '{}'; it has reached {}",
                at.reference,
                reached.join(", ")
            )));
        };
        let mut attempts =
            self.tasks().filter(|task| task.node == latest.node && task.path == latest.path);
        let found = match at.attempt {
            1 => attempts.next(),
            number => attempts.find(|task| task.attempt + 1 == number),
        };
        found.ok_or_else(|| {
            let (reference, last) = (&latest.reference, latest.attempt + 1);
            Rejected::Invalid(format!(
                "task '{reference}' of workflow {id} has no attempt {}: its last one is {last}",
                at.attempt
            ))
        })
    }

    /// The tasks that acted outside, or asked a person, and that a fork does again: those from its
    /// place on, and those beside it that are open or are tried again. In the order of scheduling.
    ///
    /// # Errors
    /// There is no such place.
    pub fn done_again_by_fork(&self, at: &BranchPoint) -> Result<Vec<&Task>, Rejected> {
        let undone = self.undone_before(self.branch_task(at)?);
        let revives = self.status.is_closed();
        let again = |task: &&Task| {
            let stopped = !task.status.is_closed() || (revives && task.status.is_failure());
            !task.retried && (undone.contains(&task.sequence) || stopped)
        };
        Ok(self.tasks().filter(again).filter(|task| has_acted(task)).collect())
    }

    /// Makes the edits of a fork.
    pub(super) fn edit(&mut self, edits: &[Edit], before: Option<&str>) -> Result<(), Rejected> {
        for edit in edits {
            let (target, path) = edit.target()?;
            let set = |json: &Json| put(json, path, &edit.value, &edit.path);
            match target {
                Target::Input => self.input = set(&self.input)?,
                Target::Variables => self.variables = set(&self.variables)?,
                Target::Task(reference) => self.edit_output(reference, set)?,
                Target::TaskBefore => match before {
                    Some(reference) => self.edit_output(reference, set)?,
                    None => {
                        return Err(Rejected::Invalid(format!(
                            "no task stands right before the fork, so '{}' names nothing: write \
                             REF.output.NAME",
                            edit.path
                        )));
                    }
                },
            }
        }
        Ok(())
    }

    fn edit_output(
        &mut self,
        reference: &str,
        set: impl FnOnce(&Json) -> Result<Json, Rejected>,
    ) -> Result<(), Rejected> {
        let Some(task) = self.latest(reference) else {
            return Err(Rejected::Invalid(format!(
                "no task '{reference}' has run before the fork: its output cannot be set"
            )));
        };
        let derived = matches!(task.kind, Kind::Join | Kind::ExclusiveJoin | Kind::DoWhile);
        if derived || !task.status.is_closed() || task.status == TaskStatus::Canceled {
            let why = if derived { "follows from other tasks" } else { "is not there yet" };
            return Err(Rejected::Invalid(format!(
                "the output of task '{reference}' {why}: it cannot be set"
            )));
        }
        let (sequence, output) = (task.sequence, set(&task.output)?);
        self.change(sequence, |task| task.output = output);
        Ok(())
    }
}

/// Names told to who asks for a task that is not there.
const REFERENCES_NAMED_MAX: usize = 20;

/// Whether a task has done something outside the execution, or asked somebody for it.
fn has_acted(task: &Task) -> bool {
    match task.kind {
        Kind::Dispatched => task.started_at.is_some() && task.status != TaskStatus::Skipped,
        Kind::SubWorkflow | Kind::StartWorkflow => task.begun || task.child_started,
        Kind::Human => task.begun,
        _ => false,
    }
}
