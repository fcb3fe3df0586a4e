//! Alerts in payloads: Alertmanager's webhook, which Grafana sends as well, the formatted webhook of
//! Grafana `OnCall`, and any JSON that a program of the monitor makes alerts of.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use kernel::access::Need;
use kernel::alert::definition::Severity;
use kernel::alert::{Alert, Lease, STARTS, Status, severity_named};
use kernel::{Json, Scripts};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::{Opened, SHOWN_MAX, Sent, instant, receive, receive_list, shown, small, text, texts};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{RawBody, parse};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Proof, routes!(webhook))
        .on(Need::Proof, routes!(oncall))
        .on(Need::Proof, routes!(any_json))
}

/// Receives the webhook of an Alertmanager (version 4), or of Grafana's alerting.
///
/// The sender reports a firing alert once, and repeats it after hours: it fires until it is
/// reported as resolved.
#[utoipa::path(
    operation_id = "inbound_webhook", post, path = "/inbound/{key}/webhook", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "The number of alerts accepted", body = serde_json::Value),
        (status = 400, description = "Not a webhook of this kind, or some of its alerts are invalid; all others were accepted"),
        (status = 404, description = "No monitor has this key"),
        (status = 429, description = "Some were refused, because too many alerts are firing"),
    )
)]
async fn webhook(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Problem>,
    RawBody(body): RawBody,
) -> Result<AsJson<Value>, Problem> {
    let (sent, left_out) = of_webhook(&body)?;
    if left_out > 0 {
        tracing::warn!(monitor = %inbound.monitor, left_out,
            "an Alertmanager left alerts out of its webhook; raise or remove max_alerts there");
    }
    let taken = receive_list(&api, &inbound, sent, of_webhook_one).await?;
    Ok(AsJson(json!({ "taken": taken })))
}

fn invalid(why: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "alerts-invalid", why)
}

/// What is read of a webhook before its alerts are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    #[serde(default, borrow)]
    version: Option<&'a RawValue>,
    #[serde(default, borrow)]
    alerts: Option<&'a RawValue>,
    #[serde(default, borrow)]
    truncated_alerts: Option<&'a RawValue>,
}

/// The alerts of a webhook, not yet read, and how many its sender has left out.
fn of_webhook(body: &[u8]) -> Result<(Vec<&RawValue>, u64), Problem> {
    let webhook: Webhook<'_> = parse(body)?;
    if let Some(version) = webhook.version.map(RawValue::get)
        && !matches!(version, r#""4""# | r#""1""#)
    {
        let version: String = version.chars().take(SHOWN_MAX).collect();
        let why = format!("this is no webhook of version 4: its version is {version}");
        return Err(invalid(why));
    }
    let sent =
        webhook.alerts.and_then(|alerts| serde_json::from_str::<Sent<'_>>(alerts.get()).ok());
    let sent = sent.ok_or_else(|| invalid("there is no list `alerts`".to_owned()))?.within()?;
    let left_out = webhook.truncated_alerts.and_then(|count| count.get().parse().ok());
    Ok((sent, left_out.unwrap_or(0)))
}

fn of_webhook_one(alert: &Value) -> Result<Alert, String> {
    let lease = match alert["status"].as_str() {
        Some("firing") => Lease::Open,
        Some("resolved") => Lease::Over,
        _ => return Err("status is neither firing nor resolved".to_owned()),
    };
    let mut annotations = texts(&alert["annotations"]);
    for (name, kept) in [
        ("generatorURL", shown::LINK),
        ("valueString", "valueString"),
        ("dashboardURL", "dashboardURL"),
        ("panelURL", "panelURL"),
    ] {
        if let Some(value) = alert[name].as_str().filter(|value| !value.is_empty()) {
            annotations.insert(kept.into(), value.into());
        }
    }
    // What is no time is no reason to leave the alert out.
    if let Ok(Some(starts)) = instant(&alert["startsAt"], "startsAt") {
        annotations.insert(STARTS.into(), starts.to_string().into());
    }
    let alert = Alert { labels: texts(&alert["labels"]), annotations, lease, ..Alert::default() };
    alert.check()?;
    Ok(alert)
}

/// Receives the formatted webhook that was made for Grafana `OnCall`.
#[utoipa::path(
    operation_id = "inbound_oncall", post, path = "/inbound/{key}/oncall", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "Accepted", body = serde_json::Value),
        (status = 400, description = "It does not name an alert"),
        (status = 404, description = "No monitor has this key"),
        (status = 429, description = "Refused, because too many alerts are firing"),
    )
)]
async fn oncall(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Problem>,
    RawBody(body): RawBody,
) -> Result<AsJson<Value>, Problem> {
    let alert = of_oncall(&small(&body)?).map_err(invalid)?;
    receive(&api, &inbound, vec![alert]).await?;
    Ok(AsJson(json!({ "taken": 1 })))
}

