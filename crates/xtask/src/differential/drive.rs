//! Plays one case on one server: registers, starts, works, operates, and writes down what a client saw.

mod script;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::wire::Wire;

use super::case::{Act, Case, When};
use super::normalize::Names;

/// How long a server is given to come to rest between two steps.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// Its built-in tasks are taken from queues by pollers.
    Conductor,
    Nightbell,
}

impl Pace {
    /// Nothing may have changed for so long before it counts as at rest, where a worker is waited
    /// for.
    fn still(self) -> Duration {
        match self {
            Self::Conductor => Duration::from_millis(350),
            Self::Nightbell => Duration::from_millis(60),
        }
    }

    /// Time between two looks.
    fn glance(self) -> Duration {
        match self {
            Self::Conductor => Duration::from_millis(70),
            Self::Nightbell => Duration::from_millis(25),
        }
    }

    /// The same where no worker is: what goes on then goes on by itself.
    fn stuck(self) -> Duration {
        match self {
            Self::Conductor => Duration::from_secs(9),
            // A machine that is busy may be late with the end of a WAIT.
            Self::Nightbell => Duration::from_secs(BRIEF + 7),
        }
    }

    /// After so long without a change Conductor is asked to look at the execution, which it does by
    /// itself every half a minute.
    fn nudge(self) -> Option<Duration> {
        match self {
            Self::Conductor => Some(Duration::from_secs(2)),
            Self::Nightbell => None,
        }
    }
}

/// A server that does not answer within this time is stalled.
const PATIENCE: Duration = Duration::from_secs(40);
/// Seconds of a WAIT that is waited for.
const BRIEF: u64 = 5;
/// An execution that changes for longer than this is given up.
const RESTLESS: Duration = Duration::from_secs(90);

/// Steps of the worker after which a case is given up.
const STEPS_MAX: usize = 60;

/// Task types that wait for somebody outside.
const WAITING: [&str; 2] = ["WAIT", "HUMAN"];

/// Task types that end by themselves, or with what they contain.
const BUILT_IN: [&str; 22] = [
    "HTTP",
    "INLINE",
    "LAMBDA",
    "JSON_JQ_TRANSFORM",
    "SWITCH",
    "DECISION",
    "FORK",
    "FORK_JOIN",
    "FORK_JOIN_DYNAMIC",
    "JOIN",
    "EXCLUSIVE_JOIN",
    "DO_WHILE",
    "SUB_WORKFLOW",
    "START_WORKFLOW",
    "SET_VARIABLE",
    "TERMINATE",
    "EVENT",
    "NOOP",
    "DYNAMIC",
    "HTTP_POLL",
    "KAFKA_PUBLISH",
    "PULL_WORKFLOW_MESSAGES",
];

/// Plays the case; answers the transcript, in which ids and times are replaced.
pub(super) async fn play(case: &Case, address: &str, pace: Pace) -> anyhow::Result<Value> {
    let mut player = Player {
        client: Client { address: address.to_owned(), wire: None },
        pace,
        transcript: Map::new(),
        life: 0,
        steps: 0,
    };
    player.run(case).await?;
    Ok(Value::Object(player.transcript))
}

struct Player {
    client: Client,
    pace: Pace,
    transcript: Map<String, Value>,
    /// How often the operator made the execution run again.
    life: usize,
    steps: usize,
}

impl Player {
    async fn run(&mut self, case: &Case) -> anyhow::Result<()> {
        // Left by an earlier attempt, or an earlier run on the same server.
        for workflow in &case.workflows {
            let name = workflow["name"].as_str().unwrap_or_default();
            let path = format!("/api/metadata/workflow/{name}/1");
            self.client.call("DELETE", &path, None).await?;
        }
        for workflow in &case.later {
            let name = workflow["name"].as_str().unwrap_or_default();
            let path = format!("/api/metadata/workflow/{name}/{}", workflow["version"]);
            self.client.call("DELETE", &path, None).await?;
        }
        for task in &case.tasks {
            let (status, said) = self.client.post("/api/metadata/taskdefs", &json!([task])).await?;
            self.note("task definition", status, &said, &Names::default());
        }
        let mut registered = true;
        for workflow in &case.workflows {
            let (status, said) = self.client.post("/api/metadata/workflow", workflow).await?;
            let what = format!("definition {}", workflow["name"].as_str().unwrap_or_default());
            self.note(&what, status, &said, &Names::default());
            registered &= status < 300;
        }
        if !registered {
            return Ok(());
        }
        let mut start = json!({ "name": case.root(), "input": case.input, "correlationId": "c-1" });
        for (field, value) in &case.start {
            start[field] = value.clone();
        }
        let (status, said) = self.client.post("/api/workflow", &start).await?;
        if status >= 300 {
            self.note("start", status, &said, &Names::default());
            return Ok(());
        }
        self.transcript.insert("start".to_owned(), json!(status));
        let id = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
        match &case.script {
            Some(script) => self.perform(case, script, &id).await?,
            None => self.go(case, &id).await?,
        }
        // What still runs would keep the server's pollers busy. It may have ended already.
        let _ = self.client.call("DELETE", &format!("/api/workflow/{id}"), None).await;
        Ok(())
    }

