//! A definition: its picture, its versions, what differs between them, and who uses it.

use engine::search::{Counting, Filter, Search, Sort, SortField, TextField, TimeField};
use engine::store::Head;
use kernel::access::Permission;
use kernel::definition::parse_workflows;
use maud::{Markup, html};
use serde_json::Value;

use super::definitions::{KINDS, unknown};
use super::{Page, Shown, define, difference};
use crate::clock::length;
use crate::shell::Place;
use crate::value::{at, cut, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, graph, piece, uses};

/// Where the API has one document of a kind.
fn address(kind: &str, name: &str, version: Option<&str>) -> Result<String, Failure> {
    let name = encoded(name);
    Ok(match (kind, version) {
        ("workflow", Some(version)) => {
            format!("/api/metadata/workflow/{name}?version={}", encoded(version))
        }
        ("workflow", None) => format!("/api/metadata/workflow/{name}"),
        ("task", _) => format!("/api/metadata/taskdefs/{name}"),
        ("event", _) => format!("/api/event/handler/{name}"),
        ("webhook", _) => format!("/api/metadata/webhook/{name}"),
        ("trigger", _) => format!("/api/triggers/{name}"),
        ("schema", Some(version)) => format!("/api/schema/{name}/{}", encoded(version)),
        ("schema", None) => format!("/api/schema/{name}"),
        _ => return Err(unknown(kind)),
    })
}

async fn read(
    cx: &Context<'_>,
    kind: &str,
    name: &str,
    version: Option<&str>,
) -> Result<Value, Failure> {
    if let Some(version) = version
        && version.parse::<u32>().is_err()
    {
        return Err(Failure::missing(format!(
            "'{}' is no version: it is a number",
            cut(version, 40)
        )));
    }
    cx.get(&address(kind, name, version)?).await
}

pub(super) async fn show(cx: &Context<'_>, kind: &str, name: &str, version: Option<&str>) -> Shown {
    let it = read(cx, kind, name, version).await?;
    let path = address(kind, name, version)?;
    let is_workflow = kind == "workflow";
    let below = |page: &str| {
        let version = version.map_or_else(String::new, |it| format!("?version={}", encoded(it)));
        format!("{}/{page}{version}", href(&["definitions", kind, name]))
    };
    let body = html! {
        @if let Some(text) = said(&it, "description") { p { (cut(text, 500)) } }
        (facts(cx, &it))
        @if is_workflow {
            div.acts {
                @if cx.may(Permission::Run) {
                    a.button href={ (href(&["definitions", "workflow", name])) @if let Some(version) = version { "/" (version) } "/start" } { "Start…" }
                }
                a.button href=(below("rehearse")) { "Rehearse…" }
                a.button href=(below("edit")) { "Change…" }
                a.button href={ "/console/runs?q=" (encoded(&format!("name:{name}"))) } { "Runs" }
            }
            (how_well(cx, name).await?)
            (used(cx, name).await?)
            (versions(cx, kind, name, it["version"].as_u64()).await?)
            (picture(cx, &it))
        }
        @if !is_workflow && define::can_change(kind) { div.acts { a.button href=(below("edit")) { "Change…" } } }
        @if kind == "schema" { (versions(cx, kind, name, it["version"].as_u64()).await?) }
        @if kind == "task" { p { a href={ "/console/system/queues?q=" (encoded(name)) } { "Its queue, and who polls it" } } }
        @if matches!(kind, "workflow" | "task" | "webhook") { (tags(cx, kind, name).await?) }
        @if matches!(kind, "workflow" | "task" | "schema") { (uses::part(cx, kind, name).await?) }
        (piece::part("Definition", piece::payload(&it, &path)))
    };
    let title = match it["version"].as_u64().filter(|_| is_workflow || kind == "schema") {
        Some(version) => format!("{name} · v{version}"),
        None => name.to_owned(),
    };
    let found =
        KINDS.iter().find(|(word, ..)| *word == kind).map_or("Definitions", |(_, title, ..)| title);
    let page =
        Page::new(Place::Definitions, title, body).below(found, href(&["definitions", kind]));
    // The word of each kind is that of its commands.
    let command = format!("nightbell {kind} get {name}");
    Ok(page.same_as(path, command).on("change"))
}

