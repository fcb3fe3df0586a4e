//! Files of monitors: each is a source of its own, taken whole or refused whole.
//!
//! A file that is refused leaves what it said before in force, and opens an incident on Nightbell's
//! own monitor until it is good again or gone. Files may speak of what others define.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Engine;
use engine::monitors::{ApplyError, Misfit};
use kernel::Place;
use kernel::alert::definition::{
    ChecklistOptions, File, Known, Level as Found, load_judged, secrets_in, telling_nobody,
};

use super::below;
use super::change;
use super::finding::{Finding, Level};
use super::kind::{is_monitors_json, is_yaml};
use super::reading::text_of;
use super::rejected::{self, Of};

/// Sources that are files are named so, with the path behind it.
const SOURCE: &str = Of::Monitors.prefix();
/// The code of findings about names that files define twice, or that none defines.
const DO_NOT_FIT: &str = "monitors-do-not-fit";
/// The code of findings about monitors of which nobody is told.
const TELLS_NOBODY: &str = "tells-nobody";

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    good: BTreeMap<Arc<str>, File>,
    /// Sources with what is wrong with them.
    bad: BTreeMap<Arc<str>, Vec<Finding>>,
    /// What is hardly meant in files that are new or changed.
    warnings: Vec<Finding>,
    /// The files of the sources as they were named.
    paths: BTreeMap<Arc<str>, PathBuf>,
}

impl Read {
    /// What is wrong with files of which nothing is in force from before.
    pub(super) fn without_former(&self, engine: &Engine) -> Vec<String> {
        let new = self.bad.iter().filter(|(source, _)| engine.monitors_of(source).is_none());
        new.flat_map(|(_, mistakes)| mistakes).map(ToString::to_string).collect()
    }

    /// What good files define, by source.
    pub(super) fn into_files(self) -> BTreeMap<Arc<str>, File> {
        self.good
    }

    /// What a file defines, if nothing is wrong with it.
    pub(super) fn of(&self, file: &Path) -> Option<&File> {
        self.good.get(&source_of(file))
    }

    /// Everything that is wrong, also between files, and everything that is hardly meant. Of what level it is that
    /// nobody is told of a monitor depends on whether the files are all there is.
    pub(super) fn into_findings(self, silent: Level) -> impl Iterator<Item = Finding> {
        // A name may be missing, or a route, only because its file is refused.
        let of_all: Vec<Finding> = if self.bad.is_empty() {
            match engine::monitors::together(&self.good) {
                Ok(all) => self.telling_nobody(&all, silent),
                Err(unfit) => unfit.iter().filter_map(|it| of_misfit(it, &self.paths)).collect(),
            }
        } else {
            Vec::new()
        };
        self.bad.into_values().flatten().chain(self.warnings).chain(of_all)
    }

    /// Monitors of which nobody is told, were these files all there is. Without any route it is said once: they may
    /// be elsewhere.
    fn telling_nobody(&self, all: &File, level: Level) -> Vec<Finding> {
        let silent: BTreeSet<&str> = telling_nobody(all).iter().map(|own| &*own.name).collect();
        let has_routes = !all.routes.is_empty();
        let level = if has_routes { level } else { Level::Note };
        let hint =
            "Add a route, or `to: RECEIVER` to the monitor; `nightbell route test` tries them.";
        let mut found = Vec::new();
        for (source, file) in &self.good {
            let own = file.monitors.iter().map(|it| &*it.name);
            let own: Vec<&str> = own.filter(|name| silent.contains(name)).collect();
            if own.is_empty() {
                continue;
            }
            let path = self.paths.get(source).cloned().unwrap_or_else(|| file_of(source));
            let text = text_of(&path).unwrap_or_default();
            for name in own {
                let why = if has_routes {
                    "no route can match its incidents, and it names no receiver"
                } else {
                    "no file here has a route"
                };
                let message = match silent.len() {
                    more @ 2.. if !has_routes => {
                        format!("{more} monitors tell nobody, {name} is the first: {why}")
                    }
                    _ => format!("{name} tells nobody: {why}"),
                };
                let Place { line, column } = place_of_name(&text, name).unwrap_or_default();
                let finding = Finding::of_file(&path, level, TELLS_NOBODY, message);
                found.push(Finding { line, column, hint: hint.to_owned(), ..finding });
                if !has_routes {
                    return found;
                }
            }
        }
        found
    }

    /// Logs what is hardly meant.
    fn warn(&mut self) {
        for warning in std::mem::take(&mut self.warnings) {
            tracing::warn!("{warning}");
        }
    }
}

/// Whether a file that is named is one of monitors: YAML, or JSON with one of its sections.
pub(super) fn is_monitors(path: &Path) -> bool {
    is_yaml(path)
        || (super::is_definition(path) && text_of(path).is_ok_and(|it| is_monitors_json(&it)))
}

/// Whether a file has to do with monitors, perhaps only because it once had.
pub(super) fn concerns(engine: &Engine, path: &Path) -> bool {
    is_monitors(path) || engine.monitors_of(&source_of(path)).is_some()
}

