//! Entities: what state, who holds the lock, what waits.

use engine::AnyMachine;
use engine::search::{Counting, Filter, Mark, Search, TextField, TimeField};
use engine::store::Head;
use kernel::access::Permission;
use kernel::durable::entity::{Entity, Operation, Pending, Queued};
use kernel::{ExecutionId, MachineKind, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown};
use crate::clock::bytes;
use crate::shell::Place;
use crate::value::cut;
use crate::{Context, Failure, entity, piece};

/// Entities of a page.
const SIZE: u64 = 100;
/// Operations of a queue that are shown.
const OPERATIONS_MAX: usize = 50;

/// All entities, whatever their task hub, by heads: who holds the lock and how much waits stands there.
pub(super) async fn list(cx: &Context<'_>) -> Shown {
    let asked = &cx.visit.query;
    let name = asked.get("q").unwrap_or_default();
    let mut filters = Vec::new();
    if !name.is_empty() {
        let pattern = if name.contains('*') { name.to_owned() } else { format!("*{name}*") };
        filters.push(Filter::In(TextField::Name, vec![pattern.to_lowercase()]));
    }
    if let Some(after) = asked.get("after") {
        filters.push(Filter::Past(mark(after)?));
    }
    let search = Search {
        machine: MachineKind::Entity,
        filters,
        sort: Mark::order(Some(TimeField::Updated), true),
        // One more tells whether there is a next page.
        size: SIZE + 1,
        counting: Counting::Next,
        ..Search::default()
    };
    let mut heads = cx.engine.store().search(&search).await?.rows;
    let has_more = heads.len() as u64 > SIZE;
    heads.truncate(SIZE as usize);
    let next = heads.last().filter(|_| has_more).map(|last| {
        let mark = format!("{}~{}", last.updated_at.millis(), last.id.as_str());
        format!("/console/entities{}", asked.with(&[("after", &mark)]))
    });
    let rows: Vec<Markup> = heads.iter().map(|head| row(cx, head)).collect();
    let heads = ["State", "Name", "Key", "Task hub", "Locked by", "Waiting", "Size", "Changed"];
    let body = html! {
        form.acts method="get" { (piece::field("q", "Name", name, "counter")) button { "Show" } }
        @if rows.is_empty() {
            @if name.is_empty() { (piece::note("empty", html! { "Nothing yet: no orchestration or client has signalled an entity." })) }
            @else { (piece::nothing_matches("no entity has this name", "/console/entities")) }
        } @else {
            p.faint { "Those that changed last come first." }
            (piece::table("Entities", &heads, &rows))
        }
        (piece::more(next.as_deref()))
    };
    let page = Page::new(Place::System, "Entities", body).below("System", "/console/system/health");
    Ok(page.same_as("/runtime/webhooks/durabletask/entities", "").on("entity"))
}

/// Where a page began: behind the entity that the address names.
fn mark(text: &str) -> Result<Mark, Failure> {
    let wrong = || Failure::wrong("The address names no place in the list");
    let (millis, id) = text.split_once('~').ok_or_else(wrong)?;
    let at = Timestamp::from_millis(millis.parse().map_err(|_| wrong())?);
    Ok(Mark { at: Some((TimeField::Updated, at)), id: ExecutionId::new(id), descending: true })
}

fn row(cx: &Context<'_>, head: &Head) -> Markup {
    let (hub, id) = (head.id.hub(), head.id.local_name());
    let (name, key) = entity::name_and_key(id);
    let shown = if key.is_empty() { "(none)".to_owned() } else { cut(key, 60) };
    html! {
        tr {
            td { (piece::status(head.status)) }
            td { (name) }
            td { a href=(entity::page(hub, name, key)) { (shown) } }
            td { (hub) }
            td {
                @if let Some(holder) = &head.correlation_id { (piece::run(holder)) }
                @else if head.status == "LOCKED" { "an orchestration" }
            }
            td.n { (head.input_size) }
            td.n { (bytes(u64::from(head.output_size))) }
            td.t { (cx.clock.when(head.updated_at)) }
        }
    }
}

