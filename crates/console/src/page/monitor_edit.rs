//! The editor of a monitor: what is wrong stands beside its line, what changes is shown before it is saved, and
//! it is tried on the present and on the past. Also the check that tells nobody.

use http::{Method, StatusCode};
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::Value;

use super::{Page, Shown, backtest, difference};
use crate::shell::Place;
use crate::value::{at, count, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

/// What came of a definition that was typed.
#[derive(Default)]
struct Edited {
    text: String,
    /// What is wrong with it, by its places.
    problems: Vec<String>,
    /// It was judged, and nothing keeps it from being saved.
    is_good: bool,
    /// The definition is another one than when the text was begun.
    has_changed: bool,
    /// What the text defines, as the definition in force is told.
    definition: Option<Value>,
    /// What a check by it would find.
    preview: Option<Result<Value, Failure>>,
    /// What it would have made of the past.
    backtest: Option<Result<Value, Failure>>,
}

/// The definition, and how it is changed.
pub(super) async fn edit(cx: &Context<'_>, name: &str) -> Shown {
    let path = format!("/api/monitors/{}", encoded(name));
    let it = cx.get(&path).await?;
    Ok(editor(cx, name, &it, None))
}

/// Judges, tries or saves what was typed; answers the address to go to once it is saved.
///
/// # Errors
/// The API's, but for mistakes in the definition, which are on the page.
pub(crate) async fn edited(cx: &Context<'_>, name: &str) -> Result<Result<String, Page>, Failure> {
    if !cx.may(Permission::Edit) {
        return Err(Failure::forbidden("Changing a monitor needs the permission edit"));
    }
    let form = &cx.visit.form;
    // As it was typed: the first line may be indented.
    let text = form.all("definition").next().unwrap_or_default().replace("\r\n", "\n");
    let path = format!("/api/monitors/{}", encoded(name));
    let it = cx.get(&path).await?;
    let mut edited = Edited { text, ..Edited::default() };
    edited.has_changed = form.get("seen").is_some_and(|seen| seen != plain(&it["version"]));
    let does = form.get("does").unwrap_or_default();
    let tries_the_present = does == "backtest" && edited.text.trim().is_empty();
    if !tries_the_present {
        let body = Value::from(edited.text.as_str());
        let verdict = cx.change(Method::PUT, &format!("{path}?dryRun=true"), Some(&body)).await?;
        edited.problems = list(&verdict, "problems").iter().map(problem).collect();
        edited.is_good = verdict["valid"] == true;
        edited.definition = verdict.get("definition").filter(|it| it.is_object()).cloned();
        if does == "save" && edited.is_good && !edited.has_changed {
            cx.change(Method::PUT, &path, Some(&body)).await?;
            return Ok(Ok(format!("{}?said=saved", href(&["monitors", name]))));
        }
    }
    let file = if tries_the_present { String::new() } else { as_file(name, &edited.text) };
    match does {
        "try" if edited.is_good => {
            edited.preview = Some(send(cx, &format!("{path}/preview"), &file).await);
        }
        "backtest" if edited.is_good || tries_the_present => {
            let path = backtest::address(cx, &path);
            edited.backtest = Some(send(cx, &path, &file).await);
        }
        _ => {}
    }
    Ok(Err(editor(cx, name, &it, Some(&edited))))
}

/// What is under a monitor's name in a file, as the file.
fn as_file(name: &str, text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("monitors:\n  {}:\n{}", Value::from(name), lines.concat())
}

/// Asks for what is shown on the page, also if it is refused.
async fn send(cx: &Context<'_>, path: &str, file: &str) -> Result<Value, Failure> {
    cx.change(Method::POST, path, Some(&Value::from(file))).await
}

fn problem(problem: &Value) -> String {
    let (line, column) = (count(problem, "line"), count(problem, "column"));
    let path = said(problem, "path").map(|path| format!("{path}: ")).unwrap_or_default();
    format!(
        "line {line}, column {column}: {}: {path}{}",
        text(problem, "level"),
        text(problem, "message")
    )
}

fn editor(cx: &Context<'_>, name: &str, it: &Value, edited: Option<&Edited>) -> Page {
    let path = format!("/api/monitors/{}", encoded(name));
    let source = said(it, "source").unwrap_or("–");
    let is_file = source.starts_with("file:");
    let body = html! {
        @if is_file {
            (piece::note("", html! { "A file defines this monitor: " code { (said(it, "origin").unwrap_or(source)) } ". Change it there; the server reads it again by itself. What would change, and what it would have made of the past, is told here before." }))
        } @else {
            p { "It was defined through the API, as part of " code { (source) } ". What is saved here takes the place of what is in force; the text of that is not kept, so write all that stands under the monitor's name in a file." }
        }
        @if let Some(edited) = edited { (verdict(edited)) }
        @if cx.may(Permission::Edit) { (form(it, name, edited, !is_file)) }
        @else { (piece::note("", html! { "Changing and trying it needs the permission " code { "edit" } "." })) }
        @if let Some(edited) = edited {
            @if let Some(definition) = &edited.definition { (piece::part("What would change", changes(&it["definition"], definition))) }
            @match &edited.preview {
                Some(Ok(preview)) => { (piece::part("What would come of it", piece::payload(preview, &path))) }
                Some(Err(failure)) => { (piece::refusal(failure)) }
                None => {}
            }
            @match &edited.backtest {
                Some(Ok(report)) => { (piece::part("What it would have made of the past", backtest::shown(cx, report))) }
                Some(Err(failure)) => { (piece::refusal(failure)) }
                None => {}
            }
        }
        (piece::part("Definition in force", piece::payload(&it["definition"], &path)))
        (piece::facts(&[
            ("Version", html! { (plain(&it["version"])) }),
            ("Changed", cx.clock.maybe(at(it, "updatedAt"))),
        ]))
    };
    let mut page = Page::new(Place::Monitors, format!("{name}: definition"), body);
    if let Some(edited) = edited {
        if !edited.is_good && !edited.problems.is_empty() {
            page.status = StatusCode::BAD_REQUEST;
        } else if edited.has_changed {
            page.status = StatusCode::CONFLICT;
        }
    }
    page.below("Monitor", href(&["monitors", name]))
        .same_as(path, format!("nightbell monitor show {name}"))
        .with_payloads()
}

fn verdict(edited: &Edited) -> Markup {
    html! {
        @if edited.has_changed {
            (piece::note("warn", html! { "It has changed meanwhile, so nothing was saved. Below is what this text would change of what is in force now." }))
        }
        @if !edited.problems.is_empty() {
            (piece::note(if edited.is_good { "warn" } else { "bad" }, html! { @if edited.is_good { "It can be saved, but:" } @else { "It cannot be saved:" } }))
            ul { @for problem in edited.problems.iter().take(50) { li { (problem) } } }
        } @else if edited.is_good {
            (piece::note("good", html! { "Nothing is wrong with it." }))
        }
    }
}

fn form(it: &Value, name: &str, edited: Option<&Edited>, can_save: bool) -> Markup {
    let checks = !matches!(text(it, "kind"), "heartbeat" | "alerts");
    html! {
        form method="post" action=(href(&["monitors", name, "edit"])) {
            (piece::proof())
            // What was looked at: what somebody else saves meanwhile is shown, not overwritten.
            input type="hidden" name="seen" value=(plain(&it["version"]));
            label.field { span { "Definition, YAML or JSON" } textarea name="definition" rows="12" spellcheck="false" placeholder="http: https://shop.example/health\nevery: 30s\nfail_after: 3" { (edited.map_or("", |it| it.text.as_str())) } }
            div.acts {
                button name="does" value="check" { "What would change?" }
                @if checks { button name="does" value="try" { "Try once, tell nobody" } }
                @if can_save { button.main name="does" value="save" { "Save" } }
            }
            @if checks {
                div.acts { (backtest::since_when()) button name="does" value="backtest" { "Backtest" } }
                p.faint { "A backtest judges what checks have answered by this text, or by the definition in force if there is none, and compares what it would have told with what was told. It takes some seconds." }
            }
        }
    }
}

/// What differs between two definitions as the API tells them.
fn changes(before: &Value, after: &Value) -> Markup {
    let pretty = |it: &Value| {
        let mut it = it.clone();
        if let Some(members) = it.as_object_mut() {
            // The line in a file means nothing.
            members.remove("origin");
        }
        serde_json::to_string_pretty(&it).unwrap_or_default()
    };
    let (before, after) = (pretty(before), pretty(after));
    html! {
        @match difference::between(&before, &after) {
            Some(lines) => { (difference::shown(&lines)) }
            None => { (crate::shell::cannot_tell("the definition is too long to compare here")) }
        }
    }
}

/// What a check would find now, told to nobody; `given` is a changed definition, as files write it.
/// The check itself is made, so it is asked for by a form.
pub(crate) async fn try_out(cx: &Context<'_>, name: &str, given: Option<&str>) -> Shown {
    let path = format!("/api/monitors/{}", encoded(name));
    let it = cx.get(&path).await?;
    let answer = match given {
        Some(text) if cx.may(Permission::Edit) => {
            Some(send(cx, &format!("{path}/preview"), text).await)
        }
        Some(_) => return Err(Failure::forbidden("Trying a monitor needs the permission edit")),
        None => None,
    };
    let body = html! {
        p { "Checks once, as the monitor would, and tells nobody. A changed definition can be tried before it is applied." }
        @if cx.may(Permission::Edit) {
            form method="post" action=(href(&["monitors", name, "try"])) {
                (piece::proof())
                label.field { span { "A changed monitors file; empty tries what is in force" } textarea name="file" { (given.unwrap_or_default()) } }
                button.main { "Try" }
            }
        } @else { (piece::note("", html! { "Trying needs the permission " code { "edit" } "." })) }
        @match &answer {
            Some(Ok(found)) => { (piece::part("What would come of it", piece::payload(found, &path))) }
            Some(Err(failure)) => { (piece::refusal(failure)) }
            None => {}
        }
        (piece::part("The definition in force", piece::payload(&it["definition"], &path)))
    };
    let page = Page::new(Place::Monitors, format!("{name}: try"), body);
    let page = page.below("Monitor", href(&["monitors", name]));
    Ok(page.same_as(path, format!("nightbell monitor preview {name}")).with_payloads())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_is_shown_with_what_it_changes_alone() {
        let before = json!({ "every": 1, "origin": "line 3" });
        let same = json!({ "every": 1, "origin": "line 1" });
        assert!(changes(&before, &same).into_string().contains("They are the same"));
        let other = json!({ "every": 2 });
        let shown = changes(&before, &other).into_string();
        assert!(shown.contains("<ins>+   &quot;every&quot;: 2</ins>"), "{shown}");
        assert!(!shown.contains("origin"), "{shown}");
    }

    #[test]
    fn a_text_under_a_name_is_a_file() {
        assert_eq!(as_file("a\"b", "http: x\n"), "monitors:\n  \"a\\\"b\":\n    http: x\n");
    }
}
