//! Silences through Alertmanager's API.
//!
//! What is made with a monitor's key holds for that monitor alone, whatever its matchers say, and only
//! that can be expired with it.

use std::sync::Arc;

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use engine::monitors::Inbound;
use kernel::Timestamp;
use kernel::access::Need;
use kernel::alert::LabelMatcher;
use kernel::alert::definition::{Matcher, Recurring, Silence};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::alertmanager::{matchers, readable};
use super::{Opened, Refused, SHOWN_MAX, instant, small};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Path, RawBody, RawQuery};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Proof, routes!(silences, put_silence))
        .on(Need::Proof, routes!(silence, expire_silence))
}

/// Matchers in one silence.
const MATCHERS_MAX: usize = 50;
/// Bytes of a comment, and of an id.
const COMMENT_MAX: usize = 1000;
const ID_MAX: usize = 100;
/// Milliseconds from now within which a silence ends.
const ENDS_WITHIN: i64 = 366 * 24 * 3_600_000;

/// Checks that who has the key may silence.
fn writable(inbound: &Inbound) -> Result<(), Problem> {
    if inbound.may_silence {
        return Ok(());
    }
    let message = "this key does not let anybody silence alerts";
    Err(Problem::new(StatusCode::FORBIDDEN, "inbound-silence-off", message).with_hint(format!(
        "To let who has it silence what the monitor {} receives, write allow: [read, silence] there; \
         or use `nightbell silence`.",
        inbound.monitor
    )))
}

/// The matcher that keeps a silence to one monitor.
fn of_monitor(inbound: &Inbound) -> Matcher {
    let values = vec![inbound.monitor.clone()];
    Matcher { label: "monitor".into(), values, negated: false }
}

/// Whether a silence was made with a key of this monitor. Its matchers say nothing of that: people make
/// silences for one monitor, too.
fn is_own(silence: &Silence, inbound: &Inbound) -> bool {
    silence.origin.as_ref() == Some(&inbound.monitor)
}

/// The silences that may concern a monitor, those of files among them.
fn all(engine: &Engine, inbound: &Inbound) -> Vec<Silence> {
    let of_files = engine.monitors_file().silences;
    let concerns = |it: &Silence| {
        let of_monitor = it.matchers.iter().filter(|it| *it.label == *"monitor");
        of_monitor.into_iter().all(|it| it.matches(&inbound.monitor))
    };
    engine.silences().into_iter().chain(of_files).filter(concerns).collect()
}

/// A silence as Alertmanager shows it; `None` if it comes again and again and is not in force.
fn shown(silence: &Silence, inbound: &Inbound, now: Timestamp) -> Option<Value> {
    let in_force = silence.when.in_force_until(now);
    let (starts, ends, state) = match &silence.when {
        Recurring::Once { from, to } => {
            let to = to.unwrap_or(Timestamp::MAX);
            let state = if in_force.is_some() {
                "active"
            } else if to <= now {
                "expired"
            } else {
                "pending"
            };
            (*from, to, state)
        }
        Recurring::Weekly { .. } => (now, in_force?, "active"),
    };
    let own = of_monitor(inbound);
    let matchers = silence.matchers.iter().filter(|it| **it != own).map(LabelMatcher::of);
    let mut matchers: Vec<Value> = matchers
        .map(|it| {
            json!({ "name": it.name, "value": it.value, "isRegex": it.is_regex,
                "isEqual": it.is_equal })
        })
        .collect();
    if matchers.is_empty() {
        // Of the whole monitor: there must be one.
        let all = json!({ "name": "alertname", "value": ".*", "isRegex": true, "isEqual": true });
        matchers.push(all);
    }
    // Who made a silence elsewhere, and why, is nothing for other systems.
    let said = |text: &Option<Arc<str>>| match text {
        Some(text) if is_own(silence, inbound) => text.to_string(),
        _ => String::new(),
    };
    Some(json!({
        "id": silence.id,
        "status": { "state": state },
        "matchers": matchers,
        "startsAt": starts.to_string(),
        "endsAt": ends.to_string(),
        "updatedAt": starts.to_string(),
        "createdBy": said(&silence.by),
        "comment": said(&silence.comment),
    }))
}

