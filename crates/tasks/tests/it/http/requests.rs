//! What goes out for which input.

use std::time::Duration;

use axum::http::StatusCode;
use kernel::Json;
use serde_json::{Value, json};
use tasks::http::{Code, Request};

fn parse(input: Value) -> Request {
    Request::parse(&Json::of(&input)).unwrap_or_else(|problem| panic!("{input}: {problem:?}"))
}

/// Parses a GET request with one more member.
fn with(name: &str, value: Value) -> Request {
    parse(json!({"uri": "http://host/", "method": "GET", name: value}))
}

fn header<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    let values = request.headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

fn body(request: &Request) -> Option<&str> {
    let body = request.body.as_deref();
    body.map(|bytes| std::str::from_utf8(bytes).unwrap())
}

#[test]
fn a_request_is_flat_or_under_http_request() {
    let flat = parse(json!({"uri": "http://host/a", "method": "get"}));
    let nested = parse(json!({
        "http_request": {"uri": "http://host/a", "method": "GET"},
        "uri": "http://elsewhere/",
    }));
    let null = parse(json!({"http_request": null, "uri": "http://host/a", "method": "GET"}));
    for request in [flat, nested, null] {
        assert_eq!(request.to_string(), "GET http://host/a");
    }
}

#[test]
fn a_plain_request_has_these_defaults() {
    let request = parse(json!({
        "uri": "http://host/", "method": "GET", "vipAddress": "ignored", "appName": "ignored",
    }));
    assert_eq!(header(&request, "accept"), ["application/json"]);
    assert_eq!(request.headers.len(), 1, "nothing unasked: {:?}", request.headers);
    assert_eq!(request.body, None);
    assert_eq!(request.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(request.read_timeout, Some(Duration::from_secs(3)));
    assert_eq!((request.hedges, request.hedge_after), (1, None));
    assert_eq!(request.async_complete, None);
}

#[test]
fn timeouts_are_milliseconds_and_zero_is_none() {
    let cases = [
        (json!(250), Some(Duration::from_millis(250))),
        (json!(250.0), Some(Duration::from_millis(250))),
        (json!("250"), Some(Duration::from_millis(250))),
        (json!(0), None),
        (json!(null), Some(Duration::from_secs(3))),
    ];
    for (value, expected) in cases {
        assert_eq!(with("readTimeOut", value.clone()).read_timeout, expected);
        assert_eq!(with("connectionTimeOut", value).connect_timeout, expected);
    }
}

#[test]
fn header_values_may_be_strings_numbers_booleans_and_lists() {
    let request = with(
        "headers",
        json!({
            "X-Text": "a b", "X-Number": 42, "X-Float": 1.50, "X-Flag": true, "X-None": null,
            "X-List": ["a", 2, null], "X-Object": {"a": [1]},
            "Content-Length": "1", "Transfer-Encoding": "chunked",
        }),
    );
    assert_eq!(header(&request, "x-text"), ["a b"]);
    assert_eq!(header(&request, "x-number"), ["42"]);
    assert_eq!(header(&request, "x-float"), ["1.5"]);
    assert_eq!(header(&request, "x-flag"), ["true"]);
    assert_eq!(header(&request, "x-list"), ["a", "2"]);
    assert_eq!(header(&request, "x-object"), [r#"{"a":[1]}"#]);
    for absent in ["x-none", "content-length", "transfer-encoding"] {
        assert!(header(&request, absent).is_empty(), "{absent}");
    }
}

#[test]
fn accept_is_a_string_or_a_list_and_an_explicit_header_wins() {
    assert_eq!(header(&with("accept", json!("text/csv")), "accept"), ["text/csv"]);
    let list = with("accept", json!(["text/csv", "text/plain"]));
    assert_eq!(header(&list, "accept"), ["text/csv, text/plain"]);
    assert_eq!(header(&with("accept", json!([])), "accept"), ["application/json"]);
    let explicit = with("headers", json!({"ACCEPT": "application/vnd.github.star+json"}));
    assert_eq!(header(&explicit, "accept"), ["application/vnd.github.star+json"]);
}

#[test]
fn a_body_is_sent_as_it_was_written() {
    // Order, spaces and the digits of numbers are the author's.
    let text = r#"{"uri":"http://host/","method":"POST","body":{"z": 1.50, "a": [12345678901234567890123]}}"#;
    let request = Request::parse(&Json::from_text(text.to_owned()).unwrap()).unwrap();
    assert_eq!(body(&request), Some(r#"{"z": 1.50, "a": [12345678901234567890123]}"#));
    assert_eq!(header(&request, "content-type"), ["application/json"]);

    for (value, expected) in [
        (json!("plain \"text\""), Some("plain \"text\"")),
        (json!(""), Some("")),
        (json!([1, "a"]), Some(r#"[1,"a"]"#)),
        (json!(7), Some("7")),
        (json!(true), Some("true")),
        (json!(null), None),
    ] {
        assert_eq!(body(&with("body", value)), expected);
    }
}

#[test]
fn a_content_type_comes_from_the_input_or_its_headers() {
    let request = parse(json!({
        "uri": "http://host/", "method": "POST", "contentType": "application/xml", "body": "<a/>",
    }));
    assert_eq!(header(&request, "content-type"), ["application/xml"]);
    let request = parse(json!({
        "uri": "http://host/", "method": "POST", "contentType": "text/plain", "body": "a",
        "headers": {"content-type": "text/csv"},
    }));
    assert_eq!(header(&request, "content-type"), ["text/csv"]);
}

#[test]
fn an_object_becomes_a_form_when_the_content_type_says_so() {
    let request = parse(json!({
        "uri": "http://host/", "method": "POST",
        "contentType": "application/x-www-form-urlencoded; charset=utf-8",
        "body": {"grant type": "a&b=ü", "n": 3, "list": ["x", "y"], "deep": {"a": 1}, "no": null},
    }));
    assert_eq!(
        body(&request),
        Some("grant+type=a%26b%3D%C3%BC&n=3&list=x&list=y&deep=%7B%22a%22%3A1%7D")
    );
    let request = parse(json!({
        "uri": "http://host/", "method": "POST",
        "headers": {"Content-Type": "application/x-www-form-urlencoded"}, "body": "a=b&c=%20",
    }));
    assert_eq!(body(&request), Some("a=b&c=%20"));
}

#[test]
fn uris_are_encoded_once() {
    let cases = [
        ("http://host/a b?q=x y", "http://host/a%20b?q=x%20y"),
        ("http://host/a%20b?q=x%20y", "http://host/a%20b?q=x%20y"),
        ("http://host/?q=100%", "http://host/?q=100%25"),
        ("http://host/?q=a|b{c}", "http://host/?q=a%7Cb%7Bc%7D"),
        ("http://host/?q=ü&r=a+b", "http://host/?q=%C3%BC&r=a+b"),
        ("http://[::1]:80/?f[x]=1", "http://[::1]/?f%5Bx%5D=1"),
        ("  http://host/a\n", "http://host/a"),
    ];
    for (given, expected) in cases {
        let request = parse(json!({"uri": given, "method": "GET"}));
        assert_eq!(request.url.as_str(), expected, "{given}");
    }
    let raw = parse(json!({"uri": "http://host/?q=a|b", "method": "GET", "encode": false}));
    assert_eq!(raw.url.as_str(), "http://host/?q=a|b");
}

#[test]
fn accepted_statuses_are_numbers_texts_families_and_ranges() {
    let cases = [
        (json!(null), [false, true, false, false, false]),
        (json!([]), [false, true, false, false, false]),
        (json!([404, "409", 302.0]), [false, false, true, true, false]),
        (json!(404), [false, false, false, true, false]),
        (json!("2xx"), [false, true, false, false, false]),
        (json!(["4XX", "2xx"]), [false, true, false, true, false]),
        (json!("200-302, 599"), [false, true, true, false, true]),
        (json!(["100-599"]), [true; 5]),
    ];
    for (given, expected) in cases {
        let request = with("acceptedStatusCodes", given.clone());
        let accepted = [100, 204, 302, 404, 599]
            .map(|status| request.accepts(StatusCode::from_u16(status).unwrap()));
        assert_eq!(accepted, expected, "{given}");
    }
}

#[test]
fn hedges_are_for_requests_that_can_be_repeated() {
    let hedged = |method, headers, config| {
        let input = json!({"uri": "http://host/", "method": method, "headers": headers,
            "hedgingConfig": config});
        parse(input).hedges
    };
    let three = json!({"maxAttempts": 3});
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert_eq!(hedged(method, json!({}), three.clone()), 3, "{method}");
    }
    for method in ["POST", "PATCH"] {
        assert_eq!(hedged(method, json!({}), three.clone()), 1, "{method}");
        assert_eq!(hedged(method, json!({"Idempotency-Key": "k"}), three.clone()), 3);
        let asked = json!({"maxAttempts": "3", "nonIdempotent": true});
        assert_eq!(hedged(method, json!({}), asked), 3);
    }
    let delay = with("hedgingConfig", json!({"maxAttempts": 2, "delay": 40})).hedge_after;
    assert_eq!(delay, Some(Duration::from_millis(40)));
    assert_eq!(with("hedgingConfig", json!({"maxAttempts": 3})).hedges, 3);
    assert_eq!(with("hedgingConfig", json!({})).hedges, 1);
    assert_eq!(with("hedgingConfig", json!({"maxAttempts": 0})).hedges, 1);
}

#[test]
fn a_request_is_shown_without_secrets() {
    let request = parse(json!({
        "uri": "https://user:s3cret@host:8443/path?api_key=s3cret&s3cret&page=2#s3cret",
        "method": "GET",
    }));
    assert_eq!(request.to_string(), "GET https://host:8443/path?api_key=…&…&page=…");
}

#[test]
fn what_is_wrong_is_named_and_terminal() {
    let cases = [
        (json!({"method": "GET"}), Code::InvalidInput, "Missing HTTP URI"),
        (json!({"uri": " ", "method": "GET"}), Code::InvalidInput, "Missing HTTP URI"),
        (json!({"uri": "http://host/"}), Code::InvalidInput, "No HTTP method specified"),
        (json!({"http_request": {}}), Code::InvalidInput, "Missing HTTP URI"),
        (json!({"http_request": "x"}), Code::InvalidInput, "`http_request`"),
        (json!([1]), Code::InvalidInput, "must be an object"),
        (json!(null), Code::InvalidInput, "must be an object"),
        (json!({"uri": {}, "method": "GET"}), Code::InvalidInput, "`uri`"),
        (json!({"uri": "/relative", "method": "GET"}), Code::InvalidUri, "absolute"),
        (json!({"uri": "http://", "method": "GET"}), Code::InvalidUri, "host"),
        (json!({"uri": "http://host:99999/", "method": "GET"}), Code::InvalidUri, "port"),
        (json!({"uri": "file:///etc/passwd", "method": "GET"}), Code::InvalidUri, "file"),
        (json!({"uri": "http://host/", "method": "GET IT"}), Code::InvalidMethod, "GET IT"),
        (json!({"uri": "http://host/", "method": ""}), Code::InvalidMethod, "method"),
        (json!({"uri": "http://host/", "method": "CONNECT"}), Code::InvalidMethod, "CONNECT"),
    ];
    for (input, code, words) in cases {
        let problem = Request::parse(&Json::of(&input)).err().expect("a problem");
        assert_eq!(problem.code, code, "{input}: {problem}");
        assert!(problem.message.contains(words), "{input}: {problem}");
        assert!(problem.code.is_terminal());
    }
    for (member, value) in [
        ("headers", json!("x")),
        ("headers", json!({"a b": "c"})),
        ("headers", json!({"X-Key": "split\r\nInjected: yes"})),
        ("accept", json!({})),
        ("accept", json!("a\nb")),
        ("readTimeOut", json!(-1)),
        ("readTimeOut", json!(1.5)),
        ("connectionTimeOut", json!("soon")),
        ("connectionTimeOut", json!(true)),
        ("acceptedStatusCodes", json!([99])),
        ("acceptedStatusCodes", json!(["ok"])),
        ("acceptedStatusCodes", json!(["6xx"])),
        ("acceptedStatusCodes", json!(["500-400"])),
        ("acceptedStatusCodes", json!([404.5])),
        ("acceptedStatusCodes", json!([{}])),
        ("hedgingConfig", json!(2)),
        ("encode", json!("perhaps")),
    ] {
        let input = json!({"uri": "http://host/", "method": "GET", member: value});
        let problem = Request::parse(&Json::of(&input)).err().expect("a problem");
        assert_eq!(problem.code, Code::InvalidInput, "{input}: {problem}");
    }
}

#[test]
fn a_complaint_does_not_repeat_a_header_value() {
    let input =
        json!({"uri": "http://h/", "method": "GET", "headers": {"Authorization": "s3\ncret"}});
    let problem = Request::parse(&Json::of(&input)).err().expect("a problem");
    assert!(problem.message.contains("Authorization"), "{problem}");
    assert!(!problem.message.contains("cret"), "{problem}");
}
