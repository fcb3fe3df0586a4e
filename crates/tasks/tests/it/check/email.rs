//! A real Dovecot with folders as Gmail has them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::service::{Service, find, folder, free_port, write};
use super::{NOON, only, run, unknown, wrong};
use crate::http::server;

const MINUTE: i64 = 60_000;

struct Mailbox {
    service: Service,
    plain: u16,
    secure: u16,
}

/// Dovecot with the user `jane`, her password `s3cret` and her token `good`.
async fn mailbox() -> Option<Mailbox> {
    let program = find("/usr/sbin/dovecot", "dovecot-imapd")?;
    find("/usr/lib/dovecot/imap", "dovecot-imapd")?;
    let (folder, plain, secure) = (folder(), free_port(), free_port());
    let tokens = server::good(Router::new().fallback(|headers: HeaderMap| async move {
        match headers.get("authorization").map(HeaderValue::as_bytes) {
            Some(b"Bearer good") => (StatusCode::OK, r#"{"email": "jane", "active": true}"#),
            _ => (StatusCode::UNAUTHORIZED, "{}"),
        }
    }))
    .await;
    let oauth = format!(
        "introspection_mode = auth\nintrospection_url = {}\nusername_attribute = email\n\
         active_attribute = active\nactive_value = true\n",
        tokens.url("/")
    );
    let oauth = write(folder.path(), "oauth2.conf", &oauth);
    let root = whoami() == "root";
    let (internal, login, mail) = if root {
        ("dovecot".to_owned(), "dovenull".to_owned(), "nobody".to_owned())
    } else {
        (whoami(), whoami(), whoami())
    };
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/http/tls");
    let (tls, at) = (tls.display(), folder.path().display());
    let config = format!(
        "base_dir = {at}/run\nstate_dir = {at}/state\nlog_path = {at}/dovecot.log\n\
         protocols = imap\nlisten = 127.0.0.1\ndisable_plaintext_auth = no\nssl = yes\n\
         ssl_cert = <{tls}/server.pem\nssl_key = <{tls}/server.key\n\
         default_internal_user = {internal}\ndefault_login_user = {login}\n\
         default_internal_group = {group}\nfirst_valid_uid = 1\n\
         mail_location = maildir:{at}/mail\n\
         auth_mechanisms = plain login xoauth2\n\
         passdb {{\n driver = static\n mechanisms = plain login\n args = password=s3cret\n}}\n\
         passdb {{\n driver = oauth2\n mechanisms = xoauth2\n args = {oauth}\n}}\n\
         userdb {{\n driver = static\n args = uid={mail} gid={mail_group} home={at}/home\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n \
         mailbox \"[Gmail]/Alle Nachrichten\" {{\n special_use = \\All\n auto = create\n }}\n}}\n\
         service imap-login {{\n{chroot}\
         inet_listener imap {{\n port = {plain}\n }}\n\
         inet_listener imaps {{\n port = {secure}\n ssl = yes\n }}\n}}\n\
         service anvil {{\n{chroot}}}\nservice stats {{\n{chroot}}}\n",
        group = group_of(&internal),
        mail_group = group_of(&mail),
        oauth = oauth.display(),
        chroot = if root { "" } else { " chroot =\n" },
    );
    let config = write(folder.path(), "dovecot.conf", &config);
    seed(folder.path());
    // The server's users pass through to the mail.
    let mut open = Command::new("chmod");
    assert!(open.arg("755").arg(folder.path()).status().unwrap().success());
    if root {
        let mut own = Command::new("chown");
        own.arg("-R").arg(format!("{mail}:{}", group_of(&mail)));
        assert!(own.arg(folder.path().join("mail")).status().unwrap().success());
    }
    let mut command = Command::new(program);
    command.arg("-F").arg("-c").arg(config);
    let service = Service::start(folder, command, plain);
    Some(Mailbox { service, plain, secure })
}

/// Mails as the mailbox took them in, in minutes before noon.
fn seed(folder: &Path) {
    let mails = [
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
    let cur = folder.join("mail/.[Gmail].Alle Nachrichten/cur");
    for name in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(cur.with_file_name(name)).unwrap();
        std::fs::create_dir_all(folder.join("mail").join(name)).unwrap();
    }
    for (at, (minutes, from, subject)) in mails.iter().enumerate() {
        let received = NOON - minutes * MINUTE;
        // The sender's clock says whatever it likes.
        let text = format!(
            "From: {from}\r\nTo: jane@example.com\r\nSubject: {subject}\r\n\
             Date: Thu, 1 Jan 1998 00:00:00 -0500\r\n\r\nBody.\r\n"
        );
        let path = cur.join(format!("{}.M{at}P1.test:2,", received / 1000));
        std::fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(received as u64);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

fn whoami() -> String {
    said("id", &["-un"])
}

fn group_of(user: &str) -> String {
    said("id", &["-gn", user])
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Mailbox {
    async fn look(&self, more: Value) -> engine::Outcome {
        let mut check = json!({
            "account": "reports", "url": format!("imap://127.0.0.1:{}", self.plain),
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
    only(&mailbox.look(json!({"subjects": ["Late"], "since": null, "max_age": "26h"})).await, "ok");
    // Nothing but a sender: any mail will do.
    only(&mailbox.look(json!({"from": ["etl@example.com"]})).await, "ok");
    only(&mailbox.look(json!({"from": ["nobody@example.com"]})).await, "fail");
    only(&mailbox.look(json!({"folder": "INBOX", "subjects": ["Early"]})).await, "fail");

    // By TLS, and by a token.
    let secure = json!({
        "url": format!("imaps://127.0.0.1:{}", mailbox.secure),
        "tls": {"ca": crate::http::tls::AUTHORITY}, "subjects": both,
    });
    only(&mailbox.look(secure).await, "ok");
    let token = json!({"auth": "xoauth2", "token": "good", "subjects": both});
    only(&mailbox.look(token).await, "ok");

    let cases = [
        (json!({"password": "wr0ng"}), "refuses the login"),
        // The server explains itself and waits for an empty line: no time-out, a refusal.
        (json!({"auth": "xoauth2", "token": "b4d"}), "refuses the login"),
        (json!({"folder": "Nowhere"}), "refuses to open \"Nowhere\""),
        (json!({"url": format!("imaps://127.0.0.1:{}", mailbox.secure)}), "no safe connection"),
    ];
    for (more, part) in cases {
        let seen = mailbox.look(more).await;
        unknown(&seen, part);
        let reason = seen.reason.unwrap();
        assert!(!reason.contains("wr0ng") && !reason.contains("b4d"), "{reason}");
    }
    mailbox.service.kill();
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