    /// Answers and acts until the execution is at rest and nothing is left to do.
    async fn go(&mut self, case: &Case, id: &str) -> anyhow::Result<()> {
        let mut actions: Vec<_> = case.actions.iter().collect();
        let mut ends = 0;
        loop {
            let tree = self.settle(id).await?;
            let names = Names::of(&tree);
            let ended = tree.ended();
            let pending = tree.pending();
            if ended || pending.is_empty() || self.steps >= STEPS_MAX {
                let label = format!("at end {ends}");
                let mut shown = names.shown(&tree);
                if !ended && pending.is_empty() {
                    // Neither at its end nor waiting for anybody.
                    shown["stuck"] = json!(true);
                }
                self.transcript.insert(label, shown);
                ends += 1;
                let next = actions.iter().position(|action| action.when == When::End);
                match next {
                    Some(next) if ends < 4 => {
                        let action = actions.remove(next);
                        self.operate(id, &action.act, &tree, &names).await?;
                        continue;
                    }
                    _ => return Ok(()),
                }
            }
            let now = |when: When| matches!(when, When::Step(step) if step <= self.steps);
            if let Some(next) = actions.iter().position(|action| now(action.when)) {
                let action = actions.remove(next);
                self.operate(id, &action.act, &tree, &names).await?;
                continue;
            }
            self.work(case, &pending[0], &names).await?;
        }
    }

    /// Answers for one task as the case's worker.
    async fn work(&mut self, case: &Case, task: &Pending, names: &Names) -> anyhow::Result<()> {
        let (status, output) = case.worker.answer(&task.reference, task.retry, self.life);
        let mut update = json!({ "workflowInstanceId": task.workflow, "taskId": task.id,
            "status": status, "outputData": output, "workerId": "differential" });
        if status != "COMPLETED" {
            update["reasonForIncompletion"] = json!(format!("{} failed", task.reference));
        }
        let (code, said) = self.client.post("/api/tasks", &update).await?;
        self.steps += 1;
        let what = format!("step {} {} {status}", self.steps, task.key);
        if code >= 300 {
            self.note(&what, code, &said, names);
        } else {
            self.transcript.insert(what, json!(code));
        }
        Ok(())
    }

    async fn operate(
        &mut self,
        id: &str,
        act: &Act,
        tree: &Tree,
        names: &Names,
    ) -> anyhow::Result<()> {
        let base = format!("/api/workflow/{id}");
        let what = format!("operator {} at step {} life {}", act.word(), self.steps, self.life);
        let (status, said) = match act {
            Act::PauseResume => {
                let paused = self.client.call("PUT", &format!("{base}/pause"), None).await?;
                let tree = self.settle(id).await?;
                let shown = Names::of(&tree).shown(&tree);
                self.transcript.insert(format!("{what}: paused"), shown);
                if paused.0 >= 300 {
                    paused
                } else {
                    self.client.call("PUT", &format!("{base}/resume"), None).await?
                }
            }
            Act::Terminate => {
                self.client.call("DELETE", &format!("{base}?reason=enough"), None).await?
            }
            Act::Retry => self.client.call("POST", &format!("{base}/retry"), None).await?,
            Act::Restart => self.client.call("POST", &format!("{base}/restart"), None).await?,
            Act::Rerun(reference) => {
                let task = tree.task_id(reference).unwrap_or("none");
                let body = json!({ "reRunFromTaskId": task });
                self.client.post(&format!("{base}/rerun"), &body).await?
            }
            Act::Skip(reference) => {
                let path = format!("{base}/skiptask/{reference}");
                self.client.call("PUT", &path, Some(&json!({}))).await?
            }
        };
        self.note(&what, status, &said, names);
        if !matches!(act, Act::PauseResume | Act::Skip(_)) {
            self.life += 1;
        }
        Ok(())
    }

