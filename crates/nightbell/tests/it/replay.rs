//! `workflow replay` against a real server: runs that workers and people answered, tried with changed
//! definitions.

use std::io::Read as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::{Nightbell, Outcome};

const PATIENCE: Duration = Duration::from_secs(30);

/// An order: how many pieces are there, and who ships many or few of them.
fn orders(change: impl FnOnce(&mut Value)) -> Value {
    let simple = |name: &str, input: Value| json!({ "name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": input });
    let mut tasks = json!([
        simple("count", json!({ "item": "${workflow.input.item}" })),
        {
            "name": "size", "taskReferenceName": "size", "type": "SWITCH",
            "evaluatorType": "javascript", "expression": "$.n > 10 ? 'many' : 'few'",
            "inputParameters": { "n": "${count.output.n}" },
            "decisionCases": {
                "many": [{ "name": "approve", "taskReferenceName": "approve", "type": "HUMAN" }],
                "few": [simple("ship", json!({ "n": "${count.output.n}" }))],
            },
        },
    ]);
    change(&mut tasks);
    json!({
        "name": "orders", "version": 1, "schemaVersion": 2, "tasks": tasks,
        "outputParameters": { "n": "${count.output.n}" },
    })
}

struct Shop(Live);

impl Shop {
    /// A server with three runs that went as they should: two with few, one with many.
    async fn open() -> Self {
        let live = Live::start(&[]).await;
        let tasks: Vec<Value> = ["count", "ship"]
            .map(|name| json!({ "name": name, "retryCount": 1, "retryDelaySeconds": 5, "ownerEmail": "a@example.org" }))
            .into();
        live.post("/api/metadata/taskdefs", &json!(tasks)).await;
        live.post("/api/metadata/workflow", &orders(|_| {})).await;
        let shop = Self(live);
        for n in [3, 5, 12] {
            let id = shop.0.begin("orders", &json!({ "item": format!("i{n}") })).await;
            shop.answer("count", json!({ "n": n })).await;
            if n > 10 {
                let path = format!("/api/tasks/{id}/approve/COMPLETED");
                shop.0.post(&path, &json!({ "ok": true })).await;
            } else {
                shop.answer("ship", json!({ "parcel": n })).await;
            }
            assert_eq!(shop.0.ended(&id, PATIENCE).await["status"], "COMPLETED");
        }
        shop
    }

    async fn answer(&self, task_type: &str, output: Value) {
        let tasks = self.0.poll(&format!("{task_type}?count=1&timeout=5000")).await;
        self.0.report(&tasks[0], json!({ "status": "COMPLETED", "outputData": output })).await;
    }

    fn replay(&self, definition: &Value, more: &[&str]) -> Outcome {
        let arguments = [&["workflow", "replay", "-f", "new.json"][..], more].concat();
        Nightbell::new(&arguments)
            .env("NIGHTBELL_URL", &self.0.url(""))
            .file("new.json", &definition.to_string())
            .file("answers.yaml", "enrich:\n- output: { colour: red }\n")
            .run()
    }

