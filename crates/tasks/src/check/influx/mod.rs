//! `CHECK_INFLUX`: rows from `InfluxDB` 1 (`InfluxQL`), 2 (Flux) and 3 (SQL).
//!
//! All three answer 200 to questions that failed; what says so differs and is looked for.

mod csv;

use std::sync::Arc;

use async_trait::async_trait;
use kernel::alert::definition::Remark;
use serde_json::{Map, Value, json};

use super::empty::Empty;
use super::order::{Order, stranger};
use super::rest::{Question, json_of, quoted, text};
use super::rows::{Row, Shape};
use super::seen::Seen;
use super::{Means, Source, Trouble, unknown, wrong};

/// Asks `InfluxDB`.
pub(super) struct Influx;

#[async_trait]
impl Source for Influx {
    const TYPE: &'static str = "CHECK_INFLUX";

    fn judge(settings: &Map<String, Value>, means: &Means) -> Option<Remark> {
        stranger("server", settings, &means.settings)
    }

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let settings = &order.settings;
        let base = &order.base()?;
        let asked = ["influxql", "flux", "sql"].into_iter().filter(|it| settings.get(it).is_some());
        let asked: Vec<&str> = asked.collect();
        let [language] = asked[..] else {
            return Err(wrong("one of `influxql`, `flux` and `sql` says what is asked"));
        };
        let query = settings.required(language)?;
        let (shape, empty) = (Shape::of(order)?, Empty::read(order)?);
        let client = means.clients.of(order)?;
        let question = match language {
            "influxql" => influxql(order, base, &query)?,
            "flux" => flux(order, base, &query)?,
            _ => sql(order, base, &query)?,
        };
        let response = question.answer(&client, order.patience).await?;
        let rows = match language {
            "influxql" => tables(&json_of(&response, "InfluxDB")?)?,
            "flux" => csv::rows(&text(&response)).map_err(|why| match why {
                csv::Error::Query(said) => unknown(format!("the query failed: {}", quoted(&said))),
                csv::Error::Rubbish(why) => unknown(format!("InfluxDB answered no CSV: {why}")),
            })?,
            _ => lines(&text(&response))?,
        };
        match empty {
            Some(empty) if rows.is_empty() => empty.seen("rows"),
            _ => shape.observe(rows),
        }
    }
}

/// A question with the credentials that this generation of the server wants.
fn question(order: &Order, scheme: &str, url: String) -> Result<Question, Trouble> {
    let question = Question::new(order, "POST", url)?;
    Ok(match order.settings.text("token")? {
        Some(token) => question.header("Authorization", format!("{scheme} {token}")),
        None => question,
    })
}

fn influxql(order: &Order, base: &str, query: &str) -> Result<Question, Trouble> {
    let mut question = question(order, "Token", format!("{base}/query"))?;
    if let Some(db) = order.settings.text("db")?.or(order.settings.text("bucket")?) {
        question = question.parameter("db", &db);
    }
    if let Some(params) = order.settings.get("params") {
        question = question.parameter("params", &params.to_string());
    }
    let form = json!({ "q": query, "epoch": "ms" });
    let media = "application/x-www-form-urlencoded";
    Ok(question.header("Content-Type", media).header("Accept", "application/json").body(form))
}

fn flux(order: &Order, base: &str, query: &str) -> Result<Question, Trouble> {
    let mut question = question(order, "Token", format!("{base}/api/v2/query"))?;
    if let Some(org) = order.settings.text("org")? {
        question = question.parameter("org", &org);
    }
    // The dialect asks for the annotations: without them empty cells have no default and numbers
    // no type.
    let mut body = json!({
        "query": query, "type": "flux",
        "dialect": { "header": true, "annotations": ["group", "datatype", "default"] },
    });
    if let Some(params) = order.settings.get("params") {
        body["params"] = params.clone();
    }
    let question = question.header("Content-Type", "application/json");
    Ok(question.header("Accept", "application/csv").body(body))
}

fn sql(order: &Order, base: &str, query: &str) -> Result<Question, Trouble> {
    let db = match order.settings.text("db")? {
        Some(db) => db,
        None => order.settings.text("bucket")?.ok_or_else(|| wrong("`db` is missing"))?,
    };
    let question = question(order, "Bearer", format!("{base}/api/v3/query_sql"))?;
    let mut body = json!({ "db": db, "q": query, "format": "jsonl" });
    if let Some(params) = order.settings.get("params") {
        body["params"] = params.clone();
    }
    Ok(question.header("Content-Type", "application/json").body(body))
}

/// The series of an `InfluxQL` answer as rows: tags, columns, the measurement as `measurement`.
fn tables(body: &Value) -> Result<Vec<Row>, Trouble> {
    let refused = |said: &str| unknown(format!("the query failed: {}", quoted(said)));
    let rubbish = || unknown("InfluxDB answered what is no result of a query");
    if let Some(said) = body.get("error").and_then(Value::as_str) {
        return Err(refused(said));
    }
    let results = body.get("results").and_then(Value::as_array).ok_or_else(rubbish)?;
    let mut rows = Vec::new();
    for result in results {
        if let Some(said) = result.get("error").and_then(Value::as_str) {
            return Err(refused(said));
        }
        let series = result.get("series").and_then(Value::as_array);
        for series in series.into_iter().flatten() {
            read_series(series, &mut rows).ok_or_else(rubbish)?;
        }
    }
    Ok(rows)
}

fn read_series(series: &Value, rows: &mut Vec<Row>) -> Option<()> {
    let columns: Vec<&str> =
        series.get("columns")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let mut common = Row::new();
    common.extend(series.get("name").map(|name| ("measurement".to_owned(), name.clone())));
    for (name, value) in series.get("tags").and_then(Value::as_object).into_iter().flatten() {
        common.insert(name.clone(), value.clone());
    }
    for values in series.get("values")?.as_array()? {
        let mut row = common.clone();
        for (name, value) in columns.iter().zip(values.as_array()?) {
            row.insert((*name).to_owned(), value.clone());
        }
        // What an aggregate is called says nothing to a condition; its only column is the value.
        if let ["time", only] = columns[..] {
            row.entry("value").or_insert_with(|| values[1].clone());
            debug_assert!(row.contains_key(only));
        }
        rows.push(row);
    }
    Some(())
}

/// One JSON object per line.
fn lines(text: &str) -> Result<Vec<Row>, Trouble> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(Value::Object(row)) => match row.get("error").and_then(Value::as_str) {
                Some(said) if row.len() == 1 => {
                    return Err(unknown(format!("the query failed: {}", quoted(said))));
                }
                _ => rows.push(row),
            },
            _ => return Err(unknown(format!("InfluxDB answered no JSON: {}", quoted(line)))),
        }
    }
    Ok(rows)
}
