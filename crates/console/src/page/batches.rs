//! Batches: acts on many runs. They are done at once, up to a thousand ids, and are not kept.

use maud::html;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::cut;
use crate::{Context, Failure, piece};

pub(super) fn show(_: &Context<'_>, id: Option<&str>) -> Shown {
    if let Some(id) = id {
        return Err(Failure::missing(format!("There is no batch {}", cut(id, 60)))
            .with_hint("Acts on many runs are done at once and are not kept as batches."));
    }
    let body = html! {
        (piece::note("empty", html! { "Acts on many runs are done at once, up to 1000 at a time, and are not kept as batches." }))
        p { "Select runs on the page " a href="/console/runs" { "Runs" } ", or send ids to " code { "POST /api/workflow/bulk/…" } "." }
    };
    Ok(Page::new(Place::Runs, "Batches", body).below("Runs", "/console/runs"))
}
