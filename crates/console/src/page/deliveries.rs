//! Deliveries and receivers: what was sent to whom, what came back, and who does not take it.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{at, count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Lines on a page.
const SIZE: u64 = 100;
const STATUSES: [&str; 5] = ["queued", "sent", "dead", "resent", "suppressed"];

pub(super) async fn show(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let status = asked.get("status").unwrap_or_default();
    let monitor = asked.get("monitor").unwrap_or_default();
    let start: u64 = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let filters = [("status", status), ("monitor", monitor)];
    let filters = filters.iter().filter(|(_, value)| !value.is_empty());
    let filters: Vec<String> =
        filters.map(|(name, value)| format!("&{name}={}", encoded(value))).collect();
    let path = format!("/api/deliveries?start={start}&size={SIZE}{}", filters.concat());
    let found = cx.get(&path).await?;
    let total = count(&found, "totalHits");
    let next = (start + SIZE < total).then(|| {
        format!("/console/deliveries{}", asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let body = html! {
        ul.facets aria-label="Status" {
            li { a href={ "/console/deliveries" (asked.with(&[("status", ""), ("start", "")])) } aria-current=[status.is_empty().then_some("true")] { "any status" } }
            @for word in STATUSES {
                li { a href={ "/console/deliveries" (asked.with(&[("status", word), ("start", "")])) } aria-current=[(word == status).then_some("true")] { (piece::status(word)) } }
            }
        }
        p { a href="/console/receivers" { "Receivers" } @if !monitor.is_empty() { " · about " (monitor) " · " a href="/console/deliveries" { "all" } } }
        @if list(&found, "results").is_empty() {
            @if status.is_empty() && monitor.is_empty() { (piece::note("empty", html! { "Nothing yet: nobody had to be told." })) }
            @else { (piece::nothing_matches("no delivery stands so", "/console/deliveries")) }
        }
        (lines(cx, list(&found, "results"), SIZE as usize))
        (piece::more(next.as_deref()))
    };
    let page =
        Page::new(Place::Incidents, "Deliveries", body).below("Incidents", "/console/incidents");
    Ok(page.same_as(path, "").on("incident monitor"))
}

/// Deliveries in a table.
pub(super) fn lines(cx: &Context<'_>, lines: &[Value], most: usize) -> Markup {
    let rows: Vec<Markup> = lines
        .iter()
        .take(most)
        .map(|it| {
            let (receiver, monitor) = (text(it, "receiver"), text(it, "monitor"));
            let about: Vec<&str> = list(it, "incidents").iter().filter_map(Value::as_str).collect();
            html! {
                tr {
                    td { (piece::status(text(it, "status"))) }
                    td.t { (cx.clock.maybe(at(it, "at"))) }
                    td { @if receiver.is_empty() { "–" } @else { (piece::link(&["receivers", receiver], receiver)) } }
                    td { (text(it, "event")) }
                    td { (piece::link(&["monitors", monitor], monitor))
                        @for id in about.iter().take(3) { " " (piece::link(&["incidents", id], "incident")) } }
                    td { (cut(said(it, "reason").or_else(|| said(it, "title")).unwrap_or(""), 160)) }
                }
            }
        })
        .collect();
    html! {
        @if !rows.is_empty() { (piece::table("Deliveries", &["Status", "When", "Receiver", "Event", "About", "What came back"], &rows)) }
    }
}

pub(super) async fn receivers(cx: &Context<'_>) -> Shown {
    let all = cx.get("/api/receivers").await?;
    let rows: Vec<Markup> = all
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| {
            let name = text(it, "name");
            html! {
                tr {
                    td { (piece::status(text(it, "status"))) }
                    td { (piece::link(&["receivers", name], name)) }
                    td { (text(it, "kind")) }
                    td { (said(it, "fallback").unwrap_or("–")) }
                    td { (cut(text(&it["broken"], "reason"), 160)) }
                }
            }
        })
        .collect();
    let body = html! {
        @if rows.is_empty() { (piece::nothing_yet("no receiver is defined", "nightbell monitor apply FILE")) }
        @else { (piece::table("Receivers", &["Status", "Receiver", "Kind", "Fallback", "Why it is broken"], &rows)) }
    };
    let page =
        Page::new(Place::Incidents, "Receivers", body).below("Incidents", "/console/incidents");
    Ok(page.same_as("/api/receivers", "nightbell receiver list").on("monitor"))
}

/// What an inbox was told.
async fn inbox(cx: &Context<'_>, name: &str) -> Result<Markup, Failure> {
    let path = format!("/api/receivers/{}/inbox?size=50", encoded(name));
    let found = cx.get(&path).await?;
    let message = |it: &Value| {
        let about: Vec<&str> = list(it, "incidents").iter().filter_map(Value::as_str).collect();
        html! {
            tr {
                td { (text(it, "event")) }
                td.t { (cx.clock.maybe(at(it, "at"))) }
                td {
                    b { (cut(text(it, "title"), 300)) }
                    @for line in cut(text(it, "text"), 2000).lines() { br; (line) }
                }
                td { @for id in about.iter().take(3) { (piece::link(&["incidents", id], "incident")) " " } }
            }
        }
    };
    let rows: Vec<Markup> = list(&found, "results").iter().map(message).collect();
    Ok(piece::part(
        "Inbox",
        html! {
            @if rows.is_empty() { p.faint { "Nothing was told yet." } }
            @else { (piece::table("Messages", &["Event", "When", "Message", "About"], &rows)) }
        },
    ))
}

pub(super) async fn receiver(cx: &Context<'_>, name: &str) -> Shown {
    let all = cx.get("/api/receivers").await?;
    let it = all.as_array().into_iter().flatten().find(|it| text(it, "name") == name);
    let it =
        it.ok_or_else(|| Failure::missing(format!("There is no receiver {}", cut(name, 100))))?;
    let found = cx.get("/api/deliveries?size=500").await?;
    let own: Vec<Value> =
        list(&found, "results").iter().filter(|it| text(it, "receiver") == name).cloned().collect();
    let broken = &it["broken"];
    let body = html! {
        (piece::note(if broken.is_object() { "bad" } else { "" }, html! {
            (piece::status(text(it, "status")))
            @if broken.is_object() {
                " since " (cx.clock.maybe(at(broken, "since"))) br; (cut(text(broken, "reason"), 500))
                br; (plain(&broken["givenUp"])) " notifications were given up."
            }
        }))
        div.acts {
            (piece::act(cx, Permission::Edit, "test-receiver", name, "Send a test"))
            (piece::act(cx, Permission::Respond, "resend-receiver", name, "Send again what was given up"))
        }
        (piece::facts(&[
            ("Kind", html! { (text(it, "kind")) }),
            ("Fallback", html! { @match said(it, "fallback") { Some(other) => { a href=(href(&["receivers", other])) { (other) } } None => { "–" } } }),
            ("Fallback after", html! { @match it["fallbackAfter"].as_i64() { Some(millis) => { (crate::clock::length(millis)) } None => { "–" } } }),
            ("Rate", html! { (said(it, "rate").map_or_else(|| plain(&it["rate"]), str::to_owned)) }),
            ("Defined in", html! { (said(it, "source").unwrap_or("–")) }),
        ]))
        (crate::uses::part(cx, "receiver", name).await?)
        (piece::part("Settings, without secrets", piece::payload(&it["settings"], "/api/receivers")))
        @if text(it, "kind") == "inbox" { (inbox(cx, name).await?) }
        (piece::part("Deliveries", html! {
            @if own.is_empty() { p.faint { "None among the newest 500." } }
            (lines(cx, &own, 50))
        }))
    };
    let page = Page::new(Place::Incidents, name, body).below("Receivers", "/console/receivers");
    Ok(page.same_as("/api/receivers", format!("nightbell receiver test {name}")).on("monitor"))
}
