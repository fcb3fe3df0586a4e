//! Templates: whole values, mixed texts, escapes, nesting, the environment, secrets left alone.

use kernel::Json;
use kernel::expression::{Overrun, Scope, Template, evaluate};
use serde_json::{Value, json};

/// A scope over one document, as Conductor's.
pub(super) struct Document(pub(super) Value);

impl Scope for Document {
    fn field(&self, root: &str, field: &str) -> Option<Json> {
        self.0.get(root)?.get(field).map(Json::of)
    }

    fn document(&self, root: &str) -> Option<Json> {
        self.0.get(root).map(Json::of)
    }

    fn bare(&self, name: &str) -> Option<Json> {
        Some(match name {
            "CPEWF_TASK_ID" => Json::of(&"task-7"),
            "NETFLIX_ENV" => Json::of(&"test"),
            _ => return None,
        })
    }

    fn environment(&self, name: &str) -> Option<Json> {
        Some(match name {
            "REGION" => Json::of(&"north"),
            "CONFIG" => Json::of(&r#"{"db":{"host":"h","ports":[1,2]}}"#),
            _ => return None,
        })
    }

    fn everything(&self) -> Option<Json> {
        Some(Json::of(&self.0))
    }
}

fn scope() -> Document {
    Document(json!({
        "workflow": {
            "input": {
                "name": "conductor", "n": 2, "big": 12_345_678_901_i64, "double": 1.5, "huge": 1e10,
                "tiny": 0.0001, "whole": 3.0, "yes": true, "nul": null,
                "map": { "a": 1, "b": [1, "x", null, { "c": 2.5 }] }, "list": [1, 2, 3], "i": 1,
                "quote": "say \"hi\"\n", "sly": "${workflow.input.name}", "slyer": "$${x}",
                "key": "list", "secretive": "workflow.secrets.K"
            },
            "status": "RUNNING"
        },
        "get-user_ref": { "output": { "response": { "items": [{ "id": 1 }, { "id": 2, "deep": { "id": 3 } }] } } },
        "t2": { "output": { "wanted": 2 } }
    }))
}

#[test]
fn a_whole_expression_keeps_its_type() {
    for (text, expected) in [
        ("${workflow.input.name}", json!("conductor")),
        ("${workflow.input.n}", json!(2)),
        ("${workflow.input.big}", json!(12_345_678_901_i64)),
        ("${workflow.input.double}", json!(1.5)),
        ("${workflow.input.yes}", json!(true)),
        ("${workflow.input.nul}", Value::Null),
        ("${workflow.input.list}", json!([1, 2, 3])),
        ("${workflow.input.list[-1]}", json!(3)),
        ("${workflow.input.map.b[3].c}", json!(2.5)),
        ("${workflow.input.missing}", Value::Null),
        ("${nobody.output.x}", Value::Null),
        ("${nobody}", Value::Null),
        ("${workflow.status}", json!("RUNNING")),
        ("${$.workflow.status}", json!("RUNNING")),
        ("${ workflow.status }", json!("RUNNING")),
        ("${['workflow']['status']}", json!("RUNNING")),
        ("${t2}", json!({ "output": { "wanted": 2 } })),
        ("${t2.*}", json!([{ "wanted": 2 }])),
        ("${get-user_ref.output..id}", json!([1, 2, 3])),
        ("${get-user_ref.output.response.items[*].id}", json!([1, 2])),
        ("${get-user_ref.output.response.items.length()}", json!(2)),
        ("${nobody.output..id}", json!([])),
        (
            "${get-user_ref.output.response.items[?(@.id == $.t2.output.wanted)].deep}",
            json!([{ "id": 3 }]),
        ),
        ("${concat($.workflow.status, \"/\", $.t2.output.wanted)}", json!("RUNNING/2")),
        ("${$..wanted}", json!([2])),
        ("${workflow.input.with space}", Value::Null),
        ("${workflow.input.list[}", json!([1, 2, 3])),
        ("${a..b[?(/x}", Value::Null),
        ("${}", json!("")),
        ("${   }", json!("")),
        ("${CPEWF_TASK_ID}", json!("task-7")),
        ("${NETFLIX_ENV}", json!("test")),
        ("${HOME}", Value::Null),
        ("${workflow.env.REGION}", json!("north")),
        ("${workflow.env.CONFIG.db.host}", json!("h")),
        ("${workflow.env.CONFIG.db.ports[-1]}", json!(2)),
        ("${workflow.env.REGION.x}", Value::Null),
        ("${workflow.env.NONE}", Value::Null),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), expected, "{text}");
    }
}

