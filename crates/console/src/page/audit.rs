//! The audit ledger: who changed what, and whether it went well.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use crate::clock::Clock;
use crate::piece;
use crate::value::{at, cut, said, text};
use crate::visit::encoded;
use crate::{Context, Failure};

/// A line of the ledger as JSON.
fn line(it: &Value) -> Value {
    serde_json::from_str(text(it, "line")).unwrap_or_default()
}

fn when(clock: &Clock, line: &Value) -> Markup {
    let written = said(line, "at").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    clock.maybe(written.map(Into::into).or_else(|| at(line, "at")))
}

/// Lines that tell of no change: who came in, what became of what was begun, and what the server writes for the
/// ledger's own sake.
const OTHERS: [&str; 8] =
    ["login", "logout", "logout everywhere", "password", "outcome", "sign", "use-secret", "start"];

/// A change in few words; `None` for other lines.
pub(crate) fn change(cx: &Context<'_>, it: &Value) -> Option<Markup> {
    let line = line(it);
    let act = said(&line, "act").filter(|act| !OTHERS.contains(act))?;
    // The path as it was asked for says more than that of all such requests.
    let act = act.split_once(" /").map_or(act, |(method, _)| method);
    (text(&line, "outcome") != "refused").then(|| {
        html! {
            (when(&cx.clock, &line)) " " (act) " "
            span.faint { (cut(text(&line, "object"), 60)) } " · " (text(&line, "name"))
        }
    })
}

/// Lines of a page.
const SIZE: usize = 100;

/// The way to what the ledger says of something, for whoever may read it: by whom and when it was changed.
pub(super) fn of(cx: &Context<'_>, path: &str) -> Markup {
    html! {
        @if cx.sees(Permission::Audit) {
            p { a href={ "/console/system/audit?object=" (encoded(path)) } { "Who did what to it" } }
        }
    }
}

/// The newest lines, or those that were searched for.
///
/// # Errors
/// Whoever looks may not see the ledger, or a time cannot be read.
pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    let asked = &cx.visit.query;
    let words = ["object", "from", "to", "before"];
    let given = words.iter().filter_map(|word| Some((*word, asked.get(word)?)));
    let given: Vec<String> =
        given.map(|(word, value)| format!("&{word}={}", encoded(value))).collect();
    let lines = cx.get(&format!("/api/audit?size={SIZE}{}", given.concat())).await?;
    let lines = lines.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Markup> = lines.iter().map(|it| row(cx, it)).collect();
    let oldest = lines.last().filter(|_| lines.len() >= SIZE);
    let older = oldest.and_then(|it| it["number"].as_u64()).map(|number| number.to_string());
    let value = |name: &str| asked.get(name).unwrap_or_default();
    Ok(html! {
        form.acts method="get" role="search" {
            (piece::field("object", "What or of what: a part of the act or the path", value("object"), "/api/monitors/shop"))
            (piece::field("from", "From", value("from"), "2026-01-31T08:00:00Z"))
            (piece::field("to", "Before", value("to"), "2026-02-01T08:00:00Z"))
            button { "Show" }
        }
        @if rows.is_empty() {
            @if given.is_empty() { (piece::note("empty", html! { "Nothing yet: without access control nobody is known who could have changed something." })) }
            @else { (piece::nothing_matches("no line of the newest ten thousand is so", "/console/system/audit")) }
        } @else {
            (piece::table("Audit ledger", &["Line", "When", "Who", "What", "Why", "Outcome"], &rows))
        }
        @if let Some(before) = older {
            p.more { a rel="next" href={ "/console/system/audit" (asked.with(&[("before", &before)])) } { "Older ›" } }
        }
    })
}

fn row(cx: &Context<'_>, it: &Value) -> Markup {
    let line = line(it);
    let status = line.get("status").and_then(Value::as_u64);
    html! {
        tr {
            td.n { (it["number"]) }
            td.t { (when(&cx.clock, &line)) }
            td { (text(&line, "name")) br; span.faint { (text(&line, "address")) } }
            td { (cut(text(&line, "act"), 80)) br; span.faint { (cut(text(&line, "object"), 80)) } }
            td { (cut(text(&line, "why"), 200)) }
            td { (text(&line, "outcome")) @if let Some(status) = status { " " (status) } }
        }
    }
}
