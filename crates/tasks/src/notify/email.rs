//! Mail over SMTP: one message per delivery, one answer per recipient.
//!
//! A server may take one recipient and refuse the next: neither is written to again when the rest is
//! tried again. Every message names the same root under `References`, so that mail
//! programs show a trigger and its recovery as one thread; `Message-ID` is the delivery's and stays
//! over its attempts, so that a server or program which sees it twice can tell.

use std::time::{Duration, UNIX_EPOCH};

use kernel::alert::NotificationEvent;
use kernel::alert::definition::Severity;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bounds;
use super::deliver::{CALL_MAX, Delivery, Tally};
use super::kind::{Call, Order};
use super::settings::{Settings, is_open};
use super::verdict::{Answer, Verdict};
use super::wording::{Wording, rendered};
use crate::outgoing::{Dialer, refusal_of};

/// Longest wait for the whole of a transaction; each step of it has [`CALL_MAX`].
const TRANSACTION_MAX: Duration = Duration::from_mins(1);
/// Bytes of a message's text.
const TEXT_MAX: usize = 64_000;
/// Characters of a subject: a line of a header, longer ones are folded badly by some programs.
const SUBJECT_MAX: usize = 200;

/// How a connection is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    /// By TLS from the first byte.
    Tls,
    /// By STARTTLS, which must work.
    StartTls,
    /// Not at all.
    Nothing,
}

/// Where and as whom.
struct Server {
    host: String,
    port: u16,
    safety: Safety,
    credentials: Option<(String, String)>,
}

