//! What each built-in task type needs before it can run.
//!
//! One method per type, in the words that Conductor answers at registration; types that need
//! nothing, and those that only workers know, have none.

use serde_json::Value;

use super::problem::{Problem, Problems, join};
use super::references::References;
use super::wait;
use super::workflow::WorkflowTask;
use crate::{Form, Scripts};

/// Whether the registered task definition of a name has a key in its `inputTemplate`.
pub type Templates<'a> = dyn Fn(&str, &str) -> bool + 'a;

/// The rules of one task's type.
pub(super) struct Rules<'a> {
    pub(super) task: &'a WorkflowTask,
    pub(super) pointer: &'a str,
    /// The task may never run, or may fail: a script that does not parse is no reason to refuse it.
    pub(super) may_fail: bool,
    pub(super) scripts: &'a dyn Scripts,
    pub(super) templates: &'a Templates<'a>,
    pub(super) references: &'a References<'a>,
    pub(super) problems: &'a mut Problems,
    pub(super) warnings: &'a mut Problems,
}

impl Rules<'_> {
    /// Reports what the task lacks.
    pub(super) fn check(&mut self) {
        match self.task.task_type.as_str() {
            "EVENT" => self.require("sink", self.task.sink.is_some()),
            "SWITCH" => self.switch(),
            "DECISION" => self.decision(),
            "DYNAMIC" => {
                let given = self.task.dynamic_task_name_param.is_some();
                self.require("dynamicTaskNameParam", given);
            }
            "FORK_JOIN" => self.fork(),
            "FORK_JOIN_DYNAMIC" => self.dynamic_fork(),
            "JOIN" => self.join(),
            "EXCLUSIVE_JOIN" => self.exclusive_join(),
            "DO_WHILE" => self.do_while(),
            "SUB_WORKFLOW" => self.sub_workflow(),
            "TERMINATE" => self.terminate(),
            "WAIT" => self.wait(),
            "HTTP" => self.http(),
            "HTTP_POLL" => self.http_poll(),
            "SENDGRID" => self.sendgrid(),
            "OPS_GENIE" => self.ops_genie(),
            "GET_SIGNED_JWT" => self.get_signed_jwt(),
            "BUSINESS_RULE" => {
                self.required_inputs(&[
                    &["ruleFileLocation"],
                    &["executionStrategy"],
                    &["inputColumns"],
                    &["outputColumns"],
                ]);
                self.one_of("executionStrategy", &["FIRE_FIRST", "FIRE_ALL"]);
            }
            "KAFKA_PUBLISH" => {
                self.require_input(&["kafka_request"], "inputParameters.kafka_request");
            }
            "QUERY_PROCESSOR" => {
                self.required_inputs(&[&["queryType"]]);
                self.one_of("queryType", &["CONDUCTOR_API", "METRICS"]);
            }
            "GET_WORKFLOW" => self.required_inputs(&[&["id"]]),
            "TERMINATE_WORKFLOW" => self.required_inputs(&[&["workflowId"]]),
            "UPDATE_TASK" => {
                self.required_inputs(&[&["taskStatus"], &["taskId", "workflowId"]]);
                let statuses = ["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"];
                self.one_of("taskStatus", &statuses);
            }
            "JDBC" => {
                let database: &[&str] = &["integrationName", "connectionId", "connection"];
                self.required_inputs(&[database, &["statement"], &["type"]]);
                let types = ["SELECT", "UPDATE", "INSERT", "DELETE", "INSERT/UPDATE/DELETE"];
                self.one_of("type", &types);
            }
            "JSON_JQ_TRANSFORM" => self.jq(),
            "INLINE" => self.inline(),
            "LAMBDA" => self.lambda(),
            _ => {}
        }
    }

    fn switch(&mut self) {
        self.require("evaluatorType", self.task.evaluator_type.is_some());
        self.require("expression", self.task.expression.is_some());
        self.cases();
        if self.task.expression.is_some() {
            self.evaluator("evaluatorType", self.task.evaluator_type.as_deref());
        }
        if is_javascript(self.task.evaluator_type.as_deref()) {
            self.javascript("expression", self.task.expression.as_deref());
        }
    }

    fn decision(&mut self) {
        let given = self.task.case_value_param.is_some() || self.task.case_expression.is_some();
        self.require_as("caseValueParam", "caseValueParam or caseExpression", given);
        self.cases();
        self.javascript("caseExpression", self.task.case_expression.as_deref());
    }

    fn cases(&mut self) {
        if self.task.decision_cases.is_empty() {
            let message = self.with_task("decisionCases should have atleast one task for");
            self.report(
                "decisionCases",
                "field-required",
                message,
                "Add a case: the value, and the tasks that run for it.",
            );
        }
    }

    fn fork(&mut self) {
        if self.task.fork_tasks.is_empty() {
            let message = self.with_task("forkTasks should have atleast one task for");
            let hint = "Add a list of tasks for each branch.";
            self.report("forkTasks", "field-required", message, hint);
        }
        for (index, branch) in self.task.fork_tasks.iter().enumerate() {
            if branch.is_empty() {
                let message = self.with_task("a branch of forkTasks has no task for");
                let hint = "Add a task to the branch, or remove the branch.";
                self.report(&format!("forkTasks/{index}"), "branch-empty", message, hint);
            }
        }
    }

    fn dynamic_fork(&mut self) {
        let task = self.task;
        if task.input_parameters.contains_key("forkTaskInputs") {
            return;
        }
        let pair = [&task.dynamic_fork_tasks_param, &task.dynamic_fork_tasks_input_param_name];
        if task.dynamic_fork_join_tasks_param.is_none() {
            self.require("dynamicForkTasksParam", pair[0].is_some());
            self.require("dynamicForkTasksInputParamName", pair[1].is_some());
        } else if pair.iter().any(|param| param.is_some()) {
            let message = self.with_task(
                "dynamicForkJoinTasksParam or combination of dynamicForkTasksInputParamName and \
                 dynamicForkTasksParam can be used for",
            );
            let hint = "Keep dynamicForkTasksParam and dynamicForkTasksInputParamName, and remove \
                        the deprecated dynamicForkJoinTasksParam.";
            self.report("dynamicForkJoinTasksParam", "forms-mixed", message, hint);
        }
    }

    fn join(&mut self) {
        self.known_references("joinOn", &self.task.join_on);
        if self.task.evaluator_type.is_some() && is_javascript(self.task.evaluator_type.as_deref())
        {
            self.javascript("expression", self.task.expression.as_deref());
        }
    }

    fn exclusive_join(&mut self) {
        self.known_references("joinOn", &self.task.join_on);
        self.known_references("defaultExclusiveJoinTask", &self.task.default_exclusive_join_task);
    }

    fn known_references(&mut self, field: &str, names: &[String]) {
        if self.references.is_open() {
            return;
        }
        for (index, name) in names.iter().enumerate() {
            if !self.references.contains(name) && !name.contains("${") {
                let message = format!(
                    "missing reference: {field} of {} names {name}, which no task of this workflow \
                     has as its taskReferenceName",
                    self.task.task_reference_name
                );
                let hint = if self.problems.is_full() {
                    String::new()
                } else {
                    self.references.hint(name)
                };
                let pointer = format!("{}/{field}/{index}", self.pointer);
                self.problems.push(
                    Problem::new(pointer, "unknown-reference", message, hint)
                        .with_value(name.as_str()),
                );
            }
        }
    }

    fn do_while(&mut self) {
        // Going through a list needs no condition, although Conductor's server asks for one.
        let has_list =
            self.task.items.is_some() || self.task.input_parameters.contains_key("_items");
        self.require("loopCondition", has_list || self.task.loop_condition.is_some());
        self.require("loopOver", !self.task.loop_over.is_empty());
        if is_javascript(self.task.evaluator_type.as_deref()) {
            self.javascript("loopCondition", self.task.loop_condition.as_deref());
        }
    }

    fn sub_workflow(&mut self) {
        let Some(params) = &self.task.sub_workflow_param else {
            self.require("subWorkflowParam", false);
            return;
        };
        if params.workflow_definition.is_none() {
            let given = params.name.as_deref().is_some_and(|name| !name.trim().is_empty());
            self.require_as("subWorkflowParam/name", "subWorkflowParam.name", given);
        }
        if let Some(priority) = &params.priority
            && !is_priority(priority)
        {
            let hint = "Write a number from 0 to 99, or one whole ${…} expression.";
            let message = self.with_task("subWorkflowParam.priority must be from 0 to 99 for");
            self.report_value("subWorkflowParam/priority", message, hint, priority);
        }
    }

    fn terminate(&mut self) {
        const STATUS: &str = "terminationStatus";
        if self.task.optional {
            let message =
                format!("terminate task cannot be optional, taskName: {}", self.task.name);
            self.report("optional", "not-optional", message, "Remove optional.");
        }
        let status = self.task.input_parameters.get(STATUS);
        let accepted = status.and_then(Value::as_str).is_some_and(|status| {
            matches!(status, "COMPLETED" | "FAILED" | "TERMINATED") || status.contains("${")
        });
        if !accepted {
            let message = format!(
                "terminate task must have an {STATUS} parameter and must be set to COMPLETED or \
                 FAILED, taskName: {}",
                self.task.name
            );
            let hint = "Write COMPLETED, FAILED or TERMINATED.";
            let pointer = join(&format!("{}/inputParameters", self.pointer), STATUS);
            let mut problem = Problem::new(pointer, "termination-status", message, hint);
            problem.invalid_value = status.cloned();
            self.problems.push(problem);
        }
    }

    fn wait(&mut self) {
        let literal = |key| match self.task.input_parameters.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let (duration, until) = (literal("duration"), literal("until"));
        if duration.is_some() && until.is_some() {
            self.report(
                "inputParameters",
                "wait-ambiguous",
                "Both 'duration' and 'until' specified. Please provide only one input".to_owned(),
                "Remove one of them.",
            );
            return;
        }
        if let Some(text) = duration
            && !text.contains("${")
            && !wait::is_duration(&text)
        {
            let message = format!("duration cannot be read as a span of time: {text}");
            let hint = "Write days, hours, minutes and seconds in this order, as in 1d 2h 30m 5s.";
            self.report_value("inputParameters/duration", message, hint, &Value::from(text));
        }
        if let Some(text) = until
            && !text.contains("${")
            && !wait::is_instant(&text)
        {
            let message = format!("until cannot be read as a date: {text}");
            let hint = "Write yyyy-MM-dd, yyyy-MM-dd HH:mm or yyyy-MM-dd HH:mm ZONE.";
            self.report_value("inputParameters/until", message, hint, &Value::from(text));
        }
    }

    fn jq(&mut self) {
        self.require_input(&["queryExpression"], "inputParameters.queryExpression");
        let Some(Value::String(program)) = self.task.input_parameters.get("queryExpression") else {
            return;
        };
        if program.contains("${") {
            return;
        }
        if let Err(error) = self.scripts.check_jq(program) {
            let message =
                self.with_task(&format!("queryExpression is not well formatted: {error},"));
            let hint = "Correct the jq program at the place named.";
            self.report_script("inputParameters/queryExpression", "jq-syntax", message, hint);
        }
    }

    fn inline(&mut self) {
        let input = &self.task.input_parameters;
        let evaluator = input
            .get("evaluatorType")
            .and_then(Value::as_str)
            .or(self.task.evaluator_type.as_deref());
        self.evaluator("inputParameters/evaluatorType", evaluator);
        if is_javascript(evaluator) {
            let source = input.get("expression").and_then(Value::as_str);
            self.javascript("inputParameters/expression", source);
        }
    }

    fn lambda(&mut self) {
        let source = self.task.input_parameters.get("scriptExpression").and_then(Value::as_str);
        self.script("inputParameters/scriptExpression", source, Form::FunctionBody);
    }

    pub(super) fn javascript(&mut self, field: &str, source: Option<&str>) {
        self.script(field, source, Form::Statements);
    }

    /// Parses a script, unless expressions are put into it before it runs.
    fn script(&mut self, field: &str, source: Option<&str>, form: Form) {
        let Some(source) = source.filter(|source| !source.contains("${")) else { return };
        if let Err(error) = self.scripts.check_javascript(source, form) {
            let message = self.with_task(&format!("Expression is not well formatted: {error},"));
            let hint = "Correct the JavaScript at the place named.";
            self.report_script(field, "script-syntax", message, hint);
        }
    }

    /// Whether there is an evaluator of this name, unless an expression gives the name.
    fn evaluator(&mut self, field: &str, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.contains("${")) else { return };
        if is_javascript(Some(name)) || matches!(name, "value-param" | "") {
            return;
        }
        let message = self.with_task(&format!("evaluatorType '{name}' is not supported for"));
        let hint = if name.eq_ignore_ascii_case("python") {
            "This server runs no Python. Rewrite the expression in JavaScript (evaluatorType \
             javascript), or let a worker in Python do it in a SIMPLE task."
        } else {
            "Write javascript, graaljs or value-param."
        };
        self.report_script(field, "evaluator-unknown", message, hint);
    }

    pub(super) fn require(&mut self, field: &str, given: bool) {
        self.require_as(field, field, given);
    }

    pub(super) fn require_as(&mut self, field: &str, words: &str, given: bool) {
        if !given {
            let message = self.with_task(&format!("{words} field is required for"));
            let hint = format!("Add {words} to the task.");
            self.report(field, "field-required", message, &hint);
        }
    }

    /// One of these keys must be in the input or in a task definition's template.
    pub(super) fn require_input(&mut self, keys: &[&str], words: &str) {
        let task = self.task;
        let given = keys.iter().any(|key| {
            let embedded = task
                .task_definition
                .as_ref()
                .is_some_and(|def| def.input_template.contains_key(*key));
            embedded
                || task.input_parameters.contains_key(*key)
                || (self.templates)(&task.name, key)
        });
        self.require_as("inputParameters", words, given);
    }

    /// Of each of these groups of keys, one must be in the input.
    fn required_inputs(&mut self, groups: &[&[&str]]) {
        for keys in groups {
            let words: Vec<String> =
                keys.iter().map(|key| format!("inputParameters.{key}")).collect();
            self.require_input(keys, &words.join(" or "));
        }
    }

    /// Closes a message with the type and the name of the task.
    pub(super) fn with_task(&self, message: &str) -> String {
        format!("{message} taskType: {} taskName: {}", self.task.task_type, self.task.name)
    }

    pub(super) fn report(&mut self, field: &str, code: &'static str, message: String, hint: &str) {
        let pointer = format!("{}/{field}", self.pointer);
        self.problems.push(Problem::new(pointer, code, message, hint));
    }

    /// Reports what is wrong with a script: a reason to refuse it where it is bound to run.
    fn report_script(&mut self, field: &str, code: &'static str, message: String, hint: &str) {
        let problem = Problem::new(format!("{}/{field}", self.pointer), code, message, hint);
        let findings = if self.may_fail { &mut *self.warnings } else { &mut *self.problems };
        findings.push(problem);
    }

    pub(super) fn report_value(&mut self, field: &str, message: String, hint: &str, value: &Value) {
        let pointer = format!("{}/{field}", self.pointer);
        let problem = Problem::new(pointer, "value-invalid", message, hint);
        self.problems.push(problem.with_value(value.clone()));
    }
}

/// Whether an evaluator runs JavaScript, as one that is not named does.
fn is_javascript(evaluator: Option<&str>) -> bool {
    matches!(evaluator, None | Some("javascript" | "graaljs" | "js"))
}

/// Whether a literal is a priority, or one that only an execution can tell.
fn is_priority(value: &Value) -> bool {
    let number = match value {
        Value::Null => return true,
        Value::String(text) if text.contains("${") => return true,
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    };
    number.is_some_and(|number: i64| (0..=99).contains(&number))
}
