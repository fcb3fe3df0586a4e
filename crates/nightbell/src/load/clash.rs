//! Files that define the same: which of them counts would hang on the order in which they are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Defined;
use super::finding::{Finding, Level};

/// A file that defines what is defined elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The file.
    pub(super) file: PathBuf,
    /// What it defines, in words.
    what: String,
    /// Where it is defined, too.
    elsewhere: PathBuf,
}

impl Clash {
    /// The same as a finding.
    pub(super) fn finding(&self) -> Finding {
        let Self { file, what, elsewhere } = self;
        let message = if file == elsewhere {
            format!("defines {what} twice")
        } else {
            format!("defines {what}, as {} does", elsewhere.display())
        };
        Finding::of_file(file, Level::Error, "defined-twice", message)
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding().fmt(f)
    }
}

/// What files define that others do, or these themselves before.
pub(super) fn all(others: &[(PathBuf, Defined)], these: &[(PathBuf, Defined)]) -> Vec<Clash> {
    let mut places: BTreeMap<String, &Path> = BTreeMap::new();
    for (file, defined) in others {
        for what in names(defined) {
            places.entry(what).or_insert(file);
        }
    }
    let mut clashes = Vec::new();
    for (file, defined) in these {
        for what in names(defined) {
            match places.get(&what) {
                Some(elsewhere) => {
                    clashes.push(Clash {
                        file: file.clone(),
                        what,
                        elsewhere: (*elsewhere).into(),
                    });
                }
                None => drop(places.insert(what, file)),
            }
        }
    }
    clashes
}

/// Everything that a file defines, in words that tell one from another.
fn names(defined: &Defined) -> impl Iterator<Item = String> + '_ {
    let Defined { workflows, tasks, schedules, handlers, triggers, status_pages } = defined;
    let workflows =
        workflows.iter().map(|it| format!("version {} of the workflow '{}'", it.version, it.name));
    let tasks = tasks.iter().map(|it| format!("the task '{}'", it.name));
    let schedules = schedules.iter().map(|it| format!("the schedule '{}'", it.name));
    let handlers = handlers.iter().map(|it| format!("the event handler '{}'", it.name));
    let triggers = triggers.iter().map(|it| format!("the trigger '{}'", it.name));
    let status_pages = status_pages.iter().map(|it| format!("the status page '{}'", it.name));
    workflows.chain(tasks).chain(schedules).chain(handlers).chain(triggers).chain(status_pages)
}
