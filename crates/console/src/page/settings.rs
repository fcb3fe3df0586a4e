//! Settings: what the server runs with, and where each value came from.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use crate::value::{cut, text};
use crate::{Context, Failure, piece};

/// The part *Settings*, for administrators.
///
/// # Errors
/// The API's.
pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    if !cx.sees(Permission::Admin) {
        return Err(Failure::forbidden("Settings are for administrators")
            .with_hint("On the server's machine, `nightbell config --effective` tells them."));
    }
    let settings = cx.get("/api/admin/settings").await?;
    let settings: Vec<&Value> = settings.as_array().into_iter().flatten().collect();
    let (rest, given): (Vec<&Value>, Vec<&Value>) =
        settings.into_iter().partition(|it| text(it, "origin") == "default");
    let rows = |of: &[&Value]| -> Vec<Markup> { of.iter().map(|it| row(it)).collect() };
    let heads = ["Setting", "Value", "From"];
    Ok(html! {
        p { "Settings are read when the server starts: from options, the environment and the file, in this order. Passwords are masked." }
        (piece::part("What was set", html! {
            @if given.is_empty() { p.faint { "Nothing: all is as by default." } }
            @else { (piece::table("Settings that were set", &heads, &rows(&given))) }
        }))
        (piece::part("As by default", piece::table("Settings as by default", &heads, &rows(&rest))))
    })
}

fn row(it: &Value) -> Markup {
    html! {
        tr {
            td { code { (text(it, "key")) } }
            td { (cut(text(it, "value"), 300)) }
            td { (cut(text(it, "origin"), 120)) }
        }
    }
}
