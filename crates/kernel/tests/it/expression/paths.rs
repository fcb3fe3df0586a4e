//! Paths: the golden tables, what is refused, and what is bounded.

use kernel::Json;
use kernel::expression::Path;
use serde_json::{Value, json};

/// The document of the tables, and both tables' cases.
pub(super) fn golden() -> (Json, Vec<Value>) {
    let table: Value = serde_json::from_str(include_str!("../../golden/jsonpath.json"))
        .expect("the table is JSON");
    let more: Value = serde_json::from_str(include_str!("../../golden/jsonpath-more.json"))
        .expect("the table is JSON");
    let cases = [&table["cases"], &more]
        .into_iter()
        .flat_map(|cases| cases.as_array().expect("a list of cases"));
    (Json::of(&table["document"]), cases.cloned().collect())
}

#[test]
fn paths_answer_as_jayway_does() {
    let (text, cases) = golden();
    let document = text.parse();
    assert!(cases.len() > 130);
    for case in cases {
        let path = case["path"].as_str().unwrap();
        // Where the later release answers otherwise, it counts.
        let answer = case.get("jayway_2_9_0").unwrap_or(&case["jayway_2_4_0"]);
        let compiled = Path::compile(path);
        match answer.get("ok") {
            Some(expected) => {
                let compiled = compiled.unwrap_or_else(|error| panic!("{path}: {error}"));
                assert_eq!(compiled.read(&document), *expected, "{path}");
                assert_eq!(compiled.read_text(&text).parse(), *expected, "{path} in text");
            }
            None => assert!(compiled.is_err(), "{path}: {}", answer["err"]),
        }
    }
}

#[test]
fn an_error_tells_what_and_where() {
    for (path, error) in [
        ("", "the path is empty at character 0"),
        ("a.", "the path ends with '.' at character 0"),
        ("a b", "a name with a space must stand in brackets: ['a name'] at character 1"),
        ("a['b", "the name is not closed at character 3"),
        (
            "a[?(@.b == )]",
            "expected a path, a text, a number, true, false, null or a list at character 11",
        ),
        ("a[?(@.b =~ /c)]", "the regular expression is not closed at character 11"),
        ("a..aa%b[?(/>0b:a.bcM", "the regular expression is not closed at character 10"),
        ("a[?(@.b == 1]", "expected ')', '&&' or '||' at character 12"),
    ] {
        assert_eq!(Path::compile(path).unwrap_err().to_string(), error, "{path}");
    }
}

#[test]
fn better_than_jayway_where_nothing_can_rest_on_its_answer() {
    let document = json!({ "low": [-3, -2], "list": [1], "a,b": 1 });
    let read = |path: &str| Path::compile(path).unwrap().read(&document);
    assert_eq!(read("low.max()"), json!(-2.0));
    assert_eq!(read("list.append(2, 3)"), json!([1, 2, 3]));
    assert_eq!(read("['a,b']"), json!(1));
    assert_eq!(read("$.concat(\"a,b\", \"c\")"), json!("a,bc"));
    assert_eq!(read("$[?(@.list anyof [1, 9])].list"), json!([[1]]));
    assert_eq!(read("$[?(@.list noneof [1, 9])].list"), json!([]));
}

#[test]
fn text_is_cut_out_unchanged() {
    let document = Json::from_text(
        r#" {"a": {"b" : [10, {"c":  1.50e1 }, 12345678901234567890123] }, "a": {"b": [ 7 , {"c":0.10} ]}, "\u0065":1e400} "#
            .to_owned(),
    )
    .unwrap();
    for (path, text) in [
        ("a.b[1].c", "0.10"),
        ("a.b[-1]", r#"{"c":0.10}"#),
        ("a.b[-3]", "null"),
        ("a.b[0]", "7"),
        ("a.b", r#"[ 7 , {"c":0.10} ]"#),
        ("a.b.c", "null"),
        ("a[0]", "null"),
        ("a.b[0].x", "null"),
        ("e", "1e400"),
        ("e.x", "null"),
    ] {
        assert_eq!(Path::compile(path).unwrap().read_text(&document).text(), text, "{path}");
    }
}

#[test]
fn nesting_length_and_work_are_bounded() {
    let deep_filter = format!("a{}", "[?(@.a".repeat(1000));
    let deep_parentheses = format!("a[?({}@.a{})]", "(".repeat(1000), ")".repeat(1000));
    let deep_negation = format!("a[?({}(@.a))]", "!".repeat(1000));
    let deep_arguments = format!("{}$.a{}", "$.concat(".repeat(400), ")".repeat(400));
    let deep_literal = format!("a[?(@.a in {}{})]", "[".repeat(1500), "]".repeat(1500));
    let long = "a.".repeat(3000) + "a";
    let steps = "a.".repeat(500) + "a";
    let regex = "a[?(@ =~ /(\\w{200}){200}/)]".to_owned();
    for path in
        [&deep_filter, &deep_parentheses, &deep_negation, &deep_arguments, &long, &steps, &regex]
    {
        assert!(Path::compile(path).is_err(), "{path}");
    }
    let _ = Path::compile(&deep_literal);

    // Each `..*` would multiply the results by the depth of the document.
    let mut chain = json!({});
    for _ in 0..100 {
        chain = json!({ "a": chain, "text": "x".repeat(1000) });
    }
    let path = Path::compile("$..*..*..*..*..*").unwrap();
    assert_eq!(path.read(&chain), json!([]), "given up");
    let path = Path::compile("$..text").unwrap();
    assert_eq!(path.read(&chain).as_array().map(Vec::len), Some(100));
}
