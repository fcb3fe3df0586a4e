//! Where words go: data to standard output, messages to standard error.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use clap::ValueEnum;
use serde::Serialize;

use super::table::Table;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for people
    Table,
    /// JSON for programs
    Json,
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

/// A stream, as far as its looks are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Columns of the terminal; nothing if it is not one.
    pub(super) width: Option<usize>,
    /// Whether colours are welcome.
    pub(super) color: bool,
}

impl Screen {
    fn of(stream: &(impl io::IsTerminal + AsFd)) -> Self {
        const USUAL: usize = 80;
        const NARROWEST: usize = 20;
        if !stream.is_terminal() {
            return Self { width: None, color: false };
        }
        let plain = |name, test: fn(&str) -> bool| {
            std::env::var_os(name).is_some_and(|value| test(&value.to_string_lossy()))
        };
        let color =
            !plain("NO_COLOR", |value| !value.is_empty()) && !plain("TERM", |t| t == "dumb");
        let width = terminal_size::terminal_size_of(stream)
            .map_or(USUAL, |(width, _)| usize::from(width.0).max(NARROWEST));
        Self { width: Some(width), color }
    }

    /// Whether this is a terminal.
    pub(super) fn is_terminal(self) -> bool {
        self.width.is_some()
    }
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

/// Text from elsewhere on one line, without characters that would steer the terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// As [`clean`], but keeps lines and tabs.
pub(super) fn clean_lines(text: &str) -> String {
    let keep = |c: char| !steers(c) || c == '\n' || c == '\t';
    text.chars().map(|c| if keep(c) { c } else { ' ' }).collect()
}

/// Whether a character moves the cursor, or changes the order in which others are shown: text with
/// bidirectional overrides can look like another text.
fn steers(c: char) -> bool {
    let reorders = matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

/// The first `width` characters, with an ellipsis if there are more.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{clean, clean_lines};

    #[test]
    fn attacks_text_that_steers_the_terminal_or_reorders_others_is_blanked() {
        let said = "a\u{202E}b\u{2066}c\x1b[2Jd\ne";
        assert_eq!(clean(said), "a b c [2Jd e");
        assert_eq!(clean_lines(said), "a b c [2Jd\ne");
    }
}
