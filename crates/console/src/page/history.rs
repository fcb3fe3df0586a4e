//! What happened in a run that is code, in its order.

use maud::{Markup, html};
use serde_json::Value;

use crate::value::{cut, said, text};
use crate::{Context, Failure, piece, steer};

/// Lines of a page.
const WINDOW: usize = 150;

/// The history of an instance of code, as the API of Durable Functions tells it.
pub(super) async fn of_code(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let path = steer::of_code(cx, id, "", Some(("showHistory", "true"))).await?;
    let status = match cx.get(&path).await {
        Ok(status) => status,
        Err(failure) => return Ok(crate::shell::cannot_tell(&failure.message)),
    };
    let events = status["historyEvents"].as_array().cloned().unwrap_or_default();
    let asked = cx.visit.query.get("from").and_then(|it| it.parse().ok());
    // Without a place to begin at, what happened last is what people look for.
    let from: usize = asked.unwrap_or_else(|| events.len().saturating_sub(WINDOW));
    let to = |from: usize| {
        format!("{}{}", cx.visit.path(), cx.visit.query.with(&[("from", &from.to_string())]))
    };
    let end = from.saturating_add(WINDOW).min(events.len());
    Ok(html! {
        @if events.is_empty() { (piece::note("empty", html! { "Its history is empty." })) }
        @else { p.faint { "Events " (from.min(end) + 1) " to " (end) " of " (events.len()) ". " a href=(path) { "All as JSON" } } }
        @if from > 0 { p { a rel="prev" href=(to(from.min(events.len()).saturating_sub(WINDOW))) { "‹ Earlier" } } }
        ol.time { @for event in events.iter().skip(from).take(WINDOW) { li { (line(event)) } } }
        (piece::more((end < events.len()).then(|| to(end)).as_deref()))
    })
}

fn line(event: &Value) -> Markup {
    let name = said(event, "FunctionName").or_else(|| said(event, "Name"));
    html! {
        time { (cut(text(event, "Timestamp"), 19)) } " "
        (text(event, "EventType"))
        @if let Some(name) = name { " " code { (name) } }
        @if let Some(reason) = said(event, "Reason") { " · " (cut(reason, 200)) }
    }
}
