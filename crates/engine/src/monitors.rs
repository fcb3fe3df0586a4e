//! Monitors as a whole: what files and clients define, applied whole or not at all, and what each
//! monitor must hear of the others.
//!
//! A *source* (a file, a client of the API) defines receivers, routes, monitors and silences. All
//! sources together make one file, from which each monitor's machine gets what it obeys. Sources
//! are documents; whatever a crash cut short is made up for at the next start.

mod answers;
mod composite;
mod context;
mod inbound;
mod joined;
mod overrides;
mod own;
mod pings;
mod receivers;
mod schedules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::alert::definition::{File, Kind, Known, MonitorDef, Receiver, Silence, Spec};
use kernel::alert::{Input, Monitor, NOTIFY_WORKFLOW};
use kernel::definition::{WorkflowDef, parse_workflow};
use kernel::{ExecutionId, Json, MachineKind, Rejected};
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use crate::documents::Damaged;
use crate::engine::{Engine, Error};
use crate::machine::AnyMachine;
use crate::mutants::{self, Mutant};
use crate::search::{Filter, PAGE_MAX, Search};
use crate::store::{Document, Store, StoreError};
pub(crate) use schedules::Fired;

pub use inbound::{Inbound, Received};
pub use joined::{Misfit, together};
use joined::{joined, rank_of, together_with};
pub use kernel::alert::OWN_MONITOR;
pub use overrides::{OVERRIDES, OVERRIDES_MAX, unmet as unmet_override};
pub use pings::Making;
pub use receivers::Broken;
pub(crate) use receivers::Receivers;

/// Documents that hold sources.
const SOURCE: &str = "monitors";
/// Documents that hold silences that people made.
const SILENCE: &str = "silence";
/// Silences that people made, at most.
pub const SILENCES_MAX: usize = 1000;
/// Of these, those that were made with the keys of one monitor, at most.
pub const SILENCES_OF_KEY_MAX: usize = 50;
/// Milliseconds for which those are kept that have ended: a day.
const EXPIRED_FOR: i64 = 24 * 3_600_000;
/// Definitions of checks are named so, with the monitor's name behind it.
const CHECK: &str = "check:";
/// How the graph writes the secrets of a monitors file.
const SECRETS: &str = "${workflow.secrets.";
/// Monitors that hear something at the same time.
const AT_ONCE: usize = 64;
/// Pause before monitors are told again what they must hear, when the store is away.
pub(crate) const TELL_AGAIN: Duration = Duration::from_millis(500);

/// What is defined.
pub(crate) struct Monitors {
    sources: RwLock<BTreeMap<Arc<str>, File>>,
    silences: RwLock<BTreeMap<Arc<str>, Silence>>,
    /// What keys open, as `sources` have it; absent until somebody asks.
    openings: parking_lot::Mutex<Option<Arc<Vec<inbound::Opening>>>>,
    /// Held while something is applied.
    applying: Mutex<()>,
    /// Held while a monitor is made because somebody speaks of it, or a receiver is tested.
    making: Mutex<()>,
    /// Held while a monitor's dependents hear of it, so that the last to tell knows the latest:
    /// alone by who tells all of them, shared by those who each answer one that asked.
    pub(crate) telling: tokio::sync::RwLock<()>,
    /// What became of the last firing of schedules of which nobody was told yet.
    fired: parking_lot::Mutex<BTreeMap<Arc<str>, Fired>>,
    /// Held while Nightbell's own monitor hears of a schedule.
    telling_of_schedules: Mutex<()>,
}

/// What came of applying a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Monitors that are new or obey something else now.
    pub defined: usize,
    /// Monitors that are watched no more.
    pub removed: usize,
}

/// Why something was not applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit what is defined elsewhere; nothing was changed.
    #[error("{}", .0.join("; "))]
    Unfit(Vec<String>),
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl ApplyError {
    /// As [`Error::is_transient`].
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_transient())
    }
}

