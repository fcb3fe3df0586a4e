//! `/api/incidents`: what is wrong, what was, and what people do about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use engine::search::RecordSearch;
use kernel::access::Permission;
use kernel::alert::definition::parse_span;
use kernel::alert::{Input, Monitor, explain, since_then};
use kernel::{Record, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::super::extract::{Body, Path, Query};
use super::super::query::instant;
use super::wanted::{Wanted, WantedParams, comma_separated};
use super::{incident_of, judgement, page_size, say, view};
use crate::Api;
use crate::access::{Actor, Routes, Why};
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(list))
        .on(Permission::Read, routes!(show))
        .on(Permission::Read, routes!(why))
        .on(Permission::Respond, routes!(acknowledge))
        .on(Permission::Respond, routes!(unacknowledge))
        .on(Permission::Respond, routes!(snooze))
        .on(Permission::Respond, routes!(resolve))
        .on(Permission::Respond, routes!(resend))
        .on(Permission::Respond, routes!(escalate))
        .on(Permission::Respond, routes!(note))
}

/// States in which an incident is not over.
const OPEN: [&str; 3] = ["open", "acknowledged", "snoozed"];

#[derive(Debug, Deserialize, IntoParams)]
struct ListParams {
    /// Only incidents in these states, separated by commas: `open`, `acknowledged`, `snoozed`,
    /// `resolved`, or `all`. Default: all but resolved ones.
    state: Option<String>,
    /// Only incidents of these monitors, separated by commas.
    monitor: Option<String>,
    /// Only those opened later: milliseconds since 1970, or a time such as 2026-01-31T08:00:00Z.
    after: Option<String>,
    /// Only those opened earlier.
    before: Option<String>,
    /// Include `history`: what happened to each incident, and what people did.
    history: Option<bool>,
    /// Incidents to skip.
    start: Option<u64>,
    /// Incidents to return; 100 by default.
    size: Option<u64>,
}

/// Incidents that are looked through where the ledger alone does not tell which are wanted.
const LOOKED_THROUGH_MAX: u64 = 5000;

/// Lists incidents, newest first.
#[utoipa::path(
    operation_id = "list_incidents", get, path = "/api/incidents", tag = "incidents",
    params(ListParams, WantedParams),
    responses((status = 200, description = "`totalHits` and a page of `results`; `exact` is false if more \
        than the newest 5,000 would have to be looked through", body = serde_json::Value))
)]
async fn list(
    State(api): State<Api>,
    Query(params): Query<ListParams>,
    Query(wanted): Query<WantedParams>,
) -> Result<Json<Value>, Problem> {
    let statuses = match &comma_separated(params.state)[..] {
        [] => OPEN.map(str::to_owned).to_vec(),
        [all] if all == "all" => Vec::new(),
        states => states.to_vec(),
    };
    let at = |name, text: Option<String>| text.map(|text| instant(name, &text)).transpose();
    let search = RecordSearch {
        subjects: comma_separated(params.monitor),
        statuses,
        after: at("after", params.after)?,
        before: at("before", params.before)?,
        start: params.start.unwrap_or(0),
        size: page_size(params.size)?,
        ..RecordSearch::newest("incident")
    };
    let shown =
        if params.history == Some(true) { view::incident_with_history } else { view::incident };
    if let Some(wanted) = Wanted::read(&api, wanted).await? {
        return some(&api, search, &wanted, shown).await;
    }
    let page = api.engine.store().records(&search).await?;
    let mut results = Vec::new();
    for record in &page.rows {
        results.push(present(&api, record, shown).await?);
    }
    Ok(Json(json!({ "totalHits": page.total, "exact": true, "results": results })))
}

/// A page of those that are wanted among what the ledger finds.
async fn some(
    api: &Api,
    search: RecordSearch,
    wanted: &Wanted,
    shown: Shown,
) -> Result<Json<Value>, Problem> {
    let (start, size) = (search.start, search.size);
    let search = RecordSearch { start: 0, size: LOOKED_THROUGH_MAX, ..search };
    let page = api.engine.store().records(&search).await?;
    let (mut total, mut results) = (0, Vec::new());
    for record in &page.rows {
        // Most are told apart without a look at their monitor.
        if !wanted.may_fit(&view::line(record)) {
            continue;
        }
        let shown = present(api, record, shown).await?;
        if !wanted.fits(&shown) {
            continue;
        }
        if total >= start && (results.len() as u64) < size {
            results.push(shown);
        }
        total += 1;
    }
    let is_exact = page.total <= LOOKED_THROUGH_MAX;
    Ok(Json(json!({ "totalHits": total, "exact": is_exact, "results": results })))
}

/// How an incident that its monitor remembers is shown.
type Shown = fn(&Monitor, &kernel::alert::Incident) -> Value;

/// An incident as it stands, or as the ledger knows it if its monitor has forgotten it.
async fn present(api: &Api, record: &Record, shown: Shown) -> Result<Value, Problem> {
    let live = |monitor: &Monitor| Some(shown(monitor, monitor.incident(&record.key)?));
    let id = kernel::ExecutionId::monitor(&record.subject);
    let look = |hosted: &engine::AnyMachine| hosted.monitor().and_then(live);
    Ok(match api.engine.look(&id, look).await?.flatten() {
        Some(live) => live,
        None => view::line(record),
    })
}

