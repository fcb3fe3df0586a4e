//! `nightbell reference`: the pages of the documentation that are generated from the code. A test compares
//! them with those of `docs/reference`.

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, Args, Command, CommandFactory as _};
use kernel::alert::definition::check_types;
use kernel::alert::definition::reference::{check_kinds, keys as known_keys, receiver_kinds};

use serde::Deserialize;

use super::Cli;
use crate::config::{SETTINGS, default_of};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The folder to write the pages into; it must exist
    folder: PathBuf,
}

/// Writes every page.
///
/// # Errors
/// The folder cannot be written to, or a key of monitors files has no meaning written down.
pub(super) fn write(arguments: &Arguments) -> anyhow::Result<()> {
    let pages = [
        ("settings.md", settings()),
        ("command-line.md", command_line()),
        ("monitors.md", monitors()?),
    ];
    for (name, text) in pages {
        let file = arguments.folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

const GENERATED: &str =
    "<!-- Generated: NIGHTBELL_BLESS=1 cargo test -p nightbell --test it reference:: -->";

fn settings() -> String {
    let mut page = format!(
        "# Settings\n\n{GENERATED}\n\nOf `nightbell serve`, and mostly of `nightbell dev`. An option beats an environment \
         variable, which beats the file:\n`nightbell.toml` in the folder in which the server starts, or what `--config` or \
         `NIGHTBELL_CONFIG` names. `nightbell config`\nprints such a file, `nightbell config --effective` what is in force here \
         and why.\n\nUnits of time: ms, s, m, h, d. Units of size: B, KiB, MiB, GiB, KB, MB, GB.\n"
    );
    for setting in SETTINGS {
        let (flag, env, default) = (setting.flag(), setting.env(), default_of(setting));
        let _ =
            write!(page, "\n## {}\n\n`--{flag}`, `{env}`; default `{default}`\n\n", setting.key);
        for line in setting.doc {
            let line = line.strip_prefix(' ').unwrap_or(line);
            let _ = writeln!(page, "{}", plain(line));
        }
    }
    page
}

/// A text as Markdown shows it: what looks like a tag stays a text.
fn plain(text: &str) -> String {
    let mut is_code = false;
    let escaped = text.chars().flat_map(|c| {
        is_code ^= c == '`';
        let escape = !is_code && matches!(c, '<' | '*');
        escape.then_some('\\').into_iter().chain(std::iter::once(c))
    });
    escaped.collect()
}

fn command_line() -> String {
    let mut command = Cli::command();
    command.build();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut page = format!(
        "# Command line\n\n{GENERATED}\n\n{}. `nightbell COMMAND --help` says the same in the terminal,\n`nightbell man FOLDER` \
         writes it as a manual.\n\nEvery command also takes:\n\n",
        about(&command)
    );
    for arg in command.get_arguments().filter(|arg| arg.is_global_set()) {
        argument(&mut page, arg);
    }
    let _ = write!(page, "\n```text\n{after}\n```\n");
    for noun in shown(&command) {
        section(&mut page, noun, "nightbell", 2);
    }
    page
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

fn about(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    about.map(ToString::to_string).unwrap_or_default()
}

fn section(page: &mut String, command: &Command, before: &str, depth: usize) {
    let name = format!("{before} {}", command.get_name());
    let _ = write!(page, "\n{} {name}\n\n{}\n", "#".repeat(depth), plain(&about(command)));
    let verbs: Vec<&Command> = shown(command).collect();
    if verbs.is_empty() {
        let usage = command.clone().bin_name(&name).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        let _ = write!(page, "\n```text\n{usage}\n```\n");
        let own = |arg: &&Arg| !arg.is_global_set() && !arg.is_hide_set();
        let own = command.get_arguments().filter(own).filter(|arg| arg.get_id() != "help");
        if command.get_name() == "serve" {
            page.push_str("\nIts options are the [settings](settings.md).\n");
        } else {
            let mut list = String::new();
            own.for_each(|arg| argument(&mut list, arg));
            if !list.is_empty() {
                let _ = write!(page, "\n{list}");
            }
        }
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        let _ = write!(page, "\n```text\n{}\n```\n", after.to_string().trim_end());
    }
    for verb in verbs {
        section(page, verb, &name, depth + 1);
    }
}

fn argument(page: &mut String, arg: &Arg) {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|it| format!(" {it}")).collect();
    let takes = arg.get_action().takes_values();
    let values = if takes { values.concat() } else { String::new() };
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let shown = if names.is_empty() {
        values.trim().to_owned()
    } else {
        format!("{}{values}", names.join("`, `"))
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "- `{shown}`: {}", plain(&help));
    let defaults: Vec<_> = arg.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        let _ = write!(page, " (default `{}`)", defaults.join("`, `"));
    }
    page.push('\n');
}

fn monitors() -> anyhow::Result<String> {
    let mut page = format!(
        "# Keys of monitors files\n\n{GENERATED}\n\nThey are explained in [monitors](../monitors.md), [alerts](../alerts.md) and \
         [on call](../on-call.md). A key that is not listed here is refused.\nBeside its keys a monitor has one of the [kinds of checks](#kinds-of-checks), a receiver one of the\n[kinds of receivers](#kinds-of-receivers).\n"
    );
    let known = known_keys();
    for object in keys::OBJECTS {
        let _ = write!(page, "\n## {}\n\n| key | meaning |\n|---|---|\n", object.title);
        check_meanings(object, &known)?;
        for (key, meaning) in object.keys {
            let _ = writeln!(page, "| `{key}` | {meaning} |");
        }
    }
    let described: BTreeSet<&str> =
        keys::OBJECTS.iter().flat_map(|object| object.paths).copied().collect();
    if let Some(path) = known.keys().find(|path| !described.contains(path.as_str())) {
        anyhow::bail!("the object {path} of monitors files has no table in cli/reference/keys.rs");
    }
    let meanings: Meanings = toml::from_str(MEANINGS).context("cli/reference/settings.toml")?;
    page.push_str("\n## Kinds of checks\n\nA monitor has exactly one of them. Settings in bold are required, or one of those that the line below lists.\n");
    for kind in check_kinds() {
        let beside = match kind.beside {
            [] => String::new(),
            names => format!(" `{}` may also stand beside it.", names.join("`, `")),
        };
        // What is called makes no checks, and a workflow has the type of its own tasks.
        let task = check_types().find(|it| *it == kind.task_type);
        let task = task.map_or_else(String::new, |it| format!("Task `{it}`. "));
        let _ = write!(
            page,
            "\n### {}\n\n{task}A plain text sets `{}`.{beside}\n\n",
            kind.name, kind.short
        );
        let settings: Vec<_> =
            kind.settings.iter().map(|(name, shape)| (*name, (*shape).to_owned())).collect();
        table(&mut page, kind.required, &settings, meanings.of_kind("checks", kind.name))?;
        if let Some(columns) = kind.columns {
            let _ = write!(page, "\nColumns: `{}`.\n", columns.join("`, `"));
        }
    }
    page.push_str("\n## Kinds of receivers\n\nA receiver has exactly one of them.\n");
    let shorts: BTreeMap<&str, &str> = receiver_kinds().iter().copied().collect();
    for kind in tasks::notify::receiver_kinds() {
        let short = shorts.get(kind.name).copied().unwrap_or_default();
        let _ = write!(page, "\n### {} (receiver)\n\nA plain text sets `{short}`.\n\n", kind.name);
        let meanings = meanings.of_kind("receivers", kind.name);
        table(&mut page, kind.required, &kind.settings, meanings)?;
    }
    Ok(page)
}

/// Fails unless exactly the keys that the code knows have a meaning.
fn check_meanings(
    object: &keys::Object,
    known: &BTreeMap<String, BTreeSet<&'static str>>,
) -> anyhow::Result<()> {
    let described: BTreeSet<&str> = object.keys.iter().map(|(key, _)| *key).collect();
    let mut there = BTreeSet::new();
    for path in object.paths {
        let keys = known.get(*path);
        there.extend(keys.with_context(|| format!("monitors files have no object {path}"))?);
    }
    let odd: Vec<&&str> = described.symmetric_difference(&there).collect();
    anyhow::ensure!(
        odd.is_empty(),
        "{}: what cli/reference/keys.rs says and what the code reads differ in {odd:?}",
        object.title
    );
    Ok(())
}

/// What each setting of each kind of check and receiver means: by group, kind and setting.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Meanings(BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>);

const MEANINGS: &str = include_str!("reference/settings.toml");

impl Meanings {
    /// Those of a kind, with its name for a failure.
    fn of_kind<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> (String, Option<&'a BTreeMap<String, String>>) {
        (format!("{group}.{kind}"), self.0.get(group).and_then(|kinds| kinds.get(kind)))
    }
}

/// Fails unless exactly the settings of the kind have a meaning.
fn table(
    page: &mut String,
    required: &[&[&str]],
    settings: &[(&'static str, String)],
    (kind, meanings): (String, Option<&BTreeMap<String, String>>),
) -> anyhow::Result<()> {
    let known: BTreeSet<&str> = settings.iter().map(|(name, _)| *name).collect();
    let described: BTreeSet<&str> = meanings.into_iter().flatten().map(|it| &**it.0).collect();
    let odd: Vec<&&str> = described.symmetric_difference(&known).collect();
    anyhow::ensure!(
        odd.is_empty(),
        "[{kind}] of cli/reference/settings.toml and the code differ in {odd:?}"
    );
    page.push_str("| setting | is | meaning |\n|---|---|---|\n");
    for (name, shape) in settings {
        let is_needed = required.iter().any(|choices| choices.contains(name));
        let mark = if is_needed { "**" } else { "" };
        let meaning = meanings.and_then(|it| it.get(*name)).map_or("", String::as_str);
        let shape = shape.replace('|', "\\|");
        let _ = writeln!(page, "| {mark}`{name}`{mark} | {shape} | {meaning} |");
    }
    let several = required.iter().filter(|choices| choices.len() > 1);
    let several: Vec<String> =
        several.map(|choices| format!("`{}`", choices.join("` or `"))).collect();
    if !several.is_empty() {
        let _ = write!(page, "\nNeeds {}.\n", several.join("; "));
    }
    Ok(())
}