fn of_oncall(body: &Value) -> Result<Alert, String> {
    let field = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    let key = field("alert_uid").or_else(|| field("title"));
    let key = key.ok_or("there is neither alert_uid nor title")?;
    let lease = match field("state") {
        Some("ok") => Lease::Over,
        Some("alerting") | None => Lease::Open,
        Some(other) => {
            let other: String = other.chars().take(SHOWN_MAX).collect();
            return Err(format!("state is neither alerting nor ok: {other:?}"));
        }
    };
    let named = [
        ("summary", "title"),
        ("description", "message"),
        ("image_url", "image_url"),
        (shown::LINK, "link_to_upstream_details"),
    ];
    let annotations = named.into_iter().filter_map(|(name, of)| Some((name, field(of)?)));
    let annotations = annotations.map(|(name, text)| (name.into(), text.into())).collect();
    let labels = field("title").map(|title| ("alertname".into(), title.into()));
    let alert = Alert {
        labels: labels.into_iter().collect(),
        key: Some(key.into()),
        annotations,
        lease,
        severity: field("severity").and_then(severity_named),
    };
    alert.check()?;
    Ok(alert)
}

/// Receives any JSON, which the jq program `map` of the monitor turns into alerts: objects with
/// `labels` or `key`, `status` (firing or resolved), `severity`, `text`, `annotations` and
/// `endsAt`.
#[utoipa::path(
    operation_id = "inbound_json", post, path = "/inbound/{key}/json", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "The number of alerts accepted", body = serde_json::Value),
        (status = 400, description = "The mapping program fails on it, or its result is not an alert"),
        (status = 404, description = "No monitor has this key"),
        (status = 409, description = "The monitor has no `map` program for it"),
        (status = 429, description = "Some were refused, because too many alerts are firing"),
        (status = 503, description = "Too many evaluations are running"),
    )
)]
async fn any_json(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Problem>,
    RawBody(body): RawBody,
) -> Result<AsJson<Value>, Problem> {
    let Some(program) = inbound.map.clone() else {
        let message = format!("the monitor {} has no `map`", inbound.monitor);
        return Err(Problem::new(StatusCode::CONFLICT, "inbound-map-missing", message)
            .with_hint("Write a jq program there that makes alerts of what is sent here."));
    };
    let sent: Json = parse(&body)?;
    let run = move |_: &Engine, scripts: &dyn Scripts| scripts.jq(&program, &sent);
    let outputs = api.engine.evaluate(run).await?.map_err(|error| {
        let message = format!("the program `map` of the monitor {}: {error}", inbound.monitor);
        Problem::new(StatusCode::BAD_REQUEST, "inbound-map-failed", message)
    })?;
    let mut alerts = Vec::new();
    for output in outputs {
        let made = match output.parse() {
            Value::Array(several) => several,
            Value::Null => Vec::new(),
            one => vec![one],
        };
        for alert in made {
            let at = alerts.len();
            let read = of_json(&alert)
                .map_err(|why| invalid(format!("what `map` made, alert {at}: {why}")));
            alerts.push(read?);
        }
    }
    let taken = alerts.len();
    receive(&api, &inbound, alerts).await?;
    Ok(AsJson(json!({ "taken": taken })))
}

