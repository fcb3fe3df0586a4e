//! Secrets: replaced at hand-off, and nothing else touched.

use kernel::Json;
use kernel::expression::{
    REFERENCE_MAC, SecretReference, Secrets, disown, mask_secrets, mentions_secret, names_secret,
    refer, resolve_secrets,
};
use serde_json::{Value, json};

fn lookup(name: &str) -> Option<String> {
    Some(match name {
        "TOKEN" => "s3\"cr3t".to_owned(),
        "CREDS" => r#"{"user":"neo","port":5432,"tags":["a","b"]}"#.to_owned(),
        _ => return None,
    })
}

fn resolve(value: &Value) -> Value {
    resolve_secrets(&Json::of(value), &lookup).parse()
}

#[test]
fn secrets_take_the_place_of_their_expressions() {
    for (text, expected) in [
        ("${workflow.secrets.TOKEN}", json!("s3\"cr3t")),
        ("Bearer ${workflow.secrets.TOKEN}!", json!("Bearer s3\"cr3t!")),
        ("${workflow.secrets.CREDS.user}", json!("neo")),
        ("${workflow.secrets.CREDS.port}", json!(5432)),
        ("${workflow.secrets.CREDS.tags[-1]}", json!("b")),
        ("${workflow.secrets.CREDS.tags[*]}", json!(["a", "b"])),
        ("${workflow.secrets.CREDS.user}:${workflow.secrets.CREDS.port}", json!("neo:5432")),
        ("t=${workflow.secrets.CREDS.tags}", json!("t=[a, b]")),
        ("${workflow.secrets.NONE}", Value::Null),
        ("${workflow.secrets.CREDS.none}", Value::Null),
        ("${workflow.secrets.TOKEN.field}", Value::Null),
        ("<${workflow.secrets.NONE}|${workflow.secrets.CREDS.none}>", json!("<|>")),
        ("${workflow.secrets.}", json!("${workflow.secrets.}")),
        ("${workflow.secrets.} ${workflow.secrets.TOKEN}", json!("${workflow.secrets.} s3\"cr3t")),
        ("${workflow.secrets.TOKEN", json!("${workflow.secrets.TOKEN")),
        ("${workflow.input.x}", json!("${workflow.input.x}")),
        ("ж${workflow.secrets.CREDS.user}ж", json!("жneoж")),
    ] {
        assert_eq!(
            resolve(&json!({ "a": [text, { "b": text }] })),
            json!({ "a": [expected, { "b": expected }] }),
            "{text}"
        );
    }
}

