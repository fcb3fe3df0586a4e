//! `PagerDuty`'s Events API, version 2 and 1: callers change the address and nothing else.
//!
//! Whatever key they send in the body is not looked at: the key in the path says who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::monitors::Inbound;
use kernel::access::Need;
use kernel::alert::definition::Severity;
use kernel::alert::{Alert, Input, Lease, severity_named};
use kernel::{ExecutionId, Rejected};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::{Opened, SHOWN_MAX, receive, shown, small, text};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::RawBody;

pub(super) fn routes() -> Routes {
    Routes::new().on(Need::Proof, routes!(enqueue)).on(Need::Proof, routes!(create_event))
}

/// Characters of the key of an alert.
const KEY_MAX: usize = 255;
/// Characters of a summary, and of a description of version 1.
const SUMMARY_MAX: usize = 1024;
/// Links and images that are kept.
const LINKS_MAX: usize = 10;

/// What is to become of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Trigger,
    Acknowledge,
    Resolve,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "trigger" => Self::Trigger,
            "acknowledge" => Self::Acknowledge,
            "resolve" => Self::Resolve,
            _ => return None,
        })
    }
}

/// An event.
#[derive(Debug)]
struct Event {
    action: Action,
    key: String,
    who: Option<String>,
    alert: Alert,
}

/// Receives an event of the Events API v2: trigger, acknowledge or resolve.
#[utoipa::path(
    operation_id = "inbound_enqueue", post, path = "/inbound/{key}/v2/enqueue", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 202, description = "Accepted under this `dedup_key`", body = serde_json::Value),
        (status = 400, description = "Invalid event; the response says why", body = serde_json::Value),
        (status = 404, description = "No monitor has this key"),
        (status = 413, description = "The event is larger than 512 KiB"),
        (status = 429, description = "Refused, because too many alerts are firing"),
    )
)]
async fn enqueue(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Problem>,
    RawBody(body): RawBody,
) -> Result<Response, Refused> {
    let event = read(&body, of_v2)?;
    let dedup_key = event.key.clone();
    take(&api, &inbound, event).await?;
    let told = json!({ "status": "success", "message": "Event processed", "dedup_key": dedup_key });
    Ok((StatusCode::ACCEPTED, AsJson(told)).into_response())
}

/// Receives an event of the Events API v1.
#[utoipa::path(
    operation_id = "inbound_create_event", post,
    path = "/inbound/{key}/generic/2010-04-15/create_event.json", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "Accepted under this `incident_key`",
            body = serde_json::Value),
        (status = 400, description = "Invalid event; the response says why", body = serde_json::Value),
        (status = 404, description = "No monitor has this key"),
        (status = 413, description = "The event is larger than 512 KiB"),
        (status = 429, description = "Refused, because too many alerts are firing"),
    )
)]
async fn create_event(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Problem>,
    RawBody(body): RawBody,
) -> Result<Response, Refused> {
    let event = read(&body, of_v1)?;
    let incident_key = event.key.clone();
    take(&api, &inbound, event).await?;
    let told =
        json!({ "status": "success", "message": "Event processed", "incident_key": incident_key });
    Ok(AsJson(told).into_response())
}

/// Why an event is not taken.
enum Refused {
    /// It is no event; in the words of the service.
    Event { status: &'static str, message: &'static str, errors: Vec<String> },
    /// Anything else.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Event { status, message, errors } => {
                let told = json!({ "status": status, "message": message, "errors": errors });
                (StatusCode::BAD_REQUEST, AsJson(told)).into_response()
            }
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

/// Reads an event.
///
/// # Errors
/// 413 if it is too large, 400 if it is none.
fn read(body: &[u8], of: impl Fn(&Value) -> Result<Event, Vec<String>>) -> Result<Event, Refused> {
    let event = small(body).map_err(|problem| match problem.status {
        StatusCode::BAD_REQUEST => Refused::Event {
            status: "Unrecognized object",
            message: "Event object format is unrecognized",
            errors: vec!["JSON parse error".to_owned(), problem.message],
        },
        _ => problem.into(),
    })?;
    of(&event).map_err(|errors| Refused::Event {
        status: "invalid event",
        message: "Event object is invalid",
        errors,
    })
}

