//! The pages, by address.

pub(crate) mod login;

mod access;
pub(crate) mod allowing;
pub(crate) mod answering;
pub(crate) mod audit;
mod backtest;
mod batches;
mod brief;
mod compare;
mod data;
pub(crate) mod define;
mod definition;
mod definitions;
mod deliveries;
mod difference;
mod ended;
mod entities;
mod events;
mod facets;
pub(crate) mod file;
mod handover;
mod health;
mod help;
mod history;
pub(crate) mod incident;
pub(crate) mod incidents;
mod keys;
mod logs;
mod loops;
mod monitor;
pub(crate) mod monitor_edit;
mod monitors;
mod nearby;
mod now;
mod past;
mod payload;
mod queues;
pub(crate) mod rehearse;
mod run;
pub(crate) mod runs;
mod schedule;
mod schedules;
mod secrets;
mod settings;
mod silences;
pub(crate) mod start;
mod status;
mod steering;
mod system;
mod task;
mod timeline;

use http::StatusCode;
use maud::{Markup, html};
pub(crate) use status::Made;

use crate::shell::{Page, Place};
use crate::{Context, Failure, confirm, piece};

/// What a page function answers.
pub(crate) type Shown = Result<Page, Failure>;

/// The page at an address.
///
/// # Errors
/// There is none, or what it shows cannot be read.
pub(crate) async fn show(cx: &Context<'_>) -> Shown {
    let segments: Vec<&str> = cx.visit.segments.iter().map(String::as_str).collect();
    if cx.visit.address.starts_with("/status/") {
        return match segments[..] {
            ["status", name] => {
                Ok(status::show(cx, name).await.unwrap_or_else(|it| status::away(&it)))
            }
            _ => Err(missing(cx)),
        };
    }
    match segments[..] {
        [] => now::show(cx).await,
        ["handover"] => handover::show(cx).await,
        ["incidents"] => incidents::show(cx).await,
        ["incidents", id] => incident::show(cx, id).await,
        ["monitors"] => monitors::show(cx).await,
        ["monitors", name] => monitor::show(cx, name).await,
        ["monitors", name, "edit"] => monitor_edit::edit(cx, name).await,
        ["monitors", name, "try"] => monitor_edit::try_out(cx, name, None).await,
        ["silences"] => silences::show(cx).await,
        ["deliveries"] => deliveries::show(cx).await,
        ["receivers"] => deliveries::receivers(cx).await,
        ["receivers", name] => deliveries::receiver(cx, name).await,
        ["runs"] => runs::show(cx).await,
        ["runs", id] => match cx.visit.query.get("at") {
            Some(at) => past::show(cx, id, at).await,
            None => run::show(cx, id).await,
        },
        ["runs", id, "with", other] => compare::show(cx, id, other).await,
        ["batches"] => batches::list_all(cx).await,
        ["batches", id] => batches::show(cx, id).await,
        ["entities"] => entities::list(cx).await,
        ["entities", hub, name, key] => entities::show(cx, hub, name, key).await,
        ["schedules"] => schedules::show(cx).await,
        ["schedules", name] => schedule::show(cx, name).await,
        ["definitions"] => definitions::show(cx, "workflow").await,
        ["definitions", kind] => definitions::show(cx, kind).await,
        ["definitions", kind, name] => definition::show(cx, kind, name, None).await,
        ["definitions", kind, name, "edit"] => define::edit(cx, kind, name).await,
        ["definitions", "workflow", name, "rehearse"] => rehearse::show(cx, name).await,
        ["definitions", "workflow", name, "start"] => start::show(cx, name, None).await,
        ["definitions", "workflow", name, version, "start"] => {
            start::show(cx, name, Some(version)).await
        }
        ["definitions", kind, name, versions] => match versions.split_once("..") {
            Some((before, after)) => definition::diff(cx, kind, name, before, after).await,
            None => definition::show(cx, kind, name, Some(versions)).await,
        },
        ["system"] => system::show(cx, "health").await,
        ["system", part] => system::show(cx, part).await,
        ["confirm"] => confirm::show(cx, &cx.visit.query).await,
        ["login"] => Ok(login::page(cx)),
        ["help"] => Ok(help::show(cx)),
        ["zone"] => Ok(help::zone(cx)),
        ["name"] => Ok(help::name(cx)),
        _ => Err(missing(cx)),
    }
}

fn missing(cx: &Context<'_>) -> Failure {
    Failure::missing(format!("There is no page at {}", cx.visit.path()))
        .with_hint("The navigation above leads to every place of the console.")
}

/// A list whose search is refused: the form with what was typed, and what is wrong with it.
fn refused(place: Place, title: &str, find: &Markup, wrong: &Failure) -> Page {
    let body = html! { (find) (piece::refusal(wrong)) };
    Page { status: wrong.status, ..Page::new(place, title, body) }
}

/// The page of a failure: what, where, and what to do next.
pub(crate) fn failure(failure: &Failure) -> Page {
    let title = match failure.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::UNAUTHORIZED => "Sign in again",
        StatusCode::CONFLICT => "It has changed meanwhile",
        StatusCode::BAD_REQUEST => "That cannot be done",
        StatusCode::SERVICE_UNAVAILABLE => "Not available now",
        _ => "That went wrong",
    };
    let body = html! {
        (piece::note("bad", html! { (failure.message) }))
        @if !failure.flaws.is_empty() {
            ul { @for flaw in failure.flaws.iter().take(50) { li { (flaw) } } }
        }
        @if let Some(hint) = &failure.hint { p { (hint) } }
        @if failure.status == StatusCode::UNAUTHORIZED {
            p { a.button href="/console/login" target="_blank" rel="noopener" { "Sign in again" } }
        }
        p { a href="/console/" { "Now" } }
    };
    Page { status: failure.status, ..Page::new(Place::Nowhere, title, body) }
}