    /// Writes down an answer; of a refusal its status and message.
    fn note(&mut self, what: &str, status: u16, said: &Value, names: &Names) {
        let mut noted = json!({ "status": status });
        if status >= 300
            && let Some(message) = said.get("message").and_then(Value::as_str)
        {
            noted["message"] = names.replaced(&json!(message));
        }
        if let Some(errors) = said.get("validationErrors").and_then(Value::as_array) {
            let texts: Vec<_> = errors.iter().map(|error| error["message"].clone()).collect();
            noted["errors"] = json!(texts);
        }
        self.transcript.insert(what.to_owned(), noted);
    }

    /// Waits until nothing goes on by itself any more.
    async fn settle(&mut self, id: &str) -> anyhow::Result<Tree> {
        let begun = Instant::now();
        let mut last: Option<(Tree, Instant)> = None;
        let mut nudged = 0;
        loop {
            let tree = self.client.tree(id, 0).await?;
            let now = Instant::now();
            let since = match &last {
                Some((before, since)) if before.same(&tree) => *since,
                _ => now,
            };
            let still = now - since;
            let enough = if tree.ended() {
                self.pace.still()
            } else if tree.busy() || tree.pending().is_empty() {
                self.pace.stuck()
            } else {
                self.pace.still()
            };
            if still >= enough {
                return Ok(tree);
            }
            anyhow::ensure!(begun.elapsed() < RESTLESS, "not at rest after {RESTLESS:?}");
            if let Some(nudge) = self.pace.nudge()
                && enough == self.pace.stuck()
                && still > nudge * (nudged + 1)
            {
                nudged += 1;
                self.client.decide(&tree).await?;
            }
            last = Some((tree, since));
            tokio::time::sleep(self.pace.glance()).await;
        }
    }
}

/// A task that waits for the worker.
struct Pending {
    key: String,
    id: String,
    workflow: String,
    reference: String,
    retry: u64,
}

/// An execution with its children, as a client reads them.
pub(super) struct Tree {
    pub(super) root: Value,
    /// By the id that the parent's task names.
    pub(super) children: BTreeMap<String, Tree>,
}

impl Tree {
    fn ended(&self) -> bool {
        let status = self.root["status"].as_str().unwrap_or_default();
        !matches!(status, "RUNNING" | "PAUSED")
    }

    /// Whether nothing has happened, in the children neither. A JOIN that waits is polled all the
    /// time, and says so.
    fn same(&self, later: &Self) -> bool {
        let state = |tree: &Self| {
            let of = |task: &Value| [task["taskId"].clone(), task["status"].clone()];
            (tree.root["status"].clone(), tree.tasks().iter().map(of).collect::<Vec<_>>())
        };
        state(self) == state(later)
            && self.children.len() == later.children.len()
            && self.children.iter().zip(&later.children).all(|(one, other)| one.1.same(other.1))
    }

