//! The files that paths of `--load` lead to: those that are read, and those that only look like it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Level};
use super::is_definition;
use super::kind::{SECTIONS, is_found_monitors, is_yaml};

/// Files and folders that one `--load` path may lead to; more is taken for a mistake.
const ENTRIES_MAX: usize = 100_000;

/// What a path leads to.
#[derive(Default)]
pub(super) struct Found {
    /// Files of definitions, in order.
    pub(super) files: Vec<PathBuf>,
    /// Files that look like some and are none that are read.
    passed_over: Vec<PathBuf>,
}

impl Found {
    /// Says what was passed over.
    pub(super) fn tell_passed_over(&self) {
        self.passed_over.iter().for_each(|file| tell_passed_over(file));
    }

    /// YAML that was passed over, as findings: its author may take it for monitors.
    pub(super) fn not_read(&self) -> impl Iterator<Item = Finding> + '_ {
        self.passed_over.iter().filter(|file| is_yaml(file)).map(|file| {
            let message = format!(
                "the file is not read: a YAML file holds monitors, and has one of the sections {}",
                SECTIONS.join(", ")
            );
            Finding {
                hint: "Correct the section, write workflows as JSON, or keep it elsewhere.".into(),
                ..Finding::of_file(file, Level::Warning, "file-not-read", message)
            }
        })
    }
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

/// The files of definitions in a folder and those below it, in order.
pub(super) fn files_below(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    below(path).map(|found| found.files)
}

/// What lies in a folder and those below it. A link to a folder is followed once, so links that lead
/// in circles end; hidden folders (`.git`) are passed over.
fn below(path: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    if path.is_file() {
        found.files.push(path.to_owned());
        return Ok(found);
    }
    let mut entries = 0;
    let mut seen = BTreeSet::from([path.canonicalize()?]);
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            entries += 1;
            if entries > ENTRIES_MAX {
                let message = format!("more than {ENTRIES_MAX} files and folders below it");
                return Err(std::io::Error::other(message));
            }
            if path.is_dir() {
                if !is_hidden(&path) && seen.insert(path.canonicalize()?) {
                    folders.push(path);
                }
            } else if is_definition(&path) || is_found_monitors(&path) {
                found.files.push(path);
            } else if is_passed_over(&path) {
                found.passed_over.push(path);
            }
        }
    }
    found.files.sort();
    found.passed_over.sort();
    Ok(found)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a file looks like definitions and is none that is read.
fn is_passed_over(path: &Path) -> bool {
    let extension = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
    let looks = ["yaml", "yml", "json"].contains(&extension) && !is_hidden(path);
    looks && !is_definition(path) && !is_found_monitors(path)
}

/// Says of a file that it looks like definitions and is none that is read, if that is so.
pub(super) fn tell_passed_over(path: &Path) {
    if !is_passed_over(path) {
        return;
    }
    let file = path.display();
    if path.extension().is_some_and(|it| it == "json") {
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
        for (folder, name) in [(root.path(), "a"), (root.path(), "b"), (&*inner, "up")] {
            std::os::unix::fs::symlink(root.path(), folder.join(name)).expect("a link");
        }
        let found = below(root.path()).expect("it ends");
        assert_eq!(found.files, [inner.join("w.json")]);
        assert_eq!(found.passed_over, [inner.join("other.yaml")]);
    }
}
