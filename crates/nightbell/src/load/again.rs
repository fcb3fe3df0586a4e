//! Reads files again while the server runs: what has changed, and, where the server is kept like its
//! folders, all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Engine;
use kernel::alert::definition::ChecklistOptions;
use notify::{RecursiveMode, Watcher};
use server::projects::{self, Defined, Pruned};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::below::{self, Doubts, Walk};
use super::change::{self, Failed};
use super::finding::Finding;
use super::monitors::Extent;
use super::references::{self, Definers};
use super::rejected::{self, Mistakes, Of};
use super::{Files, Loaded, clash, is_definition, monitors, reading};

/// Editors write a file in several steps; changes are applied when they have come to rest.
const REST: Duration = Duration::from_millis(150);
/// How often it is looked whether files are to be read although nothing in them has changed.
const LOOK: Duration = Duration::from_secs(30);
/// How often a folder that the server is kept like is applied although nothing in it has changed: what
/// was changed in another way is brought back.
const AGAIN: Duration = Duration::from_mins(5);

/// Applies what changes below the paths, for as long as the answer lives.
///
/// # Errors
/// The paths cannot be watched.
pub(crate) fn watch<C: Fn() -> ChecklistOptions + Send + 'static>(
    engine: Engine,
    paths: &[PathBuf],
    loaded: Loaded,
    checklist: C,
) -> notify::Result<impl Send + use<C>> {
    let (sender, mut changed) = mpsc::unbounded_channel::<PathBuf>();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if let Ok(event) = event
            && (event.kind.is_modify() || event.kind.is_create() || event.kind.is_remove())
        {
            for path in event.paths {
                // Only fails when the server is going down.
                let _ = sender.send(path);
            }
        }
    })?;
    for path in paths {
        // A file is watched through its folder: many editors replace it by another of its name.
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    let given = paths.to_vec();
    tokio::spawn(async move {
        let is_kept = loaded.0.lock().await.prunes;
        loop {
            let first = tokio::select! {
                first = changed.recv() => first,
                () = sleep(LOOK) => {
                    if !loaded.0.lock().await.is_due() {
                        continue;
                    }
                    // Not in the midst of a change either.
                    let Ok(first) = timeout(REST, changed.recv()).await else {
                        tick(&engine, &given, &loaded, &checklist()).await;
                        continue;
                    };
                    first
                }
            };
            let Some(first) = first else { return };
            let mut files = vec![first];
            while let Ok(Some(next)) = timeout(REST, changed.recv()).await {
                files.push(next);
            }
            let of_monitors =
                files.iter().any(|it| monitors::concerns(&engine, it) || !it.is_file());
            files.sort();
            files.dedup();
            for file in &files {
                tell_of_change(&engine, file, is_kept);
            }
            let touched: BTreeSet<PathBuf> =
                files.iter().filter_map(|path| path.canonicalize().ok()).collect();
            let mut loaded = loaded.0.lock().await;
            // What is removed with its file is kept like it: the folder is applied whole.
            let which = if is_kept { None } else { Some(loaded.waiting(&touched)) };
            reload(&engine, &given, which, Some(&touched), &mut loaded).await;
            if of_monitors {
                monitors::reload(&engine, &given, &checklist(), Extent::Found).await;
            }
        }
    });
    Ok(watcher)
}

/// Reads what is due although nothing has changed: all definitions and monitors, where the server is kept
/// like its folders, and what the store did not take. What is wrong is told if it is new.
pub(super) async fn tick(
    engine: &Engine,
    given: &[PathBuf],
    loaded: &Loaded,
    checklist: &ChecklistOptions,
) {
    let mut loaded = loaded.0.lock().await;
    let which = if loaded.prunes { None } else { Some(loaded.waiting(&BTreeSet::new())) };
    reload(engine, given, which, Some(&BTreeSet::new()), &mut loaded).await;
    // Monitors go with their files: not while these may be there and were not found.
    if loaded.prunes && below::walk(given).doubts.is_empty() {
        drop(loaded);
        monitors::reload(engine, given, checklist, Extent::Whole).await;
    }
}

