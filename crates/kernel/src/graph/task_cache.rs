//! Outputs that stand for later runs of the same work (`cacheConfig`).
//!
//! The key is made of the task's own input, as the documentation asks, so it is the same whenever it
//! is worked out. What was taken from the cache is recorded as the task's output: nothing that
//! happens to the cache later changes an execution.

use std::ops::Not;
use std::sync::Arc;

use serde_json::Value;

use super::context::Context;
use super::execution::{Execution, Task};
use super::object::merged;
use super::plan::{Kind, Node};
use crate::definition::CacheConfig;
use crate::expression::{Scope, Template};
use crate::json::Json;
use crate::machine::CachedOutput;

/// Stands in an output that was not worked for; what was used again does not live longer for it.
const MARK: &str = "\"_cachedResponse\":true";

/// Longest key, in bytes; work with a longer one is simply done.
const KEY_MAX: usize = 1024;

/// An earlier output for a task with this input, marked as such.
pub(super) fn found(node: &Node, name: &str, input: &Json, context: &Context<'_>) -> Option<Json> {
    let key = key(config(node)?, input)?;
    let output = context.world.reusable(name, &key)?;
    Some(merged(&output, &serde_json::json!({ "_cachedResponse": true }).into()))
}

/// What a completed task leaves for others.
pub(super) fn left(
    state: &Execution,
    task: &Task,
    output: Option<&Json>,
    context: &Context<'_>,
) -> Option<CachedOutput> {
    let config = config(state.node_of(task))?;
    let output = output.unwrap_or(&task.output);
    let key = key(config, &task.input).filter(|_| output.text().contains(MARK).not())?;
    let until = context.now.plus_seconds(i64::from(config.ttl_in_second));
    Some(CachedOutput { name: task.name.clone(), key, output: output.clone(), until })
}

fn config(node: &Node) -> Option<&CacheConfig> {
    let worked = matches!(node.kind, Kind::Dispatched | Kind::Dynamic);
    node.task.cache_config.as_ref().filter(|config| worked && config.ttl_in_second > 0)
}

fn key(config: &CacheConfig, input: &Json) -> Option<Arc<str>> {
    let written = config.key.as_deref().filter(|key| !key.trim().is_empty())?;
    let key = Template::compile(&Value::String(written.to_owned())).render(&Input(input));
    let key: Arc<str> = match key.parse() {
        // The input does not have what the key is made of.
        Value::Null => return None,
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    (!key.is_empty() && key.len() <= KEY_MAX).then_some(key)
}

/// A task's input as the expressions of a key see it: its members are the roots.
struct Input<'a>(&'a Json);

impl Scope for Input<'_> {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        self.0.parse().get(root)?.get(field).map(Json::of)
    }

    fn document(&self, root: &str) -> Option<Json> {
        self.bare(root)
    }

    fn bare(&self, name: &str) -> Option<Json> {
        self.0.parse().get(name).map(Json::of)
    }
}
