//! The command line against a real server, from registering a definition to removing a run.

use serde_json::{Value, json};

use crate::live::Live;
use crate::stand_in::{Nightbell, Outcome};

fn definitions() -> String {
    let inline = |expression: &str| {
        json!([{ "name": "a", "taskReferenceName": "a", "type": "INLINE", "inputParameters": {
            "evaluatorType": "javascript", "expression": expression, "v": "${workflow.input.v}" } }])
    };
    let flow = |name: &str, tasks: Value| json!({ "name": name, "version": 1, "schemaVersion": 2, "tasks": tasks });
    let mut quick = flow("quick", inline("$.v * 2"));
    quick["outputParameters"] = json!({ "doubled": "${a.output.result}" });
    let work = json!([{ "name": "greet", "taskReferenceName": "greet_ref", "type": "SIMPLE" }]);
    let fails = flow("fails", inline("throw new Error('no luck')"));
    json!([quick, flow("work", work), fails]).to_string()
}

struct Cli<'a>(&'a Live);

impl Cli<'_> {
    fn run(&self, line: &str, data: &[&str]) -> Outcome {
        let arguments: Vec<&str> = line.split(' ').chain(data.iter().copied()).collect();
        Nightbell::new(&arguments).env("NIGHTBELL_URL", &self.0.url("")).run()
    }

    fn create(&self) {
        let outcome = Nightbell::new(&["workflow", "create", "-f", "flows.json"])
            .env("NIGHTBELL_URL", &self.0.url(""))
            .file("flows.json", &definitions())
            .run()
            .exits(0);
        assert!(outcome.stderr.contains("registered work version 1"), "{outcome:?}");
    }

    /// Starts a run and answers its id.
    fn start(&self, name: &str) -> String {
        self.run(&format!("run start {name}"), &[]).exits(0).stdout.trim().to_owned()
    }

    fn status(&self, id: &str) -> String {
        let shown = self.run(&format!("run show {id} --json"), &[]).exits(0).json();
        shown["status"].as_str().unwrap_or_else(|| panic!("no status in {shown}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_created_listed_and_shown() {
    let live = Live::start(&[]).await;
    let cli = Cli(&live);
    cli.create();
    let lines = cli.run("workflow list", &[]).exits(0).lines();
    assert!(lines.iter().any(|line| line.starts_with("quick 1 1 ")), "{lines:?}");
    let got = cli.run("workflow get work", &[]).exits(0).json();
    assert_eq!(got["tasks"][0]["taskReferenceName"], "greet_ref");
    let outcome = cli.run("workflow get nope", &[]).exits(3);
    assert!(outcome.stderr.contains("nope"), "{outcome:?}");
    let bad = json!({ "name": "bad", "tasks": [{ "name": "s", "taskReferenceName": "s", "type": "SWITCH" }] });
    let outcome = Nightbell::new(&["workflow", "create", "-f", "-"])
        .env("NIGHTBELL_URL", &live.url(""))
        .input(&bad.to_string())
        .run()
        .exits(1);
    assert!(outcome.stderr.contains("/tasks/0/expression"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_and_its_verdict_is_the_exit_code() {
    let live = Live::start(&[]).await;
    let cli = Cli(&live);
    cli.create();
    let good = cli.run("run start quick --wait --input", &[r#"{"v": 21}"#]).exits(0);
    assert_eq!(good.json(), json!({ "doubled": 42 }));
    let bad = cli.run("run start fails --wait", &[]).exits(5);
    assert!(bad.stderr.contains("no luck"), "{bad:?}");
    cli.run("run start nope", &[]).exits(3);
    let listed = cli.run("run list --json", &[]).exits(0).json();
    let listed = listed.as_array().unwrap();
    let of = |status: &str| listed.iter().find(|run| run["status"] == status).unwrap();
    let (good, bad) = (of("COMPLETED"), of("FAILED"));
    cli.run(&format!("run watch {}", good["workflowId"].as_str().unwrap()), &[]).exits(0);
    cli.run(&format!("run watch {}", bad["workflowId"].as_str().unwrap()), &[]).exits(5);
    let table = cli.run("run list", &[]).exits(0).lines();
    assert_eq!(table.len(), 3, "{table:?}");
    assert!(table[0].starts_with("ID KIND NAME VERSION STATUS"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_done_by_hand() {
    let live = Live::start(&[]).await;
    let cli = Cli(&live);
    cli.create();
    let id = cli.start("work");
    let why = cli.run(&format!("run why {id}"), &[]).exits(0);
    assert!(
        why.stdout.contains("no worker has polled 'greet' since the server started"),
        "{why:?}"
    );
    let queues = cli.run("queue list", &[]).exits(0);
    assert!(queues.lines().iter().any(|line| line.starts_with("greet 1")), "{queues:?}");
    let polled = cli.run("task poll greet --json", &[]).exits(0).json();
    let task = polled[0]["taskId"].as_str().unwrap().to_owned();
    live.post(&format!("/api/tasks/{task}/log"), &json!("half of it is done")).await;
    let logs = cli.run(&format!("run logs {id}"), &[]).exits(0);
    assert!(logs.stdout.contains("half of it is done"), "{logs:?}");
    cli.run(&format!("task complete {task} --data"), &[r#"{"said": "hello"}"#]).exits(0);
    cli.run(&format!("run watch {id}"), &[]).exits(0);
    let shown = cli.run(&format!("run show {id} --tasks"), &[]).exits(0);
    assert!(shown.stdout.contains("greet_ref") && shown.stdout.contains("hello"), "{shown:?}");
    cli.run("task complete no-such-task", &[]).exits(3);
    // What a workflow does not have is not taken for code.
    for line in ["show ID --at 999", "fork ID --at nowhere", "rerun ID --from nowhere --yes"] {
        let refused = cli.run(&format!("run {}", line.replace("ID", &id)), &[]);
        let is_misled = [&refused.stdout, &refused.stderr].iter().any(|it| it.contains("nstance"))
            || refused.stderr.contains("orchestration");
        assert!(refused.code != 0 && !is_misled, "{line}: {refused:?}");
    }

    let id = cli.start("work");
    cli.run(&format!("task complete --run {id} --ref greet_ref"), &[]).exits(0);
    assert_eq!(cli.status(&id), "COMPLETED");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_steered_until_they_are_gone() {
    let live = Live::start(&[]).await;
    let cli = Cli(&live);
    cli.create();
    let id = cli.start("work");
    let steer = |verb: &str, code: i32| cli.run(&format!("run {verb} {id}"), &[]).exits(code);
    steer("pause", 0);
    assert_eq!(cli.status(&id), "PAUSED");
    steer("resume", 0);
    assert_eq!(cli.status(&id), "RUNNING");
    steer("restart", 4);
    steer("terminate -y --reason enough", 0);
    let ended = steer("watch", 5);
    assert!(ended.stderr.contains("TERMINATED: enough"), "{ended:?}");
    steer("retry -y", 0);
    assert_eq!(cli.status(&id), "RUNNING");
    steer("terminate -y", 0);
    steer("restart -y", 0);
    assert_eq!(cli.status(&id), "RUNNING");
    steer("terminate -y", 0);
    steer("rerun", 0);
    assert_eq!(cli.status(&id), "RUNNING");
    steer("terminate -y", 0);
    steer("rerun --from greet_ref", 0);
    steer("delete -y", 0);
    for verb in ["show", "why", "delete -y", "terminate -y", "pause", "watch"] {
        steer(verb, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_exit_code_6() {
    let mut live = Live::start(&[]).await;
    live.kill();
    let outcome = Cli(&live).run("run list", &[]).exits(6);
    assert!(outcome.stderr.contains("cannot reach the server"), "{outcome:?}");
}
