//! `/hooks/{receiver}`: a provider that keeps alerts of its own tells what people did about them
//! there, so that an acknowledgement on somebody's phone stops reminders and steps here; and Slack, Lark and
//! Twilio tell who answered a message.
//!
//! Only actions of people count. A provider also tells of what integrations do, our own calls among
//! them: heard late, the echo of an end would end what has begun since. What changes nothing (an
//! incident that is none of ours, a repetition, any other event) is answered with 200 and why, or
//! the provider would send it again and in the end switch the webhook off.

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use engine::Engine;
use engine::search::{PAGE_MAX, RecordSearch};
use kernel::access::Need;
use kernel::alert::{Input, ProviderAction, ProviderEvent, State as IncidentState};
use kernel::{ExecutionId, Record, Rejected, Timestamp};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::pressed;
use super::receive::doubted;
use super::verify::{self, Doubt, Request};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{Path, RawBody, parse};

pub(super) fn routes() -> Routes {
    Routes::new().on(Need::Proof, routes!(hear))
}

/// The setting of a receiver that holds the secret, or several while one takes the place of another.
const SECRET: &str = "webhook_secret";
/// Characters of a name or a note that are kept.
const WORDS_MAX: usize = 200;
/// Milliseconds by which a provider's clock may be ahead of ours.
const AHEAD_MAX: i64 = 24 * 3_600_000;

/// Providers whose webhooks are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    /// V3 webhooks, signed.
    PagerDuty,
    /// Opsgenie's, and those of Jira Service Management, which bear a secret in a header.
    Opsgenie,
    /// Buttons in messages, signed by the app.
    Slack,
    /// Keys pressed during a call, signed by the account's token.
    Twilio,
    /// Buttons in the cards of an app, with the app's verification token.
    Lark,
}

/// A receiver that listens.
struct Listener {
    name: String,
    provider: Provider,
    secrets: Vec<String>,
    /// Its alerts have a key for each hour.
    hourly: bool,
}

/// What a provider says.
enum Said {
    Done(Done),
    /// Nothing that concerns us, and why.
    Nothing(String),
}

struct Done {
    deed: ProviderAction,
    /// The provider's key of the alert.
    key: String,
    who: Option<String>,
    why: Option<String>,
    at: Timestamp,
}

/// Receives changes of an incident from a provider (acknowledged, unacknowledged, resolved),
/// pressed buttons from Slack and Lark, and pressed keys from Twilio.
#[utoipa::path(
    post, path = "/hooks/{receiver}", tag = "incidents", request_body = serde_json::Value,
    params(("receiver" = String, Path, description = "The name of the receiver")),
    responses(
        (status = 200, description = "`taken`, with the incident, or the reason why nothing changes",
            body = serde_json::Value),
        (status = 400, description = "The body is not a webhook of this provider"),
        (status = 401, description = "The sender did not authenticate"),
        (status = 403, description = "The sender's authentication is wrong"),
        (status = 404, description = "No receiver of this name has a `webhook_secret`"),
        (status = 503, description = "The secret is missing, or the store is unavailable"),
    )
)]
async fn hear(
    State(api): State<Api>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let listener = listener(&api.engine, &name)?;
    let now = api.engine.now();
    let request = Request { headers: &headers, body: &body, now: now.millis().div_euclid(1000) };
    let secrets = &listener.secrets;
    let said = match listener.provider {
        Provider::Slack => return pressed::slack(&api.engine, &request, secrets).await,
        Provider::Twilio => {
            let address = api.settings.public_url.as_deref();
            return pressed::twilio(&api.engine, &request, secrets, address, &uri).await;
        }
        Provider::Lark => return pressed::lark(&api.engine, &body, secrets).await,
        Provider::PagerDuty => {
            verify::pagerduty(&request, secrets).map_err(doubted)?;
            pagerduty(&parse(&body)?)?
        }
        Provider::Opsgenie => {
            verify::bearer(&request, secrets).map_err(doubted)?;
            opsgenie(&parse(&body)?, now)?
        }
    };
    let done = match said {
        Said::Done(done) => done,
        Said::Nothing(why) => return Ok(AsJson(nothing(&why)).into_response()),
    };
    if done.at > now.plus_millis(AHEAD_MAX) {
        let message = format!("it was done at {}, which is to come", done.at);
        return Err(Problem::bad_request(message));
    }
    take(&api.engine, &listener, done).await.map(|told| AsJson(told).into_response())
}

