//! Alertmanager's API v2, as Prometheus, `amtool`, karma and Grafana speak it.

use axum::Json as AsJson;
use axum::extract::State;
use axum::http::StatusCode;
use engine::Engine;
use engine::monitors::Inbound;
use kernel::access::Need;
use kernel::alert::{Alert, LabelMatcher, Lease, Monitor, STARTS};
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::{Opened, Refused, Sent, configuration, instant, receive_list, shown, texts};
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;
use crate::rest::extract::{RawBody, RawQuery, parse};

pub(super) fn routes() -> Routes {
    Routes::new()
        .on(Need::Proof, routes!(alerts, add_alerts))
        .on(Need::Proof, routes!(groups))
        .on(Need::Proof, routes!(status))
        .on(Need::Proof, routes!(build_info))
        .on(Need::Proof, routes!(receivers))
}

/// The version of Alertmanager whose API this is; programs ask for it.
const VERSION: &str = "0.27.0";

/// Receives alerts as Prometheus sends them: new, repeated and resolved ones.
#[utoipa::path(
    operation_id = "inbound_add_alerts", post, path = "/inbound/{key}/api/v2/alerts", tag = "inbound",
    request_body = serde_json::Value,
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "All were accepted"),
        (status = 400, description = "Some alerts are invalid; all others were accepted"),
        (status = 404, description = "No monitor has this key"),
        (status = 413, description = "Too many in one request"),
        (status = 429, description = "Some were refused, because too many alerts are firing"),
    )
)]
async fn add_alerts(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    RawBody(body): RawBody,
) -> Result<StatusCode, Refused> {
    let sent = parse::<Sent<'_>>(&body)?.within()?;
    receive_list(&api, &inbound, sent, read).await?;
    Ok(StatusCode::OK)
}

/// An alert as Prometheus sends it.
fn read(alert: &Value) -> Result<Alert, String> {
    if !alert.is_object() {
        return Err("it is no object".to_owned());
    }
    let (starts, ends) =
        (instant(&alert["startsAt"], "startsAt")?, instant(&alert["endsAt"], "endsAt")?);
    if starts.zip(ends).is_some_and(|(starts, ends)| ends < starts) {
        return Err("endsAt is before startsAt".to_owned());
    }
    let mut annotations = texts(&alert["annotations"]);
    if let Some(url) = alert["generatorURL"].as_str().filter(|url| !url.is_empty()) {
        annotations.insert(shown::LINK.into(), url.into());
    }
    if let Some(starts) = starts {
        annotations.insert(STARTS.into(), starts.to_string().into());
    }
    let alert = Alert {
        labels: texts(&alert["labels"]),
        annotations,
        lease: ends.map_or(Lease::Usual, Lease::Until),
        ..Alert::default()
    };
    alert.check()?;
    Ok(alert)
}

/// Checks that who has the key may see what fires.
///
/// # Errors
/// 403 if not.
pub(super) fn readable(inbound: &Inbound) -> Result<(), Problem> {
    if inbound.may_read {
        return Ok(());
    }
    let message = "this key only lets alerts in";
    Err(Problem::new(StatusCode::FORBIDDEN, "inbound-read-off", message).with_hint(format!(
        "To let who has it see alerts and silences, write allow: [read] in the monitor {}; allow: \
         [read, silence] for silencing, too.",
        inbound.monitor
    )))
}

/// Which alerts are asked for.
#[derive(Debug)]
struct Wanted {
    matchers: Vec<LabelMatcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    receiver: Option<LabelMatcher>,
}

impl Wanted {
    fn of(query: &[(String, String)]) -> Result<Self, Problem> {
        // As Alertmanager reads them: the last one counts, and what is none of these words is no.
        let flag = |name: &str| {
            const YES: [&str; 10] =
                ["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"];
            let given = query.iter().rfind(|(key, _)| key == name);
            given.is_none_or(|(_, value)| YES.iter().any(|yes| value.eq_ignore_ascii_case(yes)))
        };
        let receiver = query.iter().find(|(key, _)| key == "receiver");
        let receiver = receiver.map(|(_, value)| LabelMatcher {
            name: "receiver".to_owned(),
            value: value.clone(),
            is_regex: true,
            is_equal: true,
        });
        if let Some(receiver) = &receiver {
            receiver.compile().map_err(Problem::bad_request)?;
        }
        Ok(Self {
            matchers: matchers(query)?,
            active: flag("active"),
            silenced: flag("silenced"),
            inhibited: flag("inhibited"),
            receiver,
        })
    }
}

