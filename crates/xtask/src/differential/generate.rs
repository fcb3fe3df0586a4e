//! Random definitions over all control tasks, with failures of the worker and acts of the operator.

use serde_json::{Value, json};

use super::case::{Act, Action, Case, When, Worker};
use super::random::Random;

/// Nesting of blocks in a definition.
const DEPTH_MAX: usize = 3;
/// Tasks of a definition.
const TASKS_MAX: usize = 14;

/// The case that a seed names.
pub(super) fn case(seed: u64) -> Case {
    let mut random = Random::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let mut draft = Draft {
        seed,
        tasks: Vec::new(),
        workflows: Vec::new(),
        outputs: Vec::new(),
        simple: Vec::new(),
        references: Vec::new(),
        count: 0,
    };
    let tasks = draft.block(&mut random, 0, false);
    let name = format!("g{seed}");
    let mut root = definition(&name, &tasks);
    root["outputParameters"] = draft.output(&mut random);
    if random.percent(15) {
        root["inputTemplate"] = json!({ "x": 5, "y": { "z": 1 }, "absent": "template" });
    }
    if random.percent(10) {
        let failure = format!("g{seed}_failure");
        let task = draft.simple(&mut random);
        draft.workflows.push(definition(&failure, &[task]));
        root["failureWorkflow"] = json!(failure);
    }
    draft.workflows.push(root);
    let actions = actions(&mut random, &draft);
    let (fails, gives_up) = *random.pick(&[(0, 0), (0, 0), (10, 2), (20, 3), (40, 5)]);
    let worker = Worker { seed, fails, gives_up, outputs: draft.outputs };
    let mut input = json!({ "x": random.below(4), "text": "abc", "list": [1, 2, 3], "map": { "k": "v" },
        "yes": true, "none": null });
    if random.percent(20) {
        input["absent"] = Value::Null;
    }
    Case {
        name: format!("generated {seed}"),
        tasks: draft.tasks,
        workflows: draft.workflows,
        later: Vec::new(),
        input,
        start: serde_json::Map::new(),
        worker,
        actions,
        script: None,
    }
}

fn definition(name: &str, tasks: &[Value]) -> Value {
    json!({ "name": name, "version": 1, "schemaVersion": 2, "ownerEmail": "owner@example.com",
        "timeoutSeconds": 0, "tasks": tasks })
}

fn actions(random: &mut Random, draft: &Draft) -> Vec<Action> {
    let mut actions = Vec::new();
    if random.percent(55) {
        return actions;
    }
    let some = |random: &mut Random| {
        draft
            .simple
            .get(usize::try_from(random.below(draft.simple.len().max(1) as u64)).unwrap_or(0))
    };
    if random.percent(40) {
        let when = When::Step(usize::try_from(random.below(4)).unwrap_or(0));
        let act = match random.below(3) {
            0 => Act::Terminate,
            1 => match some(random) {
                Some(name) => Act::Skip(name.clone()),
                None => Act::PauseResume,
            },
            _ => Act::PauseResume,
        };
        actions.push(Action { when, act });
    }
    for _ in 0..=random.below(2) {
        let act = match random.below(5) {
            0 | 1 => Act::Retry,
            2 => Act::Restart,
            _ => match some(random) {
                Some(name) => Act::Rerun(name.clone()),
                None => Act::Retry,
            },
        };
        actions.push(Action { when: When::End, act });
    }
    actions
}

/// A definition in the making.
struct Draft {
    seed: u64,
    tasks: Vec<Value>,
    workflows: Vec<Value>,
    /// What the worker answers beside the usual, by reference name.
    outputs: Vec<(String, Value)>,
    /// Reference names of worker tasks of the root.
    simple: Vec<String>,
    /// Reference names that later tasks may read.
    references: Vec<String>,
    count: usize,
}

impl Draft {
    fn block(&mut self, random: &mut Random, depth: usize, in_loop: bool) -> Vec<Value> {
        let mut tasks = Vec::new();
        for _ in 0..=random.below(3) {
            if self.count >= TASKS_MAX {
                break;
            }
            self.node(random, depth, in_loop, &mut tasks);
        }
        if tasks.is_empty() {
            tasks.push(self.simple(random));
        }
        tasks
    }

