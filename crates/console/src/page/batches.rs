//! Batches: acts on all runs that a search found, how far they are, and what came of them.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::Context;
use crate::piece;
use crate::shell::Place;
use crate::value::{at, count, cut, list, said, text};
use crate::visit::{encoded, href};

/// Where the API has them.
const PATH: &str = "/api/batches";
/// Runs of a page.
const SIZE: u64 = 50;

pub(super) async fn list_all(cx: &Context<'_>) -> Shown {
    let found = cx.get(PATH).await?;
    let batches: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    let rows: Vec<Markup> = batches.iter().map(|it| row(cx, it)).collect();
    let body = html! {
        @if rows.is_empty() {
            (piece::nothing_yet("no act was done on all runs that a search finds; the page Runs does that", "nightbell batch begin retry status:FAILED"))
        } @else {
            (piece::table("Batches", &["Status", "What", "Found by", "Progress", "Begun"], &rows))
            p.faint { "A hundred batches are kept." }
        }
    };
    let page = Page::new(Place::Runs, "Batches", body).below("Runs", "/console/runs");
    Ok(page.same_as(PATH, "nightbell batch list").on("run"))
}

fn row(cx: &Context<'_>, it: &Value) -> Markup {
    html! {
        tr {
            td { (piece::status(text(it, "state"))) }
            td { a href=(href(&["batches", text(it, "id")])) { (text(it, "act")) " " (runs(it, "runs")) } }
            td { (cut(said(it, "find").unwrap_or("all"), 80)) }
            td { (progress(it)) }
            td.t { (cx.clock.maybe(at(it, "createTime"))) @if let Some(by) = said(it, "by") { br; span.faint { (cut(by, 60)) } } }
        }
    }
}

/// A number of runs in words.
fn runs(it: &Value, name: &str) -> String {
    let many = count(it, name);
    format!("{} {}", piece::counted(many, true), if many == 1 { "run" } else { "runs" })
}

fn progress(it: &Value) -> Markup {
    html! {
        progress max=(count(it, "runs").max(1)) value=(count(it, "passed")) aria-label="Runs whose turn has been" {}
        " " (piece::counted(count(it, "done"), true)) " done"
        @if count(it, "refused") > 0 { ", " (piece::counted(count(it, "refused"), true)) " refused" }
        ", " (piece::counted(count(it, "runs").saturating_sub(count(it, "passed")), true)) " left"
    }
}

pub(super) async fn show(cx: &Context<'_>, id: &str) -> Shown {
    let start: u64 = cx.visit.query.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let path = format!("{PATH}/{}", encoded(id));
    let it = cx.get(&format!("{path}?start={start}&size={SIZE}")).await?;
    let is_running = text(&it, "state") == "RUNNING";
    let next = (start + SIZE < count(&it, "runs")).then(|| {
        let next = (start + SIZE).to_string();
        format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("start", &next)]))
    });
    let body = html! {
        (piece::note(if is_running { "" } else { "none" }, html! {
            (piece::status(text(&it, "state"))) " · " (progress(&it))
            @if let Some(by) = said(&it, "stoppedBy") { br; "Stopped by " (cut(by, 200)) ". What was done stays done." }
        }))
        @if is_running { div.acts { (piece::act(cx, Permission::Run, "stop-batch", id, "Stop the batch")) } }
        (piece::facts(&[
            ("Act", html! { (text(&it, "act")) }),
            ("Found by", html! { (cut(said(&it, "find").unwrap_or("all that it fits"), 200)) }),
            ("Why", html! { (cut(said(&it, "reason").unwrap_or("–"), 300)) }),
            ("By", html! { (cut(said(&it, "by").unwrap_or("–"), 100)) }),
            ("Begun", cx.clock.maybe(at(&it, "createTime"))),
            ("Ended", cx.clock.maybe(at(&it, "endTime"))),
        ]))
        (refused(&it))
        (piece::part("Runs, in the order of their turns", html! {
            ol start=(start + 1) { @for run in list(&it, "workflowIds") { li { (piece::run(run.as_str().unwrap_or_default())) } } }
            (piece::more(next.as_deref()))
        }))
    };
    let title = format!("{} {}", text(&it, "act"), runs(&it, "runs"));
    let page = Page::new(Place::Runs, title, body).below("Batches", "/console/batches");
    Ok(page.same_as(path, format!("nightbell batch get {id}")).on("run"))
}

fn refused(it: &Value) -> Markup {
    let lines = list(it, "refusals");
    let more = count(it, "refused").saturating_sub(lines.len() as u64);
    html! {
        @if !lines.is_empty() {
            (piece::part("Not done, and why", html! {
                ul { @for line in lines.iter().take(100) {
                    li { (piece::run(text(line, "workflowId"))) " " (cut(text(line, "reason"), 200)) }
                } }
                @if more > 0 { p.faint { (piece::counted(more, true)) " more are counted only" } }
            }))
        }
    }
}
