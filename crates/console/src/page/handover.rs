//! Handing over: what rang since, who did what about it, what is still open and until when it is quiet, and
//! which silences end.

use kernel::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, incidents, silences};
use crate::shell::Place;
use crate::value::{at, cut, list, said, text};
use crate::visit::href;
use crate::{Context, piece};

/// Spans that can be chosen, in hours; a night is the first.
const SPANS: [i64; 4] = [12, 24, 72, 168];
const HOUR: i64 = 3_600_000;
/// How long before the span an incident may have opened that something happened to within it.
const BEFORE: i64 = 7 * 24 * HOUR;
/// Incidents that are read, those that are not over and those that began lately.
const READ_MAX: usize = 200;
/// Lines of one part.
const LINES_MAX: usize = 60;

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = cx.visit.query.get("hours").and_then(|it| it.parse().ok());
    let hours = asked.filter(|hours| SPANS.contains(hours)).unwrap_or(SPANS[0]);
    let from = cx.clock.now.plus_millis(-hours * HOUR);
    let path = format!(
        "/api/incidents?state=all&history=true&size={READ_MAX}&after={}",
        from.plus_millis(-BEFORE).millis()
    );
    let lately = cx.get(&path).await?;
    let open = cx.get(&format!("/api/incidents?size={READ_MAX}")).await?;
    let kept = cx.get("/api/silences").await?;
    let (lately, open) = (list(&lately, "results"), list(&open, "results"));
    let rang: Vec<&Value> = lately
        .iter()
        .filter(|it| {
            list(it, "history").iter().any(|entry| is_opening(entry) && is_in(entry, from))
        })
        .collect();
    let body = html! {
        ul.facets aria-label="Since" {
            @for span in SPANS {
                li { a href={ "/console/handover?hours=" (span) } aria-current=[(span == hours).then_some("true")] { (span) " h" } }
            }
        }
        p { "Since " (cx.clock.when(from)) ": " (rang.len()) " rang, " (open.len()) " are not over." }
        (piece::part("Not over", still_open(cx, open)))
        (piece::part("Rang", rings(cx, &rang, from)))
        (piece::part("Who did what", done_by_people(cx, lately, from)))
        (piece::part("Silences", ends(cx, &kept)))
        @if lately.len() == READ_MAX || open.len() == READ_MAX {
            p.faint { "Only the newest " (READ_MAX) " incidents were read. " a href="/console/incidents?state=all" { "All" } }
        }
    };
    let page = Page::new(Place::Now, "Handover", body).below("Now", "/console/");
    Ok(page.same_as(path, "nightbell incident list --state all").on("incident monitor change"))
}

fn is_in(entry: &Value, from: Timestamp) -> bool {
    at(entry, "at").is_some_and(|at| at >= from)
}

/// Whether an incident began to ring by this.
fn is_opening(entry: &Value) -> bool {
    text(entry, "what") == "open"
}

/// Those that are not over, with what makes them quiet and until when.
fn still_open(cx: &Context<'_>, open: &[Value]) -> Markup {
    html! {
        @if open.is_empty() { p.faint { "Nothing: whoever comes next begins with a calm house." } }
        ul {
            @for it in open.iter().take(LINES_MAX) {
                li {
                    (incidents::line(cx, it))
                    @if let Some(until) = at(it, "snoozedUntil") { " · snoozed until " (cx.clock.when(until)) }
                    @if let Some(why) = said(it, "suppressed") { " · nobody is told: " (cut(why, 120)) }
                }
            }
        }
        (left_out(open.len()))
    }
}

/// Those that rang, each with when it did and when it was over.
fn rings(cx: &Context<'_>, rang: &[&Value], from: Timestamp) -> Markup {
    html! {
        @if rang.is_empty() { p.faint { "Nothing." } }
        ul.time {
            @for it in rang.iter().take(LINES_MAX) {
                @let opened = list(it, "history").iter().filter(|entry| is_opening(entry) && is_in(entry, from));
                @let times: Vec<Timestamp> = opened.filter_map(|entry| at(entry, "at")).collect();
                li {
                    (cx.clock.maybe(times.first().copied()))
                    a href=(href(&["incidents", text(it, "id")])) { (incidents::name(it)) } " " (incidents::severity(it))
                    @if times.len() > 1 { " · " (times.len()) " times" }
                    @if times.iter().any(|at| cx.clock.is_night(*at)) { " · by night" }
                    @match at(it, "resolvedAt") {
                        Some(over) => { " · over " (cx.clock.when(over)) }
                        None => { " · " (incidents::state(it)) }
                    }
                    @if let Some(text) = said(it, "text") { br; (cut(text, 160)) }
                }
            }
        }
        (left_out(rang.len()))
    }
}

/// What people did, newest first.
fn done_by_people(cx: &Context<'_>, lately: &[Value], from: Timestamp) -> Markup {
    let mut done: Vec<(Timestamp, &Value, &Value)> = Vec::new();
    for it in lately {
        let by_people = list(it, "history").iter().filter(|entry| said(entry, "who").is_some());
        let within = by_people.filter(|entry| is_in(entry, from));
        done.extend(within.filter_map(|entry| Some((at(entry, "at")?, it, entry))));
    }
    done.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    html! {
        @if done.is_empty() { p.faint { "Nobody did anything." } }
        ul.time {
            @for (at, it, entry) in done.iter().take(LINES_MAX) {
                li {
                    (cx.clock.when(*at)) (cut(text(entry, "who"), 80)) ": " (text(entry, "what")) " "
                    a href=(href(&["incidents", text(it, "id")])) { (incidents::name(it)) }
                    @if let Some(why) = said(entry, "why") { " · “" (cut(why, 300)) "”" }
                }
            }
        }
        (left_out(done.len()))
    }
}

/// Silences that are in force, those that end first before the others.
fn ends(cx: &Context<'_>, silences: &Value) -> Markup {
    let all = silences.as_array().map_or(&[][..], Vec::as_slice).iter();
    let mut kept: Vec<(Option<Timestamp>, &Value)> = all
        .filter(|it| !it["inForceUntil"].is_null())
        .map(|it| (at(it, "inForceUntil"), it))
        .collect();
    kept.sort_by_key(|(until, _)| (until.is_none(), *until));
    html! {
        @if kept.is_empty() { p.faint { "None is in force." } }
        ul {
            @for (until, it) in kept.iter().take(LINES_MAX) {
                li {
                    code { (cut(&silences::matchers(&it["match"]), 200)) } " "
                    @match until {
                        Some(until) => { "until " (cx.clock.when(*until)) " (" (cx.clock.ago(*until)) ")" }
                        None => { "until somebody ends it" }
                    }
                    @if let Some(by) = said(it, "by") { " · by " (cut(by, 80)) }
                    @if let Some(why) = said(it, "comment") { " · “" (cut(why, 200)) "”" }
                }
            }
        }
        (left_out(kept.len()))
        p { a href="/console/silences" { "Silences" } }
    }
}

fn left_out(count: usize) -> Markup {
    html! { @if count > LINES_MAX { p.faint { (count - LINES_MAX) " more are not listed." } } }
}
