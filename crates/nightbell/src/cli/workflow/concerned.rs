//! Whom a definition concerns that has just been replaced: runs that are under way with the former one, and
//! schedules that start it.

use serde_json::Value;

use crate::cli::client::{Answer, Client};
use crate::cli::failure::Failure;
use crate::cli::output::clean;

/// Definitions of one command that are asked about; of a whole folder `nightbell plan` tells, before.
pub(super) const ASKED_MAX: usize = 10;
/// Schedules that are named.
const NAMED_MAX: usize = 3;

/// In a few words, to be put behind what was done; nothing if it concerns none, or the server does not say.
pub(super) async fn by(definition: &Value, client: &Client) -> String {
    let Some(name) = definition["name"].as_str() else { return String::new() };
    let version = definition["version"].as_i64().unwrap_or(1);
    let query =
        format!("workflowType='{name}' AND version={version} AND status IN (RUNNING,PAUSED)");
    let runs = client.get(&["workflow", "search"]).query("size", 1).query("query", query);
    let runs = answered(runs.send().await).map_or(0, |it| it["totalHits"].as_u64().unwrap_or(0));
    let schedules = client.get(&["scheduler", "schedules"]).query("workflowName", name);
    let schedules = answered(schedules.send().await).unwrap_or_default();
    let schedules: Vec<String> = schedules
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str().map(clean))
        .collect();
    let keep = if runs == 1 { "keeps" } else { "keep" };
    let of_runs = (runs > 0).then(|| format!("; {runs} under way {keep} the definition before"));
    let of_schedules = (!schedules.is_empty()).then(|| {
        let more = match schedules.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<&str> = schedules.iter().take(NAMED_MAX).map(String::as_str).collect();
        format!("; started by the schedules {}{more}", named.join(", "))
    });
    of_runs.into_iter().chain(of_schedules).collect()
}

/// What was answered. The definition is in force whatever this says: a refusal is no news.
fn answered(answer: Result<Answer, Failure>) -> Option<Value> {
    answer.ok()?.value().ok()
}
