//! Mailboxes in a real Dovecot.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::dovecot::Dovecot;
use super::{NOON, only, run, unknown, wrong};
use crate::http::server;

const MINUTE: i64 = 60_000;

struct Mailbox {
    dovecot: Dovecot,
    tokens: server::Server,
}

/// Mails as the mailbox took them in, in minutes before noon.
const MAILS: [(i64, &str, &str); 6] = [
    (270, "ETL <etl@example.com>", "Great - You look awesome!"),
    (240, "\"B, I\" <BI@example.com>", "=?UTF-8?Q?Load_17?=\r\n =?UTF-8?B?IE9L4oSi?="),
    // Before three in the morning in New York.
    (330, "etl@example.com", "Early"),
    // The header names a sender who did not send it.
    (240, "\"etl@example.com\" <evil@example.org>", "Spoofed"),
    (240, "someone@example.net", "Great - You look late!"),
    // Yesterday's.
    (1500, "etl@example.com", "Late"),
];

/// A mailbox of the user `jane`, whose password is `s3cret` and whose token is `good`.
async fn mailbox() -> Option<Mailbox> {
    let tokens =
        server::good(Router::new().fallback(|headers: HeaderMap, body: String| async move {
            match headers.get("authorization").map(HeaderValue::as_bytes) {
                Some(b"Bearer good") => (StatusCode::OK, r#"{"email": "jane", "active": true}"#),
                // Where fresh tokens are given out.
                None if body.contains("refresh_token=r%2Ft&client_id=me") => {
                    (StatusCode::OK, r#"{"access_token": "good", "expires_in": 3599}"#)
                }
                None => (StatusCode::BAD_REQUEST, r#"{"error": "invalid_grant"}"#),
                _ => (StatusCode::UNAUTHORIZED, "{}"),
            }
        }))
        .await;
    let dovecot = Dovecot::start("Alle Nachrichten", "s3cret", Some(&tokens.url("/")))?;
    for (minutes, from, subject) in MAILS {
        dovecot.deliver(NOON - minutes * MINUTE, from, subject);
    }
    Some(Mailbox { dovecot, tokens })
}

impl Mailbox {
    async fn look(&self, more: Value) -> engine::Outcome {
        let mut check = json!({
            "account": "reports", "url": format!("imap://127.0.0.1:{}", self.dovecot.plain),
            "password": "s3cret", "folder": "all", "since": "03:00", "tz": "America/New_York",
            "from": ["etl@example.com", "bi@example.com", "nobody@example.com"],
        });
        for (name, value) in more.as_object().unwrap() {
            check[name] = value.clone();
        }
        run("CHECK_EMAIL", check, json!({})).await
    }
}

#[tokio::test]
async fn expected_mail_comes_or_is_missing() {
    let Some(mut mailbox) = mailbox().await else { return };
    let both = json!(["Great - You  look awesome!", {"regex": r"^Load \d+ OK™$"}]);
    let seen = mailbox.look(json!({"subjects": both})).await;
    assert_eq!(only(&seen, "ok")["attrs"]["mails"], 2);

    // One observation lists all that is missing, and says what it is.
    let some =
        json!(["Early", "Late", "Spoofed", "Great - You look awesome!", "Great - You look late!"]);
    let seen = only(&mailbox.look(json!({"subjects": some})).await, "fail");
    let missing = json!(["\"Early\"", "\"Late\"", "\"Spoofed\"", "\"Great - You look late!\""]);
    assert_eq!(seen["attrs"]["missing"], missing);
    let text = "missing since 2026-03-10T07:00:00Z (4 of 5): \"Early\"; \"Late\"; \"Spoofed\"; \
                \"Great - You look late!\"";
    assert_eq!(seen["text"], text);
    // An hour before, in another zone, of a whole domain.
    let early = json!({"subjects": "Early", "since": "06:00", "tz": "UTC", "from": "@example.com"});
    only(&mailbox.look(early).await, "ok");
    // Not yet one o'clock in the afternoon: since one o'clock of yesterday, when "Late" was not yet.
    let evening = json!({"subjects": ["Late", "Early"], "since": "13:00", "tz": "UTC"});
    let seen = only(&mailbox.look(evening).await, "fail");
    assert_eq!(seen["attrs"]["missing"], json!(["\"Late\""]));
    only(&mailbox.look(json!({"subjects": ["Late"], "since": null, "max_age": "26h"})).await, "ok");
    // Nothing but a sender: any mail will do.
    only(&mailbox.look(json!({"from": ["etl@example.com"]})).await, "ok");
    only(&mailbox.look(json!({"from": ["nobody@example.com"]})).await, "fail");
    // As mail programs show a sender: its address counts, or the name alone if that is all there is.
    let shown = |from: &str| json!({"from": [from], "subjects": ["Great - You look awesome!"]});
    only(&mailbox.look(shown("Load jobs <ETL@example.com>")).await, "ok");
    only(&mailbox.look(shown("etl")).await, "ok");
    only(&mailbox.look(shown("ETL <evil@example.org>")).await, "fail");
    only(&mailbox.look(json!({"folder": "INBOX", "subjects": ["Early"]})).await, "fail");

    // By TLS, and by a token.
    let secure = json!({
        "url": format!("imaps://127.0.0.1:{}", mailbox.dovecot.secure),
        "tls": {"ca": crate::http::tls::AUTHORITY}, "subjects": both,
    });
    only(&mailbox.look(secure).await, "ok");
    let token = json!({"auth": "xoauth2", "token": "good", "subjects": both});
    only(&mailbox.look(token).await, "ok");
    // A token that is fetched for each look.
    let fresh = |refresh: &str| {
        json!({"password": null, "refresh_token": refresh, "client_id": "me", "subjects": both,
            "token_url": mailbox.tokens.url("/token")})
    };
    only(&mailbox.look(fresh("r/t")).await, "ok");
    unknown(&mailbox.look(fresh("old")).await, "invalid_grant");

    let cases = [
        (json!({"password": "wr0ng"}), "refuses the login"),
        // The server explains itself and waits for an empty line: no time-out, a refusal.
        (json!({"auth": "xoauth2", "token": "b4d"}), "refuses the login"),
        (json!({"folder": "Nowhere"}), "refuses to open \"Nowhere\""),
        (
            json!({"url": format!("imaps://127.0.0.1:{}", mailbox.dovecot.secure)}),
            "no safe connection",
        ),
    ];
    for (more, part) in cases {
        let seen = mailbox.look(more).await;
        unknown(&seen, part);
        let reason = seen.reason.unwrap();
        assert!(!reason.contains("wr0ng") && !reason.contains("b4d"), "{reason}");
    }
    mailbox.dovecot.kill();
    unknown(&mailbox.look(json!({"subjects": both})).await, "no connection to 127.0.0.1");
}

#[tokio::test]
async fn servers_that_are_none_are_unknown() {
    let silent =
        server::raw(|mut stream, _| async move { server::closed(&mut stream).await }).await;
    let rude = server::answering("").await;
    for (server, part) in [(silent, "took longer than 0.2 s"), (rude, "")] {
        let check = json!({"url": server.url("").replace("http", "imap"), "user": "jane",
            "password": "p", "subjects": ["S"], "timeout": "200ms"});
        unknown(&run("CHECK_EMAIL", check, json!({})).await, part);
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let whole = json!({"url": "imaps://h", "user": "u", "password": "p", "subjects": ["S"]});
    for (name, value, part) in [
        ("url", json!("imap://mail.example.com"), "write imaps://"),
        ("url", json!("http://h"), "imaps:// is expected"),
        ("user", json!(null), "`user` is missing"),
        ("password", json!(null), "`password` is missing"),
        ("auth", json!("xoauth2"), "`token` is missing"),
        ("auth", json!("ntlm"), "`auth` must be"),
        ("tz", json!("Mars/Base"), "`tz`"),
        ("since", json!("25:00"), "`since`"),
        ("subjects", json!([{"regex": "("}]), "`subjects`"),
    ] {
        let mut check = whole.clone();
        check[name] = value;
        wrong(&run("CHECK_EMAIL", check, json!({})).await, part);
    }
    let check = json!({"account": "nowhere", "subjects": ["S"]});
    wrong(&run("CHECK_EMAIL", check, json!({})).await, "no source is called \"nowhere\"");
}
