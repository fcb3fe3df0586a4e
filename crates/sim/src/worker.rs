//! Workers, and the engine in the part of one: they take tasks, report, fall silent, and say the
//! same thing twice or too late.

use std::collections::BTreeSet;
use std::sync::Arc;

use kernel::graph::{Input, Report, Status, TaskStatus, Verdict};
use kernel::{ExecutionId, Json};
use serde_json::json;

use crate::auditor::Objection;
use crate::store::TaskKey;
use crate::workload::BUILTIN;
use crate::world::{Outcome, Step, World};

/// A task in the hands of a worker, or of the engine itself.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) key: TaskKey,
    pub(crate) worker: Option<Arc<str>>,
}

impl World<'_> {
    /// Tasks that only somebody outside can end.
    pub(crate) fn awaited(&mut self) -> Vec<TaskKey> {
        let ids: Vec<ExecutionId> = self.store.executions.keys().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            let jobs: BTreeSet<u32> =
                self.jobs.iter().filter(|job| job.key.0 == id).map(|job| job.key.1).collect();
            let rows: BTreeSet<u32> =
                self.store.rows.keys().filter(|key| key.0 == id).map(|key| key.1).collect();
            let Ok(state) = self.state(&id) else { continue };
            if state.status != Status::Running {
                continue;
            }
            let waits = |task: &&kernel::graph::Task| {
                use kernel::graph::Kind::{Dispatched, Human, Wait};
                match task.kind {
                    Human | Wait => task.begun && task.until.is_none(),
                    Dispatched => {
                        let held = task.status == TaskStatus::InProgress;
                        let outside = held || !rows.contains(&task.sequence);
                        outside && !jobs.contains(&task.sequence)
                    }
                    _ => false,
                }
            };
            found.extend(state.open_tasks().filter(waits).map(|task| (id.clone(), task.sequence)));
        }
        found
    }

    /// A worker, or the engine for what it runs itself, takes a task from the queue.
    pub(crate) fn claim(&mut self, ready: &[TaskKey]) -> Step<()> {
        let Some(key) = self.random.pick(ready).cloned() else { return Ok(()) };
        let own = self.store.rows.get(&key).is_some_and(|row| &*row.queue == BUILTIN);
        let worker = (!own).then(|| Arc::from(format!("worker-{}", self.random.below(3))));
        self.memory.taken.insert(key.clone());
        let job = Job { key: key.clone(), worker: worker.clone() };
        // What the engine runs itself and ends at once is never claimed.
        if own && self.random.chance(50) {
            self.jobs.push(job);
            return Ok(());
        }
        let claim = Input::Claim { sequence: key.1, worker };
        match self.step(&key.0, &claim, None)? {
            Outcome::Committed | Outcome::Idle => self.jobs.push(job),
            Outcome::Rejected if own => self.jobs.push(job),
            Outcome::Rejected => {
                let what = format!("task {} stands in a queue, but cannot be taken", key.1);
                return Err(Objection::new(key.0.as_str(), "rows are tasks", what));
            }
            Outcome::Crashed => return Ok(()),
        }
        if self.random.chance(self.faults.claim_again) {
            let again = Input::Claim { sequence: key.1, worker: Some("worker-late".into()) };
            self.step(&key.0, &again, None)?;
        }
        Ok(())
    }

    /// Somebody who holds a task does something about it.
    pub(crate) fn work(&mut self) -> Step<()> {
        let index = self.random.below(self.jobs.len());
        let job = self.jobs[index].clone();
        if self.random.chance(self.faults.worker_dies) && job.worker.is_some() {
            self.jobs.remove(index);
            self.say(|| format!("worker of {}-{} dies", job.key.0, job.key.1));
            return Ok(());
        }
        let choice = if self.calm { 0 } else { self.random.weighted(&[58, 14, 3, 1, 10, 6, 8]) };
        let verdict = match choice {
            0 => Verdict::Done(TaskStatus::Completed),
            1 => Verdict::Done(TaskStatus::Failed),
            2 => Verdict::Done(TaskStatus::FailedWithTerminalError),
            3 => Verdict::Done(TaskStatus::Canceled),
            4 => Verdict::Again { after: self.random.between(0, 6) },
            5 => Verdict::Held,
            _ => {
                let extend = Input::Extend { sequence: job.key.1 };
                self.step(&job.key.0, &extend, None)?;
                return Ok(());
            }
        };
        // Somebody who still holds it will report again; so does a rare one who does not.
        let forgets = self.calm || !self.random.chance(5);
        if verdict != Verdict::Held && forgets {
            self.jobs.remove(index);
        }
        self.report(&job.key, job.worker, verdict)
    }

    pub(crate) fn report(
        &mut self,
        key: &TaskKey,
        worker: Option<Arc<str>>,
        verdict: Verdict,
    ) -> Step<()> {
        let said = match verdict {
            Verdict::Done(status) => status.as_str(),
            _ => "IN_PROGRESS",
        };
        let report = Report {
            sequence: key.1,
            verdict,
            output: Some(Json::of(&json!({ "said": said }))),
            merge: false,
            reason: None,
            started_at: worker.is_none().then_some(self.now),
            worker,
            metadata: None,
        };
        // The engine's own reports do not travel.
        let travels = report.worker.is_some();
        if travels && self.random.chance(self.faults.report_lost) {
            return Ok(());
        }
        if travels && self.random.chance(self.faults.report_late) {
            self.late.push((key.0.clone(), report));
            return Ok(());
        }
        let repeated = self.random.chance(self.faults.report_repeated);
        let input = Input::Report(Box::new(report.clone()));
        let crashed = self.step(&key.0, &input, None)? == Outcome::Crashed;
        if repeated || crashed {
            // Who gets no answer asks again.
            self.step(&key.0, &input, None)?;
        }
        if self.random.chance(self.faults.report_late) {
            self.late.push((key.0.clone(), report));
        }
        Ok(())
    }

    pub(crate) fn late_report(&mut self) -> Step<()> {
        let index = self.random.below(self.late.len());
        let (id, report) = self.late.remove(index);
        self.say(|| "late".to_owned());
        self.step(&id, &Input::Report(Box::new(report)), None)?;
        Ok(())
    }
}