fn facts(cx: &Context<'_>, it: &Value) -> Markup {
    piece::facts(&[
        (
            "Owner",
            html! { (said(it, "ownerEmail").or_else(|| said(it, "ownerApp")).unwrap_or("–")) },
        ),
        (
            "Created",
            html! { (cx.clock.maybe(at(it, "createTime"))) @if let Some(by) = said(it, "createdBy") { " by " (by) } },
        ),
        (
            "Changed",
            html! { (cx.clock.maybe(at(it, "updateTime"))) @if let Some(by) = said(it, "updatedBy") { " by " (by) } },
        ),
        (
            "Timeout",
            html! { @match it["timeoutSeconds"].as_i64().filter(|it| *it > 0) { Some(seconds) => { (length(seconds * 1000)) } None => { "none" } } },
        ),
    ])
}

/// Who uses a workflow: its runs by status, and the schedules that start it.
async fn used(cx: &Context<'_>, name: &str) -> Result<Markup, Failure> {
    let count = async |status: Option<&str>| -> Result<u64, Failure> {
        let mut filters = vec![Filter::In(TextField::Name, vec![name.to_owned()])];
        filters.extend(status.map(|it| Filter::In(TextField::Status, vec![it.to_owned()])));
        let search = Search { filters, size: 1, counting: Counting::Far, ..Search::default() };
        Ok(cx.engine.store().search(&search).await?.total)
    };
    let mut counts = Vec::new();
    for status in ["RUNNING", "FAILED", "COMPLETED"] {
        counts.push((status, count(Some(status)).await?));
    }
    let path = format!("/api/scheduler/schedules?workflowName={}", encoded(name));
    let schedules = cx.get(&path).await?;
    let schedules: Vec<String> =
        schedules.as_array().into_iter().flatten().map(|it| text(it, "name").to_owned()).collect();
    Ok(html! {
        p {
            "Runs: "
            @for (status, count) in &counts {
                a href={ "/console/runs?q=" (encoded(&format!("name:{name} status:{status}"))) } { (piece::status(status)) " " (piece::counted(*count, true)) } " "
            }
            @if !schedules.is_empty() {
                "· started by "
                @for name in schedules.iter().take(10) { (piece::link(&["schedules", name], name)) " " }
                @if schedules.len() > 10 { "and " (schedules.len() - 10) " more schedules" }
            }
        }
    })
}

/// Runs that ended last, from which it is told how well they go.
const LATEST: u64 = 200;

/// The share of the runs that ended last which completed, and how long those took.
async fn how_well(cx: &Context<'_>, name: &str) -> Result<Markup, Failure> {
    let search = Search {
        filters: vec![Filter::In(TextField::Name, vec![name.to_owned()]), Filter::Closed(true)],
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        size: LATEST,
        counting: Counting::Next,
        ..Search::default()
    };
    let ended = cx.engine.store().search(&search).await?.rows;
    if ended.is_empty() {
        return Ok(html! { p.faint { "No run of it has ended." } });
    }
    let took = |head: &Head| Some(head.ended_at?.since(head.created_at).max(0));
    let completed = ended.iter().filter(|head| head.status == "COMPLETED");
    let mut times: Vec<i64> = completed.filter_map(took).collect();
    times.sort_unstable();
    let percent = times.len() * 100 / ended.len();
    Ok(html! {
        p {
            "Of the last " (ended.len()) " that ended, " (percent) " % completed"
            @if let (Some(half), Some(most)) = (quantile(&times, 50), quantile(&times, 95)) {
                ", half of them within " (length(half)) ", 95 % within " (length(most))
            }
            "."
        }
    })
}

/// The smallest of sorted values that so many percent of them do not exceed.
fn quantile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

/// The labels of a workflow, which its versions share, of a task or a webhook.
async fn tags(cx: &Context<'_>, kind: &str, name: &str) -> Result<Markup, Failure> {
    let tags = cx.get(&format!("/api/metadata/{kind}/{}/tags", encoded(name))).await?;
    let tags: Vec<String> = tags
        .as_array()
        .into_iter()
        .flatten()
        .take(TAGS_MAX)
        .map(|tag| format!("{}:{}", text(tag, "key"), text(tag, "value")))
        .collect();
    let of_kind = html! { input type="hidden" name="kind" value=(kind); };
    let act = |act: &str, label: &str, fields: Markup| {
        let fields = html! { (of_kind) (fields) };
        piece::act_with(cx, Permission::Edit, act, name, label, fields)
    };
    let away = |tag: &String| {
        let label = format!("Take {} away", cut(tag, 40));
        act("untag", &label, html! { input type="hidden" name="tag" value=(tag); })
    };
    Ok(html! {
        div.acts {
            span { "Tags: " @if tags.is_empty() { span.faint { "none" } } }
            @for tag in &tags { span { code { (cut(tag, 100)) } } (away(tag)) }
            (act("tag", "Add", piece::field("tag", "Tag, key:value", "", "team:data")))
        }
    })
}

