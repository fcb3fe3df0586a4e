//! Aligned columns without frames, cut to the width of the terminal.
//!
//! Pipes get everything, so that `grep` and `awk` never see an ellipsis. Colour means status only.

use super::screen::{Screen, clean, cut};

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Done and well.
    Good,
    /// Going on.
    Busy,
    /// Waiting.
    Waiting,
    /// Failed.
    Bad,
    /// Of no more concern.
    Faint,
}

impl Tone {
    /// The tone of a status of a workflow or a task.
    pub(super) fn of_status(status: &str) -> Option<Self> {
        Some(match status {
            "COMPLETED" | "UP" | "LISTENING" | "VALID" => Self::Good,
            "RUNNING" | "IN_PROGRESS" => Self::Busy,
            "SCHEDULED"
            | "PAUSED"
            | "COMPLETED_WITH_ERRORS"
            | "PENDING"
            | "UNKNOWN"
            | "acknowledged"
            | "snoozed" => Self::Waiting,
            "FAILED" | "TIMED_OUT" | "FAILED_WITH_TERMINAL_ERROR" | "DOWN" | "SILENT" | "open" => {
                Self::Bad
            }
            "TERMINATED" | "CANCELED" | "SKIPPED" | "resolved" | "REVOKED" | "EXPIRED" => {
                Self::Faint
            }
            _ => return None,
        })
    }

    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Busy => "34",
            Self::Waiting => "33",
            Self::Bad => "31",
            Self::Faint => "2",
        }
    }

    /// The text in this tone, where colours are welcome.
    pub(super) fn paint(tone: Option<Self>, text: &str, screen: Screen) -> String {
        match tone {
            Some(tone) if screen.color => format!("\x1b[{}m{text}\x1b[0m", tone.code()),
            _ => text.to_owned(),
        }
    }
}

/// One cell.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A status, in its colour.
    pub(super) fn status(status: &str) -> Self {
        Self { text: clean(status), tone: Tone::of_status(status) }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: clean(&text.to_string()), tone: None }
    }
}

/// A table that is being filled.
#[derive(Debug)]
pub(super) struct Table {
    heads: Vec<&'static str>,
    elastic: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings. A column whose heading begins with `~` may be cut where the
    /// terminal is narrow; ids and numbers are of no use when cut.
    pub(super) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.iter().map(|head| head.trim_start_matches('~')).collect(),
            elastic: heads.iter().map(|head| head.starts_with('~')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each heading.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, with a newline after each line.
    pub(super) fn render(&self, screen: Screen) -> String {
        let widths = self.widths(screen.width);
        let mut text = String::new();
        let heads = self.heads.iter().map(|head| (*head, None));
        line(&mut text, heads, &widths, screen);
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.tone));
            line(&mut text, cells, &widths, screen);
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        const GAP: usize = 2;
        const NARROWEST: usize = 8;
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let limit = limit.unwrap_or(usize::MAX);
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(limit);
        while excess > 0 {
            // Takes from the widest, so that short columns stay whole.
            let elastic = widths.iter_mut().zip(&self.elastic).filter(|(_, elastic)| **elastic);
            let Some(widest) = elastic.map(|(width, _)| width).max() else { break };
            if *widest <= NARROWEST {
                break;
            }
            *widest -= 1;
            excess -= 1;
        }
        widths
    }
}

fn line<'a>(
    text: &mut String,
    cells: impl Iterator<Item = (&'a str, Option<Tone>)>,
    widths: &[usize],
    screen: Screen,
) {
    let start = text.len();
    for (column, ((cell, tone), width)) in cells.zip(widths).enumerate() {
        if column > 0 {
            text.push_str("  ");
        }
        let shown = cut(cell, *width);
        let padding = width - shown.chars().count();
        text.push_str(&Tone::paint(tone, &shown, screen));
        text.extend(std::iter::repeat_n(' ', padding));
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { width: None, color: false };

    fn table() -> Table {
        let mut table = Table::new(&["ID", "STATUS", "~REASON"]);
        table.row(["1".into(), Cell::status("FAILED"), "the peer reset the connection".into()]);
        table.row(["20".into(), Cell::status("COMPLETED"), "".into()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_end_at_their_last_word() {
        let expected = "\
ID  STATUS     REASON
1   FAILED     the peer reset the connection
20  COMPLETED
";
        assert_eq!(table().render(PIPE), expected);
    }

    #[test]
    fn only_elastic_columns_are_cut_to_the_terminal() {
        let expected = "\
ID  STATUS     REASON
1   FAILED     the peer reset…
20  COMPLETED
";
        assert_eq!(table().render(Screen { width: Some(30), color: false }), expected);
        assert!(table().render(Screen { width: Some(5), color: false }).contains("the pee…"));
    }

    #[test]
    fn colour_does_not_disturb_the_columns() {
        let text = table().render(Screen { width: None, color: true });
        assert!(text.contains("1   \x1b[31mFAILED\x1b[0m     the peer"), "{text:?}");
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        let mut table = Table::new(&["~REASON"]);
        table.row(["a\x1b[2Jb\nc".into()]);
        assert_eq!(table.render(PIPE), "REASON\na [2Jb c\n");
    }
}
