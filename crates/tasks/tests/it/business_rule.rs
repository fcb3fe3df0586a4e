//! Decision tables, served as files by a server on the loopback interface.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![allow(clippy::needless_pass_by_value, reason = "inputs are written on the spot")]

mod attacks;
mod operators;
mod workbook;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use engine::{Outcome, OutcomeStatus, TaskRunner};
use kernel::graph::Status;
use serde_json::{Value, json};
use tasks::business_rule::BusinessRule;
use tokio_util::sync::CancellationToken;

use crate::flows;
use crate::http::{handoff, http, server};
use workbook::{PERCENT, Workbook};

/// The table that Orkes' documentation shows.
const PRODUCTS: [[&str; 7]; 6] = [
    [
        "productType",
        "productCategory",
        "purchaseDate",
        "itemCount",
        "price",
        "Discount",
        "ShippingCharges",
    ],
    ["electronics", "cellphone", "<=2022-04-22", "8", "!= 100", "11%", "5$"],
    ["electronics", "cellphone", "<=2022-04-22", "8", "< 100", "13%", "15$"],
    ["electronics", "laptop", "> 2022-mar-12", ">10", "<10.2", "5%", "4$"],
    ["beauty", "powder", "= 2022-01-01", ">15", ">=10.3", "15%", "2$"],
    ["food", "pizza", "< 2022-03-22 12:20:22", "25", ">300", "7%", "10$"],
];

