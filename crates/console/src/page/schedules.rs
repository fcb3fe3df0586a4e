//! Schedules: what fires, fired, and should have, by the day.

use std::collections::BTreeMap;

use kernel::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Schedules of a page.
const SIZE: u64 = 40;
/// Planned instants of one schedule that are looked at.
const PLANNED: u64 = 200;
const WIDTH: i64 = 720;

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let chosen = asked.get("day").and_then(|day| cx.clock.day(day)).unwrap_or(cx.clock.now);
    let (from, to) = cx.clock.day_of(chosen);
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let path = format!("/api/scheduler/schedules/search?start={start}&size={SIZE}");
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let past = fired(cx, from, to).await?;
    let mut rows = Vec::new();
    for it in list(&found, "results") {
        let name = text(it, "name");
        let none = Vec::new();
        let planned = planned(cx, it, from, to).await?;
        rows.push(row(cx, it, past.get(name).unwrap_or(&none), &planned, (from, to)));
    }
    let before = cx.clock.date(from.plus_millis(-1));
    let after = cx.clock.date(to);
    let next = (start + SIZE < total).then(|| {
        format!("/console/schedules{}", asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let body = html! {
        ul.facets aria-label="Day" {
            li { a href={ "/console/schedules" (asked.with(&[("day", &before)])) } rel="prev" { "‹ " (before) } }
            li { strong { (cx.clock.date(from)) } " " (cx.clock.zone_name()) }
            li { a href={ "/console/schedules" (asked.with(&[("day", &after)])) } rel="next" { (after) " ›" } }
            li { a href="/console/schedules" { "today" } }
        }
        @if rows.is_empty() { (piece::nothing_yet("no schedule is defined", "nightbell schedule create -f FILE")) }
        @else {
            p.faint { (piece::counted(total, true)) " in all. Green: started; red: failed or missed; amber: skipped; outlined: planned." }
            (piece::table("Schedules by day", &["Schedule", "The day", "Next"], &rows))
        }
        (piece::more(next.as_deref()))
        (not_run(cx, &past))
    };
    let page = Page::new(Place::Schedules, "Schedules", body);
    Ok(page.same_as(path, "nightbell schedule list").on("firing schedule"))
}

/// What fired within a day, and what should have, by schedule.
async fn fired(
    cx: &Context<'_>,
    from: Timestamp,
    to: Timestamp,
) -> Result<BTreeMap<String, Vec<Value>>, Failure> {
    let query = format!("scheduledTime >= {} AND scheduledTime < {}", from.millis(), to.millis());
    let path = format!("/api/scheduler/search/executions?size=2000&query={}", encoded(&query));
    let found = cx.get(&path).await?;
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for it in list(&found, "results") {
        by_name.entry(text(it, "scheduleName").to_owned()).or_default().push(it.clone());
    }
    Ok(by_name)
}

/// What the scheduler itself plans for the rest of the day.
async fn planned(
    cx: &Context<'_>,
    it: &Value,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Timestamp>, Failure> {
    if it["paused"] == true || to <= cx.clock.now {
        return Ok(Vec::new());
    }
    let path =
        format!("/api/scheduler/schedules/{}/next?limit={PLANNED}", encoded(text(it, "name")));
    let planned = cx.get(&path).await?;
    let instants = planned.as_array().into_iter().flatten();
    Ok(instants
        .filter_map(|it| at(it, "scheduledTime"))
        .filter(|at| (from..to).contains(at))
        .collect())
}

fn row(
    cx: &Context<'_>,
    it: &Value,
    past: &[Value],
    planned: &[Timestamp],
    (from, to): (Timestamp, Timestamp),
) -> Markup {
    let name = text(it, "name");
    let span = to.since(from).max(1);
    let x = |at: Timestamp| at.since(from).clamp(0, span) * WIDTH / span;
    let path = |states: &[&str]| {
        let of = past.iter().filter(|it| states.contains(&text(it, "state")));
        bars(of.filter_map(|it| at(it, "scheduledTime")).map(x).collect())
    };
    let hour = |hour: i64| hour * 3_600_000 * WIDTH / span;
    let now = cx.clock.now;
    html! {
        tr {
            th scope="row" {
                (piece::link(&["schedules", name], name))
                @if it["paused"] == true { " " (piece::status("PAUSED")) }
                br; span.faint { (cut(said(it, "cronExpression").unwrap_or(""), 40)) " " (text(it, "zoneId")) }
            }
            td {
                svg.strip viewBox={ "0 0 " (WIDTH) " 24" } preserveAspectRatio="none" role="img"
                    aria-label={ (past.len()) " past, " (planned.len()) " planned" } {
                    @for at in [6, 12, 18] { path.idle d={ "M" (hour(at)) " 0v24h1v-24z" } {} }
                    path.ok d=(path(&["EXECUTED", "POLLED"])) {}
                    path.no d=(path(&["FAILED", "MISSED"])) {}
                    path.odd d=(path(&["SKIPPED"])) {}
                    path.queued d=(bars(planned.iter().map(|at| x(*at)).collect())) {}
                    @if (from..to).contains(&now) { path.run d={ "M" (x(now)) " 0v24h1v-24z" } {} }
                }
                span.faint { (past.len()) " past, " (planned.len()) @if planned.len() as u64 >= PLANNED { "+" } " planned" }
            }
            td.t { (cx.clock.maybe(at(it, "nextRunTime").filter(|_| it["paused"] != true))) }
        }
    }
}

/// Instants that are nearer to each other are drawn as one bar: so many parts of a day are enough.
const APART: i64 = 6;

/// Bars at these places, as one path.
fn bars(mut places: Vec<i64>) -> String {
    places.sort_unstable();
    let mut bars: Vec<(i64, i64)> = Vec::new();
    for place in places {
        match bars.last_mut() {
            Some((_, end)) if place - *end <= APART => *end = place,
            _ => bars.push((place, place)),
        }
    }
    let drawn = bars.iter().map(|(from, to)| {
        let wide = to - from + 3;
        format!("M{from} 4h{wide}v16h-{wide}z")
    });
    drawn.collect::<Vec<_>>().concat()
}

/// What did not happen, with its reason: the calendar's other half.
fn not_run(cx: &Context<'_>, past: &BTreeMap<String, Vec<Value>>) -> Markup {
    let lines: Vec<&Value> = past
        .values()
        .flatten()
        .filter(|it| matches!(text(it, "state"), "MISSED" | "SKIPPED" | "FAILED"))
        .collect();
    html! {
        @if !lines.is_empty() {
            (piece::part("What did not happen", html! {
                ul.time {
                    @for it in lines.iter().take(50) { li { (firing(cx, it)) } }
                }
                @if lines.len() > 50 { p.faint { (lines.len() - 50) " more" } }
            }))
        }
    }
}

/// A firing in a line.
pub(super) fn firing(cx: &Context<'_>, it: &Value) -> Markup {
    let name = text(it, "scheduleName");
    let many = count(it, "count");
    html! {
        (cx.clock.maybe(at(it, "scheduledTime")))
        (piece::status(text(it, "state"))) " "
        (piece::link(&["schedules", name], name))
        @if let Some(run) = said(it, "workflowId") { " " (piece::run(run)) }
        @if many > 1 { " ×" (many) }
        @if let Some(why) = said(it, "reason") { " · " (cut(why, 200)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_minutes_is_one_bar() {
        let minutes = (0..1440).map(|minute| minute / 2).collect();
        assert_eq!(bars(minutes), "M0 4h722v16h-722z");
        assert_eq!(bars(vec![30, 0]), "M0 4h3v16h-3zM30 4h3v16h-3z");
        assert_eq!(bars(Vec::new()), "");
    }
}