/// Shows an incident.
#[utoipa::path(
    operation_id = "show_incident", get, path = "/api/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let record = incident_of(&api, &id).await?;
    let mut shown = present(&api, &record, view::whole_incident).await?;
    shown["judged"] = judgement::of(&api, &record.key).await?;
    Ok(Json(shown))
}

/// Explains an incident: the check, step, row, rule and definition behind it, what changed since it
/// was last ok, every delivery, what it waits for, and where the traces of its checks are.
#[utoipa::path(
    get, path = "/api/incidents/{id}/explain", tag = "incidents",
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The explanation", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn why(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let record = incident_of(&api, &id).await?;
    let id = record.key.to_string();
    let source = api.engine.source_of_monitor(&record.subject);
    let told = |hosted: &engine::AnyMachine| {
        let monitor = hosted.monitor()?;
        let mut told = view::camel(json!(explain(monitor, &id)?));
        told["monitor"] = monitor.name().into();
        let origin = monitor.spec.as_ref().and_then(|it| it.monitor.origin.clone());
        told["origin"] = json!(view::origin(source.as_deref(), origin.as_deref()));
        Some(told)
    };
    let monitor = kernel::ExecutionId::monitor(&record.subject);
    let differences = differences(&api, &monitor, &id).await?;
    let mut told = match api.engine.look(&monitor, told).await?.flatten() {
        Some(told) => told,
        // It is long over: the ledger is all there is.
        None => json!({ "monitor": record.subject, "incident": view::line(&record) }),
    };
    for check in ["cause", "latest", "previousOk"] {
        let Some(run) = told[check]["execution"].as_str().map(kernel::ExecutionId::new) else {
            continue;
        };
        // What cannot be read now is no reason not to explain the rest.
        if let Ok(Some(url)) = api.engine.trace_url(&run).await {
            told[check]["traceUrl"] = url.into();
        }
    }
    if let Some(changed) = told["changed"].as_array_mut() {
        changed.extend(differences.into_iter().map(Value::from));
    }
    let ledger = RecordSearch {
        subjects: vec![record.subject.to_string()],
        size: 1000,
        ..RecordSearch::newest("delivery")
    };
    let lines = api.engine.store().records(&ledger).await?.rows;
    let about = lines.iter().map(view::line).filter(|line| {
        line["incidents"].as_array().is_some_and(|ids| ids.contains(&json!(id)))
            || line["incident"] == json!(id)
    });
    told["deliveries"] = about.collect();
    told["judged"] = judgement::of(&api, &id).await?;
    Ok(Json(told))
}

/// What differs in what was seen since the last check in which it was well, as far as that check is
/// kept.
async fn differences(
    api: &Api,
    monitor: &kernel::ExecutionId,
    id: &str,
) -> Result<Vec<String>, Problem> {
    let ok = |hosted: &engine::AnyMachine| {
        hosted.monitor()?.incident(id)?.previous_ok.as_ref()?.execution.clone()
    };
    let Some(ok) = api.engine.look(monitor, ok).await?.flatten() else { return Ok(Vec::new()) };
    let Some(returned) = api.engine.read(&ok, |it| it.output.clone()).await? else {
        return Ok(Vec::new());
    };
    let compare = |hosted: &engine::AnyMachine| {
        let monitor = hosted.monitor()?;
        Some(since_then(monitor, monitor.incident(id)?, &returned))
    };
    Ok(api.engine.look(monitor, compare).await?.flatten().unwrap_or_default())
}

/// Who does something, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
struct ProviderAction {
    /// Who.
    who: Option<String>,
    /// Why.
    why: Option<String>,
    /// Acknowledge: remains acknowledged even if it gets worse.
    until_clear: bool,
    /// Snooze: until then, in milliseconds since 1970 or as a time.
    until: Option<Value>,
    /// Snooze: duration, such as `2h`.
    #[serde(rename = "for")]
    length: Option<String>,
}

impl ProviderAction {
    /// Who acts: with access control the one who asks, whatever is said here.
    fn who(&self, actor: &Actor) -> Arc<str> {
        actor.or_told(self.who.as_deref())
    }

    fn why(&self, said: &Why) -> Option<Arc<str>> {
        said.note(self.why.as_deref());
        self.why.as_deref().map(Arc::from)
    }

    fn end(&self, now: Timestamp) -> Result<Timestamp, Problem> {
        match (&self.until, &self.length) {
            (Some(Value::Number(millis)), None) => millis
                .as_i64()
                .map(Timestamp::from_millis)
                .ok_or_else(|| Problem::bad_request("'until' is not a time in milliseconds")),
            (Some(Value::String(text)), None) => instant("until", text),
            (None, Some(length)) => parse_span(length)
                .map(|millis| now.plus_millis(millis))
                .map_err(|error| Problem::bad_request(format!("'for': {error}"))),
            _ => {
                Err(Problem::bad_request("a snooze needs either 'until' or 'for', such as \"2h\""))
            }
        }
    }
}

