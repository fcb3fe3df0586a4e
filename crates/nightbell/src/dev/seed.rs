//! The examples, aimed at stand-ins: the ETL as the three requests that register and start it, the
//! rest as files to load and secrets to keep.
//!
//! The files of the example are compiled in, so that the binary runs its tour from anywhere and the
//! tour cannot differ from what a newcomer reads in the folder.

use serde_json::{Value, json};

use super::{Options, alerting};

const WORKFLOW: &str = include_str!("../../../../examples/etl-github-orbit/workflow.json");
const TASK_DEFS: &str = include_str!("../../../../examples/etl-github-orbit/taskdefs.json");
const INPUT: &str = include_str!("../../../../examples/etl-github-orbit/input.json");

/// Bodies for the Conductor API, in the order in which to send them.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    /// For `POST /api/metadata/taskdefs`: the list of task definitions.
    pub(crate) task_defs: Value,
    /// For `POST /api/metadata/workflow`: the workflow definition.
    pub(crate) workflow: Value,
    /// For `POST /api/workflow`: what to start, with the stand-ins and their credentials as input.
    pub(crate) start: Value,
}

/// The example, aimed at stand-ins that hold what `options` says.
pub(crate) fn etl(options: &Options, github_url: &str, orbit_url: &str) -> Seed {
    let workflow = parse(WORKFLOW);
    let mut input = parse(INPUT);
    input["gh_account"] = json!(options.account);
    input["gh_repo"] = json!(options.repo);
    input["gh_token"] = json!(options.github_token);
    input["orbit_workspace"] = json!(options.workspace);
    input["orbit_apikey"] = json!(options.orbit_apikey);
    input["github_url"] = json!(github_url);
    input["orbit_url"] = json!(orbit_url);
    let start = json!({ "name": workflow["name"], "version": workflow["version"], "input": input });
    Seed { task_defs: parse(TASK_DEFS), workflow, start }
}

/// What the tour runs by the clock: files to load, and the secrets that they name.
#[derive(Clone, Debug)]
pub(crate) struct Clockwork {
    /// A path below a folder of one's own, and what stands there.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Names and values.
    pub(crate) secrets: Vec<(&'static str, String)>,
}

/// The files of an example, by their names.
macro_rules! files_of {
    ($example:literal: $($file:literal),+) => {
        [$((
            concat!($example, "/", $file),
            include_str!(concat!("../../../../examples/", $example, "/", $file)),
        )),+]
    };
}

const NIGHTLY: [(&str, &str); 2] =
    files_of!("etl-github-orbit": "repositories.json", "schedules.json");
const ALERTING: [(&str, &str); 6] = files_of!(
    "endpoint-scan-pagerduty":
    "endpoint_scan.json", "pagerduty_event.json", "refresh_endpoint_token.json",
    "failed_workflows.json", "schedules.json", "taskdefs.json"
);

/// The night's ETL of several repositories, and the alerting example with its schedules awake.
pub(crate) fn clockwork(
    options: &Options,
    github_url: &str,
    orbit_url: &str,
    alerting_url: &str,
) -> Clockwork {
    let addresses = [
        ("https://api.github.com", github_url),
        ("https://app.orbit.love/api/v1", orbit_url),
        ("https://orders.example.com", alerting_url),
        ("https://login.example.com", alerting_url),
        ("https://events.pagerduty.com", alerting_url),
    ];
    let aimed = |(name, text): &(&'static str, &str)| {
        let text = addresses
            .iter()
            .fold((*text).to_owned(), |text, (address, other)| text.replace(address, other));
        let text = if name.ends_with("/schedules.json") && ALERTING.iter().any(|(of, _)| of == name)
        {
            awake(&text)
        } else {
            text
        };
        (*name, text)
    };
    Clockwork {
        files: NIGHTLY.iter().chain(&ALERTING).map(aimed).collect(),
        secrets: vec![
            ("GITHUB_TOKEN", options.github_token.clone()),
            ("ORBIT_APIKEY", options.orbit_apikey.clone()),
            ("ENDPOINT_CLIENT_SECRET", alerting::CLIENT_SECRET.to_owned()),
            ("PAGERDUTY_ROUTING_KEY", alerting::ROUTING_KEY.to_owned()),
        ],
    }
}

/// Schedules that fire from the beginning.
fn awake(text: &str) -> String {
    let mut schedules = parse(text);
    for schedule in schedules.as_array_mut().into_iter().flatten() {
        if let Value::Object(schedule) = schedule {
            schedule.remove("paused");
            schedule.remove("pausedReason");
        }
    }
    schedules.to_string()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the example's files are JSON, as a test checks")
}
