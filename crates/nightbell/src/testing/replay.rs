//! Replays ended runs with another definition: what people, workers and services answered then is
//! answered again, everything else is computed anew, and the first difference is told.
//!
//! Each run is played twice on the stage, with its own definition and with the other one, and the two
//! plays are compared: whatever a stage makes up, such as secrets and times, is the same in both.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kernel::alert::definition::nearest_hint;
use kernel::definition::{TaskDef, WorkflowDef};
use kernel::graph::{Execution, Task};
use kernel::{Scripts, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::cast::bare;
use super::compare;
use super::file::{self, Answer, Mocks, WorkflowExpect, WorkflowTest};
use super::recorded::{self, End};
use super::workflow::{Played, play};
use super::{Folder, STACK};
use crate::load;

/// Milliseconds that nobody waits: longer than a stage lasts.
const NEVER: i64 = 100 * 366 * 86_400_000;
/// Characters of a value that are told.
const TOLD_MAX: usize = 200;

/// A run that has ended, as the server shows it.
pub(crate) struct Run {
    id: String,
    started: Timestamp,
    status: String,
    /// Reference names and statuses of its tasks.
    tasks: Vec<(String, String)>,
    input: Value,
    definition: WorkflowDef,
    answers: Mocks,
    /// Why it cannot be replayed, if that is known without trying.
    steered: Option<&'static str>,
}

/// With what runs are replayed.
pub(crate) struct Trial {
    /// What the files define.
    pub(crate) definitions: load::Definitions,
    /// The task definitions that the runs had.
    pub(crate) tasks: Vec<TaskDef>,
    /// Answers of tasks that the runs did not have.
    pub(crate) mocks: Answers,
    pub(crate) scripts: Arc<dyn Scripts>,
    /// Types of tasks that the server runs by itself.
    pub(crate) built_in: Arc<[&'static str]>,
}

/// Answers by reference name, out of a file.
#[derive(Default)]
pub(crate) struct Answers(Mocks);

impl Answers {
    /// Reads them from a file: reference names with what they answer, as `mocks` of a test has them.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub(crate) fn read(path: &Path) -> Result<Self, Vec<String>> {
        file::read_mocks(path).map(Self).map_err(|found| super::in_words(&found))
    }

    /// Answers that no task of the workflows takes, in words; nothing where a dynamic fork may bring any task.
    pub(crate) fn unfit(&self, workflows: &[WorkflowDef]) -> Vec<String> {
        let tasks: Vec<_> = workflows.iter().flat_map(WorkflowDef::collect_tasks).collect();
        if tasks.iter().any(|task| task.task_type == "FORK_JOIN_DYNAMIC") {
            return Vec::new();
        }
        let known: BTreeSet<&str> = tasks.iter().map(|it| &*it.task_reference_name).collect();
        let unfit = self.0.keys().filter(|name| !known.contains(bare(name)));
        let told = |name: &String| {
            let hint = nearest_hint(name, known.iter().copied());
            format!("{name}: no task of the workflows has this reference name{hint}")
        };
        unfit.map(told).collect()
    }
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "class")]
pub(crate) enum Verdict {
    /// The same tasks, asked the same, and the same end.
    Same,
    /// Other tasks run, or the same ones end otherwise.
    OtherPath { at: String, was: String, now: String },
    /// A task that acts outside is asked something else: what it answered then is a guess now.
    AskedOtherwise { at: String, difference: String },
    /// A task asks that was not asked then.
    Unanswered { at: String, task_type: String },
    /// The run ends with another status.
    OtherEnd { was: String, now: String },
    /// The run has another output.
    OtherOutput { difference: String },
    /// The run's own definition does not do again what it did.
    NotReproduced { why: String },
}

