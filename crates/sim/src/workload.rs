//! What is run: definitions drawn from a grammar, task policies, and what operators do.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::definition::{TaskDef, WorkflowDef, parse_task_defs, parse_workflow};
use kernel::graph::Plan;
use serde_json::{Map, Value, json};

use crate::random::Random;

/// What is registered in a simulated world.
#[derive(Debug)]
pub struct Catalog {
    /// Task definitions by name.
    pub tasks: BTreeMap<String, Arc<TaskDef>>,
    /// Workflows by name, pinned.
    pub workflows: BTreeMap<String, Arc<Plan>>,
}

/// Workflows that are started as roots; each may start those after it.
pub const WORKFLOWS: [&str; 4] = ["w0", "w1", "w2", "w3"];
/// What runs when a workflow has failed.
pub const FAILURE_WORKFLOW: &str = "mop_up";
/// The one task type that the engine runs itself.
pub const BUILTIN: &str = "HTTP";

/// Names of tasks that workers do.
pub(crate) const WORK: [&str; 5] = ["work_0", "work_1", "work_2", "work_3", "work_4"];
/// Names that control tasks bear now and then, so that policies apply to them too.
const POLICED: [&str; 2] = ["policed_0", "policed_1"];

impl Catalog {
    /// The catalog of a seed.
    pub fn drawn(random: &mut Random) -> Self {
        let names = WORK.into_iter().chain(POLICED);
        let tasks: BTreeMap<String, Arc<TaskDef>> =
            names.map(|name| (name.to_owned(), Arc::new(policy(random, name)))).collect();
        let mut workflows = BTreeMap::new();
        let mut add = |definition: WorkflowDef| {
            let name = definition.name.clone();
            let plan = Plan::pin(definition, &|name| tasks.get(name).map(|task| (**task).clone()));
            workflows.insert(name, Arc::new(plan));
        };
        for (index, name) in WORKFLOWS.into_iter().enumerate() {
            let mut author = Author {
                random: random.split(),
                callable: &WORKFLOWS[index + 1..],
                count: 0,
                budget: 14,
            };
            add(read(&author.workflow(name)));
        }
        let simple = json!({ "name": "work_0", "taskReferenceName": "mop", "type": "SIMPLE" });
        add(read(&json!({ "name": FAILURE_WORKFLOW, "version": 1, "tasks": [simple] })));
        Self { tasks, workflows }
    }
}

fn read(definition: &Value) -> WorkflowDef {
    parse_workflow(&definition.to_string()).expect("the grammar makes definitions")
}

fn policy(random: &mut Random, name: &str) -> TaskDef {
    let mut some = |percent: u32, low: i64, high: i64| {
        if random.chance(percent) { random.between(low, high) } else { 0 }
    };
    let attempt = some(40, 8, 20);
    let response = some(100, 2, 8);
    let total = some(30, 20, 60);
    let mut fields = json!({
        "name": name,
        "retryCount": some(80, 1, 3),
        "retryDelaySeconds": some(70, 1, 5),
        "backoffScaleFactor": 1 + some(50, 0, 2),
        "maxRetryDelaySeconds": some(30, 2, 6),
        "backoffJitterMs": some(30, 1, 900),
        "timeoutSeconds": attempt,
        "responseTimeoutSeconds": response,
        "totalTimeoutSeconds": total,
        "pollTimeoutSeconds": some(30, 5, 15),
    });
    let logic = ["FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF"];
    let policies = ["RETRY", "TIME_OUT_WF", "ALERT_ONLY"];
    fields["retryLogic"] = json!(random.pick(&logic));
    fields["timeoutPolicy"] = json!(random.pick(&policies));
    let mut read = parse_task_defs(&fields.to_string()).expect("the grammar makes policies");
    read.remove(0)
}

struct Author<'a> {
    random: Random,
    callable: &'a [&'static str],
    count: u32,
    budget: u32,
}

/// Weights of what a place may hold, in the order of [`Author::place`].
const WEIGHTS: [u32; 15] = [22, 7, 8, 8, 5, 11, 7, 4, 6, 3, 2, 3, 3, 4, 1];

