//! Definitions from files: read at start, watched, and applied whole or not at all.
//!
//! A JSON file holds workflow definitions (objects with `tasks`), event handlers (objects with
//! `event` and `actions`), schedules (objects with `startWorkflowRequest` or a cron expression), HTTP
//! triggers (objects with `method` and `path`), status pages (objects with `groups`), webhooks (objects
//! with `verifier`), schemas (objects with `data` or `externalRef`) or task definitions (a file named
//! `taskdefs.json` or `*.taskdefs.json`), one or a list. Files named `input*.json` are
//! examples of input and are passed over. A YAML file holds monitors, or is a checklist; a JSON file with sections of one holds
//! monitors too.
//!
//! What one reading finds is one change: judged together, stored in one transaction. A file with a
//! mistake is left out of it, and with it what refers to what it defines: what was registered before
//! stays, and the mistake is told with its place. That two files define the same is a mistake, too:
//! which of them counts would hang on their names.

mod again;
mod below;
mod change;
mod clash;
mod examine;
mod finding;
mod kind;
mod monitors;
mod reading;
mod references;
mod rejected;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Engine;
use kernel::alert::definition::{ChecklistOptions, Known};
use kernel::definition::{TaskDef, WorkflowDef};
use kernel::schedule::ScheduleSpec;
use server::projects::{self, Defined};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(crate) use again::{reload_all, watch};
use below::files_below;
pub(crate) use examine::{examine, examine_beside, secrets_named};
pub(crate) use finding::{Finding, Level};
pub(crate) use kind::is_tests;
pub(crate) use monitors::all as monitors_below;
use references::{Definers, Refers as _};
use rejected::{Mistakes, Of};
pub(crate) use server::projects::holds_task_defs;

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// Applies every file below the paths, or nothing if there is a mistake.
///
/// # Errors
/// Every mistake of every file.
pub(crate) async fn load(
    engine: &Engine,
    paths: &[PathBuf],
    checklist: &ChecklistOptions,
    loaded: &Loaded,
) -> Result<(), Vec<String>> {
    let (below, unreadable) = below::all(paths);
    let mut mistakes: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    let (mut of_monitors, files): (Vec<_>, Vec<_>) =
        below.files.iter().cloned().partition(|file| monitors::concerns(engine, file));
    of_monitors.extend(monitors::lost(engine, &below));
    let (defined, found) = read_all(&files, engine);
    mistakes.extend(found.into_values().flatten());
    mistakes.extend(clash::all(&[], &defined).into_iter().map(|clash| clash.to_string()));
    let beside = monitors::beside(engine, defined.iter().map(|(_, found)| found)).await;
    let read = monitors::read(engine, &of_monitors, checklist, &beside);
    mistakes.extend(read.without_former(engine));
    let mut fitting = defined.clone();
    let unfit = change::take_out_unfit(engine, &mut fitting).await;
    mistakes.extend(unfit.map_err(|it| vec![it.to_string()])?.into_values().flatten());
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let differing = change::differing(engine, &fitting).await.map_err(|it| vec![it.to_string()])?;
    change::apply(engine, differing).await.map_err(|it| vec![it.to_string()])?;
    tell_of_missing_workflows(engine, &defined);
    // Monitors last: they check and tell by what the other files define.
    let refused = monitors::apply(engine, read, monitors::Extent::Start).await;
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut files = loaded.0.lock().await;
    files.remember(&defined);
    if files.prunes {
        let below::Walk { files: paths, doubts, .. } = below::walk(paths);
        again::prune(engine, &paths, &doubts, &defined, &mut files).await;
    }
    files.read_at = Some(Instant::now());
    // What was refused before a restart is not any more.
    files.is_told = rejected::tell(engine, Of::Definitions, &Mistakes::new()).await;
    drop(files);
    below.tell_passed_over();
    Ok(())
}

/// What files define, and nothing of it applied.
#[derive(Clone, Default)]
pub(crate) struct Definitions {
    /// Task definitions.
    pub(crate) tasks: Vec<TaskDef>,
    /// Workflows.
    pub(crate) workflows: Vec<WorkflowDef>,
    /// Schedules.
    pub(crate) schedules: Vec<ScheduleSpec>,
    /// Everything in files of monitors.
    pub(crate) monitors: kernel::alert::definition::File,
    /// What runs, but is hardly meant.
    pub(crate) doubts: Vec<Finding>,
    /// The file of each workflow by its name, of each `monitor NAME` and of each `routes[N]`.
    pub(crate) origins: BTreeMap<String, PathBuf>,
}

