//! Loops of a hundred to ten thousand iterations: the time per iteration must stay the same.

use serde_json::{Value, json};

use super::figures::Samples;
use super::house::{self, Folder};

/// The workflow, iterations, and where the figures go.
const LOOPS: [(&str, u32, &str, &str); 5] = [
    ("plain", 100, "growth.100", "growth.each_100"),
    ("plain", 1_000, "growth.1000", "growth.each_1000"),
    ("plain", 10_000, "growth.10000", "growth.each_10000"),
    ("asking", 100, "growth.asking_100", "growth.asking_each_100"),
    ("asking", 1_000, "growth.asking_1000", "growth.asking_each_1000"),
];

pub(super) async fn loops(samples: &mut Samples) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let engine = house::engine(&folder).await?;
    // The second asks the loop itself how far it is, as definitions often do.
    for (name, from) in [("plain", "${workflow.input.n}"), ("asking", "${loop.output.iteration}")] {
        let definition = serde_json::from_value(definition(name, from))?;
        engine.definitions().put_workflows(vec![definition]).await?;
        // The first makes the scripts ready.
        house::complete(&engine, name, &json!({ "n": 10 })).await?;
    }
    for (name, count, total, each) in LOOPS {
        let millis = house::complete(&engine, name, &json!({ "n": count })).await?;
        samples.take(total, millis);
        samples.take(each, millis * 1000.0 / f64::from(count));
    }
    Ok(engine.close().await?)
}

fn definition(name: &str, from: &str) -> Value {
    json!({ "name": name, "version": 1, "tasks": [{
        "name": "loop", "taskReferenceName": "loop", "type": "DO_WHILE",
        "inputParameters": { "n": "${workflow.input.n}" },
        "loopCondition": "if ($.loop['iteration'] < $.n) { true; } else { false; }",
        "loopOver": [{
            "name": "step", "taskReferenceName": "step", "type": "INLINE",
            "inputParameters": {
                "evaluatorType": "javascript", "n": from, "expression": "$.n + 1",
            },
        }],
    }] })
}
