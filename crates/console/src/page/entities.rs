//! Entities: what state, who holds the lock, what waits.

use engine::AnyMachine;
use engine::search::{Counting, Filter, Mark, Search, TextField, TimeField};
use kernel::{ExecutionId, MachineKind};
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::clock::bytes;
use crate::shell::Place;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

const SIZE: u64 = 100;

pub(super) async fn list(cx: &Context<'_>) -> Shown {
    let name = cx.visit.query.get("q").unwrap_or_default();
    let mut filters = Vec::new();
    if !name.is_empty() {
        let pattern = if name.contains('*') { name.to_owned() } else { format!("*{name}*") };
        filters.push(Filter::In(TextField::Name, vec![pattern]));
    }
    let search = Search {
        machine: MachineKind::Entity,
        filters,
        sort: Mark::order(Some(TimeField::Updated), true),
        size: SIZE,
        counting: Counting::Far,
        ..Search::default()
    };
    let page = cx.engine.store().search(&search).await?;
    let mut rows = Vec::new();
    for head in &page.rows {
        let look = |machine: &AnyMachine| {
            machine
                .entity()
                .map(|it| (it.id.hub().to_owned(), it.entity_id().to_string(), it.backlog()))
        };
        let Some((hub, id, backlog)) = cx.engine.look(&head.id, look).await?.flatten() else {
            continue;
        };
        let key = id.rsplit_once('@').map_or(id.as_str(), |(_, key)| key);
        rows.push(html! {
            tr {
                td { (piece::status(head.status)) }
                td { (head.name) }
                td { a href=(href(&["entities", &hub, &head.name, key])) { (cut(key, 60)) } }
                td { (hub) }
                td.n { (backlog) }
                td.n { (bytes(u64::from(head.output_size))) }
                td.t { (cx.clock.when(head.updated_at)) }
            }
        });
    }
    let body = html! {
        form.acts method="get" { (piece::field("q", "Name", name, "counter")) button { "Show" } }
        @if rows.is_empty() {
            @if name.is_empty() { (piece::note("empty", html! { "Nothing yet: no orchestration or client has signalled an entity." })) }
            @else { (piece::nothing_matches("no entity has this name", "/console/entities")) }
        } @else {
            p.faint { "The " (rows.len()) " that changed last, of " (page.total) }
            (piece::table("Entities", &["State", "Name", "Key", "Task hub", "Waiting", "Size", "Changed"], &rows))
        }
    };
    let page = Page::new(Place::System, "Entities", body).below("System", "/console/system/health");
    Ok(page.same_as("/runtime/webhooks/durabletask/entities", ""))
}

pub(super) async fn show(cx: &Context<'_>, hub: &str, name: &str, key: &str) -> Shown {
    let id = ExecutionId::entity(hub, &format!("@{name}@{key}"));
    let missing =
        || Failure::missing(format!("There is no entity {} {}", cut(name, 60), cut(key, 60)));
    if id.as_str().len() > ExecutionId::LENGTH_MAX {
        return Err(missing());
    }
    let look = |machine: &AnyMachine| {
        let it = machine.entity()?;
        let lock = it.lock.as_ref().map(|lock| format!("{lock:?}"));
        Some((it.state.as_deref().map(str::to_owned), it.backlog(), lock.is_some(), it.updated_at))
    };
    let (state, backlog, is_locked, updated) =
        cx.engine.look(&id, look).await?.flatten().ok_or_else(missing)?;
    let json = format!(
        "/runtime/webhooks/durabletask/entities/{}/{}?taskHub={}",
        encoded(name),
        encoded(key),
        encoded(hub)
    );
    let body = html! {
        (piece::facts(&[
            ("Task hub", html! { (hub) }),
            ("Lock", html! { @if is_locked { (piece::status("LOCKED")) " by an orchestration" } @else { "free" } }),
            ("Operations that wait", html! { (backlog) }),
            ("Changed", cx.clock.when(updated)),
        ]))
        (piece::part("State", state_of(state.as_deref(), &json)))
    };
    let page = Page::new(Place::System, format!("{name} · {key}"), body);
    Ok(page.below("Entities", "/console/entities").same_as(json, "").with_payloads())
}

fn state_of(state: Option<&str>, json: &str) -> Markup {
    match state {
        None => html! { p.faint { "It is empty." } },
        Some(text) => {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            piece::payload(&value, json)
        }
    }
}
