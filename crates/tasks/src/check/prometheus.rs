//! `CHECK_PROMETHEUS`: the series that a `PromQL` query finds, as rows.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::alert::definition::Remark;
use serde_json::{Map, Value, json};

use super::empty::Empty;
use super::order::{Order, stranger};
use super::rest::{Question, json_of, quoted};
use super::rows::{Row, Shape};
use super::seen::Seen;
use super::{Means, Source, Trouble, unknown};

/// Asks Prometheus, or whoever speaks its API.
pub(super) struct Prometheus;

#[async_trait]
impl Source for Prometheus {
    const TYPE: &'static str = "CHECK_PROMETHEUS";

    fn judge(settings: &Map<String, Value>, means: &Means) -> Option<Remark> {
        stranger("server", settings, &means.settings)
    }

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let base = order.base()?;
        let query = order.settings.required("query")?;
        let empty = Empty::read(order)?.unwrap_or(Empty::Unknown);
        let url = format!("{base}/api/v1/query");
        let seconds = order.now.millis() as f64 / 1000.0;
        // Prometheus gives up by itself, a little before we do.
        let server_patience = format!("{}ms", (order.patience.as_millis() * 9 / 10).max(1));
        let form = json!({
            "query": query, "time": format!("{seconds:.3}"), "timeout": server_patience,
        });
        let question = Question::new(order, "POST", url)?
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        let client = means.clients.of(order)?;
        let response = question.answer(&client, order.patience).await?;
        let body = json_of(&response, "Prometheus")?;
        let mut seen = match rows(&body)? {
            rows if rows.is_empty() => empty.seen("series")?,
            rows => Shape::of(order)?.observe(rows)?,
        };
        warn(&body, &mut seen);
        Ok(seen)
    }
}

/// The series of an answer about a range.
pub(super) fn series(body: &Value) -> Result<Vec<Value>, Trouble> {
    succeeded(body)?;
    let series = body["data"]["result"].as_array().cloned();
    series.ok_or_else(|| unknown("Prometheus answered what is no result of a query"))
}

fn succeeded(body: &Value) -> Result<(), Trouble> {
    if body.get("status").and_then(Value::as_str) != Some("success") {
        let said = body.get("error").and_then(Value::as_str).unwrap_or("it did not say why");
        return Err(unknown(format!("Prometheus refuses the query: {}", quoted(said))));
    }
    Ok(())
}

/// The result of a query as rows: labels, `value` and `timestamp`.
fn rows(body: &Value) -> Result<Vec<Row>, Trouble> {
    succeeded(body)?;
    let data = &body["data"];
    let result = &data["result"];
    let rubbish = || unknown("Prometheus answered what is no result of a query");
    match data["resultType"].as_str() {
        Some("scalar" | "string") => {
            let mut row = Row::new();
            point(&mut row, result).ok_or_else(rubbish)?;
            Ok(vec![row])
        }
        Some("vector" | "matrix") => {
            let series = result.as_array().ok_or_else(rubbish)?;
            series.iter().map(|series| one(series).ok_or_else(rubbish)).collect()
        }
        _ => Err(rubbish()),
    }
}

/// One series: its labels, and its point, or its last one.
fn one(series: &Value) -> Option<Row> {
    let mut row = series.get("metric")?.as_object()?.clone();
    let last = || series.get("values")?.as_array()?.last();
    if let Some(single) = series.get("value").or_else(last) {
        point(&mut row, single)?;
    }
    if let Some(histogram) = series.get("histogram") {
        let part = histogram.get(1)?;
        for name in ["count", "sum"] {
            row.extend(part.get(name).map(|it| (name.to_owned(), number(it))));
        }
    }
    Some(row)
}

pub(super) fn point(row: &mut Row, point: &Value) -> Option<()> {
    let value = point.get(1)?;
    row.insert("value".to_owned(), number(value));
    row.insert("timestamp".to_owned(), point.get(0)?.clone());
    Some(())
}

/// Prometheus writes numbers as texts, because JSON has no `NaN` and `Inf`; these stay texts.
fn number(value: &Value) -> Value {
    let parsed = value.as_str().and_then(|text| text.parse::<f64>().ok());
    let number = parsed.and_then(serde_json::Number::from_f64);
    number.map_or_else(|| value.clone(), Value::Number)
}

/// Says in every observation what the server warns of: the answer may be incomplete.
fn warn(body: &Value, seen: &mut Seen) {
    let warnings = body.get("warnings").and_then(Value::as_array);
    let warnings: Vec<&str> = warnings.into_iter().flatten().filter_map(Value::as_str).collect();
    if warnings.is_empty() {
        return;
    }
    let said = quoted(&warnings.join("; "));
    for observation in &mut seen.observations {
        if let Some(attrs) = observation.get_mut("attrs").and_then(Value::as_object_mut) {
            attrs.insert("warnings".to_owned(), said.as_str().into());
        }
    }
}
