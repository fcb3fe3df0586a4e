//! jq against the answers of jq 1.7, and against programs that mean harm.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::{Json, ScriptErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};
use tasks::jq::{Jq, Limits};

fn run(program: &str, input: &Value) -> Result<Vec<Value>, String> {
    let outputs = Jq::new(Limits::default()).run(program, &Json::of(input));
    outputs.map(|outputs| outputs.iter().map(Json::parse).collect()).map_err(|e| e.message)
}

#[track_caller]
fn gives(program: &str, input: &Value, expected: &[Value]) {
    let outputs = run(program, input).unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        outputs.len() == expected.len() && outputs.iter().zip(expected).all(|(l, r)| same(l, r)),
        "{program}: {outputs:?} is not {expected:?}"
    );
}

#[track_caller]
fn fails(program: &str, input: &Value, message: &str) {
    let outcome = run(program, input);
    let found = outcome.expect_err("the program fails");
    assert!(found.contains(message), "{program}: {found} lacks {message}");
}

/// Equal in structure, numbers by value.
fn same(l: &Value, r: &Value) -> bool {
    match (l, r) {
        (Value::Number(l), Value::Number(r)) => l.as_f64() == r.as_f64(),
        (Value::Array(l), Value::Array(r)) => {
            l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same(l, r))
        }
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len() && l.iter().all(|(k, l)| r.get(k).is_some_and(|r| same(l, r)))
        }
        _ => l == r,
    }
}

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    program: String,
    input: usize,
    jackson_jq_0_0_13: Answer,
    jq_1_7: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Vec<Value>),
    Err(#[expect(dead_code, reason = "only that there is an error counts")] String),
}

impl Answer {
    fn matches(&self, outcome: &Result<Vec<Value>, String>) -> bool {
        match (self, outcome) {
            (Answer::Ok(l), Ok(r)) => {
                l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same(l, r))
            }
            (Answer::Err(_), Err(_)) => true,
            _ => false,
        }
    }
}

#[test]
fn answers_as_jq_does() {
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/jq.json")).expect("the table is valid");
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let outcome = run(&case.program, &golden.inputs[case.input]);
        if !case.jq_1_7.matches(&outcome) {
            wrong.push(format!(
                "{} -> {outcome:?} {}",
                case.program,
                case.jackson_jq_0_0_13.matches(&outcome)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
