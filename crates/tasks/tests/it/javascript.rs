//! JavaScript through its public face: results, limits, isolation, errors.

use std::time::Duration;

use kernel::{Form, Json, ScriptError, ScriptErrorKind};
use serde_json::{Value, json};
use tasks::javascript::{JavaScript, Limits};

/// Bounds under which a runaway script ends quickly.
fn tight() -> Limits {
    Limits { time: Duration::from_millis(300), memory: 16 << 20, stack: 512 << 10, output: 1 << 20 }
}

fn engine() -> JavaScript {
    JavaScript::new(Limits::default())
}

fn run(source: &str, input: &Value) -> Result<Json, ScriptError> {
    engine().run(source, Form::Statements, &Json::from(input))
}

/// Makes a script of the same result that is not recognised as harmless.
fn suspicious(source: &str) -> String {
    format!("if (0) {{ this; }} {source}")
}

/// Holds a script to its result: evaluated first, again, and in a realm of its own.
#[track_caller]
fn check(source: &str, input: &Value, expected: &str) {
    let engine = engine();
    let input = Json::from(input);
    for source in [source, source, source, &suspicious(source)] {
        let result = engine.run(source, Form::Statements, &input);
        let result = result.unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(result.text(), expected, "{source}");
    }
}

#[track_caller]
fn check_all(input: &Value, cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        check(source, input, expected);
    }
}

#[track_caller]
fn fails(source: &str, input: &Value) -> ScriptError {
    run(source, input).expect_err(source)
}

