//! `/api/oncall/{name}/overrides`: who stands in for whoever has the turn, and when.

use axum::Json;
use axum::extract::State;
use engine::monitors::{OVERRIDES, unmet_override};
use kernel::access::Permission;
use kernel::alert::definition::roster::{Override, Roster};
use kernel::alert::definition::{ChecklistOptions, Known, load_among};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::super::extract::{Body, Path, Query};
use super::oncall::{no_rotation, time};
use super::refused;
use crate::Api;
use crate::access::Routes;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().on(Permission::Read, routes!(list)).on(Permission::Respond, routes!(add, remove))
}

/// Lists the overrides of a rotation by their beginning: those that people made, and those of files.
#[utoipa::path(
    operation_id = "list_overrides", get, path = "/api/oncall/{name}/overrides", tag = "receivers",
    params(("name" = String, Path, description = "The name of the rotation")),
    responses(
        (status = 200, description = "`results`: `who`, `from`, `to`, the `source` that defines it (`overrides` \
            are those that people made), whether it is `over`, and the `problem` for which it does not count",
            body = serde_json::Value),
        (status = 404, description = "There is no such rotation"),
    )
)]
async fn list(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let roster = roster_of(&api, &name)?;
    let now = api.engine.now();
    let mut found: Vec<(Override, String)> = Vec::new();
    for source in api.engine.monitor_sources() {
        let file = api.engine.monitors_of(&source).unwrap_or_default();
        let own = file.roster.overrides.into_iter().filter(|it| *it.rotation == *name);
        found.extend(own.map(|it| (it, source.to_string())));
    }
    found.sort_by_key(|(own, _)| (own.from, own.to));
    let results = found.into_iter().map(|(own, source)| {
        let problem = unmet_override(&own, &roster).or_else(|| {
            let counts = roster.overrides.contains(&own);
            (!counts).then(|| "another one for the same time takes its place".to_owned())
        });
        let mut shown = shown(&own, &source);
        shown["over"] = json!(own.to <= now);
        shown["problem"] = json!(problem);
        shown
    });
    let results: Vec<Value> = results.collect();
    Ok(Json(json!({ "rotation": name, "results": results })))
}

fn shown(own: &Override, source: &str) -> Value {
    json!({
        "rotation": own.rotation, "who": own.who, "from": own.from.to_string(),
        "to": own.to.to_string(), "source": source,
    })
}

/// The roster of everything, in which there is this rotation.
fn roster_of(api: &Api, name: &str) -> Result<Roster, Problem> {
    let roster = api.engine.monitors_file().roster;
    if roster.rotations.contains_key(name) {
        return Ok(roster);
    }
    Err(no_rotation(name, &roster))
}

/// Lets somebody stand in; takes the place of the override of this rotation from and to the same instants,
/// also of one that a file defines.
///
/// `who` is a person or a list of people; `from` (now without it) and `to` are instants, or times by the clock
/// of `tz`, without which it is the rotation's.
#[utoipa::path(
    operation_id = "add_override", post, path = "/api/oncall/{name}/overrides", tag = "receivers",
    request_body = serde_json::Value,
    params(("name" = String, Path, description = "The name of the rotation")),
    responses(
        (status = 200, description = "The override, and whether it `replaced` one that somebody had made",
            body = serde_json::Value),
        (status = 400, description = "What is wrong with it"),
        (status = 404, description = "There is no such rotation"),
        (status = 409, description = "There are a thousand already"),
    )
)]
async fn add(
    State(api): State<Api>,
    Path(name): Path<String>,
    Body(mut body): Body<Value>,
) -> Result<Json<Value>, Problem> {
    let roster = roster_of(&api, &name)?;
    let Value::Object(members) = &mut body else {
        return Err(Problem::bad_request("an override is a JSON object")
            .with_hint("Write {\"who\": \"ann\", \"from\": …, \"to\": …}."));
    };
    if members.get("rotation").is_some_and(|given| given != &*name) {
        return Err(Problem::bad_request("rotation is not the one that the path names"));
    }
    members.insert("rotation".to_owned(), json!(name));
    let now = api.engine.now();
    members.entry("from").or_insert_with(|| json!(now.to_string()));
    if !members.contains_key("tz")
        && let Some(rotation) = roster.rotations.get(&*name)
    {
        let tz = if rotation.tz.is_empty() { "UTC" } else { &*rotation.tz };
        members.insert("tz".to_owned(), json!(tz));
    }
    let mut known = Known::default();
    known.people.extend(roster.people.keys().cloned());
    known.rotations.extend(roster.rotations.keys().cloned());
    let document = json!({ "overrides": [body] }).to_string();
    let loaded = load_among(&document, &ChecklistOptions::default(), &known);
    let Some(mut file) = loaded.file else { return Err(refused(&loaded.problems)) };
    let Some(own) = file.roster.overrides.pop() else {
        return Err(Problem::bad_request("there is no override"));
    };
    if own.to <= now {
        return Err(Problem::bad_request(format!("it is over since {}", own.to))
            .with_hint("An override changes nothing that was told."));
    }
    let mut shown = shown(&own, OVERRIDES);
    shown["replaced"] = json!(api.engine.put_override(own).await?);
    Ok(Json(shown))
}

#[derive(Debug, Deserialize, IntoParams)]
struct WhenParams {
    /// When it begins: milliseconds since 1970, or an instant, as the list tells it.
    from: String,
    /// When it ends.
    to: String,
}

/// Takes back an override that somebody made.
#[utoipa::path(
    operation_id = "delete_override", delete, path = "/api/oncall/{name}/overrides", tag = "receivers",
    params(("name" = String, Path, description = "The name of the rotation"), WhenParams),
    responses(
        (status = 200, description = "It does not count any more"),
        (status = 400, description = "What is wrong with the times"),
        (status = 404, description = "There is no such rotation, or none from and to these instants"),
        (status = 409, description = "A file defines it"),
    )
)]
async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(params): Query<WhenParams>,
) -> Result<(), Problem> {
    let instant = |member: &str, text: &str| {
        let missing = || Problem::bad_request(format!("{member} is needed"));
        time(member, Some(text))?.ok_or_else(missing)
    };
    let own = Override {
        rotation: (&*name).into(),
        who: Vec::new(),
        from: instant("from", &params.from)?,
        to: instant("to", &params.to)?,
    };
    // What is left of a rotation that is gone can be taken back as well.
    if api.engine.delete_override(&own).await? {
        return Ok(());
    }
    roster_of(&api, &name)?;
    for source in api.engine.monitor_sources() {
        let file = api.engine.monitors_of(&source).unwrap_or_default();
        if file.roster.overrides.iter().any(|it| it.is_at(&own)) {
            return Err(Problem::conflict(format!("this override is defined by {source}"))
                .with_hint(
                    "Take it out there, or put another one in its place: POST the same times.",
                ));
        }
    }
    let message = format!("{name} has no override from {} to {}", own.from, own.to);
    Err(Problem::not_found(message).with_hint("`nightbell oncall override list` tells them."))
}
