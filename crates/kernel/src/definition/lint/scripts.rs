//! Scripts that run and answer what their author did not mean: misspelt properties, inputs that are
//! not given, answers that no case takes.

use std::collections::BTreeSet;

use super::super::problem::{Problem, join, nearest};
use super::super::workflow::WorkflowTask;
use super::script::{Token, tokens};
use super::{Beside, Found, listed};

/// Properties and methods of texts, lists, objects, numbers, dates and patterns, and of the global
/// objects that scripts use.
const PROPERTIES: [&str; 82] = [
    "abs",
    "apply",
    "assign",
    "bind",
    "call",
    "ceil",
    "charAt",
    "charCodeAt",
    "codePointAt",
    "concat",
    "constructor",
    "endsWith",
    "entries",
    "every",
    "exec",
    "fill",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "flat",
    "flatMap",
    "floor",
    "forEach",
    "freeze",
    "from",
    "fromEntries",
    "getDate",
    "getDay",
    "getFullYear",
    "getHours",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "getTime",
    "has",
    "hasOwnProperty",
    "includes",
    "indexOf",
    "isArray",
    "isFinite",
    "isInteger",
    "isNaN",
    "join",
    "keys",
    "lastIndexOf",
    "length",
    "localeCompare",
    "map",
    "match",
    "matchAll",
    "max",
    "message",
    "min",
    "now",
    "padEnd",
    "padStart",
    "parse",
    "pop",
    "prototype",
    "push",
    "random",
    "reduce",
    "replace",
    "replaceAll",
    "reverse",
    "round",
    "search",
    "shift",
    "slice",
    "some",
    "sort",
    "splice",
    "split",
    "startsWith",
    "stringify",
    "substring",
    "toISOString",
    "toLowerCase",
    "toString",
    "toUpperCase",
    "trim",
];

/// Where the script of a task stands, and whether it is one.
fn script_of(task: &WorkflowTask) -> Option<(&'static str, &str)> {
    let is_javascript =
        |name: Option<&str>| matches!(name, None | Some("" | "javascript" | "graaljs" | "js"));
    let input = |name: &str| task.input_parameters.get(name).and_then(|it| it.as_str());
    let own = task.evaluator_type.as_deref();
    match task.task_type.as_str() {
        "INLINE" if is_javascript(input("evaluatorType").or(own)) => {
            Some(("inputParameters/expression", input("expression")?))
        }
        "LAMBDA" => Some(("inputParameters/scriptExpression", input("scriptExpression")?)),
        "SWITCH" if own.is_some() && is_javascript(own) => {
            Some(("expression", task.expression.as_deref()?))
        }
        "DECISION" => Some(("caseExpression", task.case_expression.as_deref()?)),
        "DO_WHILE" if is_javascript(own) => {
            Some(("loopCondition", task.loop_condition.as_deref()?))
        }
        _ => None,
    }
}

/// Looks at the scripts of a task; `references` are the names of all tasks of the definition.
pub(super) fn check(
    task: &WorkflowTask,
    pointer: &str,
    references: &BTreeSet<&str>,
    beside: &Beside<'_>,
    found: &mut Found,
) {
    let script = script_of(task).filter(|(_, source)| !source.contains("${"));
    if let Some((field, source)) = script {
        let tokens = tokens(source);
        let place = format!("{pointer}/{field}");
        let misspelt = misspelt(task, &tokens).into_iter().map(|it| ("misspelt-property", it));
        let missing = missing_inputs(task, &tokens, references, beside);
        let missing = missing.into_iter().map(|it| ("unknown-script-input", it));
        for (code, Slip { word, message, hint }) in misspelt.chain(missing) {
            let problem = Problem::new(&*place, code, message, hint).with_value(source);
            found.warnings.push(problem.at_word(word));
        }
    }
    if matches!(task.task_type.as_str(), "SWITCH" | "DECISION") {
        absent_parameter(task, pointer, beside, found);
        let answers = script.map(|(_, source)| answers(&tokens(source))).unwrap_or_default();
        cases(task, pointer, &answers, found);
    }
}

