//! A monitor: since when, and is the rule right?

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, audit, incidents, keys};
use crate::clock::length;
use crate::shell::Place;
use crate::strip::{self, Looks, RANGES, Range};
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Open incidents that the page of a monitor shows.
const SHOWN_MAX: usize = 30;

pub(super) async fn show(cx: &Context<'_>, name: &str) -> Shown {
    let path = format!("/api/monitors/{}", encoded(name));
    let it = cx.get(&path).await?;
    let history = cx.get(&format!("{path}/history?size={LINES}")).await?;
    let checks = cx.get(&format!("{path}/checks?size=20")).await?;
    let waits: Vec<String> = list(&it, "waitsFor").iter().map(plain).collect();
    let (open, open_count) = (list(&it, "openIncidents"), count(&it, "openIncidentCount"));
    let open = &open[..open.len().min(SHOWN_MAX)];
    let over_time = over_time(cx, name, &path).await?;
    let by_key = keys::part(cx, name).await?;
    let body = html! {
        (piece::note(if text(&it, "status") == "DOWN" { "bad" } else { "" }, html! {
            (piece::status(text(&it, "status")))
            (since(cx, &it, &history))
            @if let Some(last) = at(&it, "lastAnswerAt") { " · last answer " (cx.clock.ago(last)) }
            @if let Some(why) = said(&it, "reason") { br; (cut(why, 500)) }
            @for wait in &waits { br; "Waits for " (wait) }
        }))
        div.acts {
            @if !matches!(text(&it, "kind"), "heartbeat" | "alerts") { (piece::act(cx, Permission::Run, "check", name, "Check now")) }
            @if cx.may(Permission::Respond) { a.button href={ "/console/silences?match=" (encoded(&format!("monitor={name}"))) } { "Silence…" } }
            a.button href=(href(&["monitors", name, "try"])) { "Try" }
            a.button href=(href(&["monitors", name, "edit"])) { "Definition, backtest" }
        }
        @if !open.is_empty() {
            (piece::part("Open incidents", html! {
                ul { @for it in open { li { (incidents::line(cx, it)) } } }
                @if open_count > open.len() as u64 {
                    p { a href={ "/console/incidents?monitor=" (encoded(name)) } { "All " (piece::counted(open_count, true)) } }
                }
            }))
        }
        (over_time)
        (by_key)
        (piece::facts(&facts(cx, &it)))
        (noise(cx, &history))
        (piece::part("Checks", checks_table(cx, list(&checks, "results"))))
        (piece::part("Incidents", past(cx, list(&history, "incidents"))))
        (piece::part("Deliveries", super::deliveries::lines(cx, list(&history, "deliveries"), 20)))
        @if !list(&history, "missed").is_empty() {
            (piece::part("Checks that did not run", missed(cx, list(&history, "missed"))))
        }
        (audit::of(cx, &path))
    };
    let page = Page::new(Place::Monitors, name, body).below("Monitors", "/console/monitors");
    Ok(page
        .same_as(path, format!("nightbell monitor show {name}"))
        .on("monitor incident")
        .about(kernel::ExecutionId::monitor(name).as_str()))
}

/// Since when it stands as it does, as far as incidents tell.
fn since(cx: &Context<'_>, it: &Value, history: &Value) -> Markup {
    let open = list(it, "openIncidents").iter().filter_map(|it| at(it, "openedAt")).min();
    let ended = list(history, "incidents").iter().filter_map(|it| at(it, "resolvedAt")).max();
    html! {
        @match (open, ended) {
            (Some(open), _) => { " since " (cx.clock.when(open)) ", " (cx.clock.age(open)) }
            (None, Some(ended)) if text(it, "status") == "UP" => { " since " (cx.clock.when(ended)) ", " (cx.clock.age(ended)) }
            _ => {}
        }
    }
}

fn facts(cx: &Context<'_>, it: &Value) -> Vec<(&'static str, Markup)> {
    let beat = &it["heartbeat"];
    let (next, zone) = (at(it, "nextCheckAt"), text(&it["definition"]["schedule"], "tz"));
    let mut facts = vec![
        ("Kind", html! { (text(it, "kind")) }),
        ("Next check", next.map_or_else(|| cx.clock.maybe(None), |at| cx.clock.theirs(zone, at))),
        ("Checks so far", html! { (count(it, "checkCount")) }),
        ("Missed", html! { (count(it, "missedCount")) }),
        ("Errors in a row", html! { (count(it, "errors")) }),
        (
            "Defined in",
            html! { (said(it, "origin").or_else(|| said(it, "source")).unwrap_or("–")) },
        ),
        ("Changed", cx.clock.maybe(at(it, "updatedAt"))),
    ];
    let needs = list(&it["definition"], "depends_on");
    if !needs.is_empty() {
        facts.push(("Quiet while down", html! { (named(needs)) }));
    }
    let dependents = list(it, "dependents");
    if !dependents.is_empty() {
        facts.push((
            "If it is down",
            html! { (named(dependents)) " depend on it or have it as witness" },
        ));
    }
    if beat.is_object() {
        facts.push(("Call expected", cx.clock.maybe(at(beat, "expectedAt"))));
        facts.push(("Late from", cx.clock.maybe(at(beat, "lateAt"))));
        facts.push(("Last call", cx.clock.maybe(at(beat, "lastPingAt"))));
        facts.push(("Last success", cx.clock.maybe(at(beat, "lastSuccessAt"))));
    }
    facts
}

/// Lines of each ledger that the page reads.
const LINES: usize = 100;
/// How far back noise is counted, in milliseconds.
const MONTH: i64 = 30 * 86_400_000;

