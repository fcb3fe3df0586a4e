//! The options of `serve` and `dev`, made from the list of settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::{SETTINGS, Setting};

/// What the command line says about each setting, as text.
///
/// The texts are read together with those of the file and the environment, so that a bad value is
/// described in the same way wherever it comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    said: BTreeMap<&'static str, Vec<String>>,
    file: Option<PathBuf>,
}

impl Flags {
    /// The texts that were given for a key.
    pub(super) fn get(&self, key: &str) -> Option<&[String]> {
        self.said.get(key).map(Vec::as_slice)
    }

    /// The file named by `--config`.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    #[cfg(test)]
    pub(super) fn with(mut self, key: &'static str, texts: &[&str]) -> Self {
        self.said.insert(key, texts.iter().map(|&text| text.to_owned()).collect());
        self
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            // `dev` has fewer options than there are settings.
            if let Ok(Some(texts)) = matches.try_get_many::<String>(setting.key) {
                self.said.insert(setting.key, texts.cloned().collect());
            }
        }
        if let Ok(file) = matches.try_get_one::<PathBuf>("config") {
            self.file = file.cloned();
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read settings from this file [env: NIGHTBELL_CONFIG] [default: nightbell.toml]");
        command.arg(config).args(SETTINGS.iter().map(option))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The settings that make sense for a server that throws everything away when it ends.
const DEV_KEYS: [&str; 6] = ["listen", "auth", "hosts", "load", "log_level", "log_format"];

/// The options of `dev`.
#[derive(Clone, Debug)]
pub(crate) struct DevFlags(Flags);

impl DevFlags {
    /// The same as options of `serve`.
    pub(crate) fn flags(&self) -> &Flags {
        &self.0
    }

    /// Answers the environment variables that `dev` obeys: those of its own options only, so that
    /// the tour never touches a store that someone cares for.
    pub(crate) fn env(name: &str) -> Option<String> {
        let known =
            SETTINGS.iter().any(|setting| DEV_KEYS.contains(&setting.key) && setting.env() == name);
        if known { super::process_env(name) } else { None }
    }
}

impl FromArgMatches for DevFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Flags::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for DevFlags {
    fn augment_args(command: Command) -> Command {
        let settings = SETTINGS.iter().filter(|setting| DEV_KEYS.contains(&setting.key));
        command.args(settings.map(option))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn option(setting: &Setting) -> Arg {
    let default = match setting.default {
        [] => String::new(),
        texts => format!(" [default: {}]", texts.join(",")),
    };
    let summary = setting.doc.first().map_or("", |line| line.trim()).trim_end_matches('.');
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.value_name)
        .help(format!("{summary} [env: {}]{default}", setting.env()));
    if setting.many { arg.action(ArgAction::Append).num_args(1..) } else { arg }
}
