//! Which run used which secret, and where it went: for the audit ledger, the same within an hour in one
//! line.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use kernel::graph::{Execution, Task};
use kernel::{Json, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;

use crate::audit::AuditEntry;
use crate::engine::Engine;
use crate::vault::Shelf;

/// What the ledger calls it.
const ACT: &str = "use-secret";
/// Milliseconds for which the same use is counted in one line.
const TOGETHER: i64 = 3_600_000;
/// Different uses that are counted at once. Further ones count as one, so that they do not drive what was
/// changed out of the ledger.
const KINDS_MAX: usize = 200;
/// Characters of a name that are kept.
const NAME_MAX: usize = 100;
/// Where the inputs of tasks that call by HTTP have the address.
const ADDRESSES: [&str; 4] = ["/http_request/uri", "/http_request/url", "/uri", "/url"];

/// One secret, handed to one task of a workflow for one place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    secret: String,
    /// The workflow and the task in its definition.
    by: String,
    /// The host or the kind of worker that it was handed to.
    to: String,
    who: Option<Arc<str>>,
}

struct Counted {
    since: Timestamp,
    /// The run that was the first.
    run: String,
    /// How many more there were.
    more: u64,
}

/// The uses of the last hour.
#[derive(Default)]
pub(crate) struct SecretUses(Mutex<BTreeMap<Use, Counted>>);

impl SecretUses {
    /// Notes one; what is to be written now.
    fn note(&self, mut used: Use, run: &str, now: Timestamp) -> Vec<AuditEntry> {
        let mut uses = self.0.lock();
        if uses.len() >= KINDS_MAX && !uses.contains_key(&used) {
            let others = "(others)".to_owned();
            used = Use { secret: others.clone(), by: others.clone(), to: others, who: None };
        }
        let fresh = || Counted { since: now, run: run.to_owned(), more: 0 };
        let mut written = Vec::new();
        match uses.entry(used) {
            Entry::Occupied(mut found) if now.since(found.get().since) < TOGETHER => {
                found.get_mut().more += 1;
            }
            Entry::Occupied(mut found) => {
                let former = found.insert(fresh());
                written.extend(counted(found.key(), &former));
                written.push(line(found.key(), run));
            }
            Entry::Vacant(place) => {
                written.push(line(place.key(), run));
                place.insert(fresh());
            }
        }
        written
    }

    /// Forgets those whose hour is over; what is to be written of them.
    fn sweep(&self, now: Timestamp) -> Vec<AuditEntry> {
        let mut written = Vec::new();
        self.0.lock().retain(|used, it| {
            let is_young = now.since(it.since) < TOGETHER;
            if !is_young {
                written.extend(counted(used, it));
            }
            is_young
        });
        written
    }
}

fn line(used: &Use, run: &str) -> AuditEntry {
    let Use { secret, by, to, who } = used;
    let object = format!("{secret} for {to}, by {by} of {run}");
    let mut entry = AuditEntry::of_server(ACT, object);
    if let Some(who) = who {
        entry.who = who.to_string();
        entry.name.clone_from(&entry.who);
    }
    entry
}

fn counted(used: &Use, it: &Counted) -> Option<AuditEntry> {
    let more = Some(it.more).filter(|more| *more > 0)?;
    Some(AuditEntry { count: Some(more), ..line(used, &it.run) })
}

/// Where a built-in task sends what it is given: scheme, host and port of its address, else its type.
fn destination(task: &Task, input: &Json) -> String {
    let input = input.parse();
    let found = ADDRESSES.iter().find_map(|at| input.pointer(at).and_then(Value::as_str));
    found.and_then(origin).unwrap_or_else(|| task.task_type.to_string())
}

