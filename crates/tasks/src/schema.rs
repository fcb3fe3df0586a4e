//! JSON schemas behind the kernel's `Scripts` port: drafts 4 to 2020-12, nothing fetched.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use kernel::{Json, ScriptError, ScriptErrorKind, VIOLATIONS_MAX, Violation};
use parking_lot::Mutex;
use serde_json::Value;

use crate::pattern::weight_of;
use crate::unfolding::Unfolding;

/// Compiled schemas kept; more are compiled again when needed.
const COMPILED_MAX: usize = 256;
/// Bytes of a schema whose compiled form is kept.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Steps that a pattern may go back in one text before the text counts as not matching.
const BACKTRACK_MAX: usize = 100_000;
/// Bytes of one violation's message.
const MESSAGE_MAX: usize = 500;

/// Holds documents against schemas; schemas are compiled once.
#[derive(Default)]
pub struct Schemas {
    compiled: Mutex<HashMap<String, Arc<Compiled>>>,
}

/// A schema that is ready for use, and what it would cost.
struct Compiled {
    validator: Validator,
    unfolding: Unfolding,
    /// What its patterns weigh together.
    weight: u64,
}

/// Bytes of a document times the weight of all patterns of a schema that one check may take.
const PATTERNS_MAX: u64 = 1 << 30;

impl Schemas {
    /// What is wrong with a document, at most [`VIOLATIONS_MAX`] findings.
    ///
    /// # Errors
    /// The schema itself is wrong, or refers to something outside it.
    pub fn violations(
        &self,
        schema: &Json,
        document: &Json,
    ) -> Result<Vec<Violation>, ScriptError> {
        let compiled = self.compiled(schema)?;
        let size = document.len() as u64;
        let document = document.parse();
        let refuse = |message: &str| {
            Err(ScriptError { kind: ScriptErrorKind::Timeout, message: message.to_owned() })
        };
        if size.saturating_mul(compiled.weight) > PATTERNS_MAX {
            return refuse("its patterns are too large for a document of this size");
        }
        if !compiled.unfolding.is_bounded(&document) {
            return refuse("its references unfold to too many checks of this document");
        }
        let found = compiled.validator.iter_errors(&document).take(VIOLATIONS_MAX);
        Ok(found
            .map(|error| Violation {
                pointer: error.instance_path().to_string(),
                message: cut(error.masked().to_string()),
            })
            .collect())
    }

    /// Compiles a schema.
    ///
    /// # Errors
    /// As [`Schemas::violations`].
    pub fn check(&self, schema: &Json) -> Result<(), ScriptError> {
        self.compiled(schema).map(drop)
    }

    fn compiled(&self, schema: &Json) -> Result<Arc<Compiled>, ScriptError> {
        if let Some(compiled) = self.compiled.lock().get(schema.text()) {
            return Ok(compiled.clone());
        }
        let parsed = schema.parse();
        let unfolding = Unfolding::of(&parsed);
        unfolding.is_compilable().map_err(|message| ScriptError {
            kind: ScriptErrorKind::Syntax,
            message: cut(message),
        })?;
        let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_MAX);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .build(&parsed)
            .map_err(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { "/" } else { &place };
                let message = cut(format!("{place}: {error}"));
                ScriptError { kind: ScriptErrorKind::Syntax, message }
            })?;
        let weight = weight_of_patterns(&parsed);
        let validator = Arc::new(Compiled { validator, unfolding, weight });
        if schema.len() <= KEPT_BYTES_MAX {
            let mut compiled = self.compiled.lock();
            if compiled.len() >= COMPILED_MAX {
                compiled.clear();
            }
            compiled.insert(schema.text().to_owned(), validator.clone());
        }
        Ok(validator)
    }
}

/// What all patterns weigh together that a schema may hold.
fn weight_of_patterns(schema: &Value) -> u64 {
    match schema {
        Value::Array(items) => items.iter().map(weight_of_patterns).fold(0, u64::saturating_add),
        Value::Object(members) => members.iter().fold(0, |sum, (name, inner)| {
            let own = match (name.as_str(), inner) {
                ("pattern", Value::String(pattern)) => weight_of(pattern),
                ("patternProperties", Value::Object(patterns)) => {
                    patterns.keys().map(|pattern| weight_of(pattern)).fold(0, u64::saturating_add)
                }
                _ => 0,
            };
            sum.saturating_add(own).saturating_add(weight_of_patterns(inner))
        }),
        _ => 0,
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}
