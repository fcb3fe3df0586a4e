//! Now: what rings, is late, is stuck, is not told, has changed, and what comes next. Each line leads
//! to the page that answers it.

use engine::Blocked;
use kernel::Timestamp;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, incidents, nearby};
use crate::Context;
use crate::clock::bytes;
use crate::piece;
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::visit::{encoded, href};

/// Lines of one kind.
const LINES: usize = 6;
/// Changes of one kind.
const CHANGES: usize = 4;
/// How far back missed firings and changes are told, in milliseconds.
const DAY: i64 = 86_400_000;

/// What there is to tell, and how much of it.
struct Section {
    count: u64,
    lines: Vec<Markup>,
}

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let ringing = ringing(cx).await?;
    let late = late(cx).await?;
    let stuck = stuck(cx);
    let not_told = not_told(cx).await?;
    let monitors = cx.get("/api/monitors?size=1").await?;
    let health = health(cx).await;
    let is_calm = [&ringing, &late, &stuck, &not_told].iter().all(|it| it.count == 0);
    let body = html! {
        @if is_calm {
            (piece::note("good", html! { "All well. " (count(&monitors, "totalHits")) " monitors; nothing rings, is late, is stuck or was not told." }))
        }
        dl.now {
            (line("Ringing", &ringing, "nothing", "/console/incidents"))
            (line("Late", &late, "nothing", "/console/schedules"))
            (line("Stuck", &stuck, "nothing", "/console/system/queues"))
            (line("Not told", &not_told, "everybody was", "/console/deliveries"))
            div { dt { "Changed" } dd { (changed(cx).await) } }
            div { dt { "Next" } dd { (next(cx).await?) } }
            div { dt { "Server" } dd { (health) } }
        }
        p { a href="/console/handover" { "Handover: what rang, and who did what" } }
        @if count(&monitors, "totalHits") == 0 {
            (piece::nothing_yet("no monitor is defined", "nightbell monitor apply FILE"))
        }
    };
    let page = Page::new(Place::Now, "Now", body);
    Ok(page
        .same_as("/api/health", "nightbell incident list")
        .on("incident monitor firing run change"))
}

fn line(name: &str, told: &Section, none: &str, all: &str) -> Markup {
    html! {
        div {
            dt { (name) @if told.count > 0 { " " (told.count) } }
            dd {
                @if told.lines.is_empty() { span.faint { (none) } }
                ul { @for line in &told.lines { li { (line) } } }
                @if told.count > told.lines.len() as u64 && !told.lines.is_empty() {
                    a href=(all) { "All " (told.count) }
                }
            }
        }
    }
}

async fn ringing(cx: &Context<'_>) -> Result<Section, crate::Failure> {
    let found = cx.get(&format!("/api/incidents?size={LINES}")).await?;
    let open = list(&found, "results").iter();
    let lines = open.map(|it| {
        html! {
            (incidents::line(cx, it))
            @if text(it, "state") == "open" {
                " " span data-key="a" { (piece::act(cx, Permission::Respond, "acknowledge", text(it, "id"), "Acknowledge")) }
            }
        }
    });
    Ok(Section { count: count(&found, "totalHits"), lines: lines.collect() })
}

/// Jobs that did not call in time and do not ring yet, then firings that did not happen in the last day.
async fn late(cx: &Context<'_>) -> Result<Section, crate::Failure> {
    let beats = cx.get("/api/heartbeats/late").await?;
    let missed = missed(cx).await?;
    let late = list(&beats, "results").iter().map(|it| late_heartbeat(cx, it));
    let lines = late.chain(missed.lines).take(LINES).collect();
    Ok(Section { count: count(&beats, "totalHits") + missed.count, lines })
}

fn late_heartbeat(cx: &Context<'_>, it: &Value) -> Markup {
    let name = text(it, "monitor");
    html! {
        (piece::status("LATE")) " " (piece::link(&["monitors", name], name))
        @if let Some(due) = at(it, "dueAt") {
            @match at(it, "missingFrom") {
                Some(from) => { ": no call, due " (cx.clock.when(due)) ", " (cx.clock.age(due)) " late; counts as missing " (cx.clock.ago(from)) }
                None => { ": missing since " (cx.clock.when(due)) ", " (cx.clock.age(due)) "; does not ring yet" }
            }
        }
    }
}

/// Firings that did not happen in the last day.
async fn missed(cx: &Context<'_>) -> Result<Section, crate::Failure> {
    let since = cx.clock.now.plus_millis(-DAY).millis();
    let query = format!("state IN (MISSED, FAILED) AND scheduledTime > {since}");
    let path = format!("/api/scheduler/search/executions?size={LINES}&query={}", encoded(&query));
    let found = cx.get(&path).await?;
    let lines = list(&found, "results").iter().map(|it| {
        let name = text(it, "scheduleName");
        html! {
            (piece::status(text(it, "state"))) " " (piece::link(&["schedules", name], name)) " "
            (cx.clock.maybe(at(it, "scheduledTime")))
            @if let Some(why) = said(it, "reason") { " · " (cut(why, 140)) }
        }
    });
    Ok(Section { count: count(&found, "totalHits"), lines: lines.collect() })
}

