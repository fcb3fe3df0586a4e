//! How each key of a monitor stands and stood lately, as a part of its page.

use maud::{Markup, html};
use serde_json::Value;

use crate::clock::length;
use crate::strip::{self, Looks};
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Keys that the page of a monitor shows, and all that are shown when they are asked for.
const SHOWN: u64 = 20;
const SHOWN_MAX: u64 = 200;

/// The part *Observations by key*; nothing of a monitor whose checks have answered nothing lately.
///
/// # Errors
/// The API's.
pub(super) async fn part(cx: &Context<'_>, name: &str) -> Result<Markup, Failure> {
    let wants_all = cx.visit.query.get("keys") == Some("all");
    let size = if wants_all { SHOWN_MAX } else { SHOWN };
    let found = cx.get(&format!("/api/monitors/{}/keys?size={size}", encoded(name))).await?;
    let keys = list(&found, "keys");
    if keys.is_empty() {
        return Ok(html! {});
    }
    let all = count(&found, "keyCount");
    let each = length(count(&found, "step") as i64);
    let rows: Vec<Markup> = keys.iter().map(|it| row(cx, it, &each)).collect();
    let stretch = at(&found, "from").map(|from| cx.clock.age(from)).unwrap_or_default();
    Ok(piece::part(
        "Observations by key",
        html! {
            p.faint {
                (count(&found, "checks")) " checks in " (stretch) ", judged by the definition in force; the worst first."
                @if found["isWhole"] == false { " Not all checks of that time are read." }
            }
            (piece::table("Observations by key", &["Status", "Key", "Last value", "Since", "Strip", "Incident"], &rows))
            @if all > keys.len() as u64 {
                p {
                    (piece::counted(all, true)) " keys. "
                    @if !wants_all { a href={ (href(&["monitors", name])) (cx.visit.query.with(&[("keys", "all")])) } { "More of them" } }
                    @else { "The first " (keys.len()) " are shown; " code { "GET /api/monitors/" (name) "/keys" } " has all." }
                }
            }
        },
    ))
}

fn row(cx: &Context<'_>, it: &Value, each: &str) -> Markup {
    let looks: Vec<Looks> = list(it, "cells").iter().map(looks_of).collect();
    let value = plain(&it["value"]);
    html! {
        tr {
            td { (piece::status(text(it, "status"))) }
            td { @if let Some(key) = said(it, "key") { (cut(key, 120)) } @else { span.faint { "the monitor" } } }
            td { (cut(&value, 60)) @if let Some(text) = said(it, "text") { @if !value.is_empty() { " · " } (cut(text, 120)) } }
            td.t { @if let Some(since) = at(it, "since") { @if it["sinceIsKnown"] != true { "longer than " } (cx.clock.age(since)) } }
            td { (strip::strip(&looks, &strip::told(&looks, &format!("stretches of {each}")))) }
            td { @if let Some(id) = said(it, "incident") { (piece::link(&["incidents", id], "incident")) } }
        }
    }
}

fn looks_of(cell: &Value) -> Looks {
    match cell.as_str() {
        Some("ok") => Looks::Well,
        Some("unknown") => Looks::Unknown,
        Some("warn") => Looks::Warned,
        Some("fail") => Looks::Failed,
        _ => Looks::Idle,
    }
}
