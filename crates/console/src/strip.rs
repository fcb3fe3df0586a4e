//! Strips and lines over time: how checks went and how long they took, a cell for each stretch, and
//! the same in words and as a table.

use std::fmt::Write as _;

use kernel::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use crate::clock::{Clock, length};
use crate::piece;
use crate::value::{count, list};

/// A stretch of time up to now that pages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its word in addresses.
    pub(crate) word: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// Cells of a strip.
    pub(crate) cells: i64,
    /// The length of a cell, as the API names it.
    pub(crate) step: &'static str,
    /// The same in milliseconds.
    pub(crate) millis: i64,
    /// The same in words.
    pub(crate) each: &'static str,
}

/// The stretches that pages show.
pub(crate) const RANGES: [Range; 3] = [
    Range {
        word: "24h",
        name: "24 h",
        cells: 48,
        step: "30m",
        millis: 1_800_000,
        each: "half hours",
    },
    Range {
        word: "30d",
        name: "30 d",
        cells: 60,
        step: "12h",
        millis: 43_200_000,
        each: "half days",
    },
    Range { word: "90d", name: "90 d", cells: 90, step: "1d", millis: 86_400_000, each: "days" },
];

impl Range {
    /// The one of a word; a day for any other.
    pub(crate) fn of(word: Option<&str>) -> Self {
        RANGES.into_iter().find(|it| Some(it.word) == word).unwrap_or(RANGES[0])
    }

    /// When its first cell begins; the last one is that of now.
    pub(crate) const fn begin(&self, now: Timestamp) -> Timestamp {
        let last = now.millis().div_euclid(self.millis);
        Timestamp::from_millis((last - self.cells + 1) * self.millis)
    }

    /// What to ask the API for.
    pub(crate) fn query(&self, now: Timestamp) -> String {
        format!("from={}&step={}", self.begin(now).millis(), self.step)
    }
}

/// What a cell shows: the worst that was counted in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Looks {
    /// Nothing was counted.
    #[default]
    Idle,
    Well,
    Missed,
    Unknown,
    Warned,
    Failed,
}

/// Each with its class, and where its bar begins and how high it is: they differ without colours.
const LOOKS: [(Looks, &str, u32, u32); 6] = [
    (Looks::Idle, "idle", 14, 4),
    (Looks::Well, "ok", 4, 14),
    (Looks::Missed, "lost", 12, 6),
    (Looks::Unknown, "doubt", 8, 10),
    (Looks::Warned, "odd", 2, 16),
    (Looks::Failed, "no", 0, 20),
];

impl Looks {
    /// Of a cell as the API tells it.
    pub(crate) fn of(cell: &Value) -> Self {
        let has = |name: &str| count(cell, name) > 0;
        match () {
            () if has("fail") => Self::Failed,
            () if has("warn") => Self::Warned,
            () if has("unknown") => Self::Unknown,
            () if has("missed") => Self::Missed,
            () if has("ok") => Self::Well,
            () => Self::Idle,
        }
    }
}

/// The cells of a range, in order; `None` where nothing was counted.
pub(crate) fn cells(range: Range, now: Timestamp, answer: &Value) -> Vec<Option<&Value>> {
    let begin = range.begin(now);
    let mut cells = vec![None; usize::try_from(range.cells).unwrap_or_default()];
    for cell in list(answer, "cells") {
        let at = cell.get("at").and_then(Value::as_i64).unwrap_or_default();
        let place = (at - begin.millis()).div_euclid(range.millis);
        if let Some(place) = usize::try_from(place).ok().and_then(|place| cells.get_mut(place)) {
            *place = Some(cell);
        }
    }
    cells
}

/// The strip: one path for each look, whatever the number of cells.
pub(crate) fn strip(looks: &[Looks], label: &str) -> Markup {
    html! {
        svg.strip viewBox={ "0 0 " (looks.len() * 10) " 20" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (look, class, top, height) in LOOKS {
                @let path = bars(looks, look, top, height);
                @if !path.is_empty() { path class=(class) d=(path) {} }
            }
        }
    }
}

fn bars(looks: &[Looks], look: Looks, top: u32, height: u32) -> String {
    let places = looks.iter().enumerate().filter(|(_, it)| **it == look);
    let bars = places.map(|(at, _)| format!("M{} {top}h9v{height}h-9z", at * 10));
    bars.collect()
}

/// What a strip shows, in words.
pub(crate) fn told(looks: &[Looks], each: &str) -> String {
    let of = |look: Looks| looks.iter().filter(|it| **it == look).count();
    let parts = [
        (Looks::Failed, "with failures"),
        (Looks::Warned, "with warnings"),
        (Looks::Unknown, "in which checks could not tell"),
        (Looks::Missed, "with missed checks"),
        (Looks::Idle, "not checked"),
    ];
    let parts = parts.into_iter().map(|(look, words)| (of(look), words));
    let parts: Vec<String> = parts
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let parts = if parts.is_empty() { "all well".to_owned() } else { parts.join(", ") };
    format!("{} {each}: {parts}", looks.len())
}

