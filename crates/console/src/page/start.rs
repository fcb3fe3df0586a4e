//! The form that starts a workflow: with the fields that its definition names, or the last input.

use engine::search::{Counting, Filter, Search, Sort, SortField, TextField, TimeField};
use http::StatusCode;
use kernel::access::Permission;
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Page, Shown};
use crate::shell::Place;
use crate::value::{cut, list, plain, said, text};
use crate::visit::{Pairs, encoded, href};
use crate::{Context, Failure, piece};

pub(super) async fn show(cx: &Context<'_>, name: &str, version: Option<&str>) -> Shown {
    page(cx, name, version, None).await
}

/// The form once more, with what was typed and why it is refused.
///
/// # Errors
/// As the form itself.
pub(crate) async fn again(cx: &Context<'_>, refused: &Failure) -> Shown {
    let form = &cx.visit.form;
    page(cx, form.get("id").unwrap_or_default(), form.get("version"), Some(refused)).await
}

async fn page(
    cx: &Context<'_>,
    name: &str,
    version: Option<&str>,
    refused: Option<&Failure>,
) -> Shown {
    if !cx.may(Permission::Run) {
        return Err(Failure::forbidden("Starting a workflow needs the permission run"));
    }
    let query = version.map_or_else(String::new, |it| format!("?version={}", encoded(it)));
    let path = format!("/api/metadata/workflow/{}{query}", encoded(name));
    let it = cx.get(&path).await?;
    let schema = schema(cx, &it).await?;
    let here = format!(
        "{}{}/start",
        href(&["definitions", "workflow", name]),
        version.map_or_else(String::new, |it| format!("/{}", encoded(it)))
    );
    let from = cx.visit.query.get("from");
    let last = match from.filter(|from| *from != "last") {
        Some(run) => Some(input_of(cx, run).await?),
        None => last_input(cx, name).await?,
    };
    let uses_last = from.is_some();
    let fields = fields(&schema);
    let mut input = match &last {
        Some((_, input)) if uses_last => input.clone(),
        _ => Value::Object(outline(&it, &schema)),
    };
    // What has a field of its own stands there.
    let mut filled = Map::new();
    for field in &fields {
        filled.extend(input.as_object_mut().and_then(|input| input.remove_entry(&field.name)));
    }
    let written = match refused {
        Some(_) => cx.visit.form.all("input").next().unwrap_or_default().to_owned(),
        None => serde_json::to_string_pretty(&input).unwrap_or_default(),
    };
    let correlation = cx.visit.form.get("correlation").unwrap_or_default();
    let body = html! {
        @if let Some(refused) = refused { (piece::refusal(refused)) }
        @if let Some(text) = said(&it, "description") { p { (cut(text, 500)) } }
        @if let Some((run, _)) = &last {
            p {
                @if uses_last { "The input is that of the run " (piece::run(run)) ". " a href=(here) { "Use the definition's" } }
                @else { a href={ (here) "?from=last" } { "Use the input of the last run" } }
            }
        }
        form method="post" action="/console/act" {
            (piece::proof())
            input type="hidden" name="act" value="start";
            input type="hidden" name="id" value=(name);
            input type="hidden" name="back" value=(here);
            @if let Some(version) = version { input type="hidden" name="version" value=(version); }
            @for field in &fields { (field.shown(cx, filled.get(&field.name))) }
            label.field {
                span { @if fields.is_empty() { "Input, a JSON object" } @else { "The rest of the input, a JSON object; what stands in a field above counts" } }
                textarea name="input" spellcheck="false" { (written) }
            }
            (piece::field("correlation", "Correlation id, to find the run by; may be empty", correlation, ""))
            button.main { "Start " (name) }
        }
    };
    let mut page = Page::new(Place::Definitions, format!("Start {name}"), body);
    page.status = refused.map_or(page.status, |refused| refused.status);
    let page = page.below("Definition", href(&["definitions", "workflow", name]));
    Ok(page.same_as(path, format!("nightbell run start {name}")).with_payloads())
}

/// The schema of the input: the definition's own, or the stored one that it names.
async fn schema(cx: &Context<'_>, definition: &Value) -> Result<Value, Failure> {
    let of = &definition["inputSchema"];
    if of["data"].is_object() {
        return Ok(of["data"].clone());
    }
    let Some(name) = said(of, "name") else { return Ok(Value::Null) };
    let version = of["version"].as_u64().map_or_else(String::new, |version| format!("/{version}"));
    match cx.get(&format!("/api/schema/{}{version}", encoded(name))).await {
        Ok(stored) => Ok(stored["data"].clone()),
        // A run would not start, and says so; the form can be looked at.
        Err(failure) if failure.status == StatusCode::NOT_FOUND => Ok(Value::Null),
        Err(failure) => Err(failure),
    }
}

/// What a field of the form takes; its word begins the name under which it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Text, Self::Number, Self::Flag];

    const fn begin(self) -> &'static str {
        match self {
            Self::Text => "text.",
            Self::Number => "number.",
            Self::Flag => "flag.",
        }
    }
}

/// A member of the input that is typed by itself.
struct Field {
    name: String,
    kind: Kind,
    is_required: bool,
    help: String,
    choices: Vec<String>,
}

/// Fields of a form; further members stand in the JSON.
const FIELDS_MAX: usize = 40;
/// Choices of a field.
const CHOICES_MAX: usize = 100;