pub(super) fn check(settings: Settings<'_>, problems: &mut Vec<String>) {
    for name in ["from", "to", "reply_to"] {
        for address in settings.texts(name) {
            if !is_open(&address)
                && let Err(why) = mailbox(&address)
            {
                problems.push(format!("`{name}`: {why}"));
            }
        }
    }
    if settings.texts("from").len() > 1 {
        problems.push("`from` must be one address".to_owned());
    }
    let open = ["url", "host", "port"]
        .iter()
        .any(|name| settings.text(name).is_some_and(|text| is_open(&text)));
    if !open && let Err(why) = server(settings) {
        problems.push(why);
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mailbox: Mailbox = text
        .parse()
        .map_err(|_| format!("{text:?} is no address: name@host or Name <name@host>"))?;
    if !mailbox.email.to_string().is_ascii() {
        return Err(format!("{text:?} has an address beyond ASCII, which few servers take"));
    }
    Ok(mailbox)
}

/// Reads `smtp://user:password@host:port`, `smtps://…`, or `host`, `port`, `user`, `password`, and
/// `tls`: `starttls` unless it says; `tls` for port 465 and `smtps`; `none`.
fn server(settings: Settings<'_>) -> Result<Server, String> {
    let mut server = Server {
        host: settings.text("host").unwrap_or_default(),
        port: 0,
        safety: Safety::StartTls,
        credentials: None,
    };
    if let Some(url) = settings.text("url") {
        let url = reqwest::Url::parse(&url)
            .map_err(|error| format!("`url` is no URL: {error}; it must be smtp://host:port"))?;
        server.safety = match url.scheme() {
            "smtp" => Safety::StartTls,
            "smtps" => Safety::Tls,
            other => {
                return Err(format!("`url` must begin with smtp:// or smtps://, not {other}:"));
            }
        };
        let host = url.host_str().unwrap_or_default();
        host.trim_matches(['[', ']']).clone_into(&mut server.host);
        server.port = url.port().unwrap_or_default();
        if !url.username().is_empty() {
            let pair = [url.username(), url.password().unwrap_or_default()].map(decoded);
            server.credentials = Some(pair.into());
        }
    }
    if let Some(port) = settings.text("port") {
        server.port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("`port` must be a number from 1 to 65535")?;
    }
    if server.host.is_empty() {
        return Err("email needs a `host` or a `url` with one".to_owned());
    }
    let users = (settings.text("user"), settings.text("password"));
    match users {
        (Some(user), Some(password)) => server.credentials = Some((user, password)),
        (None, None) => {}
        _ => return Err("email needs `user` and `password` together".to_owned()),
    }
    if server.port == 465 {
        server.safety = Safety::Tls;
    }
    server.safety = match settings.text("tls").as_deref() {
        None => server.safety,
        Some("starttls") => Safety::StartTls,
        Some("tls") => Safety::Tls,
        Some("none") => Safety::Nothing,
        Some(_) => return Err("`tls` must be one of starttls, tls, none".to_owned()),
    };
    if server.port == 0 {
        server.port = match server.safety {
            Safety::Tls => 465,
            Safety::StartTls => 587,
            Safety::Nothing => 25,
        };
    }
    Ok(server)
}

/// A part of a URL without its escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A message and whom it goes to; pure, so the same for every attempt but for its date.
pub(super) fn compose(order: &Order<'_>) -> Result<(Message, Vec<Mailbox>), String> {
    let settings = order.settings;
    let from = mailbox(&settings.needed("from")?)?;
    let to: Vec<Mailbox> =
        settings.texts("to").iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?;
    if to.is_empty() {
        return Err("the receiver needs the setting `to`".to_owned());
    }
    let notification = order.notification;
    let wording = Wording::of(order);
    let domain = from.email.domain().to_owned();
    let subject = rendered(order, notification, "subject").unwrap_or_else(|| wording.title.clone());
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    let id = bounds::hashed(&format!("{}/{}", order.id, order.receiver));
    let mut builder = Message::builder()
        .from(from)
        .subject(bounds::chars(&subject, SUBJECT_MAX))
        .date(UNIX_EPOCH + Duration::from_millis(order.now_ms.max(0).unsigned_abs()))
        .message_id(Some(format!("<{id}@{domain}>")))
        // Nobody's absence note should answer a machine (RFC 3834; the second is Microsoft's).
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"));
    if let Some(about) = notification.text("incident").or_else(|| notification.dedup_key.clone()) {
        let root = format!("<{}.incident@{domain}>", bounds::hashed(&about));
        builder = builder.references(root.clone()).in_reply_to(root);
    }
    let rings =
        matches!(notification.event, NotificationEvent::Trigger | NotificationEvent::Escalation);
    if rings && notification.severity == Severity::Critical {
        builder = builder.raw_header(header("X-Priority", "1"));
    }
    if let Some(reply_to) = settings.text("reply_to") {
        builder = builder.reply_to(mailbox(&reply_to)?);
    }
    for mailbox in &to {
        builder = builder.to(mailbox.clone());
    }
    let mut text = vec![wording.title.clone(), String::new()];
    text.extend(bounds::lines(&wording.body(), TEXT_MAX, 2));
    let message = builder.header(ContentType::TEXT_PLAIN).body(text.join("\n") + "\n");
    let message = message.map_err(|error| format!("the mail cannot be written: {error}"))?;
    Ok((message, to))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Sends the mail to everybody who has not been taken yet.
pub(super) async fn send(
    delivery: &Delivery<'_>,
    order: &Order<'_>,
    dialer: &Dialer,
    cancelled: &CancellationToken,
) -> Result<Tally, String> {
    let (message, to) = compose(order)?;
    let server = server(order.settings)?;
    let mut tally = Tally::default();
    let id = message.headers().get_raw("Message-ID").unwrap_or_default().to_owned();
    let open: Vec<&Mailbox> =
        to.iter().filter(|to| !delivery.is_settled(to.email.as_ref(), &mut tally)).collect();
    if open.is_empty() {
        return Ok(tally);
    }
    if let Some(answer) = stand_in(delivery, &server, &message, &id).await {
        let verdict = if answer.is_success() {
            Verdict::ok(Some(id.clone()))
        } else {
            Verdict::retry(answer.retry_after, format!("{}: {}", server.host, answer.words()))
        };
        for mailbox in open {
            let key = mailbox.email.to_string();
            delivery.settle(&key, &verdict, false);
            tally.add(&key, &answer, &verdict, false);
        }
        return Ok(tally);
    }
    let mut taken = Vec::new();
    let exchange = Box::pin(transact(&server, dialer, &message, &open, &mut taken));
    let ended = tokio::select! {
        biased;
        () = cancelled.cancelled() => None,
        ended = timeout(TRANSACTION_MAX, exchange) => Some(ended),
    };
    let place = &server.host;
    let ended = match ended {
        Some(Ok(ended)) => ended,
        Some(Err(_)) => Err(unknown(format!("{place}: the mail took longer than a minute"))),
        None => Err(unknown(format!("{place}: sending the mail was cancelled"))),
    };
    match ended {
        Ok(replies) => {
            for (mailbox, answer, verdict) in replies {
                let key = mailbox.email.to_string();
                let verdict = match verdict {
                    Verdict::Ok { .. } => Verdict::ok(Some(id.clone())),
                    other => other,
                };
                delivery.settle(&key, &verdict, false);
                tally.add(&key, &answer, &verdict, false);
            }
        }
        Err(verdict) => {
            tally.add("transaction", &Answer::default(), &verdict, false);
        }
    }
    Ok(tally)
}

/// What somebody says who stands for the mail server.
async fn stand_in(
    delivery: &Delivery<'_>,
    server: &Server,
    message: &Message,
    id: &str,
) -> Option<Answer> {
    let call = Call {
        key: id.to_owned(),
        method: "MAIL",
        url: format!("smtp://{}:{}", server.host, server.port),
        headers: Vec::new(),
        body: String::from_utf8_lossy(&message.formatted()).replace("\r\n", "\n"),
        optional: false,
        sign_in: None,
    };
    let taken = Answer { status: 250, body: "ok".to_owned(), retry_after: None };
    delivery.stand_in(&call, taken).await
}

fn unknown(reason: String) -> Verdict {
    Verdict::Ambiguous { reason }
}

/// What a server said about one recipient.
type Reply<'a> = (&'a Mailbox, Answer, Verdict);

/// One transaction: those whom the server refuses are told apart from those it takes the mail for.
async fn transact<'a>(
    server: &Server,
    dialer: &Dialer,
    message: &Message,
    to: &[&'a Mailbox],
    accepted: &mut Vec<&'a Mailbox>,
) -> Result<Vec<Reply<'a>>, Verdict> {
    let host = &server.host;
    let failed = |step: &str, error: &Error| failure(host, step, error);
    let mut link = connected(server, dialer).await?;
    let from = message.envelope().from().cloned();
    step(host, link.command(Mail::new(from, Vec::new())))
        .await?
        .map_err(|it| failed("the sender", &it))?;
    let mut replies = Vec::new();
    for mailbox in to {
        let answer = step(host, link.command(Rcpt::new(mailbox.email.clone(), Vec::new()))).await?;
        match answer {
            Ok(_) => accepted.push(mailbox),
            Err(error) if error.status().is_some() => {
                let verdict = failed(&format!("the recipient {}", mailbox.email), &error);
                replies.push((*mailbox, said(&error), verdict));
            }
            Err(error) => return Err(failed("a recipient", &error)),
        }
    }
    if !accepted.is_empty() {
        step(host, link.command(Data)).await?.map_err(|error| failed("the mail", &error))?;
        let sent = step(host, link.message(&message.formatted())).await?;
        for mailbox in &*accepted {
            replies.push(match &sent {
                Ok(response) => (*mailbox, heard(response), Verdict::ok(None)),
                Err(error) if error.status().is_some() => {
                    (*mailbox, said(error), failed("the mail", error))
                }
                Err(error) => {
                    let reason = format!("{host}: the end of the mail was not confirmed: {error}");
                    (*mailbox, Answer::default(), unknown(reason))
                }
            });
        }
    }
    // What it answers to the farewell changes nothing.
    drop(timeout(Duration::from_secs(1), link.quit()).await);
    Ok(replies)
}

