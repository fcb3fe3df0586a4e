//! Tests of workflows, monitors, schedules and routes that lie beside them: read, run in virtual time
//! on the engine that ships, and judged. `nightbell test` is the command.

pub(crate) mod backtest;
mod cast;
mod compare;
pub(crate) mod coverage;
#[cfg(test)]
mod dice;
mod file;
mod junit;
mod keys;
mod moments;
mod monitor;
mod notation;
mod reader;
mod recorded;
pub(crate) mod replay;
pub(crate) mod report;
mod route;
mod schedule;
mod snapshot;
mod stage;
pub(crate) mod watching;
mod workflow;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine::Engine;
use kernel::alert::definition::roster::Target;
use kernel::alert::definition::{ChecklistOptions, File, nearest_hint};
use kernel::graph::Execution;
use kernel::{Place, Scripts};

use crate::load::{self, Finding};
use coverage::Coverage;
use file::{Action, Subject, Test, TestFile};
use reader::{Problems, wrong};
use report::{FileReport, TestReport};
use snapshot::Snapshot;
use watching::Watched;

pub(crate) use cast::bare;
pub(crate) use junit::write as write_junit;
pub(crate) use keys::schema;
pub(crate) use recorded::{End, Recorded, answers, begun};

/// Bytes of stack for a thread that runs tests: scripts and deep definitions need it.
const STACK: usize = 16 << 20;

/// What to run, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only tests with this in their name.
    pub(crate) filter: Option<String>,
    /// Snapshots are written instead of compared.
    pub(crate) accept: bool,
    /// Files that are run at the same time; 0 counts as 1.
    pub(crate) jobs: usize,
}

/// What came of all tests.
pub(crate) struct Outcome {
    /// File by file.
    pub(crate) reports: Vec<FileReport>,
    /// What of the definitions was seen.
    pub(crate) coverage: Coverage,
    /// What the definitions say that is hardly meant; each once.
    pub(crate) doubts: BTreeSet<Finding>,
}

