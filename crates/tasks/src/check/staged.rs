//! What a check says of rows that are given, in the place of those that its source would answer: for
//! tests. Everything after the source is what runs otherwise.

use kernel::Json;
use kernel::alert::Status;
use serde_json::{Map, Value, json};

use super::composite;
use super::empty::Empty;
use super::order::Order;
use super::rows::Shape;
use super::seen::Seen;
use super::{Settings, Source as _, Trouble};

/// The output of a check's task whose source answered these rows. A row that says its own `status`
/// is an observation as it is; the rest is made into observations as the settings say.
///
/// `task_type` is that of the check, `input` what its task was given.
///
/// # Errors
/// Why nobody can tell from them how things are.
pub fn observe(
    task_type: &str,
    input: &Json,
    rows: Vec<Map<String, Value>>,
) -> Result<Json, String> {
    look(task_type, input, rows)
        .map(|seen| Json::of(&seen.output()))
        .map_err(|trouble| told(task_type, trouble))
}

/// What a check says now of what one of the same monitor answered before: its rows are made into
/// observations anew, as the settings say now. What is no row stays as it was.
///
/// # Errors
/// As [`observe`].
pub fn observe_again(task_type: &str, input: &Json, output: &Json) -> Result<Json, String> {
    let answered = output.parse();
    let observations = answered["observations"].as_array();
    let Some(observations) = observations.filter(|_| asks_for_rows(task_type, input)) else {
        return Ok(output.clone());
    };
    // What stands for no rows at all has none of its own.
    let rows = observations.iter().filter_map(|it| it["attrs"].as_object());
    let rows: Vec<_> = rows.filter(|row| !row.is_empty()).cloned().collect();
    judged(task_type, input, rows)
        .map(|seen| Json::of(&seen.output()))
        .map_err(|trouble| told(task_type, trouble))
}

fn told(task_type: &str, trouble: Trouble) -> String {
    match trouble {
        Trouble::Unknown(why) => why,
        Trouble::Wrong(why) => format!("{task_type}: {why}"),
    }
}

fn look(task_type: &str, input: &Json, rows: Vec<Map<String, Value>>) -> Result<Seen, Trouble> {
    // Rows that name monitors say how these stand.
    if task_type == composite::Others::TYPE && rows.iter().any(|row| row.contains_key("monitor")) {
        return composite::staged(input, &rows);
    }
    if !asks_for_rows(task_type, input) || rows.iter().any(says_status) {
        return Ok(Seen { observations: rows.into_iter().map(of_itself).collect(), memory: None });
    }
    judged(task_type, input, rows)
}

/// Rows as the source would answer them, made into observations.
fn judged(task_type: &str, input: &Json, rows: Vec<Map<String, Value>>) -> Result<Seen, Trouble> {
    let order = Order::read(input, &Settings::default())?;
    let empty = match (Empty::read(&order)?, task_type) {
        (None, "CHECK_PROMETHEUS") => Some(Empty::Unknown),
        (empty, _) => empty,
    };
    match empty {
        Some(empty) if rows.is_empty() => empty.seen("rows"),
        _ => Shape::of(&order)?.observe(rows),
    }
}

/// Whether a row says itself how things are, in one of the words for that.
fn says_status(row: &Map<String, Value>) -> bool {
    let status = row.get("status").and_then(Value::as_str);
    status.is_some_and(|it| Status::parse(it).is_some())
}

/// Whether a kind of check is a question whose answer is rows.
fn asks_for_rows(task_type: &str, input: &Json) -> bool {
    match task_type {
        "CHECK_INFLUX" | "CHECK_PROMETHEUS" | "CHECK_SQL" => true,
        "CHECK_HTTP" => {
            let input = input.parse();
            ["rows", "jq"].iter().any(|name| input["settings"].get(*name).is_some())
        }
        _ => false,
    }
}

/// An observation that says itself how things are: what is no part of one is its row.
fn of_itself(mut row: Map<String, Value>) -> Value {
    let mut observation = json!({ "key": row.remove("key").unwrap_or_else(|| "".into()) });
    for name in ["status", "value", "text"] {
        if let Some(value) = row.remove(name) {
            observation[name] = value;
        }
    }
    if let Some(Value::Object(attrs)) = row.remove("attrs") {
        row.extend(attrs);
    }
    observation["attrs"] = Value::Object(row);
    observation
}
