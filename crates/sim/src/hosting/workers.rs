//! Workers with SDKs: they poll, do what they were handed, and report; late, twice, or not at all. A
//! process that ends does not end them: they report to the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Error, PollRequest};
use kernel::graph::{Input, Report, TaskStatus, Verdict};
use kernel::{Json, TaskId};
use serde_json::json;

use super::auditor::{TaskKey, objection};
use super::world::Life;
use crate::workload::WORK;

/// Reports of one task that are tried again, at most.
const TRIES: u32 = 30;

/// After this long it is known what became of a task that was handed out.
const HOLD_WITHIN: Duration = Duration::from_mins(2);

/// What workers have in hand, by number.
#[derive(Default)]
pub(super) struct Jobs {
    open: BTreeMap<u64, Job>,
    numbers: u64,
}

/// A task in a worker's hands.
#[derive(Clone)]
struct Job {
    key: TaskKey,
    worker: Arc<str>,
    /// What it has to say, once it knows.
    report: Option<Report>,
}

/// All workers go to work, with what they had in hand before.
pub(super) fn begin(life: &Life) {
    let open: Vec<u64> = life.world.state.lock().jobs.open.keys().copied().collect();
    for number in open {
        let life = life.clone();
        tokio::spawn(async move { life.work(number).await });
    }
    for (number, queue) in WORK.into_iter().enumerate() {
        let (life, worker) = (life.clone(), Arc::from(format!("worker-{}", number % 3)));
        tokio::spawn(async move { life.poll(queue, &worker).await });
    }
}

impl Life {
    async fn poll(&self, queue: &str, worker: &Arc<str>) {
        loop {
            let (count, wait) = {
                let random = &mut self.world.state.lock().random;
                (random.between(1, 3) as usize, random.between(0, 20))
            };
            let held_before = self.held();
            let request = PollRequest {
                queue: queue.into(),
                worker: Some(worker.clone()),
                count,
                wait: Duration::from_secs(wait as u64),
            };
            match self.engine.poll(request).await {
                Ok(tasks) => {
                    for task in tasks {
                        self.handed(task, worker, &held_before);
                    }
                }
                Err(error) => self.world.say(|| format!("{worker} cannot poll: {error}")),
            }
            self.pause(1, 500).await;
        }
    }

    /// The tasks that are held, and the number of the latest commit.
    fn held(&self) -> (Vec<TaskKey>, u64) {
        let state = self.world.state.lock();
        let rows = state.auditor.rows.iter().filter(|(_, row)| row.held);
        (rows.map(|(key, _)| key.clone()).collect(), state.auditor.commits)
    }

    fn handed(&self, task: TaskId, worker: &Arc<str>, (held, by): &(Vec<TaskKey>, u64)) {
        let key = (task.execution, task.sequence);
        self.world.say(|| format!("{worker} is handed {key:?}"));
        self.world.count("a task was handed out");
        self.world.judge(|state, _| {
            // A poll waits: meanwhile somebody may have given the task back.
            if held.contains(&key) && state.auditor.is_held_since(&key, *by) {
                let what = format!("task {} goes to {worker} while it is held", key.1);
                return Err(objection(&key.0, "what is held is not handed out", what));
            }
            Ok(())
        });
        self.expect_hold(key.clone());
        let number = {
            let jobs = &mut self.world.state.lock().jobs;
            jobs.numbers += 1;
            let job = Job { key, worker: worker.clone(), report: None };
            jobs.open.insert(jobs.numbers, job);
            jobs.numbers
        };
        let life = self.clone();
        tokio::spawn(async move { life.work(number).await });
    }

    /// That a task is held is written before long, or what came of it. Else nobody would see that its
    /// worker has died.
    fn expect_hold(&self, key: TaskKey) {
        let writes = |life: &Self| {
            let state = life.world.state.lock();
            state.auditor.row_writes.get(&key).copied()
        };
        let before = writes(self);
        let life = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(HOLD_WITHIN).await;
            // Nothing of what is left alone is written.
            let exempt = life.engine.quarantine_of(&key.0).is_some();
            life.world.judge(|state, _| {
                let row = state.auditor.rows.get(&key).filter(|row| !row.held && !exempt);
                if row.is_some() && state.auditor.row_writes.get(&key).copied() == before {
                    let what = format!("that task {} was handed out is written nowhere", key.1);
                    return Err(objection(&key.0, "holds are written", what));
                }
                Ok(())
            });
        });
    }

    /// Does a task to its end.
    async fn work(&self, number: u64) {
        let job = self.world.state.lock().jobs.open.get(&number).cloned();
        let Some(mut job) = job else { return };
        while job.report.is_none() {
            self.pause(0, 2500).await;
            if self.chance(|faults| faults.worker_dies) {
                self.world.say(|| format!("the worker of {:?} dies", job.key));
                return self.lay_down(number);
            }
            let choice = {
                let state = &mut *self.world.state.lock();
                if state.calm { 0 } else { state.random.weighted(&[58, 14, 3, 1, 10, 6, 8]) }
            };
            let verdict = match choice {
                0 => Verdict::Done(TaskStatus::Completed),
                1 => Verdict::Done(TaskStatus::Failed),
                2 => Verdict::Done(TaskStatus::FailedWithTerminalError),
                3 => Verdict::Done(TaskStatus::Canceled),
                4 => Verdict::Again { after: self.world.state.lock().random.between(0, 6) },
                5 => Verdict::Held,
                _ => {
                    let extend = Input::Extend { sequence: job.key.1 };
                    if let Err(error) = self.engine.step(&job.key.0, extend).await {
                        self.world.say(|| format!("{:?} is not extended: {error}", job.key));
                    }
                    continue;
                }
            };
            job.report = Some(report(&job, verdict));
        }
        let Some(report) = job.report.clone() else { return };
        if let Some(job) = self.world.state.lock().jobs.open.get_mut(&number) {
            job.report = Some(report.clone());
        }
        if self.chance(|faults| faults.report_lost) {
            return self.lay_down(number);
        }
        if self.chance(|faults| faults.report_late) {
            self.pause(3_000, 40_000).await;
        }
        let repeated = self.chance(|faults| faults.report_repeated);
        self.report(&job.key, &report).await;
        if repeated {
            self.pause(0, 3_000).await;
            self.report(&job.key, &report).await;
        }
        self.lay_down(number);
    }

    fn lay_down(&self, number: u64) {
        self.world.state.lock().jobs.open.remove(&number);
    }

    /// Reports until somebody hears it.
    pub(super) async fn report(&self, key: &TaskKey, report: &Report) {
        for _ in 0..TRIES {
            let said = self.engine.report(&key.0, report.clone()).await;
            let verdict = &report.verdict;
            self.world.say(|| format!("report on {key:?} {verdict:?}: {said:?}"));
            match said {
                Ok(()) if matches!(verdict, Verdict::Done(_)) => {
                    self.world.count("a report was taken");
                    return self.world.judge(|state, _| state.auditor.ended(key));
                }
                Err(Error::Store(_) | Error::Unavailable(_)) => {}
                _ => return,
            }
            self.pause(100, 3_000).await;
        }
    }
}

fn report(job: &Job, verdict: Verdict) -> Report {
    let said = match verdict {
        Verdict::Done(status) => status.as_str(),
        _ => "IN_PROGRESS",
    };
    Report {
        sequence: job.key.1,
        verdict,
        output: Some(Json::of(&json!({ "said": said }))),
        merge: false,
        reason: None,
        started_at: None,
        worker: Some(job.worker.clone()),
        metadata: None,
    }
}
