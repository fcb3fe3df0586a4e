//! Access: who may do what. Users, groups and keys with their roles; they are changed by the command line.

use std::collections::BTreeMap;

use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use crate::value::{at, cut, list, plain, said, text};
use crate::{Context, Failure, piece};

/// Rows of a table.
const ROWS_MAX: usize = 100;
/// Names in one cell.
const NAMES_MAX: usize = 10;

/// Who may do what, for administrators.
///
/// # Errors
/// Whoever looks may not see it.
pub(super) async fn part(cx: &Context<'_>) -> Result<Markup, Failure> {
    if !cx.settings.has_accounts {
        return Ok(piece::note(
            "empty",
            html! { "Access control is off: everybody who reaches the server may do everything. The setting " code { "auth" } " switches it on." },
        ));
    }
    let users = cx.get("/api/access/users").await?;
    let groups = cx.get("/api/access/groups").await?;
    let keys = cx.get("/api/access/keys").await?;
    let sessions = cx.get("/api/access/sessions").await?;
    let words = cx.visit.query.get("q").unwrap_or_default().to_lowercase();
    let found = |all: &Value| -> Vec<Value> {
        let all = all.as_array().into_iter().flatten();
        all.filter(|it| text(it, "name").to_lowercase().contains(&words)).cloned().collect()
    };
    let (users, groups, keys) = (found(&users), found(&groups), found(&keys));
    Ok(html! {
        form.acts method="get" { (piece::field("q", "Name", cx.visit.query.get("q").unwrap_or_default(), "")) button { "Show" } }
        (section("Users", "no user has this name", "nightbell user create NAME", &["User", "Status", "May", "Groups", "Seen"], &users, |it| html! { tr {
            td { (text(it, "name")) @if it["hasPassword"] != true { br; span.faint { "has no password" } } }
            td { (text(it, "status").to_lowercase()) }
            td { (rights(it)) }
            td { (names(list(it, "groups"))) }
            td.t { @if let Some(seen) = at(it, "seenAt") { (cx.clock.ago(seen)) } @else { span.faint { "never" } } }
        } }))
        (section("Groups", "no group has this name", "nightbell group create NAME", &["Group", "May", "Members"], &groups, |it| html! { tr {
            td { (text(it, "name")) } td { (rights(it)) } td { (names(list(it, "members"))) }
        } }))
        (section("Keys", "no key has this name", "nightbell key create NAME", &["Key", "Status", "May", "User", "Used", "Until"], &keys, |it| html! { tr {
            td { (text(it, "name")) br; span.faint { (text(it, "keyId")) } }
            td { (text(it, "status").to_lowercase()) }
            td { (rights(it)) }
            td { (said(it, "user").unwrap_or("–")) }
            td.t { @if let Some(used) = at(it, "usedAt") { (cx.clock.ago(used)) } @else { span.faint { "never" } } }
            td.t { @if let Some(ends) = at(it, "expiresAt") { (cx.clock.when(ends)) } @else { span.faint { "no end" } } }
        } }))
        (signed_in(cx, &sessions, &users, &keys))
        p.faint { "What a user or key may do, and by which group: " code { "nightbell auth explain user:NAME" } }
    })
}

/// Who is signed in: how often, since when, and used when; those who are found above.
fn signed_in(cx: &Context<'_>, sessions: &Value, users: &[Value], keys: &[Value]) -> Markup {
    let by_user = users.iter().map(|it| (text(it, "id").to_owned(), text(it, "name")));
    let by_key = keys.iter().map(|it| (format!("key:{}", text(it, "keyId")), text(it, "name")));
    let known: BTreeMap<String, &str> = by_user.chain(by_key).collect();
    let mut of: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for it in sessions.as_array().into_iter().flatten() {
        of.entry(text(it, "who")).or_default().push(it);
    }
    let found = of.iter().filter_map(|(who, all)| Some((who, known.get(*who)?, all)));
    let rows: Vec<Markup> = found
        .take(ROWS_MAX)
        .map(|(who, name, all)| {
            let browsers = all.iter().filter(|it| text(it, "kind") == "browser").count();
            let used = all.iter().filter_map(|it| at(it, "usedAt")).max();
            let opened = all.iter().filter_map(|it| at(it, "openedAt")).min();
            html! {
                tr {
                    td { (name) br; span.faint { (who) } }
                    td.n { (browsers) } td.n { (all.len() - browsers) }
                    td.t { (cx.clock.maybe(opened)) }
                    td.t { @if let Some(used) = used { (cx.clock.ago(used)) } }
                    td { (piece::preview(cx, Permission::Admin, "end-logins", who, "Sign out everywhere")) }
                }
            }
        })
        .collect();
    let heads = ["Who", "Browsers", "Command lines", "First since", "Used", ""];
    piece::part(
        "Signed in",
        html! {
            @if rows.is_empty() { p.faint { "Nobody of these. Requests with a key in a header have no session." } }
            @else { (piece::table("Signed in", &heads, &rows)) }
        },
    )
}

fn section(
    title: &str,
    none: &str,
    command: &str,
    heads: &[&str],
    all: &[Value],
    row: impl Fn(&Value) -> Markup,
) -> Markup {
    let rows: Vec<Markup> = all.iter().take(ROWS_MAX).map(row).collect();
    let body = html! {
        @if rows.is_empty() { (piece::nothing_yet(none, command)) } @else { (piece::table(title, heads, &rows)) }
        @if all.len() > ROWS_MAX { p.faint { (all.len() - ROWS_MAX) " more: search by name" } }
    };
    piece::part(title, body)
}

/// Roles on everything, and on some things.
fn rights(it: &Value) -> Markup {
    let roles: Vec<String> = list(it, "roles").iter().map(plain).collect();
    let grants = list(it, "grants");
    html! {
        @if roles.is_empty() && grants.is_empty() { span.faint { "nothing of its own" } }
        (roles.join(", "))
        @for grant in grants.iter().take(NAMES_MAX) {
            br; (text(grant, "role")) " on " code { (cut(&plain(&grant["on"]), 100)) }
        }
        @if grants.len() > NAMES_MAX { br; (grants.len() - NAMES_MAX) " more" }
    }
}

fn names(all: &[Value]) -> Markup {
    let shown: Vec<String> = all.iter().take(NAMES_MAX).map(plain).collect();
    html! {
        @if all.is_empty() { span.faint { "none" } }
        (shown.join(", "))
        @if all.len() > NAMES_MAX { " and " (all.len() - NAMES_MAX) " more" }
    }
}
