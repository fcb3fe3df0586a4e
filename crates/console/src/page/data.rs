//! What went into a run, what it keeps, and what came out; payloads shown as the API shows them.

use maud::{Markup, html};
use serde_json::Value;

use super::payload;
use crate::visit::encoded;
use crate::{Context, Failure};

pub(super) async fn view(cx: &Context<'_>, id: &str, is_code: bool) -> Result<Markup, Failure> {
    let path = format!("/api/workflow/{}", encoded(id));
    let query = if is_code { "" } else { "?includeTasks=false" };
    let it = match cx.get(&format!("{path}{query}")).await {
        Ok(it) => it,
        Err(failure) => return Ok(crate::shell::cannot_tell(&failure.message)),
    };
    let to = |pointer: &str| {
        format!(
            "{}{}",
            cx.visit.path(),
            cx.visit.query.with(&[("view", "data"), ("path", pointer)])
        )
    };
    // Those of a task are shown beside it.
    let is_ours = |it: &&str| !it.starts_with("/inputData") && !it.starts_with("/outputData");
    if let Some(pointer) = cx.visit.query.get("path").filter(is_ours) {
        let value = it.pointer(pointer);
        let value = value.ok_or_else(|| Failure::missing("The run has no such part"))?;
        return Ok(
            html! { (payload::trail(pointer, &to)) (payload::shown(value, pointer, &to, &path)) },
        );
    }
    let parts = [("Input", "input"), ("Output", "output"), ("Variables", "variables")];
    let is_empty =
        |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty) || value.is_null();
    Ok(html! {
        @for (title, name) in parts {
            section {
                h2 { (title) }
                @if is_empty(&it[name]) { p.faint { "Nothing." } } @else { (payload::shown(&it[name], &format!("/{name}"), &to, &path)) }
            }
        }
        p { a href=(path) download={ "run-" (id) ".json" } { "Download the whole run" } }
    })
}
