//! The `METRICS` question: a range query of a Prometheus server, answered as Prometheus does.

use std::time::Duration;

use ::http::Method;
use kernel::{Json, Timestamp};
use reqwest::Url;
use serde_json::json;

use super::super::Trouble;
use super::before;
use crate::http::{Client, Request};
use crate::input::{Members, wrong};

/// Most points in time of one answer: Prometheus itself refuses more.
const POINTS_MAX: f64 = 11_000.0;
/// Longest silence of Prometheus: a range query may take a while.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks, and shows the whole answer as `result`.
pub(super) async fn ask(
    input: &Members,
    prometheus: Option<&str>,
    client: &Client,
    now: Timestamp,
) -> Result<Json, Trouble> {
    let url = url(input, prometheus, now)?;
    let mut request = Request::new(Method::GET, url);
    request.read_timeout = Some(PATIENCE);
    let answer = client.send(&request).await;
    let answer = answer.map_err(|problem| {
        Trouble::Passing(format!("Prometheus: {request} {}", problem.message))
    })?;
    let body = answer.body().parse();
    if answer.status.is_success() && body["status"] == "success" {
        return Ok(Json::of(&json!({ "result": body })));
    }
    let reason = match body["error"].as_str() {
        Some(error) => format!("Prometheus refused the question ({}): {error}", answer.status),
        None => format!("what answered ({}) is not Prometheus's API: {request}", answer.status),
    };
    let lasting = answer.status.is_client_error() && answer.status.as_u16() != 429;
    Err(if lasting { Trouble::Lasting(reason) } else { Trouble::Passing(reason) })
}

fn url(input: &Members, prometheus: Option<&str>, now: Timestamp) -> Result<Url, Trouble> {
    let query = input.required("metricsQuery")?;
    let start = instant(input, "metricsStart", now)?;
    let end = instant(input, "metricsEnd", now)?;
    if start > end {
        return Err(Trouble::Lasting("`metricsStart` is later than `metricsEnd`".to_owned()));
    }
    let step = step(&input.required("metricsStep")?)?;
    let points = end.since(start) as f64 / 1000.0 / step;
    if points > POINTS_MAX {
        return Err(Trouble::Lasting(format!(
            "`metricsStep` of {step} s asks for {points:.0} points in time; Prometheus answers at \
             most {POINTS_MAX}"
        )));
    }
    let base = prometheus.filter(|url| !url.trim().is_empty()).ok_or_else(|| {
        let missing = "no Prometheus server is configured: set prometheus_url (environment \
                       NIGHTBELL_PROMETHEUS_URL)";
        Trouble::Lasting(missing.to_owned())
    })?;
    let base = base.trim().trim_end_matches('/');
    let seconds = |at: Timestamp| format!("{:.3}", at.millis() as f64 / 1000.0);
    let members = [
        ("query", query),
        ("start", seconds(start)),
        ("end", seconds(end)),
        ("step", step.to_string()),
    ];
    Url::parse_with_params(&format!("{base}/api/v1/query_range"), members).map_err(|error| {
        Trouble::Lasting(format!("the prometheus_url of the configuration is no URL: {error}"))
    })
}

/// Minutes before now, or an instant as RFC 3339.
fn instant(input: &Members, name: &str, now: Timestamp) -> Result<Timestamp, Trouble> {
    let text = input.required(name)?;
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.into());
    }
    let minutes = text.parse::<f64>().ok().filter(|minutes| minutes.is_finite() && *minutes >= 0.0);
    let expected = "minutes before now, or an instant such as 2026-01-31T12:00:00Z";
    Ok(minutes.map(|minutes| before(now, minutes)).ok_or_else(|| wrong(name, expected))?)
}

/// Seconds, or a number with one of Prometheus's units.
fn step(text: &str) -> Result<f64, Trouble> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];
    let unit = UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = unit.unwrap_or((text, 1.0));
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * scale);
    let expected = "a number of seconds above 0, or a span such as 5m";
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    Ok(seconds.ok_or_else(|| wrong("metricsStep", expected))?)
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn steps() {
        for (text, seconds) in [("10", 10.0), ("0.5", 0.5), ("5m", 300.0), ("250ms", 0.25)] {
            assert_eq!(step(text).ok(), Some(seconds), "{text}");
        }
        for text in ["0", "-1", "m", "soon", "1y", "NaN"] {
            assert!(step(text).is_err(), "{text}");
        }
    }
}