/// A share of checks that did not fail, in percent.
pub(crate) fn percent(cell: &Value) -> String {
    match cell.get("uptime").and_then(Value::as_f64) {
        Some(percent) => format!("{percent} %"),
        None => "–".to_owned(),
    }
}

/// A response time of a cell.
pub(crate) fn took(cell: &Value, name: &str) -> String {
    milliseconds(cell, name).map_or_else(|| "–".to_owned(), length)
}

fn milliseconds(cell: &Value, name: &str) -> Option<i64> {
    cell.get("ms")?.get(name)?.as_i64()
}

/// A line of a response time over the cells, with gaps where nothing was counted; `most` is its height.
fn line(cells: &[Option<&Value>], name: &str, most: i64) -> String {
    let (mut path, mut is_open) = (String::new(), false);
    for (at, cell) in cells.iter().enumerate() {
        let Some(ms) = cell.and_then(|cell| milliseconds(cell, name)) else {
            is_open = false;
            continue;
        };
        let height = 38 - ms.min(most) * 36 / most.max(1);
        let x = at * 10;
        if is_open {
            let _ = write!(path, "L{} {height}", x + 5);
        } else {
            // A cell between two gaps is a dash of its own.
            let _ = write!(path, "M{x} {height}L{} {height}", x + 5);
        }
        is_open = true;
    }
    path
}

/// The lines of the given quantiles; nothing if nothing was measured.
pub(crate) fn lines(cells: &[Option<&Value>], names: &[&str], label: &str) -> Markup {
    let of = |name: &str| cells.iter().flatten().filter_map(|it| milliseconds(it, name)).max();
    let most = names.iter().filter_map(|name| of(name)).max();
    html! {
        @if let Some(most) = most {
            svg.lines viewBox={ "0 0 " (cells.len() * 10) " 40" } preserveAspectRatio="none" role="img" aria-label=(label) {
                @for name in names { path class=(name) d=(line(cells, name, most)) {} }
            }
        }
    }
}

/// The cells of a range as a table, the newest first; those in which nothing was counted are left out.
pub(crate) fn table(clock: &Clock, caption: &str, cells: &[Option<&Value>]) -> Markup {
    let rows: Vec<Markup> = cells
        .iter()
        .rev()
        .flatten()
        .map(|cell| {
            let at = cell.get("at").and_then(Value::as_i64).unwrap_or_default();
            html! { tr { td.t { (clock.when(Timestamp::from_millis(at))) } (figures(cell)) } }
        })
        .collect();
    piece::table(caption, &heads("From"), &rows)
}

/// The heads of a table of [`figures`], the first as given.
pub(crate) fn heads(first: &str) -> [&str; 11] {
    [
        first,
        "Well",
        "Checks",
        "Failed",
        "Warned",
        "Cannot tell",
        "Missed",
        "Incidents",
        "p50",
        "p95",
        "Most",
    ]
}

/// The figures of a cell, as the columns of a table.
pub(crate) fn figures(cell: &Value) -> Markup {
    html! {
        td.n { (percent(cell)) }
        @for name in ["checks", "fail", "warn", "unknown", "missed", "incidents"] { td.n { (count(cell, name)) } }
        @for name in ["p50", "p95", "max"] { td.n { (took(cell, name)) } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strip_has_one_path_for_each_look_and_says_in_words_what_it_shows() {
        let now = Timestamp::from_millis(1_800_000 * 100 + 7);
        let range = Range::of(Some("24h"));
        let at = |back: i64| now.millis() - back * range.millis;
        let answer = json!({ "cells": [
            { "at": range.begin(now).millis(), "ok": 5, "checks": 5 },
            { "at": at(2) / 1_800_000 * 1_800_000, "ok": 5, "fail": 1 },
            { "at": at(0) / 1_800_000 * 1_800_000, "ok": 4, "missed": 1 },
            { "at": at(90), "fail": 1 },
        ] });
        let cells = cells(range, now, &answer);
        assert_eq!((cells.len(), cells.iter().flatten().count()), (48, 3));
        let looks: Vec<Looks> =
            cells.iter().map(|it| it.map(Looks::of).unwrap_or_default()).collect();
        assert_eq!((looks[0], looks[45], looks[47]), (Looks::Well, Looks::Failed, Looks::Missed));
        let told = told(&looks, range.each);
        assert_eq!(told, "48 half hours: 1 with failures, 1 with missed checks, 45 not checked");
        let shown = strip(&looks, &told).into_string();
        assert_eq!(shown.matches("<path").count(), 4);
        assert!(shown.contains("M450 0h9v20h-9z"), "{shown}");
    }

    #[test]
    fn a_line_has_gaps_where_nothing_was_measured() {
        let [one, two] = [10, 40].map(|ms| json!({ "ms": { "p95": ms } }));
        let cells = [Some(&one), Some(&two), None, Some(&one)];
        assert_eq!(line(&cells, "p95", 40), "M0 29L5 29L15 2M30 29L35 29");
        let nothing = json!({ "ok": 1 });
        assert!(lines(&[Some(&nothing)], &["p95"], "").into_string().is_empty());
    }
}
