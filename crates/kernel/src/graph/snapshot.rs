//! Executions as one fact: how the parts are written that JSON has no form for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::PlanRef;
use super::execution::Execution;
use crate::id::ExecutionId;

/// An execution at one instant, with the plan that it obeys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The plan; whoever reads a history binds it before folding.
    #[serde(rename = "p")]
    pub plan: PlanRef,
    /// The state. Its indexes are made when it is folded.
    #[serde(rename = "x")]
    pub state: Execution,
}

/// Where the state of an execution comes from that began as a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The execution that it branched off from, which goes on untouched.
    #[serde(rename = "f")]
    pub from: ExecutionId,
    /// How many commits of that execution it knows of.
    #[serde(rename = "v")]
    pub version: u64,
    /// The task before which it branched off: the reference name, `#2` after it for a later attempt.
    #[serde(rename = "r")]
    pub at: Arc<str>,
}

/// Tasks as a list: each knows its number.
pub(super) mod tasks {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::graph::Task;

    pub(crate) fn serialize<S: Serializer>(
        tasks: &BTreeMap<u32, Task>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(tasks.values())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u32, Task>, D::Error> {
        let tasks = Vec::<Task>::deserialize(deserializer)?;
        Ok(tasks.into_iter().map(|task| (task.sequence, task)).collect())
    }
}

/// A map as a list of pairs: its keys are no texts.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Grafts as the branches that were grafted, in order: grafting them again numbers them alike.
pub(super) mod grafts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::definition::WorkflowTask;
    use crate::graph::plan::{NodeId, Shape};

    #[derive(Serialize, Deserialize)]
    struct Grafts {
        first: (u32, u32),
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        branches: Vec<(WorkflowTask, Option<NodeId>, usize)>,
    }

    pub(crate) fn serialize<S: Serializer>(
        shape: &Shape,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Grafts { first: shape.first(), branches: shape.grafted() }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Shape, D::Error> {
        let grafts = Grafts::deserialize(deserializer)?;
        let mut shape = Shape::beginning(grafts.first);
        for (task, fork, depth) in grafts.branches {
            match fork {
                Some(fork) => {
                    shape.graft(&task, fork, depth);
                }
                None => {
                    shape.keep(&task, depth);
                }
            }
        }
        Ok(shape)
    }
}