fn of_json(alert: &Value) -> Result<Alert, String> {
    if !alert.is_object() {
        return Err("it is no object".to_owned());
    }
    let status = match &alert["status"] {
        Value::Null => Status::Fail,
        Value::String(text) if text == "firing" => Status::Fail,
        Value::String(text) if text == "resolved" => Status::Ok,
        Value::String(text) => {
            Status::parse(text).ok_or("status is neither firing nor resolved")?
        }
        _ => return Err("status is no text".to_owned()),
    };
    let severity = match &alert["severity"] {
        Value::Null => None,
        Value::String(text) => Some(severity_named(text).ok_or_else(|| {
            format!("severity is none of {}", Severity::ALL.map(Severity::as_str).join(", "))
        })?),
        _ => return Err("severity is no text".to_owned()),
    };
    let lease = match (status, instant(&alert["endsAt"], "endsAt")?) {
        (Status::Ok, _) => Lease::Over,
        (Status::Unknown, _) => return Err("status cannot be unknown".to_owned()),
        (_, Some(until)) => Lease::Until(until),
        (_, None) => Lease::Open,
    };
    let mut annotations: BTreeMap<Arc<str>, Arc<str>> = texts(&alert["annotations"]);
    if let Some(summary) = alert["text"].as_str() {
        annotations.insert("summary".into(), summary.into());
    }
    let key = Some(&alert["key"]).filter(|key| !key.is_null()).map(|key| text(key).into());
    let alert = Alert { labels: texts(&alert["labels"]), key, annotations, severity, lease };
    alert.check()?;
    Ok(alert)
}

#[cfg(test)]
mod tests {
    use kernel::alert::Lease;
    use kernel::alert::definition::Severity;
    use serde_json::json;

    use super::{of_json, of_oncall, of_webhook, of_webhook_one};

    #[test]
    fn a_webhook_of_version_4_tells_what_fires_and_what_is_over() {
        let webhook = json!({
            "truncatedAlerts": 2,
            "version": "4", "status": "firing", "receiver": "nb", "groupKey": "{}:{}",
            "alerts": [
                { "status": "firing", "labels": { "alertname": "A" }, "annotations": {},
                  "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                  "generatorURL": "http://p/graph", "fingerprint": "a" },
                { "status": "resolved", "labels": { "alertname": "B" }, "annotations": {} },
            ]
        });
        let lease = |at: usize| of_webhook_one(&webhook["alerts"][at]).map(|alert| alert.lease);
        assert_eq!((lease(0), lease(1)), (Ok(Lease::Open), Ok(Lease::Over)));
        let why = of_webhook_one(&json!({ "labels": { "a": "b" } })).expect_err("no status");
        assert!(why.contains("neither firing nor resolved"), "{why}");
        let text = webhook.to_string();
        let (alerts, left_out) = of_webhook(text.as_bytes()).expect("a webhook");
        assert_eq!((alerts.len(), left_out), (2, 2));
        for (body, reason) in [
            (json!({ "version": "3", "alerts": [] }), "version 4"),
            (json!({ "version": "4" }), "no list"),
        ] {
            let why = of_webhook(body.to_string().as_bytes()).expect_err(reason).message;
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn an_alert_of_oncall_is_known_by_its_uid() {
        let body = json!({ "alert_uid": "08d6", "title": "down", "state": "alerting",
            "message": "since noon", "link_to_upstream_details": "http://x" });
        let alert = of_oncall(&body).expect("an alert");
        assert_eq!((alert.key.as_deref(), alert.lease), (Some("08d6"), Lease::Open));
        let over = of_oncall(&json!({ "alert_uid": "08d6", "state": "ok" })).expect("an alert");
        assert_eq!(over.lease, Lease::Over);
        assert!(of_oncall(&json!({ "message": "x" })).is_err());
        assert!(of_oncall(&json!({ "title": "x", "state": "what" })).is_err());
    }

    #[test]
    fn what_a_program_makes_must_be_alerts() {
        let alert =
            of_json(&json!({ "key": 7, "severity": "p2", "text": "bad" })).expect("an alert");
        assert_eq!((alert.key.as_deref(), alert.severity), (Some("7"), Some(Severity::Error)));
        for wrong in [
            json!("x"),
            json!({}),
            json!({ "key": "a", "status": "perhaps" }),
            json!({ "key": "a", "status": "unknown" }),
            json!({ "key": "a", "severity": "very" }),
        ] {
            assert!(of_json(&wrong).is_err(), "{wrong}");
        }
    }
}
