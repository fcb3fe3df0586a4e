//! `nightbell completions`, `nightbell man` and `nightbell editor-schemas`: what shells and `man` know of
//! the command line, and what editors know of files.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::Output;

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write the pages into; it is made if it is not there
    folder: PathBuf,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct EditorSchemas {
    /// The folder to write the schemas into; it is made if it is not there
    folder: PathBuf,
}

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output is closed.
pub(super) fn completions(arguments: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "nightbell", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(())
}

fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Writes a page for each command.
///
/// # Errors
/// The folder cannot be made or written to.
pub(super) fn man(arguments: &Man, output: &Output) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    make(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("pages cannot be written to {}", folder.display()))?;
    output.note(format_args!("wrote the pages to {}; man -l {0}/nightbell.1", folder.display()));
    Ok(())
}

/// Writes the JSON schemas of files.
///
/// # Errors
/// The folder cannot be made or written to.
pub(super) fn editor_schemas(arguments: &EditorSchemas, output: &Output) -> anyhow::Result<()> {
    let folder = &arguments.folder;
    make(folder)?;
    for (name, text) in crate::schemas::all() {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .with_context(|| format!("the schema cannot be written to {}", path.display()))?;
        output.note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}