/// Lists the silences that match the monitor.
#[utoipa::path(
    operation_id = "inbound_silences", get, path = "/inbound/{key}/api/v2/silences", tag = "inbound",
    params(
        ("key" = String, Path, description = "The key of a monitor of the kind alerts"),
        ("filter" = Option<Vec<String>>, Query,
            description = "Only those that have these matchers"),
    ),
    responses(
        (status = 200, description = "The silences", body = Vec<serde_json::Value>),
        (status = 400, description = "A filter is invalid"),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn silences(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    RawQuery(query): RawQuery,
) -> Result<AsJson<Vec<Value>>, Refused> {
    readable(&inbound)?;
    let filters = matchers(&query)?;
    let now = api.engine.now();
    // Those that have each of these matchers, as in Alertmanager. What cannot be said here no silence has.
    let wanted: Vec<Option<Matcher>> = filters.iter().map(|it| it.translated().ok()).collect();
    let fits = |silence: &Silence| {
        let has = |wanted: &Option<Matcher>| {
            wanted.as_ref().is_some_and(|it| silence.matchers.contains(it))
        };
        wanted.iter().all(has)
    };
    let all = all(&api.engine, &inbound);
    let shown = all.iter().filter(|it| fits(it)).filter_map(|it| shown(it, &inbound, now));
    Ok(AsJson(shown.collect()))
}

/// Creates a silence, or updates the one with its id.
#[utoipa::path(
    operation_id = "inbound_put_silence", post, path = "/inbound/{key}/api/v2/silences", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "Its id", body = serde_json::Value),
        (status = 400, description = "Invalid, or not supported here; the response says why"),
        (status = 403, description = "The key does not allow silences"),
        (status = 404, description = "No monitor has this key, or no such silence"),
        (status = 409, description = "Too many silences were made with this monitor's keys"),
    )
)]
async fn put_silence(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    RawBody(body): RawBody,
) -> Result<AsJson<Value>, Refused> {
    writable(&inbound)?;
    let body = small(&body)?;
    let now = api.engine.now();
    let mut silence = read(&body, &inbound, now).map_err(|why| {
        Problem::new(StatusCode::BAD_REQUEST, "silence-invalid", why)
            .with_hint("`nightbell silence add` makes silences of other kinds")
    })?;
    match body["id"].as_str().filter(|id| !id.is_empty()) {
        None => silence.id = Engine::new_id().as_str().into(),
        Some(id) => {
            let known = own(&api, &inbound, id).ok_or_else(|| unknown(id))?;
            if known.when.is_over(now) {
                // Whoever has it open while it ends makes another.
                silence.id = Engine::new_id().as_str().into();
            } else {
                silence.id = known.id;
                if let (Recurring::Once { from, .. }, Recurring::Once { from: since, .. }) =
                    (&mut silence.when, known.when)
                    && *from == now
                {
                    *from = since.min(now);
                }
            }
        }
    }
    let id = silence.id.clone();
    tracing::info!(monitor = %inbound.monitor, silence = %id, by = silence.by.as_deref(),
        "a silence was made with the key of a monitor");
    api.engine.put_silence(silence).await?;
    Ok(AsJson(json!({ "silenceID": id })))
}

/// A silence that was made with a key of this monitor.
fn own(api: &Api, inbound: &Inbound, id: &str) -> Option<Silence> {
    let known = api.engine.silences().into_iter().find(|it| *it.id == *id);
    known.filter(|it| is_own(it, inbound))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(ID_MAX).collect();
    Problem::not_found(format!("there is no silence {shown} that was made with this key"))
}

