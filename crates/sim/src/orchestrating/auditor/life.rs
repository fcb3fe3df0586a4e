//! What the auditor knows of one life of an instance, rewinds included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kernel::Timestamp;
use kernel::durable::instance::Start;
use kernel::durable::{Call, Fact, HistoryEvent, ParentInstance, Status};

use super::Text;

type Found<T> = Result<T, (&'static str, String)>;

/// One life.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Unlike that of any other life; a rewind keeps it.
    pub(super) serial: u64,
    pub(super) name: Arc<str>,
    /// What it was called before it was rewound.
    pub(super) formerly: Vec<Arc<str>>,
    pub(super) start: Start,
    /// The instant of its start has come.
    pub(super) due: bool,
    pub(super) status: Status,
    pub(super) output: Text,
    pub(super) custom_status: Text,
    pub(super) failed: bool,
    /// Answers to turns that were taken, and rewinds that began.
    pub(super) turns: u64,
    /// What every turn must show as history.
    pub(super) past: Vec<HistoryEvent>,
    /// What a turn has shown as new, and no answer has made history of.
    pub(super) inbox: Vec<HistoryEvent>,
    /// What the next turn must show as new behind that, timers aside.
    pub(super) expected: VecDeque<Fact>,
    /// What was asked for and has no outcome.
    pub(super) asked: BTreeMap<i32, Asked>,
    /// When timers were last looked at.
    pub(super) fired_by: Option<Timestamp>,
    pub(super) locks: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) rewinding: bool,
    /// It was suspended when it began: nothing of it is shown before it is resumed.
    pub(super) held: bool,
    /// Of one that failed: what is still news should it be rewound.
    pub(super) kept: Vec<Fact>,
}

/// Something asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Activity { ask: u64, call: Box<Call> },
    Child { id: Arc<str>, call: Box<Call> },
    Timer { fire_at: Timestamp },
}