    /// How many runs came to what, as JSON tells it.
    fn groups(&self, definition: &Value, more: &[&str], code: i32) -> Vec<(u64, Value)> {
        let told =
            self.replay(definition, &[&["-o", "json"][..], more].concat()).exits(code).json();
        let groups = told["groups"].as_array().unwrap().iter().map(|group| {
            let mut group = group.clone();
            let runs = group["runs"].take();
            group.as_object_mut().unwrap().remove("runs");
            (runs.as_array().unwrap().len() as u64, group)
        });
        groups.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_is_tried_on_what_happened() {
    let shop = Shop::open().await;
    let same = (3, json!({ "class": "same" }));
    assert_eq!(shop.groups(&orders(|_| {}), &[], 0), std::slice::from_ref(&same));

    let other_bound = orders(|tasks| tasks[1]["expression"] = "$.n > 4 ? 'many' : 'few'".into());
    let expected = [
        (2, json!({ "class": "same" })),
        (1, json!({ "class": "otherPath", "at": "size", "was": "\"few\"", "now": "\"many\"" })),
    ];
    assert_eq!(shop.groups(&other_bound, &[], 5), expected);
    let outcome = shop.replay(&other_bound, &[]).exits(5);
    assert!(outcome.stdout.contains("at size: was \"few\", is \"many\""), "{outcome:?}");
    assert!(outcome.stderr.contains("1 of 3 runs differ"), "{outcome:?}");

    // Each run that differs is kept as a test: true of what was, and not of what is tried.
    let saved = tempfile::tempdir().unwrap();
    let folder = saved.path().to_str().unwrap();
    shop.replay(&other_bound, &["--save", folder]).exits(5);
    let tested = |definition: &Value| {
        std::fs::write(saved.path().join("orders.json"), definition.to_string()).unwrap();
        Nightbell::new(&["test", folder]).run()
    };
    let passed = tested(&orders(|_| {})).exits(0);
    assert_eq!(passed.lines().iter().filter(|it| it.starts_with("ok ")).count(), 1, "{passed:?}");
    let failed = tested(&other_bound).exits(5);
    assert!(failed.stdout.contains("no mock answers approve (HUMAN)"), "{failed:?}");
    // So is any run that is shown as one.
    let runs = shop.0.get("/api/workflow/search?query=workflowType%3Dorders").await;
    let id = runs["results"][0]["workflowId"].as_str().unwrap();
    let shown =
        Nightbell::new(&["run", "show", id, "--as-test"]).env("NIGHTBELL_URL", &shop.0.url(""));
    let shown = shown.run().exits(0).stdout;
    let again = Nightbell::new(&["test", "."]).file("orders.test.yaml", &shown);
    again.file("orders.json", &orders(|_| {}).to_string()).run().exits(0);

    let asks_more = orders(|tasks| tasks[0]["inputParameters"]["unit"] = "kg".into());
    let difference = json!({ "class": "askedOtherwise", "at": "count", "difference": "input.unit was null, is \"kg\"" });
    assert_eq!(shop.groups(&asks_more, &[], 5), [(3, difference)]);

    let enriched = orders(|tasks| {
        let task = json!({ "name": "enrich", "taskReferenceName": "enrich", "type": "SIMPLE" });
        tasks.as_array_mut().unwrap().insert(1, task);
    });
    let unanswered = json!({ "class": "unanswered", "at": "enrich", "taskType": "enrich" });
    assert_eq!(shop.groups(&enriched, &[], 5), [(3, unanswered)]);
    let path = json!({ "class": "otherPath", "at": "count", "was": "size", "now": "enrich" });
    assert_eq!(shop.groups(&enriched, &["--mock", "answers.yaml"], 5), [(3, path)]);

    let mut other_output = orders(|_| {});
    other_output["outputParameters"]["n"] = 1.into();
    let told = shop.groups(&other_output, &["--last", "1"], 5);
    let difference = json!({ "class": "otherOutput", "difference": "output.n was 12, is 1" });
    assert_eq!(told, [(1, difference)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_somebody_changed_on_the_way_are_counted_apart() {
    let shop = Shop::open().await;
    let id = shop.0.begin("orders", &json!({ "item": "late" })).await;
    let path = format!("/api/workflow/{id}?reason=enough");
    shop.0.ask(reqwest::Method::DELETE, &path, "").await;
    let terminated = json!({ "class": "notReproduced", "why": "somebody terminated it" });
    let expected = [(3, json!({ "class": "same" })), (1, terminated)];
    assert_eq!(shop.groups(&orders(|_| {}), &[], 0), expected);
    assert_eq!(shop.groups(&orders(|_| {}), &["--status", "completed"], 0).len(), 1);
    let outcome = shop.replay(&orders(|_| {}), &["--status", "terminated"]).exits(1);
    assert!(outcome.stderr.contains("none of 1 runs could be tried"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_is_refused() {
    let shop = Shop::open().await;
    let outcome =
        shop.replay(&json!({ "name": "orders", "tasks": [{ "type": "SIMPLE" }] }), &[]).exits(1);
    assert!(outcome.stderr.contains("the definitions are not valid"), "{outcome:?}");
    let outcome = shop.replay(&orders(|_| {}), &["others"]).exits(1);
    assert!(outcome.stderr.contains("the files do not define others"), "{outcome:?}");
    let outcome = shop.replay(&orders(|_| {}), &["--mock", "new.json"]).exits(1);
    assert!(outcome.stderr.contains("the answers are not valid"), "{outcome:?}");
    let outcome = shop.replay(&orders(|_| {}), &["--status", "timed_out"]).exits(1);
    assert!(outcome.stderr.contains("no run of orders has ended"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_workflows_and_failed_attempts_answer_what_they_answered() {
    let live = Live::start(&[]).await;
    let task = json!({ "name": "count", "retryCount": 1, "retryDelaySeconds": 0, "ownerEmail": "a@example.org" });
    live.post("/api/metadata/taskdefs", &json!([task])).await;
    let inline = json!({ "name": "i", "taskReferenceName": "i", "type": "INLINE",
        "inputParameters": { "evaluatorType": "javascript", "expression": "7" } });
    live.define("child", json!([inline])).await;
    let parent = |child: &str| {
        json!({ "name": "parent", "version": 1, "schemaVersion": 2, "tasks": [
            { "name": "count", "taskReferenceName": "count", "type": "SIMPLE", "optional": true },
            { "name": "c", "taskReferenceName": "c", "type": "SUB_WORKFLOW",
              "subWorkflowParam": { "name": child, "version": 1 } },
        ] })
    };
    live.post("/api/metadata/workflow", &parent("child")).await;
    let id = live.begin("parent", &json!({})).await;
    for _ in 0..2 {
        let tasks = live.poll("count?count=1&timeout=5000").await;
        let failed = json!({ "status": "FAILED", "reasonForIncompletion": "no scale", "outputData": { "n": 0 } });
        live.report(&tasks[0], failed).await;
    }
    let run = live.ended(&id, PATIENCE).await;
    assert_eq!(run["tasks"][1]["status"], "COMPLETED_WITH_ERRORS", "{run}");
    let shop = Shop(live);
    assert_eq!(shop.groups(&parent("child"), &[], 0), [(1, json!({ "class": "same" }))]);
    let difference = "input.subWorkflowParam.name was \"child\", is \"other\"";
    let expected = json!({ "class": "askedOtherwise", "at": "c", "difference": difference });
    assert_eq!(shop.groups(&parent("other"), &[], 5), [(1, expected)]);
    let outcome = shop.replay(&parent("child"), &["--status", "failed"]).exits(1);
    assert!(outcome.stderr.contains("no run of parent has ended"), "{outcome:?}");
    // The same tasks, and another end.
    let ends = |status: &str| {
        let input = json!({ "terminationStatus": status, "workflowOutput": {} });
        json!({ "name": "ends", "version": 1, "schemaVersion": 2, "tasks": [
            { "name": "t", "taskReferenceName": "t", "type": "TERMINATE", "inputParameters": input } ] })
    };
    shop.0.post("/api/metadata/workflow", &ends("COMPLETED")).await;
    let id = shop.0.begin("ends", &json!({})).await;
    shop.0.ended(&id, PATIENCE).await;
    let other = json!({ "class": "otherEnd", "was": "COMPLETED", "now": "FAILED" });
    assert_eq!(shop.groups(&ends("FAILED"), &[], 5), [(1, other)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_away_as_a_file_without_its_secrets_and_played_again() {
    let live = Live::start(&[]).await;
    let definition = |bound: u32| {
        orders(|tasks| {
            tasks[0]["inputParameters"]["pin"] = "${workflow.input._secrets.pin}".into();
            tasks[0]["inputParameters"]["card"] = "Card ${workflow.input.card}".into();
            tasks[0]["inputParameters"]["key"] = "${workflow.secrets.SHOP_KEY}".into();
            tasks[1]["expression"] = format!("$.n > {bound} ? 'many' : 'few'").into();
        })
    };
    live.post("/api/metadata/workflow", &definition(10)).await;
    let secrets = json!({ "pin": "planted-hunter2" });
    let input = json!({ "item": "i3", "card": "4111-1111", "_secrets": secrets });
    let shop = Shop(live);
    let id = shop.0.begin("orders", &input).await;
    shop.answer("count", json!({ "n": 3, "seen": "planted-hunter2 of 4111-1111" })).await;
    shop.answer("ship", json!({})).await;
    shop.0.ended(&id, PATIENCE).await;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.nbz");
    let file = path.to_str().unwrap();
    let export = |more: &[&str]| {
        let arguments = [&["run", "export", &id, "-O", file], more].concat();
        Nightbell::new(&arguments).env("NIGHTBELL_URL", &shop.0.url("")).run()
    };
    export(&["--redact", "input.crad"]).exits(1);
    assert!(!path.exists(), "nothing is written that was to be redacted otherwise");
    let told = export(&["--redact", "input.card", "--json"]).exits(0).json();
    assert_eq!((&told["runs"], &told["secrets"]), (&json!(1), &json!(["SHOP_KEY"])));
    let mut text = String::new();
    let packed = std::fs::File::open(&path).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    for planted in ["planted-hunter2", "4111-1111", "sealed:v1", "ref:v1"] {
        assert!(!text.contains(planted), "{planted} is in the file: {text}");
    }
    assert!(text.contains("Card secret#1") && text.contains(r#""kind":"history""#), "{text}");

    let replay = |definition: &Value, more: &[&str]| {
        let arguments = [&["run", "replay", file], more].concat();
        Nightbell::new(&arguments).file("new.json", &definition.to_string()).run()
    };
    let again = replay(&json!({}), &[]).exits(0);
    assert_eq!(again.lines()[1], format!("{id} orders same"));
    replay(&definition(10), &["-f", "new.json"]).exits(0);
    let changed = replay(&definition(2), &["-f", "new.json", "--json"]).exits(5).json();
    assert_eq!(changed[0]["verdict"]["class"], "otherPath");
    let other = json!({ "name": "other", "tasks": [{ "name": "n", "taskReferenceName": "n", "type": "NOOP" }] });
    replay(&other, &["-f", "new.json"]).exits(1);
}

/// Half of two hundred secrets are in the input, half by name; one task is given all, another tells them.
#[tokio::test(flavor = "multi_thread")]
async fn none_of_two_hundred_secrets_leaves_with_a_run() {
    const EACH: usize = 100;
    let live = Live::start(&[]).await;
    let planted = |kind: &str, number: usize| {
        format!("{kind}-{number:03}-x{:016x}", 0x9e37_79b9 * (number + 7))
    };
    let mut all = Vec::new();
    let (mut given, mut secrets) = (json!({}), json!({}));
    for number in 0..EACH {
        let (own, named) = (planted("Own", number), planted("Named", number));
        secrets[format!("s{number}")] = own.as_str().into();
        live.ask(
            reqwest::Method::PUT,
            &format!("/api/secrets/S{number}"),
            json!(named).to_string(),
        )
        .await;
        given[format!("own{number}")] = format!("${{workflow.input._secrets.s{number}}}").into();
        given[format!("named{number}")] = format!("${{workflow.secrets.S{number}}}").into();
        all.extend([own, named]);
    }
    let definition = orders(|tasks| {
        let inputs = tasks[0]["inputParameters"].as_object_mut().unwrap();
        inputs.extend(given.as_object().unwrap().clone());
    });
    live.post("/api/metadata/workflow", &definition).await;
    let id = live.begin("orders", &json!({ "item": "i", "_secrets": secrets })).await;
    let shop = Shop(live);
    shop.answer("count", json!({ "n": 3, "seen": all })).await;
    // A worker whose task was given none of them tells each, in one form or another.
    let forms = |secret: &String| {
        let hex: Vec<String> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        json!([
            format!("it was {secret}!"),
            BASE64_STANDARD.encode(secret),
            hex.concat(),
            secret.to_uppercase()
        ])
    };
    let told: Vec<Value> = all.iter().map(forms).collect();
    shop.answer("ship", json!({ "told": told, "log": all.join(",") })).await;
    shop.0.ended(&id, PATIENCE).await;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.nbz");
    let arguments = ["run", "export", &id, "-O", path.to_str().unwrap()];
    Nightbell::new(&arguments).env("NIGHTBELL_URL", &shop.0.url("")).run().exits(0);
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let lower = text.to_lowercase();
    for secret in &all {
        let forms = forms(secret);
        assert!(!lower.contains(&secret.to_lowercase()), "{secret} is in the file");
        for form in [&forms[1], &forms[2]] {
            let form = form.as_str().unwrap();
            assert!(!text.contains(form), "{secret} is in the file as {form}");
        }
    }
    assert!(text.contains("it was ***!"), "what was told is there, without them");
}
