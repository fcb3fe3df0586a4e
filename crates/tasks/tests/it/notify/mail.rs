//! Mail to a stand-in that answers each recipient as a test says.

use std::sync::{Arc, Mutex};

use engine::OutcomeStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{failed, input, notify, run, sent, tell};
use crate::http::server::{self, Server};

/// What the stand-in answers; the first rule whose text is in the command counts.
type Rules = Vec<(&'static str, &'static str)>;
/// Every command, and the mail itself, in order.
type Lines = Arc<Mutex<Vec<String>>>;

async fn mail_server(rules: Rules) -> (Server, Lines) {
    let heard = Lines::default();
    let memory = Arc::clone(&heard);
    let rules = Arc::new(rules);
    let server = server::raw(move |stream, _| {
        let (rules, memory) = (Arc::clone(&rules), Arc::clone(&memory));
        async move { serve(stream, &rules, &memory).await.unwrap_or_default() }
    })
    .await;
    (server, heard)
}

async fn serve(stream: TcpStream, rules: &Rules, heard: &Lines) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 stand-in ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        heard.lock().unwrap().push(line.clone());
        let rule = rules.iter().find(|(text, _)| line.contains(text));
        let verb: String = line.chars().take(4).collect();
        let answer = match (rule, verb.as_str()) {
            (Some((_, "hang up")), _) => return Ok(()),
            (Some((_, answer)), _) => answer,
            (None, "EHLO") => "250-stand-in\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME",
            (None, "AUTH") => "235 2.7.0 welcome",
            (None, "DATA") => "354 go on",
            (None, "QUIT") => "221 bye",
            _ => "250 2.0.0 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if answer.starts_with("354") {
            let mut mail = String::new();
            while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                mail.push_str(&line);
                mail.push('\n');
            }
            let rule = rules.iter().find(|(text, _)| *text == "end of mail");
            heard.lock().unwrap().push(mail);
            let answer = match rule {
                Some((_, "hang up")) => return Ok(()),
                Some((_, answer)) => answer,
                None => "250 2.0.0 queued as 1",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
    Ok(())
}

fn settings(server: &Server) -> Value {
    json!({
        "url": server.url("").replace("http:", "smtp:"), "tls": "none",
        "from": "Bell <bell@example.org>", "to": ["a@example.org", "B <b@example.org>"],
    })
}

fn fire() -> Value {
    json!({"title": "Größe: the disk is full", "text": "97 %", "severity": "critical",
        "dedup_key": "f1", "incident": "f1-3", "labels": {"host": "db"}})
}

fn rcpts(heard: &Lines) -> Vec<String> {
    let heard = heard.lock().unwrap();
    let to = |line: &String| Some(line.strip_prefix("RCPT TO:<")?.trim_end_matches('>').to_owned());
    heard.iter().filter_map(to).collect()
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let found = mail.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        (found == name).then_some(value)
    });
    found.unwrap_or_else(|| panic!("no {name} in {mail}"))
}

fn mails(heard: &Lines) -> Vec<String> {
    heard.lock().unwrap().iter().filter(|line| line.contains("Message-ID")).cloned().collect()
}

#[tokio::test]
async fn a_mail_goes_to_everybody_and_says_that_a_machine_wrote_it() {
    let (server, heard) = mail_server(vec![]).await;
    let output = sent(&tell("email", settings(&server), fire()).await);
    assert_eq!((&output["status"], &output["requests"]), (&json!(250), &json!(2)));
    assert_eq!(rcpts(&heard), ["a@example.org", "b@example.org"]);
    let mail = mails(&heard).remove(0);
    assert_eq!(header(&mail, "Message-ID"), output["reference"]);
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "From"), "Bell <bell@example.org>");
    assert_eq!(header(&mail, "X-Priority"), "1");
    assert_eq!(header(&mail, "References"), header(&mail, "In-Reply-To"));
    assert!(mail.is_ascii() && mail.contains("host: db"), "{mail}");
}