/// The matchers of a query, `filter=name="value"` each.
///
/// # Errors
/// What is wrong with one.
pub(super) fn matchers(query: &[(String, String)]) -> Result<Vec<LabelMatcher>, Problem> {
    /// Matchers in one question.
    const FILTERS_MAX: usize = 50;
    let filters = query.iter().filter(|(name, _)| name == "filter");
    let matchers: Result<Vec<_>, String> =
        filters.map(|(_, text)| LabelMatcher::parse(text)).take(FILTERS_MAX + 1).collect();
    let matchers = matchers.map_err(Problem::bad_request)?;
    if matchers.len() > FILTERS_MAX {
        return Err(Problem::bad_request(format!("more than {FILTERS_MAX} filters")));
    }
    for matcher in &matchers {
        matcher.compile().map_err(Problem::bad_request)?;
    }
    Ok(matchers)
}

/// Those alerts of a monitor that are wanted.
fn select(monitor: &Monitor, wanted: &Wanted, engine: &Engine) -> Vec<shown::Shown> {
    let now = engine.now();
    let compiled = wanted.matchers.iter().filter_map(|it| it.compile().ok()).collect::<Vec<_>>();
    let receiver = wanted.receiver.as_ref().and_then(|it| it.compile().ok());
    let all = monitor.incidents.values().filter(|it| shown::is_alert(it));
    let fitting = all.filter(|incident| compiled.iter().all(|it| it.fits(&incident.labels)));
    let shown = fitting.map(|incident| shown::alert(monitor, incident, now));
    let of_receiver = |mut alert: shown::Shown| {
        if let Some(receiver) = &receiver {
            alert.groups_of.retain(|name| {
                let labels = [("receiver".into(), name.clone())].into();
                receiver.fits(&labels)
            });
        }
        alert
    };
    let is_wanted = |alert: &shown::Shown| {
        (wanted.active || !alert.is_active)
            && (wanted.silenced || !alert.is_silenced)
            && (wanted.inhibited || !alert.is_inhibited)
            && !alert.groups_of.is_empty()
    };
    shown.map(of_receiver).filter(is_wanted).collect()
}

/// Lists the firing alerts.
#[utoipa::path(
    operation_id = "inbound_alerts", get, path = "/inbound/{key}/api/v2/alerts", tag = "inbound",
    params(
        ("key" = String, Path, description = "The key of a monitor of the kind alerts"),
        ("filter" = Option<Vec<String>>, Query, description = "Matchers such as job=\"node\""),
        ("active" = Option<bool>, Query, description = "With those that are told"),
        ("silenced" = Option<bool>, Query, description = "With those that are silenced"),
        ("inhibited" = Option<bool>, Query, description = "With those that wait for a parent"),
        ("receiver" = Option<String>, Query, description = "A regular expression for receivers"),
    ),
    responses(
        (status = 200, description = "The alerts", body = Vec<serde_json::Value>),
        (status = 400, description = "A filter is invalid"),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn alerts(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    RawQuery(query): RawQuery,
) -> Result<AsJson<Vec<Value>>, Refused> {
    readable(&inbound)?;
    let wanted = Wanted::of(&query)?;
    let look = |monitor: &Monitor| select(monitor, &wanted, &api.engine);
    let found = api.engine.monitor(&inbound.monitor, look).await?.unwrap_or_default();
    Ok(AsJson(found.into_iter().map(|alert| alert.value).collect()))
}

/// Lists the firing alerts in groups, as receivers are notified of them.
#[utoipa::path(
    operation_id = "inbound_groups", get, path = "/inbound/{key}/api/v2/alerts/groups", tag = "inbound",
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "The groups", body = Vec<serde_json::Value>),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn groups(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
    RawQuery(query): RawQuery,
) -> Result<AsJson<Vec<Value>>, Refused> {
    readable(&inbound)?;
    let wanted = Wanted::of(&query)?;
    let look = |monitor: &Monitor| shown::groups(select(monitor, &wanted, &api.engine));
    Ok(AsJson(api.engine.monitor(&inbound.monitor, look).await?.unwrap_or_default()))
}

