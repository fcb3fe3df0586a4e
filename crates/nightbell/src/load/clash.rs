//! Files that define the same: which of them counts would depend on the order in which they are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use kernel::definition::Problem;
use server::projects::Object;

use super::Defined;
use super::finding::{Finding, Level};
use super::reading::{Source, text_of};

/// A file that defines what is defined elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The file.
    pub(super) file: PathBuf,
    /// What it defines.
    what: Object,
    /// The number of the document in the file.
    index: usize,
    /// Where it is defined, too.
    elsewhere: PathBuf,
}

impl Clash {
    /// The same as a finding.
    pub(super) fn finding(&self) -> Finding {
        let Self { file, what, index, elsewhere } = self;
        let message = if file == elsewhere {
            format!("defines {what} twice")
        } else {
            format!("defines {what}, as {} does", elsewhere.display())
        };
        let hint = "Remove one of the two, or give it another name or version.";
        let at = format!("/{}", what.named_by());
        let problem = Problem::new(at, "defined-twice", message, hint).at_word(what.name());
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
    let mut places: BTreeMap<Object, &Path> = BTreeMap::new();
    for (file, defined) in others {
        for (_, what) in defined.objects() {
            places.entry(what).or_insert(file);
        }
    }
    let mut clashes = Vec::new();
    for (file, defined) in these {
        for (index, what) in defined.objects() {
            match places.get(&what) {
                Some(elsewhere) => {
                    let (file, elsewhere) = (file.clone(), (*elsewhere).into());
                    clashes.push(Clash { file, what, index, elsewhere });
                }
                None => drop(places.insert(what, file)),
            }
        }
    }
    clashes
}
