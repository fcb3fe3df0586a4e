//! Secrets: replaced at hand-off, and nothing else touched.

use kernel::Json;
use kernel::expression::{mentions_secret, resolve_secrets};
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
    assert_eq!(resolve_secrets(&plain, &|_| panic!("nothing to look up")), plain);
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