impl From<Vec<Misfit>> for ApplyError {
    fn from(misfits: Vec<Misfit>) -> Self {
        Self::Unfit(misfits.iter().map(ToString::to_string).collect())
    }
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

impl Monitors {
    /// Reads what is defined; what is damaged is set aside.
    pub(crate) async fn open(store: &dyn Store, damaged: &Damaged) -> Result<Self, StoreError> {
        let mut sources = BTreeMap::new();
        for document in store.documents(SOURCE).await? {
            sources.extend(damaged.read(&document).map(|source| (document.name, source)));
        }
        let mut silences = BTreeMap::new();
        for document in store.documents(SILENCE).await? {
            silences.extend(damaged.read(&document).map(|silence| (document.name, silence)));
        }
        Ok(Self {
            sources: RwLock::new(sources),
            silences: RwLock::new(silences),
            openings: parking_lot::Mutex::default(),
            applying: Mutex::default(),
            making: Mutex::default(),
            telling: tokio::sync::RwLock::default(),
            fired: parking_lot::Mutex::default(),
            telling_of_schedules: Mutex::default(),
        })
    }
}

fn document(kind: &str, name: &Arc<str>, value: &impl serde::Serialize) -> Document {
    let text = Json::of(value).text().into();
    Document { kind: kind.into(), name: name.clone(), version: 0, text }
}

/// Where a monitor stands, in a word: `NEW`, `UP`, `UNKNOWN`, `PENDING`, `DOWN` or `REMOVED`.
pub fn standing(monitor: &Monitor) -> &'static str {
    crate::head::monitor_status(monitor)
}

/// Whether a silence may concern a monitor of this name.
fn concerns(silence: &Silence, monitor: &str) -> bool {
    silence.matchers.iter().all(|it| *it.label != *"monitor" || it.matches(monitor))
}

impl Engine {
    /// Everything that is defined, as one file. What was applied fits together, unless a source was
    /// damaged in the store since.
    pub fn monitors_file(&self) -> File {
        joined(&self.inner.monitors.sources.read()).0
    }

    /// What one source defines.
    pub fn monitors_of(&self, source: &str) -> Option<File> {
        self.inner.monitors.sources.read().get(source).cloned()
    }

    /// The sources.
    pub fn monitor_sources(&self) -> Vec<Arc<str>> {
        self.inner.monitors.sources.read().keys().cloned().collect()
    }

    /// Shows each monitor with the source that defines it.
    pub fn visit_monitors(&self, mut visit: impl FnMut(&str, &MonitorDef)) {
        let sources = self.inner.monitors.sources.read();
        let mut seen = BTreeSet::new();
        // One that was made because somebody spoke of it gives way to any other.
        let (own, others): (Vec<_>, Vec<_>) =
            sources.iter().partition(|(source, _)| ***source == *OWN_MONITOR);
        for (source, file) in others.into_iter().chain(own) {
            for monitor in &file.monitors {
                if seen.insert(&*monitor.name) {
                    visit(source, monitor);
                }
            }
        }
    }

    /// The source that defines a monitor.
    pub fn source_of_monitor(&self, name: &str) -> Option<Arc<str>> {
        let sources = self.inner.monitors.sources.read();
        let defines = |file: &File| file.monitors.iter().any(|it| *it.name == *name);
        let defining = sources.iter().filter(|(_, file)| defines(file)).map(|(source, _)| source);
        defining.min_by_key(|source| rank_of(source)).cloned()
    }

    /// The source that defines a receiver.
    pub fn source_of_receiver(&self, name: &str) -> Option<Arc<str>> {
        let sources = self.inner.monitors.sources.read();
        let defines = |file: &File| file.receivers.contains_key(name);
        sources.iter().find(|(_, file)| defines(file)).map(|(source, _)| source.clone())
    }

    /// The receiver of a name.
    pub fn defined_receiver(&self, name: &str) -> Option<Receiver> {
        let sources = self.inner.monitors.sources.read();
        sources.values().find_map(|file| file.receivers.get(name).cloned())
    }