impl Life {
    pub(super) fn new(serial: u64, start: Start, now: Timestamp) -> Self {
        let due = start.scheduled_at.is_none_or(|at| at <= now);
        Self {
            serial,
            name: start.execution_id.clone(),
            formerly: Vec::new(),
            start,
            due,
            status: Status::Pending,
            output: None,
            custom_status: None,
            failed: false,
            turns: 0,
            past: Vec::new(),
            inbox: Vec::new(),
            expected: VecDeque::new(),
            asked: BTreeMap::new(),
            fired_by: None,
            locks: BTreeMap::new(),
            rewinding: false,
            held: false,
            kept: Vec::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.status.is_closed()
    }

    /// Whether it is, or was, called so.
    pub(super) fn is_called(&self, name: &Arc<str>) -> bool {
        self.name == *name || self.formerly.contains(name)
    }

    /// Whether it is suspended once all that was said has been heard.
    pub(super) fn is_suspended(&self) -> bool {
        let said = self.inbox.iter().map(|event| &event.fact).chain(&self.expected);
        let begin = if self.rewinding {
            suspends(false, self.past.iter().map(|event| &event.fact))
        } else {
            self.status == Status::Suspended
        };
        suspends(begin, said)
    }

    /// Whether an action asks for what this life has asked for, and has not seen fail.
    pub(super) fn has_asked(&self, number: i32) -> bool {
        let mut asked = 0;
        let (mut failed, mut set_aside, mut suspended) = (0, 0, false);
        for event in &self.past {
            match &event.fact {
                Fact::ExecutionSuspended { .. } => suspended = true,
                Fact::ExecutionResumed { .. } => {
                    failed += set_aside;
                    (suspended, set_aside) = (false, 0);
                }
                Fact::TaskFailed { task, .. } | Fact::SubOrchestrationFailed { task, .. }
                    if *task == number =>
                {
                    if suspended {
                        set_aside += 1;
                    } else {
                        failed += 1;
                    }
                }
                Fact::ExecutionStarted(_) | Fact::ExecutionCompleted(_) => {}
                _ if event.id == number => asked += 1,
                _ => {}
            }
        }
        asked > failed
    }

    /// Whether an action of this one started it, in whichever of its lives.
    pub(super) fn is_child_of(&self, parent: &ParentInstance) -> bool {
        let mine = self.start.parent.as_ref().filter(|_| !self.start.detached);
        mine.is_some_and(|it| it.instance_id == parent.instance_id && it.task == parent.task)
    }

    /// A turn goes out.
    pub(super) fn handed(
        &mut self,
        now: Timestamp,
        name: &Arc<str>,
        past: &[HistoryEvent],
        new: &[HistoryEvent],
    ) -> Found<()> {
        if !self.is_open() || !self.due || self.held {
            return Err(("rows are work", format!("it is {}, due {}", self.status, self.due)));
        }
        if *name != self.name {
            return Err(("a life keeps its name", format!("{name}, not {}", self.name)));
        }
        let Some((first, new)) = new.split_first() else {
            return Err(("turns begin", "nothing is new".to_owned()));
        };
        let last = past.last().map_or(now, |last| last.at.max(now));
        if first.fact != Fact::OrchestratorStarted || first.at != last {
            return Err(("turns begin", format!("with {first:?}, and it is {now:?}")));
        }
        if self.rewinding {
            return self.handed_for_rewind(past, new);
        }
        if *past != *self.past {
            let at = past.iter().zip(&self.past).take_while(|(is, was)| is == was).count();
            let (is, was) = (past.get(at), self.past.get(at));
            let what = format!("line {at} of it is {is:?}, and was {was:?}");
            return Err(("history is kept", what));
        }
        let Some(more) = new.strip_prefix(&self.inbox[..]) else {
            let what = format!("{:?} was new, and now {new:?}", self.inbox);
            return Err(("what is new comes again", what));
        };
        for event in more {
            self.arrives(now, event)?;
            self.inbox.push(event.clone());
        }
        let suspends = |fact: &Fact| matches!(fact, Fact::ExecutionSuspended { .. });
        if let Some(at) = new.iter().skip(1).position(|event| suspends(&event.fact)) {
            return Err((
                "a suspension begins a turn",
                format!("it is event {} of {new:?}", at + 1),
            ));
        }
        match self.expected.front() {
            // What follows it comes with it, in the next turn.
            Some(next) if suspends(next) && !new.is_empty() => return Ok(()),
            Some(missing) => {
                return Err(("nothing is lost", format!("{missing:?} did not come")));
            }
            None => {}
        }
        let late = |asked: &Asked| matches!(asked, Asked::Timer { fire_at } if self.fired_by.is_some_and(|by| *fire_at <= by));
        if let Some((id, timer)) = self.asked.iter().find(|(_, asked)| late(asked)) {
            return Err(("timers fire", format!("{id} did not: {timer:?}")));
        }
        Ok(())
    }

    fn handed_for_rewind(&mut self, past: &[HistoryEvent], new: &[HistoryEvent]) -> Found<()> {
        let law = "a rewind shows the whole history";
        let ends = |event: &HistoryEvent| matches!(event.fact, Fact::ExecutionCompleted(_));
        let shown: Vec<HistoryEvent> = past.iter().filter(|it| !ends(it)).cloned().collect();
        let known: Vec<HistoryEvent> = self.past.iter().filter(|it| !ends(it)).cloned().collect();
        if shown != known || !past.last().is_some_and(ends) {
            return Err((law, format!("{past:?}, and it was {:?}", self.past)));
        }
        match new {
            [event] if matches!(event.fact, Fact::ExecutionRewound(_)) => Ok(()),
            _ => Err((law, format!("new is {new:?}"))),
        }
    }

    /// Something is new for the first time.
    fn arrives(&mut self, now: Timestamp, event: &HistoryEvent) -> Found<()> {
        if event.at > now {
            return Err(("nothing is ahead of its time", format!("{event:?} at {now:?}")));
        }
        if let Fact::TimerFired { fire_at, timer } = &event.fact {
            let asked = Asked::Timer { fire_at: *fire_at };
            if self.asked.get(timer) != Some(&asked) {
                return Err(("timers fire once", format!("{event:?}, {:?}", self.asked)));
            }
            if event.at < *fire_at {
                return Err(("timers are never early", format!("{event:?}")));
            }
            self.asked.remove(timer);
            return Ok(());
        }
        let next = self.expected.pop_front();
        if next.as_ref() != Some(&event.fact) {
            let what = format!("{:?} is new, and {next:?} was to be", event.fact);
            return Err(("what happened is new once, in order", what));
        }
        Ok(())
    }

    /// An activity goes out: which asking it is.
    pub(super) fn activity(&self, task: i32, call: &Call, name: &Arc<str>) -> Found<u64> {
        match self.asked.get(&task) {
            Some(Asked::Activity { ask, call: asked }) if self.is_open() => {
                if **asked != *call || *name != self.name {
                    let what = format!("{call:?} of {name}, and {asked:?} was asked for");
                    return Err(("activities are as asked for", what));
                }
                Ok(*ask)
            }
            other => Err(("rows are work", format!("nobody waits for {task}: {other:?}"))),
        }
    }
}

/// Whether it is suspended after all this, if it was so before.
pub(super) fn suspends<'a>(before: bool, facts: impl Iterator<Item = &'a Fact>) -> bool {
    facts.fold(before, |before, fact| match fact {
        Fact::ExecutionSuspended { .. } => true,
        Fact::ExecutionResumed { .. } => false,
        _ => before,
    })
}