fn nothing(why: &str) -> Value {
    json!({ "taken": false, "why": why })
}

/// The receiver that listens under a name.
fn listener(engine: &Engine, name: &str) -> Result<Listener, Problem> {
    let none = || {
        let shown: String = name.chars().take(WORDS_MAX).collect();
        Problem::not_found(format!("no receiver {shown} takes webhooks")).with_hint(
            "A receiver takes them that is pagerduty, opsgenie, jsm, slack, lark or feishu, with \
             webhook_secret, or twilio.",
        )
    };
    let receiver = engine.defined_receiver(name).ok_or_else(none)?;
    let provider = match &*receiver.kind {
        "pagerduty" => Provider::PagerDuty,
        "opsgenie" | "jsm" => Provider::Opsgenie,
        "slack" => Provider::Slack,
        "twilio" => Provider::Twilio,
        "lark" | "feishu" => Provider::Lark,
        _ => return Err(none()),
    };
    let settings = receiver.settings.parse();
    let setting = if provider == Provider::Twilio { "token" } else { SECRET };
    let written: Vec<&str> = match settings.get(setting) {
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => Vec::new(),
    };
    if written.is_empty() {
        return Err(none());
    }
    let secrets: Vec<String> = written.iter().filter_map(|it| engine.setting(it)).collect();
    if secrets.is_empty() {
        let why = format!("there is no value for {setting} of the receiver {name}");
        return Err(doubted(Doubt::Unusable(why)));
    }
    let hourly = settings.get("incident_key").and_then(Value::as_str) == Some("hour");
    Ok(Listener { name: name.to_owned(), provider, secrets, hourly })
}

/// A text of the provider's, unless it is empty.
pub(super) fn words(value: &Value) -> Option<String> {
    let text: String = value.as_str()?.trim().chars().take(WORDS_MAX).collect();
    Some(text).filter(|text| !text.is_empty())
}

