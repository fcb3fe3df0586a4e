//! What a stream can show, and text that is fit to be shown on it.

use std::io;
use std::os::fd::AsFd;

/// A stream, as far as its looks are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// Columns of the terminal; nothing if it is not one.
    pub(super) width: Option<usize>,
    /// Whether colours are welcome.
    pub(super) color: bool,
}

impl Screen {
    pub(super) fn of(stream: &(impl io::IsTerminal + AsFd)) -> Self {
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