    fn node(&mut self, random: &mut Random, depth: usize, in_loop: bool, tasks: &mut Vec<Value>) {
        let nested = depth < DEPTH_MAX;
        match random.below(100) {
            0..=29 => tasks.push(self.simple(random)),
            30..=36 => tasks.push(self.inline(random)),
            37..=42 => tasks.push(self.jq(random)),
            43..=47 => tasks.push(self.set_variable(random)),
            48..=57 if nested => self.switch(random, depth, in_loop, tasks),
            58..=67 if nested => self.fork(random, depth, in_loop, tasks),
            68..=73 if nested => self.dynamic_fork(random, tasks),
            74..=81 if nested && !in_loop => self.do_while(random, depth, tasks),
            82..=87 if nested => self.sub_workflow(random, tasks),
            88..=90 => tasks.push(self.dynamic(random)),
            91..=92 => tasks.push(self.terminate(random)),
            93..=95 => tasks.push(self.waiting("WAIT")),
            96 => tasks.push(self.waiting("HUMAN")),
            97 => tasks.push(self.plain("NOOP", &json!({}))),
            _ => tasks.push(self.simple(random)),
        }
    }

    fn reference(&mut self) -> String {
        self.count += 1;
        format!("t{}", self.count)
    }

    fn plain(&mut self, kind: &str, input: &Value) -> Value {
        let reference = self.reference();
        json!({ "name": reference, "taskReferenceName": reference, "type": kind, "inputParameters": input })
    }

    /// An expression over what is there, or is not.
    fn expression(&self, random: &mut Random) -> Value {
        let fields = ["n", "text", "list", "map", "list[0]", "map.a", "absent", "result", "flag"];
        let field = *random.pick(&fields);
        match (random.below(6), self.references.is_empty()) {
            (0..=2, false) => {
                json!(format!("${{{}.output.{field}}}", random.pick(&self.references)))
            }
            (3, _) => json!("x=${workflow.input.x} t=${workflow.input.text}"),
            (4, _) => json!("${workflow.variables.v}"),
            (5, _) => json!({ "deep": ["${workflow.input.map.k}", "${workflow.input.none}"] }),
            _ => json!(*random.pick(&[
                "${workflow.input.list}",
                "${workflow.input.map}",
                "${workflow.input.x}",
                "${workflow.input.nothing}",
                "${workflow.correlationId}",
            ])),
        }
    }

    fn simple(&mut self, random: &mut Random) -> Value {
        let reference = self.reference();
        let name = format!("d_g{}_{reference}", self.seed);
        self.tasks.push(
            json!({ "name": name, "retryCount": random.below(3), "retryLogic": "FIXED",
            "retryDelaySeconds": 0, "timeoutSeconds": 0, "responseTimeoutSeconds": 600,
            "ownerEmail": "owner@example.com" }),
        );
        let mut task = json!({ "name": name, "taskReferenceName": reference, "type": "SIMPLE",
            "inputParameters": { "a": self.expression(random), "b": self.expression(random) } });
        if random.percent(12) {
            task["optional"] = json!(true);
        }
        if random.percent(4) {
            task["permissive"] = json!(true);
        }
        self.simple.push(reference.clone());
        self.references.push(reference);
        task
    }

    fn inline(&mut self, random: &mut Random) -> Value {
        let expressions = [
            "$.a",
            "$.a == null ? 'none' : typeof $.a",
            "({ k: $.a, n: 1 })",
            "[1, $.b]",
            "1 + 1",
            "null",
            "function f() { return $.a ? 1 : 0; } f();",
            "$.b.length",
        ];
        let input = json!({ "a": self.expression(random), "b": self.expression(random),
            "evaluatorType": *random.pick(&["javascript", "graaljs", "value-param"]),
            "expression": *random.pick(&expressions) });
        let mut task = self.plain("INLINE", &input);
        if task["inputParameters"]["evaluatorType"] == "value-param" {
            task["inputParameters"]["expression"] = json!("a");
        }
        if random.percent(10) {
            task["optional"] = json!(true);
        }
        self.known(&task);
        task
    }

