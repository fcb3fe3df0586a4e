//! The alerting example, whole: its folder loaded by the real binary, its schedules fired, and
//! stand-ins for every service it speaks to, in good times and bad.

use std::path::Path;

use serde_json::{Value, json};

use crate::dev::alerting::{CLIENT_SECRET, ROUTING_KEY, Services};
use crate::example::{self, PATIENCE};
use crate::live::Live;

const KEY: &str = "endpoint_scan/orders";

struct Alerting {
    live: Live,
    services: Services,
    _folder: tempfile::TempDir,
}

impl Alerting {
    /// A server with the example and its secrets.
    async fn start() -> Self {
        let services = Services::default();
        let url = services.start().await.expect("a free port");
        let addresses = [
            ("https://orders.example.com", url.as_str()),
            ("https://login.example.com", &url),
            ("https://events.pagerduty.com", &url),
        ];
        let folder = example::copy("endpoint-scan-pagerduty", &addresses);
        let load = folder.path().to_str().unwrap().to_owned();
        let live = Live::start(&["--load", &load, "--log-level", "debug"]).await;
        let secrets =
            [("ENDPOINT_CLIENT_SECRET", CLIENT_SECRET), ("PAGERDUTY_ROUTING_KEY", ROUTING_KEY)];
        example::keep(&live, &secrets).await;
        Self { live, services, _folder: folder }
    }

    /// Fires a schedule and answers the run, ended.
    async fn fire(&self, schedule: &str) -> Value {
        example::fire(&self.live, schedule).await
    }

    /// Fires a schedule, whose run must succeed, and answers its output.
    async fn output(&self, schedule: &str) -> Value {
        let run = self.fire(schedule).await;
        assert_eq!(run["status"], "COMPLETED", "{schedule}: {}", run["reasonForIncompletion"]);
        run["output"].clone()
    }