#[test]
fn in_a_text_values_stand_as_java_prints_them() {
    for (text, expected) in [
        ("n=${workflow.input.n};", "n=2;"),
        ("${workflow.input.name}${workflow.input.n}", "conductor2"),
        (
            "Name: ${workflow.input.name};\r\nVersion: ${workflow.input.n};",
            "Name: conductor;\r\nVersion: 2;",
        ),
        (" ${workflow.input.nul} ${workflow.input.missing}", " null null"),
        ("-${workflow.input.map}", "-{a=1, b=[1, x, null, {c=2.5}]}"),
        ("-${workflow.input.list}", "-[1, 2, 3]"),
        ("-${workflow.input.yes}", "-true"),
        ("-${workflow.input.big}", "-12345678901"),
        ("-${workflow.input.double} ${workflow.input.whole}", "-1.5 3.0"),
        ("-${workflow.input.huge} ${workflow.input.tiny}", "-1.0E10 1.0E-4"),
        ("<${workflow.input.quote}>", "<say \"hi\"\n>"),
        ("<${}${  }>", "<>"),
        ("<${nobody.output..id}>", "<[]>"),
        ("<${with space}>", "<null>"),
        ("ключ ${workflow.input.n} 🙂", "ключ 2 🙂"),
        ("in ${workflow.env.REGION} ${workflow.env.CONFIG.db}", "in north {host=h, ports=[1, 2]}"),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), json!(expected), "{text}");
    }
}

#[test]
fn a_doubled_dollar_means_the_text() {
    for (text, expected) in [
        ("$${workflow.input.n}", "${workflow.input.n}"),
        ("a $${x} ${workflow.input.n}$${y}", "a ${x} 2${y}"),
        (
            "${workflow.input.name} $${n}${workflow.input.n} ${workflow.input.n}$${name}",
            "conductor ${n}2 2${name}",
        ),
        ("$$${x}", "$${x}"),
        ("cost: $5 {a} $ {b} }{", "cost: $5 {a} $ {b} }{"),
        ("$${a ${workflow.input.n} b}", "${a 2 b}"),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), json!(expected), "{text}");
    }
}

#[test]
fn unbalanced_braces_are_text() {
    for (text, expected) in [
        ("${", json!("${")),
        ("${workflow.input.n", json!("${workflow.input.n")),
        ("${ ${workflow.input.n}", json!("${ 2")),
        ("{${workflow.input.n}}", json!("{2}")),
        ("${workflow.input.n}}", json!("2}")),
        ("${workflow.input{x}}", Value::Null),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), expected, "{text}");
    }
}

#[test]
fn expressions_stand_in_expressions() {
    for (text, expected) in [
        ("${workflow.input.list[${workflow.input.i}]}", json!(2)),
        ("${workflow.input.${workflow.input.key}[${workflow.input.i}]}", json!(2)),
        ("${workflow.input.list[${workflow.input.list[${workflow.input.i}]}]}", json!(3)),
        ("${workflow.input['${workflow.input.key}']}", json!([1, 2, 3])),
        ("#${workflow.input.list[${workflow.input.i}]}", json!("#2")),
        ("${workflow.input.list[${workflow.input.nul}]}", Value::Null),
        ("${${workflow.input.missing}}", Value::Null),
        ("${workflow.env.${workflow.input.missing}}", Value::Null),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), expected, "{text}");
    }
}