/// Files by path, each with its media type.
type Shelf = HashMap<String, (&'static str, Vec<u8>)>;

/// A server of files that can change, and a runner that reads them.
pub(super) struct Files {
    server: server::Server,
    shelf: Arc<Mutex<Shelf>>,
    asked: Arc<Mutex<usize>>,
    runner: BusinessRule,
}

impl Files {
    pub(super) async fn new() -> Self {
        let shelf: Arc<Mutex<Shelf>> = Arc::default();
        let asked: Arc<Mutex<usize>> = Arc::default();
        let (served, count) = (Arc::clone(&shelf), Arc::clone(&asked));
        let serve = move |uri: Uri| async move {
            *count.lock().unwrap() += 1;
            match served.lock().unwrap().get(uri.path()) {
                Some((media, bytes)) => {
                    ([(header::CONTENT_TYPE, *media)], bytes.clone()).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            }
        };
        let server = server::good(Router::new().fallback(serve)).await;
        let runner = BusinessRule::new(http().client().clone());
        Self { server, shelf, asked, runner }
    }

    /// Puts a file there; answers its URL.
    pub(super) fn put(&self, path: &str, media: &'static str, bytes: impl Into<Vec<u8>>) -> String {
        self.shelf.lock().unwrap().insert(path.to_owned(), (media, bytes.into()));
        self.server.url(path)
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    pub(super) async fn run(&self, input: Value) -> Outcome {
        let running = self.runner.run(handoff(&input), CancellationToken::new());
        // Only so that a hang fails the test instead of stopping it.
        let outcome = tokio::time::timeout(Duration::from_mins(1), running).await;
        outcome.expect("a task ends by itself")
    }

    /// What a table says about one input, in the columns that begin in upper case.
    pub(super) async fn ask(&self, url: &str, inputs: Value, outputs: Value) -> Outcome {
        self.run(input(url, "FIRE_FIRST", inputs, outputs)).await
    }
}

fn input(url: &str, strategy: &str, inputs: Value, outputs: Value) -> Value {
    json!({ "ruleFileLocation": url, "executionStrategy": strategy, "inputColumns": inputs,
        "outputColumns": outputs })
}

/// A CSV file of these rows.
pub(super) fn csv(rows: &[&[&str]]) -> String {
    let cell = |cell: &&str| format!("\"{}\"", cell.replace('"', "\"\""));
    let row = |row: &&[&str]| row.iter().map(cell).collect::<Vec<_>>().join(",");
    rows.iter().map(row).collect::<Vec<_>>().join("\r\n")
}

#[track_caller]
pub(super) fn result(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, OutcomeStatus::Completed, "{outcome:?}");
    outcome.output.parse()["result"].clone()
}

/// The reason of a failure that another attempt may not meet, without the file's place.
#[track_caller]
pub(super) fn failed(outcome: &Outcome, code: &str) -> String {
    assert_eq!(outcome.status, OutcomeStatus::Failed, "{outcome:?}");
    let output = outcome.output.parse();
    assert_eq!(output["error"]["code"], code, "{outcome:?}");
    let reason = outcome.reason.clone().expect("a failure has a reason");
    assert_eq!(output["error"]["message"], reason);
    let shown = reason.split_once(": the rule file cannot be used: ");
    let (place, why) = shown.expect("it says which file");
    assert!(place.starts_with("GET http://127.0.0.1:"), "{reason}");
    why.to_owned()
}

fn phone() -> String {
    csv(&[&["Name", "Price"], &["Phone", "10$"], &["Phone", "11$"]])
}

#[tokio::test]
async fn the_examples_of_the_documentation_come_out_as_printed() {
    let files = Files::new().await;
    let rows: Vec<&[&str]> = PRODUCTS.iter().map(<[&str; 7]>::as_slice).collect();
    let mut book = Workbook::default();
    for (at, row) in rows.iter().enumerate() {
        book.texts(at + 1, row);
    }
    let xlsx = files.put("/Product.xlsx", "application/octet-stream", book.bytes());
    let csv = files.put("/Product.csv", "text/plain", csv(&rows));
    let bought = |category: &str, price: &str, count: &str| {
        json!({ "productType": "electronics", "productCategory": category, "price": price,
            "itemCount": count, "purchaseDate": "2022-04-22", "itemCode": null })
    };
    for url in [xlsx, csv] {
        for (strategy, inputs, discount, charges) in [
            ("FIRE_FIRST", bought("cellphone", "5", "8"), "11%", "5$"),
            // The page prints 5$ here, against its own table and its own rule.
            ("FIRE_ALL", bought("cellphone", "5", "8"), "13%", "15$"),
            ("FIRE_FIRST", bought("laptop", "10.0", "12"), "5%", "4$"),
        ] {
            let asked = input(&url, strategy, inputs, json!(["Discount", "ShippingCharges"]));
            let expected = json!({ "Discount": discount, "ShippingCharges": charges });
            assert_eq!(result(&files.run(asked).await), expected, "{url} {strategy}");
        }
    }
}

#[tokio::test]
async fn the_strategy_says_whether_the_first_or_the_last_rule_counts() {
    let files = Files::new().await;
    let url = files.put("/phone.csv", "text/csv", phone());
    for (strategy, price) in [("FIRE_FIRST", "10$"), ("FIRE_ALL", "11$"), ("fire_all", "11$")] {
        let asked = input(&url, strategy, json!({"Name": "Phone"}), json!(["Price"]));
        assert_eq!(result(&files.run(asked).await), json!({ "Price": price }));
    }
    let outcome = files.ask(&url, json!({"Name": "Pear"}), json!(["Price"])).await;
    assert_eq!(result(&outcome), json!({}), "no rule matches");
}

#[tokio::test]
async fn a_blank_condition_always_holds_and_a_blank_output_takes_nothing_back() {
    let files = Files::new().await;
    let rows: [&[&str]; 4] =
        [&["who", "Tier", "Note"], &["", "basic", "all"], &["ann", "gold", " "], &["bob", "", ""]];
    let url = files.put("/tiers.csv", "text/csv", format!("\u{feff}{}", csv(&rows)));
    for (who, tier, note) in
        [("ann", "gold", "all"), ("bob", "basic", "all"), ("eve", "basic", "all")]
    {
        let asked = input(&url, "FIRE_ALL", json!({ "who": who }), json!(["Tier", "Note"]));
        let expected = json!({ "Tier": tier, "Note": note });
        assert_eq!(result(&files.run(asked).await), expected, "{who}");
    }
    let rows: [&[&str]; 2] = [&["who", "Tier"], &["bob", ""]];
    let url = files.put("/blank.csv", "text/csv", csv(&rows));
    let outcome = files.ask(&url, json!({"who": "bob"}), json!("Tier")).await;
    assert_eq!(result(&outcome), json!({ "Tier": null }), "it matched and says nothing");
}

#[tokio::test]
async fn a_workbook_gives_numbers_flags_dates_and_percentages() {
    let files = Files::new().await;
    let mut book = Workbook::default();
    book.texts(2, &["count", "paid", "day", "Discount", "Points", "Share", "Tags", "From"]);
    book.number(4, 0, "8", 0).flag(4, 1, true).number(4, 2, "44673", workbook::DATE);
    book.number(4, 3, "0.11", PERCENT).number(4, 4, "12", 0).number(4, 5, "0.25", 0);
    book.text(4, 6, r#"createList({"A", "B, C",3,true,plain})"#);
    book.number(4, 7, "44673.5", workbook::DATE);
    // Its name tells nothing; the Content-Type does.
    let media = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let url = files.put("/export", media, book.bytes());
    let inputs = json!({"count": "8.0", "paid": true, "day": "2022-04-22"});
    let outputs = json!(["Discount", "Points", "Share", "Tags", "From"]);
    let expected = json!({ "Discount": "11%", "Points": 12, "Share": 0.25,
        "Tags": ["A", "B, C", 3, true, "plain"], "From": "2022-04-22 12:00:00" });
    assert_eq!(result(&files.ask(&url, inputs, outputs.clone()).await), expected);
    let inputs = json!({"count": 8, "paid": false, "day": "2022-04-22"});
    assert_eq!(result(&files.ask(&url, inputs, outputs).await), json!({}));
}

#[tokio::test]
async fn a_rule_that_cannot_be_meant_is_named_by_row_and_column() {
    let files = Files::new().await;
    let first = phone();
    for (cell, why) in [
        ("=> 3", "`=> 3` begins with no operator; there are <=, >=, =, !=, < and >"),
        (">", "`>` is followed by nothing"),
        ("< many", "`<` compares numbers and dates, and `many` is neither"),
        ("length > long", "`>` compares numbers and dates, and `long` is neither"),
        ("length = long", "`length =` needs a number, not `long`"),
        ("inList(a, b)", r#"a list is written as ({"A","B"})"#),
        (r#"!=inList({"a"#, r#"a list is written as ({"A","B"})"#),
        (r#"inList({"a",})"#, r#"a list is written as ({"A","B"})"#),
        ("startsWith(iPhone)", r#"`startsWith` needs a text in quotes: startsWith("…")"#),
        (r#"matches("(")"#, "its regular expression cannot be used: unclosed group"),
    ] {
        let rows: [&[&str]; 4] =
            [&["a", "b", "C"], &["1", "", "x"], &["", "", ""], &["2", cell, "y"]];
        let url = files.put("/wrong.csv", "text/csv", csv(&rows));
        // Another rule matches before; what is wrong is said all the same.
        let outcome = files.ask(&url, json!({"a": 1, "b": "b"}), json!(["C"])).await;
        let expected = format!("row 4, column `b`: {why}");
        assert_eq!(failed(&outcome, "RULE_INVALID"), expected);
    }
    for (text, inputs, outputs, why) in [
        (
            first.as_str(),
            json!({"Name": "x"}),
            json!(["Cost"]),
            "outputColumns names `Cost`, which is no column of the rule file; its columns are `Name`, `Price`",
        ),
        (
            first.as_str(),
            json!({"name": "x"}),
            json!(["Price"]),
            "row 2, column `Name`: there is a condition on it, but inputColumns does not name it; give \
          it a value there, or list it in outputColumns",
        ),
        ("Name,Name\n1,2", json!({}), json!(["Name"]), "row 1: two columns have the name `Name`"),
        (
            "a,B\n,\ninList({1,2}),x",
            json!({"a": 1}),
            json!(["B"]),
            "row 3, column C: there is a value where the header has no name; name the column, or remove \
          the value (in CSV, a value with commas stands in quotes)",
        ),
        (
            "a,B\n1,createList(x)",
            json!({"a": 1}),
            json!(["B"]),
            "row 2, column `B`: a list is written as ({\"A\",\"B\"})",
        ),
    ] {
        let url = files.put("/odd.csv", "text/csv", text);
        assert_eq!(failed(&files.ask(&url, inputs, outputs).await, "RULE_INVALID"), why);
    }
    let mut book = Workbook::default();
    book.texts(1, &["a", "B"]).error(3, 27, "#REF!");
    let url = files.put("/error.xlsx", "", book.bytes());
    let why = failed(&files.ask(&url, json!({"a": 1}), json!(["B"])).await, "RULE_INVALID");
    assert_eq!(why, "row 3, column AB: the cell holds the error #REF!");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_says_why() {
    let files = Files::new().await;
    let mut book = Workbook::default();
    let whole = book.texts(1, &["a", "B"]).bytes();
    for (path, media, bytes, why) in [
        ("/cut.xlsx", "", whole[..whole.len() / 2].to_vec(), "it is no intact .xlsx file: "),
        ("/noise.xlsx", "", b"PK\x03\x04 and nothing".to_vec(), "it is no intact .xlsx file: "),
        ("/empty.xlsx", "", Vec::new(), "it is no intact .xlsx file: "),
        ("/old.xls", "", b"\xD0\xCF\x11\xE0\xA1".to_vec(), "it is in the old format .xls"),
        ("/empty.csv", "text/csv", Vec::new(), "it is empty; its first row names the columns"),
        ("/latin.csv", "text/csv", b"a,B\n1,\xE4".to_vec(), "it is no CSV in UTF-8: "),
        ("/login.csv", "text/html; charset=utf-8", b"<p>Hi".to_vec(), "its server sent a web page"),
        (
            "/what",
            "text/plain",
            b"a,B".to_vec(),
            "neither its name (.xlsx, .csv) nor its Content-Type",
        ),
    ] {
        let url = files.put(path, media, bytes);
        let outcome = files.ask(&url, json!({"a": 1}), json!(["B"])).await;
        let told = failed(&outcome, "RULE_FILE_UNREADABLE");
        assert!(told.starts_with(why), "{path}: {told}");
    }
    let outcome =
        files.ask(&files.server.url("/none.csv?sig=s3cret"), json!({}), json!(["B"])).await;
    assert_eq!(outcome.output.parse()["error"]["code"], "HTTP_STATUS");
    let reason = outcome.reason.unwrap();
    assert!(reason.contains("answered 404") && !reason.contains("s3cret"), "{reason}");
}

#[tokio::test]
async fn an_input_that_no_file_could_save_fails_for_good() {
    let files = Files::new().await;
    let good = input("http://127.0.0.1:1/r.csv", "FIRE_ALL", json!({"a": 1}), json!(["B"]));
    for (name, value, code, why) in [
        ("ruleFileLocation", json!(null), "INVALID_INPUT", "`ruleFileLocation` is missing"),
        ("ruleFileLocation", json!("http://"), "INVALID_URI", ""),
        ("executionStrategy", json!("FIRE_LAST"), "INVALID_INPUT", "FIRE_FIRST or FIRE_ALL"),
        ("executionStrategy", json!(null), "INVALID_INPUT", "`executionStrategy` is missing"),
        ("inputColumns", json!(["a"]), "INVALID_INPUT", "`inputColumns` must be an object"),
        ("outputColumns", json!([]), "INVALID_INPUT", "`outputColumns` must be a list"),
        (
            "cacheTimeoutMinutes",
            json!("soon"),
            "INVALID_INPUT",
            "`cacheTimeoutMinutes` must be a number",
        ),
    ] {
        let mut input = good.clone();
        input[name] = value;
        let outcome = files.run(input).await;
        assert_eq!(outcome.status, OutcomeStatus::FailedTerminally, "{name} {outcome:?}");
        assert_eq!(outcome.output.parse()["error"]["code"], code, "{name}");
        let reason = outcome.reason.unwrap();
        assert!(reason.contains(why), "{reason}");
    }
}

#[tokio::test]
async fn a_table_is_read_once_for_as_long_as_the_first_task_says() {
    let files = Files::new().await;
    let url = files.put("/kept.csv", "text/csv", phone());
    let ask = |minutes: Value| {
        let mut input = input(&url, "FIRE_FIRST", json!({"Name": "Phone"}), json!(["Price"]));
        input["cacheTimeoutMinutes"] = minutes;
        async { result(&files.run(input).await)["Price"].clone() }
    };
    assert_eq!(ask(json!(null)).await, "10$");
    files.put("/kept.csv", "text/csv", phone().replace("10$", "9$"));
    // Whatever a later task says.
    for minutes in [json!(0), json!("30"), json!(1e300)] {
        assert_eq!(ask(minutes).await, "10$");
    }
    assert_eq!(files.asked(), 1);
    // Another place, or another runner, knows nothing of it.
    let url = files.put("/brief.csv", "text/csv", phone());
    let mut brief = input(&url, "FIRE_FIRST", json!({"Name": "Phone"}), json!(["Price"]));
    brief["cacheTimeoutMinutes"] = json!("0.002");
    let expired = async {
        while files.asked() < 3 {
            result(&files.run(brief.clone()).await);
        }
    };
    tokio::time::timeout(Duration::from_mins(1), expired).await.expect("it is read again");
}

#[tokio::test]
async fn a_file_that_was_corrected_is_read_at_once() {
    let files = Files::new().await;
    let url = files.put("/fixed.csv", "text/csv", "a,B\n=>1,x");
    let ask = || files.ask(&url, json!({"a": 1}), json!(["B"]));
    failed(&ask().await, "RULE_INVALID");
    files.put("/fixed.csv", "text/csv", "a,B\n>=1,x");
    assert_eq!(result(&ask().await), json!({ "B": "x" }));
}

#[tokio::test]
async fn a_workflow_goes_on_with_what_the_rules_say() {
    let files = Files::new().await;
    let tiers =
        files.put("/tiers.csv", "text/csv", csv(&[&["spent", "Tier"], &[">= 100", "gold"]]));
    let gifts = files.put("/gifts.csv", "text/csv", csv(&[&["tier", "Gift"], &["gold", "a pen"]]));
    let engine = flows::open(vec![Arc::new(BusinessRule::new(http().client().clone()))]).await;
    let spent = json!({"spent": "${workflow.input.spent}"});
    let tier = json!({"tier": "${rule.output.result.Tier}"});
    let tasks = json!([
        { "ref": "rule", "type": "BUSINESS_RULE",
          "inputParameters": input(&tiers, "FIRE_FIRST", spent, json!(["Tier"])) },
        { "ref": "gift", "type": "BUSINESS_RULE",
          "inputParameters": input(&gifts, "FIRE_ALL", tier, json!(["Gift"])) },
    ]);
    flows::register(&engine, "gifts", tasks).await;
    for (spent, expected) in [(250, json!({ "Gift": "a pen" })), (50, json!({}))] {
        let id = flows::start(&engine, "gifts", json!({ "spent": spent })).await;
        let (status, output, reason) = flows::ended(&engine, &id).await;
        assert_eq!((status, output["result"].clone()), (Status::Completed, expected), "{reason}");
    }
    engine.close().await.unwrap();
}