    /// The receivers of a kind, by name.
    pub fn receivers_of_kind(&self, kind: &str) -> Vec<(Arc<str>, Receiver)> {
        let sources = self.inner.monitors.sources.read();
        let receivers = sources.values().flat_map(|file| &file.receivers);
        let of_kind = receivers.filter(|(_, receiver)| *receiver.kind == *kind);
        of_kind.map(|(name, receiver)| (name.clone(), receiver.clone())).collect()
    }

    /// A setting of a receiver with its secrets; `None` if one of them is not there.
    pub fn setting(&self, written: &str) -> Option<String> {
        let text = written.replace("${secret:", "${workflow.secrets.");
        let value = self.resolve_written(&Json::of(&text)).parse();
        let value = value.as_str()?.trim();
        (!value.is_empty() && !value.contains("${")).then(|| value.to_owned())
    }

    /// The names that a source may speak of because others define them.
    pub fn monitors_known_beside(&self, source: &str) -> Known {
        let mut known = Known::default();
        for (_, file) in
            self.inner.monitors.sources.read().iter().filter(|(it, _)| ***it != *source)
        {
            known.extend_by(file.clone());
        }
        known
    }

    /// Applies what a source defines in the place of what it defined before: whole or not at all.
    /// Monitors that it defines no more are removed; streaks and watermarks of the others stay.
    ///
    /// # Errors
    /// [`ApplyError::Unfit`] if it does not fit what other sources define: nothing is changed.
    pub async fn apply_monitors(&self, source: &str, file: File) -> Result<Applied, ApplyError> {
        let of_source = BTreeMap::from([(Arc::from(source), file)]);
        self.apply_sources(of_source, |_| false).await
    }

    /// Applies several sources as one, and drops those that `gone` names. As
    /// [`Engine::apply_monitors`].
    ///
    /// # Errors
    /// As [`Engine::apply_monitors`].
    pub async fn apply_sources(
        &self,
        changed: BTreeMap<Arc<str>, File>,
        gone: impl Fn(&str) -> bool,
    ) -> Result<Applied, ApplyError> {
        let alone = self.inner.monitors.applying.lock().await;
        self.apply_alone(changed, gone, &alone).await
    }

    /// The same, by whoever holds the lock.
    async fn apply_alone(
        &self,
        changed: BTreeMap<Arc<str>, File>,
        gone: impl Fn(&str) -> bool,
        _alone: &MutexGuard<'_, ()>,
    ) -> Result<Applied, ApplyError> {
        let monitors = &self.inner.monitors;
        let mut sources = monitors.sources.read().clone();
        let damaged = self.inner.damaged.names(SOURCE);
        let present = sources.keys().chain(&damaged);
        let mut dropped: Vec<Arc<str>> = present.filter(|it| gone(it)).cloned().collect();
        sources.retain(|source, _| !dropped.contains(source));
        let (mut put, mut came) = (Vec::new(), BTreeSet::new());
        for (source, mut file) in changed {
            came.insert(source.clone());
            self.inner.vault.guard_file(&mut file);
            if file == File::default() {
                dropped.push(source.clone());
                sources.remove(&source);
            } else {
                put.push(document(SOURCE, &source, &file));
                sources.insert(source, file);
            }
        }
        let file = together_with(&sources, |it| came.contains(it))?;
        let definitions = definitions_of(&file).map_err(ApplyError::Unfit)?;
        let written: Vec<Arc<str>> = put.iter().map(|document| document.name.clone()).collect();
        self.inner.store.put_documents(put).await?;
        for source in &dropped {
            self.inner.store.delete_document(SOURCE, source, 0).await?;
        }
        for source in dropped.iter().chain(&written) {
            self.inner.damaged.mended(SOURCE, source, 0);
        }
        let before = {
            let mut current = monitors.sources.write();
            *monitors.openings.lock() = None;
            std::mem::replace(&mut *current, sources)
        };
        self.catalogue().has_changed(SOURCE);
        let before = before.into_values().flat_map(|file| file.receivers.into_keys());
        let gone = before.filter(|receiver| !file.receivers.contains_key(receiver));
        self.forget_receivers(gone.collect());
        Ok(self.reconcile(&file, definitions).await?)
    }

