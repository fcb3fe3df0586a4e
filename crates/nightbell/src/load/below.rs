//! The files that paths of `--load` lead to: those that are read, and those that only look like it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use kernel::Place;

use super::finding::{Finding, Level};
use super::is_definition;
use super::kind::{SECTIONS, is_found_monitors, is_tests, is_yaml};
use super::reading::text_of;
use super::rejected::Mistakes;

/// Files and folders that one `--load` path may lead to; more is taken for a mistake.
const ENTRIES_MAX: usize = 100_000;

/// What a path leads to.
#[derive(Default)]
pub(super) struct Found {
    /// Files of definitions, in order.
    pub(super) files: Vec<PathBuf>,
    /// Files that look like some and are none that are read.
    pub(super) passed_over: Vec<PathBuf>,
    /// Files of tests, which nobody loads.
    tests: Vec<PathBuf>,
    /// Links that lead nowhere, and folders that went while they were read.
    dangling: Vec<PathBuf>,
}

impl Found {
    /// Says what was passed over.
    pub(super) fn tell_passed_over(&self) {
        self.passed_over.iter().for_each(|file| tell_passed_over(file));
    }

    /// YAML that was passed over, as findings: its author may take it for monitors. A name in capitals is
    /// taken for an oversight, too.
    pub(super) fn not_read(&self) -> impl Iterator<Item = Finding> + '_ {
        let not_input = self.passed_over.iter().filter(|file| is_yaml(file) || !ends_as_read(file));
        not_input.map(|file| {
            if !ends_as_read(file) {
                let message = "the file is not read: its name ends in capitals";
                return Finding {
                    hint: "Rename it: names end in .yaml, .yml or .json.".into(),
                    ..Finding::of_file(file, Level::Warning, "file-not-read", message.to_owned())
                };
            }
            let text = text_of(file).unwrap_or_default();
            let (at, key) = first_key(&text);
            let Place { line, column } = Place::of_byte(&text, at);
            let begins =
                if key.is_empty() { String::new() } else { format!(" and begins with {key:?}") };
            let message = format!(
                "the file is not read: a YAML file holds monitors, but this one has none of the \
                 sections {}{begins}",
                SECTIONS.join(", ")
            );
            Finding {
                line,
                column,
                hint: "Correct the section, write workflows as JSON, or keep it elsewhere.".into(),
                ..Finding::of_file(file, Level::Warning, "file-not-read", message)
            }
        })
    }
}

/// The first key of a YAML text and the byte where it stands; an empty one at the start if there is none.
fn first_key(text: &str) -> (usize, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let name = line.trim_end().split(':').next().unwrap_or_default();
        if name.starts_with(|c: char| c.is_alphanumeric() || "_\"'".contains(c)) {
            return (at, name);
        }
        at += line.len();
    }
    (0, "")
}

/// What several paths lead to, each file once: it may be named by itself and lie in a folder that is.
/// With it, what cannot be read.
pub(super) fn all(paths: &[PathBuf]) -> (Found, Vec<Finding>) {
    let (mut all, mut mistakes, mut seen) = (Found::default(), Vec::new(), BTreeSet::new());
    for path in paths {
        match below(path) {
            Ok(found) => {
                let new = |file: &PathBuf| {
                    seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone()))
                };
                all.files.extend(found.files.into_iter().filter(new));
                all.passed_over.extend(found.passed_over);
            }
            Err(error) => {
                let told = error.to_string();
                mistakes.push(Finding::of_file(path, Level::Error, "unreadable-file", told));
            }
        }
    }
    (all, mistakes)
}

/// What the paths of `--load` lead to now, each file by its path without links.
#[derive(Default)]
pub(super) struct Walk {
    /// Files of definitions and monitors, in order, each with the path of `--load` that leads there.
    pub(super) files: BTreeMap<PathBuf, PathBuf>,
    /// What cannot be read.
    pub(super) mistakes: Mistakes,
    /// Why there may be more than was found.
    pub(super) doubts: Doubts,
}

/// Why there may be more below the paths of `--load` than was found, such as a disk that is not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts {
    /// Whatever may be anywhere.
    all: Vec<String>,
    /// Paths that lead to no file: what they led to before may be back soon.
    empty: Vec<String>,
    /// Paths that lead to files.
    certain: BTreeSet<String>,
}

impl Doubts {
    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty() && self.empty.is_empty()
    }

    /// Whether what a path led to, and no file defines any more, is gone for certain. The path is not
    /// known of what an earlier release has read.
    pub(super) fn allow_removal(&self, path: Option<&str>) -> bool {
        let is_certain = path.is_some_and(|path| self.certain.contains(path));
        self.all.is_empty() && (self.empty.is_empty() || is_certain)
    }
}

impl std::fmt::Display for Doubts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let empty = self.empty.iter().map(|path| {
            format!(
                "there is no file of definitions or monitors below {path}; if that is meant, write \
                 one with [] in it"
            )
        });
        let all: Vec<String> = self.all.iter().cloned().chain(empty).collect();
        f.write_str(&all.join("; "))
    }
}

