//! What differs between two texts, line by line.

use std::time::{Duration, Instant};

use maud::{Markup, html};
use similar::{Algorithm, Change, ChangeTag, capture_diff_slices_deadline};

/// A line of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// Lines of a text that are compared: a page of more is of no use to anybody.
pub(super) const LINES_MAX: usize = 20_000;
/// How long the shortest way is looked for, as nobody else is served by that thread; then the next best is taken.
const EFFORT: Duration = Duration::from_millis(25);

/// The shortest way from one text to the other; `None` if they are too long to compare.
pub(super) fn between<'a>(before: &'a str, after: &'a str) -> Option<Vec<Line<'a>>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if old.len() > LINES_MAX || new.len() > LINES_MAX {
        return None;
    }
    let deadline = Some(Instant::now() + EFFORT);
    let found = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
    let line = |change: Change<&'a str>| match change.tag() {
        ChangeTag::Equal => Line::Same(change.value()),
        ChangeTag::Delete => Line::Gone(change.value()),
        ChangeTag::Insert => Line::New(change.value()),
    };
    Some(found.iter().flat_map(|part| part.iter_changes(&old, &new)).map(line).collect())
}

/// Lines that are shown around a difference.
const AROUND: usize = 3;
/// Lines of a page.
const SHOWN_MAX: usize = 400;

/// The differences with some lines around them.
pub(super) fn shown(lines: &[Line<'_>]) -> Markup {
    let near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        let to = (at + AROUND + 1).min(lines.len());
        lines[from..to].iter().any(|line| !matches!(line, Line::Same(_)))
    };
    let kept: Vec<usize> = (0..lines.len()).filter(|at| near(*at)).collect();
    if kept.is_empty() {
        return html! { p.faint { "They are the same." } };
    }
    html! {
        pre tabindex="0" {
            @for (place, at) in kept.iter().take(SHOWN_MAX).enumerate() {
                @if place > 0 && kept[place - 1] + 1 < *at { "⋯\n" }
                @match lines[*at] {
                    Line::Same(text) => { "  " (text) "\n" }
                    Line::Gone(text) => { del { "− " (text) } "\n" }
                    Line::New(text) => { ins { "+ " (text) } "\n" }
                }
            }
            @if kept.len() > SHOWN_MAX { "⋯ " (kept.len() - SHOWN_MAX) " more lines" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line::{Gone, New, Same};
    use super::*;

    #[test]
    fn the_shortest_way_from_one_text_to_the_other() {
        let lines = between("a\nb\nc", "a\nx\nc\nd").expect("they are short");
        assert_eq!(lines, [Same("a"), Gone("b"), New("x"), Same("c"), New("d")]);
        assert_eq!(between("", "").map(|lines| lines.len()), Some(0));
        let long = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(between(&long, ""), None);
    }

    #[test]
    fn what_is_the_same_far_away_is_left_out() {
        let before: String = (0..100).map(|at| format!("line {at}\n")).collect::<Vec<_>>().concat();
        let after = before.replace("line 50\n", "line <b>\n");
        let text = shown(&between(&before, &after).expect("they are short")).into_string();
        assert!(text.contains("<ins>+ line &lt;b&gt;</ins>"), "{text}");
        assert!(text.contains("line 47\n") && !text.contains("line 46\n"), "{text}");
    }
}
