//! `/inbound/{key}/…`: alerts that other systems send, in the protocols of those to whom they send them
//! otherwise: Alertmanager, its webhooks, `PagerDuty`, Grafana `OnCall`, or any JSON.
//!
//! The key in the path opens one monitor of the kind `alerts` and nothing else. It stands in the
//! configuration of other systems, which many can read: by itself it lets alerts in. Whether it also
//! lets alerts be seen or silenced is for the monitor to say (`allow`).
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod alertmanager;
mod pagerduty;
mod payload;
mod shown;
mod silence;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::monitors::Inbound;
use kernel::Timestamp;
use kernel::alert::Alert;
use serde_json::Value;

use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

/// The paths at which alerts come in.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .merge(alertmanager::routes())
        .merge(silence::routes())
        .merge(payload::routes())
        .merge(pagerduty::routes())
}

/// Alerts in one request.
const ALERTS_MAX: usize = 5000;
/// Characters of what somebody sent that an answer repeats.
const SHOWN_MAX: usize = 200;

/// The monitor that a key opens.
///
/// # Errors
/// 404 if there is none; the key is not repeated.
fn opened(api: &Api, key: &str) -> Result<Inbound, Problem> {
    api.engine.inbound(key).ok_or_else(|| {
        let message = "no monitor receives alerts by this key";
        Problem::new(StatusCode::NOT_FOUND, "inbound-unknown", message).with_hint(
            "The key is the setting `key` of a monitor of the kind alerts; see `nightbell inbound \
             list`.",
        )
    })
}

/// Lets a monitor hear alerts.
///
/// # Errors
/// 429 if some were not taken because too many fire; 413 if there are too many in one request.
async fn receive(api: &Api, inbound: &Inbound, alerts: Vec<Alert>) -> Result<(), Problem> {
    if alerts.len() > ALERTS_MAX {
        let message = format!("{} alerts in one request, more than {ALERTS_MAX}", alerts.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "alerts-too-many", message)
            .with_hint("Send them in several requests."));
    }
    if alerts.is_empty() {
        return Ok(());
    }
    let received = api.engine.receive_alerts(inbound, alerts).await?;
    if received.refused == 0 {
        return Ok(());
    }
    let message = format!(
        "{} alerts were not taken: {} fire already in the monitor {}, which is the limit",
        received.refused, inbound.receiving.limit, inbound.monitor
    );
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "inbound-full", message)
        .with_hint("Alerts that fired before were heard. Resolve what is over, or group alerts."))
}

/// A failure in the words of Alertmanager's clients: the body is a text.
struct Refused(Problem);

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Problem { status, message, code, hint, .. } = self.0;
        let hint = hint.map(|hint| format!(". {hint}")).unwrap_or_default();
        (status, axum::Json(format!("{message}{hint} ({code})"))).into_response()
    }
}

/// The texts of an object: other scalars as they are written, all else as JSON.
fn texts(value: &Value) -> BTreeMap<Arc<str>, Arc<str>> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.as_str().into(), text(value).into()))
        .collect()
}

/// A value as text.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first instant of the year 2, in seconds since 1970: what is earlier says that nobody knows.
const ZERO_MAX: i64 = -62_104_060_800;

/// An instant as RFC 3339 has it; absent if it is the zero of Go's programs.
///
/// # Errors
/// It is none.
fn instant(value: &Value, name: &str) -> Result<Option<Timestamp>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text,
        other => return Err(format!("{name} is no time: {other}")),
    };
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        format!("{name} is no time as RFC 3339 writes it: {shown:?}")
    })?;
    Ok((at.as_second() > ZERO_MAX).then(|| at.into()))
}