/// Follows the paths as they are configured: a link may lead elsewhere than it did.
pub(super) fn walk(given: &[PathBuf]) -> Walk {
    let mut walk = Walk::default();
    let doubts = &mut walk.doubts;
    if given.is_empty() {
        doubts.all.push("--load names no path".to_owned());
    }
    for path in given {
        let told = |error: Error| format!("{}: cannot be read: {error}", path.display());
        let found = match path.canonicalize() {
            Ok(root) => below(&root),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                doubts.all.push(format!("{} is not there", path.display()));
                continue;
            }
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let told = told(error);
                walk.mistakes.entry(path.clone()).or_default().push(told.clone());
                doubts.all.push(told);
                continue;
            }
        };
        let name = path.display().to_string();
        if found.files.is_empty() {
            doubts.empty.push(name);
        } else {
            doubts.certain.insert(name);
        }
        if let Some(link) = found.dangling.first() {
            doubts.all.push(format!("{} leads nowhere", link.display()));
        }
        for file in found.files {
            match file.canonicalize() {
                Ok(file) => {
                    walk.files.entry(file).or_insert_with(|| path.clone());
                }
                // It went meanwhile.
                Err(_) if is_gone(&file) => {}
                Err(error) => {
                    let told = format!("{}: cannot be read: {error}", file.display());
                    walk.mistakes.entry(file).or_default().push(told);
                }
            }
        }
    }
    walk
}

fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The files of definitions in a folder and those below it, in order.
pub(super) fn files_below(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    below(path).map(|found| found.files)
}

/// The files of tests in a folder and those below it; a file that is named is one.
pub(super) fn tests(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    below(path).map(|found| found.tests)
}

/// What lies in a folder and those below it. A link to a folder is followed once, so links that lead
/// in circles end; hidden folders (`.git`) are passed over.
fn below(path: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    if path.is_file() {
        let kind = if is_tests(path) { &mut found.tests } else { &mut found.files };
        kind.push(path.to_owned());
        return Ok(found);
    }
    let mut entries = 0;
    let mut seen = BTreeSet::from([path.canonicalize()?]);
    let mut folders = vec![path.to_owned()];
    let root = path;
    while let Some(folder) = folders.pop() {
        let told =
            |error: Error| Error::new(error.kind(), format!("{}: {error}", folder.display()));
        let within = match std::fs::read_dir(&folder) {
            // It went meanwhile, or is about to come.
            Err(_) if folder != root && is_gone(&folder) => {
                found.dangling.push(folder);
                continue;
            }
            within => within.map_err(told)?,
        };
        for entry in within {
            let entry = entry.map_err(told)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(told)?);
            entries += 1;
            if entries > ENTRIES_MAX {
                let message = format!("more than {ENTRIES_MAX} files and folders below it");
                return Err(Error::other(message));
            }
            if kind.is_symlink() && !is_hidden(&path) && path.metadata().is_err() {
                found.dangling.push(path.clone());
            }
            if kind.is_dir() || path.is_dir() {
                if !is_hidden(&path) && seen.insert(path.canonicalize().map_err(told)?) {
                    folders.push(path);
                }
            } else if !kind.is_file() && path.metadata().is_ok_and(|it| !it.is_file()) {
                // A pipe would be waited for, perhaps for ever.
            } else if is_tests(&path) {
                found.tests.push(path);
            } else if is_definition(&path) || is_found_monitors(&path) {
                found.files.push(path);
            } else if is_passed_over(&path) {
                found.passed_over.push(path);
            }
        }
    }
    found.files.sort();
    found.passed_over.sort();
    found.tests.sort();
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Endings of files that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

fn ends_as_read(path: &Path) -> bool {
    path.extension().is_some_and(|it| ENDINGS.iter().any(|ending| it == *ending))
}

/// Whether a file looks like definitions and is none that is read.
fn is_passed_over(path: &Path) -> bool {
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let is_known = ENDINGS.iter().any(|it| it.eq_ignore_ascii_case(extension));
    let looks = is_known && !is_hidden(path) && !is_tests(path);
    looks && !is_definition(path) && !is_found_monitors(path)
}

/// Says of a file that it looks like definitions and is none that is read, if that is so.
pub(super) fn tell_passed_over(path: &Path) {
    if !is_passed_over(path) {
        return;
    }
    let file = path.display();
    if !ends_as_read(path) {
        tracing::warn!(%file, "passed over: names of files that are read end in .yaml, .yml or .json");
    } else if path.extension().is_some_and(|it| it == "json") {
        tracing::info!(%file, "passed over: input*.json are examples of input");
    } else {
        tracing::warn!(
            %file,
            "passed over: a YAML file holds monitors, and has one of the sections {}; workflows \
             and all else are JSON",
            SECTIONS.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::below;

    #[test]
    fn attacks_folders_that_link_to_each_other_are_read_once() {
        let root = tempfile::tempdir().expect("a folder");
        let (inner, hidden) = (root.path().join("inner"), root.path().join(".github"));
        for folder in [&inner, &hidden] {
            std::fs::create_dir(folder).expect("a folder");
            std::fs::write(folder.join("other.yaml"), "jobs: {}\n").expect("a file");
        }
        std::fs::write(inner.join("w.json"), "{}").expect("a file");
        let pipe = Command::new("mkfifo").arg(inner.join("p.yaml")).status().expect("it runs");
        assert!(pipe.success(), "a pipe, which nobody writes into");
        for (folder, name) in [(root.path(), "a"), (root.path(), "b"), (&*inner, "up")] {
            std::os::unix::fs::symlink(root.path(), folder.join(name)).expect("a link");
        }
        let found = below(root.path()).expect("it ends");
        assert_eq!(found.files, [inner.join("w.json")]);
        assert_eq!(found.passed_over, [inner.join("other.yaml")]);
    }
}
