//! A schedule: what it starts, when it fires next, and what it fired.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, audit, schedules};
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece, seen};

pub(super) async fn show(cx: &Context<'_>, name: &str) -> Shown {
    let path = format!("/api/scheduler/schedules/{}", encoded(name));
    let it = cx.get(&path).await?;
    let next = cx.get(&format!("{path}/next?limit=10")).await?;
    let quoted = name.replace('\'', "");
    let query = encoded(&format!("scheduleName = '{quoted}'"));
    let firings =
        cx.get(&format!("/api/scheduler/search/executions?size=50&query={query}")).await?;
    let is_paused = it["paused"] == true;
    let starts = text(&it["startWorkflowRequest"], "name");
    let seen = seen::field(&seen::schedule(&it));
    let body = html! {
        (piece::note(if is_paused { "warn" } else { "" }, html! {
            @if is_paused { (piece::status("PAUSED")) " · it starts nothing" @if let Some(why) = said(&it, "pausedReason") { ": " (cut(why, 300)) } }
            @else if let Some(at) = at(&it, "nextRunTime") { "Fires next " (cx.clock.theirs(said(&it, "zoneId").unwrap_or("UTC"), at)) ", " (cx.clock.ago(at)) }
            @else { "Nothing is planned any more." }
        }))
        div.acts {
            @if is_paused { (piece::act_with(cx, Permission::Run, "resume-schedule", name, "Resume", html! { (seen) })) }
            @else { (piece::act_with(cx, Permission::Run, "pause-schedule", name, "Pause", html! { (seen) })) }
            (piece::preview(cx, Permission::Run, "trigger", name, "Trigger now"))
        }
        (backfill(cx, name, &it["backfill"]))
        (piece::facts(&[
            ("Starts", piece::link(&["definitions", "workflow", starts], starts)),
            ("Cron", html! { code { (cut(&crons(&it), 200)) } }),
            ("Time zone", html! { (said(&it, "zoneId").unwrap_or("UTC")) }),
            ("Created", cx.clock.maybe(at(&it, "createTime"))),
            ("Changed", cx.clock.maybe(at(&it, "updatedTime"))),
            ("Description", html! { (cut(said(&it, "description").unwrap_or("–"), 300)) }),
        ]))
        (piece::part("Planned", planned(cx, &next)))
        (another(cx).await)
        (piece::part("Fired", html! {
            @if list(&firings, "results").is_empty() { p.faint { "Nothing yet." } }
            ul.time { @for it in list(&firings, "results") { li { (schedules::firing(cx, it)) } } }
        }))
        (piece::part("Definition", piece::payload(&it, &path)))
        (audit::of(cx, &path))
    };
    let page = Page::new(Place::Schedules, name, body).below("Schedules", "/console/schedules");
    Ok(page.same_as(path, format!("nightbell schedule get {name}")).on("firing schedule"))
}

fn crons(it: &Value) -> String {
    let many: Vec<&str> =
        list(it, "cronSchedules").iter().map(|it| text(it, "cronExpression")).collect();
    if many.is_empty() { text(it, "cronExpression").to_owned() } else { many.join("; ") }
}

/// How far a backfill is, or the form that begins one.
fn backfill(cx: &Context<'_>, name: &str, under_way: &Value) -> Markup {
    html! {
        @if under_way.is_object() {
            (piece::note("", html! {
                "A backfill is under way: " (text(under_way, "order")) " first, "
                (count(under_way, "open")) " runs open, what lies between " (cx.clock.maybe(at(under_way, "after")))
                " and " (cx.clock.maybe(at(under_way, "to"))) " is still to be run."
            }))
            div.acts { (piece::act(cx, Permission::Run, "end-backfill", name, "End the backfill")) }
        } @else if cx.may(Permission::Run) {
            details {
                summary { "Run it for instants of the past" }
                form.acts method="get" action="/console/confirm" {
                    input type="hidden" name="act" value="backfill";
                    input type="hidden" name="id" value=(name);
                    input type="hidden" name="back" value=(cx.visit.path());
                    (piece::field("from", "From", "", "2026-01-31T00:00:00Z"))
                    (piece::field("to", "Up to and including", "", "2026-02-01T00:00:00Z"))
                    button { "What would that run?" }
                }
            }
        }
    }
}

/// Instants by the clock of the schedule first, then by the reader's where that differs.
fn planned(cx: &Context<'_>, next: &Value) -> Markup {
    let lines: Vec<&Value> = next.as_array().into_iter().flatten().collect();
    html! {
        @if lines.is_empty() { p.faint { "Nothing." } }
        ul.time {
            @for it in lines {
                @if let Some(at) = at(it, "scheduledTime") {
                    li { (cx.clock.theirs(said(it, "zoneId").unwrap_or("UTC"), at)) " " span.faint { (cx.clock.ago(at)) } }
                }
            }
        }
    }
}

/// When another expression would fire: nothing is changed.
async fn another(cx: &Context<'_>) -> Markup {
    let cron = cx.visit.query.get("cron").unwrap_or_default();
    let zone = cx.visit.query.get("zone").unwrap_or("UTC");
    let found = match cron {
        "" => None,
        cron => {
            let path = format!(
                "/api/scheduler/nextFewSchedules?limit=5&cronExpression={}&zoneId={}",
                encoded(cron),
                encoded(zone)
            );
            Some(cx.get(&path).await)
        }
    };
    html! {
        details open[found.is_some()] {
            summary { "Try another time" }
            form.acts method="get" {
                (piece::field("cron", "Cron expression", cron, "0 30 2 * * *"))
                (piece::field("zone", "Time zone", zone, "UTC"))
                button { "When would it fire?" }
            }
            @match &found {
                None => {}
                Some(Ok(instants)) => ul.time {
                    @for at in instants.as_array().into_iter().flatten().filter_map(Value::as_i64) {
                        li { (cx.clock.in_zone(zone).when(kernel::Timestamp::from_millis(at))) }
                    }
                },
                Some(Err(Failure { message, flaws, .. })) => {
                    (piece::note("bad", html! { (message) @for flaw in flaws { br; (flaw) } }))
                }
            }
        }
    }
}