    /// Everything as it would be defined after [`Engine::apply_sources`], as one file.
    ///
    /// # Errors
    /// Everything that keeps the sources from being one.
    pub fn monitors_after(
        &self,
        changed: &BTreeMap<Arc<str>, File>,
        gone: impl Fn(&str) -> bool,
    ) -> Result<File, Vec<Misfit>> {
        let mut sources = self.inner.monitors.sources.read().clone();
        sources.retain(|source, _| !gone(source));
        sources.extend(changed.iter().map(|(source, file)| (source.clone(), file.clone())));
        together_with(&sources, |it| changed.contains_key(it))
    }

    /// Makes the machines what is defined.
    async fn reconcile(
        &self,
        file: &File,
        definitions: Vec<WorkflowDef>,
    ) -> Result<Applied, Error> {
        let changed = definitions.into_iter().filter(|definition| {
            let version = u32::try_from(definition.version).ok();
            let present = self.definitions().workflow(&definition.name, version);
            present.is_none_or(|present| *present != *definition)
        });
        let changed: Vec<WorkflowDef> = changed.collect();
        if !changed.is_empty() {
            self.definitions().put_workflows(changed).await?;
        }
        let mut applied = Applied::default();
        let mut inputs = Vec::new();
        for mut spec in file.specs() {
            spec.check.definition = None;
            if spec.monitor.kind == Kind::Workflow {
                // A check of our own has its settings in its definition; a user's workflow gets them
                // as input, and the file's author has written them.
                let settings = spec.monitor.settings.text().replace("${secret:", SECRETS);
                if let Ok(settings) = Json::from_text(settings) {
                    spec.monitor.settings = self.refer(&spec.monitor.name, &settings);
                }
            }
            let id = ExecutionId::monitor(&spec.monitor.name);
            if !self.obeys(&id, &spec).await? {
                applied.defined += 1;
                inputs.push((id, Input::Define(Box::new(spec))));
            }
        }
        self.tell_all(inputs).await?;
        let names: BTreeSet<&str> = file.monitors.iter().map(|monitor| &*monitor.name).collect();
        let mut removals = Vec::new();
        // What a damaged source defines is not known: its monitors go on as they are.
        let is_whole = self.inner.damaged.names(SOURCE).is_empty();
        let watched = if is_whole { self.watched_monitors().await? } else { Vec::new() };
        for name in watched {
            if !names.contains(&*name) {
                removals.push((ExecutionId::monitor(&name), Input::Remove { who: None }));
            }
        }
        applied.removed = removals.len();
        let removed: Vec<ExecutionId> = removals.iter().map(|(id, _)| id.clone()).collect();
        self.tell_all(removals).await?;
        for id in removed {
            self.definitions().delete_workflow(&format!("{CHECK}{}", id.name()), 1).await?;
        }
        self.tell_silences(file).await?;
        for monitor in &file.monitors {
            if file.monitors.iter().any(|it| needs(it, &monitor.name)) {
                self.tell_dependents_now(&ExecutionId::monitor(&monitor.name)).await?;
            }
        }
        Ok(applied)
    }

    async fn obeys(&self, id: &ExecutionId, spec: &Spec) -> Result<bool, Error> {
        let same = |monitor: &Monitor| !monitor.removed && monitor.spec.as_deref() == Some(spec);
        self.stands(id, |machine| machine.monitor().is_some_and(same)).await
    }

