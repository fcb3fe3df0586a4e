//! Which documents name a definition, a secret or a receiver, as a part of pages.

use maud::{Markup, html};
use serde_json::Value;

use crate::value::text;
use crate::visit::encoded;
use crate::{Context, Failure, piece};

/// Documents that are named on a page.
const USES_MAX: usize = 50;

/// The part *Used by*.
///
/// # Errors
/// The API's.
pub(crate) async fn part(cx: &Context<'_>, kind: &str, name: &str) -> Result<Markup, Failure> {
    let uses = cx.get(&format!("/api/uses/{kind}/{}", encoded(name))).await?;
    let uses: Vec<&Value> = uses.as_array().into_iter().flatten().collect();
    let line = |it: &Value| {
        let (kind, name) = (text(it, "kind"), text(it, "name"));
        let page = if kind == "event_handler" { "event" } else { kind };
        html! {
            li {
                @if kind == "monitors" { "monitors of " (name) }
                @else { (page) " " (piece::link(&["definitions", page, name], name)) }
                @if let Some(version) = it["version"].as_u64().filter(|it| *it > 0) { " v" (version) }
            }
        }
    };
    Ok(piece::part(
        "Used by",
        html! {
            @if uses.is_empty() { p.faint { "No other document names it." } }
            ul { @for it in uses.iter().take(USES_MAX) { (line(it)) } }
            @if uses.len() > USES_MAX { p.faint { (uses.len() - USES_MAX) " more" } }
        },
    ))
}
