//! `/inbound/{key}/…`: alerts that other systems send, in the protocols of those to whom they send them
//! otherwise: Alertmanager, its webhooks, `PagerDuty`, Grafana `OnCall`, or any JSON.
//!
//! The key in the path opens one monitor of the kind `alerts` and nothing else. It stands in the
//! configuration of other systems, which many can read: by itself it lets alerts in. Whether it also
//! lets alerts be seen or silenced is for the monitor to say (`allow`).
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod alertmanager;
mod configuration;
mod pagerduty;
mod payload;
mod shown;
mod silence;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use engine::monitors::Inbound;
use kernel::Timestamp;
use kernel::alert::Alert;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::access::Routes;
use crate::guard::Peer;
use crate::problem::Problem;
use crate::rest::extract::parse;
use crate::{Api, Shared};

/// The paths at which alerts come in.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .merge(alertmanager::routes())
        .merge(silence::routes())
        .merge(payload::routes())
        .merge(pagerduty::routes())
}

/// Alerts in one request: as many as may fire. An Alertmanager sends a whole group in one, and does not
/// send again what was refused.
const ALERTS_MAX: usize = 20_000;
/// Alerts that a monitor hears in one decision.
const AT_ONCE_MAX: usize = 5_000;
/// Alerts that cannot be read and are named in an answer.
const WRONG_TOLD_MAX: usize = 10;
/// Characters of what somebody sent that an answer repeats.
const SHOWN_MAX: usize = 200;
/// Bytes of one alert among several, and of a body that holds no list: their trees are made only within
/// this, as one takes many times the memory of its text.
const ALERT_BYTES_MAX: usize = 256 * 1024;
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Members that are read of an object of texts; more than any bound of what is kept of them.
const TEXTS_MAX: usize = 1000;

/// The monitor that the key in the path opens, or a refusal in the words of `R`.
///
/// It stands before the body among the parameters of a handler: of whoever has no key, no body is read.
struct Opened<R>(Inbound, PhantomData<fn() -> R>);

impl<R: From<Problem> + IntoResponse> FromRequestParts<Shared> for Opened<R> {
    type Rejection = R;

    /// 404 if there is none; the key is not repeated. Who tries many is answered late.
    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, R> {
        let path = RawPathParams::from_request_parts(parts, shared).await.ok();
        let key = path.iter().flatten().find(|(name, _)| *name == "key");
        if let Some(inbound) = key.and_then(|(_, key)| shared.api.engine.inbound(key)) {
            return Ok(Self(inbound, PhantomData));
        }
        shared.authorizer.failed(parts.extensions.get::<Peer>().copied()).await;
        let message = "no monitor receives alerts by this key";
        let problem = Problem::new(StatusCode::NOT_FOUND, "inbound-unknown", message);
        Err(R::from(problem.with_hint(
            "The key is the setting `key` of a monitor of the kind alerts, of 20 bytes at least; see \
             `nightbell inbound list`.",
        )))
    }
}

/// A list of alerts of which none has been read yet: as many as one request may have, and how many
/// there are.
struct Sent<'a> {
    alerts: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Sent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Sent<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of alerts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sent<'de>, A::Error> {
                let mut alerts = Vec::new();
                while alerts.len() < ALERTS_MAX {
                    let Some(alert) = list.next_element()? else { break };
                    alerts.push(alert);
                }
                let mut count = alerts.len();
                while count >= ALERTS_MAX && list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Sent { alerts, count })
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl<'a> Sent<'a> {
    /// The alerts, to be read one by one with [`tree`].
    ///
    /// # Errors
    /// 413 if there are too many in one request.
    fn within(self) -> Result<Vec<&'a RawValue>, Problem> {
        if self.count > ALERTS_MAX { Err(too_many(self.count)) } else { Ok(self.alerts) }
    }
}

fn too_many(count: usize) -> Problem {
    let message = format!("{count} alerts in one request, more than {ALERTS_MAX}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "alerts-too-many", message)
        .with_hint("Send them in several requests.")
}

/// One alert as a tree.
///
/// # Errors
/// It is too large for one.
fn tree(alert: &RawValue) -> Result<Value, String> {
    let length = alert.get().len();
    if length > ALERT_BYTES_MAX {
        return Err(format!("it takes {length} bytes, more than {ALERT_BYTES_MAX}"));
    }
    serde_json::from_str(alert.get()).map_err(|error| error.to_string())
}

/// A body that holds one thing, as a tree.
///
/// # Errors
/// 413 if it is larger than that is; 400 if it is no JSON.
fn small(body: &[u8]) -> Result<Value, Problem> {
    if body.len() > BODY_BYTES_MAX {
        let message = format!("the request body is larger than {BODY_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message));
    }
    parse(body)
}

/// Lets a monitor hear those alerts of a list that can be read, and answers how many these are.
///
/// # Errors
/// 400 names those that cannot be read, once all others were heard: who sends a list does not send it
/// again after that. As [`receive`] in addition.
async fn receive_list(
    api: &Api,
    inbound: &Inbound,
    sent: Vec<&RawValue>,
    read: impl Fn(&Value) -> Result<Alert, String>,
) -> Result<usize, Problem> {
    let (mut alerts, mut wrong) = (Vec::new(), Vec::new());
    for (at, alert) in sent.into_iter().enumerate() {
        match tree(alert).and_then(|alert| read(&alert)) {
            Ok(alert) => alerts.push(alert),
            Err(why) => wrong.push(format!("alert {at}: {why}")),
        }
    }
    let taken = alerts.len();
    receive(api, inbound, alerts).await?;
    if wrong.is_empty() {
        return Ok(taken);
    }
    let count = wrong.len();
    wrong.truncate(WRONG_TOLD_MAX);
    let message = format!("{count} alerts were not taken: {}", wrong.join("; "));
    Err(Problem::new(StatusCode::BAD_REQUEST, "alerts-invalid", message)
        .with_hint("All others were taken"))
}

/// Lets a monitor hear alerts.
///
/// # Errors
/// 429 if some were not taken because too many fire; 413 if there are too many in one request.
async fn receive(api: &Api, inbound: &Inbound, alerts: Vec<Alert>) -> Result<(), Problem> {
    if alerts.len() > ALERTS_MAX {
        return Err(too_many(alerts.len()));
    }
    let mut refused = 0;
    let mut alerts = alerts.into_iter();
    loop {
        // A decision is bounded, and others have their turn in between.
        let some: Vec<Alert> = alerts.by_ref().take(AT_ONCE_MAX).collect();
        if some.is_empty() {
            break;
        }
        refused += api.engine.receive_alerts(inbound, some).await?.refused;
    }
    if refused == 0 {
        return Ok(());
    }
    let message = format!(
        "{refused} alerts were not taken: {} fire already in the monitor {}, which is the limit",
        inbound.receiving.limit, inbound.monitor
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
        .take(TEXTS_MAX)
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
    // The last day of the year 9999 says "for ever", and is not among the times that are computed with.
    if text.starts_with("9999-12-3") {
        return Ok(Some(Timestamp::MAX));
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        let shown: String = text.chars().take(SHOWN_MAX).collect();
        format!("{name} is no time as RFC 3339 writes it: {shown:?}")
    })?;
    Ok((at.as_second() > ZERO_MAX).then(|| at.into()))
}
