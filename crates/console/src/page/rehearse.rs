//! A rehearsal: a workflow with given answers of its tasks, in virtual time. Nothing is kept and nobody is asked.

use http::{Method, StatusCode};
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{count, cut, list, plain, said, text};
use crate::visit::{encoded, href};
use crate::{Context, Failure, clock, piece};

/// Task types that the rehearsal itself does; all others need answers.
const DONE_HERE: [&str; 13] = [
    "SWITCH",
    "DECISION",
    "FORK_JOIN",
    "FORK_JOIN_DYNAMIC",
    "JOIN",
    "EXCLUSIVE_JOIN",
    "DO_WHILE",
    "INLINE",
    "LAMBDA",
    "SET_VARIABLE",
    "JSON_JQ_TRANSFORM",
    "TERMINATE",
    "NOOP",
];
/// Tasks of an answer that are shown, and characters of what each gave.
const TASKS_MAX: usize = 100;
const OUTPUT_MAX: usize = 300;

/// The form.
pub(super) async fn show(cx: &Context<'_>, name: &str) -> Shown {
    page(cx, name, None).await
}

/// The form with what came of it.
///
/// # Errors
/// There is no such workflow, or it may not be rehearsed; what is wrong with what was typed is on the page.
pub(crate) async fn rehearsed(cx: &Context<'_>, name: &str) -> Shown {
    if !cx.may(Permission::Run) {
        return Err(Failure::forbidden("Rehearsing a workflow needs the permission run"));
    }
    let answer = match request(cx, name) {
        Ok(body) => cx.change(Method::POST, "/api/workflow/test", Some(&body)).await,
        Err(wrong) => Err(wrong),
    };
    page(cx, name, Some(&answer)).await
}

fn request(cx: &Context<'_>, name: &str) -> Result<Value, Failure> {
    let typed = |field: &'static str, what: &str| -> Result<Value, Failure> {
        let text = cx.visit.form.get(field).unwrap_or("{}");
        serde_json::from_str(text)
            .map_err(|error| Failure::wrong(format!("{what}: it is no JSON: {error}")))
    };
    let mut body = json!({
        "name": name,
        "input": typed("input", "Input")?,
        "taskRefToMockOutput": typed("mocks", "Answers")?,
    });
    if let Some(version) = cx.visit.form.get("version").and_then(|it| it.parse::<u32>().ok()) {
        body["version"] = version.into();
    }
    Ok(body)
}

async fn page(cx: &Context<'_>, name: &str, answer: Option<&Result<Value, Failure>>) -> Shown {
    let version = cx.visit.form.get("version").or_else(|| cx.visit.query.get("version"));
    let query = version.map_or_else(String::new, |it| format!("?version={}", encoded(it)));
    let it = cx.get(&format!("/api/metadata/workflow/{}{query}", encoded(name))).await?;
    let typed = |field| cx.visit.form.all(field).next().map(str::to_owned);
    let begun = || serde_json::to_string_pretty(&Value::Object(answers(&it))).unwrap_or_default();
    let body = html! {
        p { "Runs the flow with these answers, at once and without waiting: nothing is kept, and no task is done. A task takes the next answer of its reference name each time it is tried; one without an answer stops the rehearsal there." }
        @if cx.may(Permission::Run) {
            form method="post" action=(href(&["definitions", "workflow", name, "rehearse"])) {
                (piece::proof())
                @if let Some(version) = version { input type="hidden" name="version" value=(version); }
                label.field { span { "Input, a JSON object" } textarea name="input" rows="4" spellcheck="false" { (typed("input").unwrap_or_else(|| "{}".to_owned())) } }
                label.field { span { "Answers by reference name, JSON" } textarea name="mocks" rows="12" spellcheck="false" { (typed("mocks").unwrap_or_else(begun)) } }
                button.main { "Rehearse" }
            }
        } @else { (piece::note("", html! { "Rehearsing needs the permission " code { "run" } "." })) }
        @match answer {
            None => {}
            Some(Ok(run)) => { (piece::part("What came of it", came(run))) }
            Some(Err(failure)) => { (piece::refusal(failure)) }
        }
    };
    let mut page = Page::new(Place::Definitions, format!("Rehearse {name}"), body);
    if matches!(answer, Some(Err(_))) {
        page.status = StatusCode::BAD_REQUEST;
    }
    let page = page.below("Definition", href(&["definitions", "workflow", name]));
    let json = format!("/api/metadata/workflow/{}{query}", encoded(name));
    Ok(page.same_as(json, format!("nightbell workflow test {name}")).with_payloads())
}

fn came(run: &Value) -> Markup {
    let waits: Vec<String> = list(run, "waitsFor").iter().map(plain).collect();
    let tasks = list(run, "tasks");
    let rows: Vec<Markup> = tasks
        .iter()
        .take(TASKS_MAX)
        .map(|it| {
            let time = |name| it[name].as_i64().unwrap_or_default();
            let took = time("endTime") - time("scheduledTime");
            html! {
                tr {
                    td { (piece::status(text(it, "status"))) }
                    td { (text(it, "referenceTaskName")) @if count(it, "retryCount") > 0 { " · try " (count(it, "retryCount") + 1) } }
                    td.n { @if time("endTime") > 0 { (clock::length(took.max(0))) } @else { "–" } }
                    td { code { (cut(&it["outputData"].to_string(), OUTPUT_MAX)) } @if let Some(why) = said(it, "reasonForIncompletion") { br; (cut(why, OUTPUT_MAX)) } }
                }
            }
        })
        .collect();
    html! {
        (piece::note("", html! {
            (piece::status(text(run, "status")))
            @if !waits.is_empty() { " · stopped for want of an answer of " (cut(&waits.join(", "), OUTPUT_MAX)) }
            @if let Some(why) = said(run, "reasonForIncompletion") { br; (cut(why, 500)) }
        }))
        (piece::table("Tasks", &["Status", "Task", "Took", "What it gave"], &rows))
        @if tasks.len() > TASKS_MAX { p.faint { (tasks.len() - TASKS_MAX) " more tasks" } }
        h3 { "Output" }
        pre tabindex="0" { code { (cut(&serde_json::to_string_pretty(&run["output"]).unwrap_or_default(), 4000)) } }
    }
}

/// An answer for each task that needs one, to begin with.
fn answers(definition: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    gather(definition, &mut found);
    found
}

fn gather(value: &Value, found: &mut Map<String, Value>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = said(value, "taskReferenceName")
                && !DONE_HERE.contains(&text(value, "type"))
            {
                found
                    .insert(reference.to_owned(), json!([{ "status": "COMPLETED", "output": {} }]));
            }
            members.values().for_each(|it| gather(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| gather(it, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_that_acts_outside_begins_with_an_answer() {
        let definition = json!({ "tasks": [
            { "taskReferenceName": "way", "type": "SWITCH", "decisionCases": { "a": [
                { "taskReferenceName": "fetch", "type": "HTTP" }] } },
            { "taskReferenceName": "load", "type": "SIMPLE" } ] });
        let names: Vec<String> = answers(&definition).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fetch", "load"]);
    }
}