#[test]
fn all_else_is_passed_on_byte_for_byte() {
    let text = r#"{ "n": 1.10, "big":12345678901234567890123, "s": "${workflow.secrets.TOKEN}", "k": [ 1 ,2] }"#;
    let input = Json::from_text(text.to_owned()).unwrap();
    assert!(mentions_secret(&input));
    let expected = r#"{"n":1.10,"big":12345678901234567890123,"s":"s3\"cr3t","k":[ 1 ,2]}"#;
    assert_eq!(resolve_secrets(&input, &lookup).text(), expected);

    let plain = Json::from_text(r#"{ "s" : "${workflow.secret.TOKEN}" }"#.to_owned()).unwrap();
    assert!(!mentions_secret(&plain));
    assert_eq!(resolve_secrets(&plain, &|_: &str| panic!("nothing to look up")), plain);
}

#[test]
fn an_escaped_expression_is_found_and_keys_are_not_touched() {
    let text =
        r#"{"${workflow.secrets.TOKEN}":"\u0024{workflow.secrets.CREDS.user}","u":"\u00e9"}"#;
    let input = Json::from_text(text.to_owned()).unwrap();
    assert!(mentions_secret(&input));
    let resolved = resolve_secrets(&input, &lookup);
    assert_eq!(resolved.parse(), json!({ "${workflow.secrets.TOKEN}": "neo", "u": "é" }));
    let harmless = Json::from_text(r#"["\u00e9 workflow.secrets."]"#.to_owned()).unwrap();
    assert!(!mentions_secret(&harmless));
}

#[test]
fn a_secret_is_not_searched_for_secrets() {
    let lookup = |name: &str| (name == "A").then(|| "${workflow.secrets.A}".to_owned());
    let input = Json::of(&json!(["${workflow.secrets.A}", "-${workflow.secrets.A}"]));
    assert_eq!(
        resolve_secrets(&input, &lookup).parse(),
        json!(["${workflow.secrets.A}", "-${workflow.secrets.A}"])
    );
}

/// A sealed value: its name, padded to the length of a real one.
fn sealed(name: &str) -> String {
    format!("sealed:v1:{name:-<60}:")
}

const MAC: [u8; REFERENCE_MAC] = [7; REFERENCE_MAC];

/// A reference to a secret, made with a key.
fn reference(mac: u8, named: &str) -> String {
    SecretReference::write(&[mac; REFERENCE_MAC], &SecretReference::content("flow", named))
}

struct Keyed;

impl Secrets for Keyed {
    fn secret(&self, name: &str) -> Option<String> {
        lookup(name)
    }

    fn open(&self, value: &str) -> Option<Json> {
        if value == sealed("text") {
            return Some(Json::of(&"op\"en"));
        }
        (value == sealed("number")).then(|| Json::of(&7))
    }

    fn named(&self, reference: &str) -> Option<String> {
        let reference = SecretReference::read(reference)?;
        (reference.mac == MAC).then_some(reference.named)
    }

    fn honours(&self, name: &str) -> bool {
        name == "TOKEN"
    }
}

#[test]
fn sealed_values_are_opened_and_end_at_their_colon() {
    let (text, number, foreign) = (sealed("text"), sealed("number"), sealed("foreign"));
    for (given, expected) in [
        (text.clone(), json!("op\"en")),
        (number.clone(), json!(7)),
        (format!("<{text}{number}-x>"), json!("<op\"en7-x>")),
        (format!("{text}/${{workflow.secrets.TOKEN}}"), json!("op\"en/s3\"cr3t")),
        (format!("${{workflow.secrets.TOKEN}}{text}"), json!("s3\"cr3top\"en")),
        (foreign.clone(), json!(foreign)),
        (format!("a {foreign} b {number}"), json!(format!("a {foreign} b 7"))),
        ("sealed:v1:short:".to_owned(), json!("sealed:v1:short:")),
        (format!("sealed:v1:{text}"), json!("sealed:v1:op\"en")),
    ] {
        let input = Json::of(&json!({ "a": [given] }));
        let resolved = resolve_secrets(&input, &Keyed).parse();
        assert_eq!(resolved, json!({ "a": [expected] }), "{given}");
    }
    let unended = text.trim_end_matches(':');
    let input = Json::of(&json!([unended]));
    assert_eq!(resolve_secrets(&input, &Keyed), input);
}

#[test]
fn sealed_values_are_masked_in_any_text() {
    let (a, b) = (sealed("a_9"), sealed("b"));
    for (text, expected) in [
        ("nothing".to_owned(), "nothing"),
        (a.clone(), "***"),
        (format!("Bearer {a}, {b}."), "Bearer ***, ***."),
        (format!("ж sealed:v1:{b}ж"), "ж sealed:v1:***ж"),
        ("sealed:v1:sealed:v1:".to_owned(), "sealed:v1:sealed:v1:"),
    ] {
        assert_eq!(mask_secrets(&text), expected, "{text}");
    }
}

#[test]
fn references_are_filled_in_and_what_only_looks_like_one_is_text() {
    let (token, user) = (reference(7, "TOKEN"), reference(7, "CREDS.user"));
    let (none, forged) = (reference(7, "NONE"), reference(8, "TOKEN"));
    for (given, expected) in [
        (token.clone(), json!("s3\"cr3t")),
        (format!("Bearer {token}!"), json!("Bearer s3\"cr3t!")),
        (reference(7, "CREDS.port"), json!(5432)),
        (none.clone(), Value::Null),
        (format!("<{none}|{user}>"), json!("<|neo>")),
        (forged.clone(), json!(forged)),
        (format!("{forged}{token}"), json!(format!("{forged}s3\"cr3t"))),
        (token.trim_end_matches(':').to_owned(), json!(token.trim_end_matches(':'))),
        (token.to_uppercase(), json!(token.to_uppercase())),
        // Data may name TOKEN here, and nothing else.
        ("${workflow.secrets.TOKEN}".to_owned(), json!("s3\"cr3t")),
        ("${workflow.secrets.CREDS.user}".to_owned(), json!("${workflow.secrets.CREDS.user}")),
        (
            format!("${{workflow.secrets.CREDS}} {token} {}", sealed("number")),
            json!("${workflow.secrets.CREDS} s3\"cr3t 7"),
        ),
    ] {
        let input = Json::of(&json!({ "a": [given] }));
        assert!(mentions_secret(&input) || given == token.to_uppercase(), "{given}");
        assert_eq!(resolve_secrets(&input, &Keyed).parse(), json!({ "a": [expected] }), "{given}");
    }
}

#[test]
fn an_authors_expressions_become_references_and_are_shown_as_written() {
    let make = |named: &str| reference(7, named);
    let written = json!({
        "whole": "${workflow.secrets.TOKEN}",
        "among": ["a ${workflow.secrets.CREDS.user} b ${workflow.secrets.TOKEN} c"],
        "plain": "$${workflow.secrets.TOKEN} ${workflow.input.x}",
        "chosen": "${workflow.secrets.${workflow.input.name}}",
        "${workflow.secrets.TOKEN}": 1.10,
    });
    let referring = refer(&Json::of(&written), &make);
    let read = referring.parse();
    assert_eq!(read["whole"], json!(reference(7, "TOKEN")));
    for name in ["plain", "chosen", "${workflow.secrets.TOKEN}"] {
        assert_eq!(read[name], written[name], "{name}");
    }
    let shown: Value = serde_json::from_str(&mask_secrets(referring.text())).unwrap();
    assert_eq!(shown, written);
    assert!(!mask_secrets(referring.text()).contains("ref:v1:"));
    // What would have to be escaped is not shown.
    let odd = mask_secrets(&format!("\"{}\"", reference(7, "A['x\"y']"))).into_owned();
    assert_eq!(odd, "\"${workflow.secrets.A['x}\"");
}

#[test]
fn a_definition_that_came_as_data_can_name_no_secret() {
    let token = reference(7, "TOKEN");
    let mut definition = json!({
        "secretsInData": ["TOKEN"],
        "tasks": [{ "taskDefinition": { "runtimeMetadata": ["TOKEN"] }, "inputParameters": {
            "a": "x ${workflow.secrets.TOKEN} $${workflow.secrets.TOKEN} ${workflow.input.a}",
            "given": token.as_str(),
        }, "subWorkflowParam": { "workflowDefinition": { "secretsInData": ["TOKEN"] } } }],
    });
    disown(&mut definition);
    assert_eq!(
        definition,
        json!({ "tasks": [{ "taskDefinition": {}, "inputParameters": {
            "a": "x $${workflow.secrets.TOKEN} $${workflow.secrets.TOKEN} ${workflow.input.a}",
            "given": token,
        }, "subWorkflowParam": { "workflowDefinition": {} } }] })
    );
}

#[test]
fn a_text_names_a_secret_only_by_its_whole_name() {
    let text = "${workflow.secrets.A} and ${workflow.secrets.BC.d}";
    for (name, named) in [("A", true), ("BC", true), ("B", false), ("BC.d", false), ("", false)] {
        assert_eq!(names_secret(text, name), named, "{name}");
    }
}
