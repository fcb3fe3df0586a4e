//! `nightbell monitor samples`: what a monitor's checks answered, before it was judged.

use std::collections::BTreeSet;

use clap::Args;
use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};
use kernel::alert::definition::parse_span;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::moment::Moment;
use crate::cli::output::{Format, Output, clean};
use crate::cli::table::{Cell, Table};

/// Samples that the server is asked for at once.
const PAGE: usize = 5000;

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Samples {
    /// Name of the monitor
    name: String,
    /// Checks from then on: a time, or how long ago, such as 2h
    #[arg(long, value_name = "TIME", default_value = "1d")]
    from: String,
    /// Checks before then [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

/// A time as people write it: an instant, a local time of this machine, or how long ago.
///
/// # Errors
/// It is none of these.
pub(in crate::cli) fn time(option: &str, text: &str, now: Timestamp) -> Result<i64, Failure> {
    let text = text.trim();
    let exact = text.parse::<Timestamp>().ok();
    let local = || {
        let local =
            text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Date::into)).ok()?;
        local.to_zoned(TimeZone::system()).ok().map(|it| it.timestamp())
    };
    let ago = || Some(now.as_millisecond() - parse_span(text).ok()?);
    exact.or_else(local).map(Timestamp::as_millisecond).or_else(ago).ok_or_else(|| {
        Failure::usage(format!("{option} is not a time: `{text}`"))
            .with_hint("write 2026-03-28, 2026-03-28T02:00:00Z, or how long ago: 2h, 30d")
    })
}

