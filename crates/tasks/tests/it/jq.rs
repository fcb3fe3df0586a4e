//! jq against the answers of jq 1.7, and against programs that mean harm.

use std::time::Duration;

use kernel::{Json, ScriptErrorKind};
use serde::Deserialize;
use serde_json::{Value, json};
use tasks::jq::{Jq, Limits};

fn run(program: &str, input: &Value) -> Result<Vec<Value>, String> {
    let outputs = Jq::new(Limits::default()).run(program, &Json::of(input));
    outputs.map(|outputs| outputs.iter().map(Json::parse).collect()).map_err(|e| e.message)
}

#[track_caller]
fn gives(program: &str, input: &Value, expected: &[Value]) {
    let outputs = run(program, input).unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        outputs.len() == expected.len() && outputs.iter().zip(expected).all(|(l, r)| same(l, r)),
        "{program}: {outputs:?} is not {expected:?}"
    );
}

#[track_caller]
fn fails(program: &str, input: &Value, message: &str) {
    let outcome = run(program, input);
    let found = outcome.expect_err("the program fails");
    assert!(found.contains(message), "{program}: {found} lacks {message}");
}

/// Equal in structure, numbers by value.
fn same(l: &Value, r: &Value) -> bool {
    match (l, r) {
        (Value::Number(l), Value::Number(r)) => l.as_f64() == r.as_f64(),
        (Value::Array(l), Value::Array(r)) => {
            l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same(l, r))
        }
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len() && l.iter().all(|(k, l)| r.get(k).is_some_and(|r| same(l, r)))
        }
        _ => l == r,
    }
}

#[derive(Deserialize)]
struct Golden {
    inputs: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    program: String,
    input: usize,
    jackson_jq_0_0_13: Answer,
    jq_1_7: Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Vec<Value>),
    Err(#[expect(dead_code, reason = "only that there is an error counts")] String),
}

impl Answer {
    fn matches(&self, outcome: &Result<Vec<Value>, String>) -> bool {
        match (self, outcome) {
            (Answer::Ok(l), Ok(r)) => {
                l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same(l, r))
            }
            (Answer::Err(_), Err(_)) => true,
            _ => false,
        }
    }
}

/// Where jq 1.7 is not followed, and why. Whose answer holds instead: jackson-jq's, or neither's.
const EXCEPTIONS: [(&str, Instead); 7] = [
    // jackson-jq answers, and definitions in use rely on it.
    (".o | [leaf_paths]", Instead::Jackson),
    ("{ requestTransform: .input.requestTransform // \".body\" ", Instead::Jackson),
    (".updates | join(\",\")", Instead::Jackson),
    // The environment holds the secrets of the server.
    ("env | type", Instead::Jackson),
    // Later versions of jq have these.
    (".csv | trim", Instead::Neither),
    ("[1,2] | toarray", Instead::Neither),
    // The manual of jq promises the short names `k` and `v`.
    ("[{\"k\":\"k\",\"v\":1}] | from_entries", Instead::Neither),
];

#[derive(Clone, Copy, PartialEq)]
enum Instead {
    Jackson,
    Neither,
}

