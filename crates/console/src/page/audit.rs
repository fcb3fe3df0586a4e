//! The audit ledger: who changed what, and whether it went well.

use maud::{Markup, html};
use serde_json::Value;

use crate::clock::Clock;
use crate::piece;
use crate::value::{at, cut, said, text};
use crate::{Context, Failure};

/// A line of the ledger as JSON.
fn line(it: &Value) -> Value {
    serde_json::from_str(text(it, "line")).unwrap_or_default()
}

fn when(clock: &Clock, line: &Value) -> Markup {
    let written = said(line, "at").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    clock.maybe(written.map(Into::into).or_else(|| at(line, "at")))
}

/// A change in few words; `None` for other lines.
pub(crate) fn change(cx: &Context<'_>, it: &Value) -> Option<Markup> {
    let line = line(it);
    let act = said(&line, "act").filter(|act| {
        !matches!(*act, "login" | "logout" | "logout everywhere" | "password" | "outcome")
    })?;
    (text(&line, "outcome") != "refused").then(|| {
        html! {
            (when(&cx.clock, &line)) " " (act) " "
            span.faint { (cut(text(&line, "object"), 60)) } " · " (text(&line, "name"))
        }
    })
}

/// The newest lines.
///
/// # Errors
/// Whoever looks may not see the ledger.
pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    let lines = cx.get("/api/audit?size=100").await?;
    let rows: Vec<Markup> = lines
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| {
            let line = line(it);
            let status = line.get("status").and_then(Value::as_u64);
            html! {
                tr {
                    td.n { (it["number"]) }
                    td.t { (when(&cx.clock, &line)) }
                    td { (text(&line, "name")) br; span.faint { (text(&line, "address")) } }
                    td { (cut(text(&line, "act"), 80)) br; span.faint { (cut(text(&line, "object"), 80)) } }
                    td { (text(&line, "outcome")) @if let Some(status) = status { " " (status) } }
                }
            }
        })
        .collect();
    Ok(html! {
        @if rows.is_empty() {
            (piece::note("empty", html! { "Nothing yet: without access control nobody is known who could have changed something." }))
        } @else {
            (piece::table("Audit ledger", &["Line", "When", "Who", "What", "Outcome"], &rows))
        }
    })
}
