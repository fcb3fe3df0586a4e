//! HTTP triggers: methods and paths of users' own that start runs of definitions, or tell of them.
//!
//! A trigger is a document of the kind `trigger`, named by its name. Its paths are looked at when
//! nothing of ours answers a request, so triggers cost nothing elsewhere, and can never stand in
//! our way: paths in namespaces that are ours are refused.
#![allow(unused_qualifications, reason = "the macros that describe paths write types out in full")]

mod answer;
mod definition;
mod pattern;
mod proof;
mod scope;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json as AsJson;
use axum::extract::State;
use engine::store::Document;
use engine::{Authored, Change, Engine};
use kernel::access::Permission;
use kernel::definition::Problem as Flaw;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use utoipa_axum::routes;

pub(crate) use answer::answer;
pub use definition::{Trigger, read, schema};

use self::pattern::Pattern;
use self::table::Table;
use crate::Api;
use crate::access::{Actor, Routes};
use crate::problem::Problem;
use crate::rest::extract::{Path, RawBody};
use crate::rest::metadata::apart;

/// The paths of triggers' definitions.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on(Permission::Read, routes!(triggers))
        .on(Permission::Edit, routes!(put_triggers))
        .on(Permission::Read, routes!(get_trigger))
        .on(Permission::Edit, routes!(delete_trigger))
}

/// The kind of the documents that hold triggers.
const KIND: &str = "trigger";
/// Triggers at most.
const COUNT_MAX: usize = 1000;

/// Held from looking at the triggers until one is written.
static WRITING: Mutex<()> = Mutex::const_new(());

/// All triggers, as requests need them.
struct Registered {
    /// Those that can be used, by name.
    triggers: BTreeMap<String, Arc<Trigger>>,
    /// Where they are; `None` where one is stored that cannot be used.
    paths: Table<Option<Arc<Trigger>>>,
}

/// Where a stored trigger is, read without the rest of it.
#[derive(Deserialize)]
struct Place {
    method: String,
    path: String,
}

/// The triggers as they are stored.
async fn registered(engine: &Engine) -> Result<Arc<Registered>, Problem> {
    let aside = engine.clone();
    let compile = move |documents: &[Document]| {
        let mut registered = Registered { triggers: BTreeMap::new(), paths: Table::default() };
        for document in documents {
            let value = serde_json::from_str(&document.text).unwrap_or(Value::Null);
            match definition::of_value(value, aside.scripts()) {
                Ok(trigger) => {
                    let trigger = Arc::new(trigger);
                    let (method, place) = (trigger.method.clone(), &trigger.pattern);
                    registered.paths.add(method, place, Some(trigger.clone()));
                    registered.triggers.insert(trigger.name.clone(), trigger);
                }
                Err(flaws) => {
                    let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
                    aside.catalogue().set_aside(document, &flaws.join("; "));
                    let place = serde_json::from_str::<Place>(&document.text).ok();
                    let place = place.and_then(|place| {
                        let method = place.method.to_ascii_uppercase().parse().ok()?;
                        Some((method, Pattern::parse(&place.path).ok()?))
                    });
                    if let Some((method, pattern)) = place {
                        registered.paths.add(method, &pattern, None);
                    }
                }
            }
        }
        registered
    };
    Ok(engine.catalogue().view(KIND, compile).await?)
}

/// Makes a change of which triggers are a part.
///
/// # Errors
/// 400 with every conflict, if two triggers have the same method and paths; the engine's. Nothing
/// is written then.
pub async fn change(
    engine: &Engine,
    triggers: Vec<Trigger>,
    mut change: Change,
) -> Result<(), Problem> {
    let _writing = WRITING.lock().await;
    let written = triggers.iter().map(|it| (Authored::Trigger, Arc::from(it.name.as_str())));
    change.authored.extend(written);
    // What is registered is compiled only if somebody asks.
    if !triggers.is_empty() {
        let present = registered(engine).await?;
        if let Some(problem) = present.conflicts(&[&triggers]).pop().flatten() {
            return Err(problem);
        }
        let new = triggers.iter().filter(|it| !present.holds(it));
        change.documents.extend(new.map(|it| (KIND, it.name.clone(), it.document.to_string())));
    }
    Ok(engine.change(change).await?)
}

/// What keeps groups of triggers from being defined at once, each judged beside those before it;
/// `None` for those that are good.
///
/// # Errors
/// The store's.
pub async fn judge(
    engine: &Engine,
    groups: &[&[Trigger]],
) -> Result<Vec<Option<Problem>>, Problem> {
    Ok(registered(engine).await?.conflicts(groups))
}

/// Those of the triggers that are new or different.
///
/// # Errors
/// The store's.
pub async fn differing(engine: &Engine, triggers: Vec<Trigger>) -> Result<Vec<Trigger>, Problem> {
    if triggers.is_empty() {
        return Ok(triggers);
    }
    let present = registered(engine).await?;
    Ok(triggers.into_iter().filter(|it| !present.holds(it)).collect())
}

/// The document of a trigger; `None` if there is none that can be used.
///
/// # Errors
/// The store's.
pub(crate) async fn document_of(engine: &Engine, name: &str) -> Result<Option<Value>, Problem> {
    let present = registered(engine).await?;
    Ok(present.triggers.get(name).map(|trigger| trigger.document.clone()))
}

/// The names of the triggers that anybody may call.
///
/// # Errors
/// The store's.
pub(crate) async fn public(engine: &Engine) -> Result<Vec<String>, Problem> {
    let present = registered(engine).await?;
    let public = present.triggers.values().filter(|trigger| trigger.auth == proof::Auth::None);
    Ok(public.map(|trigger| trigger.name.clone()).collect())
}

