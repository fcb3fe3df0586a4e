//! Each operator that a cell may hold, against inputs that meet it and inputs that do not.

use serde_json::{Value, json};

use super::{Files, csv, result};

/// Whether a rule whose one condition is this cell fires for this input.
async fn fires(files: &Files, cell: &str, input: &Value) -> bool {
    let rows: [&[&str]; 2] = [&["price", "Fires"], &[cell, "yes"]];
    // A file of its own for each cell, whatever stands in it.
    let path = format!("/{:?}.csv", cell.as_bytes()).replace([' ', ',', '[', ']'], "_");
    let url = files.put(&path, "text/csv", csv(&rows));
    let outcome = files.ask(&url, json!({ "price": input }), json!(["Fires"])).await;
    match result(&outcome) {
        fired if fired == json!({ "Fires": "yes" }) => true,
        fired if fired == json!({}) => false,
        other => panic!("{cell}: {other}"),
    }
}

async fn table(cases: &[(&str, &[Value], &[Value])]) {
    let files = Files::new().await;
    for (cell, meet, fail) in cases {
        for (inputs, expected) in [(meet, true), (fail, false)] {
            for input in *inputs {
                assert_eq!(fires(&files, cell, input).await, expected, "{cell} with {input}");
            }
        }
    }
}

#[tokio::test]
async fn numbers_are_compared_as_numbers() {
    table(&[
        (
            ">= 100",
            &[json!(100), json!("100"), json!(100.5), json!("1e3")],
            &[json!(99.99), json!("9")],
        ),
        (
            ">100",
            &[json!(100.01)],
            &[json!(100), json!("-101"), json!("many"), json!(null), json!("")],
        ),
        ("<=10.2", &[json!("10.20"), json!(-3)], &[json!(10.3), json!(null)]),
        ("< 9", &[json!("8")], &[json!("10"), json!(9), json!([1]), json!({})]),
        ("= 5", &[json!(5), json!("5.0"), json!(" 5 ")], &[json!(6), json!("five"), json!("05")]),
        ("8", &[json!(8), json!("8.0")], &[json!(80)]),
        ("!= 100", &[json!(5), json!("ten"), json!(null)], &[json!(100), json!("1e2")]),
        ("price >= 100", &[json!(100)], &[json!(99)]),
        // What looks like a code is one; ids are compared to the last digit.
        ("007", &[json!("007")], &[json!(7), json!("7")]),
        ("12345678901234567", &[json!(12_345_678_901_234_567_u64)], &[json!("12345678901234568")]),
        ("\"8\"", &[json!("8")], &[json!("8.0")]),
    ])
    .await;
}

#[tokio::test]
async fn texts_are_compared_letter_by_letter() {
    table(&[
        (
            "= John",
            &[json!("John"), json!(" John")],
            &[json!("john"), json!("Johnny"), json!(null)],
        ),
        ("!= John", &[json!("Jane"), json!(null)], &[json!("John")]),
        ("John Doe", &[json!("John Doe")], &[json!("John  Doe")]),
        ("=\">= 5\"", &[json!(">= 5")], &[json!(6)]),
        (r#"startsWith("iPhone")"#, &[json!("iPhone 14 Pro")], &[json!("an iPhone"), json!(null)]),
        (r#"endsWith(".pdf")"#, &[json!("document.pdf")], &[json!("pdf"), json!("a.pdf.exe")]),
        (
            r#"contains( "premium" )"#,
            &[json!("our premium product"), json!(["premium", 1])],
            &[json!("Premium"), json!(["premium quality"])],
        ),
        (r#"price contains("a \"b\"")"#, &[json!(r#"is a "b"!"#)], &[json!("a b")]),
        (
            r#"matches("^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,}$")"#,
            &[json!("jane@example.com")],
            &[json!("jane@examplecom"), json!("jane"), json!(null)],
        ),
        (r#"matches("\d+")"#, &[json!(123), json!("7")], &[json!("a7"), json!("7a")]),
        (
            "length >= 8",
            &[json!("contraseña"), json!("ññññññññ")],
            &[json!("ñññññññ"), json!(null)],
        ),
        ("length != 2", &[json!("abc")], &[json!("ab")]),
        ("true", &[json!(true), json!("true")], &[json!(false), json!("yes")]),
        ("TRUE", &[json!(true)], &[json!(false), json!("true")]),
        ("null", &[json!(null)], &[json!(0), json!("")]),
        ("", &[json!(null), json!("anything"), json!([])], &[]),
    ])
    .await;
}

#[tokio::test]
async fn lists_say_what_is_in_and_what_is_out() {
    table(&[
        (
            r#"inList({"phone","laptop"})"#,
            &[json!("phone"), json!("laptop")],
            &[json!("tablet"), json!("phone,laptop"), json!(null)],
        ),
        (r#"!=inList({"phone","laptop"})"#, &[json!("tablet"), json!(null)], &[json!("phone")]),
        (r#"!= inList( { "a, b" , c } )"#, &[json!("a"), json!("b")], &[json!("a, b"), json!("c")]),
        ("inList({1, 2.50})", &[json!(1), json!("2.5")], &[json!(12)]),
        ("inList({})", &[], &[json!("a"), json!(null)]),
    ])
    .await;
}

#[tokio::test]
async fn dates_are_compared_in_every_documented_form() {
    table(&[
        (
            "<=2022-04-22",
            &[json!("2022-04-22"), json!("2022-apr-21"), json!("2022-04-22 00:00:00")],
            &[json!("2022-04-22 00:00:01"), json!("2023-01-01"), json!("soon"), json!(20_220_101)],
        ),
        ("> 2022-mar-12", &[json!("2022-04-01"), json!("2022-MAR-13")], &[json!("2022-03-12")]),
        (
            "< 2022-03-22 12:20:22",
            &[json!("2022-03-22"), json!("2022-03-22T12:20:21Z")],
            &[json!("2022-03-22 12:20:22"), json!("2022-03-22T12:00:00-05:00")],
        ),
        ("= 2022-01-01", &[json!("2022-jan-01")], &[json!("2022-01-02"), json!("2022-13-01")]),
        ("!= 2022-01-01", &[json!("2022-01-02")], &[json!("2022-Jan-01")]),
    ])
    .await;
}
