//! `/api/workflow/facets` and `/api/workflow/stuck`: how many runs there are of each status, name and
//! reason, from what the store and the queues keep count of.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::search::{COUNTED_MAX, Counting, Filter, Search, TextField};
use engine::{Engine, Hour, StuckGroup};
use kernel::access::Permission;
use kernel::graph::Status;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::Query;
use super::query::{self, Question};
use super::why::blocked_words;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// Names and reasons that are told.
const VALUES_MAX: usize = 20;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(workflow_facets))
        .on(Permission::Read, routes!(stuck_workflows))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
struct FacetParams {
    /// Conditions, as in a search.
    query: Option<String>,
    /// Words that must all be found; `*` is everything.
    free_text: Option<String>,
    /// `workflow` (the default), `orchestration`, or both separated by a comma.
    classifier: Option<String>,
    /// Also return in `hour` how many were started in each of the last so many hours, at most 48.
    hours: Option<u32>,
}

/// Counts executions by status, by name and by what they wait for, among those that a search
/// matches.
#[utoipa::path(
    get, path = "/api/workflow/facets", tag = "workflow", params(FacetParams),
    responses(
        (status = 200, description = "`status`, `name` and `reason`: values, each with `count`, and `exact` \
            unless there are more; `hour` if it was asked for", body = serde_json::Value),
        (status = 400, description = "A condition is invalid"),
    )
)]
async fn workflow_facets(
    State(api): State<Api>,
    Query(params): Query<FacetParams>,
) -> Result<Json<Value>, Problem> {
    let question = Question {
        query: params.query.as_deref(),
        free_text: params.free_text.as_deref(),
        classifier: params.classifier.as_deref(),
        size: 1,
        ..Question::default()
    };
    let search = query::search(&question)?;
    let tallied = api.engine.store().tally(&search).await?;
    let (mut status, mut name) = (Vec::new(), Vec::new());
    match tallied {
        Some(tallied) => {
            let (mut by_status, mut by_name) = (BTreeMap::new(), BTreeMap::new());
            let is_exact = tallied.is_exact;
            for (name, status, count) in tallied.counts {
                *by_status.entry(status).or_insert(0) += count;
                *by_name.entry(name).or_insert(0) += count;
            }
            let by_status = by_status.into_iter();
            status.extend(by_status.map(|(value, count)| facet(&value, count, is_exact)));
            let mut names: Vec<_> = by_name.into_iter().collect();
            names.sort_by(|(one, most), (other, more)| more.cmp(most).then_with(|| one.cmp(other)));
            let names = names.into_iter().take(VALUES_MAX);
            name.extend(names.map(|(value, count)| facet(&value, count, is_exact)));
        }
        None => {
            for value in Status::ALL.map(Status::as_str) {
                let of = Filter::In(TextField::Status, vec![value.to_owned()]);
                let (count, is_exact) = count(&api.engine, &search, of).await?;
                status.extend((count > 0).then(|| facet(value, count, is_exact)));
            }
        }
    }
    let mut reason = Vec::new();
    for group in api.engine.queues().stuck(api.engine.now()).iter().take(VALUES_MAX) {
        let (count, _) = count(&api.engine, &search, in_group(group)).await?;
        if count > 0 {
            let mut shown = facet(group.blocked.code(), count, !group.has_more);
            shown["queue"] = json!(group.queue);
            reason.push(shown);
        }
    }
    let mut told = json!({ "status": status, "name": name, "reason": reason });
    if let Some(hours) = params.hours {
        let hours = api.engine.hourly(&search, hours).await?;
        let hour = |it: &Hour| json!({ "from": it.from.millis(), "count": it.count, "exact": it.is_exact });
        told["hour"] = hours.iter().map(hour).collect();
    }
    Ok(Json(told))
}

fn facet(value: &str, count: u64, is_exact: bool) -> Value {
    json!({ "value": value, "count": count, "exact": is_exact })
}

/// The runs of a stuck group as a condition.
fn in_group(group: &StuckGroup) -> Filter {
    let ids = group.runs.iter().map(|id| id.as_str().to_owned());
    Filter::In(TextField::Id, ids.collect())
}

/// How many executions match with one condition more, and whether these are all.
async fn count(engine: &Engine, search: &Search, filter: Filter) -> Result<(u64, bool), Problem> {
    let mut search = Search { size: 1, counting: Counting::Far, ..search.clone() };
    search.filters.push(filter);
    let total = engine.store().search(&search).await?.total;
    Ok((total.min(COUNTED_MAX), search.is_counted() || total < COUNTED_MAX))
}

/// Lists the queues and limits at which runs wait: the reason, how many, and since when.
#[utoipa::path(
    get, path = "/api/workflow/stuck", tag = "workflow",
    responses((status = 200, description = "The groups, the largest first", body = Vec<serde_json::Value>))
)]
async fn stuck_workflows(State(api): State<Api>) -> Json<Vec<Value>> {
    let groups = api.engine.queues().stuck(api.engine.now());
    Json(groups.iter().map(shown).collect())
}

fn shown(group: &StuckGroup) -> Value {
    let (reason, sentence) = blocked_words(&group.blocked, &group.queue);
    json!({
        "reason": reason, "queue": group.queue, "sentence": sentence, "tasks": group.tasks,
        "runs": group.runs.len(), "exact": !group.has_more,
        "oldest": group.oldest.map(kernel::Timestamp::millis),
        "workflowIds": group.runs.iter().take(VALUES_MAX).collect::<Vec<_>>(),
    })
}