/// Reads and applies all files below the paths again, as if each had changed.
pub(crate) async fn reload_all(
    engine: &Engine,
    paths: &[PathBuf],
    loaded: &Loaded,
    checklist: &ChecklistOptions,
) {
    let mut loaded = loaded.0.lock().await;
    reload(engine, paths, None, None, &mut loaded).await;
    drop(loaded);
    monitors::reload(engine, paths, checklist, Extent::Found).await;
}

impl Files {
    /// Whether files are to be read although none has changed.
    fn is_due(&self) -> bool {
        let is_old = self.read_at.is_none_or(|at| at.elapsed() >= AGAIN);
        !self.pending.is_empty() || (self.prunes && is_old)
    }

    /// Files and folders that have changed, and files that wait to be applied: what was refused may be
    /// good because another file has changed.
    fn waiting(&self, touched: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        touched.iter().chain(self.refused.keys()).chain(&self.pending).cloned().collect()
    }
}

/// What one reading has found.
struct Reading {
    /// What the files define that are to be applied.
    defined: Vec<(PathBuf, Defined)>,
    mistakes: Mistakes,
    /// What the others define.
    others: Vec<(PathBuf, Defined)>,
    doubtful: Vec<Finding>,
    /// Whether what no file defines is known.
    is_whole: bool,
    /// The path of `--load` that leads to each file.
    paths: BTreeMap<PathBuf, PathBuf>,
    /// Why there may be more than was found.
    doubts: Doubts,
}

impl Reading {
    /// Reads all files below the paths; `which` are to be applied, and what lies below them.
    fn of(engine: &Engine, given: &[PathBuf], which: Option<&BTreeSet<PathBuf>>) -> Self {
        let Walk { files: paths, mut mistakes, doubts } = below::walk(given);
        let is_asked = |file: &PathBuf| {
            which.is_none_or(|which| file.ancestors().any(|path| which.contains(path)))
        };
        let files = paths.keys().filter(|file| !monitors::concerns(engine, file)).cloned();
        let (files, others): (Vec<PathBuf>, Vec<PathBuf>) = files.partition(is_asked);
        let found = reading::all(&files, engine);
        let beside = reading::all(&others, engine);
        let (mut defined, others) = (found.defined, beside.defined);
        for (file, findings) in found.refused {
            let told = findings.iter().map(ToString::to_string);
            mistakes.entry(file).or_default().extend(told);
        }
        for clash in clash::all(&others, &defined) {
            defined.retain(|(file, _)| *file != clash.file);
            mistakes.entry(clash.file.clone()).or_default().push(clash.to_string());
        }
        // What is wrong with the others was told when they came.
        let is_whole = beside.refused.is_empty();
        let doubtful = found.doubtful.into_iter().chain(beside.doubtful).collect();
        Self { defined, mistakes, others, doubtful, is_whole, paths, doubts }
    }
}

/// Applies files as one change, and tells which are refused; all of them, or those that are named or lie
/// below what is named. What is wrong with files that are touched is told again, of others if it is new.
async fn reload(
    engine: &Engine,
    given: &[PathBuf],
    which: Option<BTreeSet<PathBuf>>,
    touched: Option<&BTreeSet<PathBuf>>,
    loaded: &mut Files,
) {
    let (reader, paths) = (engine.clone(), given.to_vec());
    // Many files are read, and scripts compiled: others have work meanwhile.
    let read = tokio::task::spawn_blocking(move || {
        let is_all = which.is_none();
        (Reading::of(&reader, &paths, which.as_ref()), is_all)
    });
    let (mut reading, is_all) = match read.await {
        Ok(read) => read,
        Err(error) => {
            tracing::error!(%error, "the files of --load could not be read");
            return;
        }
    };
    if is_all {
        loaded.read_at = Some(Instant::now());
    }
    loaded.warn(&reading.doubtful);
    let mut mistakes = std::mem::take(&mut reading.mistakes);
    let files: Vec<PathBuf> =
        reading.defined.iter().map(|(file, _)| file).chain(mistakes.keys()).cloned().collect();
    match apply(engine, reading.defined.clone(), &mut mistakes, &loaded.definers).await {
        Ok(()) => loaded.pending.clear(),
        Err(Failed::Store(why)) => {
            // Nothing is known of the files: what was told of them stays.
            tracing::error!("definitions of --load could not be stored; retrying: {why}");
            loaded.pending.extend(files);
            return;
        }
        Err(Failed::Unfit(why)) => {
            loaded.pending.clear();
            for (file, _) in &reading.defined {
                let mistake = format!("{}: {why}", file.display());
                mistakes.entry(file.clone()).or_default().push(mistake);
            }
        }
    }
    reading.defined.retain(|(file, _)| !mistakes.contains_key(file));
    super::tell_of_missing_workflows(engine, &reading.defined);
    loaded.remember(&reading.defined);
    for (file, told) in &mistakes {
        let is_touched =
            touched.is_none_or(|touched| file.ancestors().any(|path| touched.contains(path)));
        if is_touched || loaded.refused.get(file) != Some(told) {
            for mistake in told {
                tracing::error!("not applied, what was registered stays: {mistake}");
            }
        }
    }
    if !loaded.is_told || mistakes != loaded.refused {
        loaded.is_told = rejected::tell(engine, Of::Definitions, &mistakes).await;
    }
    // A file with a mistake may define what seems to be gone.
    if loaded.prunes && mistakes.is_empty() && reading.is_whole {
        reading.defined.extend(reading.others);
        prune(engine, &reading.paths, &reading.doubts, &reading.defined, loaded).await;
    }
    loaded.refused = mistakes;
}

