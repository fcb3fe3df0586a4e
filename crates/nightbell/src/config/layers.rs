//! Collects what the options, the environment and the file say, and lets the strongest win.

use std::collections::BTreeMap;

use super::file::{self, File};
use super::flags::Flags;
use super::problem::{Origin, Problem};
use super::value::{Given, Value};
use super::{Effective, SETTINGS, Setting};

/// For each key the strongest thing said about it, with its origin.
#[derive(Debug)]
pub(super) struct Layers(BTreeMap<&'static str, (Given, Origin)>);

/// A decided value.
pub(super) struct Resolved<T> {
    /// The value.
    pub(super) value: T,
    origin: Origin,
}

impl<T: Value> Resolved<T> {
    /// The same for people to read.
    pub(super) fn effective(&self, key: &'static str) -> Effective {
        Effective { key, value: self.value.shown(), origin: self.origin.clone() }
    }
}

impl Layers {
    /// Gathers all sources. Problems of the file's form are added to `problems`.
    pub(super) fn collect(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
        file: Option<&File>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut in_file = file.map(|file| file::read(file, problems)).unwrap_or_default();
        let mut strongest = BTreeMap::new();
        for setting in SETTINGS {
            let given = from_flag(setting, flags)
                .or_else(|| from_env(setting, &env))
                .or_else(|| in_file.remove(setting.key))
                .unwrap_or_else(|| (by_default(setting), Origin::Default));
            strongest.insert(setting.key, given);
        }
        Self(strongest)
    }

    /// Reads the value of one setting; what is wrong with it is added to `problems`.
    pub(super) fn resolve<T: Value>(
        &self,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) -> Option<Resolved<T>> {
        let (given, origin) = self.0.get(key)?;
        match T::read(given) {
            Ok(value) => Some(Resolved { value, origin: origin.clone() }),
            Err(wrong) => {
                problems.push(Problem {
                    origin: origin.clone(),
                    message: format!("{key}: {wrong}"),
                    hint: T::HINT.to_owned(),
                });
                None
            }
        }
    }
}

fn from_flag(setting: &Setting, flags: &Flags) -> Option<(Given, Origin)> {
    let texts = flags.get(setting.key)?;
    Some((Given::new(texts, setting.many), Origin::Flag(setting.flag())))
}

fn from_env(setting: &Setting, env: impl Fn(&str) -> Option<String>) -> Option<(Given, Origin)> {
    let names = [Some(setting.env()), setting.standard_env().map(str::to_owned)];
    let (name, text) = names.into_iter().flatten().find_map(|name| {
        let text = env(&name).filter(|text| !text.is_empty())?;
        Some((name, text))
    })?;
    let given = if setting.many {
        Given::Many(text.split(',').map(|part| part.trim().to_owned()).collect())
    } else {
        Given::One(text)
    };
    Some((given, Origin::Env(name)))
}

fn by_default(setting: &Setting) -> Given {
    let texts: Vec<String> = setting.default.iter().map(|&text| text.to_owned()).collect();
    Given::new(&texts, setting.many)
}
