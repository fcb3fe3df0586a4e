//! What changed near an incident, between an hour before the last good check and the first bad one: runs of
//! workflows that are tagged as changes, such as deployments, a start of this server, and what the ledger tells of.

use engine::search::{Filter, Search, TextField, TimeField};
use engine::store::Head;
use kernel::Timestamp;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::audit;
use crate::value::{at, text};
use crate::visit::encoded;
use crate::{Context, piece};

/// How long a change may take to do harm, in milliseconds.
const BEFORE: i64 = 3_600_000;
/// How long a deployment may have run before that.
const LASTED_MAX: i64 = 86_400_000;
/// Lines of one kind.
const LINES_MAX: usize = 8;
/// Runs and lines of the ledger that are looked through.
const LOOKED_THROUGH: u64 = 50;
/// The tag of workflows whose runs change something: `change:true`.
const TAGGED: &str =
    "/api/metadata/tags/resources?tagKey=change&tagValue=true&resourceType=WORKFLOW_DEF";

/// What changed near it; nothing if it is not known since when it is bad.
pub(super) async fn shown(cx: &Context<'_>, it: &Value, why: &Value) -> Markup {
    let Some(bad) = at(it, "since").or_else(|| at(it, "openedAt")) else { return html! {} };
    let well = at(&why["previousOk"], "at").unwrap_or(bad).min(bad);
    let from = well.plus_millis(-BEFORE);
    let runs = runs(cx, from, bad).await;
    let changes = ledger(cx, from, bad).await;
    let started = cx.engine.feed().since();
    let is_new = (from..=bad).contains(&started);
    html! {
        @if is_new || !runs.is_empty() || !changes.is_empty() {
            h3 { "Nearby, since " (cx.clock.when(from)) }
            ul {
                @for run in &runs { li { (run_line(cx, run)) } }
                @if is_new { li { (cx.clock.when(started)) " this server started" } }
                @for change in &changes { li { (change) } }
            }
        }
    }
}

/// Runs of workflows with the tag that were under way then, the newest first. What cannot be read is no reason
/// not to show the incident.
pub(super) async fn runs(cx: &Context<'_>, from: Timestamp, to: Timestamp) -> Vec<Head> {
    let tagged = cx.get(TAGGED).await.unwrap_or_default();
    let names = tagged.as_array().into_iter().flatten().map(|it| text(it, "id").to_owned());
    let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let filters = vec![
        Filter::In(TextField::Name, names),
        Filter::After(TimeField::Created, from.plus_millis(-LASTED_MAX)),
        Filter::Before(TimeField::Created, to),
    ];
    let search = Search { filters, size: LOOKED_THROUGH, ..Search::default() };
    let found = cx.engine.store().search(&search).await.map(|page| page.rows).unwrap_or_default();
    let is_near = |run: &Head| run.ended_at.is_none_or(|ended| ended >= from);
    found.into_iter().filter(is_near).take(LINES_MAX).collect()
}

pub(super) fn run_line(cx: &Context<'_>, run: &Head) -> Markup {
    html! {
        (cx.clock.when(run.ended_at.unwrap_or(run.created_at))) " " (run.name) " "
        (piece::status(run.status)) " " (piece::run(run.id.as_str()))
    }
}

/// What the ledger tells of, for whoever may read it; what people did about incidents is told elsewhere.
async fn ledger(cx: &Context<'_>, from: Timestamp, to: Timestamp) -> Vec<Markup> {
    if !cx.sees(Permission::Audit) {
        return Vec::new();
    }
    let (from, to) = (encoded(&from.to_string()), encoded(&to.to_string()));
    let path = format!("/api/audit?size={LOOKED_THROUGH}&from={from}&to={to}");
    let lines = cx.get(&path).await.unwrap_or_default();
    let lines = lines.as_array().cloned().unwrap_or_default();
    let of_incidents = |it: &&Value| text(it, "line").contains("/api/incidents/");
    let others = lines.iter().filter(|it| !of_incidents(it));
    others.filter_map(|it| audit::change(cx, it)).take(LINES_MAX).collect()
}