/// The members that a schema describes and that are one word each.
fn fields(schema: &Value) -> Vec<Field> {
    let required = list(schema, "required");
    let properties = schema["properties"].as_object().into_iter().flatten();
    let field = |(name, of): (&String, &Value)| {
        let kind = match text(of, "type") {
            "string" => Kind::Text,
            "integer" | "number" => Kind::Number,
            "boolean" => Kind::Flag,
            _ => return None,
        };
        let choices = list(of, "enum").iter().filter_map(Value::as_str);
        Some(Field {
            name: name.clone(),
            kind,
            is_required: required.iter().any(|it| it == name.as_str()),
            help: cut(
                said(of, "description").or_else(|| said(of, "title")).unwrap_or_default(),
                200,
            ),
            choices: choices.take(CHOICES_MAX).map(str::to_owned).collect(),
        })
    };
    properties.filter_map(field).take(FIELDS_MAX).collect()
}

impl Field {
    /// The field, with what was typed, or else what it begins with.
    fn shown(&self, cx: &Context<'_>, begins: Option<&Value>) -> Markup {
        let name = format!("{}{}", self.kind.begin(), self.name);
        let typed = cx.visit.form.all(&name).next().map(str::to_owned);
        let value = typed.unwrap_or_else(|| begins.map(plain).unwrap_or_default());
        let flags = ["true", "false"].map(str::to_owned);
        let choices = if self.kind == Kind::Flag { &flags[..] } else { &self.choices[..] };
        let numeric = (self.kind == Kind::Number).then_some("decimal");
        html! {
            label.field {
                span { (self.name) @if self.is_required { " (needed)" } @if !self.help.is_empty() { ": " (self.help) } }
                @if choices.is_empty() {
                    input name=(name) value=(value) inputmode=[numeric] autocomplete="off";
                } @else {
                    select name=(name) {
                        option value="" { "" }
                        @for choice in choices { option value=(choice) selected[*choice == value] { (choice) } }
                    }
                }
            }
        }
    }
}

/// What the fields of a form say, as members of the input; an empty one says nothing.
///
/// # Errors
/// Something is no number, or neither true nor false.
pub(crate) fn typed(form: &Pairs) -> Result<Vec<(&str, Value)>, Failure> {
    let mut members = Vec::new();
    for kind in Kind::ALL {
        for (name, text) in form.beginning(kind.begin()).filter(|(_, text)| !text.is_empty()) {
            let wrong = |what| Failure::wrong(format!("{}: '{}' is {what}", name, cut(text, 40)));
            let value = match kind {
                Kind::Text => Value::from(text),
                Kind::Number => serde_json::from_str(text.trim())
                    .ok()
                    .filter(Value::is_number)
                    .ok_or_else(|| wrong("no number"))?,
                Kind::Flag => {
                    let flag = text.parse::<bool>().ok();
                    flag.ok_or_else(|| wrong("neither true nor false"))?.into()
                }
            };
            members.push((name, value));
        }
    }
    Ok(members)
}

/// The input that a definition describes: what its schema requires, or the names it lists.
fn outline(definition: &Value, schema: &Value) -> Map<String, Value> {
    let mut input = definition["inputTemplate"].as_object().cloned().unwrap_or_default();
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
    input_of(cx, head.id.as_str()).await.map(Some)
}

/// A run with its input.
async fn input_of(cx: &Context<'_>, id: &str) -> Result<(String, Value), Failure> {
    let run = cx.get(&format!("/api/workflow/{}?includeTasks=false", encoded(id))).await?;
    let input = run["input"].clone();
    if input.to_string().len() > INPUT_MAX as usize {
        return Err(Failure::wrong("The input of this run is too long for a form")
            .with_hint("nightbell run start NAME --input FILE takes it."));
    }
    Ok((id.to_owned(), input))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_begins_with_what_the_definition_names() {
        let definition = json!({
            "inputTemplate": { "region": "north" },
            "inputParameters": ["region", "day"],
        });
        let schema = json!({ "required": ["rows"], "properties": {
            "rows": { "type": "integer" }, "dry": { "type": "boolean", "default": true },
            "size": { "type": "string", "enum": ["s", "l"] }, "more": { "type": "object" } } });
        let expected =
            json!({ "region": "north", "rows": 0, "dry": true, "size": "", "more": {}, "day": "" });
        assert_eq!(Value::Object(outline(&definition, &schema)), expected);
        let fields = fields(&schema);
        let told: Vec<_> = fields.iter().map(|it| (&*it.name, it.kind, it.is_required)).collect();
        let mut expected =
            [("rows", Kind::Number, true), ("dry", Kind::Flag, false), ("size", Kind::Text, false)];
        expected.sort_by_key(|(name, ..)| fields.iter().position(|it| it.name == *name));
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_typed_has_the_type_of_its_field() {
        let form = Pairs::parse("number.rows=+4.5&flag.dry=false&text.day=007&text.none=&input={}");
        let members = typed(&form).expect("all fit");
        assert_eq!(members, [("day", "007".into()), ("rows", 4.5.into()), ("dry", false.into())]);
        for wrong in ["number.rows=many", "number.rows=%22a%22", "flag.dry=perhaps"] {
            assert!(typed(&Pairs::parse(wrong)).is_err(), "{wrong}");
        }
    }
}