    /// Whether a monitor is as wanted. One that is quarantined counts as if it were: it can be told
    /// nothing, and must not keep anything from the others.
    async fn stands(
        &self,
        id: &ExecutionId,
        wanted: impl FnOnce(&AnyMachine) -> bool,
    ) -> Result<bool, Error> {
        match self.look(id, wanted).await {
            Ok(found) => Ok(found.unwrap_or_default()),
            Err(error @ Error::Quarantined { .. }) => {
                tracing::warn!(%error, "monitor is quarantined and keeps its former definition");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// The names of all monitors that were not removed.
    async fn watched_monitors(&self) -> Result<Vec<Arc<str>>, Error> {
        let mut names = Vec::new();
        loop {
            let page = Search {
                machine: MachineKind::Monitor,
                filters: vec![Filter::Closed(false)],
                start: names.len() as u64,
                size: PAGE_MAX,
                ..Search::default()
            };
            let page = self.inner.store.search(&page).await?;
            let last = page.rows.is_empty();
            names.extend(page.rows.into_iter().map(|head| (head.name, head.status)));
            if last || names.len() as u64 >= page.total {
                break;
            }
        }
        let watched = names.into_iter().filter(|(_, status)| *status != "REMOVED");
        Ok(watched.map(|(name, _)| name).collect())
    }

    /// Lets monitors hear something, many at once. What does not concern one any more is passed
    /// over, and one that is quarantined keeps it from no other.
    async fn tell_all(&self, inputs: Vec<(ExecutionId, Input)>) -> Result<(), Error> {
        let mut inputs = inputs.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some((id, input)) = inputs.next()
            {
                let engine = self.clone();
                under_way.spawn(async move { engine.step(&id, input).await });
            }
            match under_way.join_next().await {
                None => return Ok(()),
                Some(Ok(
                    Ok(()) | Err(Error::Rejected(Rejected::Stale(_) | Rejected::Unknown(_))),
                )) => {}
                Some(Ok(Err(error @ Error::Quarantined { .. }))) => {
                    tracing::warn!(%error, "monitor is quarantined and could not be updated");
                }
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(_)) => return Err(Error::Closing),
            }
        }
    }

    /// Tells each monitor the silences that may concern it.
    async fn tell_silences(&self, file: &File) -> Result<(), Error> {
        let made = self.inner.monitors.silences.read().clone();
        let now = self.now();
        let silences: Vec<Silence> = file
            .silences
            .iter()
            .chain(made.values())
            .filter(|silence| !silence.when.is_over(now))
            .cloned()
            .collect();
        let mut inputs = Vec::new();
        for monitor in &file.monitors {
            let own = silences.iter().filter(|it| concerns(it, &monitor.name)).cloned();
            let own: Vec<Silence> = own.collect();
            let id = ExecutionId::monitor(&monitor.name);
            let same =
                |machine: &AnyMachine| machine.monitor().is_some_and(|it| it.silences == own);
            if !self.stands(&id, same).await? {
                inputs.push((id, Input::Silences(own)));
            }
        }
        self.tell_all(inputs).await
    }

    /// Makes up for what a crash may have cut short, in the background.
    pub(crate) fn resume_monitors(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            // Until it is done, monitors may not have heard of others what a crash kept from them.
            let mut is_told = false;
            loop {
                let alone = engine.inner.monitors.applying.lock().await;
                let reconciled = engine.reconcile_defined().await;
                drop(alone);
                match reconciled {
                    // The store may be away for hours: the log says so once.
                    Err(error) if error.is_transient() => {
                        if !std::mem::replace(&mut is_told, true) {
                            tracing::warn!(%error, "monitors could not be compared with their definitions; retrying");
                        }
                    }
                    Err(ApplyError::Engine(Error::Closing)) => return,
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            "monitors could not be compared with their definitions and stay as they are; apply the files again"
                        );
                        break;
                    }
                    Ok(()) => break,
                }
                if !engine.pauses(TELL_AGAIN).await {
                    return;
                }
            }
            match engine.resume_receivers().await {
                Ok(()) | Err(ApplyError::Engine(Error::Closing)) => {}
                Err(error) => tracing::warn!(%error, "state of receivers could not be read"),
            }
            // The clock may have been set back while the server was away.
            engine.wake_set_back().await;
            if let Err(error) = engine.open_board().await {
                tracing::warn!(%error, "metrics of schedules are incomplete");
            }
        });
    }

    /// Makes the machines what the sources define, unless these do not fit together, as when one of
    /// them is damaged.
    async fn reconcile_defined(&self) -> Result<(), ApplyError> {
        let file = together(&self.inner.monitors.sources.read())?;
        let definitions = definitions_of(&file).map_err(ApplyError::Unfit)?;
        if self.inner.damaged.names(SOURCE).is_empty() {
            self.drop_stale_definitions(&file).await;
        }
        self.reconcile(&file, definitions).await?;
        Ok(())
    }

    /// Forgets the definitions of receivers that were removed; until the next start they were kept,
    /// so that what was open there could still be resolved.
    async fn drop_stale_definitions(&self, file: &File) {
        for definition in self.definitions().workflows() {
            let receiver = definition.name.strip_prefix(NOTIFY_WORKFLOW);
            let receiver = receiver.and_then(|rest| rest.strip_prefix(':'));
            if receiver.is_some_and(|name| !file.receivers.contains_key(name))
                && let Err(error) = self.definitions().delete_workflow(&definition.name, 1).await
            {
                tracing::warn!(%error, name = definition.name, "unused definition of a delivery could not be removed");
            }
        }
    }

    /// Tells the monitors that depend on one whether it is down, in the background. They hear of
    /// changes only, and keep quiet for as long as it is down for all they know: so until they have
    /// heard of it.
    pub(crate) fn tell_dependents(&self, id: &ExecutionId) {
        let (engine, id) = (self.clone(), id.clone());
        self.inner.tasks.spawn(async move {
            loop {
                match engine.tell_dependents_now(&id).await {
                    Ok(()) | Err(Error::Closing) => return,
                    Err(error) if error.is_transient() => {
                        tracing::debug!(monitor = %id, %error, "dependent monitors could not be notified yet; retrying");
                        let is_over = mutants::is(Mutant::DependentsToldOnce);
                        if is_over || !engine.pauses(TELL_AGAIN).await {
                            return;
                        }
                    }
                    Err(error) => {
                        return tracing::warn!(monitor = %id, %error, "dependent monitors could not be notified");
                    }
                }
            }
        });
    }

    pub(crate) async fn tell_dependents_now(&self, id: &ExecutionId) -> Result<(), Error> {
        let _alone = self.inner.monitors.telling.write().await;
        let look = |machine: &AnyMachine| {
            let monitor = machine.monitor()?;
            let dependents = monitor.spec.as_ref()?.dependents.clone();
            Some((monitor.is_down(), monitor.is_failing(), dependents))
        };
        let found = match self.look(id, look).await {
            // Nobody knows how it is: those that depend on it go on with what they heard last.
            Err(Error::Quarantined { .. }) => None,
            found => found?.flatten(),
        };
        let Some((down, failing, dependents)) = found else { return Ok(()) };
        let input = |name: Arc<str>| {
            (
                ExecutionId::monitor(&name),
                Input::Parent { monitor: id.name().into(), down, failing },
            )
        };
        self.tell_all(dependents.into_iter().map(input).collect()).await
    }

    /// Looks at a monitor; `None` if there is none, or if it was removed.
    ///
    /// # Errors
    /// The store's.
    pub async fn monitor<R>(
        &self,
        name: &str,
        look: impl FnOnce(&Monitor) -> R,
    ) -> Result<Option<R>, Error> {
        let look = |machine: &AnyMachine| machine.monitor().filter(|it| !it.removed).map(look);
        Ok(self.look(&ExecutionId::monitor(name), look).await?.flatten())
    }

    /// The silences that people made, by id; those of files not among them.
    pub fn silences(&self) -> Vec<Silence> {
        self.inner.monitors.silences.read().values().cloned().collect()
    }

    /// Adds a silence, or replaces the one of its id.
    ///
    /// # Errors
    /// [`ApplyError::Unfit`] if there are too many, or too many made with the keys of one monitor.
    pub async fn put_silence(&self, silence: Silence) -> Result<(), ApplyError> {
        let monitors = &self.inner.monitors;
        let _alone = monitors.applying.lock().await;
        let now = self.now();
        let over: Vec<Arc<str>> = {
            let silences = monitors.silences.read();
            // Those that other systems made are theirs to look at for a while, but not so many that who
            // makes and ends them again and again fills the place.
            let kept_from = now.plus_millis(-EXPIRED_FOR);
            let of_key = silences.values().filter(|it| it.origin == silence.origin).count();
            let has_room = of_key < 2 * SILENCES_OF_KEY_MAX && silences.len() < SILENCES_MAX;
            let is_kept =
                |it: &Silence| has_room && it.origin.is_some() && !it.when.is_over(kept_from);
            let over = silences.values().filter(|it| it.when.is_over(now) && !is_kept(it));
            over.map(|it| it.id.clone()).collect()
        };
        for id in over {
            self.inner.store.delete_document(SILENCE, &id, 0).await?;
            monitors.silences.write().remove(&id);
        }
        let known = monitors.silences.read().contains_key(&silence.id);
        if !known && monitors.silences.read().len() >= SILENCES_MAX {
            let message = format!("there are {SILENCES_MAX} silences already; delete some");
            return Err(ApplyError::Unfit(vec![message]));
        }
        if let Some(origin) = silence.origin.as_ref().filter(|_| !known) {
            let silences = monitors.silences.read();
            let same = silences.values().filter(|it| it.origin.as_ref() == Some(origin));
            let same = same.filter(|it| !it.when.is_over(now)).count();
            if same >= SILENCES_OF_KEY_MAX {
                let message = format!(
                    "there are {SILENCES_OF_KEY_MAX} silences already that were made with the keys of \
                     the monitor {origin}; expire some"
                );
                return Err(ApplyError::Unfit(vec![message]));
            }
        }
        self.inner.store.put_document(document(SILENCE, &silence.id, &silence)).await?;
        self.inner.damaged.mended(SILENCE, &silence.id, 0);
        monitors.silences.write().insert(silence.id.clone(), silence);
        Ok(self.tell_silences(&self.monitors_file()).await?)
    }

    /// Takes a silence back; `false` if there is none of this id.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_silence(&self, id: &str) -> Result<bool, Error> {
        let monitors = &self.inner.monitors;
        let _alone = monitors.applying.lock().await;
        let is_damaged = self.inner.damaged.names(SILENCE).iter().any(|damaged| **damaged == *id);
        if monitors.silences.write().remove(id).is_none() && !is_damaged {
            return Ok(false);
        }
        self.inner.store.delete_document(SILENCE, id, 0).await?;
        self.inner.damaged.mended(SILENCE, id, 0);
        self.tell_silences(&self.monitors_file()).await?;
        Ok(true)
    }
}

fn needs(monitor: &MonitorDef, name: &str) -> bool {
    monitor.depends_on.iter().chain(&monitor.witness).any(|needed| **needed == *name)
}

/// The definitions of checks and deliveries.
fn definitions_of(file: &File) -> Result<Vec<WorkflowDef>, Vec<String>> {
    let checks = file.specs().into_iter().filter_map(|spec| {
        let definition = spec.check.definition?;
        Some((format!("monitor {}", spec.monitor.name), definition.text().to_owned()))
    });
    let deliveries = file.receivers.iter().map(|(name, receiver)| {
        (format!("receiver {name}"), receiver.definition(name).to_string())
    });
    let (mut definitions, mut unfit) = (Vec::new(), Vec::new());
    for (what, text) in checks.chain(deliveries) {
        match parse_workflow(&text) {
            Ok(definition) => definitions.push(definition),
            Err(problems) => {
                unfit.extend(problems.iter().map(|problem| format!("{what}: {problem}")));
            }
        }
    }
    if unfit.is_empty() { Ok(definitions) } else { Err(unfit) }
}