    pub(super) fn tasks(&self) -> &[Value] {
        self.root["tasks"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The last task with this reference name.
    fn task_id(&self, reference: &str) -> Option<&str> {
        let named = |task: &&Value| task["referenceTaskName"] == reference;
        self.tasks().iter().rev().find(named).and_then(|task| task["taskId"].as_str())
    }

    /// Whether something goes on that ends by itself.
    fn busy(&self) -> bool {
        let over = |join: &Value, name: &Value| {
            let name = name.as_str().unwrap_or_default();
            let turn = format!("{name}__{}", join["iteration"]);
            let latest = self.tasks().iter().rev().find(|task| {
                task["referenceTaskName"] == name || task["referenceTaskName"] == turn.as_str()
            });
            latest.is_some_and(terminal)
        };
        self.tasks().iter().filter(|task| !terminal(task)).any(|task| {
            match task["taskType"].as_str().unwrap_or_default() {
                "JOIN" => task["inputData"]["joinOn"]
                    .as_array()
                    .is_some_and(|names| names.iter().all(|name| over(task, name))),
                "SUB_WORKFLOW" => match self.child(task) {
                    Some(child) => child.ended() || child.busy(),
                    None => true,
                },
                "DO_WHILE" | "EXCLUSIVE_JOIN" | "PULL_WORKFLOW_MESSAGES" => false,
                "WAIT" => brief(task),
                kind => BUILT_IN.contains(&kind),
            }
        })
    }

    fn child(&self, task: &Value) -> Option<&Self> {
        self.children.get(child_id(task)?)
    }

    /// What waits for the worker, in an order that does not depend on the server.
    fn pending(&self) -> Vec<Pending> {
        let mut found = Vec::new();
        self.gather("", &mut found);
        found.sort_by(|one, other| one.key.cmp(&other.key));
        found
    }

    fn gather(&self, path: &str, found: &mut Vec<Pending>) {
        if self.ended() {
            return;
        }
        for task in self.tasks().iter().filter(|task| !terminal(task)) {
            let kind = task["taskType"].as_str().unwrap_or_default();
            let reference = task["referenceTaskName"].as_str().unwrap_or_default();
            let key = format!("{path}{reference}");
            if let Some(child) = self.child(task) {
                child.gather(&format!("{key}/"), found);
            } else if brief(task) {
                // It ends by itself, on both servers.
            } else if WAITING.contains(&kind) || !BUILT_IN.contains(&kind) {
                let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
                found.push(Pending {
                    id: text("taskId"),
                    workflow: text("workflowInstanceId"),
                    reference: reference.to_owned(),
                    retry: task["retryCount"].as_u64().unwrap_or(0),
                    key,
                });
            }
        }
    }
}

/// The execution that a task started and waits for.
pub(super) fn child_id(task: &Value) -> Option<&str> {
    if task["taskType"] != "SUB_WORKFLOW" {
        return None;
    }
    let direct = task["subWorkflowId"].as_str().filter(|id| !id.is_empty());
    direct.or_else(|| task["outputData"]["subWorkflowId"].as_str())
}

/// Whether a WAIT is over in a few seconds; longer ones are answered by the worker.
fn brief(task: &Value) -> bool {
    let duration = task["inputData"]["duration"].as_str().unwrap_or_default();
    let digits = duration.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = duration[digits.len()..].trim();
    let seconds = digits.parse::<u64>().ok().filter(|_| unit.starts_with('s'));
    task["taskType"] == "WAIT" && seconds.is_some_and(|seconds| seconds <= BRIEF)
}

fn terminal(task: &Value) -> bool {
    !matches!(task["status"].as_str().unwrap_or_default(), "SCHEDULED" | "IN_PROGRESS")
}

struct Client {
    address: String,
    wire: Option<Wire>,
}

impl Client {
    async fn tree(&mut self, id: &str, depth: usize) -> anyhow::Result<Tree> {
        let path = format!("/api/workflow/{id}?includeTasks=true");
        let (status, root) = self.call("GET", &path, None).await?;
        anyhow::ensure!(status == 200, "GET {path}: {status} {root}");
        let mut children = BTreeMap::new();
        if depth < 6 {
            let tasks = root["tasks"].as_array().cloned().unwrap_or_default();
            for child in tasks.iter().filter_map(child_id) {
                if !children.contains_key(child) {
                    let tree = Box::pin(self.tree(child, depth + 1)).await;
                    // A child may be named before it can be read.
                    if let Ok(tree) = tree {
                        children.insert(child.to_owned(), tree);
                    }
                }
            }
        }
        Ok(Tree { root, children })
    }

    /// Asks the server to look at the execution and its children.
    async fn decide(&mut self, tree: &Tree) -> anyhow::Result<()> {
        for child in tree.children.values().filter(|child| !child.ended()) {
            Box::pin(self.decide(child)).await?;
        }
        let id = tree.root["workflowId"].as_str().unwrap_or_default();
        self.call("PUT", &format!("/api/workflow/decide/{id}"), None).await?;
        Ok(())
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.call("POST", path, Some(body)).await
    }

    async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(method, path, body)).await;
        answer.with_context(|| format!("{method} {path}: no answer within {PATIENCE:?}"))?
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answered = match self.wire.take() {
            Some(mut wire) => {
                let answer = wire.call(method, path, body.as_bytes()).await;
                answer.map(|answer| (wire, answer)).ok()
            }
            None => None,
        };
        let (wire, (status, bytes)) = if let Some(answered) = answered {
            answered
        } else {
            // The connection is new, or the server closed it between two calls.
            let mut wire = Wire::open(&self.address).await?;
            let answer = wire.call(method, path, body.as_bytes()).await;
            let answer = answer.with_context(|| format!("{method} {path}"))?;
            (wire, answer)
        };
        self.wire = Some(wire);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}
