//! Schedules: what fires, fired, and should have, by the day.

use kernel::Timestamp;
use kernel::schedule::overlaps;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::{Context, Failure, piece};

/// Schedules of a page.
const SIZE: u64 = 40;
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
    let supposed = outage.map_or_else(String::new, |(down, up)| {
        format!("&down={}&up={}", down.millis(), up.millis())
    });
    // Everything that the page shows, in one request.
    let path = format!(
        "/api/scheduler/calendar?from={}&to={}&start={start}&size={SIZE}{supposed}",
        from.millis(),
        to.millis()
    );
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let schedules = list(&found, "results");
    let view = View { from, to, days, outage };
    let met = if days == 1 { meetings(cx, schedules) } else { Vec::new() };
    let none = Vec::new();
    let rows: Vec<Markup> = schedules
        .iter()
        .enumerate()
        .map(|(at, it)| row(cx, it, &view, met.get(at).unwrap_or(&none)))
        .collect();
    let fates: Vec<Markup> = schedules.iter().flat_map(|it| fate(cx, it)).collect();
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
            p.faint { (piece::counted(total, true)) " in all. Green: went well, as long as it took; red: failed or missed; amber: skipped; blue: runs; outlined: planned." }
            (piece::table("Schedules by day", &["Schedule", if days == 1 { "The day" } else { "The days" }, "Next"], &rows))
            (if_down(cx, from, outage, &fates))
        }
        (piece::more(next.as_deref()))
        (not_run(cx, schedules))
    };
    let page = Page::new(Place::Schedules, "Schedules", body);
    Ok(page.same_as(path, "nightbell schedule list").on("firing schedule"))
}

/// What of time a page shows.
struct View {
    from: Timestamp,
    to: Timestamp,
    days: i64,
    outage: Option<(Timestamp, Timestamp)>,
}

/// From when to when a firing of the past took, as far as that is known.
fn took(cx: &Context<'_>, it: &Value) -> Option<(Timestamp, Timestamp)> {
    let planned = at(it, "scheduledTime")?;
    let Some(began) = at(it, "startTime") else { return Some((planned, planned)) };
    let ended = at(it, "endTime").unwrap_or(cx.clock.now);
    Some((began, ended.max(began)))
}

/// Firings of a schedule that are still to come.
fn planned(it: &Value) -> impl Iterator<Item = Timestamp> {
    let planned = list(it, "planned").iter().filter(|it| it["fires"] == true);
    planned.filter_map(|it| at(it, "scheduledTime"))
}

/// With which others the runs of each schedule meet, those planned for as long as they usually take.
fn meetings(cx: &Context<'_>, schedules: &[Value]) -> Vec<Vec<(String, Timestamp)>> {
    let spans: Vec<Vec<(Timestamp, Timestamp)>> = schedules
        .iter()
        .map(|it| {
            let usual = it["usual"]["medianMs"].as_i64().unwrap_or_default();
            let past = list(it, "past").iter().filter_map(|it| took(cx, it));
            let coming = planned(it).map(|at| (at, at.plus_millis(usual)));
            let mut spans: Vec<_> = past.chain(coming).filter(|(from, to)| from < to).collect();
            spans.sort_unstable();
            spans
        })
        .collect();
    let with = |one: usize| {
        let others = (0..spans.len()).filter(move |other| *other != one);
        let met = others.filter_map(|other| {
            let (_, [_, at]) = overlaps([&spans[one], &spans[other]])?;
            Some((text(&schedules[other], "name").to_owned(), at))
        });
        met.collect()
    };
    (0..spans.len()).map(with).collect()
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

/// What would become of the firings of a schedule in the outage that is supposed, a line each.
fn fate(cx: &Context<'_>, schedule: &Value) -> Vec<Markup> {
    let name = text(schedule, "name");
    let told = list(schedule, "fates");
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
    lines
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

/// Notes on a schedule that a row has room for.
const NOTES_MAX: usize = 2;

fn row(cx: &Context<'_>, it: &Value, view: &View, met: &[(String, Timestamp)]) -> Markup {
    let name = text(it, "name");
    let past = list(it, "past");
    let planned: Vec<Timestamp> = planned(it).collect();
    let span = view.to.since(view.from).max(1);
    let x = |at: Timestamp| at.since(view.from).clamp(0, span) * WIDTH / span;
    let path = |look: Look| {
        let of = past.iter().filter(|it| look_of(it) == look).filter_map(|it| took(cx, it));
        bars(of.map(|(from, to)| (x(from), x(to))).collect())
    };
    // A quarter of a day each, or a day.
    let (marks, apart) =
        if view.days == 1 { (3, span / 4) } else { (view.days - 1, span / view.days) };
    let now = cx.clock.now;
    let notes: Vec<&Value> =
        list(it, "planned").iter().filter(|it| said(it, "note").is_some()).collect();
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
                    @if let Some((down, up)) = view.outage { path.idle d={ "M" (x(down)) " 0v24h" (x(up) - x(down)) "v-24z" } {} }
                    path.ok d=(path(Look::Well)) {}
                    path.run d=(path(Look::Runs)) {}
                    path.no d=(path(Look::Bad)) {}
                    path.odd d=(path(Look::Skipped)) {}
                    path.queued d=(bars(planned.iter().map(|at| (x(*at), x(*at))).collect())) {}
                    @if (view.from..view.to).contains(&now) { path.run d={ "M" (x(now)) " 0v24h1v-24z" } {} }
                }
                span.faint { (past.len()) " past, " (planned.len()) @if it["more"] == true { "+" } " planned" }
                @for note in notes.iter().take(NOTES_MAX) {
                    @if let Some(at) = at(note, "scheduledTime") {
                        @let theirs = cx.clock.in_zone(text(note, "zoneId"));
                        br; span.warn { (theirs.date(at)) ": " (text(note, "note")) }
                    }
                }
                @for (other, at) in met.iter().take(NOTES_MAX) { br; span.faint { "overlaps " (other) " at " (cx.clock.text(*at)) } }
                @if met.len() > NOTES_MAX { span.faint { " and " (met.len() - NOTES_MAX) " more" } }
            }
            td.t { (cx.clock.maybe(at(it, "nextRunTime").filter(|_| it["paused"] != true))) }
        }
    }
}