    fn jq(&mut self, random: &mut Random) -> Value {
        let programs = [
            ".a",
            "{ k: .a }",
            "[.a, .b]",
            ".a | length",
            ".b[]?",
            ".a.k",
            "keys",
            ".nothing",
            "1, 2",
        ];
        let input = json!({ "a": self.expression(random), "b": self.expression(random),
            "queryExpression": *random.pick(&programs) });
        let mut task = self.plain("JSON_JQ_TRANSFORM", &input);
        if random.percent(10) {
            task["optional"] = json!(true);
        }
        self.known(&task);
        task
    }

    fn set_variable(&mut self, random: &mut Random) -> Value {
        let input = json!({ "v": self.expression(random), "w": self.expression(random) });
        self.plain("SET_VARIABLE", &input)
    }

    fn known(&mut self, task: &Value) {
        if let Some(name) = task["taskReferenceName"].as_str() {
            self.references.push(name.to_owned());
        }
    }

    fn switch(&mut self, random: &mut Random, depth: usize, in_loop: bool, tasks: &mut Vec<Value>) {
        let reference = self.reference();
        let (evaluator, expression) = *random.pick(&[
            ("value-param", "c"),
            ("javascript", "$.c == 1 ? 'one' : 'many'"),
            ("graaljs", "$.c > 2 ? 'many' : '1'"),
            ("value-param", "nothing"),
        ]);
        let before = self.references.len();
        let mut cases = serde_json::Map::new();
        for name in
            ["one", "many", "1", "true"].iter().take(1 + usize::from(random.percent(70)) * 2)
        {
            cases.insert((*name).to_owned(), json!(self.block(random, depth + 1, in_loop)));
            self.references.truncate(before);
        }
        let mut task = json!({ "name": reference, "taskReferenceName": reference, "type": "SWITCH",
            "inputParameters": { "c": self.expression(random) }, "evaluatorType": evaluator,
            "expression": expression, "decisionCases": cases });
        if random.percent(60) {
            task["defaultCase"] = json!(self.block(random, depth + 1, in_loop));
            self.references.truncate(before);
        }
        tasks.push(task);
    }

    fn fork(&mut self, random: &mut Random, depth: usize, in_loop: bool, tasks: &mut Vec<Value>) {
        let reference = self.reference();
        let mut branches = Vec::new();
        let mut last = Vec::new();
        for _ in 0..=1 + random.below(2) {
            let branch = self.block(random, depth + 1, in_loop);
            last.extend(branch.last().map(|task| task["taskReferenceName"].clone()));
            branches.push(branch);
        }
        if random.percent(15) {
            last.pop();
        }
        tasks.push(json!({ "name": reference, "taskReferenceName": reference, "type": "FORK_JOIN",
            "forkTasks": branches }));
        let join = format!("{reference}_join");
        tasks.push(
            json!({ "name": join, "taskReferenceName": join, "type": "JOIN", "joinOn": last }),
        );
        self.references.push(join);
    }

    fn dynamic_fork(&mut self, random: &mut Random, tasks: &mut Vec<Value>) {
        let mut source = self.simple(random);
        source["optional"] = json!(false);
        let from = source["taskReferenceName"].as_str().unwrap_or_default().to_owned();
        tasks.push(source);
        let reference = self.reference();
        let mut forked = Vec::new();
        let mut inputs = serde_json::Map::new();
        for number in 0..random.below(4) {
            let name = format!("{reference}_{number}");
            let kind = *random.pick(&["SIMPLE", "SIMPLE", "INLINE", "SUB_WORKFLOW"]);
            let mut task = json!({ "name": format!("d_g{}_{name}", self.seed), "taskReferenceName": name,
                "type": kind });
            match kind {
                "INLINE" => {
                    task["inputParameters"] =
                        json!({ "evaluatorType": "javascript", "expression": "$.p + 1" });
                }
                "SUB_WORKFLOW" => {
                    let child = self.child(random);
                    task["subWorkflowParam"] = json!({ "name": child });
                }
                _ => self.tasks.push(json!({ "name": task["name"], "retryCount": random.below(2),
                    "retryDelaySeconds": 0, "timeoutSeconds": 0, "responseTimeoutSeconds": 600,
                    "ownerEmail": "owner@example.com" })),
            }
            forked.push(task);
            if random.percent(85) {
                inputs.insert(name, json!({ "p": number }));
            }
        }
        self.outputs.push((from.clone(), json!({ "forked": forked, "inputs": inputs })));
        tasks.push(json!({ "name": reference, "taskReferenceName": reference, "type": "FORK_JOIN_DYNAMIC",
            "inputParameters": { "f": format!("${{{from}.output.forked}}"), "i": format!("${{{from}.output.inputs}}") },
            "dynamicForkTasksParam": "f", "dynamicForkTasksInputParamName": "i" }));
        let join = format!("{reference}_join");
        tasks.push(json!({ "name": join, "taskReferenceName": join, "type": "JOIN" }));
        self.references.push(join);
    }