async fn connected(server: &Server, dialer: &Dialer) -> Result<AsyncSmtpConnection, Verdict> {
    crate::http::install_tls_provider();
    let host = &server.host;
    let failed = |step: &str, error: &Error| match failure(host, step, error) {
        // Nothing was sent yet.
        Verdict::Ambiguous { reason } => Verdict::retry(None, reason),
        other => other,
    };
    let tls = match server.safety {
        Safety::Nothing => None,
        Safety::Tls | Safety::StartTls => Some(
            TlsParameters::new(host.clone()).map_err(|error| failed("the TLS setup", &error))?,
        ),
    };
    let hello = ClientId::default();
    let first = tls.clone().filter(|_| server.safety == Safety::Tls);
    let addresses = dialer.addresses(host, server.port).await.map_err(|error| {
        let reason = format!("{host}: the connection failed: {error}");
        match refusal_of(&error) {
            Some(_) => Verdict::permanent(reason),
            None => Verdict::retry(None, reason),
        }
    })?;
    let (addresses, patience) = (&*addresses, Some(CALL_MAX));
    let connect = AsyncSmtpConnection::connect_tokio1(addresses, patience, &hello, first, None);
    let early = |verdict| match verdict {
        Verdict::Ambiguous { reason } => Verdict::retry(None, reason),
        other => other,
    };
    let connected = step(host, connect).await.map_err(early)?;
    let mut link = connected.map_err(|error| failed("the connection", &error))?;
    if let (Some(tls), Safety::StartTls) = (tls, server.safety) {
        if !link.can_starttls() {
            let reason = format!(
                "{host}: it offers no STARTTLS; `tls: none` would send the mail without protection"
            );
            return Err(Verdict::permanent(reason));
        }
        let upgraded = step(host, link.starttls(tls, &hello)).await.map_err(early)?;
        upgraded.map_err(|error| failed("STARTTLS", &error))?;
    }
    if let Some((user, password)) = &server.credentials {
        let credentials = Credentials::new(user.clone(), password.clone());
        let signed_in = step(host, link.auth(DEFAULT_MECHANISMS, &credentials)).await;
        signed_in.map_err(early)?.map_err(|error| failed("the sign-in", &error))?;
    }
    Ok(link)
}

/// One step within its time.
async fn step<T>(
    host: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>, Verdict> {
    timeout(CALL_MAX, work)
        .await
        .map_err(|_| unknown(format!("{host}: it gave no answer within 10 seconds")))
}

/// What a failure means: 4xx may pass, 5xx will not, a broken connection nobody knows.
fn failure(host: &str, step: &str, error: &Error) -> Verdict {
    let reason = format!("{host}: {step} failed: {}", words(error));
    if error.is_permanent() || error.is_client() {
        Verdict::Permanent { reason }
    } else if error.is_transient() {
        Verdict::retry(None, reason)
    } else {
        unknown(reason)
    }
}

fn words(error: &Error) -> String {
    let inner = std::error::Error::source(error).map(ToString::to_string);
    match inner {
        Some(inner) if !error.to_string().contains(&inner) => format!("{error}: {inner}"),
        _ => error.to_string(),
    }
}

fn said(error: &Error) -> Answer {
    let status = error.status().map(u16::from).unwrap_or_default();
    Answer { status, body: words(error), ..Answer::default() }
}

fn heard(response: &Response) -> Answer {
    let body = response.message().collect::<Vec<_>>().join(" ");
    Answer { status: u16::from(response.code()), body, ..Answer::default() }
}