impl Files {
    /// Logs what is hardly meant, once.
    fn warn(&mut self, doubtful: &[Finding]) {
        let doubts: BTreeSet<String> = doubtful.iter().map(ToString::to_string).collect();
        for doubt in doubts.difference(&self.doubts) {
            tracing::warn!("{doubt}");
        }
        self.doubts = doubts;
    }
}

/// Removes what the files of `--load` defined and do not define any more, unless files may be there
/// that were not found.
pub(super) async fn prune(
    engine: &Engine,
    paths: &BTreeMap<PathBuf, PathBuf>,
    doubts: &Doubts,
    defined: &[(PathBuf, Defined)],
    loaded: &mut Files,
) {
    let path_of = |file: &PathBuf| {
        let path = paths.get(file).or_else(|| paths.get(&file.canonicalize().ok()?))?;
        Some(path.display().to_string())
    };
    let defined: Vec<(Option<String>, &Defined)> =
        defined.iter().map(|(file, found)| (path_of(file), found)).collect();
    let is_gone = |path: Option<&str>| doubts.allow_removal(path);
    let Pruned { removed, kept } = match projects::prune_loaded(engine, defined, is_gone).await {
        Ok(pruned) => pruned,
        Err(problem) => {
            let reason = problem.message;
            tracing::error!(%reason, "definitions that no file contains any more could not be removed");
            return;
        }
    };
    for object in removed {
        tracing::info!(%object, "removed: no file of --load defines it any more");
    }
    let doubt = (!kept.is_empty()).then(|| doubts.to_string());
    if let Some(doubt) = &doubt
        && loaded.kept_for.as_ref() != Some(doubt)
    {
        let count = kept.len();
        tracing::error!(count, "not removed although no file defines it any more: {doubt}");
    }
    loaded.kept_for = doubt;
}

/// Applies what differs in files that are good by themselves; those that are not applied because of
/// others come to the mistakes.
///
/// # Errors
/// Nothing is applied.
async fn apply(
    engine: &Engine,
    mut defined: Vec<(PathBuf, Defined)>,
    mistakes: &mut Mistakes,
    definers: &Definers,
) -> Result<(), Failed> {
    mistakes.extend(change::take_out_unfit(engine, &mut defined).await?);
    let mut differing = change::differing(engine, &defined).await?;
    references::keep_back(engine, &mut differing, mistakes, definers);
    change::apply(engine, differing.clone()).await?;
    for (file, found) in differing {
        tracing::info!(file = %file.display(), count = found.count(), "applied changed definitions");
    }
    Ok(())
}

/// Says of a changed file that it is gone, or that it is none that is read.
fn tell_of_change(engine: &Engine, file: &Path, is_kept: bool) {
    if file.is_file() {
        below::tell_passed_over(file);
    } else if !file.exists() && is_definition(file) && !monitors::concerns(engine, file) {
        let file = file.display();
        if is_kept {
            tracing::warn!(
                %file,
                "the file is gone; what it defined is removed unless another file defines it"
            );
        } else {
            tracing::warn!(
                %file,
                "the file is gone; what it defined stays in force until it is deleted"
            );
        }
    }
}
