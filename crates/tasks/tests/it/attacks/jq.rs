//! jq programs that double their work with every few characters.

use kernel::{Json, ScriptErrorKind};
use serde_json::json;
use tasks::jq::{Jq, Limits};

use super::{LIMIT, in_time};

#[test]
fn programs_that_multiply_end_at_their_limit() {
    let twice = |count: usize| vec!["(1,1)"; count].join("|");
    let calls: String = many_calls("|");
    let both: String = many_calls(", ");
    let sums = vec!["(1,1)"; 34].join("+");
    let ands = vec!["(true,true)"; 34].join(" and ");
    let closures = format!("def twice(f): f|f; {}1{}", "twice(".repeat(34), ")".repeat(34));
    for program in [
        format!("last({})", twice(34)),
        format!("({})|empty", twice(34)),
        format!("any({}; false)", twice(34)),
        format!("[limit(1; {}|select(. == 2))]", twice(34)),
        format!("def f0: .; {calls} f39"),
        format!("def f0: empty; {both} f39"),
        format!("last({sums})"),
        format!("last({ands})"),
        format!("last({})", vec!["{a:(1,1)}"; 34].join("|")),
        format!("last({})", vec!["[1,1][]"; 34].join("|")),
        format!("last({})", vec!["(1,1) as $x"; 34].join("|") + "|1"),
        format!("last(if {} then 1 else 2 end)", twice(34)),
        closures,
        "last(range(1e12))".to_owned(),
        "[range(1e5)] | last(combinations(3))".to_owned(),
        "(\"a\"*3000000)|match(\"^(?:(a?){1500}|b)*x?$\")".to_owned(),
        "[(\"A\"*3000000)|match(\".*[^A-Z]|[A-Z]\"; \"g\")]|length".to_owned(),
    ] {
        let limits = Limits { time: LIMIT, ..Limits::default() };
        let run = program.clone();
        let result = in_time(move || Jq::new(limits).run(&run, &Json::null()));
        let error = result.unwrap_or_else(|| panic!("{program}: does not end"));
        let error = error.expect_err(&program);
        assert_ne!(error.kind, ScriptErrorKind::Syntax, "{program}: {error}");
    }
}

#[test]
fn an_honest_program_over_a_large_text_runs() {
    let text = "the quick brown fox jumps over the lazy dog; ".repeat(2000);
    let input = Json::from(json!(text));
    let outputs = Jq::new(Limits::default()).run("[scan(\"[a-z]+\")]|length", &input);
    assert_eq!(outputs.expect("it runs")[0].text(), "18000");
}

/// Forty definitions, each of which calls the one before it twice.
fn many_calls(between: &str) -> String {
    let one = |n: usize| format!("def f{n}: f{0}{between}f{0};", n - 1);
    (1..40).map(one).collect::<Vec<_>>().concat()
}