/// A branch that goes by an input which the task does not have: it always goes by null.
fn absent_parameter(task: &WorkflowTask, pointer: &str, beside: &Beside<'_>, found: &mut Found) {
    let (field, name) = match task.task_type.as_str() {
        "SWITCH" if task.evaluator_type.as_deref() == Some("value-param") => {
            ("expression", task.expression.as_deref())
        }
        "DECISION" if task.case_expression.is_none() => {
            ("caseValueParam", task.case_value_param.as_deref())
        }
        _ => return,
    };
    let Some(name) = name.filter(|it| !it.is_empty() && !it.contains("${")) else { return };
    let template = beside.tasks.get(task.name.as_str()).map(|def| &def.input_template);
    let own = task.task_definition.as_ref().map(|def| &def.input_template);
    let of_templates = template.into_iter().chain(own).flat_map(|it| it.keys());
    let given: BTreeSet<&str> =
        task.input_parameters.keys().chain(of_templates).map(String::as_str).collect();
    if given.contains(name) {
        return;
    }
    let reference = &task.task_reference_name;
    let message =
        format!("{name} is not among the inputParameters of {reference}: it goes by null");
    let hint = nearest(name, given.iter().copied()).map_or_else(
        || format!("Add {name} to inputParameters: \"{name}\": \"${{…}}\"."),
        |near| format!("Did you mean {near}?"),
    );
    let problem = Problem::new(format!("{pointer}/{field}"), "unknown-script-input", message, hint);
    found.warnings.push(problem.with_value(name));
}

/// What is wrong in a script, and at which word.
struct Slip {
    word: String,
    message: String,
    hint: String,
}

/// The names behind a dot, each with whether it is called.
fn properties<'a>(tokens: &[Token<'a>]) -> impl Iterator<Item = (&'a str, bool)> {
    tokens.windows(2).enumerate().filter_map(|(at, pair)| {
        let [Token::Sign("." | "?."), Token::Name(name)] = pair else { return None };
        Some((*name, tokens.get(at + 2) == Some(&Token::Sign("("))))
    })
}

/// Properties that look like a built-in one and are none: they are undefined.
fn misspelt(task: &WorkflowTask, tokens: &[Token<'_>]) -> Vec<Slip> {
    let own = own_names(task, tokens);
    let unknown = properties(tokens)
        .filter(|(name, _)| name.len() > 3 && !PROPERTIES.contains(name) && !own.contains(name));
    let mut seen = BTreeSet::new();
    let slips = unknown.filter_map(|(name, is_called)| {
        // Data has no methods, but may well have a member that is called almost like a built-in one.
        let known = || PROPERTIES.iter().copied();
        let near = if is_called {
            nearest(name, known())
        } else {
            known().find(|known| is_swapped(name, known))
        }?;
        seen.insert(name).then_some((name, near))
    });
    slips
        .map(|(name, near)| {
            let message = format!("nothing has a property {name}: it is undefined");
            Slip { word: name.to_owned(), message, hint: format!("Did you mean {near}?") }
        })
        .collect()
}

/// Whether a name is another with its letters in another order or in another case.
fn is_swapped(name: &str, known: &str) -> bool {
    let letters = |name: &str| {
        let mut letters: Vec<char> = name.to_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let ends = |name: &str| name.to_lowercase().chars().next();
    name != known && ends(name) == ends(known) && letters(name) == letters(known)
}

/// Names that the script or the task's input defines itself: `lenght: 1`, `o.lenght = 1`.
fn own_names<'a>(task: &'a WorkflowTask, tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for pair in tokens.windows(2) {
        if let [Token::Name(name) | Token::Text(name), Token::Sign(":" | "=")] = pair {
            names.insert(*name);
        }
    }
    for value in task.input_parameters.values() {
        keys_of(value, &mut names);
    }
    names
}

fn keys_of<'a>(value: &'a serde_json::Value, names: &mut BTreeSet<&'a str>) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                names.insert(key);
                keys_of(value, names);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys_of(item, names)),
        _ => {}
    }
}

