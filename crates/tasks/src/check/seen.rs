//! What a check saw, as the output of its task.

use kernel::alert::Status;
use serde_json::{Map, Value, json};

/// Observations, and what the next check is to know.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) observations: Vec<Value>,
    pub(super) memory: Option<Value>,
}

impl Seen {
    /// One observation, of the monitor itself.
    pub(super) fn one(status: Status, text: &str, value: Value, attrs: Map<String, Value>) -> Self {
        let mut observation = json!({ "key": "", "status": status.as_str(), "text": text });
        observation["value"] = value;
        observation["attrs"] = attrs.into();
        Self { observations: vec![observation], memory: None }
    }

    /// Whether anything is of this status.
    pub(super) fn has(&self, status: &str) -> bool {
        self.observations.iter().any(|it| it.get("status").is_some_and(|it| it == status))
    }

    /// The task's output.
    pub(super) fn output(self) -> Value {
        json!({ "observations": self.observations, "memory": self.memory })
    }
}

/// Members of an object, written on the spot; those that are null are left out.
pub(super) fn attrs(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(mut members) => {
            members.retain(|_, value| !value.is_null());
            members
        }
        _ => Map::new(),
    }
}
