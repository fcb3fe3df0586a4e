//! Where words go: data to standard output, messages to standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

pub(super) use super::screen::{Screen, clean, clean_lines, cut};
use super::table::Table;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for people
    Table,
    /// JSON for programs
    Json,
    /// SARIF 2.1.0 for code reviews; `check` alone writes it
    Sarif,
    /// iCalendar; `schedule calendar` and `oncall calendar` write it
    Ics,
    /// Comma-separated values; `monitor samples` alone writes them
    Csv,
    /// Markdown; `incident report` and `run report` write it
    Md,
    /// A page of HTML; `incident report` and `run report` write it
    Html,
}

/// The two streams and what they can show.
#[derive(Debug)]
pub(super) struct Output {
    /// How data is printed.
    pub(super) format: Format,
    data: io::Stdout,
    data_screen: Screen,
    messages: io::Stderr,
    message_screen: Screen,
}

impl Output {
    /// The streams of this process.
    pub(super) fn new(format: Format) -> Self {
        let (data, messages) = (io::stdout(), io::stderr());
        let (data_screen, message_screen) = (Screen::of(&data), Screen::of(&messages));
        Self { format, data, data_screen, messages, message_screen }
    }

    /// What standard output can show.
    pub(super) fn screen(&self) -> Screen {
        self.data_screen
    }

    /// What standard error can show.
    pub(super) fn message_screen(&self) -> Screen {
        self.message_screen
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a line of data.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn line(&self, text: impl Display) -> anyhow::Result<()> {
        writeln!(&self.data, "{text}")?;
        Ok(())
    }

    /// Prints one document, indented.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        self.line(serde_json::to_string_pretty(value)?)
    }

    /// Prints a table.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn table(&self, table: &Table) -> anyhow::Result<()> {
        write!(&self.data, "{}", table.render(self.data_screen))?;
        Ok(())
    }

    /// Says something that is not data. That nobody listens is no error.
    pub(super) fn note(&self, text: impl Display) {
        let _ = writeln!(&self.messages, "{text}");
    }

    /// Empties the terminal before a list is drawn again; sets pipes apart with an empty line.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn redraw(&self) -> anyhow::Result<()> {
        let text = if self.data_screen.is_terminal() { "\x1b[H\x1b[2J\x1b[3J" } else { "\n" };
        write!(&self.data, "{text}")?;
        Ok(())
    }
}