impl Run {
    /// Reads a run with its tasks and its definition.
    ///
    /// # Errors
    /// What of it is missing.
    pub(crate) fn of(run: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let definition = serde_json::from_value(run["workflowDefinition"].clone())
            .map_err(|error| format!("its definition cannot be read: {error}"))?;
        let started = recorded::begun(run).ok_or("it has not begun")?;
        let tasks: Vec<&Value> = run["tasks"].as_array().into_iter().flatten().collect();
        let status = text(&run["status"]);
        let ends_itself = |task: &&Value| task["taskType"] == "TERMINATE";
        let steered = if status == "TERMINATED" && !tasks.iter().any(ends_itself) {
            Some("somebody terminated it")
        } else if tasks.iter().any(|it| it["status"] == "SKIPPED") {
            Some("somebody skipped a task")
        } else {
            None
        };
        let named = |task: &&Value| (text(&task["referenceTaskName"]), text(&task["status"]));
        Ok(Self {
            id: text(&run["workflowId"]),
            started: Timestamp::from_millis(started),
            status,
            tasks: tasks.iter().map(named).collect(),
            input: run["input"].clone(),
            definition,
            answers: answers(run),
            steered,
        })
    }
}

/// The answers that a run was given, by reference name with the number of the iteration.
fn answers(run: &Value) -> Mocks {
    let mut answers = Mocks::new();
    for it in recorded::answers(run) {
        let (output, fail, never) = match it.end {
            End::Output(output) => (output, None, 0),
            End::Failed(why, output) => (output, Some(why), 0),
            End::Never => (serde_json::Map::new(), None, NEVER),
        };
        let answer = Answer { output, takes: it.took, fail, after: never };
        answers.entry(it.reference).or_default().push(answer);
    }
    answers
}

