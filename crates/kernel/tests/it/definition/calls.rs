//! What the tasks that call over HTTP need.

use serde_json::{Value, json};

use super::{accepts, brief, judge, task};

fn of(task_type: &str, input: &Value) -> Value {
    json!([task(task_type, &json!({ "inputParameters": input }))])
}

fn poll(members: &Value) -> Value {
    let mut request =
        json!({ "uri": "http://h/", "method": "GET", "terminationCondition": "true" });
    for (name, value) in members.as_object().expect("an object") {
        request[name] = value.clone();
    }
    of("HTTP_POLL", &json!({ "http_request": request }))
}

/// The given members without one of them.
fn without(members: &Value, name: &str) -> Value {
    let mut members = members.clone();
    members.as_object_mut().expect("an object").remove(name).expect("it was there");
    members
}

fn mail() -> Value {
    json!({ "from": "a@h", "to": "${workflow.input.to}", "subject": "s",
        "contentType": "text/plain", "content": "c", "sendgridConfiguration": "mail" })
}

fn jwt() -> Value {
    json!({ "subject": "s", "issuer": "i", "privateKey": "${workflow.secrets.key}",
        "audience": "a", "ttlInSecond": 3600, "scopes": ["x"], "algorithm": "RS256" })
}

fn rule() -> Value {
    json!({ "ruleFileLocation": "${workflow.input.file}", "executionStrategy": "FIRE_ALL",
        "inputColumns": { "a": "${workflow.input.a}" }, "outputColumns": ["B"],
        "cacheTimeoutMinutes": "30" })
}

#[test]
fn what_can_run_is_accepted() {
    for given in [
        of(
            "HTTP",
            &json!({ "uri": "${workflow.input.uri}", "method": "get",
            "acceptedStatusCodes": ["2xx", 404, "300-399", "${workflow.input.more}"],
            "hedgingConfig": { "maxAttempts": "${workflow.input.copies}" },
            "outputFilter": { "_secrets": { "token": "$${self.output.response.body.token}" } } }),
        ),
        of("HTTP", &json!({ "http_request": "${workflow.input.request}" })),
        poll(&json!({ "pollingInterval": "60", "pollingStrategy": "LINEAR_BACKOFF",
            "maxPollCount": 3.0, "acceptedStatusCodes": ["404", "2xx"] })),
        poll(&json!({ "terminationCondition": "${workflow.input.condition} oops",
            "pollingStrategy": "${workflow.input.strategy}" })),
        of(
            "HTTP_POLL",
            &json!({ "http_request": { "uri": "http://h/", "method": "GET" },
            "terminationCondition": "true" }),
        ),
        of("HTTP_POLL", &json!({ "http_request": "${workflow.input.request}" })),
        json!([task(
            "HTTP_POLL",
            &json!({ "taskDefinition": { "name": "t",
            "inputTemplate": { "http_request": { "uri": "http://h/" } } } })
        )]),
        of("SENDGRID", &mail()),
        of("OPS_GENIE", &json!({ "token": "t", "alias": "a", "priority": "P3" })),
        of(
            "OPS_GENIE",
            &json!({ "token": "t", "message": "m", "priority": "${workflow.input.p}" }),
        ),
        of("BUSINESS_RULE", &rule()),
        of("GET_SIGNED_JWT", &jwt()),
        of("GET_SIGNED_JWT", &without(&jwt(), "algorithm")),
    ] {
        accepts(&given);
    }
}

#[test]
fn what_cannot_run_is_refused_at_its_place() {
    let request = "/tasks/0/inputParameters/http_request";
    let cases = [
        (of("HTTP", &json!({})), "field-required", "/tasks/0/inputParameters".to_owned()),
        (of("HTTP", &json!({ "http_request": 7 })), "value-invalid", request.to_owned()),
        (
            of("HTTP", &json!({ "uri": "http://h/", "method": "GET IT" })),
            "value-invalid",
            "/tasks/0/inputParameters/method".to_owned(),
        ),
        (
            of("HTTP", &json!({ "uri": "http://h/", "acceptedStatusCodes": ["ok"] })),
            "value-invalid",
            "/tasks/0/inputParameters/acceptedStatusCodes".to_owned(),
        ),
        (
            of("HTTP", &json!({ "uri": "http://h/", "hedgingConfig": { "maxAttempts": "two" } })),
            "value-invalid",
            "/tasks/0/inputParameters/hedgingConfig".to_owned(),
        ),
        (poll(&json!({ "method": "CONNECT" })), "value-invalid", format!("{request}/method")),
        (
            poll(&json!({ "acceptedStatusCodes": ["500-400"] })),
            "value-invalid",
            format!("{request}/acceptedStatusCodes"),
        ),
        (
            poll(&json!({ "terminationCondition": null })),
            "field-required",
            "/tasks/0/inputParameters".to_owned(),
        ),
        (
            poll(&json!({ "terminationCondition": "oops" })),
            "script-syntax",
            format!("{request}/terminationCondition"),
        ),
        (
            poll(&json!({ "pollingStrategy": "SOMETIMES" })),
            "value-invalid",
            format!("{request}/pollingStrategy"),
        ),
        (
            poll(&json!({ "pollingInterval": "soon" })),
            "value-invalid",
            format!("{request}/pollingInterval"),
        ),
        (poll(&json!({ "maxPollCount": 0 })), "value-invalid", format!("{request}/maxPollCount")),
        (
            of("OPS_GENIE", &json!({ "token": "t" })),
            "field-required",
            "/tasks/0/inputParameters".to_owned(),
        ),
        (
            of("OPS_GENIE", &json!({ "token": "t", "alias": "a", "priority": "high" })),
            "value-invalid",
            "/tasks/0/inputParameters/priority".to_owned(),
        ),
    ];
    for (tasks, code, pointer) in cases {
        let problems = judge(&tasks);
        assert_eq!(brief(&problems), [(code, pointer.as_str())], "of {tasks}");
        assert!(!problems[0].hint.is_empty(), "{code} has a hint");
    }
}

#[test]
fn each_member_that_a_service_needs_is_asked_for() {
    let alert = json!({ "token": "t", "message": "m" });
    let optional = ["scopes", "algorithm", "cacheTimeoutMinutes"];
    for (task_type, full) in [
        ("SENDGRID", mail()),
        ("GET_SIGNED_JWT", jwt()),
        ("OPS_GENIE", alert),
        ("BUSINESS_RULE", rule()),
    ] {
        for name in full.as_object().expect("an object").keys() {
            let problems = judge(&of(task_type, &without(&full, name)));
            if optional.contains(&name.as_str()) {
                assert_eq!(problems, [], "{task_type} without {name}");
                continue;
            }
            let expected = [("field-required", "/tasks/0/inputParameters")];
            assert_eq!(brief(&problems), expected, "{task_type} without {name}");
            assert!(problems[0].message.contains(name.as_str()), "{}", problems[0].message);
        }
    }
    for (task_type, mut full, name, wrong) in [
        ("SENDGRID", mail(), "contentType", json!("text/markdown")),
        ("GET_SIGNED_JWT", jwt(), "algorithm", json!("HS256")),
        ("GET_SIGNED_JWT", jwt(), "ttlInSecond", json!(0)),
        ("BUSINESS_RULE", rule(), "executionStrategy", json!("FIRE_LAST")),
    ] {
        full[name] = wrong;
        let problems = judge(&of(task_type, &full));
        let pointer = format!("/tasks/0/inputParameters/{name}");
        assert_eq!(brief(&problems), [("value-invalid", pointer.as_str())]);
    }
}