#[tokio::test]
async fn a_recovery_is_in_the_thread_of_its_trigger() {
    let (server, heard) = mail_server(vec![]).await;
    sent(&tell("email", settings(&server), fire()).await);
    let mut over = fire();
    over["event"] = "resolve".into();
    let runner = notify();
    let mut task = crate::http::handoff(&input("email", &settings(&server), &over));
    task.execution_id = "another".to_owned();
    sent(&engine::TaskRunner::run(&runner, task, CancellationToken::new()).await);
    let mails = mails(&heard);
    assert_eq!(header(&mails[0], "References"), header(&mails[1], "References"));
    assert_ne!(header(&mails[0], "Message-ID"), header(&mails[1], "Message-ID"));
}

#[tokio::test]
async fn only_those_who_were_not_taken_are_written_to_again() {
    let (server, heard) = mail_server(vec![("RCPT TO:<b@", "450 4.2.1 mailbox busy")]).await;
    let runner = notify();
    let input = input("email", &settings(&server), &fire());
    let first = run(&runner, &input).await;
    let reason = failed(&first, OutcomeStatus::Failed);
    assert!(reason.contains("b@example.org") && reason.contains("busy"), "{reason}");
    failed(&run(&runner, &input).await, OutcomeStatus::Failed);
    assert_eq!(rcpts(&heard), ["a@example.org", "b@example.org", "b@example.org"]);
    assert_eq!(mails(&heard).len(), 1);
}

#[tokio::test]
async fn a_recipient_who_is_refused_for_good_does_not_cost_the_other_the_mail() {
    let (server, heard) = mail_server(vec![("RCPT TO:<a@", "550 5.1.1 no such user")]).await;
    let outcome = tell("email", settings(&server), fire()).await;
    let reason = failed(&outcome, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("a@example.org") && reason.contains("no such user"), "{reason}");
    assert_eq!(mails(&heard).len(), 1);
}

#[tokio::test]
async fn answers_of_a_mail_server_mean_what_they_say() {
    use OutcomeStatus::{Failed, FailedTerminally};
    let cases: [(&str, &str, OutcomeStatus, &str); 9] = [
        ("MAIL FROM", "452 4.3.1 full", Failed, "full"),
        ("MAIL FROM", "550 5.7.1 not you", FailedTerminally, "not you"),
        ("DATA", "451 4.7.1 greylisted", Failed, "greylisted"),
        ("end of mail", "552 5.3.4 too big", FailedTerminally, "too big"),
        ("end of mail", "421 4.3.0 later", Failed, "later"),
        ("end of mail", "hang up", Failed, "may have arrived"),
        ("AUTH", "535 5.7.8 wrong password", FailedTerminally, "wrong password"),
        ("AUTH", "454 4.7.0 cannot check now", Failed, "cannot check now"),
        ("EHLO", "hang up", Failed, "127.0.0.1"),
    ];
    for (step, answer, status, words) in cases {
        let (server, _) = mail_server(vec![(step, answer)]).await;
        let mut settings = settings(&server);
        settings["user"] = "u".into();
        settings["password"] = "p4ssw0rd".into();
        let reason = failed(&tell("email", settings, fire()).await, status);
        assert!(reason.contains(words), "{step} {answer}: {reason}");
        assert!(!reason.contains("p4ssw0rd"), "{reason}");
    }
}

#[tokio::test]
async fn without_protection_nothing_is_sent_unless_asked_for() {
    let (server, heard) = mail_server(vec![]).await;
    let mut settings = settings(&server);
    settings.as_object_mut().unwrap().remove("tls");
    let reason = failed(&tell("email", settings, fire()).await, OutcomeStatus::FailedTerminally);
    assert!(reason.contains("STARTTLS"), "{reason}");
    assert!(rcpts(&heard).is_empty());
}

#[tokio::test]
async fn a_mail_server_that_is_not_there_is_worth_another_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let settings = json!({"host": "127.0.0.1", "port": port, "tls": "none",
        "from": "n@h.org", "to": "a@h.org"});
    let reason = failed(&tell("email", settings, fire()).await, OutcomeStatus::Failed);
    assert!(!reason.contains("may have arrived"), "{reason}");
}
