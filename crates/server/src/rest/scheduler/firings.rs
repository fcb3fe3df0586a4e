//! `/api/scheduler/search/executions`: what schedules have started, and what not and why.

use axum::Json;
use axum::extract::State;
use engine::search::{PAGE_MAX, RecordSearch};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{Api, Problem, Query, view};
use crate::rest::query::{Condition, Operator, conditions, instant};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct SearchParams {
    /// Conditions joined by AND over `scheduleName`, `state`, `executionId`, `workflowName` (= or
    /// IN) and `scheduledTime` (=, <, <=, >, >=, BETWEEN; milliseconds since 1970).
    query: Option<String>,
    /// Words that all occur in a line; `*` is everything.
    free_text: Option<String>,
    /// `scheduledTime:ASC` or `scheduledTime:DESC`, the default.
    sort: Option<String>,
    /// Lines to skip.
    start: Option<u64>,
    /// Lines to return; 100 by default.
    size: Option<u64>,
}

/// Searches firings: what schedules have started, and what not and why.
#[utoipa::path(
    operation_id = "search_firings", get, path = "/api/scheduler/search/executions", tag = "scheduler", params(SearchParams),
    responses(
        (status = 200, description = "`totalHits` and a page of `results`", body = serde_json::Value),
        (status = 400, description = "The query is invalid; the response says what is supported"),
    )
)]
pub(super) async fn search(
    State(api): State<Api>,
    Query(params): Query<SearchParams>,
) -> Result<Json<Value>, Problem> {
    let mut question = RecordSearch {
        descending: descending(params.sort.as_deref().unwrap_or_default())?,
        ..RecordSearch::newest("firing")
    };
    let mut workflows: Option<Vec<String>> = None;
    for condition in conditions(params.query.as_deref().unwrap_or_default())? {
        narrow(&mut question, &mut workflows, condition)?;
    }
    let words: Vec<String> = params
        .free_text
        .unwrap_or_default()
        .split_whitespace()
        .filter(|word| *word != "*")
        .map(str::to_lowercase)
        .collect();
    let (start, size) = (params.start.unwrap_or(0), params.size.unwrap_or(100));
    if size > PAGE_MAX {
        let message = format!("size {size} is larger than the largest page of {PAGE_MAX}");
        return Err(Problem::bad_request(message));
    }
    let store = api.engine.store();
    if workflows.is_none() && words.is_empty() {
        let page = store.records(&RecordSearch { start, size, ..question }).await?;
        let results: Vec<Value> = page.rows.iter().map(view::firing).collect();
        return Ok(Json(json!({ "totalHits": page.total, "results": results })));
    }
    // The ledger knows no workflows and no words: it is gone through.
    let (mut total, mut results) = (0_u64, Vec::new());
    let mut at = 0;
    loop {
        let page = RecordSearch { start: at, size: PAGE_MAX, ..question.clone() };
        let page = store.records(&page).await?;
        for record in &page.rows {
            let shown = view::firing(record);
            let named = |names: &Vec<String>| {
                names.iter().any(|name| shown["workflowName"].as_str() == Some(name))
            };
            let text = if words.is_empty() { String::new() } else { shown.to_string() };
            let text = text.to_lowercase();
            if workflows.as_ref().is_none_or(named) && words.iter().all(|word| text.contains(word))
            {
                if total >= start && (results.len() as u64) < size {
                    results.push(shown);
                }
                total += 1;
            }
        }
        at += PAGE_MAX;
        if at >= page.total {
            return Ok(Json(json!({ "totalHits": total, "results": results })));
        }
    }
}

/// Adds a condition to a question.
fn narrow(
    question: &mut RecordSearch,
    workflows: &mut Option<Vec<String>>,
    condition: Condition,
) -> Result<(), Problem> {
    let Condition { field, operator, values } = condition;
    let list = match field.as_str() {
        "scheduleName" => &mut question.subjects,
        "state" => &mut question.statuses,
        "executionId" => &mut question.keys,
        "workflowName" | "workflowType" if operator == Operator::In => {
            let kept = match workflows.take() {
                Some(before) => before.into_iter().filter(|name| values.contains(name)).collect(),
                None => values,
            };
            *workflows = Some(kept);
            return Ok(());
        }
        "scheduledTime" | "startTime" => return between(question, &field, operator, &values),
        _ => return Err(unsupported(&field)),
    };
    if operator != Operator::In {
        return Err(unsupported(&field));
    }
    let both = if list.is_empty() {
        values
    } else {
        std::mem::take(list).into_iter().filter(|value| values.contains(value)).collect()
    };
    // Nothing can be two things at once; an empty list would mean anything.
    *list = if both.is_empty() { vec![String::new()] } else { both };
    Ok(())
}

fn between(
    question: &mut RecordSearch,
    field: &str,
    operator: Operator,
    values: &[String],
) -> Result<(), Problem> {
    let times: Vec<_> =
        values.iter().map(|value| instant(field, value)).collect::<Result<_, _>>()?;
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Err(unsupported(field));
    };
    let (after, before) = match operator {
        Operator::In if times.len() == 1 => {
            (Some(first.plus_millis(-1)), Some(first.plus_millis(1)))
        }
        Operator::After => (Some(*first), None),
        Operator::NotBefore => (Some(first.plus_millis(-1)), None),
        Operator::Before => (None, Some(*first)),
        Operator::NotAfter => (None, Some(first.plus_millis(1))),
        Operator::Between => (Some(first.plus_millis(-1)), Some(last.plus_millis(1))),
        Operator::In | Operator::NotIn => return Err(unsupported(field)),
    };
    if let Some(after) = after {
        question.after = Some(question.after.map_or(after, |bound| bound.max(after)));
    }
    if let Some(before) = before {
        question.before = Some(question.before.map_or(before, |bound| bound.min(before)));
    }
    Ok(())
}

fn unsupported(field: &str) -> Problem {
    Problem::bad_request(format!("the query asks '{field}' for what it cannot answer")).with_hint(
        "Write conditions joined by AND: scheduleName, state, executionId, workflowName with = or \
         IN (a, b); scheduledTime with =, <, <=, >, >= or BETWEEN a AND b.",
    )
}

fn descending(sort: &str) -> Result<bool, Problem> {
    let (field, direction) = sort.split_once(':').unwrap_or((sort, ""));
    let known = matches!(field, "" | "scheduledTime" | "startTime" | "executionTime");
    match direction.to_ascii_uppercase().as_str() {
        "DESC" if known => Ok(true),
        "" if known => Ok(field.is_empty()),
        "ASC" if known => Ok(false),
        _ => Err(Problem::bad_request(format!("cannot sort by '{sort}'"))
            .with_hint("Write scheduledTime:ASC or scheduledTime:DESC.")),
    }
}
