//! The page that asks who it is. What it sends, `POST /console/login` of the server's access control
//! takes: the names of the fields and what follows are agreed there.

use http::StatusCode;
use maud::html;

use crate::Context;
use crate::piece;
use crate::shell::{Page, Place};
use crate::visit::encoded;

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
        "sso-unavailable" => {
            "The provider cannot be reached, or answers what makes no sense. Try again in a minute; the server's log says why."
        }
        "sso-refused" => "The provider has not let you in. Begin again; the server's log has its reason.",
        "sso-invalid" => {
            "What the provider says does not prove who you are. Begin again; the server's log says what is wrong."
        }
        "sso-expired" => {
            "The login was not begun in this browser, or more than ten minutes ago. Begin again."
        }
        "not-admitted" => {
            "The provider knows you, and you are not let in here. An administrator can change that."
        }
        "user-disabled" => {
            "The user is disabled. An administrator lets the user in again: nightbell user enable NAME."
        }
        "name-taken" => {
            "There is a user of your name already, who does not sign in by the provider. An administrator can change that."
        }
        "last-administrator" => {
            "The provider no longer counts you among the administrators, and there is no other one. Make somebody else an administrator first."
        }
        "logins-busy" | "store-unavailable" => "Nobody can sign in at this moment. Try again in a minute.",
        "1" => "This key does not count: it is mistyped, has expired or was revoked.",
        _ => "You cannot be signed in. The server's log says why.",
    });
    let body = html! {
        @if let Some(why) = failed {
            (piece::note("bad", html! { (why) }))
        }
        p { "This console belongs to a server with access control." }
        @if let Some((label, begin)) = &cx.settings.signs_in_with {
            p { a.button href={ (begin) "?next=" (encoded(next)) } { "Sign in with " (label) } }
            h2 { "With a password" }
        }
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
