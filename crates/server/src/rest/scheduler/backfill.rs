//! `/api/scheduler/schedules/{name}/backfill`: runs for instants of the past.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use engine::search::{PAGE_MAX, RecordSearch};
use engine::{AnyMachine, Engine};
use kernel::graph::Status;
use kernel::schedule::{Input, Order, Schedule, Stretch};
use kernel::{ExecutionId, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use super::{flawed, read, say};
use crate::Api;
use crate::access::Actor;
use crate::problem::Problem;
use crate::rest::extract::{Path, Query};
use crate::rest::query::instant;

/// How far instants are counted before a backfill.
const COUNT_MAX: usize = 100_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    /// Start: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    from: String,
    /// End, inclusive.
    to: String,
    /// How many of its runs may be in progress at the same time; default: all.
    at_once: Option<u32>,
    /// Which planned times come first: `oldest` (the default) or `newest`.
    order: Option<String>,
    /// Which planned times to run again that have run already: `none` (the default), `failed`
    /// (those whose runs all failed) or `all`.
    redo: Option<String>,
    /// Name of the requester, for the record.
    by: Option<String>,
}

/// Which instants run that have run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redo {
    None,
    Failed,
    All,
}

impl Params {
    fn stretch(&self) -> Result<(Timestamp, Timestamp), Problem> {
        let (from, to) = (instant("from", &self.from)?, instant("to", &self.to)?);
        if from > to {
            let (message, hint) = ("'to' is before 'from'", "Exchange the two.");
            return Err(flawed("to", message.to_owned(), hint.to_owned()));
        }
        Ok((from, to))
    }

    fn redo(&self) -> Result<Redo, Problem> {
        match self.redo.as_deref() {
            None | Some("none") => Ok(Redo::None),
            Some("failed") => Ok(Redo::Failed),
            Some("all") => Ok(Redo::All),
            Some(other) => Err(choice("redo", other, "none, failed or all")),
        }
    }

    fn order(&self) -> Result<Order, Problem> {
        let Some(text) = self.order.as_deref() else { return Ok(Order::default()) };
        Order::parse(text).ok_or_else(|| choice("order", text, "oldest or newest"))
    }
}

fn choice(parameter: &str, given: &str, names: &str) -> Problem {
    flawed(parameter, format!("{parameter} cannot be {given:?}"), format!("Write {names}."))
}

/// Previews a backfill: counts the firings that it would make in a period of time.
#[utoipa::path(
    operation_id = "count_backfill",
    get, path = "/api/scheduler/schedules/{name}/backfill", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), Params),
    responses(
        (status = 200, description = "`count`, `first` and `last` of what would run, whether there are `more` than are counted, and how many are `leftOut` because they have run", body = serde_json::Value),
        (status = 400, description = "A time cannot be read, or the last is before the first"),
        (status = 404, description = "Not found"),
    )
)]
pub(super) async fn count(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let ((from, to), redo) = (params.stretch()?, params.redo()?);
    params.order()?;
    let look = |it: &Schedule| it.instants(from, to, COUNT_MAX + 1);
    let mut instants = read(&api.engine, &name, look).await?;
    let more = instants.len() > COUNT_MAX;
    instants.truncate(COUNT_MAX);
    let except = left_out(&api.engine, &name, (from, to), redo).await?;
    let all = instants.len();
    instants.retain(|at| except.binary_search(at).is_err());
    let millis = |at: Option<&Timestamp>| at.map(|at| at.millis());
    Ok(Json(json!({
        "count": instants.len(), "more": more, "leftOut": all - instants.len(),
        "first": millis(instants.first()), "last": millis(instants.last()),
    })))
}

/// Backfills a schedule: fires it for every planned time of a past period, whatever its overlap
/// policy.
///
/// Its progress is stored with the schedule: a restarted server continues where it was, and each
/// planned time fires once.
#[utoipa::path(
    operation_id = "backfill",
    post, path = "/api/scheduler/schedules/{name}/backfill", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule"), Params),
    responses(
        (status = 200, description = "Accepted"),
        (status = 400, description = "The span contains no planned time, reaches into the future, or has run completely"),
        (status = 404, description = "Not found"),
        (status = 409, description = "Another backfill is running"),
    )
)]
pub(super) async fn begin(
    State(api): State<Api>,
    actor: Actor,
    Path(name): Path<String>,
    Query(params): Query<Params>,
) -> Result<(), Problem> {
    let ((from, to), redo, order) = (params.stretch()?, params.redo()?, params.order()?);
    let except = left_out(&api.engine, &name, (from, to), redo).await?;
    let by = actor.if_told(params.by);
    let stretch = Stretch { from, to, at_once: params.at_once, order, except, by };
    say(&api.engine, &name, Input::Backfill(stretch)).await
}

/// Stops the backfill of a schedule: no more of its runs start, and those in progress continue.
#[utoipa::path(
    operation_id = "end_backfill",
    delete, path = "/api/scheduler/schedules/{name}/backfill", tag = "scheduler",
    params(("name" = String, Path, description = "The name of the schedule")),
    responses(
        (status = 200, description = "Ended"),
        (status = 404, description = "No such schedule"),
        (status = 409, description = "No backfill is running"),
    )
)]
pub(super) async fn end(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    say(&api.engine, &name, Input::EndBackfill).await
}

/// The instants of a stretch that have their runs and do not run again, sorted.
///
/// # Errors
/// 400 if they are more than a backfill may leave out.
async fn left_out(
    engine: &Engine,
    name: &str,
    (from, to): (Timestamp, Timestamp),
    redo: Redo,
) -> Result<Vec<Timestamp>, Problem> {
    if redo == Redo::All {
        return Ok(Vec::new());
    }
    let (mut found, mut start) = (BTreeMap::new(), 0);
    loop {
        let search = RecordSearch {
            subjects: vec![name.to_owned()],
            statuses: vec!["EXECUTED".to_owned(), "POLLED".to_owned()],
            after: Some(from.plus_millis(-1)),
            before: Some(to.plus_millis(1)),
            descending: false,
            start,
            size: PAGE_MAX,
            ..RecordSearch::newest("firing")
        };
        let page = engine.store().records(&search).await?;
        for record in &page.rows {
            let stays = redo == Redo::None || !failed(engine, &record.body.parse()).await?;
            *found.entry(record.at).or_insert(false) |= stays;
        }
        if found.len() > Stretch::EXCEPT_MAX {
            let message = format!(
                "more than {} instants from {from} to {to} have run already",
                Stretch::EXCEPT_MAX
            );
            let hint = "Fill the stretch in parts, or run all of them again: redo=all.";
            return Err(flawed("redo", message, hint.to_owned()));
        }
        start += PAGE_MAX;
        if start >= page.total {
            let stay = found.into_iter().filter(|(_, stays)| *stays);
            return Ok(stay.map(|(at, _)| at).collect());
        }
    }
}

/// Whether the run of a firing has ended otherwise than as planned. What is no longer kept has not.
async fn failed(engine: &Engine, firing: &Value) -> Result<bool, Problem> {
    let Some(run) = firing["workflowId"].as_str() else { return Ok(false) };
    let status = engine.look(&ExecutionId::new(run), AnyMachine::status).await?;
    Ok(matches!(status, Some(Status::Failed | Status::TimedOut | Status::Terminated)))
}