/// Replays runs, as many at a time as there are processors; the order stays.
///
/// What is no run, but why it cannot be read, is not reproduced.
pub(crate) fn replay(trial: &Trial, runs: &[Result<Run, String>]) -> Vec<Verdict> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(number) else { return };
            // A bug of ours ends one replay and not the others.
            let verdict = std::panic::catch_unwind(AssertUnwindSafe(|| match run {
                Ok(run) => judge(trial, run),
                Err(why) => Verdict::NotReproduced { why: why.clone() },
            }));
            let verdict = verdict.unwrap_or_else(|_| Verdict::NotReproduced {
                why: "an internal error of nightbell ended the replay".to_owned(),
            });
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, verdict);
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(runs.len()) {
            let thread = std::thread::Builder::new().stack_size(STACK);
            if thread.spawn_scoped(scope, work).is_err() {
                // The system has no thread to give: those that there are do it all, or this one.
                work();
            }
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn judge(trial: &Trial, run: &Run) -> Verdict {
    let not_reproduced = |why: &str| Verdict::NotReproduced { why: why.to_owned() };
    if let Some(why) = run.steered {
        return not_reproduced(why);
    }
    let then = load::Definitions {
        tasks: trial.tasks.clone(),
        workflows: vec![run.definition.clone()],
        ..load::Definitions::default()
    };
    let then = match staged(trial, run, then, run.answers.clone()) {
        Ok(played) => played,
        Err(why) => return not_reproduced(&format!("it does not begin: {why}")),
    };
    let Some(was) = then.run() else { return not_reproduced("it does not begin") };
    if let Some(why) = departed(run, &then, was) {
        return not_reproduced(&why);
    }
    let mut answers = run.answers.clone();
    for (name, given) in &trial.mocks.0 {
        if !answers.keys().any(|known| bare(known) == name) {
            answers.insert(name.clone(), given.clone());
        }
    }
    let mut tasks = trial.tasks.clone();
    let own = &trial.definitions.tasks;
    tasks.retain(|known| !own.iter().any(|it| it.name == known.name));
    tasks.extend(own.iter().cloned());
    let workflows = trial.definitions.workflows.clone();
    let now = load::Definitions { tasks, workflows, ..load::Definitions::default() };
    let other_end = |now: String| Verdict::OtherEnd { was: was.status.as_str().to_owned(), now };
    match staged(trial, run, now, answers) {
        Ok(played) => match played.run() {
            Some(now) => compare(was, &played, now),
            None => other_end("it does not begin".to_owned()),
        },
        Err(why) => other_end(format!("it does not begin: {why}")),
    }
}

fn staged(
    trial: &Trial,
    run: &Run,
    definitions: load::Definitions,
    mocks: Mocks,
) -> Result<Played, String> {
    let (scripts, built_in) = (trial.scripts.clone(), trial.built_in.clone());
    let folder = Folder { definitions, scripts, built_in };
    let test = WorkflowTest {
        workflow: run.definition.name.clone(),
        input: run.input.clone(),
        mocks,
        expect: WorkflowExpect::default(),
    };
    play(&folder, &run.id, run.started, &test)
}

/// Why a run is not what its own definition does, if it is not: somebody rerun or changed it, or the
/// answers came in an order that matters.
fn departed(run: &Run, played: &Played, now: &Execution) -> Option<String> {
    if let Some(asked) = &played.unanswered {
        return Some(format!("{} is asked for, which was not asked then", asked.reference));
    }
    if let Some(why) = &played.given_up {
        return Some(why.clone());
    }
    if now.status.as_str() != run.status {
        return Some(format!("it ended {} and ends {}", run.status, now.status.as_str()));
    }
    let mut was = run.tasks.clone();
    let named = |task: &Task| (task.reference.to_string(), task.status.as_str().to_owned());
    let mut is: Vec<_> = now.tasks().map(named).collect();
    was.sort();
    is.sort();
    let differs = was.iter().zip(&is).find(|(was, is)| was != is);
    match (differs, was.len() == is.len()) {
        (None, true) => None,
        (Some(((name, was), (other, is))), _) if name == other => {
            Some(format!("{name} ended {was} and ends {is}"))
        }
        _ => Some(format!("{} tasks ran, and not the same ones", was.len())),
    }
}

/// The first difference between two plays of a run.
fn compare(was: &Execution, played: &Played, now: &Execution) -> Verdict {
    let mut tasks = (was.tasks(), now.tasks());
    let mut last = String::from("the start");
    let departure = loop {
        match (tasks.0.next(), tasks.1.next()) {
            (None, None) => break None,
            (Some(one), Some(other)) if one.reference == other.reference => {
                if let Some(verdict) = task_differs(was, one, now, other) {
                    break Some(verdict);
                }
                last = one.reference.to_string();
            }
            (one, other) => {
                let name = |task: Option<&Task>| {
                    task.map_or_else(|| "the end".to_owned(), |it| it.reference.to_string())
                };
                break Some(Verdict::OtherPath { at: last, was: name(one), now: name(other) });
            }
        }
    };
    let unanswered = played.unanswered.as_ref();
    let unanswered = unanswered.filter(|asked| match &departure {
        None => true,
        // A task is new; it does not belong to another branch that is taken now.
        Some(Verdict::OtherPath { now, .. }) => *now == asked.reference,
        Some(_) => false,
    });
    if let Some(asked) = unanswered {
        return Verdict::Unanswered {
            at: asked.reference.clone(),
            task_type: asked.task_type.clone(),
        };
    }
    if let Some(verdict) = departure {
        return verdict;
    }
    let end = |run: &Execution, given_up: Option<&String>| {
        given_up.cloned().unwrap_or_else(|| run.status.as_str().to_owned())
    };
    let ends = (end(was, None), end(now, played.given_up.as_ref()));
    if ends.0 != ends.1 {
        return Verdict::OtherEnd { was: ends.0, now: ends.1 };
    }
    match difference("output", &was.output.parse(), &now.output.parse()) {
        Some(difference) => Verdict::OtherOutput { difference },
        None => Verdict::Same,
    }
}

/// How the same task of two plays differs, if it does.
fn task_differs(was: &Execution, one: &Task, now: &Execution, other: &Task) -> Option<Verdict> {
    let at = one.reference.to_string();
    let path = |was: String, now: String| Verdict::OtherPath { at: at.clone(), was, now };
    if one.task_type != other.task_type {
        return Some(path(one.task_type.to_string(), other.task_type.to_string()));
    }
    if recorded::acts_outside(&one.task_type) {
        let (one, other) = (one.input.parse(), other.input.parse());
        if let Some(difference) = difference("input", &one, &other) {
            return Some(Verdict::AskedOtherwise { at, difference });
        }
    }
    if one.status != other.status {
        return Some(path(one.status.as_str().to_owned(), other.status.as_str().to_owned()));
    }
    if matches!(&*one.task_type, "SWITCH" | "DECISION") {
        let case = |run: &Execution, task: &Task| {
            let output: Value = run.output_of(task).parse();
            let result = &output["evaluationResult"];
            result.get(0).unwrap_or(result).to_string()
        };
        let cases = (case(was, one), case(now, other));
        if cases.0 != cases.1 {
            return Some(path(cases.0, cases.1));
        }
    }
    None
}

/// The first place in which two values differ, with what it held and holds.
fn difference(path: &str, was: &Value, now: &Value) -> Option<String> {
    match (was, now) {
        (Value::Object(one), Value::Object(other)) => {
            let absent = &Value::Null;
            let of_one = one.iter().find_map(|(name, was)| {
                difference(&format!("{path}.{name}"), was, other.get(name).unwrap_or(absent))
            });
            of_one.or_else(|| {
                let mut new = other.iter().filter(|(name, _)| !one.contains_key(*name));
                new.find_map(|(name, now)| difference(&format!("{path}.{name}"), absent, now))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(at, (was, now))| difference(&format!("{path}[{at}]"), was, now))
        }
        _ if compare::same(was, now) => None,
        _ => Some(format!("{path} was {}, is {}", brief(was), brief(now))),
    }
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(TOLD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::dice::{Dice, many};
    use super::*;
    use crate::scripts::Engines;

    /// Makes a workflow, and what its tasks answer.
    struct Maker {
        dice: Dice,
        count: u32,
        mocks: Mocks,
    }

    impl Maker {
        /// Tasks one after the other; those that hold others so deep.
        fn block(&mut self, depth: u32) -> Vec<Value> {
            let count = 1 + self.dice.throw(3);
            (0..count).flat_map(|_| self.task(depth)).collect()
        }

        fn task(&mut self, depth: u32) -> Vec<Value> {
            self.count += 1;
            let name = format!("t{}", self.count);
            let of = |kind: &str, more: Value| {
                let mut task = json!({ "name": name, "taskReferenceName": name, "type": kind });
                let Value::Object(more) = more else { return task };
                task.as_object_mut().expect("an object").extend(more);
                task
            };
            let n = json!({ "n": "${workflow.input.n}", "k": 1 });
            match self.dice.throw(if depth == 0 { 6 } else { 9 }) {
                0 | 1 => {
                    self.answer(&name, true);
                    let optional = self.dice.throw(3) == 0;
                    let work =
                        json!({ "name": "work", "inputParameters": n, "optional": optional });
                    vec![of("SIMPLE", work)]
                }
                2 => {
                    self.answer(&name, true);
                    let input = json!({ "uri": "http://x.test/", "method": "GET" });
                    vec![of("HTTP", json!({ "inputParameters": input, "optional": true }))]
                }
                3 => {
                    self.answer(&name, false);
                    vec![of("HUMAN", json!({ "inputParameters": n }))]
                }
                4 => vec![of("WAIT", json!({ "inputParameters": { "duration": "3s" } }))],
                5 => {
                    let input = json!({ "n": "${workflow.input.n}", "expression": "$.n * 2" });
                    vec![of("INLINE", json!({ "inputParameters": input }))]
                }
                6 => {
                    let (even, other) = (self.block(depth - 1), self.block(depth - 1));
                    let branch = json!({ "evaluatorType": "javascript", "inputParameters": n,
                        "expression": "$.n % 2 == 0 ? 'even' : 'odd'",
                        "decisionCases": { "even": even }, "defaultCase": other });
                    vec![of("SWITCH", branch)]
                }
                7 => {
                    let branches = [self.block(depth - 1), self.block(depth - 1)];
                    let last =
                        |tasks: &Vec<Value>| tasks[tasks.len() - 1]["taskReferenceName"].clone();
                    let joined: Vec<Value> = branches.iter().map(last).collect();
                    let join = json!({ "name": "join", "taskReferenceName": format!("{name}-join"),
                        "type": "JOIN", "joinOn": joined });
                    vec![of("FORK_JOIN", json!({ "forkTasks": branches })), join]
                }
                _ => {
                    let over = self.block(depth - 1);
                    let condition = format!("$.{name}['iteration'] < 2");
                    vec![of("DO_WHILE", json!({ "loopCondition": condition, "loopOver": over }))]
                }
            }
        }

        /// Enough answers for every attempt in every iteration.
        fn answer(&mut self, name: &str, fails: bool) {
            let answers = (0..24).map(|number| Answer {
                output: Map::from_iter([("n".to_owned(), Value::from(number))]),
                takes: 1 + self.dice.throw(5_000) as i64,
                fail: (fails && self.dice.throw(5) == 0).then(|| "refused".to_owned()),
                after: 0,
            });
            let answers = answers.collect();
            self.mocks.insert(name.to_owned(), answers);
        }
    }

    #[test]
    fn a_run_is_the_same_by_its_own_definition() {
        try_seeds(12);
    }

    #[test]
    #[ignore = "takes minutes; NIGHTBELL_TEST_SEEDS says how many"]
    fn many_runs_are_the_same_by_their_own_definitions() {
        try_seeds(many(1_000));
    }

    fn try_seeds(seeds: u64) {
        let scripts: Arc<dyn Scripts> =
            Engines::new(tasks::javascript::Limits::default(), tasks::jq::Limits::default());
        let built_in: Arc<[&'static str]> =
            crate::cli::offline::task_types().expect("there are some").into();
        let work = json!({ "name": "work", "retryCount": 2, "retryDelaySeconds": 1 });
        let work: TaskDef = serde_json::from_value(work).expect("it is one");
        let started = Timestamp::from_millis(1_767_225_600_000);
        let (mut asked, mut failed) = (0, 0);
        for seed in 0..seeds {
            let mut maker = Maker { dice: Dice(seed), count: 0, mocks: Mocks::new() };
            for _ in 0..5 {
                maker.dice.throw(2);
            }
            let tasks = maker.block(2);
            let text = json!({ "name": "made", "version": 1, "tasks": tasks,
                "outputParameters": { "n": "${t1.output.n}" } });
            let text = text.to_string();
            let define = |text: &str| -> load::Definitions {
                let workflow: WorkflowDef = serde_json::from_str(text).expect("it is one");
                let (tasks, workflows) = (vec![work.clone()], vec![workflow]);
                load::Definitions { tasks, workflows, ..load::Definitions::default() }
            };
            let folder = Folder {
                definitions: define(&text),
                scripts: scripts.clone(),
                built_in: built_in.clone(),
            };
            let test = WorkflowTest {
                workflow: "made".to_owned(),
                input: json!({ "n": maker.dice.throw(2) }),
                mocks: maker.mocks,
                expect: WorkflowExpect::default(),
            };
            let played = play(&folder, &format!("run {seed}"), started, &test);
            let played = played.unwrap_or_else(|why| panic!("seed {seed}: {why}\n{text}"));
            let run = played.run().expect("it began");
            assert!(run.status.is_closed(), "seed {seed}\n{text}");
            failed += usize::from(run.tasks().any(|task| task.status.as_str() == "FAILED"));
            let shown = server::rest::view::describe(run).parse();
            let replayed = |definitions: load::Definitions| {
                let trial = Trial {
                    definitions,
                    tasks: vec![work.clone()],
                    mocks: Answers::default(),
                    scripts: scripts.clone(),
                    built_in: built_in.clone(),
                };
                replay(&trial, &[Run::of(&shown)]).remove(0)
            };
            let verdict = replayed(define(&text));
            assert_eq!(verdict, Verdict::Same, "seed {seed}\n{text}\n{shown}");
            // One whose workers are asked otherwise is not.
            if run.tasks().any(|task| matches!(&*task.task_type, "SIMPLE" | "HUMAN")) {
                asked += 1;
                let other = replayed(define(&text.replace("\"k\":1", "\"k\":2")));
                assert!(matches!(other, Verdict::AskedOtherwise { .. }), "seed {seed}: {other:?}");
            }
        }
        assert!(asked > 0 && failed > 0, "{asked} asked, {failed} failed");
    }

    #[test]
    fn the_first_difference_of_two_values_is_told_with_its_place() {
        let tell = |was, now| difference("input", &was, &now);
        assert_eq!(
            tell(json!({ "a": 1, "b": [1, 2.0] }), json!({ "b": [1.0, 2], "a": 1.0 })),
            None
        );
        assert_eq!(tell(json!({ "a": null }), json!({})), None, "absent is null");
        let told = |was, now| tell(was, now).unwrap();
        assert_eq!(
            told(json!({ "a": [{ "b": 1 }] }), json!({ "a": [{ "b": 2 }] })),
            "input.a[0].b was 1, is 2"
        );
        assert_eq!(told(json!({ "a": [1] }), json!({ "a": [1, 2] })), "input.a was [1], is [1,2]");
        assert_eq!(told(json!({}), json!({ "c": "x" })), "input.c was null, is \"x\"");
    }
}
