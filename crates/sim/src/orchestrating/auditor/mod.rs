//! The auditor of orchestrations: knows what was said to machines, handed to workers and answered by
//! them, and says from that alone what must come of it.
//!
//! It keeps a model of its own, of what is visible outside: who may be heard, what a turn must show
//! and in which order, which letters a commit owes, where an instance stands. It reads no fact of
//! the kernel's histories and asks the kernel nothing.

mod entities;
mod instances;
mod life;
mod owed;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kernel::durable::entity::Batch;
use kernel::durable::instance::Work;
use kernel::durable::{OrchestrationMessage, Status};
use kernel::graph::Message;
use kernel::{ExecutionId, MachineKind, Timestamp};

use super::host::{AnyInput, State};
use crate::auditor::Objection;
use entities::Notes;
use life::Life;
use owed::Owed;

type Text = Option<Arc<str>>;
type Verdict = Result<(), Objection>;

/// What was said to a machine, and what came of it.
pub(super) struct Seen<'a> {
    pub(super) now: Timestamp,
    pub(super) id: &'a ExecutionId,
    pub(super) input: &'a AnyInput,
    /// The message's text, if it is one that was sent.
    pub(super) received: Option<String>,
    /// It was not refused.
    pub(super) taken: bool,
    /// What was sent with the commit.
    pub(super) sent: Vec<(ExecutionId, OrchestrationMessage)>,
}

/// What anybody can see of a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shown {
    pub(super) status: Option<Status>,
    pub(super) life: Arc<str>,
    pub(super) output: Text,
    pub(super) failed: bool,
    pub(super) custom_status: Text,
    /// An entity's state.
    pub(super) state: Text,
    /// Who has locked an entity, and by which [`wish`].
    pub(super) lock: Option<(ExecutionId, Arc<str>)>,
}

impl Shown {
    pub(super) fn of(state: &State) -> Self {
        match state {
            State::Instance(state) => Self {
                status: state.has_begun().then_some(state.status),
                life: state.execution_id(),
                output: state.output.clone(),
                failed: state.failure.is_some(),
                custom_status: state.custom_status.clone(),
                ..Self::default()
            },
            State::Entity(state) => Self {
                state: state.state.clone(),
                lock: state.lock.as_ref().map(|lock| {
                    let life = lock.execution_id.as_deref().unwrap_or_default();
                    (lock.holder.clone(), wish(&lock.request.critical_section_id, life))
                }),
                ..Self::default()
            },
        }
    }
}

/// What was handed to a worker.
#[derive(Clone, Debug)]
enum HandOut {
    Turn { serial: u64, turn: u64, taken: usize, at: Timestamp },
    Activity { serial: u64, task: i32, ask: u64 },
    Batch { batch: u64, count: usize },
}

/// A critical section that somebody asked for.
#[derive(Clone, Debug)]
struct Section {
    entities: Vec<Arc<str>>,
    holder: ExecutionId,
    /// It was given back, or its holder is no more.
    over: bool,
}

/// Everything that was seen so far, as far as it matters.
#[derive(Default)]
pub(super) struct Auditor {
    lives: BTreeMap<ExecutionId, Life>,
    entities: BTreeMap<ExecutionId, Notes>,
    /// Messages on their way, by receiver, in order.
    mail: BTreeMap<ExecutionId, VecDeque<OrchestrationMessage>>,
    /// By token.
    handed: BTreeMap<String, HandOut>,
    /// By [`wish`].
    sections: BTreeMap<Arc<str>, Section>,
    /// Names that lives have had.
    names: BTreeSet<Arc<str>>,
    serials: u64,
    asks: u64,
}

impl Auditor {
    /// Something was said to a machine.
    pub(super) fn said(&mut self, seen: Seen<'_>, shown: &Shown) -> Verdict {
        let Seen { now, id, input, received, taken, sent } = seen;
        if let AnyInput::Message(Message::Durable(letter)) = input {
            let next = self.mail.get_mut(id).and_then(VecDeque::pop_front);
            if received.is_none() || next.as_ref() != Some(&**letter) {
                let what = format!("{letter:?} came, and {next:?} was to come");
                return Err(objection(id, "messages come once, in order", what));
            }
        }
        let owed = match id.machine() {
            MachineKind::Entity => self.said_to_entity(now, id, input, taken, shown)?,
            _ => self.said_to_instance(now, id, input, taken, shown)?,
        };
        let letters: Vec<(ExecutionId, Owed)> =
            sent.iter().map(|(to, letter)| (to.clone(), Owed::read(letter))).collect();
        owed::compare(id, &owed, &letters)?;
        for (to, letter) in sent {
            self.mail.entry(to).or_default().push_back(letter);
        }
        Ok(())
    }

    /// An instance is no more.
    pub(super) fn purged(&mut self, id: &ExecutionId) {
        self.lives.remove(id);
    }

    /// Work goes to a worker.
    pub(super) fn handed(&mut self, now: Timestamp, id: &ExecutionId, work: &Work) -> Verdict {
        let Some(life) = self.lives.get_mut(id) else {
            return Err(objection(id, "rows are work", "there is no such instance"));
        };
        match work {
            Work::Turn { token, past, new, execution_id, .. } => {
                let taken = new.len().saturating_sub(1);
                life.handed(now, execution_id, past, new)
                    .map_err(|(law, what)| objection(id, law, what))?;
                let (serial, turn, at) = (life.serial, life.turns, new[0].at);
                let handed = HandOut::Turn { serial, turn, taken, at };
                self.handed.insert(token.to_string(), handed);
            }
            Work::Activity { token, call, task, execution_id, .. } => {
                let ask = life
                    .activity(*task, call, execution_id)
                    .map_err(|(law, what)| objection(id, law, what))?;
                let handed = HandOut::Activity { serial: life.serial, task: *task, ask };
                self.handed.insert(token.to_string(), handed);
            }
        }
        Ok(())
    }

    /// Operations go to a worker.
    pub(super) fn handed_batch(
        &mut self,
        now: Timestamp,
        id: &ExecutionId,
        batch: &Batch,
    ) -> Verdict {
        let Some(notes) = self.entities.get_mut(id) else {
            return Err(objection(id, "rows are work", "nobody has asked for anything"));
        };
        notes.handed(now, batch).map_err(|(law, what)| objection(id, law, what))?;
        let handed = HandOut::Batch { batch: notes.batch, count: batch.operations.len() };
        self.handed.insert(batch.token.to_string(), handed);
        Ok(())
    }

    /// Nothing is left to happen.
    pub(super) fn finish(&self) -> Verdict {
        if let Some((to, letters)) = self.mail.iter().find(|(_, letters)| !letters.is_empty()) {
            return Err(objection(to, "messages arrive", format!("{letters:?} did not")));
        }
        if let Some((id, _)) = self.lives.iter().find(|(_, life)| life.is_open()) {
            return Err(objection(id, "what can end ends", "it did not"));
        }
        for (id, notes) in &self.entities {
            notes.finish().map_err(|(law, what)| objection(id, law, what))?;
        }
        Ok(())
    }

    fn serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }
}

/// A request for locks, by one life: an instance that is rewound may ask again for the same.
fn wish(section: &str, life: &str) -> Arc<str> {
    format!("{section}@{life}").into()
}

fn objection(id: &ExecutionId, law: &'static str, what: impl Into<String>) -> Objection {
    Objection::new(id.as_str(), law, what)
}