/// Removes a trigger; `false` if there was none.
///
/// # Errors
/// The store's.
pub(crate) async fn remove(engine: &Engine, name: &str) -> Result<bool, Problem> {
    let _writing = WRITING.lock().await;
    let found = engine.catalogue().delete(KIND, name).await?;
    engine.forget_author(Authored::Trigger, name).await?;
    Ok(found)
}

impl Registered {
    /// Whether a trigger is registered just so.
    fn holds(&self, trigger: &Trigger) -> bool {
        let former = self.triggers.get(&trigger.name);
        former.is_some_and(|former| former.document == trigger.document)
    }

    /// See [`judge`].
    fn conflicts(&self, groups: &[&[Trigger]]) -> Vec<Option<Problem>> {
        let replaced: BTreeSet<&str> =
            groups.iter().flat_map(|group| group.iter().map(|it| it.name.as_str())).collect();
        let others = self.triggers.values().map(|it| &**it);
        let mut beside: Vec<&Trigger> =
            others.filter(|it| !replaced.contains(it.name.as_str())).collect();
        let mut judged = Vec::new();
        for group in groups {
            let problem = conflict(&beside, group);
            if problem.is_none() {
                beside.extend(group.iter());
            }
            judged.push(problem);
        }
        judged
    }
}

/// What is wrong with triggers beside others.
fn conflict(others: &[&Trigger], triggers: &[Trigger]) -> Option<Problem> {
    let mut flaws = Vec::new();
    for (index, trigger) in triggers.iter().enumerate() {
        let place = |member: &str| match triggers.len() {
            1 => format!("/{member}"),
            _ => format!("/{index}/{member}"),
        };
        let mut before = others.iter().copied().chain(&triggers[..index]);
        if before.clone().any(|other| other.name == trigger.name) {
            let message = format!("there is another trigger '{}' before this one", trigger.name);
            flaws.push(Flaw::new(place("name"), "name-taken", message, "Give it another name."));
            continue;
        }
        let same = |other: &&Trigger| {
            other.method == trigger.method && other.pattern.equals(&trigger.pattern)
        };
        if let Some(other) = before.find(same) {
            let message = format!("the trigger '{}' has the same method and path", other.name);
            let hint = "Give one of them another path, or delete the other.";
            flaws.push(Flaw::new(place("path"), "path-taken", message, hint));
        }
    }
    if !flaws.is_empty() {
        return Some(Problem::invalid(flaws));
    }
    (others.len() + triggers.len() > COUNT_MAX)
        .then(|| Problem::conflict(format!("there can be at most {COUNT_MAX} triggers")))
}

fn missing(name: &str) -> Problem {
    let shown: String = name.chars().take(100).collect();
    Problem::not_found(format!("there is no trigger '{shown}'"))
}

/// Lists all triggers.
#[utoipa::path(
    get, path = "/api/triggers", tag = "trigger",
    responses((status = 200, description = "The triggers", body = Vec<serde_json::Value>))
)]
async fn triggers(State(api): State<Api>) -> Result<AsJson<Vec<Value>>, Problem> {
    let registered = registered(&api.engine).await?;
    Ok(AsJson(registered.triggers.values().map(|trigger| trigger.document.clone()).collect()))
}

/// Creates or replaces triggers, one or a list. `name`, `method` and `path` say where it is; with
/// `start` it starts a run and returns URLs to follow it, with `show` it shows a run.
#[utoipa::path(
    post, path = "/api/triggers", tag = "trigger", request_body = serde_json::Value,
    responses(
        (status = 200, description = "The triggers as they are now", body = Vec<serde_json::Value>),
        (status = 400, description = "Invalid; the response lists every problem"),
    )
)]
async fn put_triggers(
    State(api): State<Api>,
    actor: Actor,
    RawBody(body): RawBody,
) -> Result<AsJson<Vec<Value>>, Problem> {
    // Bounds on depth and numbers are the same for all documents.
    let value: Value = crate::rest::extract::parse(&body)?;
    let engine = api.engine.clone();
    let compile = move || read(&value.to_string(), engine.scripts()).map_err(Problem::invalid);
    let triggers = apart(compile).await?;
    let documents = triggers.iter().map(|trigger| trigger.document.clone()).collect();
    let by = Change { author: actor.acts_as().into(), ..Change::default() };
    change(&api.engine, triggers, by).await?;
    Ok(AsJson(documents))
}

/// Shows a trigger.
#[utoipa::path(
    get, path = "/api/triggers/{name}", tag = "trigger",
    params(("name" = String, Path, description = "The name of the trigger")),
    responses(
        (status = 200, description = "The trigger", body = serde_json::Value),
        (status = 404, description = "Not found"),
    )
)]
async fn get_trigger(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<AsJson<Value>, Problem> {
    let registered = registered(&api.engine).await?;
    let found = registered.triggers.get(&name).ok_or_else(|| missing(&name))?;
    Ok(AsJson(found.document.clone()))
}

/// Deletes a trigger; runs that it has started continue.
#[utoipa::path(
    delete, path = "/api/triggers/{name}", tag = "trigger",
    params(("name" = String, Path, description = "The name of the trigger")),
    responses(
        (status = 200, description = "Deleted"),
        (status = 404, description = "Not found"),
    )
)]
async fn delete_trigger(State(api): State<Api>, Path(name): Path<String>) -> Result<(), Problem> {
    if remove(&api.engine, &name).await? { Ok(()) } else { Err(missing(&name)) }
}
