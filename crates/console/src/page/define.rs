//! The editor of a definition: what is wrong stands beside its line, what changes is shown before it is saved,
//! and what was typed stays.

use http::{Method, StatusCode};
use kernel::Place as Spot;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, difference};
use crate::shell::Place;
use crate::value::{cut, list, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// Kinds that can be changed here: their words, where the API has one, and where it takes one.
const KINDS: [(&str, &str, &str, Method); 5] = [
    ("workflow", "/api/metadata/workflow", "/api/metadata/workflow", Method::PUT),
    ("task", "/api/metadata/taskdefs", "/api/metadata/taskdefs", Method::PUT),
    ("event", "/api/event/handler", "/api/event", Method::PUT),
    ("schema", "/api/schema", "/api/schema", Method::POST),
    ("trigger", "/api/triggers", "/api/triggers", Method::POST),
];

/// Members that the server sets.
const OF_SERVER: [&str; 4] = ["createTime", "updateTime", "createdBy", "updatedBy"];

/// Whether definitions of a kind can be changed here.
pub(super) fn can_change(kind: &str) -> bool {
    KINDS.iter().any(|(word, ..)| *word == kind)
}

/// What came of a text that was typed.
#[derive(Default)]
struct Edited {
    text: String,
    problems: Vec<String>,
    /// Nothing keeps it from being saved.
    is_good: bool,
    /// The definition is another one than when the text was begun.
    has_changed: bool,
}

/// The definition, and how it is changed.
pub(super) async fn edit(cx: &Context<'_>, kind: &str, name: &str) -> Shown {
    let stored = stored(cx, kind, name, cx.visit.query.get("version")).await?;
    Ok(page(cx, kind, name, &stored, None))
}

/// Looks at or saves what was typed; answers the address to go to once it is saved.
///
/// # Errors
/// The API's, but for mistakes in the definition, which are on the page.
pub(crate) async fn edited(
    cx: &Context<'_>,
    kind: &str,
    name: &str,
) -> Result<Result<String, Page>, Failure> {
    if !cx.may(Permission::Edit) {
        return Err(Failure::forbidden("Changing a definition needs the permission edit"));
    }
    let form = &cx.visit.form;
    let stored = stored(cx, kind, name, form.get("version")).await?;
    let text = form.all("definition").next().unwrap_or_default().replace("\r\n", "\n");
    let mut edited = Edited { problems: flaws_of(kind, name, &text), text, ..Edited::default() };
    edited.has_changed = form.get("seen").is_some_and(|seen| seen != mark(&stored));
    edited.is_good = edited.problems.is_empty();
    let body = Value::from(edited.text.as_str());
    if edited.is_good && kind == "workflow" {
        let validate = "/api/metadata/workflow/validate";
        judge(cx, &mut edited, Method::POST, validate, &body).await?;
    }
    if edited.is_good && !edited.has_changed && form.get("does") == Some("save") {
        let (_, _, path, method) = of(kind)?;
        judge(cx, &mut edited, method, path, &body).await?;
        if edited.is_good {
            let to = href(&["definitions", kind, name]);
            return Ok(Ok(format!("{to}?said=defined")));
        }
    }
    Ok(Err(page(cx, kind, name, &stored, Some(&edited))))
}

fn of(kind: &str) -> Result<(&'static str, &'static str, &'static str, Method), Failure> {
    let found = KINDS.into_iter().find(|(word, ..)| *word == kind);
    found.ok_or_else(|| {
        Failure::missing(format!(
            "Definitions of the kind '{}' cannot be changed here",
            cut(kind, 40)
        ))
        .with_hint("The command line and the API change all of them.")
    })
}

/// The definition as it stands, without what the server adds.
async fn stored(
    cx: &Context<'_>,
    kind: &str,
    name: &str,
    version: Option<&str>,
) -> Result<String, Failure> {
    let (_, path, ..) = of(kind)?;
    let version = match (kind, version) {
        ("workflow", Some(version)) => format!("?version={}", encoded(version)),
        ("schema", Some(version)) => format!("/{}", encoded(version)),
        _ => String::new(),
    };
    let it = cx.get(&format!("{path}/{}{version}", encoded(name))).await?;
    Ok(pretty(it))
}

/// The text of a definition that is compared and edited.
fn pretty(mut it: Value) -> String {
    if let Some(members) = it.as_object_mut() {
        members.retain(|name, _| !OF_SERVER.contains(&name.as_str()));
    }
    serde_json::to_string_pretty(&it).unwrap_or_default()
}

/// A short text that another definition does not have.
fn mark(stored: &str) -> String {
    use sha2::Digest as _;
    crate::seal::hex(&sha2::Sha256::digest(stored.as_bytes())[..8])
}

/// What is wrong with a text before the API sees it.
fn flaws_of(kind: &str, name: &str, text: &str) -> Vec<String> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        // It says line and column itself.
        Err(error) => return vec![format!("It is no JSON: {error}")],
    };
    if !value.is_object() {
        return vec!["It is no JSON object, and one definition is one".to_owned()];
    }
    let named = said(&value, "name").unwrap_or("none");
    if named == name {
        return Vec::new();
    }
    let place = at(text, "/name");
    vec![format!(
        "{place}: its name is '{}', and this page changes the {kind} '{name}'",
        cut(named, 60)
    )]
}

