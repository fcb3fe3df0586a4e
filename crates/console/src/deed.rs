//! What is done to entities, events, secrets, silences, schedules, definitions and the server: one request to the
//! API each.

use http::Method;
use kernel::{ExecutionId, MachineKind, Timestamp};
use serde_json::{Value, json};

use crate::act::Act;
use crate::value::{at, said};
use crate::visit::{Pairs, encoded};
use crate::{Context, Failure, entity, steer};

/// Does it to one; answers the page to go to if it is not the one the form came from.
///
/// # Errors
/// The form says too little, or the API refuses it.
pub(crate) async fn one(
    cx: &Context<'_>,
    act: &Act,
    id: &str,
    form: &Pairs,
) -> Result<Option<String>, Failure> {
    let name = encoded(id);
    let schedule = format!("/api/scheduler/schedules/{name}");
    match act.name {
        "signal-entity" => {
            let id = entity_id(id)?;
            let operation =
                form.get("op").ok_or_else(|| Failure::wrong("No operation is named"))?;
            let input = form.get("input").map(json_of).transpose()?;
            // A text is sent as JSON, too: with its quotes.
            let input = input.map(|input| Value::from(input.to_string()));
            let path = entity::path(&id, Some(operation));
            cx.change(Method::POST, &path, input.as_ref()).await?;
        }
        "delete-entity" => {
            let path = entity::path(&entity_id(id)?, None);
            cx.change(Method::DELETE, &path, None).await?;
        }
        "publish" => {
            let text = form.get("input").unwrap_or("{}");
            let payload = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            let body = json!({ "event": id, "payload": payload });
            cx.change(Method::POST, "/api/event/publish", Some(&body)).await?;
            return Ok(Some(format!("/console/system/events?said=publish&event={name}")));
        }
        "put-secret" => {
            // As it was typed: a value may begin or end with a space.
            let value = form.all("value").next().filter(|it| !it.is_empty());
            let value = value.ok_or_else(|| Failure::wrong("The secret has no value"))?;
            let body = Value::from(Value::from(value).to_string());
            cx.change(Method::PUT, &format!("/api/secrets/{name}"), Some(&body)).await?;
        }
        "delete-secret" => {
            cx.change(Method::DELETE, &format!("/api/secrets/{name}"), None).await?;
        }
        "extend-silence" => extend(cx, &name, form).await?,
        "backfill" => {
            let path = format!("{schedule}/backfill?{}", stretch(form)?);
            cx.change(Method::POST, &path, None).await?;
        }
        "end-backfill" => {
            cx.change(Method::DELETE, &format!("{schedule}/backfill"), None).await?;
        }
        "end-logins" => {
            let path = format!("/api/access/sessions?who={name}");
            cx.change(Method::DELETE, &path, None).await?;
        }
        "back-up" => _ = cx.change(Method::POST, "/api/admin/backup", None).await?,
        "reload" => _ = cx.change(Method::POST, "/api/admin/reload", None).await?,
        "tag" | "untag" => tag(cx, act.name == "tag", &name, form).await?,
        _ => steer::one(cx, act, id, form).await?,
    }
    Ok(None)
}

fn entity_id(id: &str) -> Result<ExecutionId, Failure> {
    let id = ExecutionId::new(id);
    if id.machine() == MachineKind::Entity {
        return Ok(id);
    }
    Err(Failure::wrong("The form names no entity"))
}

/// Any JSON that somebody has typed.
fn json_of(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::wrong(format!("The input is no JSON: {error}"))
            .with_hint("Write a text in double quotes.")
    })
}

/// The instants that a backfill is for, as the API takes them.
///
/// # Errors
/// One is missing.
pub(crate) fn stretch(form: &Pairs) -> Result<String, Failure> {
    let (Some(from), Some(to)) = (form.get("from"), form.get("to")) else {
        return Err(Failure::wrong("A backfill needs a first and a last instant")
            .with_hint("Write times such as 2026-01-31T08:00:00Z."));
    };
    Ok(format!("from={}&to={}", encoded(from), encoded(to)))
}

/// By how much a silence is extended: words, and milliseconds.
pub(crate) const LONGER: [(&str, i64); 3] =
    [("1h", 3_600_000), ("4h", 14_400_000), ("24h", 86_400_000)];

/// Lets a silence end later.
async fn extend(cx: &Context<'_>, name: &str, form: &Pairs) -> Result<(), Failure> {
    let path = format!("/api/silences/{name}");
    let it = cx.get(&path).await?;
    let chosen = LONGER.into_iter().find(|(word, _)| form.get("for") == Some(*word));
    let (_, longer) = chosen.ok_or_else(|| Failure::wrong("It is not said for how much longer"))?;
    let (Some(from), Some(to)) = (at(&it, "from"), at(&it, "to")) else {
        return Err(Failure::wrong("This silence comes again each week, so it has no end to move"));
    };
    let text = |at: Timestamp| Value::from(at.to_string());
    let to = to.max(cx.clock.now).plus_millis(longer);
    let mut body = json!({ "match": it["match"], "from": text(from), "to": text(to) });
    for member in ["by", "comment"] {
        if let Some(words) = said(&it, member) {
            body[member] = words.into();
        }
    }
    // What it matches was checked when it was made.
    cx.change(Method::PUT, &format!("{path}?force=true"), Some(&body)).await.map(drop)
}

/// Adds a label to a workflow, a task or a webhook, or takes it away.
async fn tag(cx: &Context<'_>, adds: bool, name: &str, form: &Pairs) -> Result<(), Failure> {
    // A webhook is added labels to by another method.
    let (kind, adding) = match form.get("kind") {
        Some("task") => ("task", Method::POST),
        Some("webhook") => ("webhook", Method::PUT),
        _ => ("workflow", Method::POST),
    };
    let text = form.get("tag").unwrap_or_default();
    let (key, value) = text.split_once(':').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(Failure::wrong("The tag says nothing").with_hint("Write key:value."));
    }
    let body = json!([{ "type": "METADATA", "key": key.trim(), "value": value.trim() }]);
    let method = if adds { adding } else { Method::DELETE };
    cx.change(method, &format!("/api/metadata/{kind}/{name}/tags"), Some(&body)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_needs_both_its_ends() {
        let asked = stretch(&Pairs::parse("from=2026-01-31T08%3A00%3A00Z&to=x")).expect("both");
        assert_eq!(asked, "from=2026-01-31T08%3A00%3A00Z&to=x");
        assert!(stretch(&Pairs::parse("from=1")).is_err());
    }
}
