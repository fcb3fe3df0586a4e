//! Tests of workflows: a run with mocks on the stage, and what is expected of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use engine::stage::id_of;
use engine::{Change, Engine, TaskRunner};
use kernel::definition::{WorkflowDef, WorkflowTask};
use kernel::graph::{Awaits, Execution, Kind, Start, Status};
use kernel::{ExecutionId, Json, Timestamp};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::cast::{Asked, Cast, Mocked, Noted, Script, bare};
use super::compare::{part, whole};
use super::file::{Mocks, WorkflowTest};
use super::moments::{relative, span};
use super::stage::Stage;
use super::{Folder, TestResult};

/// Virtual time after which a run is taken for one that never ends.
const TIME_MAX: Duration = Duration::from_hours(24 * 400);
/// Things that happen in one test, at most.
const NOTED_MAX: usize = 200_000;
/// Tasks of one run, at most: a loop that waits for nothing takes no virtual time.
const TASKS_MAX: usize = 5_000;
/// Characters of an input that are told of a task that nobody answers.
const ASKED_MAX: usize = 2_000;

/// How a run went.
pub(super) struct Played {
    root: ExecutionId,
    executions: BTreeMap<ExecutionId, Execution>,
    /// The task that nobody answers, at which it stopped.
    pub(super) unanswered: Option<Asked>,
    unused: Vec<(String, usize)>,
    /// Why it was given up.
    pub(super) given_up: Option<String>,
}

impl Played {
    /// The run itself; none if it did not begin.
    pub(super) fn run(&self) -> Option<&Execution> {
        self.executions.get(&self.root)
    }
}

/// Runs a test.
pub(super) fn run(folder: &Folder, id: &str, start: Timestamp, test: &WorkflowTest) -> TestResult {
    let mut told = TestResult::default();
    let played = match play(folder, id, start, test) {
        Ok(played) => played,
        Err(why) => {
            told.problems.push(why);
            return told;
        }
    };
    told.trace = trace(&played, start);
    judge(&played, test, &mut told.problems);
    told.executions = played.executions.into_values().collect();
    told
}

/// Lets a run go on the stage until it ends, or cannot go on.
///
/// # Errors
/// It does not begin.
pub(super) fn play(
    folder: &Folder,
    id: &str,
    start: Timestamp,
    test: &WorkflowTest,
) -> Result<Played, String> {
    let (stage, heard) = Stage::new(start, &folder.scripts);
    let script = Script::new(&test.mocks, stage.says.clone());
    let runners = folder.built_in.iter().map(|task_type| {
        Arc::new(Mocked { task_type, script: script.clone() }) as Arc<dyn TaskRunner>
    });
    let root = id_of(id);
    stage.perform(runners.collect(), async |engine| {
        let mut run = Run { engine, heard, script: &script, root: root.clone(), folder };
        run.conduct(test).await
    })?
}

/// A run under way.
struct Run<'a> {
    engine: Engine,
    heard: UnboundedReceiver<Noted>,
    script: &'a Script,
    root: ExecutionId,
    folder: &'a Folder,
}

