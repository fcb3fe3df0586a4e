//! The monitoring pattern, with the calls that its users make.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::live::Live;
use crate::sdks::{PYTHON, prepared};

/// How long a run may take beyond what it waits by itself.
const PATIENCE: Duration = Duration::from_mins(1);

async fn example() -> Live {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring-pattern");
    Live::start(&["--load", folder.to_str().expect("UTF-8")]).await
}

/// The names of an object's members, in order.
fn members(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Asks for a status until it is final; answers that and all that were told before.
async fn followed(live: &Live, uri: &str) -> (Value, Vec<Value>) {
    let begun = Instant::now();
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let answer = live.http.get(uri).send().await.expect("it answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let standing: Value = answer.json().await.expect("JSON");
        match status {
            200 => return (standing, seen),
            202 => {
                assert_eq!(headers["retry-after"], "5");
                assert_eq!(headers["location"], uri);
                seen.push(standing);
            }
            other => panic!("{other}: {standing}"),
        }
        assert!(begun.elapsed() < PATIENCE, "{seen:?}; log: {}", live.log_text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_instant(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_watched_until_it_has_completed() {
    let live = example().await;
    let begin = live.http.post(live.url("/api/start_monitoring_job"));
    let begin = begin.header("content-type", "application/json");
    let answer = begin.send().await.expect("it answers");
    assert_eq!(answer.status(), 202);
    let headers = answer.headers().clone();
    let links: Value = answer.json().await.expect("JSON");
    let id = links["id"].as_str().expect("an id");
    let base = live.url(&format!("/runtime/webhooks/durabletask/instances/{id}"));
    assert_eq!(links["statusQueryGetUri"], format!("{base}?taskHub=default"));
    assert_eq!(
        links["sendEventPostUri"],
        format!("{base}/raiseEvent/{{eventName}}?taskHub=default")
    );
    assert_eq!(
        links["terminatePostUri"],
        format!("{base}/terminate?reason={{text}}&taskHub=default")
    );
    assert_eq!(links["purgeHistoryDeleteUri"], format!("{base}?taskHub=default"));
    assert_eq!(headers["location"], links["statusQueryGetUri"].as_str().expect("a link"));
    assert_eq!(headers["retry-after"], "10");

    let uri = links["statusQueryGetUri"].as_str().expect("a link");
    let first: Value = live.http.get(uri).send().await.unwrap().json().await.unwrap();
    let expected = [
        "name",
        "instanceId",
        "runtimeStatus",
        "input",
        "customStatus",
        "output",
        "createdTime",
        "lastUpdatedTime",
    ];
    assert_eq!(members(&first), expected);
    assert_eq!(first["name"], "monitoring_job_orchestrator");
    assert_eq!(first["instanceId"], id);
    assert_eq!(first["runtimeStatus"], "Running");
    let job = first["input"]["job_id"].as_str().expect("a job id").to_owned();
    let input = json!({ "job_id": job, "polling_interval_seconds": 5, "timeout_seconds": 30 });
    assert_eq!(first["input"], input);
    let told = &first["customStatus"];
    assert_eq!(members(told), ["job_id", "status", "check_count", "last_check_time"]);
    assert_eq!(told["job_id"], job);
    assert!(told["check_count"].as_i64().is_some_and(|count| count >= 1), "{told}");
    assert!(
        ["Unknown", "Running"].contains(&told["status"].as_str().unwrap_or_default()),
        "{told}"
    );
    assert!(is_instant(&told["last_check_time"]), "{told}");
    assert_eq!(first["output"], Value::Null);
    for time in ["createdTime", "lastUpdatedTime"] {
        let text = first[time].as_str().expect("a time");
        assert!(is_instant(&first[time]) && text.len() == 20, "{text}");
    }

    let (last, seen) = followed(&live, uri).await;
    let statuses: Vec<&str> =
        seen.iter().filter_map(|it| it["customStatus"]["status"].as_str()).collect();
    assert!(statuses.contains(&"Running"), "{statuses:?}");
    assert_eq!(last["runtimeStatus"], "Completed");
    let output = &last["output"];
    let expected = ["job_id", "final_status", "checks_performed", "monitoring_duration_seconds"];
    assert_eq!(members(output), expected);
    assert_eq!(output["job_id"], job);
    assert_eq!(
        (&output["final_status"], &output["checks_performed"]),
        (&json!("Completed"), &json!(4))
    );
    let seconds = output["monitoring_duration_seconds"].as_f64().expect("a number");
    assert!(seconds >= 15.0, "three intervals of five seconds lie between four checks: {seconds}");
    assert_eq!(last["customStatus"]["status"], "Completed");
    assert_eq!(last["customStatus"]["check_count"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_known_name_can_be_asked_for_and_runs_out_of_time() {
    let live = example().await;
    let wish = json!({
        "job_id": "my-custom-job-123", "polling_interval_seconds": 1, "timeout_seconds": 2,
    });
    let (status, links) =
        live.ask(Method::POST, "/api/start_monitoring_job", wish.to_string()).await;
    assert_eq!(status, 202, "{links}");
    let job = live.get("/api/job_status/my-custom-job-123").await;
    let expected =
        ["job_id", "status", "progress_percent", "estimated_completion", "last_updated", "details"];
    assert_eq!(members(&job), expected);
    assert_eq!(job["job_id"], "my-custom-job-123");
    assert!(["Unknown", "Running"].contains(&job["status"].as_str().unwrap_or_default()), "{job}");
    assert!(job["progress_percent"].as_i64().is_some_and(|it| (0..=100).contains(&it)), "{job}");
    assert!(is_instant(&job["estimated_completion"]) && is_instant(&job["last_updated"]), "{job}");
    assert!(job["details"].as_str().is_some_and(|it| it.starts_with("Processing batch")), "{job}");

    let uri = links["statusQueryGetUri"].as_str().expect("a link");
    let (last, _) = followed(&live, uri).await;
    assert_eq!(last["input"], wish);
    let output = &last["output"];
    assert_eq!(output["final_status"], "Timeout");
    assert_eq!(output["job_id"], wish["job_id"]);
    // Two, unless the machine is so busy that an interval takes the whole time.
    assert!(
        output["checks_performed"].as_i64().is_some_and(|it| (1..=2).contains(&it)),
        "{output}"
    );
    assert!(output["monitoring_duration_seconds"].as_f64().is_some_and(|it| it >= 2.0), "{output}");

    let (status, answer) = live.ask(Method::GET, "/api/job_status/nobody", "").await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("not-found")), "{answer}");
    let (status, _) = live.ask(Method::DELETE, "/api/job_status/nobody", "").await;
    assert_eq!(status, 405);
    let (status, answer) = live.ask(Method::POST, "/api/start_monitoring_job", "[1]").await;
    assert_eq!(status, 400, "{answer}");
}

/// A script of the example, told where the server is.
fn script(python: &OsStr, name: &str, live: &Live) -> Command {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring-pattern");
    let mut command = Command::new(python);
    command.arg(folder.join("python").join(name));
    command.env("ENDPOINT", live.url("")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_pattern_runs_as_code_on_the_official_sdk() {
    let Some(python) = prepared(PYTHON) else { return };
    let live = example().await;
    let mut worker = script(&python, "worker.py", &live);
    let _worker = Running(worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    for (arguments, status) in
        [(["my-job", "0.2", "60"], "Completed"), (["my-job", "1", "1"], "Timeout")]
    {
        let mut client = script(&python, "client.py", &live);
        client.args(arguments);
        let ran = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{complaint}\n{}", live.log_text());
        let output: Value = serde_json::from_slice(&ran.stdout).expect("the output is JSON");
        let expected =
            ["job_id", "final_status", "checks_performed", "monitoring_duration_seconds"];
        assert_eq!(members(&output), expected);
        assert_eq!(
            (&output["job_id"], &output["final_status"]),
            (&json!("my-job"), &json!(status))
        );
        assert!(
            complaint.contains("\"check_count\": 1"),
            "the custom status is shown: {complaint}"
        );
    }
    // The HTTP API sees what the SDK has started.
    let all = live.get("/runtime/webhooks/durabletask/instances?runtimeStatus=Completed").await;
    let all = all.as_array().expect("a list").clone();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().all(|it| it["name"] == "monitoring_job_orchestrator"), "{all:?}");
    assert_eq!(all[0]["output"]["final_status"], "Timeout");
    assert_eq!(all[1]["customStatus"]["status"], "Completed");
}
