//! The page that asks who it is. What it sends, `POST /console/login` of the server's access control
//! takes: the names of the fields and what follows are agreed there.

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
    let failed = cx.visit.query.get("failed").map(|why| match why {
        "password" => "The name and the password do not belong together, or the user is disabled.",
        "later" => {
            "Too many attempts to sign in. What was sent was not looked at; try again in a minute."
        }
        _ => "This key does not count: it is mistyped, has expired or was revoked.",
    });
    let body = html! {
        @if let Some(why) = failed {
            (piece::note("bad", html! { (why) }))
        }
        p { "This console belongs to a server with access control." }
        form method="post" action="/console/login" {
            input type="hidden" name="next" value=(next);
            label.field {
                span { "Name" }
                input type="text" name="name" autocomplete="username" autocapitalize="none"
                    spellcheck="false" required;
            }
            label.field {
                span { "Password" }
                input type="password" name="password" autocomplete="current-password" required;
            }
            button.main { "Sign in" }
        }
        h2 { "With a key" }
        form method="post" action="/console/login" {
            input type="hidden" name="next" value=(next);
            label.field {
                span { "Key" }
                input type="password" name="key" autocomplete="off" required;
            }
            button { "Sign in with the key" }
        }
        p.faint {
            "An administrator creates users with " code { "nightbell user create" } ", and makes keys with "
            code { "nightbell key create" } "."
        }
    };
    let status = if is_login { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    Page { status, ..Page::new(Place::Nowhere, "Sign in", body) }
}