impl Run<'_> {
    async fn conduct(&mut self, test: &WorkflowTest) -> Result<Played, String> {
        let said = |error: engine::Error| error.to_string();
        let change = Change {
            tasks: self.folder.definitions.tasks.clone(),
            workflows: answered(&self.folder.definitions.workflows, &test.mocks),
            ..Change::default()
        };
        self.engine.change(change).await.map_err(said)?;
        let plan = self.engine.definitions().plan(&test.workflow, None);
        let plan = plan.ok_or_else(|| format!("there is no workflow {:?}", test.workflow))?;
        let start = Start {
            plan,
            input: Json::of(&test.input),
            correlation_id: None,
            priority: 0,
            task_to_domain: None,
            parent: None,
            asked_by: None,
            event: None,
            created_by: None,
            acts_as: None,
            idempotency_key: None,
            traceparent: None,
        };
        self.engine.begin_at(&self.root, start).await.map_err(said)?;
        Ok(self.follow().await)
    }

    /// Lets everybody do their part until the run has ended, or cannot go on.
    async fn follow(&mut self) -> Played {
        let mut cast =
            Cast::new(&self.engine, self.script, self.folder.built_in.iter().copied().collect());
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        let (mut unanswered, mut given_up) = (None, None);
        let limit = tokio::time::Instant::now() + TIME_MAX;
        while unanswered.is_none() {
            let noted = tokio::select! {
                biased;
                noted = self.heard.recv() => noted,
                () = tokio::time::sleep_until(limit) => None,
            };
            count += 1;
            let Some(noted) = noted.filter(|_| count < NOTED_MAX) else {
                let days = TIME_MAX.as_secs() / 86_400;
                given_up = Some(format!("it did not end within {days} days and {count} steps"));
                break;
            };
            match noted {
                Noted::Queued(queue) => cast.work_at(queue),
                Noted::Unanswered(asked) if self.is_ours(&asked.execution).await => {
                    unanswered = Some(asked);
                }
                Noted::Unanswered(_) => {}
                Noted::Changed(id) => {
                    seen.insert(id.clone());
                    cast.look_at(&id).await;
                    let (ended, tasks) = self.standing(&id).await;
                    if tasks > TASKS_MAX {
                        given_up = Some(format!(
                            "{tasks} tasks ran, more than {TASKS_MAX}: does a loop never end?"
                        ));
                        break;
                    }
                    if id == self.root && ended {
                        break;
                    }
                }
            }
        }
        let mut executions = BTreeMap::new();
        for id in seen {
            if let Ok(Some(state)) = self.engine.read(&id, Clone::clone).await {
                executions.insert(id, state);
            }
        }
        let (root, unused) = (self.root.clone(), self.script.unused());
        Played { root, executions, unanswered, unused, given_up }
    }

    /// Whether a run has ended, and how many tasks it has.
    async fn standing(&self, id: &ExecutionId) -> (bool, usize) {
        let look = |state: &Execution| (state.status.is_closed(), state.task_count());
        self.engine.read(id, look).await.ok().flatten().unwrap_or_default()
    }

    /// Whether an execution is the one that is tested, or one that it waits for.
    async fn is_ours(&self, id: &ExecutionId) -> bool {
        let mut id = id.clone();
        while id != self.root {
            let parent = |state: &Execution| state.parent.as_ref().map(|it| it.execution.clone());
            match self.engine.read(&id, parent).await {
                Ok(Some(Some(parent))) => id = parent,
                _ => return false,
            }
        }
        true
    }
}

/// The definitions, in which what would start other runs and has a mock is a task that is answered.
fn answered(workflows: &[WorkflowDef], mocks: &Mocks) -> Vec<WorkflowDef> {
    let mut workflows = workflows.to_vec();
    for workflow in &mut workflows {
        answer_starts(&mut workflow.tasks, mocks);
    }
    workflows
}

fn answer_starts(tasks: &mut [WorkflowTask], mocks: &Mocks) {
    for task in tasks {
        let starts = matches!(&*task.task_type, "SUB_WORKFLOW" | "START_WORKFLOW");
        if starts && mocks.keys().any(|name| bare(name) == task.task_reference_name) {
            "SIMPLE".clone_into(&mut task.task_type);
            // What would be started belongs to what is asked.
            if let Some(started) = task.sub_workflow_param.take()
                && let Ok(started) = serde_json::to_value(started)
            {
                task.input_parameters.insert("subWorkflowParam".to_owned(), started);
            }
        }
        for nested in task.decision_cases.values_mut().chain(&mut task.fork_tasks) {
            answer_starts(nested, mocks);
        }
        answer_starts(&mut task.default_case, mocks);
        answer_starts(&mut task.loop_over, mocks);
    }
}

fn judge(played: &Played, test: &WorkflowTest, problems: &mut Vec<String>) {
    let Some(root) = played.run() else {
        return problems.push("it did not begin".to_owned());
    };
    if let Some(asked) = &played.unanswered {
        problems.push(no_answer(asked));
    }
    problems.extend(played.given_up.clone());
    for (name, count) in &played.unused {
        problems.push(unused(played, test, name, *count));
    }
    if played.unanswered.is_some() || played.given_up.is_some() {
        // Where it stands tells nothing new.
        return;
    }
    let expected = test.expect.status.as_deref().unwrap_or(Status::Completed.as_str());
    if root.status.as_str() != expected {
        let why = root.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        problems.push(format!("status: expected {expected}, got {}{why}", root.status.as_str()));
    }
    if let Some(expected) = &test.expect.path {
        judge_path(root, expected, problems);
    }
    let output = root.output.parse();
    if let Some(expected) = &test.expect.exactly {
        // `exactly: true` is about `output`.
        match (expected, &test.expect.output) {
            (Value::Bool(true), Some(expected)) => whole("output", expected, &output, problems),
            (expected, _) => whole("output", expected, &output, problems),
        }
    } else if let Some(expected) = &test.expect.output {
        part("output", expected, &output, problems);
    }
    for (name, expected) in &test.expect.inputs {
        let task = root.tasks().find(|task| *task.reference == **name);
        let task = task.or_else(|| root.tasks().find(|task| bare(&task.reference) == name));
        match task {
            None => problems.push(format!("inputs.{name}: no such task ran")),
            Some(task) => {
                part(&format!("inputs.{name}"), expected, &task.input.parse(), problems);
            }
        }
    }
    if let Some(expected) = &test.expect.took {
        let took = root.ended_at.map_or(0, |end| end.since(root.created_at));
        if !expected.fits(took) {
            problems.push(format!("took: expected {}, got {}", expected.text(), span(took)));
        }
    }
}