fn read(body: &Value, inbound: &Inbound, now: Timestamp) -> Result<Silence, String> {
    let matchers = body["matchers"].as_array().map_or(&[][..], Vec::as_slice);
    if matchers.is_empty() || matchers.len() > MATCHERS_MAX {
        let count = matchers.len();
        return Err(format!("a silence has 1 to {MATCHERS_MAX} matchers, not {count}"));
    }
    let mut translated = vec![of_monitor(inbound)];
    for matcher in matchers {
        translated.push(matcher_of(matcher)?.translated()?);
    }
    if translated[1..].iter().all(|it| it.matches("")) {
        return Err("at least one matcher must not fit the empty text".to_owned());
    }
    let starts = instant(&body["startsAt"], "startsAt")?.unwrap_or(now).max(now);
    let ends = instant(&body["endsAt"], "endsAt")?.ok_or("a silence needs endsAt")?;
    if ends <= starts {
        return Err("endsAt must be later than startsAt and than now".to_owned());
    }
    if ends > now.plus_millis(ENDS_WITHIN) {
        return Err("endsAt is more than a year (366 days) away".to_owned());
    }
    let text = |name: &str, max: usize| {
        let text: String = body[name].as_str()?.trim().chars().take(max).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    // Who changes one sends back whom it was shown.
    let key = format!(" (key of {})", inbound.monitor);
    let by = text("createdBy", SHOWN_MAX).map(|by| by.trim_end_matches(&key).to_owned());
    let by = by.filter(|by| !by.is_empty()).unwrap_or_else(|| "somebody".to_owned());
    Ok(Silence {
        id: "".into(),
        matchers: translated,
        when: Recurring::Once { from: starts, to: Some(ends) },
        by: Some(format!("{by}{key}").into()),
        comment: text("comment", COMMENT_MAX).map(Into::into),
        origin: Some(inbound.monitor.clone()),
    })
}

fn matcher_of(matcher: &Value) -> Result<LabelMatcher, String> {
    let text = |name: &str| {
        matcher[name].as_str().ok_or_else(|| format!("a matcher needs the text {name}"))
    };
    let flag = |name: &str, absent: bool| matcher[name].as_bool().unwrap_or(absent);
    let name = text("name")?;
    if name.is_empty() {
        return Err("a matcher needs a name".to_owned());
    }
    Ok(LabelMatcher {
        name: name.to_owned(),
        value: text("value")?.to_owned(),
        is_regex: flag("isRegex", false),
        is_equal: flag("isEqual", true),
    })
}

/// Shows a silence.
#[utoipa::path(
    operation_id = "inbound_silence", get, path = "/inbound/{key}/api/v2/silence/{id}", tag = "inbound",
    params(
        ("key" = String, Path, description = "The key of a monitor of the kind alerts"),
        ("id" = String, Path, description = "The id of the silence"),
    ),
    responses(
        (status = 200, description = "The silence", body = serde_json::Value),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No such id, or no monitor has this key"),
    )
)]
async fn silence(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    Path(path): Path<(String, String)>,
) -> Result<AsJson<Value>, Refused> {
    let (_, id) = path;
    readable(&inbound)?;
    let all = all(&api.engine, &inbound);
    let found = all.iter().find(|it| *it.id == *id);
    let shown = found.and_then(|it| shown(it, &inbound, api.engine.now()));
    Ok(AsJson(shown.ok_or_else(|| unknown(&id))?))
}

/// Expires a silence.
#[utoipa::path(
    operation_id = "inbound_expire_silence", delete, path = "/inbound/{key}/api/v2/silence/{id}",
    tag = "inbound",
    params(
        ("key" = String, Path, description = "The key of a monitor of the kind alerts"),
        ("id" = String, Path, description = "The id of the silence"),
    ),
    responses(
        (status = 200, description = "Ended"),
        (status = 403, description = "The key does not allow silences"),
        (status = 404, description = "No silence of this id was made with this key"),
    )
)]
async fn expire_silence(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, Refused> {
    let (_, id) = path;
    writable(&inbound)?;
    let mut silence = own(&api, &inbound, &id).ok_or_else(|| unknown(&id))?;
    let now = api.engine.now();
    if silence.when.is_over(now) {
        return Ok(StatusCode::OK);
    }
    tracing::info!(monitor = %inbound.monitor, silence = id,
        "a silence was ended with the key of a monitor");
    // It is shown for a while, and whoever wants it again has what it said.
    let from = match &silence.when {
        Recurring::Once { from, .. } => (*from).min(now),
        Recurring::Weekly { .. } => now,
    };
    silence.when = Recurring::Once { from, to: Some(now) };
    api.engine.put_silence(silence).await?;
    Ok(StatusCode::OK)
}
