//! Files that define the same: which of them counts would depend on the order in which they are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use kernel::definition::Problem;

use super::Defined;
use super::finding::{Finding, Level};
use super::reading::{Source, text_of};

/// A file that defines what is defined elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The file.
    pub(super) file: PathBuf,
    /// What it defines.
    what: Definition,
    /// Where it is defined, too.
    elsewhere: PathBuf,
}

/// One definition of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Definition {
    /// What it is, in words that tell it from all others.
    words: String,
    /// Its name.
    name: String,
    /// The number of the document in its file.
    index: usize,
}

impl Clash {
    /// The same as a finding.
    pub(super) fn finding(&self) -> Finding {
        let Self { file, what: Definition { words, name, index }, elsewhere } = self;
        let message = if file == elsewhere {
            format!("defines {words} twice")
        } else {
            format!("defines {words}, as {} does", elsewhere.display())
        };
        let hint = "Remove one of the two, or give it another name or version.";
        // Webhooks are told apart by their ids.
        let at = if words.starts_with("the webhook") { "/id" } else { "/name" };
        let problem = Problem::new(at, "defined-twice", message, hint).at_word(name.clone());
        let text = text_of(file).unwrap_or_default();
        Source { file, text: &text }.finding(*index, Level::Error, &problem)
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
        for what in definitions(defined) {
            places.entry(what.words).or_insert(file);
        }
    }
    let mut clashes = Vec::new();
    for (file, defined) in these {
        for what in definitions(defined) {
            match places.get(&what.words) {
                Some(elsewhere) => {
                    clashes.push(Clash {
                        file: file.clone(),
                        what,
                        elsewhere: (*elsewhere).into(),
                    });
                }
                None => drop(places.insert(what.words, file)),
            }
        }
    }
    clashes
}

/// Everything that a file defines.
fn definitions(defined: &Defined) -> impl Iterator<Item = Definition> + '_ {
    let Defined {
        workflows,
        tasks,
        schedules,
        handlers,
        triggers,
        status_pages,
        schemas,
        webhooks,
    } = defined;
    let workflows = workflows.iter().enumerate().map(|(index, it)| {
        let words = format!("version {} of the workflow '{}'", it.version, it.name);
        Definition { words, name: it.name.clone(), index }
    });
    let of = |what: &'static str| {
        move |(index, name): (usize, String)| Definition {
            words: format!("the {what} '{name}'"),
            name,
            index,
        }
    };
    let tasks = tasks.iter().map(|it| it.name.clone()).enumerate().map(of("task"));
    let schedules = schedules.iter().map(|it| it.name.to_string()).enumerate().map(of("schedule"));
    let handlers = handlers.iter().map(|it| it.name.clone()).enumerate();
    let handlers = handlers.map(of("event handler"));
    let triggers = triggers.iter().map(|it| it.name.clone()).enumerate().map(of("trigger"));
    let status_pages = status_pages.iter().map(|it| it.name.to_string()).enumerate();
    let status_pages = status_pages.map(of("status page"));
    let schemas = schemas.iter().enumerate().map(|(index, it)| {
        let words = format!("version {} of the schema '{}'", it.version, it.name);
        Definition { words, name: it.name.clone(), index }
    });
    let webhooks = webhooks.iter().map(|it| it.id().to_owned()).enumerate().map(of("webhook"));
    let started = workflows.chain(tasks).chain(schemas);
    let starters = schedules.chain(handlers).chain(triggers).chain(webhooks);
    started.chain(starters).chain(status_pages)
}