/// A webhook of `PagerDuty`'s, version 3.
fn pagerduty(payload: &Value) -> Result<Said, Problem> {
    let event = &payload["event"];
    let Some(kind) = event["event_type"].as_str() else {
        let message = "there is no event.event_type";
        return Err(Problem::bad_request(message).with_hint("Only V3 webhooks are understood."));
    };
    let deed = match kind {
        "pagey.ping" => return Ok(Said::Nothing("pong".to_owned())),
        "incident.acknowledged" => ProviderAction::Acknowledge,
        "incident.unacknowledged" => ProviderAction::Unacknowledge,
        "incident.resolved" => ProviderAction::Resolve,
        other => {
            let other: String = other.chars().take(WORDS_MAX).collect();
            return Ok(Said::Nothing(format!("{other} changes nothing here")));
        }
    };
    let (agent, data) = (&event["agent"], &event["data"]);
    let person = agent["type"].as_str() == Some("user_reference");
    // That nobody takes care any more is what a clock finds, too.
    if !person && deed != ProviderAction::Unacknowledge {
        return Ok(Said::Nothing(format!("{kind} counts only if a person did it")));
    }
    let Some(key) = words(&data["incident_key"]) else {
        return Ok(Said::Nothing("the incident has no incident_key".to_owned()));
    };
    let at = event["occurred_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let at = at.ok_or_else(|| Problem::bad_request("event.occurred_at is not a time"))?;
    let merged = data["resolve_reason"]["type"].as_str() == Some("merge_resolve_reason");
    let (deed, why) = match deed {
        // It goes on as another incident, whose key is not this one's.
        ProviderAction::Resolve if merged => {
            (ProviderAction::Acknowledge, Some("merged into another incident".to_owned()))
        }
        deed => (deed, None),
    };
    let who = words(&agent["summary"]).or_else(|| words(&agent["id"]));
    Ok(Said::Done(Done { deed, key, who, why, at: at.into() }))
}

/// A webhook of Opsgenie's, or of Jira Service Management's.
fn opsgenie(payload: &Value, now: Timestamp) -> Result<Said, Problem> {
    let alert = &payload["alert"];
    let Some(action) = payload["action"].as_str() else {
        return Err(Problem::bad_request("there is no action"));
    };
    let deed = match action {
        "Acknowledge" => ProviderAction::Acknowledge,
        "UnAcknowledge" => ProviderAction::Unacknowledge,
        "Close" => ProviderAction::Resolve,
        other => {
            let other: String = other.chars().take(WORDS_MAX).collect();
            return Ok(Said::Nothing(format!("{other} changes nothing here")));
        }
    };
    let source = payload["source"]["type"].as_str().unwrap_or_default().to_ascii_lowercase();
    let machine = ["api", "integration", "system"].contains(&source.as_str());
    if machine && deed != ProviderAction::Unacknowledge {
        return Ok(Said::Nothing(format!("{action} counts only if a person did it")));
    }
    let Some(key) = words(&alert["alias"]) else {
        return Ok(Said::Nothing("the alert has no alias".to_owned()));
    };
    let at = match alert["updatedAt"].as_i64() {
        Some(at) => Timestamp::from_millis(millis(at)),
        None => now,
    };
    let (who, why) = (words(&alert["username"]), words(&alert["note"]));
    Ok(Said::Done(Done { deed, key, who, why, at }))
}

/// Milliseconds since 1970, also where they are written as nanoseconds.
fn millis(number: i64) -> i64 {
    // As milliseconds, this is the year 5138.
    const MILLIS_MAX: i64 = 100_000_000_000_000;
    if number > MILLIS_MAX { number / 1_000_000 } else { number }
}

/// Lets the monitor hear it, and tells what came of it.
async fn take(engine: &Engine, listener: &Listener, done: Done) -> Result<Value, Problem> {
    let Some(record) = incident(engine, &done.key, listener.hourly).await? else {
        return Ok(nothing("no incident is open under this key"));
    };
    let monitor = ExecutionId::monitor(&record.subject);
    let heard = ProviderEvent {
        incident: record.key.clone(),
        receiver: listener.name.as_str().into(),
        deed: done.deed,
        who: done.who.map(Into::into),
        why: done.why.map(Into::into),
        at: done.at,
        // Whoever did it there sees it there.
        told_there: false,
    };
    match engine.step(&monitor, Input::ProviderEvent(heard)).await {
        Ok(()) => {}
        Err(engine::Error::Rejected(rejected @ (Rejected::Stale(_) | Rejected::Unknown(_)))) => {
            return Ok(nothing(&rejected.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    let state = match done.deed {
        ProviderAction::Acknowledge => IncidentState::Acknowledged,
        ProviderAction::Unacknowledge => IncidentState::Open,
        ProviderAction::Resolve => IncidentState::Resolved,
    };
    tracing::info!(receiver = listener.name, incident = %record.key, state = state.as_str(),
        "incident changed by its provider");
    Ok(json!({ "taken": true, "incident": record.key, "state": state }))
}

/// The incident that is open under a provider's key.
async fn incident(engine: &Engine, key: &str, hourly: bool) -> Result<Option<Record>, Problem> {
    let mut search = RecordSearch {
        statuses: ["open", "acknowledged", "snoozed"].map(str::to_owned).to_vec(),
        size: PAGE_MAX,
        ..RecordSearch::newest("incident")
    };
    let of_hour = if hourly { without_hour(key) } else { None };
    loop {
        let page = engine.store().records(&search).await?;
        let size = page.rows.len() as u64;
        let found = page.rows.into_iter().find(|record| {
            let body = record.body.parse();
            let own = body["key"].as_str().unwrap_or_default();
            let named = |name: &str| name.strip_prefix(&*record.subject) == Some(own);
            body["fingerprint"].as_str() == Some(key) || of_hour.is_some_and(named)
        });
        search.start += size;
        if found.is_some() || size == 0 || search.start >= page.total {
            return Ok(found);
        }
    }
}

/// What stands before the hour in a key such as `NAME-20260131-08`.
fn without_hour(key: &str) -> Option<&str> {
    const HOUR: usize = "-20260131-08".len();
    let (name, hour) = key.split_at_checked(key.len().checked_sub(HOUR)?)?;
    let fits = hour.bytes().enumerate().all(|(at, byte)| match at {
        0 | 9 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    fits.then_some(name)
}
