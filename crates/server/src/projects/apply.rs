//! Making the server what a project says.

use engine::{Author, Change, Engine};
use kernel::graph::Control;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::blast;
use super::difference::{Action, Difference};
use super::object::Kind;
use super::owners::{self, Owner};
use super::plan::difference;
use super::wanted::{Wanted, source_prefix};
use crate::problem::Problem;
use crate::triggers;

/// Held while a project is applied: what a plan was made against does not move under it.
static APPLYING: Mutex<()> = Mutex::const_new(());

/// How a project is to be applied.
pub(super) struct Wishes {
    pub(super) adopt: bool,
    pub(super) yes: bool,
    pub(super) upgrade_running: bool,
    pub(super) base: Option<String>,
    /// As whom what is defined acts.
    pub(super) author: Author,
}

/// What was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Objects created.
    pub created: usize,
    /// Objects updated.
    pub updated: usize,
    /// Objects that existed unchanged and belong to the project now.
    pub adopted: usize,
    /// Objects removed.
    pub removed: usize,
    /// Running executions that were upgraded to the new definition.
    pub upgraded: usize,
}

/// Applies. Definitions change in one commit, monitors in another; what is not defined any more is
/// removed last. What a crash cuts short is a difference that the next plan shows.
///
/// # Errors
/// 409 if the server has moved since the plan, another project owns something, or too much would be
/// removed: nothing is changed then. The store's.
pub(super) async fn apply(
    engine: &Engine,
    project: &str,
    wanted: Wanted,
    wishes: Wishes,
) -> Result<Applied, Problem> {
    let _alone = APPLYING.lock().await;
    let difference = difference(engine, project, &wanted).await?;
    check(project, &difference, &wishes)?;
    let touches_monitors = difference.changes.keys().any(|it| it.kind == Kind::Monitors);
    let (prefix, sources) = (source_prefix(project), wanted.sources());
    let gone = |source: &str| source.starts_with(&prefix) && !sources.contains_key(source);
    if touches_monitors {
        engine.monitors_after(&sources, gone).map_err(|misfits| {
            let told: Vec<String> = misfits.iter().map(ToString::to_string).collect();
            Problem::conflict(told.join("; ")).with_hint("Correct the files and plan again.")
        })?;
    }
    let applied = count(&difference);
    let author = wishes.author.clone();
    let changed_workflows = define(engine, project, &wanted, &difference, author).await?;
    if touches_monitors {
        engine.apply_sources(sources.clone(), gone).await?;
    }
    own(engine, project, &wanted, &difference).await?;
    for object in difference.removed() {
        object.remove(engine).await?;
        owners::forget(engine, object).await?;
    }
    let upgraded = if wishes.upgrade_running {
        upgrade(engine, &changed_workflows, &wishes.author).await?
    } else {
        0
    };
    Ok(Applied { upgraded, ..applied })
}

fn check(project: &str, difference: &Difference, wishes: &Wishes) -> Result<(), Problem> {
    if wishes.base.as_ref().is_some_and(|base| *base != difference.base) {
        return Err(Problem::conflict(format!(
            "what project {project} concerns has changed since the plan was made"
        ))
        .with_hint("Make a new plan and look at it."));
    }
    if let Some((object, owner)) = difference.foreign(project).first().filter(|_| !wishes.adopt) {
        return Err(Problem::conflict(format!("project {owner} owns {object}"))
            .with_hint("Add --adopt (\"adopt\": true) to take it over."));
    }
    if difference.removes_much() && !wishes.yes {
        let (removed, owned) = (difference.removed().count(), difference.owned);
        let message = format!("it would remove {removed} of the {owned} objects of {project}");
        return Err(
            Problem::conflict(message).with_hint("Add --yes (\"yes\": true) if that is meant.")
        );
    }
    Ok(())
}

fn count(difference: &Difference) -> Applied {
    let of = |action| difference.changes.values().filter(|it| **it == action).count();
    Applied {
        created: of(Action::Create),
        updated: of(Action::Update),
        adopted: of(Action::Adopt),
        removed: of(Action::Remove),
        upgraded: 0,
    }
}

/// Changes definitions in one commit; with it, that the project owns them. Answers the workflows
/// that are different.
async fn define(
    engine: &Engine,
    project: &str,
    wanted: &Wanted,
    difference: &Difference,
    author: Author,
) -> Result<Vec<(String, u32)>, Problem> {
    let differing = wanted.differing(engine).await?;
    let changed = differing.workflows.iter().map(|it| (it.name.clone(), version(it.version)));
    let changed = changed.collect();
    // What each is to be is known only when it is stored; until then it counts as changed behind
    // the project's back, so that a crash in between shows in the next plan or drift at worst.
    let claims = difference
        .changes
        .iter()
        .filter(|(object, action)| **action != Action::Remove && object.kind != Kind::Monitors);
    let claim = Owner { project: project.to_owned(), ..Owner::default() };
    let (triggers, mut change) = differing.change();
    change.documents.extend(claims.map(|(object, _)| claim.document(object)));
    // What is the same acts as whoever applies it, too: so what a revoked key wrote goes on.
    change.authored = wanted.authored();
    change.author = author;
    triggers::change(engine, triggers, change).await?;
    Ok(changed)
}

fn version(version: i32) -> u32 {
    u32::try_from(version).unwrap_or(1)
}

/// Notes what the project owns, and as what.
async fn own(
    engine: &Engine,
    project: &str,
    wanted: &Wanted,
    difference: &Difference,
) -> Result<(), Problem> {
    let mut documents = Vec::new();
    for (object, action) in &difference.changes {
        if *action == Action::Remove {
            continue;
        }
        let text = wanted.monitors.get(&object.name).filter(|_| object.kind == Kind::Monitors);
        let owner = Owner {
            project: project.to_owned(),
            applied: object.present(engine).await?.unwrap_or_default(),
            text: text.map(|(_, text)| text.clone()).unwrap_or_default(),
            path: None,
        };
        documents.push(owner.document(object));
    }
    Ok(engine.change(Change { documents, ..Change::default() }).await?)
}

/// Lets running executions obey the new definitions where these fit. Answers how many do.
async fn upgrade(
    engine: &Engine,
    changed: &[(String, u32)],
    by: &Author,
) -> Result<usize, Problem> {
    let mut upgraded = 0;
    for (name, version) in changed {
        let Some(plan) = engine.definitions().plan(name, Some(*version)) else { continue };
        for id in blast::running(engine, name).await? {
            let control = Control::Upgrade {
                plan: plan.clone(),
                input: None,
                outputs: std::collections::BTreeMap::new(),
            };
            match engine.steer(&id, control, by).await {
                Ok(()) => upgraded += 1,
                // It does not fit, has ended meanwhile, or acts as somebody who may do more.
                Err(engine::Error::Rejected(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(upgraded)
}
