//! What happened in a run that is code, in its order.

use kernel::ExecutionId;
use maud::{Markup, html};
use serde_json::Value;

use crate::value::{cut, said, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Lines of a page.
const WINDOW: usize = 150;

/// The history of an instance of code, as the API of Durable Functions tells it.
pub(super) async fn of_code(cx: &Context<'_>, id: &str) -> Result<Markup, Failure> {
    let look = |machine: &engine::AnyMachine| {
        machine.instance().map(|it| (it.hub().to_string(), it.instance_id().to_string()))
    };
    let found = cx.engine.look(&ExecutionId::new(id), look).await?.flatten();
    let Some((hub, instance)) = found else {
        return Err(Failure::missing("The run was removed meanwhile"));
    };
    let path = format!(
        "/runtime/webhooks/durabletask/instances/{}?taskHub={}&showHistory=true",
        encoded(&instance),
        encoded(&hub)
    );
    let status = match cx.get(&path).await {
        Ok(status) => status,
        Err(failure) => return Ok(crate::shell::cannot_tell(&failure.message)),
    };
    let events = status["historyEvents"].as_array().cloned().unwrap_or_default();
    let skipped = events.len().saturating_sub(WINDOW);
    Ok(html! {
        @if events.is_empty() { (piece::note("empty", html! { "Its history is empty." })) }
        @if skipped > 0 { p.faint { (skipped) " earlier events are in the " a href=(path) { "JSON" } "." } }
        ol.time { @for event in events.iter().skip(skipped) { li { (line(event)) } } }
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