/// How a firing of the past is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Well,
    Runs,
    Bad,
    Skipped,
}

fn look_of(it: &Value) -> Look {
    match (text(it, "state"), text(it, "runStatus")) {
        ("FAILED" | "MISSED", _) | (_, "FAILED" | "TIMED_OUT" | "TERMINATED") => Look::Bad,
        ("SKIPPED", _) => Look::Skipped,
        (_, "RUNNING" | "PAUSED") => Look::Runs,
        _ => Look::Well,
    }
}

/// Instants that are nearer to each other are drawn as one bar: so many parts of a day are enough.
const APART: i64 = 6;

/// Bars over these stretches, as one path.
fn bars(mut places: Vec<(i64, i64)>) -> String {
    places.sort_unstable();
    let mut bars: Vec<(i64, i64)> = Vec::new();
    for (from, to) in places {
        match bars.last_mut() {
            Some((_, end)) if from - *end <= APART => *end = to.max(*end),
            _ => bars.push((from, to)),
        }
    }
    let drawn = bars.iter().map(|(from, to)| {
        let wide = to - from + 3;
        format!("M{from} 4h{wide}v16h-{wide}z")
    });
    drawn.collect::<Vec<_>>().concat()
}

/// What did not happen, with its reason: the calendar's other half.
fn not_run(cx: &Context<'_>, schedules: &[Value]) -> Markup {
    let lines: Vec<&Value> = schedules
        .iter()
        .flat_map(|it| list(it, "past"))
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
    fn a_day_of_minutes_is_one_bar_and_a_long_run_a_long_one() {
        let minutes = (0..1440).map(|minute| (minute / 2, minute / 2)).collect();
        assert_eq!(bars(minutes), "M0 4h722v16h-722z");
        assert_eq!(bars(vec![(30, 50), (0, 0)]), "M0 4h3v16h-3zM30 4h23v16h-23z");
        assert_eq!(bars(vec![(0, 90), (10, 20), (95, 96)]), "M0 4h99v16h-99z");
        assert_eq!(bars(Vec::new()), "");
    }

    #[test]
    fn a_firing_is_drawn_as_its_run_went() {
        let look = |state: &str, run: &str| {
            look_of(&serde_json::json!({ "state": state, "runStatus": run }))
        };
        assert_eq!(look("EXECUTED", "COMPLETED"), Look::Well);
        assert_eq!(look("EXECUTED", "RUNNING"), Look::Runs);
        assert_eq!(look("EXECUTED", "TIMED_OUT"), Look::Bad);
        assert_eq!((look("MISSED", ""), look("SKIPPED", "")), (Look::Bad, Look::Skipped));
    }
}
