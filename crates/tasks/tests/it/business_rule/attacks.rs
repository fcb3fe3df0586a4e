//! Rule files and inputs that are made to read what must not be read, or to take for ever.

use std::fmt::Write as _;

use engine::{OutcomeStatus, TaskRunner};
use serde_json::json;
use tasks::business_rule::BusinessRule;
use tasks::http::{Http, Settings};
use tasks::outgoing::{Dialer, Policy};
use tokio_util::sync::CancellationToken;

use super::workbook::{Workbook, around, styled};
use super::{Files, failed, input, result};
use crate::http::{handoff, settings};

#[tokio::test]
async fn no_file_of_the_machine_is_read() {
    let files = Files::new().await;
    for location in [
        "file:///etc/passwd",
        "FILE://etc/rules.xlsx",
        "file:/etc/passwd",
        "/etc/passwd",
        "rules.csv",
        "../rules.csv",
        "s3://bucket/rules.csv",
        "data:text/csv,a",
    ] {
        let outcome = files.ask(location, json!({"a": 1}), json!(["B"])).await;
        assert_eq!(outcome.status, OutcomeStatus::FailedTerminally, "{location}");
        assert_eq!(outcome.output.parse()["error"]["code"], "INVALID_URI", "{location}");
        assert!(outcome.reason.unwrap().contains("Serve the file over HTTP"), "{location}");
    }
}

#[tokio::test]
async fn an_address_that_is_closed_to_calls_is_closed_to_rule_files() {
    let files = Files::new().await;
    let url = files.put("/r.csv", "text/csv", "a,B\n1,x");
    let policy = Policy { deny: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
    let http = Http::new(Settings { outgoing: Dialer::new(policy), ..settings() }).unwrap();
    let closed = BusinessRule::new(http.client().clone());
    let input = input(&url, "FIRE_FIRST", json!({"a": 1}), json!(["B"]));
    let outcome = closed.run(handoff(&input), CancellationToken::new()).await;
    assert_eq!(outcome.output.parse()["error"]["code"], "ADDRESS_REFUSED", "{outcome:?}");
    assert_eq!(files.asked(), 0);
}

#[tokio::test]
async fn a_workbook_that_unpacks_to_too_much_is_not_unpacked() {
    let files = Files::new().await;
    let blank = format!("<worksheet><sheetData>{}</sheetData></worksheet>", " ".repeat(64 << 20));
    let bomb = around(&blank);
    assert!(bomb.len() < 1 << 20, "it is small on the way");
    let url = files.put("/bomb.xlsx", "", bomb);
    let why = failed(&files.ask(&url, json!({}), json!(["B"])).await, "RULE_FILE_TOO_LARGE");
    assert_eq!(why, "it unpacks to more than 16777216 bytes");
}

#[tokio::test]
async fn styles_that_multiply_a_long_name_are_refused() {
    let files = Files::new().await;
    let name = "n".repeat(1 << 20);
    let styles = format!(
        "<styleSheet><fonts><font><name val=\"{name}\"/></font></fonts><cellXfs>{}</cellXfs></styleSheet>",
        "<xf fontId=\"0\"/>".repeat(100_000)
    );
    let book = styled("<worksheet><sheetData></sheetData></worksheet>", &styles);
    assert!(book.len() < 1 << 20, "it is small on the way");
    let url = files.put("/styles.xlsx", "", book);
    let why = failed(&files.ask(&url, json!({}), json!(["B"])).await, "RULE_FILE_TOO_LARGE");
    assert!(why.starts_with("its styles are too many"), "{why}");
}

#[tokio::test]
async fn a_cell_at_the_far_end_of_a_sheet_costs_one_cell() {
    let files = Files::new().await;
    let mut book = Workbook::default();
    book.texts(1, &["a"]).text(1, 16_383, "B").text(1_048_576, 0, "1").text(1_048_576, 16_383, "x");
    let url = files.put("/far.xlsx", "", book.bytes());
    let outcome = files.ask(&url, json!({"a": 1}), json!(["B"])).await;
    assert_eq!(result(&outcome), json!({ "B": "x" }));
}

#[tokio::test]
async fn tables_and_files_beyond_the_limits_are_refused() {
    let files = Files::new().await;
    let rows = |count: usize, row: &str| {
        let mut text = String::from("a,B\n");
        (0..count).for_each(|_| writeln!(text, "{row}").unwrap());
        text
    };
    let wide: Vec<String> = (0..257).map(|column| format!("c{column}")).collect();
    let filled =
        format!("{}\n{}", wide[..256].join(","), format!("{}\n", ",1".repeat(255)).repeat(400));
    let pattern = format!("\"matches(\"\"{}\"\")\",x", "a{500}");
    for (text, why) in [
        (rows(10_001, "1,x"), "it has more than 10000 rows"),
        (wide.join(","), "it has more than 256 columns"),
        (filled, "it has more than 100000 cells"),
        (rows(5_000, &pattern), "it has more than 33554432 bytes"),
    ] {
        let url = files.put("/large.csv", "text/csv", text);
        let told =
            failed(&files.ask(&url, json!({"a": 1}), json!(["B"])).await, "RULE_FILE_TOO_LARGE");
        assert_eq!(told, why);
    }
    let url = files.put("/huge.csv", "text/csv", rows(1_000_000, "1,x"));
    let outcome = files.ask(&url, json!({"a": 1}), json!(["B"])).await;
    assert_eq!(outcome.output.parse()["error"]["code"], "BODY_TOO_LARGE", "{outcome:?}");
}

#[tokio::test]
async fn a_regular_expression_that_is_much_work_is_refused() {
    let files = Files::new().await;
    let ask = async |cell: &str, text: &str| {
        let table = super::csv(&[&["a", "B"], &[cell, "x"]]);
        let url = files.put(&format!("/{}.csv", cell.len()), "text/csv", table);
        files.ask(&url, json!({ "a": text }), json!(["B"])).await
    };
    let why = failed(&ask(r#"matches("((a{100}){100}){100}")"#, "a").await, "RULE_INVALID");
    assert!(why.starts_with("row 2, column `a`: its regular expression is too large"), "{why}");
    let long = "a".repeat(100_000);
    let why = failed(&ask(r#"matches("(a?){100}b")"#, &long).await, "RULE_INVALID");
    assert_eq!(why, "row 2, column `a`: `matches` is too much work on a text of 100000 bytes");
    assert_eq!(result(&ask(r#"matches("(a+)+")"#, &long).await), json!({ "B": "x" }));
}
