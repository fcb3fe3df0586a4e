//! Plays the steps of a scenario, one after the other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::case::{Case, Move};
use super::super::normalize::Names;
use super::{Player, Tree, child_id, terminal};

impl Player {
    /// Does what the scenario says, and writes down what a client saw before each act of the
    /// operator and at the end.
    pub(super) async fn perform(
        &mut self,
        case: &Case,
        script: &[Move],
        id: &str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut looks = 0;
        for (number, step) in script.iter().enumerate() {
            if let Some(seconds) = step.seconds() {
                let due = begun + Duration::from_secs_f64(seconds);
                tokio::time::sleep_until(due.into()).await;
                continue;
            }
            let tree = self.settle(id).await?;
            if step.operates() && tree.ended() {
                self.look(&tree, looks);
                looks += 1;
            }
            let names = Names::of(&tree);
            let Some((status, said)) = self.make(case, step, id, &tree).await? else { continue };
            let who = if step.operates() { "operator" } else { "step" };
            let what = format!("{who} {} at step {} {}", step.verb, number + 1, step.first());
            if status == 0 || (status < 300 && who == "step") {
                self.transcript.insert(what, json!(status));
            } else {
                self.note(&what, status, &said, &names);
            }
        }
        let tree = self.settle(id).await?;
        self.look(&tree, looks);
        Ok(())
    }

    fn look(&mut self, tree: &Tree, looks: usize) {
        let mut shown = Names::of(tree).shown(tree);
        if !tree.ended() && tree.pending().is_empty() {
            // Neither at its end nor waiting for anybody.
            shown["stuck"] = json!(true);
        }
        self.transcript.insert(format!("at end {looks}"), shown);
    }

