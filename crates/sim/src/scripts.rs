//! Stand-ins for the users' script engines: a language so small that the auditor can know every
//! answer from the source alone.
//!
//! `const:a` answers the text `a`; `R.iteration<3` compares the iteration of loop `R`; `fail`
//! raises an error; `slow` runs out of time.

use kernel::{Form, Json, ScriptError, ScriptErrorKind, Scripts};
use serde_json::{Value, json};

/// The engine of the small language.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmallScripts;

impl Scripts for SmallScripts {
    fn javascript(&self, source: &str, _: Form, input: &Json) -> Result<Json, ScriptError> {
        if let Some(text) = source.strip_prefix("const:") {
            return Ok(Json::of(&text));
        }
        if let Some((reference, bound)) = source.split_once(".iteration<") {
            let input = input.parse();
            let iteration = input[reference]["iteration"].as_i64();
            let bound = bound.parse::<i64>().ok();
            return match (iteration, bound) {
                (Some(iteration), Some(bound)) => Ok(Json::of(&(iteration < bound))),
                _ => Err(error(ScriptErrorKind::Runtime, "no iteration to compare")),
            };
        }
        match source {
            "slow" => Err(error(ScriptErrorKind::Timeout, "it took too long")),
            _ => Err(error(ScriptErrorKind::Runtime, "it raised an error")),
        }
    }

    fn jq(&self, program: &str, _: &Json) -> Result<Vec<Json>, ScriptError> {
        match program {
            "fail" => Err(error(ScriptErrorKind::Runtime, "it raised an error")),
            _ => Ok(vec![Json::of(&json!({ "program": program })), Json::of(&Value::Null)]),
        }
    }

    fn check_javascript(&self, _: &str, _: Form) -> Result<(), ScriptError> {
        Ok(())
    }

    fn check_jq(&self, _: &str) -> Result<(), ScriptError> {
        Ok(())
    }
}

fn error(kind: ScriptErrorKind, message: &str) -> ScriptError {
    ScriptError { kind, message: message.to_owned() }
}