/// Shows the status and version of this API.
#[utoipa::path(
    operation_id = "inbound_status", get, path = "/inbound/{key}/api/v2/status", tag = "inbound",
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "The version", body = serde_json::Value),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn status(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
) -> Result<AsJson<Value>, Refused> {
    readable(&inbound)?;
    let own = api.settings.version;
    let routes = api.engine.monitor(&inbound.monitor, configuration::text).await?;
    let routes = routes.unwrap_or_default();
    Ok(AsJson(json!({
        "cluster": { "status": "disabled", "peers": [] },
        "versionInfo": {
            "version": VERSION, "revision": format!("nightbell-{own}"), "branch": "", "buildUser": "",
            "buildDate": "", "goVersion": "",
        },
        "config": { "original": format!("# Nightbell {own}; what its monitors files say, in Alertmanager's words\n{routes}") },
        "uptime": api.engine.opened_at().to_string(),
    })))
}

/// Shows the version of this API as a metric, as karma asks for it.
#[utoipa::path(
    operation_id = "inbound_build_info", get, path = "/inbound/{key}/metrics", tag = "inbound",
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "`alertmanager_build_info`", body = String),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn build_info(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
) -> Result<String, Refused> {
    readable(&inbound)?;
    let own = api.settings.version;
    Ok(format!(
        "# HELP alertmanager_build_info The version of Alertmanager whose API this is.\n\
         # TYPE alertmanager_build_info gauge\n\
         alertmanager_build_info{{version=\"{VERSION}\",revision=\"nightbell-{own}\"}} 1\n"
    ))
}

/// Lists the receivers to which alerts of the monitor may be sent.
#[utoipa::path(
    operation_id = "inbound_receivers", get, path = "/inbound/{key}/api/v2/receivers", tag = "inbound",
    params(("key" = String, Path, description = "The key of a monitor of the kind alerts")),
    responses(
        (status = 200, description = "Their names", body = Vec<serde_json::Value>),
        (status = 403, description = "The key is for sending alerts only"),
        (status = 404, description = "No monitor has this key"),
    )
)]
async fn receivers(
    State(api): State<Api>,
    Opened(inbound, _): Opened<Refused>,
) -> Result<AsJson<Vec<Value>>, Refused> {
    readable(&inbound)?;
    let names = api.engine.monitor(&inbound.monitor, Monitor::receivers).await?.unwrap_or_default();
    Ok(AsJson(names.iter().map(|name| json!({ "name": name })).collect()))
}

#[cfg(test)]
mod tests {
    use kernel::Timestamp;
    use kernel::alert::Lease;
    use serde_json::json;

    use super::read;

    #[test]
    fn alerts_are_read_as_prometheus_and_others_send_them() {
        let alert = read(&json!({
            "labels": { "alertname": "Down", "replicas": 2 },
            "annotations": { "summary": "it is down", "nothing": null },
            "startsAt": "2026-01-01T00:00:00.123Z", "endsAt": "2026-01-01T00:04:00+00:00",
            "generatorURL": "http://prometheus/graph"
        }))
        .expect("an alert");
        assert_eq!(alert.lease, Lease::Until(Timestamp::from_millis(1_767_225_840_000)));
        assert_eq!(alert.labels.get("replicas").map(|it| &**it), Some("2"));
        assert_eq!(alert.annotations.len(), 3, "{:?}", alert.annotations);
        // A sender that knows no end writes the last day that there is.
        let ever = json!({ "labels": { "a": "b" }, "endsAt": "9999-12-31T23:59:59Z" });
        assert_eq!(read(&ever).expect("an alert").lease, Lease::Until(Timestamp::MAX));
        // Go's zero is no end.
        let alert = read(&json!({ "labels": { "a": "b" }, "endsAt": "0001-01-01T00:00:00Z" }));
        assert_eq!(alert.expect("an alert").lease, Lease::Usual);
    }

    #[test]
    fn what_is_wrong_with_an_alert_is_said() {
        for (alert, reason) in [
            (json!(3), "no object"),
            (json!({}), "at least one label"),
            (json!({ "labels": { "": "x" } }), "name of a label"),
            (json!({ "labels": { "a": "x".repeat(9000) } }), "more than 8192"),
            (json!({ "labels": { "a": "b" }, "endsAt": "soon" }), "no time"),
            (
                json!({ "labels": { "a": "b" }, "startsAt": "2026-01-02T00:00:00Z",
                    "endsAt": "2026-01-01T00:00:00Z" }),
                "before startsAt",
            ),
        ] {
            let why = read(&alert).expect_err(reason);
            assert!(why.contains(reason), "{why}");
        }
    }
}