/// Tags that a page shows.
const TAGS_MAX: usize = 30;

/// The versions that are registered, each with what changed in it.
async fn versions(
    cx: &Context<'_>,
    kind: &str,
    name: &str,
    shown: Option<u64>,
) -> Result<Markup, Failure> {
    let all = match kind {
        "schema" => cx.get("/api/schema").await?,
        _ => cx.get(&format!("/api/metadata/workflow/{}/versions", encoded(name))).await?,
    };
    // The list of schemas is of all names.
    let own = all.as_array().into_iter().flatten();
    let own = own.filter(|it| said(it, "name").is_none_or(|of| of == name));
    let mut numbers: Vec<u64> =
        own.filter_map(|it| it.as_u64().or_else(|| it["version"].as_u64())).collect();
    numbers.sort_unstable();
    let pairs: Vec<(Option<u64>, u64)> = numbers
        .iter()
        .enumerate()
        .map(|(at, number)| (at.checked_sub(1).map(|before| numbers[before]), *number))
        .collect();
    Ok(html! {
        @if pairs.len() > 1 {
            p {
                "Versions: "
                @for (before, number) in pairs.iter().rev().take(20) {
                    a href=(href(&["definitions", kind, name, &number.to_string()])) aria-current=[(Some(*number) == shown).then_some("true")] { (number) }
                    @if let Some(before) = before {
                        " (" a href=(href(&["definitions", kind, name, &format!("{before}..{number}")])) { "changes from " (before) } ")"
                    }
                    " "
                }
                @if pairs.len() > 20 { "and " (pairs.len() - 20) " older" }
            }
        }
    })
}

fn picture(cx: &Context<'_>, it: &Value) -> Markup {
    match parse_workflows(&it.to_string()).ok().and_then(|all| all.into_iter().next()) {
        Some(definition) => {
            let block = graph::of_definition(&definition);
            let (standing, nowhere) = (graph::Standing::default(), |_: &str| None);
            if cx.visit.query.get("view") == Some("table") {
                return graph::twin(&block, &standing, &nowhere);
            }
            html! {
                (graph::svg(&block, &standing, None, &nowhere))
                p { a href="?view=table" { "The same as a table" } }
            }
        }
        None => crate::shell::cannot_tell("the definition has a shape that cannot be drawn"),
    }
}

/// What differs between two versions.
pub(super) async fn diff(
    cx: &Context<'_>,
    kind: &str,
    name: &str,
    before: &str,
    after: &str,
) -> Shown {
    let old = read(cx, kind, name, Some(before)).await?;
    let new = read(cx, kind, name, Some(after)).await?;
    let pretty = |it: &Value| {
        let mut it = it.clone();
        if let Some(members) = it.as_object_mut() {
            // They always differ, and mean nothing.
            members.retain(|name, _| {
                !matches!(name.as_str(), "version" | "createTime" | "updateTime")
            });
        }
        serde_json::to_string_pretty(&it).unwrap_or_default()
    };
    let (old, new) = (pretty(&old), pretty(&new));
    let body = html! {
        @match difference::between(&old, &new) {
            Some(lines) => { (difference::shown(&lines)) }
            None => { (crate::shell::cannot_tell("the definitions are too long to compare here")) }
        }
        p {
            (piece::link(&["definitions", kind, name, before], &format!("Version {before}"))) " · "
            (piece::link(&["definitions", kind, name, after], &format!("Version {after}")))
        }
    };
    let title = format!("{name}: {before} to {after}");
    let page = Page::new(Place::Definitions, title, body)
        .below("Definition", href(&["definitions", kind, name]));
    Ok(page.same_as(address(kind, name, Some(after))?, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[], 95), None);
        assert_eq!(quantile(&[7], 50), Some(7));
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!((quantile(&hundred, 50), quantile(&hundred, 95)), (Some(50), Some(95)));
    }
}
