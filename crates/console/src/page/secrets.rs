//! Secrets: names, age, who uses them; a value goes in and never comes out.

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::audit;
use crate::value::{at, count, cut, list, text};
use crate::visit::encoded;
use crate::{Context, Failure, piece, uses};

/// Names on a page.
const LINES_MAX: usize = 500;
/// From this age on, in milliseconds, it is time to make a new one: a year.
const OLD: i64 = 365 * 86_400_000;

pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    let all = cx.get("/api/secrets-v2").await?;
    let all: Vec<&Value> = all.as_array().into_iter().flatten().collect();
    let used = cx.get("/api/uses/secret").await?;
    let rows: Vec<Markup> = all.iter().take(LINES_MAX).map(|it| row(cx, it, &used)).collect();
    Ok(html! {
        @if let Some(name) = cx.visit.query.get("name") {
            h2 { code { (cut(name, 100)) } }
            (uses::part(cx, "secret", name).await?)
            (audit::of(cx, &format!("/api/secrets/{}", encoded(name))))
        }
        p { "Names only: nobody can read a value, here or elsewhere." }
        @if cx.may(Permission::WriteSecrets) { (set(cx)) }
        @if rows.is_empty() { (piece::nothing_yet("no secret is kept", "nightbell secret put NAME")) }
        @else {
            (piece::table("Secrets", &["Name", "Age", "Tags", "Used by", ""], &rows))
            @if all.len() > LINES_MAX { p.faint { (all.len() - LINES_MAX) " more" } }
        }
    })
}

fn row(cx: &Context<'_>, it: &Value, used: &Value) -> Markup {
    let name = text(it, "name");
    let tags: Vec<String> = list(it, "tags")
        .iter()
        .map(|tag| format!("{}:{}", text(tag, "key"), text(tag, "value")))
        .collect();
    let is_ours = it["readOnly"] != true;
    html! {
        tr {
            td { code { (name) } }
            td.t {
                @match at(it, "updateTime") {
                    Some(put) => { span.warn[cx.clock.now.since(put) > OLD] title=(cx.clock.text(put)) { (cx.clock.age(put)) } }
                    None if is_ours => { span.faint { "unknown" } }
                    None => { span.faint { "of the environment" } }
                }
            }
            td { (tags.join(", ")) }
            td { @match count(used, name) {
                0 => { span.faint { "nobody" } }
                users => { a href={ "/console/system/secrets?name=" (encoded(name)) } { (users) @if users == 1 { " document" } @else { " documents" } } }
            } }
            td { @if is_ours { (piece::preview(cx, Permission::WriteSecrets, "delete-secret", name, "Delete")) } }
        }
    }
}

/// The form that keeps a value, in the place of the one of its name.
fn set(cx: &Context<'_>) -> Markup {
    let name = cx.visit.query.get("name").unwrap_or_default();
    html! {
        details {
            summary { "Set a secret" }
            form.acts method="post" action="/console/act" {
                (piece::proof())
                input type="hidden" name="act" value="put-secret";
                input type="hidden" name="back" value="/console/system/secrets";
                (piece::field("id", "Name; the value of one that is there is replaced", name, "API_KEY"))
                label.field { span { "Value; it is not shown again" } input type="password" name="value" autocomplete="off"; }
                button { "Keep it" }
            }
        }
    }
}
