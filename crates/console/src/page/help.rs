//! Help: the keys, and the zone of times.

use maud::html;

use super::Page;
use crate::Context;
use crate::piece;
use crate::shell::Place;
use crate::visit::NAME_MAX;

/// What keys do.
const KEYS: [(&str, &str); 13] = [
    ("/", "find runs"),
    ("?", "this page"),
    (
        "g then n i m r s d y",
        "go to Now, Incidents, Monitors, Runs, Schedules, Definitions, System",
    ),
    ("j, k", "next row, row before"),
    ("Enter", "open the row"),
    ("x", "select the row"),
    ("o", "unfold what is folded, in the row or on the page; again to fold it"),
    (".", "to the first act of the page"),
    ("a", "to Acknowledge, of the row or on an incident"),
    ("s", "to Snooze, on an incident"),
    ("e", "to Escalate, on an incident"),
    ("z", "times in UTC, and in your zone again"),
    ("[ ]", "the one before and after it in the list that led here"),
];

/// The keys, and how to switch them off.
pub(crate) fn show(_: &Context<'_>) -> Page {
    let body = html! {
        (piece::part("Keys", html! {
            dl { @for (key, does) in KEYS { div { dt { kbd { (key) } } dd { (does) } } } }
            p { label { input type="checkbox" data-keys=""; " Keys are on in this browser" } }
        }))
        (piece::part("Reading pages", html! {
            p { "Every page works without a script. With one it is looked at again whenever what it shows changes." }
            p { "Every address can be shared: filters, views and positions are in it." }
            p { "The same in other forms: " strong { "As JSON" } " and " strong { "As command" } " at the end of each page; the API is described at " a href="/docs" { "/docs" } "." }
        }))
    };
    Page::new(Place::Nowhere, "Help", body)
}

/// The zone of times.
pub(crate) fn zone(cx: &Context<'_>) -> Page {
    let chosen = cx.visit.zone.as_deref().unwrap_or_default();
    let body = html! {
        p { "Times are shown in " strong { (cx.clock.zone_name()) } ". It is " (cx.clock.when(cx.clock.now)) "." }
        form method="post" action="/console/zone" {
            (piece::proof())
            label.field {
                span { "Time zone, such as Europe/Oslo; empty for UTC" }
                input name="zone" value=(chosen) data-zone="" autocomplete="off";
            }
            button.main { "Show times in this zone" }
        }
        p.faint { "It is kept in a cookie of this browser." }
    };
    Page::new(Place::Nowhere, "Time zone", body)
}

/// What records call whoever uses this browser, where there are no accounts.
pub(crate) fn name(cx: &Context<'_>) -> Page {
    let called = cx.visit.called.as_deref().unwrap_or_default();
    let body = html! {
        @if let Some(name) = &cx.visit.visitor.name {
            p { "You are signed in as " strong { (name) } ": records name you so." }
        } @else {
            p { "Acknowledgements, notes and silences name whoever made them. This server has no accounts, so it takes your word for it." }
            form method="post" action="/console/name" {
                (piece::proof())
                input type="hidden" name="back" value=(cx.visit.query.get("back").unwrap_or("/console/"));
                label.field {
                    span { "Your name; empty to be called “console”" }
                    input name="name" value=(called) maxlength=(NAME_MAX) autocomplete="name";
                }
                button.main { "Call me so" }
            }
            p.faint { "It is kept in a cookie of this browser." }
        }
    };
    Page::new(Place::Nowhere, "Your name", body)
}
