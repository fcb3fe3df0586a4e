//! Hides what authors do not want shown (`maskedFields`): only from eyes, never from the flow.
//!
//! What is stored and what expressions, workers and children see is the value itself. A name counts
//! wherever it stands in a payload; `_masked` and `_secrets` are always hidden.

use serde_json::Value;

use super::execution::Execution;
use crate::json::Json;

/// Stands in the place of what is hidden.
const MASK: &str = "***";
/// Names that are hidden without being listed.
const ALWAYS: [&str; 2] = ["_masked", "_secrets"];

impl Execution {
    /// A payload of this execution as people may see it.
    pub fn shown(&self, payload: &Json) -> Json {
        let fields = &self.plan().definition.masked_fields;
        let text = payload.text();
        // A name may be written with escapes, so only what cannot be a name is told apart quickly.
        let suspect = !fields.is_empty()
            || ALWAYS.iter().any(|name| text.contains(name))
            || text.contains("\\u00");
        if !suspect {
            return payload.clone();
        }
        let mut value = payload.parse();
        let hidden = |name: &str| ALWAYS.contains(&name) || fields.iter().any(|f| f == name);
        if hide(&mut value, &hidden) { Json::of(&value) } else { payload.clone() }
    }
}

/// Whether anything was hidden.
fn hide(value: &mut Value, hidden: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => {
            let mut changed = false;
            for (name, member) in members {
                if hidden(name) {
                    *member = MASK.into();
                    changed = true;
                } else {
                    changed |= hide(member, hidden);
                }
            }
            changed
        }
        Value::Array(items) => items.iter_mut().fold(false, |seen, item| hide(item, hidden) | seen),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