/// Lets an incident's monitor hear something, and shows what became of the incident.
async fn act(
    api: &Api,
    id: &str,
    input: impl FnOnce(Arc<str>) -> Input,
) -> Result<Json<Value>, Problem> {
    let record = incident_of(api, id).await?;
    say(api, &record.subject, input(record.key.clone())).await?;
    let record = incident_of(api, &record.key).await?;
    present(api, &record, view::incident).await.map(Json)
}

/// Acknowledges an incident: reminders and escalation stop.
#[utoipa::path(
    post, path = "/api/incidents/{id}/acknowledge", tag = "incidents", request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "It is acknowledged already, or has ended"),
    )
)]
async fn acknowledge(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let deed = deed.unwrap_or_default();
    let (who, why, until_clear) = (deed.who(&actor), deed.why(&said), deed.until_clear);
    act(&api, &id, |incident| Input::Acknowledge { incident, who, why, until_clear }).await
}

/// Unacknowledges an incident: it is open again, and is escalated as before.
#[utoipa::path(
    post, path = "/api/incidents/{id}/unacknowledge", tag = "incidents", request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "It is not acknowledged"),
    )
)]
async fn unacknowledge(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let deed = deed.unwrap_or_default();
    let (who, why) = (deed.who(&actor), deed.why(&said));
    act(&api, &id, |incident| Input::Unacknowledge { incident, who, why }).await
}

/// Snoozes an incident: no notifications until the snooze ends.
#[utoipa::path(
    post, path = "/api/incidents/{id}/snooze", tag = "incidents", request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 400, description = "The end is missing or has passed"),
        (status = 404, description = "Not found"),
        (status = 409, description = "It has ended"),
    )
)]
async fn snooze(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let deed = deed.unwrap_or_default();
    let (who, why, until) = (deed.who(&actor), deed.why(&said), deed.end(api.engine.now())?);
    act(&api, &id, |incident| Input::Snooze { incident, until, who, why }).await
}

/// Resolves an incident manually.
#[utoipa::path(
    post, path = "/api/incidents/{id}/resolve", tag = "incidents", request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "It has ended"),
    )
)]
async fn resolve(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let deed = deed.unwrap_or_default();
    let (who, why) = (deed.who(&actor), deed.why(&said));
    act(&api, &id, |incident| Input::Resolve { incident, who, why }).await
}

/// Resends the dead deliveries of an incident that still matter, to all receivers that did not
/// accept them.
#[utoipa::path(
    operation_id = "resend_incident", post, path = "/api/incidents/{id}/resend", tag = "incidents",
    request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "It has no dead delivery that could be resent"),
    )
)]
async fn resend(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let who = Some(deed.unwrap_or_default().who(&actor));
    act(&api, &id, |incident| Input::Resend { incident: Some(incident), receiver: None, who }).await
}

/// Escalates an incident: notifies the next step of its route now, whatever its delay and even if
/// it is acknowledged.
#[utoipa::path(
    operation_id = "escalate_incident", post, path = "/api/incidents/{id}/escalate", tag = "incidents",
    request_body = ProviderAction,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident", body = serde_json::Value),
        (status = 404, description = "Not found"),
        (status = 409, description = "Everybody on its route was told, or nobody is told at all: it is over, \
            snoozed, silenced, or what it depends on is down"),
    )
)]
async fn escalate(
    State(api): State<Api>,
    actor: Actor,
    said: Why,
    Path(id): Path<String>,
    Body(deed): Body<Option<ProviderAction>>,
) -> Result<Json<Value>, Problem> {
    let deed = deed.unwrap_or_default();
    let (who, why) = (deed.who(&actor), deed.why(&said));
    act(&api, &id, |incident| Input::Escalate { incident, who, why }).await
}

/// What others should know of an incident.
#[derive(Debug, Deserialize, ToSchema)]
struct IncidentNote {
    /// The note; at most 2000 bytes.
    text: String,
    /// Who writes it.
    #[serde(default)]
    who: Option<String>,
}

/// Adds a note to the history of an incident, open or ended. Sends no notification.
#[utoipa::path(
    operation_id = "note_incident", post, path = "/api/incidents/{id}/note", tag = "incidents",
    request_body = IncidentNote,
    params(("id" = String, Path, description = "The id of the incident")),
    responses(
        (status = 200, description = "The incident with its history", body = serde_json::Value),
        (status = 400, description = "The note is empty or too long"),
        (status = 404, description = "No such id, or its monitor no longer keeps it"),
    )
)]
async fn note(
    State(api): State<Api>,
    actor: Actor,
    Path(id): Path<String>,
    Body(note): Body<IncidentNote>,
) -> Result<Json<Value>, Problem> {
    let (who, text) = (actor.or_told(note.who.as_deref()), Arc::from(note.text));
    let record = incident_of(&api, &id).await?;
    let incident = record.key.clone();
    say(&api, &record.subject, Input::Note { incident, who, text }).await?;
    present(&api, &record, view::whole_incident).await.map(Json)
}
