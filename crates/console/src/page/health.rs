//! Health: is the bell itself well?

use http::Method;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use crate::Context;
use crate::clock::bytes;
use crate::piece;
use crate::value::{at, count, cut, list, plain, said, text};

pub(super) async fn part(cx: &Context<'_>) -> Markup {
    // It answers 503 when it is not well, and says why.
    let it = cx.api.ask(Method::GET, "/api/health", None).await.body;
    let store = &it["store"];
    let (disk, work, evaluations) = (&it["disk"], &it["unfinishedWork"], &it["evaluations"]);
    html! {
        (piece::note(if it["healthy"] == true { "good" } else { "bad" }, html! {
            (piece::status(said(&it, "status").unwrap_or("unknown")))
            @if let Some(error) = said(store, "error") { br; "The store does not answer: " (cut(error, 300)) }
        }))
        (problems(cx, "What is wrong", list(&it, "problems")))
        (problems(cx, "What to look at", list(&it, "warnings")))
        @if !list(&it, "rejectedFiles").is_empty() {
            (piece::part("Files that were refused", html! { ul { @for file in list(&it, "rejectedFiles").iter().take(50) { li { (cut(&plain(file), 400)) } } } }))
        }
        @if !list(&it, "healthResults").is_empty() {
            (piece::part("Receivers that take nothing", html! {
                ul { @for it in list(&it, "healthResults").iter().take(50) { li { (text(it, "name")) " since " (cx.clock.maybe(at(it, "since"))) ": " (cut(text(it, "reason"), 200)) } } }
            }))
        }
        (quarantined(&it["quarantined"]))
        (piece::facts(&[
            ("Version", html! { (text(&it, "version")) }),
            ("Running since", html! { @if let Some(began) = at(&it, "startedAt") { (cx.clock.when(began)) ", " (cx.clock.age(began)) } @else { "–" } }),
            ("Access control", html! { (said(&it, "auth").unwrap_or("–")) }),
            ("Certificate until", html! { @if let Some(ends) = at(&it["tls"], "endsAt") { (cx.clock.when(ends)) } @else { "no TLS on this port" } }),
            ("Runs kept", html! { (piece::counted(count(store, "executions"), true)) }),
            ("Runs open", html! { (piece::counted(count(store, "running"), true)) }),
            ("Code kept", html! { (piece::counted(count(store, "instances"), true)) }),
            ("Entities", html! { (piece::counted(count(store, "entities"), true)) }),
            ("Store", html! { (bytes(count(store, "bytes"))) }),
            ("Disk", html! { @if disk.is_object() { (bytes(count(disk, "free"))) " of " (bytes(count(disk, "size"))) " free" } @else { "–" } }),
            ("Disk is full", html! { @if let Some(full) = at(disk, "fullAt") { (cx.clock.when(full)) ", if it goes on as in the last day" } @else { "not in sight" } }),
            ("Backup", backup(cx, &it["backup"])),
            ("Dead man's switch", dead_man(cx, &it["deadMan"])),
            ("Commits", html! { (piece::counted(count(store, "commits"), true)) }),
            ("In memory", html! { (count(&it, "cached")) " runs" }),
            ("Unfinished work", html! { (count(work, "retrying")) " tried again, " (count(work, "givenUp")) " given up" }),
            ("Evaluations", html! { (count(evaluations, "busy")) " busy, " (count(evaluations, "waiting")) " waiting, " (count(evaluations, "stuck")) " stuck" }),
        ]))
        @if it["backup"].is_object() {
            div.acts {
                @if it["backup"]["whyNot"].is_null() { (piece::act(cx, Permission::Admin, "back-up", "server", "Back up now")) }
                (piece::act(cx, Permission::Admin, "reload", "server", "Reload files"))
            }
        }
    }
}

/// When the store was backed up last, and what keeps it from being.
fn backup(cx: &Context<'_>, it: &Value) -> Markup {
    html! {
        @if let Some(last) = at(&it["last"], "at") {
            (cx.clock.ago(last)) ", " code { (text(&it["last"], "file")) } ", " (bytes(count(&it["last"], "bytes")))
        } @else { "none that is known here" }
        @if let Some(since) = at(it, "runningSince") { " · one is being made since " (cx.clock.when(since)) }
        @if let Some(why) = said(it, "failure") { " · " span.bad { "the one that was tried last came to nothing: " (cut(why, 200)) } }
        @if let Some(why) = said(it, "whyNot") { " · " span.faint { (cut(why, 200)) } }
    }
}

/// Who rings when this server no longer calls, and when it last did.
fn dead_man(cx: &Context<'_>, it: &Value) -> Markup {
    html! {
        @if it.is_object() {
            (text(it, "host")) ", called "
            @if let Some(called) = at(it, "calledAt") { (cx.clock.ago(called)) } @else { "never since the start" }
            @if let Some(why) = said(it, "trouble") { " · " span.bad { (cut(why, 200)) } }
        } @else { span.warn { "none: nobody outside notices that this server is away (" code { "deadman_url" } ")" } }
    }
}

fn problems(cx: &Context<'_>, title: &str, problems: &[Value]) -> Markup {
    html! {
        @if !problems.is_empty() {
            (piece::part(title, html! {
                ul {
                    @for it in problems.iter().take(50) {
                        li { code { (text(it, "code")) } " " (cut(text(it, "reason"), 400))
                            @if let Some(since) = said(it, "since").and_then(|it| it.parse::<jiff::Timestamp>().ok()) { " · since " (cx.clock.when(since.into())) } }
                    }
                }
            }))
        }
    }
}

fn quarantined(it: &Value) -> Markup {
    html! {
        @if count(it, "count") > 0 {
            (piece::part("Runs that are left alone after an internal error", html! {
                ul { @for run in list(it, "workflows") { li { (piece::run(text(run, "workflowId"))) " " (cut(text(run, "reason"), 300)) } } }
            }))
        }
    }
}
