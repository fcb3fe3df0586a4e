//! Reads test files: every key is known or refused, with its line and the keys that there are.

use std::path::{Path, PathBuf};

use kernel::Place;
use kernel::alert::definition::{Content, Node, nearest_hint};

use super::keys::Keys;
use crate::load::{Finding, Level};

/// What is wrong with one file.
#[derive(Debug)]
pub(super) struct Problems {
    file: PathBuf,
    pub(super) list: Vec<Finding>,
}

impl Problems {
    pub(super) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub(super) fn add(&mut self, place: Place, message: impl std::fmt::Display) {
        self.list.push(wrong(&self.file, place, message));
    }
}

/// What is wrong at a place of a file of tests; line 0 is the file as a whole.
pub(super) fn wrong(file: &Path, place: Place, message: impl std::fmt::Display) -> Finding {
    let Place { line, column } = place;
    let finding = Finding::of_file(file, Level::Error, "invalid-test", message.to_string());
    Finding { line, column, ..finding }
}

/// A map of which all keys are known.
pub(super) struct Members<'a> {
    place: Place,
    members: &'a [(Node, Node)],
}

impl<'a> Members<'a> {
    /// Begins to read a map; what it has besides the known keys is a problem.
    pub(super) fn of(node: &'a Node, keys: &Keys, problems: &mut Problems) -> Option<Self> {
        let what = keys.what;
        let known: Vec<&str> = keys.names().collect();
        let Content::Map(members) = &node.content else {
            problems.add(node.place, format!("{what} must be a map, not {}", node.kind()));
            return None;
        };
        let mut seen = Vec::new();
        for (key, _) in members {
            let name = key.text().unwrap_or_default();
            if !known.contains(&name) {
                let hint = nearest_hint(name, known.iter().copied());
                let keys = known.join(", ");
                let told = format!("{what} has no key {name:?}{hint}; the keys are {keys}");
                problems.add(key.place, told);
            } else if seen.contains(&name) {
                problems.add(key.place, format!("{what} has the key {name:?} twice"));
            }
            seen.push(name);
        }
        Some(Self { place: node.place, members })
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The value of a key; a null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        let found = self.members.iter().find(|(key, _)| key.text() == Some(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The text of a key.
    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Option<String> {
        let node = self.get(name)?;
        let text = node.text();
        if text.is_none() {
            problems.add(node.place, format!("`{name}` must be a text, not {}", node.kind()));
        }
        text.map(str::to_owned)
    }

    /// What `read` makes of the text of a key.
    pub(super) fn read<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.get(name)?;
        let text = self.text(name, problems)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(why) => {
                problems.add(node.place, format!("`{name}`: {why}"));
                None
            }
        }
    }

    /// The items of a key that may also be one item by itself.
    pub(super) fn items(&self, name: &str) -> Option<Vec<&'a Node>> {
        Some(items(self.get(name)?))
    }

    /// The texts of a key.
    pub(super) fn texts(&self, name: &str, problems: &mut Problems) -> Option<Vec<String>> {
        let mut texts = Vec::new();
        for node in self.items(name)? {
            if let Some(text) = node.text() {
                texts.push(text.to_owned());
            } else {
                let told = format!("`{name}` is a list of texts, not {}", node.kind());
                problems.add(node.place, told);
            }
        }
        Some(texts)
    }
}

/// The items of a list; anything else is one item.
pub(super) fn items(node: &Node) -> Vec<&Node> {
    match &node.content {
        Content::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}

/// The members of a map whose keys are free.
pub(super) fn entries<'a>(
    node: &'a Node,
    what: &str,
    problems: &mut Problems,
) -> Vec<(&'a str, &'a Node, &'a Node)> {
    let Content::Map(members) = &node.content else {
        problems.add(node.place, format!("{what} must be a map, not {}", node.kind()));
        return Vec::new();
    };
    members.iter().filter_map(|(key, value)| Some((key.text()?, key, value))).collect()
}