/// The source that a file is, by its whole path.
pub(super) fn source_of(file: &Path) -> Arc<str> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    format!("{SOURCE}{}", file.display()).into()
}

/// The file that a source is named after.
pub(super) fn file_of(source: &str) -> PathBuf {
    PathBuf::from(source.strip_prefix(SOURCE).unwrap_or(source))
}

/// A name that does not fit what other files define, at its place; `None` if it stands in no file.
fn of_misfit(misfit: &Misfit, paths: &BTreeMap<Arc<str>, PathBuf>) -> Option<Finding> {
    misfit.source.strip_prefix(SOURCE)?;
    let named = |source: &str| paths.get(source).cloned().unwrap_or_else(|| file_of(source));
    let file = named(&misfit.source);
    let mut message = misfit.message.clone();
    for source in paths.keys() {
        message = message.replace(&**source, &named(source).display().to_string());
    }
    let message = message.replace(SOURCE, "");
    let finding = Finding::of_file(&file, Level::Error, DO_NOT_FIT, message);
    let place = text_of(&file).ok().and_then(|text| place_of_name(&text, &misfit.name));
    let Place { line, column } = place.unwrap_or_default();
    Some(Finding { line, column, ..finding })
}

/// Where a name stands in a file of monitors: as a key if it does, otherwise as a word.
fn place_of_name(text: &str, name: &str) -> Option<Place> {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && !"_-.".contains(c));
    let places = text.match_indices(name).filter(|(at, _)| {
        is_edge(text[..*at].chars().next_back()) && is_edge(text[at + name.len()..].chars().next())
    });
    let mut places = places.map(|(at, _)| at).peekable();
    let first = *places.peek()?;
    let is_key = |at: &usize| {
        let behind = text[at + name.len()..].trim_start_matches(['"', '\'']).trim_start();
        behind.starts_with(':')
    };
    Some(Place::of_byte(text, places.find(is_key).unwrap_or(first)))
}

/// Reads files; each may speak of what the others and other sources define, and of what there is
/// beside them.
pub(super) fn read(
    engine: &Engine,
    files: &[PathBuf],
    checklist: &ChecklistOptions,
    beside: &Known,
) -> Read {
    let mut read = Read::default();
    let mut texts = BTreeMap::new();
    for file in files {
        read.paths.insert(source_of(file), file.clone());
        match text_of(file) {
            Ok(text) => {
                texts.insert(source_of(file), (file, text));
            }
            Err(mistake) => drop(read.bad.insert(source_of(file), vec![*mistake])),
        }
    }
    let mut known = beside.clone();
    for source in engine.monitor_sources().iter().filter(|it| !texts.contains_key(*it)) {
        let file = engine.monitors_of(source).unwrap_or_default();
        known.extend_by(file);
    }
    for (_, text) in texts.values() {
        known.extend(Known::of(text));
    }
    for (source, (file, text)) in texts {
        if let Some(secrets) = &mut known.secrets {
            let exists = |name: &Arc<str>| engine.values().secret(name).is_some();
            secrets.extend(secrets_in(&text).into_iter().filter(exists));
        }
        // An editor that is about to write it has emptied it, or somebody by mistake.
        if text.trim().is_empty() && engine.monitors_of(&source).is_some() {
            let message = "the file is empty; delete it to remove what it defined";
            read.bad
                .insert(source, vec![Finding::of_file(file, Level::Error, "empty-file", message)]);
            continue;
        }
        let loaded = load_judged(&text, checklist, &known, engine);
        let told = |level| -> Vec<Finding> {
            let found = loaded.problems.iter().filter(|problem| problem.level == level);
            found.map(|problem| Finding::of_monitors(file, problem)).collect()
        };
        if let Some(found) = loaded.file.clone() {
            if engine.monitors_of(&source).as_ref() != Some(&found) {
                read.warnings.extend(told(Found::Warning));
            }
            read.good.insert(source, found);
        } else {
            read.warnings.extend(told(Found::Warning));
            read.bad.insert(source, told(Found::Error));
        }
    }
    read
}

/// What a reading is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The start of the server.
    Start,
    /// All there is, with nothing that was not found: what is not among it is gone.
    Whole,
    /// All that was found; what is not among it may be elsewhere.
    Found,
}