#[test]
fn a_script_answers_its_completion_value() {
    check_all(
        &json!({"a": 1, "b": 2, "n": 21, "list": [3, 1, 2], "iterator": 3, "total": 519}),
        &[
            ("1", "1"),
            ("$.a + 1", "2"),
            ("$.a + 1;", "2"),
            ("  $.a + 1 // one more", "2"),
            ("if ($.iterator * 100 < $.total) { true; } else { false; }", "true"),
            ("if ($.iterator * 1000 < $.total) { true; } else { false; }", "false"),
            ("if ($.a > 1) { 'x' } else if ($.b > 1) { 'y' } else { 'z' }", "\"y\""),
            ("if ($.a > 1) 'x'; else 'y';", "\"y\""),
            ("if ($.a > 5) { true; }", "null"),
            ("if ($.a) { }", "null"),
            ("1; if ($.a) { }", "null"),
            ("1; if (!$.a) { 2; }", "null"),
            ("if ($.a) { 7; var q = 1; }", "7"),
            ("1; var x = 2;", "1"),
            ("var x = 2;", "null"),
            ("var x = $.a, y = $.b; x + y;", "3"),
            ("let x = $.a; const y = $.b; x + y", "3"),
            ("var x = 1\nvar y = 2\nx + y", "3"),
            ("$.a\n$.b", "2"),
            ("var x = 1\nx\n++x", "2"),
            ("for (var i = 0; i < 3; i++) { i * 10; }", "20"),
            ("var s = 0; for (const n of $.list) { s += n; } s;", "6"),
            ("var i = 0; while (i < 4) { i++; }", "3"),
            ("do { 5; } while (false)", "5"),
            ("try { null.x; } catch (e) { 'caught'; }", "\"caught\""),
            ("try { 1; } finally { 2; }", "1"),
            ("switch ($.a) { case 1: 'one'; break; default: 'other'; }", "\"one\""),
            ("{ 1; 2; }", "2"),
            ("{ a: 1 }", "1"),
            ("({ a: 1 })", r#"{"a":1}"#),
            ("a: { 1; break a; }", "1"),
            ("function e() { if ($.a > 0) { return 'yes' } else { return 'no' } } e();", "\"yes\""),
            ("function e() { return $.n * 2 }\ne()", "42"),
            ("function f(){} (3)", "3"),
            ("function f() { return 1 }", "null"),
            ("(function () { return $.n * 2; })();", "42"),
            (
                "(function(){ var a = $.a; return { total: a + $.b, list: $.list }; })()",
                r#"{"total":3,"list":[3,1,2]}"#,
            ),
            ("(() => $.n / 2)()", "10.5"),
            ("var f = (x) => x * 2; f($.n)", "42"),
            ("`${$.a}-${`${$.b}`}`", "\"1-2\""),
            ("Math.ceil(($.total-$.n)/100)", "5"),
            ("$.list.map(x => x * 2).filter(x => x > 2)", "[6,4]"),
            ("$.list.sort()", "[1,2,3]"),
            ("$.list.reduce((a, b) => a + b, 0)", "6"),
            ("[...$.list, 4]", "[3,1,2,4]"),
            ("const { a, ...rest } = $; rest.b", "2"),
            ("var [x, y] = $.list; x - y", "2"),
            ("$.missing?.deeper ?? 'none'", "\"none\""),
            ("typeof $.missing", "\"undefined\""),
            ("typeof undeclared", "\"undefined\""),
            ("/^a+$/.test('aaa')", "true"),
            ("'a/b/c'.split('/').length / 3", "1"),
            ("$.a++; $.a", "2"),
            ("$.fresh = 1; $.fresh", "1"),
            ("delete $.a; $", r#"{"b":2,"n":21,"list":[3,1,2],"iterator":3,"total":519}"#),
            ("x = 5; x + 1", "6"),
            ("'use strict'; $.a", "1"),
            ("", "null"),
            (";", "null"),
            ("// nothing", "null"),
            ("/* a */ $.a /* b */", "1"),
            ("this.y = 3; y", "3"),
            ("with ($) { a + b }", "3"),
            ("eval('$.a + 5')", "6"),
            ("new Function('return 7')()", "7"),
            ("(function () { return arguments.length })(1, 2)", "2"),
            ("class P { get v() { return 4 } } new P().v", "4"),
            ("if (true) { function late() { return 9 } } late()", "9"),
            ("console.log('x'); console.error($); 'logged'", "\"logged\""),
            ("var $ = { a: 9 }; $.a", "9"),
            ("var $; $.a", "1"),
            ("010", "8"),
            ("JSON.stringify($.list)", "\"[3,1,2]\""),
            ("new Promise(done => done(4))", "4"),
            ("(async () => { await null; return $.a + 1; })()", "2"),
            ("Array['from' + 'Async']([1])", "[1]"),
        ],
    );
}

#[test]
fn every_global_can_be_redeclared_as_in_a_script() {
    let names = run("Object.getOwnPropertyNames(globalThis)", &json!({})).expect("names").parse();
    for name in names.as_array().expect("a list") {
        let name = name.as_str().expect("a name");
        let plain = run(&format!("typeof {name}"), &json!({})).expect(name);
        check(&format!("var {name}; typeof {name}"), &json!({}), plain.text());
        check(&format!("var other, {name}; typeof {name}"), &json!({}), plain.text());
    }
}

#[test]
fn a_function_body_answers_what_it_returns() {
    let input = json!({"a": 2, "list": [1, 2]});
    let cases = [
        ("return $.a * 2;", "4"),
        ("return $.a * 2 // twice", "4"),
        ("if ($.a > 1) { return {big: true} } return null", r#"{"big":true}"#),
        ("var e = 1; e + 1;", "null"),
        ("function e() { return $.a } return e();", "2"),
        ("return this === undefined", "false"),
        ("for (const x of $.list) { if (x > 1) return x; }", "2"),
        ("return $.list.get(1)", "2"),
    ];
    let engine = engine();
    for (source, expected) in cases {
        for _ in 0..3 {
            let result = engine.run(source, Form::FunctionBody, &Json::from(&input)).expect(source);
            assert_eq!(result.text(), expected, "{source}");
        }
    }
    let error = engine.run("1 +", Form::FunctionBody, &Json::null()).expect_err("unfinished");
    assert_eq!(error.kind, ScriptErrorKind::Syntax);
}

#[test]
fn methods_of_java_maps_and_lists_work_on_the_input() {
    check_all(
        &json!({
            "list": [10, 20, 30], "none": [], "map": {"k": 1, "size": 7, "get": 8}, "empty": {},
            "rows": [{"id": 1}, {"id": 2}],
        }),
        &[
            ("$.list.get(1)", "20"),
            ("$.list.get($.list.size() - 1)", "30"),
            ("$.list.size()", "3"),
            ("$.none.isEmpty()", "true"),
            ("$.list.isEmpty()", "false"),
            ("$.list.contains(20)", "true"),
            ("$.list.contains(21)", "false"),
            ("$.list.add(40); $.list", "[10,20,30,40]"),
            ("$.list.add(0, 5); $.list", "[5,10,20,30]"),
            ("$.list.set(0, 5) + $.list[0]", "15"),
            ("$.list.remove(0); $.list", "[20,30]"),
            ("$.rows.get(1).get('id')", "2"),
            ("$.get('list').get(0)", "10"),
            ("$.get('absent')", "null"),
            ("$.map.containsKey('k')", "true"),
            ("$.map.containsKey('toString')", "false"),
            ("$.map.containsValue(7)", "true"),
            ("$.map.getOrDefault('x', 5) + $.map.getOrDefault('k', 5)", "6"),
            ("$.map.keySet()", r#"["k","size","get"]"#),
            ("$.map.keySet().contains('k')", "true"),
            ("$.map.values()", "[1,7,8]"),
            ("$.map.values().size()", "3"),
            ("$.map.entrySet().get(0).getKey() + $.map.entrySet()[0].getValue()", "\"k1\""),
            ("$.map.entrySet().get(0)", r#"{"key":"k","value":1}"#),
            ("$.map.size + $.map.get", "15"),
            ("$.empty.size()", "0"),
            ("$.empty.isEmpty()", "true"),
            ("$.empty.put('a', 1); $.empty", r#"{"a":1}"#),
            (
                "$.map.put('n', 1); $.map.putAll({m: 2}); $.map.remove('k'); Object.keys($.map)",
                r#"["size","get","n","m"]"#,
            ),
            (
                "var seen = []; $.map.forEach((k, v) => seen.push(k + v)); seen",
                r#"["k1","size7","get8"]"#,
            ),
        ],
    );
}

#[test]
fn host_methods_show_in_no_ordinary_use_of_the_input() {
    check_all(
        &json!({"map": {"k": 1}, "list": [1, 2]}),
        &[
            ("Object.keys($)", r#"["map","list"]"#),
            ("var seen = []; for (var k in $.map) seen.push(k); seen", r#"["k"]"#),
            ("var seen = []; for (var k in $.list) seen.push(k); seen", r#"["0","1"]"#),
            ("JSON.stringify($)", r#""{\"map\":{\"k\":1},\"list\":[1,2]}""#),
            ("Array.isArray($.list) && $.list instanceof Array && $.map instanceof Object", "true"),
            ("$.map.constructor === Object && $.list.constructor === Array", "true"),
            ("Object.defineProperty({}, 'x', { value: 3 }).x", "3"),
            ("Object.assign({}, $.map, { z: 1 })", r#"{"k":1,"z":1}"#),
            ("'get' in {} || 'size' in []", "false"),
            ("({ ...$.map })", r#"{"k":1}"#),
            ("$.map == '[object Object]' && $.list == '1,2'", "true"),
            ("$.list.concat([3]).length", "3"),
            ("Object.entries($.map)", r#"[["k",1]]"#),
        ],
    );
}

#[test]
fn results_are_written_as_json_stringify_does() {
    check_all(
        &json!({"big": 12_345_678_901_i64, "s": "é\u{1F514}\u{2028}"}),
        &[
            ("undefined", "null"),
            ("(function () {})", "null"),
            ("Symbol('x')", "null"),
            ("NaN", "null"),
            ("1 / 0", "null"),
            ("-0", "0"),
            ("3.0", "3"),
            ("10 / 4", "2.5"),
            ("$.big + 1", "12345678902"),
            ("0.1 + 0.2", "0.30000000000000004"),
            ("1e21", "1e+21"),
            ("2 ** 53", "9007199254740992"),
            ("[undefined, function () {}, NaN]", "[null,null,null]"),
            ("({ a: undefined, b: null })", r#"{"b":null}"#),
            ("new Date(0)", r#""1970-01-01T00:00:00.000Z""#),
            ("({ at: new Date(Date.UTC(2024, 1, 29)) })", r#"{"at":"2024-02-29T00:00:00.000Z"}"#),
            ("new Map([[1, 2]])", "{}"),
            ("new Set([1])", "{}"),
            ("10n ** 3n", "1000"),
            ("10n ** 30n", "\"1000000000000000000000000000000\""),
            ("({ n: 5n })", r#"{"n":5}"#),
            ("/x/g", "{}"),
            ("new Error('e')", "{}"),
            ("$.s", "\"é\u{1F514}\u{2028}\""),
            ("'\\u0000\\n\"'", r#""\u0000\n\"""#),
            ("'a\\ud800b'", "\"a\\ufffdb\""),
            ("'\\udc00\\ud83d\\udd14\\\\ud800'", "\"\\ufffd\u{1F514}\\\\ud800\""),
            ("({ toJSON() { return 5 } })", "5"),
        ],
    );
    let error = fails("var a = {}; a.a = a; a", &json!({}));
    assert_eq!(error.kind, ScriptErrorKind::Runtime);
    assert!(error.message.contains("circular"), "{error}");
}

#[test]
fn odd_inputs_are_only_data() {
    let text = r#"{"__proto__": {"evil": 1}, "constructor": 2, "half": "\ud800", "huge": 1e400,
                   "toString": 3, "": 4, "a\u0000b": 5, "dup": 1, "dup": 2}"#;
    let input = Json::from_text(text.to_owned()).expect("JSON");
    let cases = [
        ("$.evil", "null"),
        ("Object.keys($).length", "8"),
        ("({}).evil", "null"),
        ("$['__proto__'].evil", "1"),
        ("$.constructor + $.toString", "5"),
        ("$.half.length", "1"),
        ("$.half", "\"\\ufffd\""),
        ("$.huge === Infinity", "true"),
        ("$[''] + $['a\\0b']", "9"),
        ("$.dup", "2"),
    ];
    for (source, expected) in cases {
        for _ in 0..2 {
            let result = engine().run(source, Form::Statements, &input).expect(source);
            assert_eq!(result.text(), expected, "{source}");
        }
    }
    for (text, expected) in [("null", "\"object\""), ("5", "\"number\""), ("\"x\"", "\"string\"")] {
        let input = Json::from_text(text.to_owned()).expect("JSON");
        let result = engine().run("typeof $", Form::Statements, &input).expect("typeof");
        assert_eq!(result.text(), expected);
    }
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let deep = Json::from_text(deep);
    if let Ok(deep) = deep {
        let error = engine().run("$.length", Form::Statements, &deep).expect_err("too deep");
        assert_eq!(error.kind, ScriptErrorKind::Memory, "{error}");
    }
}

#[test]
fn errors_name_the_cause_and_the_line() {
    let cases = [
        ("1 +\n\n* 2", ScriptErrorKind::Syntax, "SyntaxError", Some(3)),
        ("let a; let a;", ScriptErrorKind::Syntax, "SyntaxError", Some(1)),
        ("return 1", ScriptErrorKind::Syntax, "SyntaxError", Some(1)),
        ("if (true {", ScriptErrorKind::Syntax, "SyntaxError", Some(1)),
        ("a\0b", ScriptErrorKind::Syntax, "NUL", None),
        ("1;\n$.a.b.c", ScriptErrorKind::Runtime, "TypeError", Some(2)),
        ("missing + 1", ScriptErrorKind::Runtime, "missing", Some(1)),
        ("\n\nthrow new Error('broken\\nhere')", ScriptErrorKind::Runtime, "broken here", Some(3)),
        (
            "function f() {\n throw new RangeError('r') }\nf()",
            ScriptErrorKind::Runtime,
            "r",
            Some(2),
        ),
        ("throw 'text'", ScriptErrorKind::Runtime, "text", None),
        ("throw { code: 5 }", ScriptErrorKind::Runtime, "{\"code\":5}", None),
        ("throw undefined", ScriptErrorKind::Runtime, "undefined", None),
        ("throw null", ScriptErrorKind::Runtime, "null", None),
        ("\nJSON.parse('{')", ScriptErrorKind::Runtime, "SyntaxError", Some(2)),
        ("eval('1 +')", ScriptErrorKind::Runtime, "SyntaxError", None),
        ("$.list.get(9)", ScriptErrorKind::Runtime, "outside", Some(1)),
        (
            "new Promise((_, fail) => fail(new Error('later')))",
            ScriptErrorKind::Runtime,
            "later",
            Some(1),
        ),
        ("import('fs')", ScriptErrorKind::Runtime, "", None),
        ("require('fs')", ScriptErrorKind::Runtime, "require", Some(1)),
        ("import fs from 'fs'", ScriptErrorKind::Syntax, "SyntaxError", Some(1)),
    ];
    let input = json!({"a": 1, "list": []});
    for (source, kind, text, line) in cases {
        for _ in 0..2 {
            let error = fails(source, &input);
            assert_eq!(error.kind, kind, "{source}: {error}");
            assert!(error.message.contains(text), "{source}: {error}");
            assert!(!error.message.contains('\n'), "{source}: {error}");
            if let Some(line) = line {
                assert!(error.message.ends_with(&format!("at line {line}")), "{source}: {error}");
            }
        }
    }
}

#[test]
fn an_exception_cannot_do_harm_while_it_is_read() {
    let engine = JavaScript::new(tight());
    let cases = [
        (
            "var e = new Error(); Object.defineProperty(e, 'message', { get() { for (;;); } }); throw e",
            ScriptErrorKind::Timeout,
        ),
        (
            "var e = new Error(); Object.defineProperty(e, 'stack', { get() { throw 1 } }); throw e",
            ScriptErrorKind::Runtime,
        ),
        ("throw { toJSON() { throw 2 }, toString() { throw 3 } }", ScriptErrorKind::Runtime),
        ("throw new Error('x'.repeat(1e6))", ScriptErrorKind::Runtime),
        ("throw new Proxy({}, { get() { throw 4 } })", ScriptErrorKind::Runtime),
    ];
    for (source, kind) in cases {
        let error = engine.run(source, Form::Statements, &Json::null()).expect_err(source);
        assert_eq!(error.kind, kind, "{source}: {error}");
        assert!(error.message.len() < 2000, "{source}");
    }
}

#[test]
fn parsing_alone_runs_nothing() {
    let engine = JavaScript::new(tight());
    for source in ["while (true) {}", "throw 1", "undeclared()", "$.a.b.c", "let $ = 1", "", "{"] {
        let outcome = engine.check(source, Form::Statements);
        assert_eq!(outcome.is_ok(), source != "{", "{source}: {outcome:?}");
    }
    assert!(engine.check("return $.a", Form::FunctionBody).is_ok());
    assert!(engine.check("return $.a // end", Form::FunctionBody).is_ok());
    let error =
        engine.check("return $.a", Form::Statements).expect_err("return outside a function");
    assert_eq!(error.kind, ScriptErrorKind::Syntax);
    let error = engine.check("var a;\nvar b = ;", Form::FunctionBody).expect_err("no initializer");
    assert_eq!(error.kind, ScriptErrorKind::Syntax);
    assert!(error.message.ends_with("at line 2"), "{error}");
}

#[test]
fn every_limit_ends_the_script_and_leaves_the_engine_usable() {
    use ScriptErrorKind::{Memory, Timeout};
    // On a busy machine only time itself may end a script by time.
    let hurried = JavaScript::new(tight());
    let patient = JavaScript::new(Limits { time: Duration::from_mins(1), ..tight() });
    let cases: &[(&str, &[ScriptErrorKind])] = &[
        ("while (true) {}", &[Timeout]),
        ("for (;;) $.n++", &[Timeout]),
        ("(function f() { for (;;); })()", &[Timeout]),
        ("while (true) { try { for (;;); } catch (e) {} finally { } }", &[Timeout]),
        ("/^(a+)+$/.test('a'.repeat(40) + 'b')", &[Timeout]),
        ("[1].map(() => { for (;;); })", &[Timeout]),
        ("({ toJSON() { for (;;); } })", &[Timeout]),
        ("[1, 2].sort(() => { for (;;); })", &[Timeout]),
        ("(async () => { for (;;) await null; })()", &[Timeout]),
        ("Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)", &[ScriptErrorKind::Runtime]),
        ("new Array(4294967295).includes(1)", &[ScriptErrorKind::Runtime]),
        ("new Array(4294967295).lastIndexOf(1)", &[ScriptErrorKind::Runtime]),
        ("new Array(1e9).fill(0)", &[ScriptErrorKind::Runtime]),
        ("var s = 'x'; for (;;) s += s;", &[Memory]),
        ("var s = 'x'; while (true) { s = s + s + 'y'; s.charCodeAt(0) }", &[Memory]),
        ("'x'.repeat(1e9)", &[Memory]),
        ("var a = []; for (;;) a.push({ a: [a.length] });", &[Memory]),
        ("var a = []; for (;;) a.push(a.length);", &[Memory]),
        ("new Uint8Array(1e9)", &[Memory, ScriptErrorKind::Runtime]),
        ("(function f() { return 1 + f(); })()", &[Memory]),
        ("var f = () => f() + 1; f()", &[Memory]),
        ("var o = {}; o.toString = () => '' + o; '' + o", &[Memory]),
        ("'x'.repeat(2e6)", &[Memory]),
        ("new Array(600000).fill(1)", &[Memory]),
        ("var a = []; for (var i = 0; i < 200; i++) a = [a]; a", &[Memory]),
        ("var a = []; for (var i = 0; i < 1e5; i++) a = [a]; a", &[Memory]),
        ("'a'.repeat(6e6).indexOf('a'.repeat(3e6) + 'b')", &[ScriptErrorKind::Runtime]),
        (
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)",
            &[ScriptErrorKind::Runtime],
        ),
    ];
    for (source, kinds) in cases {
        let engine = if kinds.contains(&Timeout) { &hurried } else { &patient };
        let error =
            engine.run(source, Form::Statements, &Json::from(&json!({"n": 0}))).expect_err(source);
        assert!(kinds.contains(&error.kind), "{source}: {:?} {error}", error.kind);
        let after = engine.run("$.n + 1", Form::Statements, &Json::from(&json!({"n": 1})));
        assert_eq!(after.expect("usable").text(), "2", "after {source}");
    }
}

#[test]
fn what_a_script_may_provoke_in_the_engine_does_not_end_the_process() {
    for source in [
        "Error.stackTraceLimit = {}; Error.stackTraceLimit = {}; Error.stackTraceLimit = 1",
        "Error.prepareStackTrace = () => { throw 1 }; try { null.x } catch (e) { 1 }",
        "new FinalizationRegistry(() => {}).register({}, 1); 1",
        "Promise.reject(new Error('unheard')); 1",
    ] {
        check(source, &json!({}), "1");
    }
}

/// What a script can see of the built-ins, by harmless means and by any means.
const PROBES: &[&str] = &[
    "[typeof x, typeof leaked, [].leaked, {}.leaked, ''.leaked, $.leaked, Math.leaked]",
    "[Math.max(1, 2), JSON.stringify({a: 1}), [3, 1].sort(), [1, 2].map(n => n + 1), 'ab'.includes('b')]",
    "[typeof console.log, parseInt('7'), [].concat([1]), Object.keys({k: 1}), String(new Date(0).getTime())]",
    "[$.list.get(0), $.list.size(), $.map.get('k'), $.map.containsKey('k'), $.map.isEmpty()]",
    "[/a/.test('a'), 'a-b'.split('-'), 'a'.replace('a', 'b'), [...'ab'], new Set([1]).has(1)]",
    "[`${1}`, (1.5).toFixed(1), isNaN(NaN), [1] + '', ({}) + '', (() => 1)()]",
    "if (0) { this; } [Object.getOwnPropertyNames(globalThis).length, typeof eval, typeof Function]",
];

#[test]
fn no_script_leaves_a_trace_for_the_next() {
    let sneaky = [
        "x = 1",
        "leaked = 1; leaked",
        "var leaked = 1; leaked",
        "let leaked = 1; leaked",
        "const leaked = 1; leaked",
        "function leaked() {} leaked()",
        "this.leaked = 1",
        "globalThis.leaked = 1",
        "(function () { this.leaked = 1 })()",
        "(function () { leaked = 1 })()",
        "(() => { x = leaked = 5 })()",
        "(0, eval)('var leaked = 1')",
        "new Function('leaked = 1')()",
        "[]['filter']['constr' + 'uctor']('leaked = 1')()",
        "[]['filter']['constr' + 'uctor']('this.leaked = 1')()",
        "[]['filter']['constr' + 'uctor']('return Object')()['assign'](Math, { leaked: 1 })",
        "Array.prototype.leaked = 1",
        "Array['proto' + 'type'].leaked = 1",
        "Array['proto' + 'type'].map = () => 'bad'",
        "Object.prototype.leaked = 1",
        "({})['__pro' + 'to__'].leaked = 1",
        "''['__pro' + 'to__'].leaked = 1",
        "Object.defineProperty(Object.prototype, 'leaked', { get() { return 1 } })",
        "Object['define' + 'Property'](Math, 'leaked', { value: 1 })",
        "Object['as' + 'sign'](JSON, { stringify: () => 'bad' })",
        "Math.leaked = 1; Math.leaked",
        "Math.max = () => 9",
        "Math['max'] = () => 9",
        "var m = Math; m.max = () => 9",
        "[Math][0].max = () => 9",
        "(o => { o.max = () => 9 })(Math)",
        "for (Math.max of [() => 9]) {}",
        "[Math.max] = [() => 9]",
        "({ a: Math.max } = { a: () => 9 })",
        "Math.max++",
        "Math.max ||= 1; Math.max &&= () => 9",
        "delete Math.max",
        "delete JSON.stringify; delete Array.prototype.sort",
        "JSON.stringify = () => 'bad'",
        "JSON.parse = null; console.log = null; console = null",
        "parseInt = () => 0",
        "Object = null",
        "Math = null",
        "undefined = 1; NaN = 1",
        "Array = function () { return 'bad' }",
        "Object.freeze(Array.prototype); Object.setPrototypeOf(Math, { leaked: 1 })",
        "RegExp.prototype.test = () => false",
        "Set.prototype.has = () => false",
        "Date.prototype.getTime = () => 1",
        "Number.prototype.toFixed = () => 'bad'",
        "String.prototype.split = () => 'bad'; String.prototype[Symbol.iterator] = null",
        "Array.prototype[0] = 'bad'; Array.prototype.push('bad')",
        "Array.prototype.toString = Object.prototype.toString",
        "Symbol.for('leaked'); Object.prototype[Symbol.toPrimitive] = () => 'bad'",
        "Error.prepareStackTrace = () => 'bad'; Error.stackTraceLimit = 0",
        "$.list.constructor.prototype.map = () => 'bad'",
        "Object.getPrototypeOf($.list).get = () => 'bad'",
        "Object.getPrototypeOf($.map).isEmpty = () => 'bad'",
        "$['__pro' + 'to__'].size = () => 'bad'; $['__pro' + 'to__'].leaked = 1",
        "$.leaked = 1; $.list.push(5); $.map.k = 2; $",
        "$.list.add(1); $.map.put('z', 1); $.list.set(0, 'bad')",
        "$ = { leaked: 1 }",
        "setTimeout = (f) => f(); Promise.resolve().then(() => { leaked = 1 })",
        "Promise.resolve().then(() => { Math.max = null }); 1",
        "(async () => { await 1; globalThis.leaked = 1 })()",
        "(async () => { for (;;) { await 1; break } Array.prototype.leaked = 1 })()",
        "Array['from' + 'Async']([1]); 1",
        "queueMicrotask(() => { leaked = 1 })",
        "new FinalizationRegistry(() => { leaked = 1 }).register({}, 1)",
        "var t = s => s; t`leaked`.x = 1",
        "String.raw`a`; (s => { s.raw[0] = 'bad' })`x`",
        "({ get leaked() { return 1 }, __proto__: Math }).leaked",
        "class A { static leaked = 1 } Object.prototype.leaked = A",
        "try { Math.max = 1; leaked = 1 } catch (e) { Object.prototype.leaked = e }",
        "with (Math) { max = 1 } with ({}) { leaked = 1 }",
        "\\u0074his.leaked = 1",
        "throw (globalThis.leaked = 1)",
        "Object.prototype.toJSON = () => 'bad'; 1",
        "BigInt.prototype.toJSON = () => 'bad'; 1n",
        "Function.prototype.call = null; Function.prototype.leaked = 1",
        "(() => {}).leaked = 1; (() => {})['__pro' + 'to__'].leaked = 1",
        "[].values()['__pro' + 'to__'].next = null",
        "[][Symbol.iterator]().__proto__.next = () => ({ done: true })",
        "Iterator.prototype.leaked = 1",
        "(function* () {})['constr' + 'uctor']('leaked = 1')().next()",
    ];
    let input = Json::from(&json!({"list": [7], "map": {"k": 1}}));
    let pristine: Vec<_> = PROBES
        .iter()
        .map(|probe| engine().run(probe, Form::Statements, &input).expect(probe))
        .collect();
    let engine = JavaScript::new(Limits { time: Duration::from_secs(3), ..tight() });
    for form in [Form::Statements, Form::FunctionBody] {
        for source in sneaky {
            for _ in 0..3 {
                // Most succeed in their own realm; what counts is what is seen from another.
                let _ = engine.run(source, form, &input);
            }
            for (probe, before) in PROBES.iter().zip(&pristine) {
                let after = engine.run(probe, Form::Statements, &input).expect(probe);
                assert_eq!(&after, before, "{probe} after {source}");
            }
        }
    }
}

#[test]
fn a_realm_of_its_own_makes_no_difference_to_a_result() {
    let fragments = [
        "var x = $.a",
        "let y = 2; y",
        "x = 5",
        "function f() { return $.b }",
        "if ($.a) { x + 1; } else f()",
        "if ($.b > $.a) 'more'; else { 'less' }",
        "for (var i = 0; i < 2; i++) { i }",
        "while ($.a < 3) $.a++",
        "typeof f == 'function' && f()",
        "{ 4; }",
        "({ x: $.list, s: `${$.a}` })",
        "$.toString = 1",
        "[x, $.b] = $.list",
        "return 3",
        "label: $.b",
        "{}\n/1/g\n+1",
        "$.list\n[0]",
        "'use strict'",
        "function g() { return typeof this }\ng()",
        "",
    ];
    let input = Json::from(&json!({"a": 1, "b": 2, "list": [3, 4]}));
    let (shared, own) = (engine(), engine());
    for first in fragments {
        for second in fragments {
            for separator in ["; ", "\n"] {
                let source = format!("{first}{separator}{second}");
                let expected = own.run(&suspicious(&source), Form::Statements, &input);
                for _ in 0..3 {
                    let result = shared.run(&source, Form::Statements, &input);
                    let same = match (&result, &expected) {
                        (Ok(result), Ok(expected)) => result == expected,
                        (Err(error), Err(expected)) => error.kind == expected.kind,
                        _ => false,
                    };
                    // A directive counts only at the very start.
                    let directive = source.starts_with("'use strict'");
                    assert!(same || directive, "{source:?}: {result:?}, not {expected:?}");
                }
            }
        }
    }
}

#[test]
fn engines_and_threads_do_not_disturb_one_another() {
    let small = JavaScript::new(Limits { time: Duration::from_mins(1), ..tight() });
    let large = JavaScript::new(Limits::default());
    let input = Json::from(&json!({"n": 3}));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..50 {
                    let source = format!("'x'.repeat($.n * 500000).length + {round}");
                    let expected = (1_500_000 + round).to_string();
                    let result = large.run(&source, Form::Statements, &input).expect("fits");
                    assert_eq!(result.text(), expected);
                    let error = small
                        .run("'x'.repeat($.n * 500000)", Form::Statements, &input)
                        .expect_err("more output than allowed");
                    assert_eq!(error.kind, ScriptErrorKind::Memory);
                }
            });
        }
    });
}

#[test]
fn more_sources_than_are_remembered_give_the_right_results() {
    let engine = engine();
    let input = Json::from(&json!({"n": 3}));
    for round in 0..1500 {
        let result = engine.run(&format!("$.n + {round}"), Form::Statements, &input);
        assert_eq!(result.expect("a sum").text(), (3 + round).to_string());
    }
}
