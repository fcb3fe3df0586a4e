//! The page that asks who it is. What it sends, `POST /console/login` of the server's access control
//! takes: the name of the field and what follows are agreed there.

use http::StatusCode;
use maud::html;

use crate::Context;
use crate::piece;
use crate::shell::{Page, Place};

/// The form; afterwards the page that was asked for.
pub(crate) fn page(cx: &Context<'_>) -> Page {
    let asked = cx.visit.query.get("next").unwrap_or(&cx.visit.address);
    let next = if crate::act::is_ours(asked) && !asked.starts_with("/console/login") {
        asked
    } else {
        "/console/"
    };
    let is_login = cx.visit.segments.first().is_some_and(|first| first == "login");
    let body = html! {
        @if cx.visit.query.get("failed").is_some() {
            (piece::note("bad", html! { "This key does not count: it is mistyped, has expired or was revoked." }))
        }
        p { "This console belongs to a server with access control." }
        form method="post" action="/console/login" {
            input type="hidden" name="next" value=(next);
            label.field {
                span { "Key" }
                input type="password" name="key" autocomplete="current-password" required;
            }
            button.main { "Sign in" }
        }
        p.faint { "An administrator makes keys with " code { "nightbell key create" } "." }
    };
    let status = if is_login { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    Page { status, ..Page::new(Place::Nowhere, "Sign in", body) }
}