/// How often it has rung lately, for whom nothing was to be done: whether the rule is right.
fn noise(cx: &Context<'_>, history: &Value) -> Markup {
    let lately = |name: &str| -> Vec<&Value> {
        let lines = list(history, name).iter();
        lines.filter(|it| at(it, "at").is_some_and(|at| cx.clock.now.since(at) <= MONTH)).collect()
    };
    let (incidents, told) = (lately("incidents"), lately("deliveries"));
    let told: Vec<&Value> = told.into_iter().filter(|it| text(it, "status") == "sent").collect();
    let by_night = |lines: &[&Value]| {
        let times = lines.iter().filter_map(|it| at(it, "at"));
        times.filter(|at| cx.clock.is_night(*at)).count()
    };
    let alone = incidents
        .iter()
        .filter(|it| text(it, "state") == "resolved" && it["acknowledged"].is_null())
        .count();
    let more = |count: usize| if count >= LINES { "+" } else { "" };
    html! {
        @if !incidents.is_empty() {
            (piece::part("Noise", html! {
                p {
                    "In 30 days " (incidents.len()) (more(incidents.len())) " incidents, "
                    (by_night(&incidents)) " of them by night; "
                    (alone) " cleared without anybody acknowledging them. "
                    (told.len()) (more(told.len())) " messages were sent, " (by_night(&told)) " by night (22 to 7 o'clock, " (cx.clock.zone_name()) ")."
                }
            }))
        }
    }
}

/// Monitors that are named in a sentence.
const NAMED_MAX: usize = 20;

/// Links to monitors, separated by commas.
fn named(names: &[Value]) -> Markup {
    let more = names.len().saturating_sub(NAMED_MAX);
    html! {
        @for (at, name) in names.iter().take(NAMED_MAX).map(plain).enumerate() {
            @if at > 0 { ", " } (piece::link(&["monitors", &name], &name))
        }
        @if more > 0 { " and " (more) " more" }
    }
}

/// How it went: the strip and the response times of one stretch of time, the figures of all.
async fn over_time(cx: &Context<'_>, name: &str, path: &str) -> Result<Markup, Failure> {
    let chosen = Range::of(cx.visit.query.get("range"));
    let now = cx.clock.now;
    let mut answers = Vec::new();
    for range in RANGES {
        answers.push((range, cx.get(&format!("{path}/rollups?{}", range.query(now))).await?));
    }
    let shown = answers.iter().find(|(range, _)| *range == chosen).map(|(_, it)| it);
    let cells = shown.map(|it| strip::cells(chosen, now, it)).unwrap_or_default();
    let looks: Vec<Looks> = cells.iter().map(|it| it.map(Looks::of).unwrap_or_default()).collect();
    let rows: Vec<Markup> = answers
        .iter()
        .map(|(range, answer)| {
            let to = format!("{}{}", href(&["monitors", name]), cx.visit.query.with(&[("range", range.word)]));
            html! { tr {
                td.t { a href=(to) aria-current=[(*range == chosen).then_some("true")] { (range.name) } }
                (strip::figures(&answer["total"]))
            } }
        })
        .collect();
    let heads = strip::heads("Last");
    Ok(piece::part(
        &format!("The last {}", chosen.name),
        html! {
            (strip::strip(&looks, &strip::told(&looks, chosen.each)))
            div.tall { (strip::lines(&cells, &["p50", "p95"], "Response time: median dashed, 95th percentile solid")) }
            (super::monitors::legend())
            (piece::table("How checks ended, and response times", &heads, &rows))
            details { summary { "As a table" } (strip::table(&cx.clock, "The stretches of time of the strip", &cells)) }
        },
    ))
}

fn checks_table(cx: &Context<'_>, checks: &[Value]) -> Markup {
    let rows: Vec<Markup> = checks
        .iter()
        .map(|it| {
            let (began, ended) = (at(it, "startTime"), at(it, "endTime"));
            let took = began.map(|began| ended.unwrap_or(cx.clock.now).since(began).max(0));
            html! {
                tr {
                    td { (piece::status(text(it, "status"))) }
                    td.t { (cx.clock.maybe(began)) }
                    td.n { (took.map_or_else(|| "–".to_owned(), length)) }
                    td { (piece::run(text(it, "workflowId"))) @if let Some(why) = said(it, "reason") { " " (cut(why, 160)) } }
                }
            }
        })
        .collect();
    html! {
        @if rows.is_empty() { p.faint { "No run of a check is kept." } }
        @else { (piece::table("Checks", &["Status", "Began", "Took", "Run"], &rows)) }
    }
}

fn past(cx: &Context<'_>, lines: &[Value]) -> Markup {
    html! {
        @if lines.is_empty() { p.faint { "None that is recorded." } }
        ul.time {
            @for it in lines.iter().take(20) {
                li {
                    (cx.clock.maybe(at(it, "openedAt").or_else(|| at(it, "at"))))
                    (piece::status(incidents::state(it))) " "
                    a href=(href(&["incidents", text(it, "id")])) { (incidents::name(it)) }
                    @if let Some(text) = said(it, "text") { " · " (cut(text, 160)) }
                }
            }
        }
    }
}

fn missed(cx: &Context<'_>, lines: &[Value]) -> Markup {
    html! {
        ul.time {
            @for it in lines.iter().take(20) {
                li { (cx.clock.maybe(at(it, "at"))) (text(it, "status")) @if let Some(why) = said(it, "reason") { " · " (cut(why, 160)) } }
            }
        }
    }
}
