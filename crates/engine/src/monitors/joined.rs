//! Joins what all sources of monitors define to one file, and names what does not fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kernel::alert::definition::roster::{Override, Rotation, Target};
use kernel::alert::definition::{File, composed_of_itself};

use super::overrides::{self, OVERRIDES};
use super::{OWN_MONITOR, pings};

/// What keeps sources from being one file: a name that two of them define, or that none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The source in which it stands.
    pub source: Arc<str>,
    /// The name, as it is written there.
    pub name: Arc<str>,
    /// What is wrong with it, in a sentence that does not name the source.
    pub message: String,
    /// What two sources define, and the other of them.
    twin: Option<(&'static str, Arc<str>)>,
}

impl Misfit {
    fn new(source: &Arc<str>, name: &Arc<str>, message: String) -> Self {
        Self { source: source.clone(), name: name.clone(), message, twin: None }
    }

    fn twice(source: &Arc<str>, what: &'static str, name: &Arc<str>, other: &Arc<str>) -> Self {
        let message = format!("the {what} {name} is defined by {other} already");
        Self { twin: Some((what, other.clone())), ..Self::new(source, name, message) }
    }

    fn missing(source: &Arc<str>, what: &str, name: &Arc<str>) -> Self {
        Self::new(source, name, format!("there is no {what} {name}"))
    }

    /// The same, told of the source that came later, if that is the other one.
    fn told_of(self, came_later: impl Fn(&str) -> bool) -> Self {
        match &self.twin {
            Some((what, other)) if came_later(other) && !came_later(&self.source) => {
                Self::twice(other, what, &self.name, &self.source)
            }
            _ => self,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.message)
    }
}

/// All sources as one file.
///
/// # Errors
/// Everything that keeps them from being one.
pub fn together(sources: &BTreeMap<Arc<str>, File>) -> Result<File, Vec<Misfit>> {
    match joined(sources) {
        (all, unfit) if unfit.is_empty() => Ok(all),
        (_, unfit) => Err(unfit),
    }
}

/// The same, where some of the sources have come to the others: these are what does not fit.
///
/// # Errors
/// As [`together`].
pub(super) fn together_with(
    sources: &BTreeMap<Arc<str>, File>,
    came_later: impl Fn(&str) -> bool,
) -> Result<File, Vec<Misfit>> {
    let told = |unfit: Vec<Misfit>| unfit.into_iter().map(|it| it.told_of(&came_later)).collect();
    together(sources).map_err(told)
}

/// What all sources define, and what does not fit together.
pub(super) fn joined(sources: &BTreeMap<Arc<str>, File>) -> (File, Vec<Misfit>) {
    let (mut all, mut unfit) = (File::default(), Vec::new());
    let (mut receivers, mut monitors) = (BTreeMap::new(), BTreeMap::new());
    let (mut named, mut on_call) = (BTreeMap::new(), BTreeMap::new());
    let (mut ping_keys, mut by_key) = (BTreeMap::new(), BTreeMap::new());
    // Monitors that were made by the way give way to those that somebody has written.
    let known = |name: &str, rank: u8| {
        rank > 0
            && sources.iter().any(|(source, file)| {
                rank_of(source) < rank && file.monitors.iter().any(|it| *it.name == *name)
            })
    };
    for (source, file) in overrides::in_turn(sources) {
        for (name, settings) in &file.sources {
            if let Some(other) = named.insert(name.clone(), source) {
                unfit.push(Misfit::twice(source, "source", name, other));
            }
            all.sources.insert(name.clone(), settings.clone());
        }
        for (name, receiver) in &file.receivers {
            if let Some(other) = receivers.insert(name.clone(), source) {
                unfit.push(Misfit::twice(source, "receiver", name, other));
            }
            all.receivers.insert(name.clone(), receiver.clone());
        }
        for monitor in &file.monitors {
            if known(&monitor.name, rank_of(source)) {
                continue;
            }
            if let Some(other) = monitors.insert(monitor.name.clone(), source) {
                unfit.push(Misfit::twice(source, "monitor", &monitor.name, other));
            }
            all.monitors.push(monitor.clone());
        }
        for (name, ping_key) in &file.ping_keys {
            let other = ping_keys.insert(name.clone(), source);
            if let Some(other) = other.or_else(|| by_key.insert(ping_key.key.clone(), source)) {
                unfit.push(Misfit::twice(source, "ping key", name, other));
            }
            all.ping_keys.insert(name.clone(), ping_key.clone());
        }
        all.routes.extend(file.routes.iter().cloned());
        all.silences.extend(file.silences.iter().cloned());
        let roster = &file.roster;
        let of_people = roster.people.keys().map(|name| ("person", name));
        for (what, name) in of_people.chain(roster.rotations.keys().map(|it| ("rotation", it))) {
            if let Some(other) = on_call.insert((what, name.clone()), source) {
                unfit.push(Misfit::twice(source, what, name, other));
            }
        }
        all.roster.extend(roster.clone());
    }
    let roster = &mut all.roster;
    let written = std::mem::take(&mut roster.overrides);
    let fits = |it: &Override| overrides::unmet(it, roster).is_none();
    roster.overrides = written.into_iter().filter(fits).collect();
    for (source, file) in sources.iter().filter(|(source, _)| ***source != *OVERRIDES) {
        for (what, name) in spoken_of_on_call(file) {
            if !on_call.contains_key(&(what, name.clone())) {
                unfit.push(Misfit::missing(source, what, &name));
            }
        }
        let missing_receivers = file.told().into_iter().filter(|it| !receivers.contains_key(it));
        unfit.extend(missing_receivers.map(|it| Misfit::missing(source, "receiver", &it)));
        for monitor in &file.monitors {
            let spoken_of = monitor.depends_on.iter().chain(&monitor.witness).cloned();
            let needed = spoken_of.chain(monitor.composed_of());
            unfit.extend(needed.filter(|it| !monitors.contains_key(it)).map(|name| {
                let needs = &monitor.name;
                let message =
                    format!("there is no monitor {name}, which the monitor {needs} needs");
                Misfit::new(source, &name, message)
            }));
        }
    }
    for (name, message) in composed_of_itself(&all.monitors) {
        let source = monitors.get(&name).map_or_else(|| name.clone(), |it| Arc::clone(it));
        unfit.push(Misfit::new(&source, &name, message));
    }
    (all, unfit)
}

/// How soon a source gives way to others that define a monitor of the same name: people's own never
/// does, one that calls have made does to these, and one that somebody merely spoke of to all.
pub(super) fn rank_of(source: &str) -> u8 {
    match source {
        OWN_MONITOR => 2,
        _ if source.starts_with(pings::MADE) => 1,
        _ => 0,
    }
}

/// The rotations and people that a file speaks of.
fn spoken_of_on_call(file: &File) -> BTreeSet<(&'static str, Arc<str>)> {
    let steps = file.routes.iter().flat_map(|route| route.steps.iter().flat_map(|it| &it.to));
    let told = steps.chain(file.monitors.iter().flat_map(|monitor| &monitor.to));
    let called = told.filter_map(|to| Some(("rotation", Target::parse(to)?.rotation.into())));
    let roster = &file.roster;
    let of_overrides = roster.overrides.iter().map(|it| ("rotation", it.rotation.clone()));
    let people = roster.rotations.values().flat_map(Rotation::people);
    let people = people.chain(roster.overrides.iter().flat_map(|it| &it.who));
    called.chain(of_overrides).chain(people.map(|name| ("person", name.clone()))).collect()
}
