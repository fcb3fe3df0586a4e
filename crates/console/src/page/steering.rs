//! The acts of a run: what fits where it stands, those that need words behind "More".

use kernel::access::Permission;
use maud::{Markup, html};

use super::brief::Brief;
use crate::value::cut;
use crate::visit::{encoded, href};
use crate::{Context, piece, seen};

/// Versions of a definition that can be chosen, the newest.
const VERSIONS_MAX: usize = 20;

pub(super) fn acts(cx: &Context<'_>, id: &str, brief: &Brief) -> Markup {
    let need = Permission::Run;
    if !cx.may(need) || brief.status == "QUARANTINED" {
        return html! {};
    }
    if brief.is_code {
        return of_code(cx, id, brief);
    }
    let status = brief.status.as_str();
    let seen = seen::field(&seen::run(status, brief.ended_at));
    let has_failed = matches!(status, "FAILED" | "TIMED_OUT" | "TERMINATED");
    html! {
        div.acts {
            @if status == "RUNNING" { (piece::act_with(cx, need, "pause", id, "Pause", html! { (seen) })) }
            @if status == "PAUSED" { (piece::act_with(cx, need, "resume", id, "Resume", html! { (seen) })) }
            @if has_failed { (piece::act_with(cx, need, "retry", id, "Retry", html! { (seen) })) }
            @if let Some(form) = edited_again(cx, id, brief) { a.button href=(form) { "Edit and start again" } }
            @if brief.ended_at.is_some() { (piece::preview(cx, need, "restart", id, "Restart")) }
            @if brief.ended_at.is_none() || status == "FAILED" || status == "TIMED_OUT" {
                (piece::preview(cx, need, "terminate", id, "Terminate"))
            }
            @if brief.ended_at.is_none() { details { summary { "More" } (more(cx, id, brief)) } }
        }
    }
}

/// The form that starts the same version with this run's input, to be changed; none if it is not kept.
fn edited_again(cx: &Context<'_>, id: &str, brief: &Brief) -> Option<String> {
    let version = brief.version?;
    cx.engine.definitions().workflow(&brief.name, u32::try_from(version).ok())?;
    let form = href(&["definitions", "workflow", &brief.name, &version.to_string(), "start"]);
    Some(format!("{form}?from={}", encoded(id)))
}

/// What an open run of a workflow can be told besides.
fn more(cx: &Context<'_>, id: &str, brief: &Brief) -> Markup {
    let present = brief.version;
    let versions = cx.engine.definitions().versions(&brief.name);
    let others: Vec<i32> = versions
        .iter()
        .rev()
        .map(|definition| definition.version)
        .filter(|version| Some(*version) != present)
        .take(VERSIONS_MAX)
        .collect();
    html! {
        form.act method="get" action="/console/confirm" {
            (target(cx, id))
            (piece::field("task", "Task, by its reference name", "", ""))
            button name="act" value="skip-task" { "Skip it…" }
            button name="act" value="jump" { "Jump there…" }
        }
        @if !others.is_empty() {
            form.act method="get" action="/console/confirm" {
                (target(cx, id))
                label.field { span { "Version" }
                    select name="version" { @for version in &others { option value=(version) { (version) } } }
                }
                button name="act" value="upgrade" { "Upgrade…" }
            }
        }
        (piece::act_with(cx, Permission::Run, "signal", id, "Send it", html! {
            label.field { span { "Message for its inbox, a JSON object" } textarea name="input" rows="2" { "{}" } }
        }))
    }
}

/// Whom a form is about, and where it leads back.
fn target(cx: &Context<'_>, id: &str) -> Markup {
    html! {
        input type="hidden" name="id" value=(id);
        input type="hidden" name="back" value=(cx.visit.path());
    }
}

/// The acts of code in workers.
fn of_code(cx: &Context<'_>, id: &str, brief: &Brief) -> Markup {
    let need = Permission::Run;
    let status = brief.status.as_str();
    let is_open = brief.ended_at.is_none();
    let seen = seen::field(&seen::run(status, brief.ended_at));
    html! {
        div.acts {
            @if is_open && status != "SUSPENDED" { (piece::act_with(cx, need, "suspend-code", id, "Suspend", html! { (seen) })) }
            @if status == "SUSPENDED" { (piece::act_with(cx, need, "resume-code", id, "Resume", html! { (seen) })) }
            @if status == "FAILED" { (piece::preview(cx, need, "rewind-code", id, "Rewind")) }
            @if is_open { (piece::preview(cx, need, "terminate-code", id, "Terminate")) }
            @else { (piece::preview(cx, need, "restart-code", id, "Restart")) }
            @if is_open {
                details { summary { "Raise an event" }
                    (piece::act_with(cx, need, "raise-event", id, "Raise it", html! {
                        (piece::field("event", "Name", "", ""))
                        label.field { span { "What it says, a JSON object" } textarea name="input" rows="2" { "{}" } }
                    }))
                }
            }
        }
        p.faint { "This run is code in workers: " code { (cut(&brief.name, 100)) } "." }
    }
}