fn origin(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What stands before an @ is a name and a password.
    let host = rest[..end].rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

fn short(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

impl Engine {
    /// The input of a task of an execution with its secrets filled in: only for the hands of the runner that
    /// does the task. The audit ledger tells which secrets.
    pub(crate) fn resolve_for_runner(&self, state: &Execution, task: &Task) -> Json {
        let (input, names) = self.inner.vault.resolve(state, &task.input);
        if !names.is_empty() {
            self.note_uses(state, task, names, &destination(task, &input));
        }
        input
    }

    /// The same for the hands of a worker.
    pub fn resolve_for_worker(&self, state: &Execution, task: &Task) -> Json {
        let (input, names) = self.inner.vault.resolve(state, &task.input);
        self.note_uses(state, task, names, &whom(task));
        input
    }

    /// A value that a task's definition names for its worker: a secret, of which the audit ledger tells, else
    /// one that anybody may see.
    pub fn value_for_worker(&self, state: &Execution, task: &Task, name: &str) -> Option<String> {
        let vault = &self.inner.vault;
        let Some(secret) = vault.get(Shelf::Secrets, name) else {
            return vault.get(Shelf::Environment, name);
        };
        self.note_uses(state, task, [name.to_owned()], &whom(task));
        Some(secret)
    }

    fn note_uses(
        &self,
        state: &Execution,
        task: &Task,
        names: impl IntoIterator<Item = String>,
        to: &str,
    ) {
        let node = &state.node_of(task).task.task_reference_name;
        let by = format!("{}/{}", short(&state.plan().definition.name), short(node));
        for secret in names {
            let who = state.acts_as.clone();
            let used = Use { secret: short(&secret), by: by.clone(), to: short(to), who };
            let run = state.id.to_string();
            self.write_uses(self.inner.secret_uses.note(used, &run, self.now()));
        }
    }

    /// Writes down how often secrets were used whose hour is over. For calling every few minutes or hours.
    pub fn sweep_secret_uses(&self) {
        self.write_uses(self.inner.secret_uses.sweep(self.now()));
    }

    fn write_uses(&self, entries: Vec<AuditEntry>) {
        if entries.is_empty() {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            for entry in entries {
                if let Err(error) = engine.write_audit(entry).await {
                    tracing::warn!(%error, "a line of the audit ledger was lost: the use of a secret");
                }
            }
        });
    }
}

fn whom(task: &Task) -> String {
    format!("a worker of {}", task.task_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(secret: &str) -> Use {
        Use { secret: secret.to_owned(), by: "w/t".to_owned(), to: "x".to_owned(), who: None }
    }

    #[test]
    fn the_same_use_is_one_line_an_hour() {
        let (uses, at) = (SecretUses::default(), Timestamp::from_millis);
        let first = uses.note(used("A"), "r1", at(0));
        assert_eq!(first[0].object, "A for x, by w/t of r1");
        assert!(uses.note(used("A"), "r2", at(1)).is_empty());
        assert!(uses.note(used("A"), "r3", at(TOGETHER - 1)).is_empty());
        let next = uses.note(used("A"), "r4", at(TOGETHER));
        assert_eq!((next[0].count, next[1].count), (Some(2), None));
        assert!(next[1].object.ends_with("r4"), "{next:?}");
        assert!(uses.sweep(at(TOGETHER + 1)).is_empty(), "its hour is not over");
        uses.note(used("A"), "r5", at(TOGETHER + 1));
        assert_eq!(uses.sweep(at(2 * TOGETHER))[0].count, Some(1));
        assert_eq!(uses.note(used("A"), "r6", at(2 * TOGETHER)).len(), 1, "it begins anew");
    }

    #[test]
    fn many_kinds_are_counted_together() {
        let (uses, now) = (SecretUses::default(), Timestamp::from_millis(0));
        let written = (0..3 * KINDS_MAX).map(|at| uses.note(used(&at.to_string()), "r", now).len());
        assert_eq!(written.sum::<usize>(), KINDS_MAX + 1);
        assert!(uses.0.lock().len() <= KINDS_MAX + 1);
    }

    #[test]
    fn a_destination_has_no_password() {
        assert_eq!(origin("https://u:p@h.example:1/x?y").as_deref(), Some("https://h.example:1"));
        assert_eq!(origin("/here"), None);
    }
}
