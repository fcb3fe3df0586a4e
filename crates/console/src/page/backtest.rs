//! What a backtest of a monitor found, as a part of a page: incidents and pages of then and now, which are gone
//! and which are new, and who would have been paged.

use kernel::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use crate::clock::length;
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::encoded;
use crate::{Context, piece};

/// How far back it can go: words, and milliseconds.
const SINCE: [(&str, &str, i64); 3] = [
    ("24h", "the last 24 h", 86_400_000),
    ("7d", "the last 7 days", 7 * 86_400_000),
    ("30d", "the last 30 days", 30 * 86_400_000),
];
/// Incidents of a list.
const SHOWN_MAX: usize = 30;

/// The choice of how far back.
pub(super) fn since_when() -> Markup {
    html! {
        label.field { span { "on what was answered in" }
            select name="since" { @for (word, shown, _) in SINCE { option value=(word) { (shown) } } }
        }
    }
}

/// Where the API makes the backtest that the form asks for; `path` is that of the monitor.
pub(super) fn address(cx: &Context<'_>, path: &str) -> String {
    let asked = cx.visit.form.get("since");
    let chosen = SINCE.into_iter().find(|(word, ..)| Some(*word) == asked).unwrap_or(SINCE[0]);
    let from = cx.clock.now.plus_millis(-chosen.2).millis();
    format!("{path}/backtest?from={from}&zone={}", encoded(cx.clock.zone_name()))
}

/// What came of it.
pub(super) fn shown(cx: &Context<'_>, report: &Value) -> Markup {
    let (then, now) = (&report["then"], &report["now"]);
    let rows: Vec<Markup> = [("Then", then), ("By this definition", now)]
        .iter()
        .map(|(title, course)| html! { tr { td { (title) } (figures(course)) } })
        .collect();
    let heads = ["", "Incidents", "Pages", "At night", "First told after, median"];
    html! {
        p { (summary(cx, report)) }
        (piece::table("Incidents and pages, then and by this definition", &heads, &rows))
        (paged(then, now))
        (incidents(cx, "Gone", list(report, "gone")))
        (incidents(cx, "New", list(report, "new")))
        (judged(report))
        @if let Some(allowed) = report["budget"]["allowed"].as_u64() {
            p class=[(report["budget"]["isOver"] == true).then_some("warn")] {
                "Its budget allows " (allowed) " pages" @if report["budget"]["isOver"] == true { ": these are more" } "."
            }
        }
        @if !list(report, "notes").is_empty() {
            ul.faint { @for note in list(report, "notes").iter().take(20) { li { (cut(&plain(note), 300)) } } }
        }
    }
}

/// The whole in a sentence.
fn summary(cx: &Context<'_>, report: &Value) -> Markup {
    let stretch = at(report, "since").zip(at(report, "until"));
    let (then, now) = (&report["then"], &report["now"]);
    let missing = [
        (count(report, "unknown"), "could not tell"),
        (count(report, "neverRan"), "never ran"),
        (count(report, "notKept"), "are not kept"),
    ];
    html! {
        @if let Some((since, until)) = stretch { "Since " (cx.clock.when(since)) ", " (length(until.since(since))) ": " }
        strong { (pages(then)) "; by this definition " (pages(now)) }
        " (22 to 6 o'clock, " (text(report, "zone")) "). " (count(report, "checks")) " checks"
        @for (number, what) in missing { @if number > 0 { "; " (number) " " (what) } }
        "."
    }
}

/// How many pages, and how many of them by night.
fn pages(course: &Value) -> String {
    let (all, by_night) = (count(course, "pages"), count(course, "pagesAtNight"));
    format!("{all} {}, {by_night} at night", if all == 1 { "page" } else { "pages" })
}

fn figures(course: &Value) -> Markup {
    let first = course["firstToldAfterMillis"].as_i64();
    html! {
        td.n { (count(course, "incidents")) }
        td.n { (count(course, "pages")) }
        td.n { (count(course, "pagesAtNight")) }
        td.n { (first.map_or_else(|| "–".to_owned(), length)) }
    }
}

