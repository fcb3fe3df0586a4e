//! `WAIT_FOR_WEBHOOK`: until a payload comes from outside that fits.
//!
//! Such a task stands in a queue of its workflow's name that nobody polls. The row bears what the
//! payload must have in it, so whoever receives one finds the tasks that it fits without looking
//! at a single execution, also after a new start of the server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::draft::{Draft, End};
use super::super::event::Event;
use crate::expression::Path;
use crate::json::Json;
use crate::machine::{Dispatch, Effect};

/// What the names of the queues begin with in which tasks wait for payloads.
pub const WEBHOOK_QUEUE: &str = "WAIT_FOR_WEBHOOK/";

/// The queue in which the tasks of a workflow wait for payloads.
pub fn webhook_queue(workflow: &str) -> String {
    format!("{WEBHOOK_QUEUE}{workflow}")
}

/// Conditions in one task.
const CONDITIONS_MAX: usize = 50;
/// Bytes of all conditions of one task.
const CONDITIONS_SIZE_MAX: usize = 16 << 10;

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// The version of its workflow.
    #[serde(rename = "v")]
    pub version: i32,
    /// By path into the payload the value that must be there; all must hold. Without any, every
    /// payload fits that the workflow is to receive.
    #[serde(rename = "m")]
    pub matches: BTreeMap<String, Value>,
}

impl Awaited {
    /// Reads what the name of a queue row tells; `None` if it is not one of these.
    pub fn of_row(name: &str) -> Option<Self> {
        serde_json::from_str(name).ok()
    }

    /// Whether a payload is what the task waits for.
    pub fn fits(&self, payload: &Value) -> bool {
        self.matches.iter().all(|(path, expected)| {
            Path::compile(path).is_ok_and(|path| equal(&path.read(payload), expected))
        })
    }
}

/// Equality in which 1 and 1.0 are the same number.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, l)| right.get(key).is_some_and(|r| equal(l, r)))
        }
        _ => left == right,
    }
}

/// Reads and checks the conditions of a task.
fn conditions(input: &Json) -> Result<BTreeMap<String, Value>, String> {
    #[derive(Deserialize)]
    struct Parameters {
        matches: Option<Value>,
    }
    let parameters: Parameters =
        serde_json::from_str(input.text()).map_err(|error| format!("the input: {error}"))?;
    let Some(Value::Object(matches)) = parameters.matches else {
        return Err("WAIT_FOR_WEBHOOK needs 'matches' in its input: an object of paths into the \
                    payload and the values that must be there"
            .to_owned());
    };
    if matches.len() > CONDITIONS_MAX {
        return Err(format!("'matches' has more than {CONDITIONS_MAX} conditions"));
    }
    for path in matches.keys() {
        Path::compile(path)
            .map_err(|error| format!("'{path}' in 'matches' is no path: {error}"))?;
    }
    Ok(matches.into_iter().collect())
}

pub(super) fn begin(draft: &mut Draft<'_>, sequence: u32) {
    let Some(task) = draft.state.task(sequence) else { return };
    let definition = &draft.state.plan().definition;
    let row = conditions(&task.input).and_then(|matches| {
        let row = Json::of(&Awaited { version: definition.version, matches });
        if row.len() > CONDITIONS_SIZE_MAX {
            return Err(format!("'matches' is larger than {CONDITIONS_SIZE_MAX} bytes"));
        }
        Ok(row)
    });
    let name: Arc<str> = match row {
        Ok(row) => row.text().into(),
        Err(reason) => return draft.close(sequence, End::failed_terminally(reason)),
    };
    let dispatch = Dispatch {
        sequence,
        queue: webhook_queue(&definition.name).into(),
        name,
        priority: draft.state.priority,
        ready_at: draft.context.now,
        concurrent_max: 0,
        rate_max: 0,
        rate_window_seconds: 1,
    };
    draft.push(Event::Begun { sequence, until: None });
    draft.effect(Effect::Dispatch(dispatch));
}

/// What a task waits for, in a sentence.
pub(in super::super) fn why(input: &Json) -> String {
    let mut sentence = "waits for a webhook's payload".to_owned();
    for (index, (path, expected)) in conditions(input).unwrap_or_default().iter().enumerate() {
        let word = if index == 0 { " in which" } else { " and" };
        let mut shown = expected.to_string();
        if let Some((at, _)) = shown.char_indices().nth(SHOWN_MAX) {
            shown.truncate(at);
            shown.push('…');
        }
        write!(sentence, "{word} {path} is {shown}").expect("a string takes all");
    }
    sentence
}

/// Characters of an expected value that are told.
const SHOWN_MAX: usize = 80;
