//! Service mode with a real mailbox: late and missing mail, two senders, encoded subjects.

use std::fmt::Write as _;

use jiff::{Timestamp, ToSpan as _};

use super::dovecot::{Dovecot, tls};
use super::world::{EtlCfg, PagerDuty, answers, key, service, write};
use crate::live::Live;

const MINUTE: i64 = 60_000;

/// An email check that looks every second, for mail since two hours ago by the clock in New York.
fn mail(name: &str, senders: &str, subjects: &[&str]) -> String {
    let there = Timestamp::now().in_tz("America/New_York").unwrap();
    let since = there.checked_sub(2.hours()).unwrap();
    // As YAML 1.1 reads a time without quotation marks.
    let number = i64::from(since.hour()) * 60 + i64::from(since.minute());
    let mut text = format!(
        "{name}:\n    type: email\n    pd_description: \"{name} is missing\"\n    pd_service: '{}'\n    \
         senders: [{senders}]\n    delivery_time: {number}\n    check_time: 00:00\n    poll_sec: 1\n    \
         subjects:\n",
        key(name)
    );
    for subject in subjects {
        writeln!(text, "        - \"{subject}\"").unwrap();
    }
    text
}

fn ago(minutes: i64) -> i64 {
    Timestamp::now().as_millisecond() - minutes * MINUTE
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_mail_pages_and_late_mail_resolves() {
    let Some(mut mailbox) = Dovecot::start("All Mail", "s3cret", None) else { return };
    let pages = PagerDuty::start().await;
    let both = "'etl@example.com', 'bi@example.com'";
    let checklist = [
        mail("well", both, &["Great - You look awesome!", "Load 17 is à jour"]),
        mail("lacking", both, &["Great - You look awesome!", "Good - You look OK!"]),
        mail("early", "'etl@example.com'", &["Before the time"]),
        mail("spoofed", "'etl@example.com'", &["Not from there"]),
    ];
    mailbox.deliver(ago(60), "ETL <etl@example.com>", "Great - You look awesome!");
    mailbox.deliver(
        ago(30),
        "\"B, I\" <BI@example.com>",
        "=?UTF-8?Q?Load_17_is?=\r\n =?UTF-8?B?IMOgIGpvdXI=?=",
    );
    mailbox.deliver(ago(180), "etl@example.com", "Before the time");
    mailbox.deliver(ago(60), "\"etl@example.com\" <evil@example.org>", "Not from there");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &checklist.join("\n"));
    write(folder.path(), "etl.cfg", &EtlCfg::default().text());
    let imap = format!("imap://127.0.0.1:{}", mailbox.plain);
    let live = service(folder.path(), &pages, &imap).await;

    for name in ["lacking", "early", "spoofed"] {
        pages.hears("trigger", &key(name), 1).await;
    }
    let lacking = pages.only("trigger", &key("lacking"));
    assert_eq!(lacking["description"], "lacking is missing");
    let text = lacking["details"]["text"].as_str().unwrap();
    assert!(text.ends_with("(1 of 2): \"Good - You look OK!\""), "{text}");
    let well = answers(&live, "/api/monitors/well", |it| it["status"] == "UP").await;
    assert_eq!(well["name"], "well");
    assert_eq!(pages.count("trigger", &key("well")), 0);

    // The mail comes after all.
    mailbox.deliver(ago(0), "bi@example.com", "Good -  You look OK!");
    pages.hears("resolve", &key("lacking"), 1).await;

    // Nobody can tell any more: that is neither well nor missing, and pages.
    mailbox.kill();
    pages.hears("trigger", &key("well"), 1).await;
    let blind = pages.only("trigger", &key("well"));
    assert_eq!(blind["description"], "well is missing (the check cannot tell)");
    let text = blind["details"]["text"].as_str().unwrap();
    assert!(text.contains("no connection to 127.0.0.1"), "{text}");
    // What is known to be missing stays so.
    assert_eq!(pages.count("resolve", &key("early")), 0);
    tells_no_password(live);
}

/// No log line and no stored byte has the password in it.
fn tells_no_password(mut live: Live) {
    let log = live.log_text();
    live.kill();
    let folder = live.store().parent().unwrap().to_owned();
    let mut read = vec![log];
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        read.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    assert!(!read.iter().any(|text| text.contains("s3cret") || text.contains("czNjcmV0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_mended_counts_after_sighup() {
    let Some(mailbox) = Dovecot::start("All Mail", "s3cret", None) else { return };
    let pages = PagerDuty::start().await;
    mailbox.deliver(ago(60), "etl@example.com", "Great - You look awesome!");
    let checklist = mail("well", "'etl@example.com'", &["Great - You look awesome!"]);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "checklist.yaml", &checklist);
    let wrong = EtlCfg { password: "guess", ..EtlCfg::default() };
    write(folder.path(), "etl.cfg", &wrong.text());
    let imap = format!("imap://127.0.0.1:{}", mailbox.plain);
    let live = service(folder.path(), &pages, &imap).await;
    pages.hears("trigger", &key("well"), 1).await;
    write(folder.path(), "etl.cfg", &EtlCfg::default().text());
    live.hang_up();
    pages.hears("resolve", &key("well"), 1).await;
    answers(&live, "/api/monitors/well", |it| it["status"] == "UP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mailbox_is_reached_by_tls_and_by_token() {
    use super::single::once;
    let pages = PagerDuty::start().await;
    let Some(mailbox) = Dovecot::start("Tous les messages", "s3cret", Some(&tokens().await)) else {
        return;
    };
    mailbox.deliver(ago(60), "etl@example.com", "Great - You look awesome!");
    let checklist = mail("well", "'etl@example.com'", &["Great - You look awesome!"]);
    let url = format!("imaps://127.0.0.1:{}", mailbox.secure);
    let run = |etl: String| {
        let authority = tls().join("ca.pem");
        once("well", &checklist, &etl, &pages)
            .env("NIGHTBELL_IMAP_URL", &url)
            .env("SSL_CERT_FILE", authority.to_str().unwrap())
    };
    run(EtlCfg::default().text()).run().exits(0);
    let by_token = |token: &str| {
        let text = EtlCfg::default().text();
        let from = text.find("password =").unwrap();
        let to = from + text[from..].find('\n').unwrap();
        format!("{}auth = xoauth2\ntoken = {token}{}", &text[..from], &text[to..])
    };
    run(by_token("good")).run().exits(0);
    let refused = run(by_token("b4d")).run().exits(2);
    assert!(refused.stdout.contains("refuses the login"), "{refused:?}");
    assert!(!refused.stderr.contains("b4d") && !refused.stdout.contains("b4d"), "{refused:?}");
    // An authority that nobody trusts is no mailbox of ours.
    let etl = EtlCfg::default().text();
    let alone = once("well", &checklist, &etl, &pages).env("NIGHTBELL_IMAP_URL", &url);
    let refused = alone.run().exits(2);
    assert!(refused.stdout.contains("no safe connection"), "{refused:?}");
}

/// Says whose a token is, as Dovecot asks.
async fn tokens() -> String {
    use axum::http::{HeaderMap, StatusCode};
    let answer = |headers: HeaderMap| async move {
        let token = headers.get("authorization").and_then(|it| it.to_str().ok());
        match token {
            Some("Bearer good") => (StatusCode::OK, r#"{"email": "jane", "active": true}"#),
            _ => (StatusCode::UNAUTHORIZED, "{}"),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}
