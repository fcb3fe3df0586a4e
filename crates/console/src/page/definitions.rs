//! Definitions: what can run, who uses it, by kind.

use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{at, cut, said, text};
use crate::visit::href;
use crate::{Context, Failure, piece};

/// Kinds: the word of the address, what they are called, where the API lists them, the name's member.
pub(super) const KINDS: [(&str, &str, &str, &str); 6] = [
    ("workflow", "Workflows", "/api/metadata/workflow/latest-versions", "name"),
    ("task", "Tasks", "/api/metadata/taskdefs", "name"),
    ("event", "Event handlers", "/api/event", "name"),
    ("webhook", "Webhooks", "/api/metadata/webhook", "id"),
    ("trigger", "Triggers", "/api/triggers", "name"),
    ("schema", "Schemas", "/api/schema", "name"),
];

/// Lines on a page.
const SIZE: usize = 100;

pub(super) async fn show(cx: &Context<'_>, kind: &str) -> Shown {
    let found = KINDS.iter().find(|(word, ..)| *word == kind);
    let (kind, title, path, member) = *found.ok_or_else(|| unknown(kind))?;
    let asked = &cx.visit.query;
    let words = asked.get("q").unwrap_or_default().to_lowercase();
    let start: usize = asked.get("start").and_then(|it| it.parse().ok()).unwrap_or(0);
    let all = cx.get(path).await?;
    let mut all: Vec<&Value> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| text(it, member).to_lowercase().contains(&words))
        .collect();
    all.sort_by_key(|it| text(it, member));
    let rows: Vec<Markup> =
        all.iter().skip(start).take(SIZE).map(|it| row(cx, kind, it, member)).collect();
    let next = (start + SIZE < all.len()).then(|| {
        format!("{}{}", cx.visit.path(), asked.with(&[("start", &(start + SIZE).to_string())]))
    });
    let body = html! {
        ul.tabs aria-label="Kinds" {
            @for (word, shown, ..) in KINDS {
                li { a href=(href(&["definitions", word])) aria-current=[(word == kind).then_some("page")] { (shown) } }
            }
        }
        form.acts method="get" {
            (piece::field("q", "Name", asked.get("q").unwrap_or_default(), ""))
            button { "Show" }
        }
        @if rows.is_empty() {
            @if words.is_empty() { (piece::nothing_yet("none of this kind is defined", "nightbell apply DIR")) }
            @else { (piece::nothing_matches("no name has these letters", cx.visit.path())) }
        } @else {
            p.faint { (all.len()) " in all" }
            (piece::table(title, &["Name", "Version", "Description", "Owner", "Changed"], &rows))
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::Definitions, format!("Definitions: {title}"), body);
    Ok(page.same_as(path, format!("nightbell {kind} list")).on("change"))
}

pub(super) fn unknown(kind: &str) -> Failure {
    let kinds = KINDS.map(|(word, ..)| word).join(", ");
    Failure::missing(format!("There are no definitions of the kind '{}'", cut(kind, 40)))
        .with_hint(format!("There are {kinds}."))
}

fn row(cx: &Context<'_>, kind: &str, it: &Value, member: &str) -> Markup {
    let name = text(it, member);
    html! {
        tr {
            td { (piece::link(&["definitions", kind, name], name)) }
            td.n { @if let Some(version) = it["version"].as_u64() { (version) } @else { "–" } }
            td { (cut(said(it, "description").unwrap_or("–"), 160)) }
            td { (cut(said(it, "ownerEmail").or_else(|| said(it, "ownerApp")).unwrap_or("–"), 60)) }
            td.t { (cx.clock.maybe(at(it, "updateTime").or_else(|| at(it, "createTime")))) }
        }
    }
}