#[test]
fn answers_as_jq_does() {
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/jq.json")).expect("the table is valid");
    let mut wrong = Vec::new();
    let mut used = 0;
    for case in &golden.cases {
        let outcome = run(&case.program, &golden.inputs[case.input]);
        let mut exceptions = EXCEPTIONS.iter();
        let instead = exceptions.find(|(program, _)| case.program.starts_with(program));
        let by_jq = case.jq_1_7.matches(&outcome);
        let by_jackson = case.jackson_jq_0_0_13.matches(&outcome);
        let expected = match instead {
            None => by_jq,
            Some((_, Instead::Jackson)) => by_jackson && !by_jq,
            Some((_, Instead::Neither)) => !by_jackson && !by_jq,
        };
        used += usize::from(instead.is_some());
        if !expected {
            wrong.push(format!("{}\n  -> {outcome:?}", case.program));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(used, EXCEPTIONS.len(), "an exception matches no case");
}

#[test]
fn paths_over_mixed_arrays_skip_what_does_not_fit() {
    let mixed = json!({"list": [1, {"x": 2}, {"x": {"y": [[1, 2], [3]]}}, null, "s"]});
    gives(".list[].x?.y?[]?[]?", &mixed, &[json!(1), json!(2), json!(3)]);
    let input = json!({"list": [{"x": {"y": [[1], [2]]}}, "s", 7]});
    gives(".list[].x?.y?[][]", &input, &[json!(1), json!(2)]);
    // The output of a loop: an object per iteration, and a scalar that counts them.
    let output = json!({"bigList": {
        "1": {"ref": {"resultList": [[{"a": 1}], [{"a": 2}]]}},
        "2": {"ref": {"resultList": [[{"a": 3}]]}},
        "iteration": 2,
    }});
    let rows = [json!({"a": 1}), json!({"a": 2}), json!({"a": 3})];
    gives(".bigList[].ref?.resultList?[][]", &output, &rows);
}

#[test]
fn assignment_creates_paths_through_null() {
    gives(".a.b[1].c = 1", &json!(null), &[json!({"a": {"b": [null, {"c": 1}]}})]);
    gives(".n += 1", &json!({}), &[json!({"n": 1})]);
    gives(".a[1:3] |= map(. * 2)", &json!({"a": [1, 2, 3, 4]}), &[json!({"a": [1, 4, 6, 4]})]);
    gives("getpath([\"a\", 0]) |= 5", &json!(null), &[json!({"a": [5]})]);
    gives("del(.[0, 2])", &json!([1, 2, 3]), &[json!([2])]);
    gives("delpaths([[\"a\", \"b\"]])", &json!({}), &[json!({})]);
    gives("(.[] | select(. > 1)) |= empty", &json!([1, 2, 3, 4]), &[json!([1])]);
    gives("pick(.[1].a)", &json!([1, {"a": 2, "b": 3}]), &[json!([null, {"a": 2}])]);
    fails(".[-1] = 1", &json!(null), "Out of bounds negative array index");
}

#[test]
fn objects_keep_the_order_of_insertion() {
    let jq = Jq::new(Limits::default());
    let input = Json::from_text(r#"{"z":1,"a":{"y":2,"b":3}}"#.to_owned()).expect("valid");
    let output = jq.run(".m = 0 | .z = 9 | del(.a.y)", &input).expect("runs");
    assert_eq!(output[0].text(), r#"{"z":9,"a":{"b":3},"m":0}"#);
    let output = jq.run("to_entries | from_entries", &input).expect("runs");
    assert_eq!(output[0], input);
    gives("keys", &json!({"b": 1, "a": 2}), &[json!(["a", "b"])]);
}

#[test]
fn numbers_keep_what_their_text_said() {
    let jq = Jq::new(Limits::default());
    for text in ["[9007199254740993,18446744073709551615,1.0,0.1,-7]", "[0.0001,1.5e+300]"] {
        let input = Json::from_text(text.to_owned()).expect("valid");
        for program in [".", "map(.)", "tojson | fromjson"] {
            let output = jq.run(program, &input).expect("runs");
            assert_eq!(output[0].text(), text, "{program}");
        }
    }
    let output = |program| jq.run(program, &Json::null()).expect("runs")[0].text().to_owned();
    assert_eq!(output("[1.0 + 0, 3 / 2, 4 / 2, 1e3 * 1]"), "[1,1.5,2,1000]");
    assert_eq!(
        output("[nan, infinite, -infinite]"),
        "[null,1.7976931348623157e+308,-1.7976931348623157e+308]"
    );
    assert_eq!(output("[1e-7, 1e17 + 1e17 | tojson]"), "[\"1e-07\",\"2e+17\"]");
    assert_eq!(output("9223372036854775807 + 1 | . == 9223372036854775808"), "true");
}

#[test]
fn generators_vary_as_in_jq() {
    let null = json!(null);
    gives("[(1, 2) + (10, 20)]", &null, &[json!([11, 12, 21, 22])]);
    gives("[\"\\(1, 2)-\\(3, 4)\"]", &null, &[json!(["1-3", "2-3", "1-4", "2-4"])]);
    gives(
        "{a: (1, 2), b: (3, 4)} | [.a, .b]",
        &null,
        &[json!([1, 3]), json!([1, 4]), json!([2, 3]), json!([2, 4])],
    );
    gives("reduce range(3) as $x (0; . + $x, 10)", &null, &[json!(10)]);
    gives("reduce range(3) as $x (0; empty)", &null, &[json!(null)]);
    gives("[limit(3; range(1; 9; 2))]", &null, &[json!([1, 3, 5])]);
    gives("\"a\\nb\" | $__loc__.line", &null, &[json!(1)]);
    gives("{$__loc__} | .__loc__.line", &null, &[json!(1)]);
    gives("1 |\n $__loc__", &null, &[json!({"file": "<top-level>", "line": 2})]);
}

#[test]
fn library_of_jq() {
    let null = json!(null);
    gives("@csv", &json!([1, "a\"b", null, true, 1.5]), &[json!("1,\"a\"\"b\",,true,1.5")]);
    gives("@sh", &json!(["a'b", 1, null]), &[json!("'a'\\''b' 1 null")]);
    gives("@base64d", &json!("aGk"), &[json!("hi")]);
    gives("INDEX(.id) | keys", &json!([{"id": 2}, {"id": "x"}]), &[json!(["2", "x"])]);
    gives(
        "[1 | truncate_stream([[0], 1], [[1, 0], 2], [[1, 0]], [[1]])]",
        &null,
        &[json!([[[0], 2], [[0]]])],
    );
    gives(
        "[tostream]",
        &json!({"a": [1, {}]}),
        &[json!([[["a", 0], 1], [["a", 1], {}], [["a", 1]], [["a"]]])],
    );
    gives("fromstream(tostream)", &json!({"a": [1, {"b": []}]}), &[json!({"a": [1, {"b": []}]})]);
    gives("[.[] | ltrimstr(\"a\")]", &json!(["ab", 1]), &[json!(["b", 1])]);
    gives("[5.9 % 2.1, -5 % 3, 5 % -3]", &null, &[json!([1, -2, 2])]);
    gives("[\"x\" * 0, \"x\" * 2, \"x\" * -1]", &null, &[json!(["", "xx", null])]);
    gives(
        "[match(\"(?<n>x)?b\").captures[0]]",
        &json!("ab"),
        &[json!([{"offset": -1, "length": 0, "string": null, "name": "n"}])],
    );
    gives("capture(\"(?<n>x)?b\")", &json!("ab"), &[json!({"n": null})]);
    gives("test(\"WÖR\"; \"i\")", &json!("wör"), &[json!(true)]);
    gives("gsub(\"(?<x>[ab])\"; \"1\", \"2\")", &json!("ab"), &[json!("11"), json!("22")]);
    gives("gsub(\"\"; \"-\")", &json!("abc"), &[json!("-a-b-c-")]);
    gives("[scan(\"(a)(b)?\")]", &json!("aab"), &[json!([["a", null], ["a", "b"]])]);
    gives("indices(\", \")", &json!("é, b, c"), &[json!([1, 4])]);
    gives("indices(\"aa\")", &json!("aaaa"), &[json!([0, 1, 2])]);
    gives(".[1:3]", &json!("aéb€c"), &[json!("éb")]);
    gives("todate", &json!(1_425_599_621.678), &[json!("2015-03-05T23:53:41Z")]);
    gives("strptime(\"%Y-%m-%d\") | mktime", &json!("2015-03-05"), &[json!(1_425_513_600)]);
    gives(
        "strftime(\"%A, %B %d, %Y %j %Z\")",
        &json!(1_425_599_621),
        &[json!("Thursday, March 05, 2015 064 UTC")],
    );
    gives("[significand, logb, frexp]", &json!(8.5), &[json!([1.0625, 3, [0.53125, 4]])]);
    gives("[nan < nan, nan == nan, ([nan] | sort)]", &null, &[json!([true, false, [null]])]);
    gives("with_entries(.value += 1)", &json!({"a": 1}), &[json!({"a": 2})]);
    gives("[combinations]", &json!([[1, 2], [3, 4]]), &[json!([[1, 3], [1, 4], [2, 3], [2, 4]])]);
    gives(
        "walk(if type == \"array\" then sort else . end)",
        &json!([3, [2, 1]]),
        &[json!([3, [1, 2]])],
    );
    gives("", &json!(1), &[json!(1)]);
}

#[test]
fn errors_say_what_is_wrong() {
    let null = json!(null);
    fails(".a.x", &json!({"a": "s"}), "Cannot index string with \"x\"");
    fails(".[0]", &json!({}), "Cannot index object with number");
    fails(".[]", &null, "Cannot iterate over null");
    fails(".[]", &json!("s"), "Cannot iterate over string (\"s\")");
    fails("{} - 1", &null, "object ({}) and number (1) cannot be subtracted");
    fails("1 / 0", &null, "cannot be divided because the divisor is zero");
    fails("error(\"no\")", &null, "no");
    fails("error({a: 1})", &null, "{\"a\":1} (not a string)");
    fails("[1] | implode | break_", &null, "break_/0 is not defined at line 1, column 17");
    fails("1 |\n  $x", &null, "$x is not defined at line 2, column 3");
    // What the program is called among the definitions; it would call itself.
    fails("__main", &null, "__main/0 is not defined at line 1, column 1");
    fails("__main_ | __main", &null, "__main_/0 is not defined at line 1, column 1");
    gives(&format!("# __main{}\n1", "_".repeat(1 << 19)), &null, &[json!(1)]);
    fails("1 +", &null, "syntax error at line 1, column 4: unexpected end, expected term");
    fails(".a |\n .b c", &null, "syntax error at line 2, column 5: unexpected `c`");
    fails("[1, 2", &null, "expected closing bracket");
    let long = run("error(\"x\\n\" * 10000)", &null).expect_err("fails");
    assert!(long.chars().count() <= 501 && !long.contains('\n'), "{long}");
}

/// Runs a program that must hit a limit: the other limit is too far away to be hit first.
#[track_caller]
fn stopped(program: &str, expected: ScriptErrorKind) {
    let (time, bytes) = match expected {
        ScriptErrorKind::Timeout => (Duration::from_millis(200), 1 << 30),
        _ => (Duration::from_mins(2), 4 << 20),
    };
    let limits = Limits { time, bytes, steps: u64::MAX, stack: 1 << 20, ..Limits::default() };
    let input = Json::of(&json!([1, [2, 3], {"a": 4}]));
    let error = Jq::new(limits).run(program, &input).expect_err(program);
    assert_eq!(error.kind, expected, "{program}: {error}");
}

#[test]
fn endless_programs_run_out_of_time() {
    use ScriptErrorKind::Timeout;
    stopped("def f: f; f", Timeout);
    stopped("repeat(1) | empty", Timeout);
    stopped("last(range(1e9))", Timeout);
    stopped("reduce range(1e9) as $i (0; . + $i)", Timeout);
    stopped("[range(1e9) | empty]", Timeout);
    stopped("first(range(1e9) | select(. < 0))", Timeout);
    stopped(
        "[range(3000)] as $a | [$a[] as $x | $a[] as $y | $a[] as $z | {}[]] | length",
        Timeout,
    );
    stopped("try (def f: f; f) catch 1", Timeout);
    stopped("any(repeat(false); .)", Timeout);
    stopped("[range(20000)] | contains(reverse)", Timeout);
}

#[test]
fn steps_are_bounded_too() {
    let limits = Limits { steps: 10_000, ..Limits::default() };
    let jq = Jq::new(limits);
    let error = jq.run("[range(1e9) | empty]", &Json::null()).expect_err("stops");
    assert_eq!(error.kind, ScriptErrorKind::Timeout);
    jq.run("[range(1e3)]", &Json::null()).expect("few steps");
}

#[test]
fn memory_bombs_run_out_of_memory() {
    use ScriptErrorKind::Memory;
    stopped("reduce range(60) as $i (\"a\"; . + .)", Memory);
    stopped("reduce range(60) as $i ([1]; . + .)", Memory);
    stopped("[range(1e9)] | length", Memory);
    stopped("[recurse(.)] | length", Memory);
    stopped("\"a\" * 1e12", Memory);
    stopped(".[500000000] = 1", Memory);
    stopped("[range(1000) | \"x\" * 100000]", Memory);
    stopped("reduce range(1e6) as $i ({}; .[$i | tostring] = $i)", Memory);
    stopped("range(1e9)", Memory);
    stopped("[limit(1e9; repeat(\"abc\"))] | join(\",\")", Memory);
    stopped("\"a\" * 1e6 | [range(100) as $i | ascii_upcase]", Memory);
    stopped("try (\"a\" * 1e12) catch 1", Memory);
    stopped("reduce range(1e6) as $i (null; [.])", Memory);
    stopped("def f: {a: f}; f", Memory);
    // Computations that wait for their turn take memory too.
    stopped("def f: f, 1; f", Memory);
    stopped("def f: (1, 2) | f; f", Memory);
    stopped("foreach range(1e9) as $x (0; 1, 2; empty)", Memory);
}

#[test]
fn deep_recursion_is_an_error() {
    use ScriptErrorKind::Memory;
    stopped("def f: 1 + f; f", Memory);
    stopped("def f: [f]; f", Memory);
    stopped("def f(g): g | f(g + 1); def h: f(h); h + 1", Memory);
    stopped("try (def f: 1 + f; f) catch \"caught\"", Memory);
    stopped("def f: try error(1) catch f; f", Memory);
    stopped("null | path(def f: .a | f; f)", Memory);
    stopped("null | path(reduce range(1e9) as $i (.; .a))", Memory);
    stopped("null | setpath([range(1e5) | \"a\"]; 1)", Memory);
    stopped("null | (def f: .a | f; f) |= 1", Memory);
    // Chains of closures: run at their end, or never.
    stopped("def f(g; $n): if $n == 0 then g else f(g + 1; $n - 1) end; f(0; 1e5)", Memory);
    stopped("def f(g): f(g | g); f(.)", Memory);
    stopped("def app(k): k; def f(g): app(f(g | g)); f(.)", Memory);
    // Deep enough to need the big stack, but not endless.
    gives(
        "def sum: if . == 0 then 0 else . + (. - 1 | sum) end; sum",
        &json!(1000),
        &[json!(500_500)],
    );
    gives(
        "[range(100000)] | reduce .[] as $x (0; . + $x)",
        &json!(null),
        &[json!(4_999_950_000_u64)],
    );
    gives("def f: if . >= 100000 then . else . + 1 | f end; f", &json!(0), &[json!(100_000)]);
    gives(
        "def f(g; $n): if $n == 0 then g else f(g + 1; $n - 1) end; f(0; 2000)",
        &json!(null),
        &[json!(2000)],
    );
    gives(
        "def f(n): if n == 0 then \"end\" else f(n - 1) end; f(100)",
        &json!(null),
        &[json!("end")],
    );
    // The program itself may be deep.
    let sum = vec!["1"; 9_900].join("+");
    gives(&sum, &json!(null), &[json!(9_900)]);
    let negated = format!("{}1", "- ".repeat(19_000));
    gives(&negated, &json!(null), &[json!(1)]);
    let nested = format!("{}1{}", "(".repeat(4_900), "|.)".repeat(4_900));
    gives(&nested, &json!(null), &[json!(1)]);
    let branches = format!("{}1{}", "if 1 then ".repeat(4_900), " end".repeat(4_900));
    gives(&branches, &json!(null), &[json!(1)]);
    let pipes = vec!["."; 9_900].join("|");
    gives(&pipes, &json!(1), &[json!(1)]);
    let strings = format!("{}1{}", "\"\\(".repeat(2_400), ")\"".repeat(2_400));
    gives(&strings, &json!(null), &[json!("1")]);
    let list = format!("[{}] | length", vec!["{a: 1}"; 20_000].join(","));
    gives(&list, &json!(null), &[json!(20_000)]);
    for open in
        ["(", "[", "{a:", "-", "if 1 then ", "def f: ", "try ", "\"\\(", "1 as $x | ", "reduce "]
    {
        let program = open.repeat(100_000);
        let outcome = Jq::new(Limits::default()).check(&program);
        assert!(outcome.is_err_and(|e| e.kind == ScriptErrorKind::Syntax), "{open}");
    }
}

#[test]
fn deep_input_is_refused() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let input = Json::from_text(deep).expect("valid");
    let outcome = Jq::new(Limits::default()).run(".", &input);
    outcome.expect_err("refused");
    fails("(\"[\" * 100000) + (\"]\" * 100000) | fromjson", &json!(null), "recursion limit");
}

#[test]
fn expressions_match_in_linear_time() {
    let text = json!("a".repeat(50_000) + "b");
    gives("test(\"^(a+)+$\")", &text, &[json!(false)]);
    gives("test(\"(a|a)*c\")", &text, &[json!(false)]);
    fails("test(\"((a{1000}){1000}){1000}\")", &text, "not a valid regex");
    fails("test(\"(\")", &text, "not a valid regex");
}

#[test]
fn nothing_outside_can_be_reached() {
    for program in [
        "env",
        "$ENV",
        "$ENV.HOME",
        "halt",
        "halt_error",
        "halt_error(1)",
        "input",
        "[inputs]",
        "debug",
        "stderr",
        "input_line_number",
        "get_search_list",
        "import \"a\" as a; 1",
        "include \"a\"; 1",
        "$__prog_args",
    ] {
        let jq = Jq::new(Limits::default());
        let error = jq.run(program, &Json::null()).expect_err(program);
        assert_eq!(error.kind, ScriptErrorKind::Syntax, "{program}: {error}");
    }
    fails("env.HOME", &json!(null), "env/0 is not available here");
}

#[test]
fn programs_do_not_see_one_another() {
    let jq = Jq::new(Limits { cached: 2, ..Limits::default() });
    for round in 0..3 {
        for (program, expected) in [("def f: 1; f", 1), ("def f: 2; f", 2), ("length", 0)] {
            let outputs = jq.run(program, &Json::null()).expect("runs");
            assert_eq!(outputs[0].parse(), json!(expected), "round {round}");
        }
    }
    // A definition of the user's shadows the library only in the user's own text.
    gives(
        "def map(f): \"mine\"; map(.), (with_entries(.) | .a)",
        &json!({"a": 1}),
        &[json!("mine"), json!(1)],
    );
}