/// Everything that is kept of a monitor in a stretch of time, in milliseconds since 1970.
///
/// # Errors
/// The server's.
pub(super) async fn all(
    name: &str,
    from: i64,
    to: Option<i64>,
    client: &Client,
) -> anyhow::Result<Vec<Value>> {
    let (mut samples, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let call = client.get(&["monitors", name, "samples"]).query("size", PAGE);
        let call = call.query("from", from).query_if("to", to).query_if("cursor", cursor);
        let mut page = call.send().await?.value()?;
        if let Value::Array(more) = page["samples"].take() {
            samples.extend(more);
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(samples);
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    arguments: &Samples,
    client: &Client,
    output: &Output,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let from = time("--from", &arguments.from, now)?;
    let to = arguments.to.as_deref().map(|text| time("--to", text, now)).transpose()?;
    let samples = all(&arguments.name, from, to, client).await?;
    match output.format {
        Format::Table => table(&samples, output)?,
        Format::Csv => {
            for line in csv(&samples) {
                output.line(line)?;
            }
        }
        _ => output.json(&samples)?,
    }
    if samples.is_empty() {
        output.note("nothing is kept of that time");
    }
    Ok(())
}

/// The rows of a sample: key, status, value, text, and the columns of what was seen.
fn rows(sample: &Value) -> Vec<Map<String, Value>> {
    let rows = match &sample["output"]["observations"] {
        Value::Null => sample.get("output").cloned().unwrap_or_default(),
        rows => rows.clone(),
    };
    let rows = match rows {
        Value::Array(rows) => rows,
        Value::Null => Vec::new(),
        row => vec![row],
    };
    let flat = |row: Value| match row {
        Value::Object(mut row) => {
            if let Some(Value::Object(attrs)) = row.remove("attrs") {
                attrs.into_iter().for_each(|(name, value)| {
                    row.entry(name).or_insert(value);
                });
            }
            row
        }
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    rows.into_iter().map(flat).collect()
}

/// What there is to say of a sample that holds no rows.
fn without_rows(sample: &Value) -> Option<String> {
    let unknown = sample["unknown"].as_str().map(|why| format!("unknown: {why}"));
    unknown.or_else(|| Some(format!("{} bytes, too long to be kept", sample["tooLong"].as_u64()?)))
}

fn table(samples: &[Value], output: &Output) -> anyhow::Result<()> {
    let mut table = Table::new(&["STARTED", "TOOK", "KEY", "STATUS", "VALUE", "~ROW"]);
    for sample in samples {
        let started = Moment::of(&sample["startedAt"]);
        let took = started.until(Moment::of(&sample["endedAt"]), Timestamp::now());
        let at = started.rfc3339().unwrap_or_default();
        let plain = |value: Option<Value>| match value {
            Some(Value::String(text)) => clean(&text),
            None | Some(Value::Null) => String::new(),
            Some(other) => clean(&other.to_string()),
        };
        let (mut at, mut took) = (Cell::from(at), Cell::from(took));
        for mut row in rows(sample) {
            let [key, status, value] = ["key", "status", "value"].map(|it| plain(row.remove(it)));
            let rest = clean(&Value::Object(row).to_string());
            let status = if status.is_empty() { status.into() } else { Cell::status(&status) };
            table.row([at, took, key.into(), status, value.into(), rest.into()]);
            // A check of several rows says its time once.
            (at, took) = (String::new().into(), String::new().into());
        }
        if let Some(why) = without_rows(sample) {
            let none = || Cell::from(String::new());
            let at = Moment::of(&sample["startedAt"]).rfc3339().unwrap_or_default();
            let took = String::new().into();
            table.row([
                at.into(),
                took,
                none(),
                Cell::status("unknown"),
                none(),
                clean(&why).into(),
            ]);
        }
    }
    output.table(&table)
}

/// Lines of comma-separated values (RFC 4180): one per row of a check, with a column for each that any
/// row has.
fn csv(samples: &[Value]) -> Vec<String> {
    const FIRST: [&str; 4] = ["key", "status", "value", "text"];
    let seen: Vec<Vec<Map<String, Value>>> = samples.iter().map(rows).collect();
    let names: BTreeSet<&str> =
        seen.iter().flatten().flat_map(|row| row.keys().map(String::as_str)).collect();
    let rest: Vec<&str> = names.into_iter().filter(|name| !FIRST.contains(name)).collect();
    let header =
        ["started", "ended", "unknown"].into_iter().chain(FIRST).chain(rest.iter().copied());
    let mut lines = vec![header.map(|name| cell(&json!(name))).collect::<Vec<_>>().join(",")];
    for (sample, rows) in samples.iter().zip(&seen) {
        let at = |name: &str| json!(Moment::of(&sample[name]).rfc3339());
        let why = json!(without_rows(sample));
        let line = |row: &Map<String, Value>| {
            let columns = FIRST.iter().chain(&rest);
            let values = columns.map(|name| cell(row.get(*name).unwrap_or(&Value::Null)));
            let begin = [cell(&at("startedAt")), cell(&at("endedAt")), cell(&why)];
            begin.into_iter().chain(values).collect::<Vec<_>>().join(",")
        };
        if rows.is_empty() {
            lines.push(line(&Map::new()));
        }
        lines.extend(rows.iter().map(line));
    }
    lines
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_a_column_for_each_that_any_row_has_and_quotes_what_must_be() {
        let samples = [
            json!({ "startedAt": 1_700_000_000_000_i64, "endedAt": 1_700_000_000_040_i64,
                "output": { "observations": [
                    { "key": "G44", "value": 7, "attrs": { "host": "G44", "note": "a, \"b\"" } },
                    { "key": "G45", "status": "fail", "attrs": { "loss": 100 } } ] } }),
            json!({ "startedAt": 1_700_000_060_000_i64, "endedAt": 1_700_000_060_010_i64,
                "unknown": "refused" }),
        ];
        assert_eq!(
            csv(&samples),
            [
                "started,ended,unknown,key,status,value,text,host,loss,note",
                "2023-11-14T22:13:20.000Z,2023-11-14T22:13:20.040Z,,G44,,7,,G44,,\"a, \"\"b\"\"\"",
                "2023-11-14T22:13:20.000Z,2023-11-14T22:13:20.040Z,,G45,fail,,,,100,",
                "2023-11-14T22:14:20.000Z,2023-11-14T22:14:20.010Z,unknown: refused,,,,,,,",
            ]
        );
    }

    #[test]
    fn a_time_is_an_instant_or_how_long_ago() {
        let now = Timestamp::from_second(1_700_000_000).expect("it is one");
        assert_eq!(time("--from", "2h", now).ok(), Some((1_700_000_000 - 7200) * 1000));
        assert_eq!(time("--from", "2023-11-14T22:13:20Z", now).ok(), Some(1_700_000_000_000));
        assert!(time("--from", "soon", now).is_err());
    }
}
