//! The ETL example as the three requests that register and start it.
//!
//! The files of the example are compiled in, so that the binary runs its tour from anywhere and the
//! tour cannot differ from what a newcomer reads in the folder.

use serde_json::{Value, json};

use super::Options;

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

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the example's files are JSON, as a test checks")
}
