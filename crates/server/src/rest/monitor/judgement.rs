//! What people say of incidents afterwards: that one was real or noise, and that one was missing.
//! Backtests count by it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::search::RecordSearch;
use kernel::access::Permission;
use kernel::{Record, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::super::extract::{Body, Path};
use super::super::query::instant;
use super::{incident_of, read, view};
use crate::Api;
use crate::access::{Actor, Routes, Why};
use crate::problem::Problem;

/// The ledger of judgements.
pub(super) const LEDGER: &str = "judgement";
/// Characters of a text that somebody writes.
const TEXT_MAX: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Respond, routes!(judge)).on(Permission::Respond, routes!(missed))
}

/// Whether an incident was one.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Judgement {
    /// The notification was justified.
    Real,
    /// The notification was not needed.
    Noise,
}

#[derive(Debug, Deserialize, ToSchema)]
struct Judged {
    /// `real` or `noise`.
    verdict: Judgement,
    /// Who judges.
    who: Option<String>,
    /// Why.
    why: Option<String>,
}

/// Judges an incident as real or as noise. The last judgement counts.
#[utoipa::path(
    operation_id = "judge_incident", post, path = "/api/incidents/{id}/judge", tag = "incidents",
    request_body = Judged,
    params(("id" = String, Path, description = "The id of the incident, or its dedup key")),
    responses(
        (status = 200, description = "The judgement", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn judge(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(judged): Body<Judged>,
) -> Result<Json<Value>, Problem> {
    said.note(judged.why.as_deref());
    let found = incident_of(&api, &id).await?;
    let (status, line) = (
        match judged.verdict {
            Judgement::Real => "real",
            Judgement::Noise => "noise",
        },
        found.body.parse(),
    );
    let body = json!({
        "incident": found.key, "key": line["key"], "who": actor.or_told(judged.who.as_deref()),
        "why": judged.why.as_deref().map(short), "judged_at": api.engine.now().millis(),
    });
    let place = (found.key.clone(), found.subject.clone(), found.at);
    put(&api, place, status, &body).await
}

#[derive(Debug, Deserialize, ToSchema)]
struct Missed {
    /// The key that was bad; empty for the monitor itself.
    #[serde(default)]
    key: String,
    /// Since when: milliseconds since 1970 or a time.
    from: String,
    /// Until when.
    to: String,
    /// Who judges.
    who: Option<String>,
    /// Why.
    why: Option<String>,
}

/// Records a missed outage: something was wrong and there was no incident.
#[utoipa::path(
    operation_id = "missed_incident", post, path = "/api/monitors/{name}/missed", tag = "monitors",
    request_body = Missed,
    params(("name" = String, Path, description = "The name of the monitor")),
    responses(
        (status = 200, description = "The judgement", body = serde_json::Value),
        (status = 400, description = "A time cannot be read, or the end is not after the start"),
        (status = 404, description = "No such monitor"),
    )
)]
async fn missed(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(name): Path<String>,
    Body(missed): Body<Missed>,
) -> Result<Json<Value>, Problem> {
    said.note(missed.why.as_deref());
    read(&api, &name, |_| ()).await?;
    let (from, to) = (instant("from", &missed.from)?, instant("to", &missed.to)?);
    if to <= from {
        return Err(Problem::bad_request("'to' is not after 'from'"));
    }
    let key = short(&missed.key);
    let body = json!({
        "key": key, "from": from.millis(), "to": to.millis(),
        "who": actor.or_told(missed.who.as_deref()), "why": missed.why.as_deref().map(short),
        "judged_at": api.engine.now().millis(),
    });
    let id = format!("{name}/missed/{}/{key}", from.millis()).into();
    put(&api, (id, name.as_str().into(), from), "missed", &body).await
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

async fn put(
    api: &Api,
    (key, subject, at): (Arc<str>, Arc<str>, Timestamp),
    status: &str,
    body: &Value,
) -> Result<Json<Value>, Problem> {
    let body = kernel::Json::of(body);
    let record = Record { ledger: LEDGER, key, subject, at, status: status.into(), body };
    let shown = view::line(&record);
    api.engine.store().put_records(vec![record]).await?;
    Ok(Json(shown))
}

/// What somebody said of an incident; null if nobody did.
pub(super) async fn of(api: &Api, id: &str) -> Result<Value, Problem> {
    let search = RecordSearch { keys: vec![id.to_owned()], ..RecordSearch::newest(LEDGER) };
    let found = api.engine.store().records(&search).await?;
    Ok(found.rows.first().map_or(Value::Null, |record| {
        let line = view::line(record);
        json!({ "verdict": line["status"], "who": line["who"], "why": line["why"],
            "at": line["judgedAt"] })
    }))
}
