//! Annotated CSV, as Flux queries are answered: several tables in one text, each with its own
//! columns, types and defaults.

use serde_json::{Number, Value};

use super::Row;

/// Why there are no rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The query failed, perhaps after some rows; what was said.
    Query(String),
    /// The text is not what it should be.
    Rubbish(String),
}

/// What is known of the columns of the table being read.
#[derive(Default)]
struct Table {
    types: Vec<String>,
    defaults: Vec<String>,
    columns: Option<Vec<String>>,
}

/// The rows of all tables. The columns `result` and `table`, which only number them, are left out.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let mut table = Table::default();
    for record in records(text)? {
        let Some(record) = record else {
            // An empty line ends a table and everything said about its columns.
            table = Table::default();
            continue;
        };
        let first = record.first().map(String::as_str).unwrap_or_default();
        match first {
            "#datatype" | "#group" | "#default" if table.columns.is_some() => {
                // Some servers leave out the empty line.
                table = Table::default();
            }
            _ => {}
        }
        match first {
            "#datatype" => table.types = record,
            "#default" => table.defaults = record,
            _ if first.starts_with('#') => {}
            _ => match &table.columns {
                None => table.columns = Some(record),
                Some(columns) => {
                    let row = row(columns, &table, &record)?;
                    failed(&row)?;
                    rows.push(row);
                }
            },
        }
    }
    Ok(rows)
}

/// A table of `error` and `reference` is how a query tells that it broke.
fn failed(row: &Row) -> Result<(), Error> {
    match (row.get("error"), row.get("reference")) {
        (Some(Value::String(said)), Some(_)) if row.len() == 2 => Err(Error::Query(said.clone())),
        _ => Ok(()),
    }
}

fn row(columns: &[String], table: &Table, record: &[String]) -> Result<Row, Error> {
    if record.len() != columns.len() {
        let (found, wanted) = (record.len(), columns.len());
        return Err(Error::Rubbish(format!("a line has {found} cells under {wanted} columns")));
    }
    let mut row = Row::new();
    for (at, (name, cell)) in columns.iter().zip(record).enumerate() {
        if name.is_empty() || name == "result" || name == "table" {
            continue;
        }
        let default = || table.defaults.get(at).map(String::as_str).unwrap_or_default();
        let cell = if cell.is_empty() { default() } else { cell };
        let kind = table.types.get(at).map(String::as_str).unwrap_or_default();
        row.insert(name.clone(), value(kind, cell));
    }
    Ok(row)
}

/// A cell by its type; without types a number is what looks like one. A number that JSON cannot
/// hold stays a text.
fn value(kind: &str, cell: &str) -> Value {
    let float = || cell.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    let parsed = match kind {
        "string" if cell.is_empty() => Some(Value::String(String::new())),
        _ if cell.is_empty() => Some(Value::Null),
        "long" => cell.parse::<i64>().ok().map(Value::from),
        "unsignedLong" => cell.parse::<u64>().ok().map(Value::from),
        "double" => float(),
        "boolean" => Some(Value::Bool(matches!(cell, "true" | "t"))),
        "" if cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') => float(),
        _ => None,
    };
    parsed.unwrap_or_else(|| cell.into())
}

/// The records of a CSV text by RFC 4180; `None` for an empty line.
fn records(text: &str) -> Result<Vec<Option<Vec<String>>>, Error> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut rest = text.chars().peekable();
    let mut end = |record: &mut Vec<String>, cell: &mut String, was_quoted: &mut bool| {
        record.push(std::mem::take(cell));
        let record = std::mem::take(record);
        let empty = matches!(&record[..], [only] if only.is_empty()) && !*was_quoted;
        *was_quoted = false;
        records.push(Some(record).filter(|_| !empty));
    };
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => (quoted, was_quoted) = (true, true),
            ',' if !quoted => record.push(std::mem::take(&mut cell)),
            '\r' if !quoted && rest.peek() == Some(&'\n') => {}
            '\n' if !quoted => end(&mut record, &mut cell, &mut was_quoted),
            other => cell.push(other),
        }
    }
    if quoted {
        return Err(Error::Rubbish("it ends within quotation marks".to_owned()));
    }
    if !cell.is_empty() || !record.is_empty() {
        end(&mut record, &mut cell, &mut was_quoted);
    }
    Ok(records)
}
