//! Events: whether messages come, who subscribes, and what was made of them.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Lines of one table.
const LINES_MAX: usize = 100;
/// Characters of a message that a line shows.
const MESSAGE_MAX: usize = 200;

pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let handlers = cx.get("/api/event").await?;
    let handlers: Vec<&Value> = handlers.as_array().into_iter().flatten().collect();
    Ok(html! {
        (piece::part("Queues that are listened to", queues(cx).await?))
        (piece::part("Event handlers", html! {
            @if handlers.is_empty() { (piece::nothing_yet("no event handler is defined", "nightbell event create -f FILE")) }
            @else { (heeding(cx, &handlers).await) }
        }))
        @if let Some(name) = asked.get("handler") { (handled(cx, name).await?) }
        @if let Some(event) = asked.get("event") { (messages(cx, event).await?) }
        (publish(cx, asked.get("event").unwrap_or_default()))
    })
}

/// How each queue of a broker stands: silent since when, and why.
async fn queues(cx: &Context<'_>) -> Result<Markup, Failure> {
    let config = cx.get("/api/event/queue/config").await?;
    let rows: Vec<Markup> = list(&config, "queues")
        .iter()
        .take(LINES_MAX)
        .map(|it| {
            let event = text(it, "event");
            html! {
                tr {
                    td { @if it["trouble"].is_null() { (piece::status("OK")) } @else { (piece::status("BROKEN")) } }
                    td { a href={ "?event=" (encoded(event)) } { (event) } }
                    td { @match said(it, "trouble") {
                        Some(why) => { "silent" @if let Some(since) = at(it, "troubleSince") { " since " (cx.clock.when(since)) ", " (cx.clock.age(since)) } ": " (cut(why, MESSAGE_MAX)) }
                        None => { "messages come" }
                    } }
                }
            }
        })
        .collect();
    let types: Vec<String> = list(&config, "types").iter().map(plain).collect();
    Ok(html! {
        @if rows.is_empty() { p.faint { "None: no active event handler names a queue of a broker." } }
        @else { (piece::table("Queues of brokers", &["State", "Queue", "Messages"], &rows)) }
        p.faint { "Types of events here: " (types.join(", ")) "." }
    })
}

/// Lines of a handler that are counted for a page.
const COUNTED_MAX: u64 = 10_000;

/// The handlers, with how many messages each was given and how many actions came of them.
async fn heeding(cx: &Context<'_>, handlers: &[&Value]) -> Markup {
    let counted = cx.get(&format!("/api/event/execution?countMax={COUNTED_MAX}")).await;
    let figures = counted.as_ref().ok().map(|it| list(it, "results")).unwrap_or_default();
    let figure = |of: Option<&Value>, name| match of {
        Some(it) => piece::counted(count(it, name), it["exact"] != false),
        None => "?".to_owned(),
    };
    let rows: Vec<Markup> = handlers
        .iter()
        .take(LINES_MAX)
        .map(|it| {
            let (name, event) = (text(it, "name"), text(it, "event"));
            let of = figures.iter().find(|it| text(it, "name") == name);
            html! {
                tr {
                    td { (piece::link(&["definitions", "event", name], name)) }
                    td { a href={ "?event=" (encoded(event)) } { (event) } }
                    td { @if it["active"] == true { (piece::status("ACTIVE")) } @else { (piece::status("PAUSED")) } }
                    td.n { (figure(of, "numberOfMessages")) }
                    td.n { (figure(of, "numberOfActions")) }
                    td { a href={ "?handler=" (encoded(name)) } { "what it did" } }
                }
            }
        })
        .collect();
    let heads = ["Handler", "Event", "State", "Messages", "Actions", ""];
    html! {
        (piece::table("Event handlers", &heads, &rows))
        @if handlers.len() > LINES_MAX { p.faint { (handlers.len() - LINES_MAX) " more" } }
        @if let Err(failure) = &counted { (crate::shell::cannot_tell(&failure.message)) }
    }
}

/// What one handler made of its messages, the newest first.
async fn handled(cx: &Context<'_>, name: &str) -> Result<Markup, Failure> {
    let path = format!("/api/event/execution/{}?size={LINES_MAX}", encoded(name));
    let found = cx.get(&path).await?;
    let rows: Vec<Markup> =
        found.as_array().into_iter().flatten().map(|it| handling(cx, it)).collect();
    Ok(piece::part(
        &format!("What {} did", cut(name, 100)),
        html! {
            @if rows.is_empty() { p.faint { "No message was handled that is recorded." } }
            @else { (piece::table("Handled messages", &["Status", "When", "Action", "Message", "What came of it"], &rows)) }
        },
    ))
}

fn handling(cx: &Context<'_>, it: &Value) -> Markup {
    let output = &it["output"];
    html! {
        tr {
            td { (piece::status(text(it, "status"))) }
            td.t { (cx.clock.maybe(at(it, "created"))) }
            td { (cut(text(it, "action"), 40)) }
            td { code { (cut(text(it, "messageId"), 60)) } }
            td {
                @if let Some(run) = said(output, "workflowId") { (piece::run(run)) " " }
                @if let Some(why) = said(it, "statusDescription") { (cut(why, MESSAGE_MAX)) }
            }
        }
    }
}

/// The messages of one event, with what its handlers made of each.
async fn messages(cx: &Context<'_>, event: &str) -> Result<Markup, Failure> {
    let path = format!("/api/event/message/{}?size={LINES_MAX}", encoded(event));
    let found = cx.get(&path).await?;
    let rows: Vec<Markup> = found
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| {
            html! {
                tr {
                    td { (text(it, "status").to_lowercase()) }
                    td.t { (cx.clock.maybe(at(it, "createdAt"))) }
                    td { code { (cut(text(it, "id"), 60)) } @if let Some(payload) = said(it, "payload") { br; (cut(payload, MESSAGE_MAX)) } }
                    td { @for done in list(it, "eventExecutions").iter().take(10) {
                        (piece::status(text(done, "status"))) " " (text(done, "name"))
                        @if let Some(run) = said(&done["output"], "workflowId") { " " (piece::run(run)) }
                        br;
                    } }
                }
            }
        })
        .collect();
    Ok(piece::part(
        &format!("Messages of {}", cut(event, 100)),
        html! {
            @if rows.is_empty() { p.faint { "None that is recorded. A message is recorded when a handler has taken it." } }
            @else { (piece::table("Messages", &["State", "When", "Message", "Handled"], &rows)) }
        },
    ))
}

/// A message by hand: it goes to the broker, as one from anywhere does.
fn publish(cx: &Context<'_>, event: &str) -> Markup {
    html! {
        @if cx.may(Permission::Run) {
            details {
                summary { "Publish a test message" }
                form method="post" action="/console/act" {
                    (piece::proof())
                    input type="hidden" name="act" value="publish";
                    input type="hidden" name="back" value="/console/system/events";
                    (piece::field("id", "Event, type:queue", event, "conductor:shop:orders"))
                    label.field { span { "Message, text or JSON" } textarea name="input" rows="4" spellcheck="false" { "{}" } }
                    button { "Publish" }
                }
            }
        }
    }
}
