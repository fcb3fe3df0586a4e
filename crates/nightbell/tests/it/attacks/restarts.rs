//! Attacks that wait in the store: the process is killed while each is under way, and started again.

use serde_json::{Value, json};

use super::underway::{elements, evaluations, task, unfolding, until};
use super::watch::Watch;
use crate::live::Live;

/// One attack: its name, the task that it consists of, and the input of its executions.
struct Attack {
    name: &'static str,
    task: Value,
    input: Value,
    /// Whether it is over as soon as somebody looks at it.
    is_brief: bool,
}

fn script(name: &'static str, expression: &str) -> Attack {
    let input = json!({ "evaluatorType": "javascript", "expression": expression });
    Attack { name, task: task("INLINE", &input), input: json!({}), is_brief: false }
}

fn program(name: &'static str, expression: &str) -> Attack {
    let task = task("JSON_JQ_TRANSFORM", &json!({ "queryExpression": expression }));
    Attack { name, task, input: json!({}), is_brief: false }
}

fn attacks() -> Vec<Attack> {
    let generator = vec!["(1,1)"; 34].join("|");
    let schema = json!({ "name": "s", "version": 1, "type": "JSON", "data": unfolding(12) });
    let mut checked = task("SIMPLE", &json!({ "list": "${workflow.input.list}" }));
    checked["taskDefinition"] =
        json!({ "name": "t", "inputSchema": schema, "enforceSchema": true });
    let members = (0..500).map(|at| (format!("m{at}"), json!("y${workflow.input.b}")));
    let grown = Value::Object(members.collect());
    vec![
        script(
            "array-likes, after a restart",
            "for (;;) { try { [].sort.call({length: 4000000}) } catch (e) {} }",
        ),
        program("jq generators, after a restart", &format!("last({generator})")),
        script("regular expressions, after a restart", "/^(a|a)*$/.test('a'.repeat(60) + 'b')"),
        program(
            "jq's regular expressions, after a restart",
            "[range(1e6) | (\"a\" * 20000) | test(\"^(?:(a?){40}|b)*x?$\")] | length",
        ),
        Attack {
            name: "schemas, after a restart",
            task: checked,
            input: elements(),
            is_brief: true,
        },
        Attack {
            name: "templates, after a restart",
            task: task("SET_VARIABLE", &grown),
            input: json!({ "b": "b".repeat(4 << 20) }),
            is_brief: true,
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_that_wait_in_the_store_silence_nobody() {
    let busy = |health: &Value| health["evaluations"]["busy"].as_u64() > Some(0);
    for attack in attacks() {
        let watch = Watch::prepare(attack.name, evaluations()).await;
        let mut live = Live::start(&["--script-time", "60s"]).await;
        let wait = json!({ "name": "w", "taskReferenceName": "w", "type": "WAIT",
            "inputParameters": { "duration": "1 seconds" } });
        live.define("attack", json!([wait, attack.task])).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(live.begin("attack", &attack.input).await);
        }
        if !attack.is_brief {
            until(&live, "/health", busy).await;
        }
        live.kill();
        live.launch().await;
        watch.begin(&live);
        if attack.is_brief {
            for id in &ids {
                let is_over = |run: &Value| run["tasks"][1]["status"] != Value::Null;
                until(&live, &format!("/api/workflow/{id}"), is_over).await;
            }
        } else {
            until(&live, "/health", busy).await;
        }
        live.begin_small().await;
        watch.ends(&mut live).await;
    }
}