fn at(text: &str, pointer: &str) -> String {
    let Spot { line, column } = Spot::in_json(text, pointer, None);
    format!("line {line}, column {column}")
}

/// Asks the API, and keeps what it finds wrong with the text, by its places.
async fn judge(
    cx: &Context<'_>,
    edited: &mut Edited,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<(), Failure> {
    let answer = cx.api.ask(method, path, Some(body)).await;
    let told = |flaw: &Value| {
        let place = at(&edited.text, text(flaw, "pointer"));
        let hint = said(flaw, "hint").map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{place}: {}{hint}", text(flaw, "message"))
    };
    if answer.status.is_success() {
        edited.problems = list(&answer.body, "warnings").iter().map(told).collect();
        return Ok(());
    }
    let failure = Failure::of(answer.status, &answer.body);
    if answer.status != StatusCode::BAD_REQUEST {
        return Err(failure);
    }
    edited.is_good = false;
    edited.problems = list(&answer.body, "validationErrors").iter().map(told).collect();
    if edited.problems.is_empty() {
        edited.problems.push(failure.message);
    }
    Ok(())
}

fn page(cx: &Context<'_>, kind: &str, name: &str, stored: &str, edited: Option<&Edited>) -> Page {
    let typed = edited.map_or(stored, |edited| edited.text.as_str());
    let version = cx.visit.form.get("version").or_else(|| cx.visit.query.get("version"));
    let body = html! {
        @if let Some(edited) = edited { (verdict(edited)) }
        @if cx.may(Permission::Edit) {
            form method="post" action=(href(&["definitions", kind, name, "edit"])) {
                (piece::proof())
                // What was looked at: what somebody else saves meanwhile is shown, not overwritten.
                input type="hidden" name="seen" value=(mark(stored));
                @if let Some(version) = version { input type="hidden" name="version" value=(version); }
                label.field { span { "Definition, JSON" } textarea name="definition" rows="30" spellcheck="false" { (typed) } }
                div.acts {
                    button name="does" value="check" { "What would change?" }
                    button.main name="does" value="save" { "Save" }
                }
            }
            @if kind == "workflow" { p.faint { "With another number as “version” it is saved beside this one. Runs keep the definition that they began with." } }
        } @else { (piece::note("", html! { "Changing it needs the permission " code { "edit" } "." })) }
        @if edited.is_some() { (piece::part("What would change", changes(stored, typed))) }
    };
    let mut page = Page::new(Place::Definitions, format!("{name}: definition"), body);
    if edited.is_some_and(|edited| !edited.is_good) {
        page.status = StatusCode::BAD_REQUEST;
    } else if edited.is_some_and(|edited| edited.has_changed) {
        page.status = StatusCode::CONFLICT;
    }
    let page = page.below("Definition", href(&["definitions", kind, name]));
    match of(kind) {
        Ok((_, path, ..)) => page.same_as(format!("{path}/{}", encoded(name)), ""),
        Err(_) => page,
    }
}

fn verdict(edited: &Edited) -> Markup {
    html! {
        @if edited.has_changed {
            (piece::note("warn", html! { "It has changed meanwhile, so nothing was saved. Below is what this text would change of what stands there now." }))
        }
        @if edited.problems.is_empty() { (piece::note("good", html! { "Nothing is wrong with it." })) }
        @else {
            (piece::note(if edited.is_good { "warn" } else { "bad" }, html! { @if edited.is_good { "It can be saved, but:" } @else { "It cannot be saved:" } }))
            ul { @for problem in edited.problems.iter().take(50) { li { (problem) } } }
        }
    }
}

fn changes(stored: &str, typed: &str) -> Markup {
    // However it is indented: what differs is what it says.
    let typed = serde_json::from_str(typed).map(pretty);
    html! {
        @match &typed {
            Err(_) => { p.faint { "That cannot be told of what is no JSON." } }
            Ok(typed) => {
                @match difference::between(stored, typed) {
                    Some(lines) => { (difference::shown(&lines)) }
                    None => { (crate::shell::cannot_tell("the definition is too long to compare here")) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_of_the_definition_that_its_page_changes() {
        assert!(flaws_of("task", "load", "{\"name\": \"load\"}").is_empty());
        let other = flaws_of("task", "load", "{\n  \"name\": \"lod\"\n}");
        assert!(other[0].starts_with("line 2, column 11: its name is 'lod'"), "{other:?}");
        assert!(flaws_of("task", "load", "{\n,}")[0].contains("line 2"));
        assert!(flaws_of("task", "load", "[]")[0].contains("no JSON object"));
    }

    #[test]
    fn what_the_server_adds_is_no_change() {
        let it = serde_json::json!({ "name": "a", "updateTime": 5 });
        assert_eq!(pretty(it), "{\n  \"name\": \"a\"\n}");
    }
}
