//! What answers mean, by kind: the documented ones, and those of whoever else answers.

use std::time::Duration;

use serde_json::{Value, json};
use tasks::notify::{Answer, Verdict, judge};

/// The expected verdict: its kind, its pause in milliseconds, or its reference.
#[derive(Debug, PartialEq)]
enum Is {
    Ok(Option<&'static str>),
    Retry(Option<u64>),
    Permanent,
    Ambiguous,
    Moved(i64),
}
use Is::{Ambiguous, Moved, Ok as Taken, Permanent, Retry};

type Case = (u16, Option<u64>, &'static str, Is);

#[track_caller]
fn check(kind: &str, settings: &Value, cases: &[Case]) {
    for (status, retry_after, body, expected) in cases {
        let answer = Answer {
            status: *status,
            retry_after: retry_after.map(Duration::from_secs),
            body: (*body).to_owned(),
        };
        let verdict = judge(kind, settings.as_object().unwrap(), &answer).unwrap();
        let same = match (&verdict, expected) {
            (Verdict::Ok { reference }, Taken(wanted)) => reference.as_deref() == *wanted,
            (Verdict::Retry { after, .. }, Retry(wanted)) => {
                *after == wanted.map(Duration::from_millis)
            }
            (Verdict::Permanent { reason }, Permanent) => !reason.is_empty(),
            (Verdict::Ambiguous { .. }, Ambiguous) => true,
            (Verdict::Moved { member, to }, Moved(wanted)) => *member == "chat_id" && to == wanted,
            _ => false,
        };
        assert!(same, "{kind} {status} {body}: {verdict:?}, not {expected:?}");
    }
}

#[test]
fn pagerduty_v2() {
    let cases = [
        (
            202,
            None,
            r#"{"status":"success","message":"Event processed","dedup_key":"f1"}"#,
            Taken(Some("f1")),
        ),
        (202, None, "", Ambiguous),
        (200, None, "<html>sign in to the network</html>", Ambiguous),
        (202, None, r#"{"message":"accepted"}"#, Ambiguous),
        (202, None, r#"{"status":"invalid event"}"#, Permanent),
        (
            400,
            None,
            r#"{"status":"invalid event","message":"Event object is invalid","errors":["Length of 'routing_key' is incorrect"]}"#,
            Permanent,
        ),
        (403, None, "", Permanent),
        (404, None, "", Permanent),
        (429, Some(7), "", Retry(Some(7000))),
        (429, None, "", Retry(None)),
        (500, None, "", Retry(None)),
        (503, Some(200_000), "", Retry(Some(86_400_000))),
        (301, None, "", Permanent),
    ];
    check("pagerduty", &json!({"key": "k"}), &cases);
}

#[test]
fn pagerduty_v1() {
    let cases = [
        (
            200,
            None,
            r#"{"status":"success","message":"Event processed","incident_key":"f1"}"#,
            Taken(Some("f1")),
        ),
        (
            400,
            None,
            r#"{"status":"invalid event","message":"Event object is invalid","errors":["Service key is the wrong length"]}"#,
            Permanent,
        ),
        (403, None, "Throttle limit reached", Retry(None)),
        (429, Some(1), "", Retry(Some(1000))),
        (502, None, "", Retry(None)),
    ];
    check("pagerduty", &json!({"key": "k", "api": "v1"}), &cases);
}

#[test]
fn lark() {
    let cases = [
        (200, None, r#"{"code":0,"msg":"success","data":{}}"#, Taken(None)),
        (200, None, r#"{"Extra":null,"StatusCode":0,"StatusMessage":"success"}"#, Taken(None)),
        (
            200,
            None,
            r#"{"code":11232,"msg":"frequency limited psm[lark.oapi.app_platform_runtime]"}"#,
            Retry(None),
        ),
        (200, None, r#"{"code":9499,"msg":"Bad Request"}"#, Permanent),
        (400, None, r#"{"code":9499,"msg":"too many request"}"#, Retry(None)),
        (
            200,
            None,
            r#"{"code":19001,"msg":"param invalid: incoming webhook access token invalid"}"#,
            Permanent,
        ),
        (200, None, r#"{"code":19002,"msg":"params error, msg_type need"}"#, Permanent),
        (
            200,
            None,
            r#"{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}"#,
            Permanent,
        ),
        (200, None, r#"{"code":19022,"msg":"Ip Not Allowed"}"#, Permanent),
        (200, None, r#"{"code":19024,"msg":"Key Words Not Found"}"#, Permanent),
        (200, None, r#"{"code":99999,"msg":"new"}"#, Permanent),
        (500, None, r#"{"code":1,"msg":"internal"}"#, Retry(None)),
        (500, None, r#"{"code":0}"#, Retry(None)),
        (200, None, "<html>sign in to the network</html>", Ambiguous),
        (200, None, "", Ambiguous),
        (404, None, "", Permanent),
        (429, Some(3), "", Retry(Some(3000))),
    ];
    check("lark", &json!({"url": "https://h"}), &cases);
    check("feishu", &json!({"url": "https://h"}), &cases);
}

#[test]
fn slack() {
    let cases = [
        (200, None, "ok", Taken(None)),
        (200, None, "no_text", Ambiguous),
        (200, None, "", Ambiguous),
        (400, None, "invalid_payload", Permanent),
        (403, None, "invalid_token", Permanent),
        (404, None, "no_service", Permanent),
        (410, None, "channel_is_archived", Permanent),
        (429, Some(30), "", Retry(Some(30_000))),
        (500, None, "rollup_error", Retry(None)),
    ];
    check("slack", &json!({"url": "https://h"}), &cases);
    let cases = [
        (
            200,
            None,
            r#"{"ok":true,"channel":"C1","ts":"1503435956.000247"}"#,
            Taken(Some("C1:1503435956.000247")),
        ),
        (200, None, r#"{"ok":false,"error":"invalid_auth"}"#, Permanent),
        (200, None, r#"{"ok":false,"error":"channel_not_found"}"#, Permanent),
        (429, Some(9), r#"{"ok":false,"error":"ratelimited"}"#, Retry(Some(9000))),
        (200, None, r#"{"ok":false,"error":"internal_error"}"#, Retry(None)),
        (503, None, "", Retry(None)),
        (200, None, "ok", Ambiguous),
    ];
    check("slack", &json!({"token": "xoxb-1", "channel": "C1"}), &cases);
}

#[test]
fn mattermost() {
    let disabled = r#"{"id":"web.incoming_webhook.disabled.app_error","status_code":501}"#;
    let cases = [
        (200, None, "ok", Taken(None)),
        (200, None, "", Ambiguous),
        (400, None, r#"{"id":"web.incoming_webhook.text.app_error","status_code":400}"#, Permanent),
        (404, None, "", Permanent),
        (429, Some(1), "limit exceeded", Retry(Some(1000))),
        (500, None, "", Retry(None)),
        (501, None, disabled, Permanent),
    ];
    check("mattermost", &json!({"url": "https://h"}), &cases);
}

#[test]
fn teams() {
    let cases = [
        (202, None, "", Taken(None)),
        (200, None, "1", Taken(None)),
        (
            200,
            None,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId tcid=0",
            Retry(None),
        ),
        (
            200,
            None,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId x",
            Permanent,
        ),
        (
            200,
            None,
            "Microsoft Teams endpoint returned HTTP error 503 with ContextId x",
            Retry(None),
        ),
        (200, None, "Webhook message delivery failed with error: bad", Permanent),
        (400, None, "Bad payload received by generic incoming webhook.", Permanent),
        (404, None, "", Permanent),
        (429, Some(2), "", Retry(Some(2000))),
        (502, None, "", Retry(None)),
    ];
    check("teams", &json!({"url": "https://h"}), &cases);
}

#[test]
fn discord() {
    let cases = [
        (200, None, r#"{"id":"123","type":0}"#, Taken(Some("123"))),
        (204, None, "", Taken(None)),
        (
            429,
            Some(1),
            r#"{"message":"You are being rate limited.","retry_after":0.6457,"global":false}"#,
            Retry(Some(646)),
        ),
        (429, Some(2), "", Retry(Some(2000))),
        (400, None, r#"{"code":50006,"message":"Cannot send an empty message"}"#, Permanent),
        (401, None, "", Permanent),
        (404, None, r#"{"message":"Unknown Webhook","code":10015}"#, Permanent),
        (500, None, "", Retry(None)),
    ];
    check("discord", &json!({"url": "https://h"}), &cases);
}

#[test]
fn telegram() {
    let cases = [
        (
            200,
            None,
            r#"{"ok":true,"result":{"message_id":5,"chat":{"id":-100}}}"#,
            Taken(Some("-100:5")),
        ),
        (
            400,
            None,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001}}"#,
            Moved(-1001),
        ),
        (
            429,
            None,
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 14","parameters":{"retry_after":14}}"#,
            Retry(Some(14_000)),
        ),
        (
            400,
            None,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#,
            Permanent,
        ),
        (
            400,
            None,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: message is not modified"}"#,
            Taken(None),
        ),
        (401, None, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#, Permanent),
        (
            403,
            None,
            r#"{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}"#,
            Permanent,
        ),
        (404, None, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#, Permanent),
        (
            500,
            None,
            r#"{"ok":false,"error_code":500,"description":"Internal Server Error"}"#,
            Retry(None),
        ),
        (502, None, "<html>", Retry(None)),
        (200, None, "<html>", Ambiguous),
    ];
    check("telegram", &json!({"token": "1:a", "chat": "1"}), &cases);
}

#[test]
fn opsgenie() {
    let cases = [
        (
            202,
            None,
            r#"{"result":"Request will be processed","took":0.3,"requestId":"q-1"}"#,
            Taken(Some("q-1")),
        ),
        (401, None, "", Permanent),
        (403, None, "", Permanent),
        (
            422,
            None,
            r#"{"message":"Request body is not processable.","errors":{"message":"must not be empty"}}"#,
            Permanent,
        ),
        (429, Some(5), "", Retry(Some(5000))),
        (503, None, "", Retry(None)),
    ];
    check("opsgenie", &json!({"key": "k"}), &cases);
    check("jsm", &json!({"key": "k"}), &cases);
}

#[test]
fn the_rest_mean_their_statuses() {
    let cases = [
        (200, None, "", Taken(None)),
        (202, None, r#"{"status":"accepted"}"#, Taken(None)),
        (200, None, "<!DOCTYPE html><title>hello</title>", Ambiguous),
        (413, None, "", Permanent),
        (400, None, "", Permanent),
        (408, None, "", Retry(None)),
        (429, Some(1), "", Retry(Some(1000))),
        (500, None, "", Retry(None)),
        (307, None, "", Permanent),
    ];
    for kind in ["squadcast", "webhook"] {
        check(kind, &json!({"url": "https://h"}), &cases);
    }
    let expects = json!({"url": "https://h", "expect": "queued"});
    let cases = [
        (200, None, r#"{"state":"queued"}"#, Taken(None)),
        (200, None, "<!DOCTYPE html><p>Message queued</p>", Taken(None)),
        (200, None, "hello", Ambiguous),
        (200, None, "<!DOCTYPE html><p>Sign in</p>", Ambiguous),
        (503, None, "", Retry(None)),
    ];
    check("webhook", &expects, &cases);
    let datadog =
        [(202, None, r#"{"status":"ok","event":{"id":7,"id_str":"7"}}"#, Taken(Some("7")))];
    check("datadog", &json!({"key": "k"}), &datadog);
    check("datadog", &json!({"key": "k"}), &[(202, None, "", Ambiguous)]);
}

/// A proxy, a captive portal, a wrong path: a status of success with somebody else's page.
#[test]
fn a_page_of_html_is_no_services_success() {
    let page = "<html><body>It works!</body></html>";
    for (kind, settings) in [
        ("pagerduty", json!({"key": "k"})),
        ("pagerduty", json!({"key": "k", "api": "v1"})),
        ("lark", json!({"url": "https://h"})),
        ("feishu", json!({"url": "https://h"})),
        ("slack", json!({"url": "https://h"})),
        ("slack", json!({"token": "xoxb-1", "channel": "C1"})),
        ("mattermost", json!({"url": "https://h"})),
        ("teams", json!({"url": "https://h"})),
        ("discord", json!({"url": "https://h"})),
        ("telegram", json!({"token": "1:a", "chat": "1"})),
        ("opsgenie", json!({"key": "k"})),
        ("jsm", json!({"key": "k"})),
        ("squadcast", json!({"url": "https://h"})),
        ("datadog", json!({"key": "k"})),
        ("ntfy", json!({"topic": "t"})),
        ("webhook", json!({"url": "https://h"})),
    ] {
        for status in [200, 202] {
            let answer = Answer { status, body: page.to_owned(), ..Answer::default() };
            let verdict = judge(kind, settings.as_object().unwrap(), &answer).unwrap();
            let Verdict::Ambiguous { reason } = &verdict else { panic!("{kind}: {verdict:?}") };
            assert!(reason.starts_with("this is not ") && reason.contains("It works"), "{reason}");
            assert_eq!(reason.contains("`expect`"), kind == "webhook", "{reason}");
        }
    }
}

#[test]
fn ntfy() {
    let cases = [
        (
            200,
            None,
            r#"{"id":"hwQ2YpKdmg","time":1,"event":"message","topic":"t"}"#,
            Taken(Some("hwQ2YpKdmg")),
        ),
        (200, None, "<html>", Ambiguous),
        (
            400,
            None,
            r#"{"code":40057,"http":400,"error":"invalid request: title too long"}"#,
            Permanent,
        ),
        (
            400,
            None,
            r#"{"code":40058,"http":400,"error":"invalid request: tags too long"}"#,
            Permanent,
        ),
        (401, None, r#"{"code":40101,"http":401,"error":"unauthorized"}"#, Permanent),
        (403, None, r#"{"code":40301,"http":403,"error":"forbidden"}"#, Permanent),
        (
            429,
            None,
            r#"{"code":42901,"http":429,"error":"limit reached: too many requests"}"#,
            Retry(None),
        ),
        (507, None, "", Retry(None)),
    ];
    check("ntfy", &json!({"topic": "t"}), &cases);
}

#[test]
fn twilio() {
    let queued =
        r#"{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null}"#;
    let cases = [
        (201, None, queued, Taken(Some("SM0123456789abcdef0123456789abcdef"))),
        (201, None, "", Ambiguous),
        (200, None, "<html>sign in</html>", Ambiguous),
        (
            429,
            Some(3),
            r#"{"code":20429,"message":"Too Many Requests","status":429}"#,
            Retry(Some(3000)),
        ),
        (
            429,
            None,
            r#"{"code":14107,"message":"Message rate exceeded","status":429}"#,
            Retry(None),
        ),
        (401, None, r#"{"code":20003,"message":"Authenticate","status":401}"#, Permanent),
        (
            400,
            None,
            r#"{"code":21211,"message":"The 'To' number is not valid","status":400}"#,
            Permanent,
        ),
        (
            400,
            None,
            r#"{"code":21610,"message":"Attempt to send to unsubscribed recipient","status":400}"#,
            Permanent,
        ),
        (
            400,
            None,
            r#"{"code":21408,"message":"Permission to send an SMS has not been enabled","status":400}"#,
            Permanent,
        ),
        (400, None, r#"{"code":21999,"message":"something new","status":400}"#, Permanent),
        (503, None, r#"{"code":20503,"message":"Service unavailable","status":503}"#, Retry(None)),
    ];
    check("twilio", &json!({}), &cases);
}
