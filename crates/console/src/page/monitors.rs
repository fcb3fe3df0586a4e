//! Monitors: what is watched, how it stands, when it is looked at next.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::Context;
use crate::piece;
use crate::shell::Place;
use crate::strip::{self, Looks, RANGES, Range};
use crate::value::{at, count, cut, list, said, text};
use crate::visit::{encoded, href};

/// Monitors on a page.
const SIZE: u64 = 50;
/// Open incidents that a row leads to.
const SHOWN: usize = 3;
const STATUSES: [&str; 5] = ["DOWN", "UNKNOWN", "PENDING", "NEW", "UP"];

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let (status, name) =
        (asked.get("status").unwrap_or_default(), asked.get("q").unwrap_or_default());
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let pattern = match name {
        "" => String::new(),
        name if name.contains('*') => name.to_owned(),
        name => format!("*{name}*"),
    };
    let filters = [("status", status), ("name", &pattern)];
    let filters = filters.iter().filter(|(_, value)| !value.is_empty());
    let filters: Vec<String> =
        filters.map(|(name, value)| format!("&{name}={}", encoded(value))).collect();
    let range = Range::of(asked.get("range"));
    let path = format!("/api/monitors?start={start}&size={SIZE}{}", filters.concat());
    // Everything that the page shows, in one request.
    let with_cells =
        format!("{path}&rollups={}&from={}", range.step, range.begin(cx.clock.now).millis());
    let found = cx.get(&with_cells).await?;
    let total = count(&found, "totalHits");
    let facets = STATUSES.map(|status| (status, count(&found["statuses"], status)));
    let rows: Vec<Markup> =
        list(&found, "results").iter().map(|it| row(cx, it, range, &it["rollups"])).collect();
    let next = (start + SIZE < total).then(|| {
        format!("/console/monitors{}", asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let body = html! {
        ul.facets aria-label="Status" {
            li { a href={ "/console/monitors" (asked.with(&[("status", ""), ("start", "")])) } aria-current=[status.is_empty().then_some("true")] { "any status" } }
            @for (word, count) in &facets {
                li { a href={ "/console/monitors" (asked.with(&[("status", word), ("start", "")])) } aria-current=[(word == &status).then_some("true")] { (piece::status(word)) " " (count) } }
            }
        }
        ul.facets aria-label="Time" {
            @for it in RANGES {
                li { a href={ "/console/monitors" (asked.with(&[("range", it.word)])) } aria-current=[(it == range).then_some("true")] { (it.name) } }
            }
        }
        form.acts method="get" {
            (piece::field("q", "Name", name, "shop or shop-*"))
            input type="hidden" name="status" value=(status);
            input type="hidden" name="range" value=(range.word);
            button { "Show" }
        }
        @if rows.is_empty() {
            @if name.is_empty() && status.is_empty() {
                (piece::nothing_yet("no monitor is defined", "nightbell monitor apply FILE"))
            } @else { (piece::nothing_matches("no monitor has this name and status", "/console/monitors")) }
        } @else {
            p.faint { (piece::counted(total, true)) " in all" }
            (piece::table("Monitors", &["Status", "Monitor", &format!("Last {}", range.name), "Well", "p95", "Last answer", "Next check", "Incidents", ""], &rows))
            (legend())
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::Monitors, "Monitors", body);
    Ok(page.same_as(path, "nightbell monitor list").on("monitor incident"))
}

/// What the bars of a strip mean.
pub(super) fn legend() -> Markup {
    html! {
        p.faint { "Bars: the worst of their time; the tallest failed, lower ones warned, were well, could not tell, or were missed; the lowest were not checked. Well is the share of checks that did not fail among those that could tell." }
    }
}

fn row(cx: &Context<'_>, it: &Value, range: Range, counted: &Value) -> Markup {
    let cells = strip::cells(range, cx.clock.now, counted);
    let looks: Vec<Looks> = cells.iter().map(|it| it.map(Looks::of).unwrap_or_default()).collect();
    let total = &counted["total"];
    let name = text(it, "name");
    let open = list(it, "openIncidents");
    let more = count(it, "openIncidentCount").saturating_sub(SHOWN as u64);
    let next = at(it, "nextCheckAt");
    let waits = matches!(text(it, "kind"), "heartbeat" | "alerts");
    html! {
        tr {
            td { (piece::status(text(it, "status"))) }
            td { a href=(href(&["monitors", name])) { (name) } " " span.faint { (text(it, "kind")) }
                @if let Some(why) = said(it, "reason") { br; span.faint { (cut(why, 120)) } } }
            td { (strip::strip(&looks, &strip::told(&looks, range.each))) }
            td.n { (strip::percent(total)) }
            td.n { (strip::took(total, "p95")) (strip::lines(&cells, &["p95"], "Response time, 95th percentile")) }
            td.t { @if let Some(last) = at(it, "lastAnswerAt") { (cx.clock.ago(last)) } @else { span.faint { "none yet" } } }
            td.t { @if let Some(next) = next { (cx.clock.ago(next)) } @else { span.faint { "waits for a call" } } }
            td {
                @for incident in open.iter().take(SHOWN) {
                    a href=(href(&["incidents", text(incident, "id")])) { (said(incident, "severity").unwrap_or("incident")) } " "
                }
                @if more > 0 { a href={ "/console/incidents?monitor=" (encoded(name)) } { "and " (more) " more" } }
            }
            td { @if !waits { (piece::act(cx, Permission::Run, "check", name, "Check now")) } }
        }
    }
}