    /// No answer, log line or stored byte has a secret in it.
    async fn tells_no_secret(mut self) {
        let mut answers = Vec::new();
        let page = self.live.get("/api/workflow/search?size=100").await;
        for found in page["results"].as_array().unwrap() {
            let id = found["workflowId"].as_str().unwrap();
            let run = self.live.get(&format!("/api/workflow/{id}")).await;
            answers.extend(run["tasks"].as_array().unwrap().iter().map(Value::to_string));
            answers.push(run.to_string());
        }
        assert!(answers.len() > 10, "there was little to look through");
        answers.push(page.to_string());
        for path in ["/api/secrets", "/api/scheduler/schedules", "/api/tasks/search?size=100"] {
            answers.push(self.live.get(path).await.to_string());
        }
        answers.push(self.live.log_text());
        self.live.stop().await;
        let folder = self.live.store().parent().map(Path::to_owned).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            answers.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        let mut secrets = self.services.tokens();
        secrets.extend([CLIENT_SECRET.to_owned(), ROUTING_KEY.to_owned()]);
        for secret in &secrets {
            let shown = answers.iter().find(|answer| answer.contains(secret));
            assert!(shown.is_none(), "{secret} is shown in {shown:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_rings_while_there_are_failures_and_is_resolved_after() {
    let alerting = Alerting::start().await;
    let services = &alerting.services;

    // Nothing in the window: nothing is said. The first token is fetched on the way.
    services.fail_at(&[45]);
    let output = alerting.output("endpoint-scan").await;
    assert_eq!((&output["situation"], &output["count"]), (&json!("quiet"), &json!(0)));
    assert_eq!(services.refusals(), [401], "there was no token yet");
    assert_eq!(services.events(), [] as [Value; 0]);
    let window = services.last_window();
    let minutes = window.to.duration_since(window.from).as_mins();
    assert_eq!(minutes, 20, "the window and as much before it: {window:?}");

    // Two failures are one alert, however often it is seen.
    services.fail_at(&[3, 4, 45]);
    for _ in 0..2 {
        assert_eq!(alerting.output("endpoint-scan").await["count"], 2);
        let [event] = services.events().try_into().expect("one event");
        assert_eq!((&event["event_action"], &event["dedup_key"]), (&json!("trigger"), &json!(KEY)));
        assert_eq!(event["payload"]["summary"], "orders: 2 failures in the last 10 minutes");
        assert_eq!(event["payload"]["custom_details"]["first"][0]["message"], "payment lost");
        assert_eq!(services.open(), [KEY]);
    }
    assert_eq!(services.refusals(), [] as [u16; 0]);

    // Left the window, and still in the one before: it is over.
    services.fail_at(&[13]);
    assert_eq!(alerting.output("endpoint-scan").await["situation"], "resolve");
    let [event] = services.events().try_into().expect("one event");
    assert_eq!((&event["event_action"], &event["dedup_key"]), (&json!("resolve"), &json!(KEY)));
    assert_eq!(services.open(), [] as [String; 0]);
    alerting.tells_no_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_on_the_way_is_tried_again_or_told() {
    let alerting = Alerting::start().await;
    let services = &alerting.services;
    assert_eq!(alerting.output("refresh-endpoint-token").await, json!({ "expires_in": 3600 }));
    let exists = alerting.live.get("/api/secrets/ENDPOINT_TOKEN/exists").await;
    assert_eq!(exists, true);

    // The token expires before its time, the endpoint stumbles, PagerDuty is busy and then broken.
    services.expire();
    services.fail_at(&[2]);
    services.endpoint_answers(&[500]);
    services.pagerduty_answers(&[429, 500]);
    assert_eq!(alerting.output("endpoint-scan").await["situation"], "trigger");
    assert_eq!(services.refusals(), [500, 401, 429, 500]);
    assert_eq!(services.tokens().len(), 2, "one was fetched in between");
    let [event] = services.events().try_into().expect("one trigger");
    assert_eq!(event["dedup_key"], KEY);

    // What PagerDuty finds invalid would be invalid again: it is told, not repeated.
    let schedule = alerting.live.get("/api/scheduler/schedules/endpoint-scan").await;
    let mut wrong = schedule["startWorkflowRequest"].clone();
    wrong["input"]["severity"] = "dreadful".into();
    let id = alerting.live.post("/api/workflow", &wrong).await;
    let run = alerting.live.ended(id.as_str().unwrap(), PATIENCE).await;
    assert_eq!(run["status"], "FAILED");
    let reason = run["reasonForIncompletion"].as_str().unwrap();
    let words = "PagerDuty refused the event: Event object is invalid: 'payload.severity'";
    assert!(reason.contains(words), "{reason}");
    assert_eq!(services.refusals(), [400]);

    // A door that stays shut is no clean window.
    services.endpoint_answers(&[401, 401]);
    let run = alerting.fire("endpoint-scan").await;
    assert_eq!(run["status"], "FAILED");
    let reason = run["reasonForIncompletion"].as_str().unwrap();
    assert!(reason.contains("refuses even a fresh token"), "{reason}");
    assert_eq!(services.events(), [] as [Value; 0]);
    alerting.tells_no_secret().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchers_are_watched_too() {
    let mut alerting = Alerting::start().await;
    let services = alerting.services.clone();
    let output = alerting.output("failed-workflows").await;
    assert_eq!((&output["situation"], &output["count"]), (&json!("quiet"), &json!(0)));
    assert_eq!(services.events(), [] as [Value; 0]);

    // The scan cannot run at all: that is no clean window, and somebody hears of it.
    services.endpoint_answers(&[500; 4]);
    assert_eq!(alerting.fire("endpoint-scan").await["status"], "FAILED");
    assert_eq!(services.refusals(), [500; 4], "the retries of its task definition");
    for _ in 0..2 {
        assert_eq!(alerting.output("failed-workflows").await["count"], 1);
        let [event] = services.events().try_into().expect("one event");
        assert_eq!(event["dedup_key"], "failed_workflows");
        let summary = "failed workflows in the last 10 minutes: 1, such as endpoint_scan";
        assert_eq!(event["payload"]["summary"], summary);
        let newest = &event["payload"]["custom_details"]["newest"][0];
        assert!(newest["reason"].as_str().unwrap().contains("500"), "{newest}");
        let link = event["links"][0]["href"].as_str().unwrap();
        assert!(link.contains("/api/workflow/search"), "{link}");
    }
    assert_eq!(services.open(), ["failed_workflows"]);

    // What was resumed stays so, though the file that is loaded again says paused.
    let path = "/api/scheduler/schedules/refresh-endpoint-token";
    assert_eq!(alerting.live.get(path).await["paused"], true);
    let resumed = alerting.live.http.put(alerting.live.url(&format!("{path}/resume")));
    assert!(resumed.send().await.unwrap().status().is_success());
    alerting.live.kill();
    alerting.live.launch().await;
    assert_eq!(alerting.live.get(path).await["paused"], false);
    alerting.tells_no_secret().await;
}

/// The definitions of Orkes' tutorial on alerting with `PagerDuty`, with the placeholder for the
/// pager's address filled in as the tutorial asks.
fn tutorial(pager: &str) -> Value {
    let failing = json!({
        "name": "seed_failure", "version": 1, "schemaVersion": 2,
        "tasks": [{
            "name": "force_error", "taskReferenceName": "force_error", "type": "INLINE",
            "inputParameters": {
                "evaluatorType": "graaljs",
                "expression": "(function(){ throw new Error('Intentional failure'); })();"
            }
        }]
    });
    let alerting = json!({
        "name": "alert_workflow", "version": 1, "schemaVersion": 2,
        "inputParameters": ["nowMinusStartMinutes", "nowMinusEndMinutes"],
        "tasks": [
            {
                "name": "query_failures", "taskReferenceName": "query_failures",
                "type": "QUERY_PROCESSOR",
                "inputParameters": {
                    "queryType": "CONDUCTOR_API",
                    "workflowNames": ["seed_failure"],
                    "statuses": ["FAILED"],
                    "startTimeFrom": "${workflow.input.nowMinusStartMinutes}",
                    "startTimeTo": "${workflow.input.nowMinusEndMinutes}",
                    "endTimeFrom": 0,
                    "endTimeTo": 0,
                    "freeText": ""
                }
            },
            {
                "name": "has_failure_workflows", "taskReferenceName": "has_failure_workflows",
                "type": "SWITCH",
                "inputParameters": { "resultCount": "${query_failures.output.result.count}" },
                "evaluatorType": "graaljs",
                "expression": "(function () { const count = Number($.resultCount || 0); return count > 0 ? \"true\" : \"false\"; })();",
                "decisionCases": { "true": [{
                    "name": "trigger_pagerduty", "taskReferenceName": "trigger_pagerduty",
                    "type": "HTTP",
                    "inputParameters": {
                        "uri": pager,
                        "method": "POST",
                        "contentType": "application/json",
                        "body": {
                            "routing_key": "${workflow.secrets.orkes_pagerduty_integration_key}",
                            "event_action": "trigger",
                            "dedup_key": "failures:${query_failures.input.workflowNames[0]}:${workflow.input.nowMinusStartMinutes}m",
                            "payload": {
                                "summary": "Workflow failures detected",
                                "severity": "critical",
                                "source": "orkes-conductor",
                                "component": "workflow-monitor",
                                "group": "conductor",
                                "class": "workflow_failure",
                                "custom_details": {
                                    "failedWorkflows": "${query_failures.output.result.count}",
                                    "viewInConductor": "${query_failures.output.listUrl}",
                                    "timeWindow": "now-${workflow.input.nowMinusStartMinutes}m → now-${workflow.input.nowMinusEndMinutes}m",
                                    "executionId": "${workflow.workflowId}"
                                }
                            }
                        }
                    }
                }] },
                "defaultCase": [{
                    "name": "no_alert", "taskReferenceName": "no_alert", "type": "INLINE",
                    "inputParameters": {
                        "evaluatorType": "graaljs",
                        "expression": "(function(){ return { message: 'No failures found' }; })();"
                    }
                }]
            }
        ]
    });
    json!([failing, alerting])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_alerting_tutorial_rings() {
    let services = Services::default();
    let url = services.start().await.expect("a free port");
    let live = Live::start(&[]).await;
    example::keep(&live, &[("orkes_pagerduty_integration_key", ROUTING_KEY)]).await;
    let definitions = tutorial(&format!("{url}/v2/enqueue")).to_string();
    let (status, answer) =
        live.ask(reqwest::Method::PUT, "/api/metadata/workflow", definitions).await;
    assert_eq!(status, 200, "{answer}");
    let run = async |name: &str| {
        let input = json!({ "nowMinusStartMinutes": "60", "nowMinusEndMinutes": "0" });
        let asked = json!({ "name": name, "input": input });
        let id = live.post("/api/workflow", &asked).await;
        live.ended(id.as_str().unwrap(), PATIENCE).await
    };

    // Nothing has failed yet.
    let quiet = run("alert_workflow").await;
    assert_eq!(quiet["status"], "COMPLETED", "{}", quiet["reasonForIncompletion"]);
    assert_eq!(quiet["output"]["result"]["message"], "No failures found");
    assert_eq!(services.events(), [] as [Value; 0]);

    assert_eq!(run("seed_failure").await["status"], "FAILED");
    let alerted = run("alert_workflow").await;
    assert_eq!(alerted["status"], "COMPLETED", "{}", alerted["reasonForIncompletion"]);
    let [event] = services.events().try_into().expect("one page");
    assert_eq!(event["routing_key"], ROUTING_KEY);
    assert_eq!(event["dedup_key"], "failures:seed_failure:60m");
    let details = &event["payload"]["custom_details"];
    assert_eq!(details["failedWorkflows"], 1);
    assert_eq!(details["timeWindow"], "now-60m → now-0m");
    assert!(details["viewInConductor"].as_str().unwrap().contains("/api/workflow/search"));
    assert_eq!(details["executionId"], alerted["workflowId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_rings_too_and_has_the_night_ready() {
    let mut live = Live::tour().await;
    let ringing = async {
        loop {
            let query = "workflowType=pagerduty_event AND status=COMPLETED";
            let query = query.replace(' ', "%20").replace('=', "%3D");
            let found = live.get(&format!("/api/workflow/search?query={query}")).await;
            if let Some(run) = found["results"][0]["workflowId"].as_str() {
                return live.get(&format!("/api/workflow/{run}")).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let run = tokio::time::timeout(PATIENCE, ringing).await.expect("it rings");
    assert_eq!(run["input"]["summary"], "orders: 2 failures in the last 10 minutes");
    let schedules = live.get("/api/scheduler/schedules").await;
    let paused = |name: &str| {
        let schedules = schedules.as_array().unwrap();
        let found = schedules.iter().find(|schedule| schedule["name"] == name);
        found.expect("it is there")["paused"].clone()
    };
    assert_eq!(paused("endpoint-scan"), json!(false));
    assert_eq!(paused("github-stars-nightly"), json!(true), "only midnight wakes it");
    let night =
        live.post("/api/scheduler/schedules/github-stars-nightly/trigger", &json!({})).await;
    let id = night["workflowId"].as_str().unwrap();
    // The run is named once the firing is on record, a moment before it begins.
    let path = format!("/api/workflow/{id}?includeTasks=false");
    let begins = async {
        while live.ask(reqwest::Method::GET, &path, "").await.0 == 404 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begins).await.expect("the run begins");
    let night = live.ended(id, 3 * PATIENCE).await;
    assert_eq!(night["status"], "COMPLETED", "{}", night["reasonForIncompletion"]);
    assert_eq!(night["output"]["unread"], json!([]));
    live.stop().await;
}