    /// What the server answers; nothing where the step is none of a client's, and status 0 where
    /// the task that it names is not there.
    async fn make(
        &mut self,
        case: &Case,
        step: &Move,
        id: &str,
        tree: &Tree,
    ) -> anyhow::Result<Option<(u16, Value)>> {
        let base = format!("/api/workflow/{id}");
        let none = || Some((0, Value::Null));
        let task = tree.named(step.first());
        let query = |path: String| format!("{base}/{path}");
        let answer = match step.verb.as_str() {
            "complete" | "fail" | "fail-terminal" | "cancel" | "progress" | "extend" => {
                let Some(task) = task else { return Ok(none()) };
                self.client.post("/api/tasks", &report(step, task)).await?
            }
            "claim" => return self.claim(step, task).await,
            "child-ended" => {
                let child = task.and_then(child_id).and_then(|id| tree.children.get(id));
                let Some(child) = child else { return Ok(none()) };
                self.end_child(step, child).await?
            }
            "pause" | "resume" => self.client.call("PUT", &query(step.verb.clone()), None).await?,
            "terminate" => {
                self.client.call("DELETE", &format!("{base}{}", reason(step)), None).await?
            }
            "retry" => {
                let descend = step.words.iter().any(|word| word == "descend");
                let path = format!("retry?resumeSubworkflowTasks={descend}");
                self.client.call("POST", &query(path), None).await?
            }
            "restart" => {
                let latest = step.words.iter().any(|word| word == "latest");
                for definition in case.later.iter().filter(|_| latest) {
                    let (status, said) =
                        self.client.post("/api/metadata/workflow", definition).await?;
                    self.note("definition that is later", status, &said, &Names::default());
                }
                let path = format!("restart?useLatestDefinitions={latest}");
                self.client.call("POST", &query(path), None).await?
            }
            "rerun" => {
                let task = task.map_or("none", |task| task["taskId"].as_str().unwrap_or("none"));
                let mut body = json!({ "reRunFromTaskId": task });
                let given = [
                    ("taskInput", step.json.as_ref()),
                    ("workflowInput", step.options.get("input")),
                    ("correlationId", step.options.get("correlation")),
                ];
                for (field, value) in given {
                    if let Some(value) = value {
                        body[field] = value.clone();
                    }
                }
                self.client.post(&query("rerun".to_owned()), &body).await?
            }
            "skip" => {
                let body = json!({ "taskOutput": step.json.clone().unwrap_or(json!({})) });
                let path = query(format!("skiptask/{}", step.first()));
                self.client.call("PUT", &path, Some(&body)).await?
            }
            "reset-callbacks" => {
                self.client.call("POST", &query("resetcallbacks".to_owned()), None).await?
            }
            "post" => {
                let body = step.json.clone().unwrap_or(json!({}));
                self.client.post(&query("messages".to_owned()), &body).await?
            }
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    /// Polls for the task. Only names that no other case has are polled.
    async fn claim(
        &mut self,
        step: &Move,
        task: Option<&Value>,
    ) -> anyhow::Result<Option<(u16, Value)>> {
        let text = |name: &str| task.and_then(|task| task[name].as_str()).unwrap_or_default();
        let kind = text("taskType");
        if !kind.starts_with("d_") {
            return Ok(None);
        }
        let worker = step.options.get("worker").and_then(Value::as_str).unwrap_or("w");
        let mut path = format!("/api/tasks/poll/{kind}?workerid={worker}");
        if !text("domain").is_empty() {
            path = format!("{path}&domain={}", text("domain"));
        }
        Ok(Some(self.client.call("GET", &path, None).await?))
    }

    /// Ends a child as its worker or an operator would.
    async fn end_child(&mut self, step: &Move, child: &Tree) -> anyhow::Result<(u16, Value)> {
        let id = child.root["workflowId"].as_str().unwrap_or_default();
        let status = step.words.get(1).map_or("COMPLETED", String::as_str);
        if status == "TERMINATED" {
            let path = format!("/api/workflow/{id}{}", reason(step));
            return self.client.call("DELETE", &path, None).await;
        }
        let Some(task) = child.tasks().iter().rev().find(|task| !terminal(task)) else {
            return Ok((0, Value::Null));
        };
        let mut body = report(step, task);
        body["status"] =
            json!(if status == "COMPLETED" { status } else { "FAILED_WITH_TERMINAL_ERROR" });
        self.client.post("/api/tasks", &body).await
    }
}

impl Tree {
    /// The last attempt at a task of this name, in whatever iteration; `#N` is the N-th of all.
    fn named(&self, reference: &str) -> Option<&Value> {
        if let Some(number) = reference.strip_prefix('#') {
            return self
                .tasks()
                .iter()
                .find(|task| task["seq"].to_string().trim_matches('"') == number);
        }
        let inner = format!("{reference}__");
        self.tasks().iter().rev().find(|task| {
            let name = task["referenceTaskName"].as_str().unwrap_or_default();
            name == reference || name.starts_with(&inner)
        })
    }
}

/// Why an operator ends an execution, as a query.
fn reason(step: &Move) -> String {
    let reason = step.quoted.first().map(|reason| reason.replace(' ', "%20"));
    reason.map_or(String::new(), |reason| format!("?reason={reason}"))
}

/// A worker's report on a task.
fn report(step: &Move, task: &Value) -> Value {
    let status = match step.verb.as_str() {
        "fail" => "FAILED",
        "fail-terminal" => "FAILED_WITH_TERMINAL_ERROR",
        "cancel" => "CANCELED",
        "progress" | "extend" => "IN_PROGRESS",
        _ => "COMPLETED",
    };
    let mut body = json!({ "workflowInstanceId": task["workflowInstanceId"],
        "taskId": task["taskId"], "status": status, "workerId": "differential",
        "outputData": step.json.clone().unwrap_or(json!({})) });
    if let Some(reason) = step.quoted.first() {
        body["reasonForIncompletion"] = json!(reason);
    }
    if let Some(after) = step.options.get("after") {
        body["callbackAfterSeconds"] = after.clone();
    }
    if step.verb == "extend" {
        body["extendLease"] = json!(true);
    }
    body
}