/// Who an event says has acknowledged, with the key by which that came: who has the key can write any
/// name.
fn signed(client: &str, monitor: &str) -> String {
    let key = format!(" (key of {monitor})");
    let room = SHOWN_MAX.saturating_sub(key.chars().count());
    client.chars().take(room).chain(key.chars()).collect()
}

/// Lets a monitor hear an event. What changes nothing is taken all the same, as by the service.
async fn take(api: &Api, inbound: &Inbound, event: Event) -> Result<(), Problem> {
    let Event { action, who, alert, .. } = event;
    if action != Action::Acknowledge {
        return receive(api, inbound, vec![alert]).await;
    }
    let acknowledge = Input::Acknowledge {
        incident: inbound.receiving.key_of(&alert),
        who: signed(who.as_deref().unwrap_or("an event"), &inbound.monitor).into(),
        why: None,
        until_clear: false,
    };
    match api.engine.step(&ExecutionId::monitor(&inbound.monitor), acknowledge).await {
        Ok(()) | Err(engine::Error::Rejected(Rejected::Stale(_) | Rejected::Unknown(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads fields, and notes what is wrong with them.
struct Fields<'a> {
    event: &'a Value,
    errors: Vec<String>,
}

impl<'a> Fields<'a> {
    /// A text that may be absent, of so many characters at most.
    fn text(&mut self, of: &'a Value, name: &str, shown: &str, max: usize) -> Option<String> {
        match &of[name] {
            Value::Null => None,
            Value::String(text) if text.chars().count() > max => {
                self.errors.push(format!("'{shown}' is too long (maximum is {max} characters)"));
                None
            }
            Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => {
                self.errors.push(format!("'{shown}' is invalid (must be a string)"));
                None
            }
        }
    }

    /// A text that must be there.
    fn needed(&mut self, of: &'a Value, name: &str, shown: &str, max: usize) -> String {
        let errors = self.errors.len();
        let text = self.text(of, name, shown, max);
        if text.is_none() && self.errors.len() == errors {
            self.errors.push(format!("'{shown}' is missing or blank"));
        }
        text.unwrap_or_default()
    }

    fn action(&mut self, name: &str) -> Option<Action> {
        let event = self.event;
        let given = self.needed(event, name, name, SHOWN_MAX);
        let action = Action::parse(&given);
        if action.is_none() && !given.is_empty() {
            let known = "trigger, acknowledge, resolve";
            self.errors
                .push(format!("'{name}' is invalid (must be one of the following: {known})"));
        }
        action
    }

    /// The key under which an alert is known; a new one for what has none yet.
    fn key(&mut self, name: &str, action: Option<Action>) -> String {
        let event = self.event;
        match action {
            Some(Action::Trigger) => self
                .text(event, name, name, KEY_MAX)
                .unwrap_or_else(|| engine::Engine::new_id().as_str().replace('-', "")),
            _ => self.needed(event, name, name, KEY_MAX),
        }
    }

    fn done(self, event: Option<Event>) -> Result<Event, Vec<String>> {
        match event {
            Some(event) if self.errors.is_empty() => Ok(event),
            _ => Err(self.errors),
        }
    }
}

fn lease(action: Action) -> Lease {
    if action == Action::Resolve { Lease::Over } else { Lease::Open }
}

/// Reads an event of version 2.
fn of_v2(event: &Value) -> Result<Event, Vec<String>> {
    if !event.is_object() {
        return Err(vec!["the event is no JSON object".to_owned()]);
    }
    let mut fields = Fields { event, errors: Vec::new() };
    fields.needed(event, "routing_key", "routing_key", SHOWN_MAX);
    let action = fields.action("event_action");
    let key = fields.key("dedup_key", action);
    let who = fields.text(event, "client", "client", SUMMARY_MAX);
    let mut alert = Alert { key: Some(key.as_str().into()), ..Alert::default() };
    if let Some(action) = action {
        alert.lease = lease(action);
    }
    let payload = &event["payload"];
    if action == Some(Action::Trigger) {
        if payload.is_object() {
            v2_payload(&mut fields, payload, &mut alert);
        } else {
            fields.errors.push("'payload' is missing or blank".to_owned());
        }
        if let Some(url) = fields.text(event, "client_url", "client_url", SUMMARY_MAX * 2) {
            alert.annotations.insert(shown::LINK.into(), url.into());
        }
        for (name, list, address) in [("link", "links", "href"), ("image", "images", "src")] {
            let entries = event[list].as_array().map_or(&[][..], Vec::as_slice);
            let urls = entries.iter().take(LINKS_MAX).filter_map(|entry| entry[address].as_str());
            for (at, url) in urls.enumerate() {
                alert.annotations.insert(format!("{name}_{}", at + 1).into(), url.into());
            }
        }
    }
    let event = action.map(|action| Event { action, key, who, alert });
    fields.done(event)
}

fn v2_payload<'a>(fields: &mut Fields<'a>, payload: &'a Value, alert: &mut Alert) {
    let summary = fields.needed(payload, "summary", "payload.summary", SUMMARY_MAX);
    let source = fields.needed(payload, "source", "payload.source", SUMMARY_MAX);
    let severity = fields.needed(payload, "severity", "payload.severity", SHOWN_MAX);
    alert.severity = Severity::ALL.into_iter().find(|it| it.as_str() == severity);
    if alert.severity.is_none() && !severity.is_empty() {
        fields.errors.push(
            "'payload.severity' is invalid (must be one of the following: critical, warning, \
             error, info)"
                .to_owned(),
        );
    }
    alert.annotations = details(&payload["custom_details"]);
    alert.annotations.insert("summary".into(), summary.into());
    let mut labels: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    for (name, value) in [("source", source), ("severity", severity)] {
        labels.insert(name.into(), value.into());
    }
    for name in ["component", "group", "class"] {
        let shown = format!("payload.{name}");
        if let Some(value) = fields.text(payload, name, &shown, SUMMARY_MAX) {
            labels.insert(name.into(), value.into());
        }
    }
    alert.labels = labels;
}

/// What else is said, by name.
fn details(details: &Value) -> BTreeMap<Arc<str>, Arc<str>> {
    match details {
        Value::Null => BTreeMap::new(),
        Value::Object(_) => super::texts(details),
        other => [("details".into(), text(other).into())].into(),
    }
}

/// Reads an event of version 1.
fn of_v1(event: &Value) -> Result<Event, Vec<String>> {
    if !event.is_object() {
        return Err(vec!["the event is no JSON object".to_owned()]);
    }
    let mut fields = Fields { event, errors: Vec::new() };
    fields.needed(event, "service_key", "service_key", SHOWN_MAX);
    let action = fields.action("event_type");
    let key = fields.key("incident_key", action);
    let who = fields.text(event, "client", "client", SUMMARY_MAX);
    let mut alert = Alert { key: Some(key.as_str().into()), ..Alert::default() };
    if let Some(action) = action {
        alert.lease = lease(action);
    }
    if action == Some(Action::Trigger) {
        let description = fields.needed(event, "description", "description", SUMMARY_MAX);
        alert.annotations = details(&event["details"]);
        alert.severity =
            alert.annotations.get("severity").and_then(|severity| severity_named(severity));
        alert.annotations.insert("summary".into(), description.into());
        if let Some(url) = fields.text(event, "client_url", "client_url", SUMMARY_MAX * 2) {
            alert.annotations.insert(shown::LINK.into(), url.into());
        }
        alert.labels.extend(who.as_deref().map(|who| ("client".into(), who.into())));
    }
    let event = action.map(|action| Event { action, key, who, alert });
    fields.done(event)
}

#[cfg(test)]
mod tests {
    use kernel::alert::Lease;
    use kernel::alert::definition::Severity;
    use serde_json::{Value, json};

    use super::{Action, SHOWN_MAX, of_v1, of_v2, signed};

    fn trigger() -> Value {
        json!({ "routing_key": "r", "event_action": "trigger", "dedup_key": "disk/web1",
            "client": "monit", "client_url": "http://monit", "links": [{ "href": "http://x" }],
            "payload": { "summary": "disk full", "source": "web1", "severity": "error",
                "component": "disk", "custom_details": { "free": 3 } } })
    }

    #[test]
    fn who_acknowledges_is_shown_with_the_key() {
        assert_eq!(signed("ann (user:7)", "prom"), "ann (user:7) (key of prom)");
        let long = signed(&"é".repeat(SHOWN_MAX), "prom");
        assert!(long.chars().count() == SHOWN_MAX && long.ends_with("é (key of prom)"), "{long}");
    }

    #[test]
    fn a_trigger_of_version_2_is_read() {
        let event = of_v2(&trigger()).expect("an event");
        assert_eq!((event.action, &*event.key), (Action::Trigger, "disk/web1"));
        assert_eq!((event.alert.severity, event.alert.lease), (Some(Severity::Error), Lease::Open));
        let said = |name: &str| event.alert.annotations.get(name).map(ToString::to_string);
        assert_eq!((said("summary"), said("free")), (Some("disk full".into()), Some("3".into())));
        assert_eq!(said("link_1").as_deref(), Some("http://x"));
        assert_eq!(event.alert.labels.len(), 3);
        let mut fresh = trigger();
        fresh["dedup_key"] = Value::Null;
        assert_eq!(of_v2(&fresh).expect("an event").key.len(), 32);
    }

    #[test]
    fn the_errors_are_those_of_the_service() {
        let mut event = trigger();
        event["payload"]["summary"] = "x".repeat(1025).into();
        event["payload"]["severity"] = "bad".into();
        event["payload"]["source"] = Value::Null;
        event["dedup_key"] = "k".repeat(256).into();
        let errors = of_v2(&event).expect_err("it is wrong");
        assert_eq!(
            errors,
            [
                "'dedup_key' is too long (maximum is 255 characters)",
                "'payload.summary' is too long (maximum is 1024 characters)",
                "'payload.source' is missing or blank",
                "'payload.severity' is invalid (must be one of the following: critical, warning, \
             error, info)",
            ]
        );
        let errors = of_v2(&json!({ "event_action": "resolve" })).expect_err("it is wrong");
        assert_eq!(
            errors,
            ["'routing_key' is missing or blank", "'dedup_key' is missing or blank",]
        );
        assert_eq!(of_v2(&json!({})).expect_err("it is wrong").len(), 3);
        assert_eq!(of_v2(&json!([])).expect_err("it is wrong").len(), 1);
    }

    #[test]
    fn an_event_of_version_1_is_read() {
        let event = json!({ "service_key": "s", "event_type": "trigger", "incident_key": "srv01",
            "description": "FAILURE", "details": { "severity": "warning" } });
        let event = of_v1(&event).expect("an event");
        assert_eq!((&*event.key, event.alert.severity), ("srv01", Some(Severity::Warning)));
        let over = json!({ "service_key": "s", "event_type": "resolve", "incident_key": "srv01" });
        assert_eq!(of_v1(&over).expect("an event").alert.lease, Lease::Over);
        let errors = of_v1(&json!({ "service_key": "s", "event_type": "x" })).expect_err("wrong");
        assert_eq!(
            errors[0],
            "'event_type' is invalid (must be one of the following: trigger, \
            acknowledge, resolve)"
        );
    }
}
