//! Loops of a hundred to ten thousand iterations: the time per iteration must stay the same.

use serde_json::json;

use super::figures::Samples;
use super::house::{self, Folder};

/// Iterations, and where their figures go.
const LOOPS: [(u32, &str, &str); 3] = [
    (100, "growth.100", "growth.each_100"),
    (1_000, "growth.1000", "growth.each_1000"),
    (10_000, "growth.10000", "growth.each_10000"),
];

pub(super) async fn loops(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    let definition = json!({ "name": "loop", "version": 1, "tasks": [{
        "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
        "inputParameters": { "n": "${workflow.input.n}" },
        "loopCondition": "if ($.loop['iteration'] < $.n) { true; } else { false; }",
        "loopOver": [{
            "name": "step", "taskReferenceName": "step", "type": "INLINE",
            "inputParameters": {
                "evaluatorType": "javascript", "n": "${loop.output.iteration}",
                "expression": "$.n + 1",
            },
        }],
    }] });
    engine.definitions().put_workflows(vec![serde_json::from_value(definition)?]).await?;
    // The first makes the scripts ready.
    house::complete(&engine, "loop", &json!({ "n": 10 })).await?;
    for (count, total, each) in LOOPS {
        let millis = house::complete(&engine, "loop", &json!({ "n": count })).await?;
        samples.take(total, millis);
        samples.take(each, millis * 1000.0 / f64::from(count));
    }
    Ok(engine.close().await?)
}
