//! The public status page: is it up? It would name groups that a monitors file publishes; as long as
//! none can, it publishes nothing at all.

use http::StatusCode;
use maud::html;

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::cut;
use crate::{Context, piece};

/// A page that says that nothing is published under this name. It tells nothing of what runs here.
#[allow(clippy::unused_async, reason = "as all pages are asked for")]
pub(super) async fn show(_: &Context<'_>, name: &str) -> Shown {
    let body = piece::note("empty", html! { "Nothing is published here under this name." });
    let mut page = Page::new(Place::Nowhere, format!("Status of {}", cut(name, 60)), body);
    (page.is_public, page.status) = (true, StatusCode::NOT_FOUND);
    Ok(page)
}
