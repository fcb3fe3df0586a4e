//! `CHECK_PROMETHEUS`: the series that a `PromQL` query finds, as rows.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::alert::Status;
use serde_json::{Value, json};

use super::order::Order;
use super::rest::{Question, json_of, quoted};
use super::rows::{Row, Shape};
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, unknown, wrong};

/// Asks Prometheus, or whoever speaks its API.
pub(super) struct Prometheus;

#[async_trait]
impl Source for Prometheus {
    const TYPE: &'static str = "CHECK_PROMETHEUS";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let base = order.base()?;
        let query = order.settings.required("query")?;
        let empty = Empty::read(order)?;
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
            rows if rows.is_empty() => empty.seen()?,
            rows => Shape::of(order)?.observe(rows)?,
        };
        warn(&body, &mut seen);
        Ok(seen)
    }
}

/// What it means that no series was found.
enum Empty {
    Unknown,
    Ok,
    Fail,
}

impl Empty {
    fn read(order: &Order) -> Result<Self, Trouble> {
        match order.settings.text("empty")?.as_deref() {
            None | Some("unknown") => Ok(Self::Unknown),
            Some("ok") => Ok(Self::Ok),
            Some("fail") => Ok(Self::Fail),
            Some(other) => {
                Err(wrong(format!("`empty` must be unknown, ok or fail, not {other:?}")))
            }
        }
    }

    fn seen(&self) -> Result<Seen, Trouble> {
        let text = "the query finds no series";
        match self {
            Self::Unknown => Err(unknown(format!(
                "{text}; say `empty: ok` or `empty: fail` if that is what it should mean"
            ))),
            // No row is no key: whatever was bad and is not mentioned is over.
            Self::Ok => Ok(Seen::default()),
            Self::Fail => Ok(Seen::one(Status::Fail, text, json!(0), attrs(json!({})))),
        }
    }
}

/// The result of a query as rows: labels, `value` and `timestamp`.
fn rows(body: &Value) -> Result<Vec<Row>, Trouble> {
    if body.get("status").and_then(Value::as_str) != Some("success") {
        let said = body.get("error").and_then(Value::as_str).unwrap_or("it did not say why");
        return Err(unknown(format!("Prometheus refuses the query: {}", quoted(said))));
    }
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

fn point(row: &mut Row, point: &Value) -> Option<()> {
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
