//! Collects what the options, the environment and the file say, and lets the strongest win.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::flags::Flags;
use super::problem::{ConfigError, Origin, Problem};
use super::value::{Given, Value};
use super::{Effective, SETTINGS, Setting, file, process_env};

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "nightbell.toml";

/// The text of a configuration file, with the name to blame it by.
#[derive(Debug)]
pub(crate) struct File {
    /// The path as given.
    pub(crate) name: String,
    /// The content.
    pub(crate) text: String,
}

impl File {
    /// Reads the file that the option names, or `NIGHTBELL_CONFIG`, or `nightbell.toml` in the
    /// current folder if there is one.
    ///
    /// # Errors
    /// A file that was asked for cannot be read.
    pub(crate) fn find(flag: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let env = process_env("NIGHTBELL_CONFIG").filter(|path| !path.is_empty());
        let (path, origin) = match (flag, env) {
            (Some(path), _) => (path.to_owned(), Some(Origin::Flag("config".to_owned()))),
            (None, Some(path)) => {
                (PathBuf::from(path), Some(Origin::Env("NIGHTBELL_CONFIG".to_owned())))
            }
            (None, None) => (PathBuf::from(DEFAULT_FILE), None),
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { name, text })),
            Err(error) if origin.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError {
                problems: vec![Problem {
                    origin: origin.unwrap_or(Origin::Default),
                    message: format!("cannot read {name}: {error}"),
                    hint: "`nightbell config` prints a file to start from".to_owned(),
                }],
            }),
        }
    }
}

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
    let name = setting.env();
    let text = env(&name).filter(|text| !text.is_empty())?;
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