/// What a file tests.
struct Folder {
    definitions: load::Definitions,
    scripts: Arc<dyn Scripts>,
    /// Task types that the server runs by itself.
    built_in: Arc<[&'static str]>,
}

/// What came of one test.
#[derive(Default)]
struct TestResult {
    problems: Vec<String>,
    trace: Vec<String>,
    /// All runs of workflows, as they ended.
    executions: Vec<Execution>,
    /// The monitor that was watched, and what came of it.
    watched: Option<(String, Watched)>,
    /// The route that decided, and how many steps it has.
    route: Option<(String, usize)>,
}

/// Runs all test files below the paths.
///
/// # Errors
/// A path that cannot be read.
pub(crate) fn run(
    engine: &Engine,
    scripts: &Arc<dyn Scripts>,
    built_in: &[&'static str],
    paths: &[PathBuf],
    options: &Options,
) -> Result<Outcome, String> {
    let files = load::tests_below(paths)?;
    let mut prepared = Vec::new();
    let mut known: BTreeMap<Vec<PathBuf>, Result<Arc<Folder>, Vec<String>>> = BTreeMap::new();
    for path in files {
        prepared.push(prepare(engine, scripts, built_in, &path, &mut known));
    }
    let coverage: Mutex<Coverage> = Mutex::default();
    known.values().flatten().for_each(|folder| locked(&coverage).expect(&folder.definitions));
    let doubts = known.values().flatten().flat_map(|folder| &folder.definitions.doubts);
    let doubts = doubts.filter(|it| it.level == load::Level::Warning).cloned().collect();
    let reports = perform(prepared, options, &coverage);
    let coverage = coverage.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome { reports, coverage, doubts })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is ready to be run, or what is wrong with it.
struct Prepared {
    path: PathBuf,
    ready: Result<(TestFile, Arc<Folder>), Vec<String>>,
}

fn prepare(
    engine: &Engine,
    scripts: &Arc<dyn Scripts>,
    built_in: &[&'static str],
    path: &Path,
    known: &mut BTreeMap<Vec<PathBuf>, Result<Arc<Folder>, Vec<String>>>,
) -> Prepared {
    let ready = read(path).map_err(|found| in_words(&found)).and_then(|(tests, uses)| {
        let folder = known.entry(uses.clone()).or_insert_with(|| {
            let definitions = definitions_of(engine, &uses)?;
            let (scripts, built_in) = (scripts.clone(), built_in.into());
            Ok(Arc::new(Folder { definitions, scripts, built_in }))
        });
        let folder = folder.clone()?;
        let missing = missing_subjects(&tests, &folder.definitions);
        if missing.is_empty() { Ok((tests, folder)) } else { Err(in_words(&missing)) }
    });
    Prepared { path: path.to_owned(), ready }
}

/// A test file, and the files and folders that it uses.
fn read(path: &Path) -> Result<(TestFile, Vec<PathBuf>), Vec<Finding>> {
    let tests = file::read(path)?;
    let uses = used_by(&tests)?;
    Ok((tests, uses))
}

fn in_words(found: &[Finding]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

/// What is wrong with the test files below the paths, without running them. What is wrong with the
/// definitions that they use is for whoever looks at those.
///
/// # Errors
/// A path that cannot be read.
pub(crate) fn examine(engine: &Engine, paths: &[PathBuf]) -> Result<Vec<Finding>, String> {
    let mut known: BTreeMap<Vec<PathBuf>, Option<load::Definitions>> = BTreeMap::new();
    let mut found = Vec::new();
    for path in load::tests_below(paths)? {
        match read(&path) {
            Ok((tests, uses)) => {
                let definitions =
                    known.entry(uses).or_insert_with_key(|uses| definitions_of(engine, uses).ok());
                let missing = definitions.as_ref().map(|all| missing_subjects(&tests, all));
                found.extend(missing.into_iter().flatten());
            }
            Err(wrong) => found.extend(wrong),
        }
    }
    Ok(found)
}

/// What the definitions of a test say, once nothing is wrong with them. This is the one place where
/// files are judged before they are tested.
fn definitions_of(engine: &Engine, paths: &[PathBuf]) -> Result<load::Definitions, Vec<String>> {
    load::definitions(engine, paths, &ChecklistOptions::default())
}

/// The files and folders that a test file uses.
fn used_by(tests: &TestFile) -> Result<Vec<PathBuf>, Vec<Finding>> {
    let folder = tests.path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if tests.uses.is_empty() {
        return Ok(vec![folder.to_owned()]);
    }
    let (mut used, mut problems) = (Vec::new(), Problems::of(&tests.path));
    let whole = Place { line: 0, column: 0 };
    for pattern in &tests.uses {
        match matching(folder, pattern) {
            Ok(found) if found.is_empty() => {
                let told = format!("`uses`: no file fits {pattern:?} in {}", folder.display());
                problems.add(whole, told);
            }
            Ok(found) => used.extend(found),
            Err(error) => problems.add(whole, format!("`uses`: {error}")),
        }
    }
    used.sort();
    used.dedup();
    if problems.list.is_empty() { Ok(used) } else { Err(problems.list) }
}

/// The files that a pattern names: `*` stands for anything in the last part of the path.
fn matching(folder: &Path, pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let path = folder.join(pattern);
    if !pattern.contains('*') {
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    }
    let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap_or(folder))? {
        let path = entry?.path();
        let own = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let plain = !load::is_tests(&path) && !own.starts_with("input") && !own.starts_with('.');
        if path.is_file() && plain && fits(own, &name) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a name fits a pattern with `*`.
fn fits(name: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return name == pattern };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| fits(&rest[at..], after))
}

/// What tests are of, or speak of, and is not defined.
fn missing_subjects(tests: &TestFile, all: &load::Definitions) -> Vec<Finding> {
    let workflows: Vec<&str> = all.workflows.iter().map(|it| &*it.name).collect();
    let monitors: Vec<&str> = all.monitors.monitors.iter().map(|it| &*it.name).collect();
    let schedules: Vec<&str> = all.schedules.iter().map(|it| &*it.name).collect();
    let of = tests.tests.iter().filter_map(|test| match &test.of {
        Subject::Workflow(it) => missing(tests, test.place, "workflow", &it.workflow, &workflows),
        Subject::Monitor(it) => missing(tests, test.place, "monitor", &it.monitor, &monitors),
        Subject::Schedule(it) => missing(tests, test.place, "schedule", &it.schedule, &schedules),
        Subject::Route(it) => {
            missing(tests, test.place, "monitor", it.monitor.as_deref()?, &monitors)
        }
    });
    of.chain(missing_receivers(tests, &all.monitors)).collect()
}

fn missing(
    tests: &TestFile,
    place: Place,
    kind: &str,
    name: &str,
    known: &[&str],
) -> Option<Finding> {
    if known.contains(&name) {
        return None;
    }
    let hint = nearest_hint(name, known.iter().copied());
    Some(wrong(&tests.path, place, format!("there is no {kind} {name:?}{hint}")))
}

/// Receivers and rotations that tests speak of and nothing defines: what is never told because its
/// name is misspelt would always be as it is expected.
fn missing_receivers(tests: &TestFile, file: &File) -> Vec<Finding> {
    let receivers: Vec<&str> = file.receivers.keys().map(|name| &**name).collect();
    let rotations: Vec<&str> = file.roster.rotations.keys().map(|name| &**name).collect();
    let receiver = |place, name: &str| missing(tests, place, "receiver", name, &receivers);
    let mut found = Vec::new();
    for test in &tests.tests {
        match &test.of {
            Subject::Monitor(it) => {
                // People on call are told by their receivers.
                let told = it.expect.told.iter().flatten().chain(&it.expect.never);
                found.extend(told.filter_map(|it| receiver(it.place, it.to.as_deref()?)));
                found.extend(it.acts.iter().filter_map(|act| match &act.what {
                    Action::Answers { receiver: name, .. } => receiver(act.place, name),
                    Action::Acknowledge { .. } => None,
                }));
            }
            Subject::Route(it) => found.extend(it.told.iter().filter_map(|it| {
                let to = it.to.as_deref()?;
                match Target::parse(to) {
                    Some(target) => {
                        missing(tests, it.place, "rotation", target.rotation, &rotations)
                    }
                    None => receiver(it.place, to),
                }
            })),
            Subject::Workflow(_) | Subject::Schedule(_) => {}
        }
    }
    found
}

/// Runs prepared files, some at the same time; their order stays.
fn perform(
    prepared: Vec<Prepared>,
    options: &Options,
    coverage: &Mutex<Coverage>,
) -> Vec<FileReport> {
    let count = prepared.len();
    let jobs = Mutex::new(prepared.into_iter().enumerate());
    let done: Mutex<BTreeMap<usize, FileReport>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, count.max(1)) {
            let work = || {
                loop {
                    let next = locked(&jobs).next();
                    let Some((number, file)) = next else { return };
                    let report = run_file(file, options, coverage);
                    locked(&done).insert(number, report);
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            if thread.spawn_scoped(scope, work).is_err() {
                // The system has no thread to give: those that there are do it all, or this one.
                work();
            }
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn run_file(prepared: Prepared, options: &Options, coverage: &Mutex<Coverage>) -> FileReport {
    let name = prepared.path.display().to_string();
    let (tests, folder) = match prepared.ready {
        Ok(ready) => ready,
        Err(wrong) => return FileReport { name, wrong, tests: Vec::new() },
    };
    let mut reports = Vec::new();
    let mut snapshot = Snapshot::of(&tests.path, options.accept);
    for test in &tests.tests {
        let is_wanted = |text: &String| test.name.contains(text.as_str());
        if !options.filter.as_ref().is_none_or(is_wanted) {
            continue;
        }
        let begun = Instant::now();
        let told = AssertUnwindSafe(|| run_test(&tests, &folder, test, &mut snapshot));
        // A bug of ours ends one test and not the others.
        let told = std::panic::catch_unwind(told).unwrap_or_else(|_| TestResult {
            problems: vec!["an internal error of nightbell ended the test".to_owned()],
            ..TestResult::default()
        });
        note(&mut locked(coverage), &folder, &told);
        reports.push(TestReport {
            name: test.name.clone(),
            line: test.place.line,
            problems: told.problems,
            trace: told.trace,
            micros: begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX),
        });
    }
    let names: Vec<&str> = tests.tests.iter().map(|test| &*test.name).collect();
    let wrong = snapshot.save(&names).err().into_iter().collect();
    FileReport { name, wrong, tests: reports }
}

/// Takes note of what a test has seen.
fn note(coverage: &mut Coverage, folder: &Folder, told: &TestResult) {
    coverage.saw_runs(&told.executions);
    if let Some((monitor, watched)) = &told.watched {
        coverage.saw_monitor(&folder.definitions.monitors, monitor, watched);
    }
    if let Some((route, steps)) = &told.route {
        coverage.saw_route(route, *steps);
    }
}

fn run_test(tests: &TestFile, folder: &Folder, test: &Test, snapshot: &mut Snapshot) -> TestResult {
    // Two runs of one test are the same, wherever its folder lies.
    let file = tests.path.file_name().unwrap_or_default().to_string_lossy();
    let id = format!("{file}/{}", test.name);
    match &test.of {
        Subject::Workflow(it) => workflow::run(folder, &id, test.start, it),
        Subject::Monitor(it) => monitor::run(folder, &test.name, test.start, it, snapshot),
        Subject::Schedule(it) => schedule::run(folder, it),
        Subject::Route(it) => route::run(folder, it),
    }
}