/// `$.name` where the task has no such input.
fn missing_inputs(
    task: &WorkflowTask,
    tokens: &[Token<'_>],
    references: &BTreeSet<&str>,
    beside: &Beside<'_>,
) -> Vec<Slip> {
    // A loop's condition also sees the loop and its tasks; else no input at all is a `$` of its own.
    let is_loop = task.task_type == "DO_WHILE";
    if task.input_parameters.is_empty() && !is_loop {
        return Vec::new();
    }
    let template = beside.tasks.get(task.name.as_str()).map(|def| &def.input_template);
    let of_template = template.into_iter().flat_map(|template| template.keys());
    let mut given: BTreeSet<&str> =
        task.input_parameters.keys().chain(of_template).map(String::as_str).collect();
    if is_loop {
        given.extend(references);
        given.extend(POSITION);
    }
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (at, window) in tokens.windows(3).enumerate() {
        let [Token::Name("$"), Token::Sign("." | "?."), Token::Name(name)] = window else {
            continue;
        };
        let is_set = tokens.get(at + 3) == Some(&Token::Sign("="));
        if is_set || given.contains(name) || name.starts_with('_') || PROPERTIES.contains(name) {
            // What the script sets it may read.
            seen.insert(*name);
            continue;
        }
        if !seen.insert(*name) {
            continue;
        }
        let inputs = given.iter().copied().filter(|it| !SETTINGS.contains(it));
        let of_loop = if is_loop { ", and no task is called so" } else { "" };
        let message = format!(
            "$.{name} is not among the inputParameters of {}{of_loop}: it is undefined",
            task.task_reference_name
        );
        let hint = nearest(name, inputs.clone()).map_or_else(
            || format!("Add {name} to inputParameters; there are {}.", listed(inputs)),
            |near| format!("Did you mean $.{near}?"),
        );
        wrong.push(Slip { word: (*name).to_owned(), message, hint });
    }
    wrong
}

/// What the condition of a loop over a list sees of where it is.
const POSITION: [&str; 2] = ["loopIndex", "loopItem"];

/// Inputs of the tasks themselves.
const SETTINGS: [&str; 3] = ["evaluatorType", "expression", "scriptExpression"];

/// The texts that a script answers as they are written; empty if none, or if it also answers what
/// is only known at run time.
fn answers<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Text(text) = token else { continue };
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let after = tokens.get(at + 1);
        let is_answer = matches!(
            before,
            None | Some(Token::Name("return") | Token::Sign("?" | ":") | Token::LineEnd)
        );
        let ends =
            matches!(after, None | Some(Token::Sign(";" | ":" | "}" | ")") | Token::LineEnd));
        if is_answer && ends {
            found.push(*text);
        }
    }
    found
}

/// Cases that are never taken, and answers that no case takes.
fn cases(task: &WorkflowTask, pointer: &str, answers: &[&str], found: &mut Found) {
    let cases: Vec<&str> = task.decision_cases.keys().collect();
    let mut slipped = BTreeSet::new();
    for case in cases.iter().copied().filter(|case| !answers.contains(case)) {
        let Some(near) = nearest(case, answers.iter().copied().filter(|it| !cases.contains(it)))
        else {
            continue;
        };
        slipped.insert(near);
        let place = join(&format!("{pointer}/decisionCases"), case);
        let message = format!(
            "the case {case} is never taken: the expression answers {}",
            listed(answers.iter().copied())
        );
        let hint = format!("Did you mean {near}? Cases are compared letter by letter.");
        let problem = Problem::new(place, "case-never-taken", message, hint);
        found.warnings.push(problem.with_value(case));
    }
    if !task.default_case.is_empty() {
        return;
    }
    let untaken: Vec<&str> = answers
        .iter()
        .copied()
        .filter(|answer| !cases.contains(answer) && !slipped.contains(answer))
        .collect();
    // The tasks that a SWITCH does not choose are left out without a word.
    let (code, message) = match (untaken.is_empty(), answers.is_empty()) {
        (false, _) => (
            "answer-without-case",
            format!(
                "the expression may answer {}, for which there is neither a case nor a defaultCase",
                listed(untaken)
            ),
        ),
        (true, true) => (
            "switch-without-default",
            format!(
                "{} has no defaultCase: for any value but {} nothing runs",
                task.task_reference_name,
                listed(cases)
            ),
        ),
        (true, false) => return,
    };
    let hint = "Add the case, or a defaultCase; one that is meant to do nothing needs none.";
    found.notes.push(Problem::new(pointer, code, message, hint));
}
