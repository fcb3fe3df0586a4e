//! Laws: nothing panics, output is JSON, text and tree agree.

use std::sync::LazyLock;

use kernel::Json;
use kernel::expression::{Path, Template, evaluate, parse_duration, parse_until, resolve_secrets};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::paths::golden;
use super::templates::Document;

static DOCUMENT: LazyLock<Json> = LazyLock::new(|| golden().0);

/// Pieces that paths are made of, in any order.
fn path() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "workflow", "input", "list", "user", ".", "..", "*", "[", "]", "(", ")", "?", "@", "$",
        "'", "\"", "/", "\\", ",", ":", "-1", "0", "2", " ", "==", "=~", "<", "&&", "||", "!",
        " in ", "length()", "sum(", "concat(", "['name']", "[?(@.id", ")]", "{", "}", "true",
        "\\u", "ж",
    ]);
    prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>().prop_map(Value::String),
        path().prop_map(|path| Value::String(format!("${{{path}}}"))),
        (path(), path()).prop_map(|(a, b)| Value::String(format!("{a}${{{b}}}$${{{a}}}"))),
        path().prop_map(|path| Value::String(format!("${{workflow.secrets.{path}}}"))),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text,
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(("[ab$]{0,2}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A plain path into values of [`value`].
fn plain_path() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        "[ab]{1,2}".prop_map(|name| format!("['{name}']")),
        (-3..4).prop_map(|index| format!("[{index}]")),
    ];
    prop::collection::vec(step, 0..5).prop_map(|steps| format!("${}", steps.concat()))
}

proptest! {
    #[test]
    fn no_text_makes_a_path_panic(text in prop_oneof![any::<String>(), path()]) {
        if let Ok(path) = Path::compile(&text) {
            let found = path.read(&DOCUMENT.parse());
            prop_assert_eq!(path.read_text(&DOCUMENT).parse(), found);
        }
    }

    #[test]
    fn a_text_and_its_tree_give_the_same(value in value(), path in plain_path()) {
        let path = Path::compile(&path).unwrap();
        let text = Json::of(&value);
        let expected = path.read(&text.parse());
        prop_assert_eq!(&path.read_text(&text).parse(), &expected);
        let spaced = Json::from_text(serde_json::to_string_pretty(&value).unwrap()).unwrap();
        prop_assert_eq!(path.read_text(&spaced).parse(), expected);
    }

    #[test]
    fn a_rendered_template_is_json(value in value()) {
        let scope = Document(DOCUMENT.parse());
        let template = Template::compile(&value);
        let rendered = template.render(&scope);
        prop_assert!(serde_json::from_str::<Value>(rendered.text()).is_ok(), "{}", rendered);
        prop_assert_eq!(template.render(&scope), rendered, "twice the same");
        prop_assert!(template.references().all(|reference| !reference.text.is_empty()));
    }

    #[test]
    fn a_text_without_dollars_is_itself(text in "[^$]*") {
        let rendered = evaluate(&text, &Document(Value::Null));
        prop_assert_eq!(rendered.parse(), Value::String(text));
    }

    #[test]
    fn resolved_secrets_are_json(value in value()) {
        let resolved = resolve_secrets(&Json::of(&value), &|name: &str| Some(name.to_owned()));
        prop_assert!(serde_json::from_str::<Value>(resolved.text()).is_ok(), "{}", resolved);
    }

    #[test]
    fn no_text_makes_a_time_panic(text in prop_oneof![any::<String>(), "[0-9 :TZ+dhms-]{0,20}"]) {
        let _ = parse_duration(&text);
        let _ = parse_until(&text, &jiff::tz::TimeZone::UTC);
    }
}