#[test]
fn what_comes_in_is_not_rendered_again() {
    for (text, expected) in [
        ("${workflow.input.sly}", "${workflow.input.name}"),
        ("<${workflow.input.sly}>", "<${workflow.input.name}>"),
        ("<${workflow.input.slyer}>", "<$${x}>"),
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), json!(expected), "{text}");
    }
}

#[test]
fn secrets_stay_as_they_are() {
    for text in [
        "${workflow.secrets.K}",
        "Bearer ${workflow.secrets.K.token[0]}!",
        "${workflow.secrets.${workflow.input.name}}",
    ] {
        assert_eq!(evaluate(text, &scope()).parse(), json!(text));
    }
    // A name that comes out of data chooses no secret.
    let text = "${${workflow.input.secretive}}";
    assert_eq!(evaluate(text, &scope()).parse(), json!(text));
    assert_eq!(
        evaluate("${workflow.input.n} ${workflow.secrets.K}", &scope()).parse(),
        json!("2 ${workflow.secrets.K}")
    );
}

#[test]
fn maps_and_lists_are_rendered_through_and_keys_are_not() {
    let template = Template::compile(&json!({
        "${workflow.input.n}": "${workflow.input.n}",
        "b": { "list": ["${workflow.input.list}", "x${workflow.input.n}", { "c": "${none.x}" }, 5, null] },
        "plain": { "deep": [1, { "a": "$${x}" }] }
    }));
    assert!(!template.is_constant());
    let expected = r#"{"${workflow.input.n}":2,"b":{"list":[[1,2,3],"x2",{"c":null},5,null]},"plain":{"deep":[1,{"a":"${x}"}]}}"#;
    assert_eq!(template.render(&scope()).text(), expected);

    let constant = Template::compile(&json!({ "a": [1, { "b": "$${x}" }], "c": {} }));
    assert!(constant.is_constant());
    assert_eq!(constant.render(&scope()).text(), r#"{"a":[1,{"b":"${x}"}],"c":{}}"#);
}

#[test]
fn payloads_are_passed_on_byte_for_byte() {
    struct Raw;
    impl Scope for Raw {
        fn field(&self, _: &str, _: &str) -> Option<Json> {
            Json::from_text(r#"{"x": [1.10,  12345678901234567890123, 1e400]}"#.to_owned()).ok()
        }

        fn document(&self, _: &str) -> Option<Json> {
            None
        }

        fn bare(&self, _: &str) -> Option<Json> {
            None
        }
    }
    let render = |text: &str| evaluate(text, &Raw).text().to_owned();
    assert_eq!(render("${t.output}"), r#"{"x": [1.10,  12345678901234567890123, 1e400]}"#);
    assert_eq!(render("${t.output.x}"), "[1.10,  12345678901234567890123, 1e400]");
    assert_eq!(render("#${t.output.x[0]}"), "\"#1.1\"");
    assert_eq!(render("#${t.output.x[1]}"), "\"#12345678901234567890123\"");
    assert_eq!(render("#${t.output.x[2]}"), "\"#Infinity\"");
}

#[test]
fn references_are_listed_for_validation() {
    let template = Template::compile(&json!({
        "a": "${workflow.input.x} ${get-user_ref.output.y[?(@.id == $.t2.output.z)]} $${no.such}",
        "b": ["${CPEWF_TASK_ID}", "${t3.output.${t4}}", "${workflow.secrets.K}", "${}"],
        "c": "${a b}"
    }));
    let found: Vec<_> = template
        .references()
        .map(|reference| {
            (reference.text, reference.root, reference.field, reference.problem.is_some())
        })
        .collect();
    let filtered = "get-user_ref.output.y[?(@.id == $.t2.output.z)]";
    let expected = [
        ("workflow.input.x", Some("workflow"), Some("input"), false),
        (filtered, Some("get-user_ref"), Some("output"), false),
        (filtered, Some("t2"), Some("output"), false),
        ("CPEWF_TASK_ID", Some("CPEWF_TASK_ID"), None, false),
        ("t3.output.${t4}", Some("t3"), None, false),
        ("t4", Some("t4"), None, false),
        ("workflow.secrets.K", Some("workflow"), Some("secrets"), false),
        ("a b", None, None, true),
    ];
    assert_eq!(found, expected);
}

#[test]
fn only_what_is_used_is_asked_for() {
    use std::cell::RefCell;

    struct Asked(RefCell<Vec<String>>);
    impl Scope for Asked {
        fn field(&self, root: &str, field: &str) -> Option<Json> {
            self.0.borrow_mut().push(format!("{root}.{field}"));
            None
        }

        fn document(&self, root: &str) -> Option<Json> {
            self.0.borrow_mut().push(root.to_owned());
            None
        }

        fn bare(&self, name: &str) -> Option<Json> {
            self.0.borrow_mut().push(format!("bare {name}"));
            None
        }
    }
    let asked = Asked(RefCell::default());
    evaluate("${a.b.c} ${d[*]} ${e} ${f.g[?(@.x == $.h.i.j)]} ${workflow.secrets.K}", &asked);
    assert_eq!(asked.0.into_inner(), ["a.b", "d", "e", "bare e", "h.i", "f.g"]);
}

/// A scope with a large value, in which a rendered value may have four times as much.
struct Large {
    value: Json,
    bytes: usize,
}

impl Large {
    fn new(bytes: usize) -> Self {
        Self { value: Json::of(&json!({ "text": "x".repeat(bytes), "small": 1 })), bytes }
    }
}

impl Scope for Large {
    fn field(&self, _: &str, _: &str) -> Option<Json> {
        Some(self.value.clone())
    }

    fn document(&self, _: &str) -> Option<Json> {
        None
    }

    fn bare(&self, _: &str) -> Option<Json> {
        None
    }

    fn bytes_max(&self) -> usize {
        4 * self.bytes
    }
}

#[test]
fn a_value_that_would_be_too_large_is_not_built() {
    let often = |part: &str, times: usize| vec![part; times].join("-");
    let list = |part: &str, times: usize| json!(vec![part; times]);
    let large = "${a.b.text}";
    for value in [
        json!(often(large, 100_000)),
        list(large, 100_000),
        json!({ "nested": { "text": often("y${a.b}", 100_000) } }),
        json!(format!("${{a.b[{}]}}", often(large, 1000))),
    ] {
        let rendered = Template::compile(&value).try_render(&Large::new(1 << 20));
        assert_eq!(rendered, Err(Overrun::Size(4 << 20)));
        assert!(Template::compile(&value).render(&Large::new(1 << 20)).is_null());
    }
    let fits = Template::compile(&json!(often(large, 3))).try_render(&Large::new(1 << 20));
    assert_eq!(fits.map(|json| json.len()), Ok(3 * (1 << 20) + 4));
}

#[test]
fn a_value_that_reads_too_much_is_not_built() {
    let value = json!(vec!["${a.b.small}"; 2000]);
    let scope = Large::new(4 << 10);
    let rendered = Template::compile(&value).try_render(&scope);
    assert!(matches!(rendered, Err(Overrun::Work(_))), "{:?}", rendered.map(|json| json.len()));
    let value = json!(vec!["${a.b.small}"; 200]);
    assert!(Template::compile(&value).try_render(&scope).is_ok());
}

#[test]
fn arguments_of_a_function_are_counted_too() {
    let arguments = vec!["$.a.b.text"; 300].join(", ");
    let rendered = evaluate(&format!("${{a.b.concat({arguments})}}"), &Large::new(1 << 20));
    assert!(rendered.len() < 64 << 20, "{} bytes", rendered.len());
}