impl Author<'_> {
    fn workflow(&mut self, name: &str) -> Value {
        let mut fields = json!({ "name": name, "version": 1, "tasks": self.block(2, 0) });
        if self.random.chance(20) {
            fields["timeoutSeconds"] = self.random.between(30, 120).into();
            fields["timeoutPolicy"] = "TIME_OUT_WF".into();
        }
        if self.random.chance(30) {
            fields["failureWorkflow"] = FAILURE_WORKFLOW.into();
        }
        if self.random.chance(20) {
            fields["outputParameters"] = json!({ "id": "${workflow.workflowId}" });
        }
        fields
    }

    fn block(&mut self, depth: u32, loops: u32) -> Vec<Value> {
        let length = self.random.between(1, 3);
        (0..length).flat_map(|_| self.place(depth, loops)).collect()
    }

    fn reference(&mut self, stem: &str) -> String {
        self.count += 1;
        format!("{stem}_{}", self.count)
    }

    /// One place of a block; a fork brings its JOIN.
    fn place(&mut self, depth: u32, loops: u32) -> Vec<Value> {
        self.budget = self.budget.saturating_sub(1);
        let deeper = depth > 0 && self.budget > 0;
        let one = match self.random.weighted(&WEIGHTS) {
            1 => self.inline(),
            2 if deeper => self.switch(depth, loops),
            3 if deeper => return self.fork(depth, loops),
            4 => return self.dynamic_fork(),
            5 if deeper && loops < 2 => self.repeat(depth, loops),
            6 if !self.callable.is_empty() => self.sub_workflow(),
            7 => self.start_workflow(),
            8 => self.wait(),
            9 => self.bare("set", "SET_VARIABLE", &json!({ "seen": self.count })),
            10 if depth < 2 => self.terminate(),
            11 => self.bare("noop", "NOOP", &json!({})),
            12 => self.dynamic(),
            13 => self.builtin(),
            14 => self.bare("person", "HUMAN", &json!({})),
            _ => self.simple(),
        };
        vec![one]
    }

    fn bare(&mut self, stem: &str, task_type: &str, input: &Value) -> Value {
        let reference = self.reference(stem);
        json!({
            "name": reference, "taskReferenceName": reference, "type": task_type,
            "inputParameters": input,
        })
    }

    /// What any task may have besides.
    fn adorn(&mut self, mut task: Value) -> Value {
        if self.random.chance(12) {
            task["optional"] = true.into();
        } else if self.random.chance(8) {
            task["permissive"] = true.into();
        }
        if self.random.chance(12) {
            task["startDelay"] = self.random.between(1, 4).into();
        }
        if self.random.chance(15) {
            task["retryCount"] = self.random.between(0, 2).into();
        }
        task
    }

    fn policed(&mut self, mut task: Value) -> Value {
        if self.random.chance(40) {
            task["name"] = json!(self.random.pick(&POLICED));
        }
        self.adorn(task)
    }

    fn simple(&mut self) -> Value {
        let mut task = self.bare("simple", "SIMPLE", &json!({ "a": 1 }));
        task["name"] = json!(self.random.pick(&WORK));
        self.adorn(task)
    }

    fn builtin(&mut self) -> Value {
        let mut task = self.bare("http", BUILTIN, &json!({ "uri": "http://127.0.0.1/" }));
        if self.random.chance(70) {
            task["name"] = json!(self.random.pick(&WORK));
        }
        self.adorn(task)
    }

    fn dynamic(&mut self) -> Value {
        let name = self.random.pick(&WORK).copied();
        let mut task = self.bare("dynamic", "DYNAMIC", &json!({ "pick": name }));
        task["dynamicTaskNameParam"] = "pick".into();
        self.adorn(task)
    }

    fn inline(&mut self) -> Value {
        let source = ["const:x", "const:y", "const:z", "const:1", "const:2", "fail", "slow"];
        let source = self.random.pick(&source).copied();
        let task = self.bare("inline", "INLINE", &json!({ "expression": source }));
        self.policed(task)
    }

    fn switch(&mut self, depth: u32, loops: u32) -> Value {
        let mut cases = Map::new();
        for name in ["a", "b", "c"] {
            if self.random.chance(60) {
                let empty = self.random.chance(15);
                let tasks = if empty { Vec::new() } else { self.block(depth - 1, loops) };
                cases.insert(name.to_owned(), tasks.into());
            }
        }
        let default =
            if self.random.chance(60) { self.block(depth - 1, loops) } else { Vec::new() };
        let case = self.random.pick(&["a", "b", "c", "d"]).copied().unwrap_or("a");
        let mut task = self.bare("switch", "SWITCH", &json!({ "key": case }));
        task["decisionCases"] = cases.into();
        task["defaultCase"] = default.into();
        let by_value = self.random.chance(50);
        task["evaluatorType"] = if by_value { "value-param" } else { "javascript" }.into();
        task["expression"] =
            if by_value { "key".to_owned() } else { format!("const:{case}") }.into();
        task
    }

    fn fork(&mut self, depth: u32, loops: u32) -> Vec<Value> {
        let count = self.random.between(1, 3);
        let branches: Vec<Vec<Value>> = (0..count).map(|_| self.block(depth - 1, loops)).collect();
        let last: Vec<Value> = branches
            .iter()
            .filter_map(|branch| branch.last())
            .map(|task| task["taskReferenceName"].clone())
            .collect();
        let mut fork = self.bare("fork", "FORK_JOIN", &json!({}));
        fork["forkTasks"] = json!(branches);
        let mut join = self.bare("join", "JOIN", &json!({}));
        join["joinOn"] = json!(last);
        vec![fork, join]
    }

    fn dynamic_fork(&mut self) -> Vec<Value> {
        let count = self.random.between(0, 3);
        let input = if self.random.chance(40) {
            let items: Vec<i64> = (0..count).collect();
            json!({ "forkTaskName": self.random.pick(&WORK), "forkTaskInputs": items })
        } else {
            let tasks: Vec<Value> = (0..count).map(|_| self.branch()).collect();
            let inputs: Map<String, Value> = tasks
                .iter()
                .filter(|task| task["type"] == "SIMPLE")
                .filter_map(|task| Some((task["taskReferenceName"].as_str()?, json!({ "b": 2 }))))
                .map(|(reference, input)| (reference.to_owned(), input))
                .collect();
            json!({ "tasks": tasks, "inputs": inputs })
        };
        let listed = input.get("tasks").is_some();
        let mut fork = self.bare("dynafork", "FORK_JOIN_DYNAMIC", &input);
        if listed {
            fork["dynamicForkTasksParam"] = "tasks".into();
            fork["dynamicForkTasksInputParamName"] = "inputs".into();
        }
        vec![fork, self.bare("join", "JOIN", &json!({}))]
    }

    /// What a dynamic fork may list: a branch is one task, but that may be a whole tree.
    fn branch(&mut self) -> Value {
        match self.random.below(6) {
            0 if !self.callable.is_empty() => self.sub_workflow(),
            1 => self.inline(),
            2 if self.budget > 0 => self.switch(1, 2),
            3 if self.budget > 0 => self.repeat(1, 1),
            _ => self.simple(),
        }
    }

    fn repeat(&mut self, depth: u32, loops: u32) -> Value {
        let reference = self.reference("loop");
        let body = self.block(depth - 1, loops + 1);
        let count = self.random.between(1, 4);
        let mut task = json!({
            "name": reference, "taskReferenceName": reference, "type": "DO_WHILE",
            "loopOver": body, "inputParameters": {},
        });
        if self.random.chance(30) {
            let items: Vec<i64> = (0..count - 1).collect();
            task["items"] = json!(items);
        } else {
            task["loopCondition"] = format!("{reference}.iteration<{count}").into();
        }
        if self.random.chance(45) {
            task["inputParameters"]["keepLastN"] = self.random.between(1, 2).into();
        }
        task
    }

    fn sub_workflow(&mut self) -> Value {
        let name = if self.random.chance(4) {
            Some("nowhere")
        } else {
            self.random.pick(self.callable).copied()
        };
        let mut task = self.bare("sub", "SUB_WORKFLOW", &json!({ "given": self.count }));
        task["subWorkflowParam"] = json!({ "name": name, "version": 1 });
        self.policed(task)
    }

    fn start_workflow(&mut self) -> Value {
        let name = self.random.pick(self.callable).copied().unwrap_or(FAILURE_WORKFLOW);
        let name = if self.random.chance(10) { "nowhere" } else { name };
        let input = json!({ "startWorkflow": { "name": name, "version": 1, "input": {} } });
        self.bare("start", "START_WORKFLOW", &input)
    }

    fn wait(&mut self) -> Value {
        let input = if self.random.chance(85) {
            json!({ "duration": format!("{}s", self.random.between(1, 9)) })
        } else {
            json!({})
        };
        let task = self.bare("wait", "WAIT", &input);
        self.policed(task)
    }

    fn terminate(&mut self) -> Value {
        let status = self.random.pick(&["COMPLETED", "FAILED", "TERMINATED"]).copied();
        self.bare("terminate", "TERMINATE", &json!({ "terminationStatus": status }))
    }
}