/// What runs are stuck at: queues that nobody polls and limits that are reached, the most tasks first.
fn stuck(cx: &Context<'_>) -> Section {
    let groups = cx.engine.queues().stuck(cx.clock.now);
    let lines = groups.iter().take(LINES).map(|group| {
        let runs = format!("/console/runs?q={}", encoded(&super::facets::stuck_words(group)));
        let count = piece::counted(group.runs.len() as u64, !group.has_more);
        html! {
            @match &group.blocked {
                Blocked::NeverPolled => { "no worker has polled " code { (group.queue) } " since the server started" }
                Blocked::NotPolledSince(last) => { "no worker has polled " code { (group.queue) } " since " (cx.clock.when(*last)) }
                Blocked::Concurrency { limit } => { "the limit of " (limit) " at once is reached at " code { (group.queue) } }
                Blocked::Rate { limit, window_seconds, .. } => { "the rate limit of " (limit) " per " (window_seconds) " s is reached at " code { (group.queue) } }
                Blocked::Behind { .. } => { code { (group.queue) } }
            }
            " · " a href=(runs) { (count) @if count == "1" { " run" } @else { " runs" } }
            @if let Some(oldest) = group.oldest { " · oldest " (cx.clock.ago(oldest)) }
            " · " a href={ "/console/system/queues?q=" (encoded(&group.queue)) } { "queue" }
        }
    });
    Section { count: groups.len() as u64, lines: lines.collect() }
}

async fn not_told(cx: &Context<'_>) -> Result<Section, crate::Failure> {
    let receivers = cx.get("/api/receivers").await?;
    let broken = receivers.as_array().into_iter().flatten();
    let broken: Vec<&Value> = broken.filter(|it| text(it, "status") == "BROKEN").collect();
    let lines = broken.iter().take(LINES).map(|it| {
        let name = text(it, "name");
        html! {
            (piece::link(&["receivers", name], name)) " does not take notifications: "
            (cut(text(&it["broken"], "reason"), 160))
            @if let Some(since) = at(&it["broken"], "since") { " · since " (cx.clock.when(since)) }
            @if let Some(other) = said(it, "fallback") { " · fallback " (other) }
        }
    });
    Ok(Section { count: broken.len() as u64, lines: lines.collect() })
}

/// What has changed in the last day: runs that change something, the start of the server, and for whoever may
/// read it the audit ledger.
async fn changed(cx: &Context<'_>) -> Markup {
    let yesterday = cx.clock.now.plus_millis(-DAY);
    let runs = nearby::runs(cx, yesterday, cx.clock.now).await;
    let started = cx.engine.feed().since();
    html! {
        ul {
            @for run in runs.iter().take(CHANGES) { li { (nearby::run_line(cx, run)) } }
            @if started >= yesterday { li { (cx.clock.when(started)) " this server started" } }
        }
        (recorded(cx).await)
    }
}

/// The newest lines of the audit ledger.
async fn recorded(cx: &Context<'_>) -> Markup {
    // Asked all the same, each look at this page would be a refusal in the ledger.
    if !cx.sees(Permission::Audit) {
        return html! { span.faint { "what else has changed is told to those who may read the audit ledger" } };
    }
    let lines = match cx.get("/api/audit?size=30").await {
        Ok(lines) => lines,
        Err(failure) => {
            return html! { span.faint { "cannot tell: " (cut(&failure.message, 120)) } };
        }
    };
    let lines = lines.as_array().cloned().unwrap_or_default();
    let shown: Vec<Markup> =
        lines.iter().filter_map(|it| super::audit::change(cx, it)).take(CHANGES).collect();
    html! {
        @if shown.is_empty() { span.faint { "no change is recorded" } }
        ul { @for line in &shown { li { (line) } } }
    }
}

/// What fires next.
async fn next(cx: &Context<'_>) -> Result<Markup, crate::Failure> {
    let found = cx.get("/api/scheduler/schedules/search?size=50&sort=nextRunTime:ASC").await?;
    let mut next: Vec<(Timestamp, &str)> = list(&found, "results")
        .iter()
        .filter(|it| it["paused"] != true)
        .filter_map(|it| Some((at(it, "nextRunTime")?, text(it, "name"))))
        .collect();
    next.sort();
    Ok(html! {
        @if next.is_empty() { span.faint { "nothing is planned" } }
        ul {
            @for (when, name) in next.iter().take(4) {
                li { (cx.clock.when(*when)) " " (piece::link(&["schedules", name], name)) " " span.faint { (cx.clock.ago(*when)) } }
            }
        }
    })
}

async fn health(cx: &Context<'_>) -> Markup {
    let health = cx.api.ask(http::Method::GET, "/api/health", None).await.body;
    let disk = &health["disk"];
    html! {
        (piece::status(said(&health, "status").unwrap_or("unknown")))
        @for problem in list(&health, "problems").iter().chain(list(&health, "warnings")).take(3) {
            " · " (cut(text(problem, "reason"), 160))
        }
        @if count(disk, "size") > 0 { " · disk: " (bytes(count(disk, "free"))) " of " (bytes(count(disk, "size"))) " free" }
        @if let Some(full) = at(disk, "fullAt") { " · full: " (cx.clock.when(full)) }
        @if let Some(last) = at(&health["backup"]["last"], "at") { " · backup: " (cx.clock.ago(last)) }
        " · " a href=(href(&["system", "health"])) { "health" }
    }
}