fn judge_path(root: &Execution, expected: &[String], problems: &mut Vec<String>) {
    let path: Vec<&str> = root.tasks().map(|task| &*task.reference).collect();
    let same = |(one, other): (&String, &&str)| one == other || one == bare(other);
    if path.len() != expected.len() || !expected.iter().zip(&path).all(same) {
        let fits = expected.iter().zip(&path).take_while(|it| same(*it)).count();
        problems.push(format!(
            "path: expected [{}], got [{}]; they part after {fits}",
            expected.join(", "),
            path.join(", ")
        ));
    }
}

/// Tells of a task that nobody answers: what it was asked, and what to write.
fn no_answer(asked: &Asked) -> String {
    let input: String = asked.input.text().chars().take(ASKED_MAX).collect();
    let name = bare(&asked.reference);
    let answer = match &*asked.task_type {
        waits if Kind::of(waits).awaits() == Awaits::Signal => "{ signal: {}, after: 1h }",
        "HTTP" => "{ output: { response: { statusCode: 200, body: {} } } }",
        _ => "{ output: {} }",
    };
    let mut told = String::new();
    let _ = write!(
        told,
        "no mock answers {} ({}), which was asked\n  {input}\nadd to the test\n  mocks:\n    {name}: {answer}",
        asked.reference, asked.task_type
    );
    told
}

/// Tells of answers that nobody took.
fn unused(played: &Played, test: &WorkflowTest, name: &str, count: usize) -> String {
    let mut known = BTreeSet::new();
    for state in played.executions.values() {
        let plan = state.plan();
        plan.definition.walk(|_, task| {
            known.insert(task.task_reference_name.clone());
        });
        known.extend(state.tasks().map(|task| task.reference.to_string()));
    }
    let given = test.mocks.get(name).map_or(0, Vec::len);
    if known.contains(name) || known.contains(bare(name)) {
        return match given {
            1 => format!("mocks.{name}: the answer was not used: the task did not ask for it"),
            _ => format!("mocks.{name}: {count} of {given} answers were not used"),
        };
    }
    let names: Vec<String> = known.into_iter().collect();
    format!("mocks.{name}: no task has this reference name; there are {}", names.join(", "))
}

/// What happened, in order, with virtual times.
fn trace(played: &Played, start: Timestamp) -> Vec<String> {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for (id, state) in &played.executions {
        let name = &state.plan().definition.name;
        let whose = if *id == played.root { String::new() } else { format!("{name}/") };
        lines.push((state.created_at, format!("{whose}{name} begins {}", state.input.text())));
        for task in state.tasks() {
            let reference = &task.reference;
            let end = task.ended_at;
            let (at, what) = match (end, task.started_at) {
                (Some(end), _) => {
                    let why = task.reason.as_deref().map(|it| format!(" ({it})"));
                    let output = state.output_of(task);
                    let told = format!(
                        "{}{} {}",
                        task.status.as_str(),
                        why.unwrap_or_default(),
                        output.text()
                    );
                    (end, told)
                }
                (None, begun) => {
                    (begun.unwrap_or(task.scheduled_at), task.status.as_str().to_owned())
                }
            };
            lines.push((at, format!("{whose}{reference} {what}")));
        }
        if let Some(end) = state.ended_at {
            lines.push((
                end,
                format!("{whose}{name} {} {}", state.status.as_str(), state.output.text()),
            ));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, line)| format!("{:>14}  {line}", relative(at, start))).collect()
}