/// What all files below the paths define, if it is as a start would take it.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn definitions(
    engine: &Engine,
    paths: &[PathBuf],
    checklist: &ChecklistOptions,
) -> Result<Definitions, Vec<String>> {
    let (wrong, doubts): (Vec<_>, Vec<_>) =
        examine(engine, paths, checklist).into_iter().partition(|it| it.level == Level::Error);
    if !wrong.is_empty() {
        return Err(wrong.iter().map(ToString::to_string).collect());
    }
    let (of_monitors, files) = files_by_kind(paths);
    let (defined, _) = read_all(&files, engine);
    let mut beside = Known::default();
    let mut all = Definitions { doubts, ..Definitions::default() };
    for (file, found) in defined {
        found.add_to(&mut beside);
        let names = found.workflows.iter().map(|it| (it.name.clone(), file.clone()));
        all.origins.extend(names);
        all.tasks.extend(found.tasks);
        all.workflows.extend(found.workflows);
        all.schedules.extend(found.schedules);
    }
    let sources = monitors::read(engine, &of_monitors, checklist, &beside).into_files();
    let mut routes = 0;
    // By the paths that people gave, as the files of definitions are.
    let given: BTreeMap<_, _> =
        of_monitors.iter().map(|it| (monitors::source_of(it), it)).collect();
    for (source, found) in &sources {
        let file = given.get(source).map_or_else(|| monitors::file_of(source), |it| (*it).clone());
        for monitor in &found.monitors {
            all.origins.insert(format!("monitor {}", monitor.name), file.clone());
        }
        for _ in &found.routes {
            all.origins.insert(format!("routes[{routes}]"), file.clone());
            routes += 1;
        }
    }
    let together = engine::monitors::together(&sources);
    let in_words = |misfits: Vec<_>| misfits.iter().map(ToString::to_string).collect::<Vec<_>>();
    all.monitors = together.map_err(in_words)?;
    Ok(all)
}

/// The files of tests below the paths, in order; one that is named is one whatever its name.
///
/// # Errors
/// A path that cannot be read.
pub(crate) fn tests_below(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = BTreeSet::new();
    for path in paths {
        let found = below::tests(path).map_err(|error| format!("{}: {error}", path.display()))?;
        all.extend(found);
    }
    Ok(all.into_iter().collect())
}

/// Whether a file holds workflows or task definitions, rather than schedules and the like.
pub(crate) fn holds_workflows(file: &Path) -> bool {
    let kind = reading::text_of(file).map(|text| projects::FileKind::of(file, &text));
    kind.is_ok_and(|it| matches!(it, projects::FileKind::Workflows | projects::FileKind::Tasks))
}

/// The files below the paths: those of monitors, and those of all else. What cannot be read is left
/// out: [`examine`] tells of it.
pub(crate) fn files_by_kind(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    by_kind(below::all(paths).0.files)
}

fn by_kind(files: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<PathBuf>) {
    files.into_iter().partition(|file| monitors::is_monitors(file))
}

/// Reads files as [`reading::all`] does; what is wrong is put in words, what is hardly meant logged.
fn read_all(files: &[PathBuf], engine: &Engine) -> (Vec<(PathBuf, Defined)>, Mistakes) {
    let reading::Found { defined, refused, doubtful } = reading::all(files, engine);
    for doubt in doubtful {
        tracing::warn!("{doubt}");
    }
    let in_words = |findings: Vec<Finding>| findings.iter().map(ToString::to_string).collect();
    (defined, refused.into_iter().map(|(file, found)| (file, in_words(found))).collect())
}

/// What became of the files of definitions, whoever read them last; clones are the same. Held while
/// files are applied, so that one reading after the other is.
#[derive(Clone, Default)]
pub(crate) struct Loaded(Arc<Mutex<Files>>);

/// What became of files.
#[derive(Default)]
struct Files {
    /// Those that are refused now.
    refused: Mistakes,
    /// What others refer to in those that are good, or were.
    definers: Definers,
    /// What files do not define any more is removed.
    prunes: bool,
    /// Those that the store did not take.
    pending: BTreeSet<PathBuf>,
    /// When all of them were read last.
    read_at: Option<Instant>,
    /// Whether everybody knows which are refused.
    is_told: bool,
    /// What is hardly meant in them, as far as it was told.
    doubts: BTreeSet<String>,
    /// Why nothing was removed, as it was told.
    kept_for: Option<String>,
}

impl Loaded {
    /// Files whose definitions are removed with them, if `prunes`.
    pub(crate) fn pruning(prunes: bool) -> Self {
        Self(Arc::new(Mutex::new(Files { prunes, ..Files::default() })))
    }
}

impl Files {
    fn remember(&mut self, defined: &[(PathBuf, Defined)]) {
        let names =
            defined.iter().filter_map(|(file, it)| Some((file.canonicalize().ok()?, it.names())));
        self.definers.extend(names);
    }
}

/// Warns of schedules that start what does not exist now that files are applied.
fn tell_of_missing_workflows(engine: &Engine, defined: &[(PathBuf, Defined)]) {
    let schedules = defined.iter().flat_map(|(_, found)| &found.schedules);
    for missing in schedules.filter_map(|it| engine.missing_workflow(it)) {
        tracing::warn!("{missing}; each firing will fail until it does");
    }
}

fn is_definition(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|extension| extension == "json")
        && !name.starts_with("input")
        && !name.starts_with('.')
        && !is_tests(path)
}

/// The JSON files of definitions in a folder and below.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn json_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = files_below(folder)?;
    files.retain(|file| is_definition(file));
    Ok(files)
}

/// The files of a project, named by their paths below its folder.
///
/// # Errors
/// What cannot be read.
pub(crate) fn project_files(folder: &Path) -> Result<Vec<projects::ProjectFile>, Vec<String>> {
    let (below, unreadable) = below::all(&[folder.to_owned()]);
    let mut wrong: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    let mut files = Vec::new();
    for file in below.files {
        match reading::text_of(&file) {
            Ok(text) => files.push(projects::ProjectFile {
                path: file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned(),
                monitors: monitors::is_monitors(&file),
                text,
            }),
            Err(finding) => wrong.push(finding.to_string()),
        }
    }
    if wrong.is_empty() { Ok(files) } else { Err(wrong) }
}