    fn do_while(&mut self, random: &mut Random, depth: usize, tasks: &mut Vec<Value>) {
        let reference = self.reference();
        let before = self.references.len();
        let body = self.block(random, depth + 1, true);
        let last = body[0]["taskReferenceName"].as_str().unwrap_or_default().to_owned();
        self.references.truncate(before);
        let conditions = [
            format!("if ($.{reference}['iteration'] < 2) {{ true; }} else {{ false; }}"),
            format!("$.{reference}.iteration < $.max"),
            format!("$.{reference}.iteration < 3 && $.{last}.n > 1"),
            "false".to_owned(),
        ];
        let mut task = json!({ "name": reference, "taskReferenceName": reference, "type": "DO_WHILE",
            "inputParameters": { "max": 2, "x": self.expression(random) },
            "loopCondition": random.pick(&conditions), "loopOver": body });
        if random.percent(20) {
            task["inputParameters"]["keepLastN"] = json!(1);
        }
        tasks.push(task);
        self.references.push(reference);
    }

    fn child(&mut self, random: &mut Random) -> String {
        let name = format!("g{}_child{}", self.seed, self.workflows.len());
        let kept = (std::mem::take(&mut self.references), std::mem::take(&mut self.simple));
        let mut tasks = vec![self.simple(random)];
        if random.percent(40) {
            tasks.push(self.inline(random));
        }
        let mut child = definition(&name, &tasks);
        if random.percent(60) {
            child["outputParameters"] = self.output(random);
        }
        (self.references, self.simple) = kept;
        self.workflows.push(child);
        name
    }

    fn sub_workflow(&mut self, random: &mut Random, tasks: &mut Vec<Value>) {
        let child = self.child(random);
        let mut task = self.plain("SUB_WORKFLOW", &json!({ "x": 1 }));
        task["inputParameters"]["x"] = self.expression(random);
        task["subWorkflowParam"] = json!({ "name": child });
        if random.percent(50) {
            task["subWorkflowParam"]["version"] = json!(1);
        }
        if random.percent(10) {
            task["optional"] = json!(true);
        }
        self.known(&task);
        tasks.push(task);
    }

    fn dynamic(&mut self, random: &mut Random) -> Value {
        let target = format!("d_g{}_dynamic{}", self.seed, self.count);
        self.tasks.push(json!({ "name": target, "retryCount": random.below(2), "retryDelaySeconds": 0,
            "timeoutSeconds": 0, "responseTimeoutSeconds": 600, "ownerEmail": "owner@example.com" }));
        let mut task = self.plain("DYNAMIC", &json!({ "which": target, "a": 1 }));
        task["inputParameters"]["a"] = self.expression(random);
        task["dynamicTaskNameParam"] = json!("which");
        self.known(&task);
        task
    }

    fn terminate(&mut self, random: &mut Random) -> Value {
        let status = *random.pick(&["COMPLETED", "FAILED", "TERMINATED"]);
        let mut input =
            json!({ "terminationStatus": status, "workflowOutput": { "by": "terminate" } });
        input["workflowOutput"]["a"] = self.expression(random);
        if random.percent(50) {
            input["terminationReason"] = json!("as asked");
        }
        self.plain("TERMINATE", &input)
    }

    fn waiting(&mut self, kind: &str) -> Value {
        let task = self.plain(kind, &json!({}));
        self.known(&task);
        task
    }

    fn output(&self, random: &mut Random) -> Value {
        json!({ "first": self.expression(random), "second": self.expression(random) })
    }
}
