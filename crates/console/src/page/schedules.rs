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

/// Stretches of time that can be shown, with their days.
const SPANS: [(&str, i64); 3] = [("day", 1), ("week", 7), ("month", 31)];

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let chosen = asked.get("day").and_then(|day| cx.clock.day(day)).unwrap_or(cx.clock.now);
    let named = |(name, _): &&(&str, i64)| asked.get("span") == Some(name);
    let (span, days) = *SPANS.iter().find(named).unwrap_or(&SPANS[0]);
    let from = cx.clock.midnight_after(chosen, 0);
    let to = cx.clock.midnight_after(chosen, days);
    let outage = down(cx, from)?;
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let path = format!("/api/scheduler/schedules/search?start={start}&size={SIZE}");
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let past = fired(cx, from, to).await?;
    let (mut rows, mut fates) = (Vec::new(), Vec::new());
    for it in list(&found, "results") {
        let name = text(it, "name");
        let none = Vec::new();
        let planned = planned(cx, it, from, to).await?;
        let shown = (from, to, days);
        rows.push(row(cx, it, past.get(name).unwrap_or(&none), &planned, shown, outage));
        if let Some(outage) = outage {
            fates.extend(fate(cx, name, outage).await?);
        }
    }
    let before = cx.clock.date(cx.clock.midnight_after(from, -days));
    let after = cx.clock.date(to);
    let next = (start + SIZE < total).then(|| {
        format!("/console/schedules{}", asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let other = |changed: &[(&str, &str)]| format!("/console/schedules{}", asked.with(changed));
    let body = html! {
        ul.facets aria-label="Day" {
            li { a href=(other(&[("day", &before)])) rel="prev" { "‹ " (before) } }
            li { strong { (cx.clock.date(from)) } " " (cx.clock.zone_name()) }
            li { a href=(other(&[("day", &after)])) rel="next" { (after) " ›" } }
            li { a href="/console/schedules" { "today" } }
            @for (name, _) in SPANS {
                li { a href=(other(&[("span", name)])) aria-current=[(name == span).then_some("true")] { (name) } }
            }
        }
        @if rows.is_empty() { (piece::nothing_yet("no schedule is defined", "nightbell schedule create -f FILE")) }
        @else {
            p.faint { (piece::counted(total, true)) " in all. Green: started; red: failed or missed; amber: skipped; outlined: planned." }
            (piece::table("Schedules by day", &["Schedule", if days == 1 { "The day" } else { "The days" }, "Next"], &rows))
            (if_down(cx, from, outage, &fates))
        }
        (piece::more(next.as_deref()))
        (not_run(cx, &past))
    };
    let page = Page::new(Place::Schedules, "Schedules", body);
    Ok(page.same_as(path, "nightbell schedule list").on("firing schedule"))
}

/// The outage that the address supposes, on the day that is shown or into the next one.
fn down(cx: &Context<'_>, day: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, Failure> {
    let asked = &cx.visit.query;
    let (Some(down), Some(up)) = (asked.get("down"), asked.get("up")) else { return Ok(None) };
    let time = |text: &str| {
        let wrong = || Failure::wrong(format!("'{}' is no time of the day", cut(text, 20)));
        cx.clock
            .time_of(day, text)
            .ok_or_else(|| wrong().with_hint("Write hours and minutes, such as 01:30."))
    };
    let (from, to) = (time(down)?, time(up)?);
    if from < to {
        return Ok(Some((from, to)));
    }
    let next = cx.clock.midnight_after(day, 1);
    Ok(cx.clock.time_of(next, up).map(|to| (from, to)))
}

/// What would become of the firings of a schedule in an outage, a line each.
async fn fate(
    cx: &Context<'_>,
    name: &str,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<Markup>, Failure> {
    let (from, to) = (from.millis(), to.millis());
    let path = format!("/api/scheduler/schedules/{}/outage?from={from}&to={to}", encoded(name));
    let told = cx.get(&path).await?;
    let told = told.as_array().cloned().unwrap_or_default();
    let line = |it: &Value| {
        let many = count(it, "count");
        let becomes = match text(it, "fate") {
            "MADE_UP" => "is made up for when the server is back",
            "WAITS" => "is made up for when the one before has ended",
            "SKIPPED" => "is skipped: the one before has not ended then",
            _ => "is missed",
        };
        html! {
            li {
                (cx.clock.maybe(at(it, "scheduledTime")))
                @if many > 1 { "to " (cx.clock.maybe(at(it, "lastScheduledTime"))) " ×" (piece::counted(many, true)) " " }
                (piece::link(&["schedules", name], name)) " " (becomes)
                @if let Some(why) = said(it, "reason") { span.faint { " · " (cut(why, 200)) } }
            }
        }
    };
    let more = told.len().saturating_sub(FATES_MAX);
    let mut lines: Vec<Markup> = told.iter().take(FATES_MAX).map(line).collect();
    if more > 0 {
        lines.push(
            html! { li.faint { (piece::link(&["schedules", name], name)) ": " (more) " more" } },
        );
    }
    Ok(lines)
}

/// Lines of one schedule in an outage.
const FATES_MAX: usize = 10;

/// The question what would be if the server were down for a while, with its answer.
fn if_down(
    cx: &Context<'_>,
    day: Timestamp,
    outage: Option<(Timestamp, Timestamp)>,
    fates: &[Markup],
) -> Markup {
    let asked = |name| cx.visit.query.get(name).unwrap_or_default();
    html! {
        details open[outage.is_some()] {
            summary { "If the server were down?" }
            form.acts method="get" {
                input type="hidden" name="day" value=(cx.clock.date(day));
                (piece::field("down", "From", asked("down"), "01:00"))
                (piece::field("up", "To", asked("up"), "03:00"))
                button { "What would be made up for?" }
            }
            @if let Some((from, to)) = outage {
                p { "Down from " (cx.clock.when(from)) " to " (cx.clock.when(to)) ", and no run under way:" }
                @if fates.is_empty() { p.faint { "Nothing would come due." } }
                ul.time { @for line in fates { (line) } }
            }
        }
    }
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
    let (after, before) = (from.millis() - 1, to.millis());
    let name = encoded(text(it, "name"));
    let path = format!(
        "/api/scheduler/schedules/{name}/next?limit={PLANNED}&after={after}&before={before}"
    );
    let planned = cx.get(&path).await?;
    let instants = planned.as_array().into_iter().flatten();
    Ok(instants.filter_map(|it| at(it, "scheduledTime")).collect())
}

fn row(
    cx: &Context<'_>,
    it: &Value,
    past: &[Value],
    planned: &[Timestamp],
    (from, to, days): (Timestamp, Timestamp, i64),
    outage: Option<(Timestamp, Timestamp)>,
) -> Markup {
    let name = text(it, "name");
    let span = to.since(from).max(1);
    let x = |at: Timestamp| at.since(from).clamp(0, span) * WIDTH / span;
    let path = |states: &[&str]| {
        let of = past.iter().filter(|it| states.contains(&text(it, "state")));
        bars(of.filter_map(|it| at(it, "scheduledTime")).map(x).collect())
    };
    // A quarter of a day each, or a day.
    let (marks, apart) = if days == 1 { (3, span / 4) } else { (days - 1, span / days) };
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
                    @for mark in 1..=marks { path.idle d={ "M" (mark * apart * WIDTH / span) " 0v24h1v-24z" } {} }
                    @if let Some((down, up)) = outage { path.idle d={ "M" (x(down)) " 0v24h" (x(up) - x(down)) "v-24z" } {} }
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