/// Who was paged how often, and who would have been.
fn paged(then: &Value, now: &Value) -> Markup {
    let names = |course: &Value| -> Vec<String> {
        let paged = course["paged"].as_object();
        paged.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let mut all: Vec<String> = names(then).into_iter().chain(names(now)).collect();
    all.sort_unstable();
    all.dedup();
    let people = |it: &Value| -> String {
        let people = it["people"].as_object().into_iter().flatten();
        people.map(|(name, pages)| format!("{name} {pages}")).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<Markup> = all
        .iter()
        .take(SHOWN_MAX)
        .map(|name| {
            let (was, is) = (&then["paged"][name], &now["paged"][name]);
            html! {
                tr {
                    td { (piece::link(&["receivers", name], name)) }
                    td.n { (count(was, "pages")) }
                    td.n { (count(is, "pages")) }
                    td { (people(was)) }
                    td { (people(is)) }
                }
            }
        })
        .collect();
    html! {
        @if !rows.is_empty() {
            (piece::table("Who was paged", &["Receiver", "Then", "Now", "On call then", "On call now"], &rows))
        }
    }
}

fn incidents(cx: &Context<'_>, title: &str, all: &[Value]) -> Markup {
    html! {
        h3 { (title) " " (all.len()) }
        @if all.is_empty() { p.faint { "none" } }
        ul.time { @for it in all.iter().take(SHOWN_MAX) { li { (incident(cx, it)) } } }
        @if all.len() > SHOWN_MAX { p.faint { "and " (all.len() - SHOWN_MAX) " more" } }
    }
}

/// One incident: when, of what, how long, and who was told.
fn incident(cx: &Context<'_>, it: &Value) -> Markup {
    let (opens, resolves) = (at(it, "opensAt"), at(it, "resolvesAt"));
    let since = at(it, "since").or(opens);
    let told = list(it, "told").iter().filter(|page| text(page, "event") != "resolve");
    let told: Vec<String> = told.take(5).map(|page| told_after(page, since)).collect();
    html! {
        (cx.clock.maybe(opens)) " "
        @match said(it, "id") {
            Some(id) => { (piece::link(&["incidents", id], &cut(said(it, "key").unwrap_or("the monitor"), 80))) }
            None => { (cut(said(it, "key").unwrap_or("the monitor"), 80)) }
        }
        @match opens.zip(resolves) {
            Some((opens, end)) => { ", " (length(end.since(opens))) }
            None => { ", still open" }
        }
        " · " @if told.is_empty() { "nobody was told" } @else { "told " (told.join(", ")) }
        @match it["isReal"].as_bool() {
            Some(true) => { " · " span.bad { "was judged real" } }
            Some(false) => { " · was judged noise" }
            None => {}
        }
    }
}

fn told_after(page: &Value, since: Option<Timestamp>) -> String {
    let after = at(page, "at").zip(since).map(|(at, since)| length(at.since(since).max(0)));
    match after {
        Some(after) => format!("{} after {after}", text(page, "to")),
        None => text(page, "to").to_owned(),
    }
}

/// How good it is, by what people have judged.
fn judged(report: &Value) -> Markup {
    let share = |course: &Value, name: &str| {
        course[name].as_f64().map_or_else(|| "–".to_owned(), |share| share.to_string())
    };
    let (then, now) = (&report["judged"]["then"], &report["judged"]["now"]);
    let is_judged = [then, now]
        .iter()
        .any(|it| ["real", "noise", "realUntold"].iter().any(|name| count(it, name) > 0));
    html! {
        @if is_judged {
            p { "By what people have judged: precision " (share(then, "precision")) " → " (share(now, "precision"))
                ", recall " (share(then, "recall")) " → " (share(now, "recall"))
                ", real and not told of " (count(then, "realUntold")) " → " (count(now, "realUntold")) "." }
        }
    }
}