pub(super) async fn show(cx: &Context<'_>, hub: &str, name: &str, key: &str) -> Shown {
    let key = if key == entity::EMPTY_KEY { "" } else { key };
    let id = ExecutionId::entity(hub, &format!("@{name}@{key}"));
    let missing =
        || Failure::missing(format!("There is no entity {} {}", cut(name, 60), cut(key, 60)));
    if id.as_str().len() > ExecutionId::LENGTH_MAX {
        return Err(missing());
    }
    let look = |machine: &AnyMachine| machine.entity().map(|it| seen(cx, it, &id));
    let (state, body) = cx.engine.look(&id, look).await?.flatten().ok_or_else(missing)?;
    let json = entity::path(&id, None);
    let body = html! {
        (body)
        div.acts {
            (piece::act_with(cx, Permission::Run, "signal-entity", id.as_str(), "Signal", html! {
                (piece::field("op", "Operation", "", "add"))
                (piece::field("input", "With what, JSON; may be empty", "", "1"))
            }))
            (piece::preview(cx, Permission::Run, "delete-entity", id.as_str(), "Delete"))
        }
        (piece::part("State", state_of(state.as_deref(), &json)))
    };
    let page = Page::new(Place::System, format!("{name} · {key}"), body);
    let page = page.below("Entities", "/console/entities").same_as(json, "");
    Ok(page.with_payloads().on("entity").about(id.as_str()))
}

/// What a page shows of an entity, with its state.
fn seen(cx: &Context<'_>, it: &Entity, id: &ExecutionId) -> (Option<String>, Markup) {
    let rows: Vec<Markup> =
        it.pending().take(OPERATIONS_MAX).map(|pending| pending_row(cx, pending)).collect();
    let more = it.backlog().saturating_sub(rows.len());
    let shown = html! {
        (piece::facts(&[
            ("Task hub", html! { (id.hub()) }),
            ("Lock", html! {
                @match &it.lock {
                    Some(lock) => { (piece::status("LOCKED")) " by " (piece::run(lock.holder.as_str())) }
                    None => { "free" }
                }
            }),
            ("Operations that wait", html! { (it.backlog()) }),
            ("Since", cx.clock.maybe(it.born)),
            ("Changed", cx.clock.when(it.updated_at)),
        ]))
        (piece::part("What waits to be done", html! {
            @if rows.is_empty() { p.faint { "Nothing." } }
            @else { (piece::table("Operations", &["Came", "What", "Asked by", "Waits for"], &rows)) }
            @if more > 0 { p.faint { (more) " more" } }
        }))
    };
    (it.state.as_deref().map(str::to_owned), shown)
}

fn pending_row(cx: &Context<'_>, pending: Pending<'_>) -> Markup {
    let line = |it: &Operation, waits: Markup| {
        html! {
            tr {
                td.t { (cx.clock.when(it.at)) }
                td { code { (cut(&it.operation.operation, 100)) } @if it.answer { " and an answer" } }
                td { @match &it.from.sender { Some(sender) => { (piece::run(sender.as_str())) } None => { "a client" } } }
                td { (waits) }
            }
        }
    };
    match pending {
        Pending::Ready(it) => line(it, html! { "a worker" }),
        Pending::Behind(Queued::Operation(it)) => line(it, html! { "the lock" }),
        Pending::Behind(Queued::Lock(lock)) => html! {
            tr {
                td.t { "–" }
                td { "the lock itself" }
                td { (piece::run(lock.holder.as_str())) }
                td { "its turn" }
            }
        },
        Pending::Scheduled(it) => {
            line(it, html! { "its time, " (cx.clock.maybe(it.operation.scheduled_at)) })
        }
    }
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
