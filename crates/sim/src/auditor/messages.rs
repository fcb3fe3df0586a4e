//! The post: what a commit sends is what its facts owe, once each and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::record::Record;
use super::{Batch, Objection, Sent, Verdict, broken, number};

/// What was sent so far.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// Executions that were started from outside.
    pub(super) roots: BTreeSet<String>,
    /// Who asked for which execution: by the id of what was asked for.
    asked: BTreeMap<String, Asked>,
    /// The last execution that a task asked for.
    children: BTreeMap<(String, u32), String>,
}

/// A start on its way.
#[derive(Clone, Debug)]
struct Asked {
    asker: Option<(String, u32)>,
}

/// A message that a fact owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// A task starts an execution.
    Start(u32),
    /// The failure workflow is to be started.
    Failure,
    /// It may be: an operator can ask for it.
    MayFailure,
    /// A task's child is to end.
    Terminate(u32),
    /// A task's child may be told to try again.
    MayRetry(u32),
    /// The asker is told that it exists.
    Started((String, u32)),
    /// The parent is told that it has ended.
    Ended((String, u32), String),
    /// The parent is told that it runs again.
    Revived((String, u32)),
}

const LAW: &str = "messages are owed";

impl Post {
    /// Whether an execution is started from outside, where nobody need know that it was removed.
    pub(super) fn is_root(&self, id: &str) -> bool {
        self.roots.contains(id)
    }

    /// Who asked for an execution that has begun.
    pub(super) fn asker(&self, id: &str) -> Result<Option<(String, u32)>, (&'static str, String)> {
        match self.asked.get(id) {
            Some(asked) => Ok(asked.asker.clone()),
            None if self.is_root(id) => Ok(None),
            None => Err(("begin once", "nobody has asked for it".to_owned())),
        }
    }

    /// The execution that a task has asked for last.
    pub(super) fn child(&self, id: &str, sequence: u32) -> Option<&String> {
        self.children.get(&(id.to_owned(), sequence))
    }

    /// Judges what a commit sends.
    pub(super) fn judge(
        &mut self,
        id: &str,
        record: &Record,
        batch: &Batch,
        sent: &[Sent],
    ) -> Verdict {
        let mut owed = batch.owed.clone();
        if batch.asked && !batch.revived && record.is_over() {
            // There was nothing to try again: the parent, which waits, is told of the end again.
            owed.extend(record.parent.clone().map(|p| Owed::Ended(p, record.status.clone())));
        }
        for message in sent {
            let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
            let fits = |owed: &Owed| self.fits(id, owed, &message.to, &body);
            let Some(index) = owed.iter().position(fits) else {
                return broken(LAW, format!("nothing owes {} to {}", message.body, message.to));
            };
            let paid = owed.remove(index);
            self.note(id, &paid, &message.to, &body)?;
        }
        let may = |owed: &&Owed| !matches!(owed, Owed::MayFailure | Owed::MayRetry(_));
        match owed.iter().find(may) {
            Some(owed) => broken(LAW, format!("{owed:?} was not sent, while {}", record.status)),
            None => Ok(()),
        }
    }

    fn fits(&self, id: &str, owed: &Owed, to: &str, body: &Value) -> bool {
        let start = &body["start"];
        let is_to = |party: &(String, u32), message: &Value| {
            party.0 == to && number(message, "sequence") == Some(party.1)
        };
        match owed {
            Owed::Start(sequence) => {
                start["asked_by"]["x"] == *id && number(&start["asked_by"], "s") == Some(*sequence)
            }
            Owed::Failure | Owed::MayFailure => start["failure_of"] == *id,
            Owed::Terminate(sequence) => {
                body.get("terminate").is_some() && self.child(id, *sequence).is_none_or(|c| c == to)
            }
            Owed::MayRetry(sequence) => {
                body.get("retry").is_some()
                    && self.child(id, *sequence).is_some_and(|child| child == to)
            }
            Owed::Started(asker) => is_to(asker, &body["started"]),
            Owed::Ended(parent, status) => {
                is_to(parent, &body["ended"]) && body["ended"]["status"] == **status
            }
            Owed::Revived(parent) => is_to(parent, &body["revived"]),
        }
    }

    fn note(&mut self, id: &str, paid: &Owed, to: &str, body: &Value) -> Verdict {
        let asker = match paid {
            Owed::Start(sequence) => Some((id.to_owned(), *sequence)),
            Owed::Failure | Owed::MayFailure => None,
            _ => return Ok(()),
        };
        if self.asked.contains_key(to) {
            return broken(LAW, format!("{to} was asked for before: {body}"));
        }
        if let Some(asker) = &asker {
            self.children.insert(asker.clone(), to.to_owned());
        }
        self.asked.insert(to.to_owned(), Asked { asker });
        Ok(())
    }

    /// Nothing that was asked for is missing without its asker knowing.
    pub(super) fn finish(&self, records: &BTreeMap<String, Record>) -> Result<(), Objection> {
        for (id, asked) in &self.asked {
            if records.get(id).is_some_and(|record| record.begun) {
                continue;
            }
            let Some((asker, sequence)) = &asked.asker else { continue };
            let task = records.get(asker).and_then(|record| record.attempts.get(sequence));
            if task.is_some_and(super::record::Attempt::is_open) {
                let what = format!("it never began, and {asker}-{sequence} waits for it");
                return Err(Objection::new(id, "parents are told", what));
            }
        }
        Ok(())
    }
}