/// Applies what was read, and drops what files defined that are gone. Answers what was not applied
/// although nothing of it is in force, when this is the start.
pub(super) async fn apply(engine: &Engine, mut read: Read, extent: Extent) -> Vec<String> {
    read.warn();
    let Read { good, mut bad, paths, .. } = read;
    let start = extent == Extent::Start;
    // Also what an earlier start has loaded, or a link has led to before, and this reading has not found.
    let named: BTreeSet<Arc<str>> = good.keys().chain(bad.keys()).cloned().collect();
    let gone = |source: &str| {
        source.strip_prefix(SOURCE).is_some_and(|file| {
            // What cannot be looked at is not gone.
            matches!(Path::new(file).try_exists(), Ok(false))
                || (extent != Extent::Found && !named.is_empty() && !named.contains(source))
        })
    };
    for source in engine.monitor_sources().iter().filter(|it| gone(it)) {
        tracing::info!("{source} is not loaded any more: its monitors are removed");
    }
    match engine.apply_sources(good.clone(), gone).await {
        Ok(applied) if applied.defined + applied.removed > 0 => {
            tracing::info!(
                defined = applied.defined,
                removed = applied.removed,
                "applied monitors"
            );
            let files: Vec<PathBuf> = good.keys().map(|source| file_of(source)).collect();
            change::write_down(engine, &files).await;
            warn_of_silent(engine, &good);
        }
        Ok(_) => {}
        Err(ApplyError::Unfit(_)) => {
            // Together they do not fit: those that do alone are applied.
            for (source, file) in good {
                let alone = BTreeMap::from([(source.clone(), file.clone())]);
                let misfits = engine.monitors_after(&alone, |_| false).err().unwrap_or_default();
                if let Err(error) = engine.apply_monitors(&source, file).await {
                    let mut findings: Vec<Finding> =
                        misfits.iter().filter_map(|misfit| of_misfit(misfit, &paths)).collect();
                    if findings.is_empty() {
                        let (file, told) = (file_of(&source), error.to_string());
                        findings.push(Finding::of_file(&file, Level::Error, DO_NOT_FIT, told));
                    }
                    bad.insert(source, findings);
                }
            }
        }
        Err(error) => return vec![format!("monitors: {error}")],
    }
    let mut fatal = Vec::new();
    for (source, mistakes) in &bad {
        if start && engine.monitors_of(source).is_none() {
            fatal.extend(mistakes.iter().map(ToString::to_string));
        }
        for mistake in mistakes {
            tracing::error!("not applied, what was said before stays in force: {mistake}");
        }
    }
    if fatal.is_empty() {
        let in_words = |it: &Vec<Finding>| it.iter().map(ToString::to_string).collect();
        let refused = bad.iter().map(|(source, mistakes)| (file_of(source), in_words(mistakes)));
        let _ = rejected::tell(engine, Of::Monitors, &refused.collect()).await;
    }
    fatal
}

/// Logs monitors of these files of which nobody is told, by what there is now.
fn warn_of_silent(engine: &Engine, good: &BTreeMap<Arc<str>, File>) {
    /// Names that a line of the log has.
    const NAMED_MAX: usize = 5;
    let all = engine.monitors_file();
    let own: BTreeSet<&str> =
        good.values().flat_map(|file| &file.monitors).map(|it| &*it.name).collect();
    let mut silent: Vec<&str> = telling_nobody(&all).iter().map(|it| &*it.name).collect();
    silent.retain(|name| own.contains(name));
    if silent.is_empty() {
        return;
    }
    let more = match silent.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more monitors"),
    };
    silent.truncate(NAMED_MAX);
    let names = silent.join(", ");
    tracing::warn!("nobody is told of {names}{more}: no route matches, and they name no receiver");
}

/// Reads and applies all files below the paths again.
pub(super) async fn reload(
    engine: &Engine,
    paths: &[PathBuf],
    checklist: &ChecklistOptions,
    extent: Extent,
) {
    let beside = beside(engine, std::iter::empty()).await;
    let read = read(engine, &files(engine, paths), checklist, &beside);
    apply(engine, read, extent).await;
}

/// What there is on the server beside files of monitors, and these definitions.
pub(super) async fn beside<'a>(
    engine: &Engine,
    definitions: impl Iterator<Item = &'a super::Defined>,
) -> Known {
    let mut known = Known::default();
    if let Err(error) = engine.add_known(&mut known, "").await {
        tracing::warn!(%error, "references of monitors to workflows and schedules could not be checked");
        return Known::default();
    }
    for defined in definitions {
        defined.add_to(&mut known);
    }
    known
}

/// The monitors that the files below the paths define, those of files with mistakes left out.
pub(crate) fn all(engine: &Engine, paths: &[PathBuf], checklist: &ChecklistOptions) -> File {
    let mut all = File::default();
    let beside = Known::default();
    for file in read(engine, &files(engine, paths), checklist, &beside).good.into_values() {
        all.monitors.extend(file.monitors);
    }
    all
}

/// The files of monitors below the paths, as far as these can be read.
fn files(engine: &Engine, paths: &[PathBuf]) -> Vec<PathBuf> {
    let there: Vec<PathBuf> = paths.iter().filter(|path| path.exists()).cloned().collect();
    let (found, mistakes) = below::all(&there);
    for mistake in mistakes {
        tracing::error!("{mistake}");
    }
    let lost = lost(engine, &found);
    found.files.into_iter().filter(|file| concerns(engine, file)).chain(lost).collect()
}

/// Files of monitors in force that do not look like any more: by a slip in a section, for example. They
/// are read all the same, to be refused by name.
pub(super) fn lost(engine: &Engine, found: &below::Found) -> Vec<PathBuf> {
    let is_in_force = |file: &&PathBuf| engine.monitors_of(&source_of(file)).is_some();
    found.passed_over.iter().filter(is_in_force).cloned().collect()
}
