//! The difference between the files of a project and the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use engine::Engine;
use serde::Serialize;
use utoipa::ToSchema;

use super::blast;
use super::difference::{Action, Difference};
use super::object::{Kind, Object, hash};
use super::owners::{self, Owner};
use super::wanted::Wanted;
use crate::access::Actor;
use crate::problem::Problem;

/// What would change.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The project.
    pub project: String,
    /// Identifies the state of the server that the plan was made against, as far as the plan is
    /// concerned.
    pub base: String,
    /// What changes, in the order in which it is applied, removals last.
    pub changes: Vec<PlannedChange>,
    /// Reasons why it cannot be applied as it is.
    pub refusals: Vec<String>,
    /// Other effects: who is notified of incidents, missing secrets.
    pub notes: Vec<String>,
}

/// What becomes of one object.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// The action.
    pub action: Action,
    /// `schema`, `workflow`, `task`, `handler`, `schedule`, `trigger`, `status_page`, `webhook` or
    /// `monitors`, which is a file of them.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The version of a workflow or a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Another project owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it affects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An object that is not as a project applied it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The project that owns it.
    pub project: String,
    /// The kind of object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The version of a workflow or a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Whether it was removed; otherwise it was changed.
    pub removed: bool,
}

/// Compares.
///
/// # Errors
/// The store's.
pub(super) async fn difference(
    engine: &Engine,
    project: &str,
    wanted: &Wanted,
) -> Result<Difference, Problem> {
    let owners = owners::all(engine).await?;
    let own: BTreeMap<&Object, &Owner> =
        owners.iter().filter(|(_, owner)| owner.project == project).collect();
    let differing = Wanted { defined: wanted.differing(engine).await?, ..Wanted::default() };
    let differing = differing.objects();
    let objects = wanted.objects();
    let concerned: BTreeSet<&Object> = objects.iter().chain(own.keys().copied()).collect();
    let (mut changes, mut seen) = (BTreeMap::new(), String::new());
    for object in concerned {
        let present = object.present(engine).await?;
        let owner = owners.get(object);
        let (key, here) = (object.key(), present.as_deref().unwrap_or("-"));
        let whose = owner.map(|it| format!("{} {} {}", it.project, it.applied, it.text));
        let _ = writeln!(seen, "{key} {here} {}", whose.unwrap_or_default());
        if !objects.contains(object) {
            changes.insert(object.clone(), Action::Remove);
            continue;
        }
        let differs =
            match wanted.monitors.get(&object.name).filter(|_| object.kind == Kind::Monitors) {
                // Sealing changes what is stored each time, so the texts are compared.
                Some((_, text)) => {
                    owner.is_none_or(|it| it.text != *text || Some(&it.applied) != present.as_ref())
                }
                None => differing.contains(object),
            };
        let action = match (present, owner) {
            (None, _) => Action::Create,
            (Some(_), _) if differs => Action::Update,
            // One without a hash was not finished.
            (Some(_), Some(owner)) if owner.project == project && !owner.applied.is_empty() => {
                continue;
            }
            (Some(_), _) => Action::Adopt,
        };
        changes.insert(object.clone(), action);
    }
    let owned = own.len();
    Ok(Difference { changes, base: hash(&seen), owned, owners })
}

/// The plan of a project.
///
/// # Errors
/// The store's.
pub(super) async fn of(
    engine: &Engine,
    project: &str,
    wanted: &Wanted,
    actor: &Actor,
) -> Result<Plan, Problem> {
    let difference = difference(engine, project, wanted).await?;
    let mut refusals = Vec::new();
    for (object, owner) in difference.foreign(project) {
        refusals.push(format!("project {owner} owns {object}; --adopt takes it over"));
    }
    if difference.removes_much() {
        let (removed, owned) = (difference.removed().count(), difference.owned);
        refusals.push(format!("it removes {removed} of {owned} objects; --yes lets it"));
    }
    let mut notes = Vec::new();
    let secrets = wanted.missing_secrets.iter();
    notes.extend(secrets.map(|name| format!("secret {name} is not on the server")));
    notes.extend(lent(engine, wanted, &difference, actor));
    match blast::monitors(engine, project, wanted, &difference).await? {
        Ok(told) => notes.extend(told),
        Err(unfit) => refusals.extend(unfit),
    }
    let mut changes = Vec::new();
    let (removals, others): (Vec<_>, Vec<_>) =
        difference.changes.iter().partition(|(_, action)| **action == Action::Remove);
    for (object, action) in others.into_iter().chain(removals) {
        let owner = difference.owners.get(object).filter(|it| it.project != project);
        changes.push(PlannedChange {
            action: *action,
            kind: object.kind.as_str(),
            name: object.name.to_string(),
            version: (object.version > 0).then_some(object.version),
            owner: owner.map(|it| it.project.clone()),
            notes: blast::of(engine, object, *action, wanted).await?,
        });
    }
    Ok(Plan { project: project.to_owned(), base: difference.base, changes, refusals, notes })
}

/// What acts as somebody else than whoever asks, and would act as them, though it stays as it is.
fn lent(
    engine: &Engine,
    wanted: &Wanted,
    difference: &Difference,
    actor: &Actor,
) -> Option<String> {
    let own = Some(actor.acts_as()?);
    let changed: BTreeSet<&str> = difference
        .changes
        .iter()
        .filter(|(_, action)| matches!(action, Action::Create | Action::Update))
        .map(|(object, _)| &*object.name)
        .collect();
    let others: Vec<String> = wanted
        .authored()
        .into_iter()
        .filter(|(kind, name)| !changed.contains(&**name) && engine.author_of(*kind, name) != own)
        .map(|(kind, name)| format!("{} {name}", kind.as_str()))
        .collect();
    let (first, rest) = others.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!("{first}{more}: written by somebody else, will act as you"))
}

/// What is not as projects applied it.
///
/// # Errors
/// The store's.
pub(super) async fn drift(engine: &Engine) -> Result<Vec<Drift>, Problem> {
    let mut drifted = Vec::new();
    for (object, owner) in owners::all(engine).await? {
        let present = object.present(engine).await?;
        if present.as_ref() != Some(&owner.applied) {
            drifted.push(Drift {
                project: owner.project,
                kind: object.kind.as_str(),
                name: object.name.to_string(),
                version: (object.version > 0).then_some(object.version),
                removed: present.is_none(),
            });
        }
    }
    Ok(drifted)
}
