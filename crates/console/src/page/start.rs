//! The form that starts a workflow: with the fields that its definition names, or the last input.

use engine::search::{Counting, Filter, Search, Sort, SortField, TextField, TimeField};
use kernel::access::Permission;
use maud::html;
use serde_json::{Map, Value};

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{cut, list, said};
use crate::visit::{encoded, href};
use crate::{Context, Failure, piece};

pub(super) async fn show(cx: &Context<'_>, name: &str, version: Option<&str>) -> Shown {
    if !cx.may(Permission::Run) {
        return Err(Failure::forbidden("Starting a workflow needs the permission run"));
    }
    let query = version.map_or_else(String::new, |it| format!("?version={}", encoded(it)));
    let path = format!("/api/metadata/workflow/{}{query}", encoded(name));
    let it = cx.get(&path).await?;
    let last = last_input(cx, name).await?;
    let uses_last = cx.visit.query.get("from") == Some("last");
    let input = match &last {
        Some((_, input)) if uses_last => input.clone(),
        _ => Value::Object(outline(&it)),
    };
    let written = serde_json::to_string_pretty(&input).unwrap_or_default();
    let body = html! {
        @if let Some(text) = said(&it, "description") { p { (cut(text, 500)) } }
        @if let Some((run, _)) = &last {
            p {
                @if uses_last { "The input is that of the run " (piece::run(run)) ". " a href=(cx.visit.path()) { "Use the definition's" } }
                @else { a href={ (cx.visit.path()) "?from=last" } { "Use the input of the last run" } }
            }
        }
        form method="post" action="/console/act" {
            input type="hidden" name="act" value="start";
            input type="hidden" name="id" value=(name);
            input type="hidden" name="back" value=(cx.visit.path());
            @if let Some(version) = version { input type="hidden" name="version" value=(version); }
            label.field { span { "Input, a JSON object" } textarea name="input" { (written) } }
            (piece::field("correlation", "Correlation id, to find the run by; may be empty", "", ""))
            button.main { "Start " (name) }
        }
    };
    let page = Page::new(Place::Definitions, format!("Start {name}"), body);
    let page = page.below("Definition", href(&["definitions", "workflow", name]));
    Ok(page.same_as(path, format!("nightbell run start {name}")).with_payloads())
}

/// The input that a definition describes: what its schema requires, or the names it lists.
fn outline(definition: &Value) -> Map<String, Value> {
    let mut input = definition["inputTemplate"].as_object().cloned().unwrap_or_default();
    let schema = &definition["inputSchema"]["data"];
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        let value = of.get("default").cloned().unwrap_or_else(|| match of["type"].as_str() {
            Some("integer" | "number") => 0.into(),
            Some("boolean") => false.into(),
            Some("array") => Vec::<Value>::new().into(),
            Some("object") => Map::new().into(),
            _ => "".into(),
        });
        input.entry(name.clone()).or_insert(value);
    }
    for name in list(definition, "inputParameters").iter().filter_map(Value::as_str) {
        input.entry(name.to_owned()).or_insert_with(|| "".into());
    }
    input
}

/// Bytes of an input that a form holds.
const INPUT_MAX: u32 = 6 * 1024;

/// The newest run and its input, as the API shows it.
async fn last_input(cx: &Context<'_>, name: &str) -> Result<Option<(String, Value)>, Failure> {
    let search = Search {
        filters: vec![Filter::In(TextField::Name, vec![name.to_owned()])],
        sort: vec![Sort { by: SortField::Time(TimeField::Created), descending: true }],
        size: 1,
        counting: Counting::Next,
        ..Search::default()
    };
    let rows = cx.engine.store().search(&search).await?.rows;
    let Some(head) = rows.into_iter().next().filter(|it| it.input_size <= INPUT_MAX) else {
        return Ok(None);
    };
    let path = format!("/api/workflow/{}?includeTasks=false", encoded(head.id.as_str()));
    let run = cx.get(&path).await?;
    Ok(Some((head.id.as_str().to_owned(), run["input"].clone())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_begins_with_what_the_definition_names() {
        let definition = json!({
            "inputTemplate": { "region": "north" },
            "inputSchema": { "data": { "properties": { "rows": { "type": "integer" }, "dry": { "type": "boolean", "default": true } } } },
            "inputParameters": ["region", "day"],
        });
        let expected = json!({ "region": "north", "rows": 0, "dry": true, "day": "" });
        assert_eq!(Value::Object(outline(&definition)), expected);
    }
}
