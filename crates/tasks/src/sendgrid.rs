//! `SENDGRID`: a mail through `SendGrid`'s `POST /v3/mail/send`.
//!
//! `sendgridConfiguration` names the account. Where other servers keep a list of integrations, it
//! is here the name of the secret that holds the API key; the key itself, as
//! `${workflow.secrets.NAME}` gives it, is understood too.

use std::sync::OnceLock;

use async_trait::async_trait;
use engine::{Handoff, Outcome, TaskRunner, WeakEngine};
use kernel::Json;
use reqwest::Url;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::http::fields::{Fields, items, scalar, wrong};
use crate::http::{self, Client, Code, Problem, Request};

/// Where the service is.
pub const URL: &str = "https://api.sendgrid.com";
/// How every API key of the service begins.
const KEY: &str = "SG.";

/// Runs tasks of type `SENDGRID`.
pub struct SendGrid {
    client: Client,
    url: Url,
    engine: OnceLock<WeakEngine>,
}

impl SendGrid {
    /// Makes the runner from a client whose connections it shares and the service's address
    /// without a path, usually [`URL`].
    ///
    /// # Errors
    /// An address that is no absolute `http` or `https` URL.
    pub fn new(client: Client, url: &str) -> Result<Self, Problem> {
        let url = http::endpoint(url, "/v3/mail/send")?;
        Ok(Self { client, url, engine: OnceLock::new() })
    }

    fn request(&self, input: &Json) -> Result<Request, Problem> {
        let not_object = || wrong_input("The SENDGRID task's input must be an object");
        let fields = Fields::of(input.text()).ok_or_else(not_object)?;
        let mail = Mail::parse(&fields)?;
        let key = self.key(&required(&fields, "sendgridConfiguration")?)?;
        Request::post(self.url.clone(), &format!("Bearer {key}"), &Json::of(&mail))
    }

    fn key(&self, configuration: &str) -> Result<String, Problem> {
        let name = configuration.trim();
        if name.starts_with(KEY) {
            return Ok(name.to_owned());
        }
        let engine = self.engine.get().and_then(WeakEngine::upgrade);
        let secret = engine.and_then(|engine| engine.values().secret(name));
        secret.map(|key| key.trim().to_owned()).ok_or_else(|| {
            wrong_input(&format!(
                "There is no secret {name:?}: store SendGrid's API key under the name that \
                 `sendgridConfiguration` says"
            ))
        })
    }
}

#[async_trait]
impl TaskRunner for SendGrid {
    fn task_type(&self) -> &'static str {
        "SENDGRID"
    }

    fn attach(&self, engine: WeakEngine) {
        // There is one engine; a second one would have runners of its own.
        drop(self.engine.set(engine));
    }

    async fn run(&self, task: Handoff, cancelled: CancellationToken) -> Outcome {
        let request = match self.request(&task.input) {
            Ok(request) => request,
            Err(problem) => return http::refused(&problem),
        };
        match http::call(&self.client, &request, &cancelled).await {
            Ok(response) => http::completed(response.output(), task.async_complete),
            Err(outcome) => outcome,
        }
    }
}

/// A mail as the service reads it.
#[derive(Serialize)]
struct Mail {
    personalizations: [Receivers; 1],
    from: Address,
    subject: String,
    content: [Content; 1],
}

#[derive(Serialize)]
struct Receivers {
    to: Vec<Address>,
}

#[derive(Serialize)]
struct Address {
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Content {
    #[serde(rename = "type")]
    media: String,
    value: String,
}

impl Mail {
    fn parse(fields: &Fields<'_>) -> Result<Self, Problem> {
        let media = required(fields, "contentType")?.trim().to_ascii_lowercase();
        if !matches!(media.as_str(), "text/plain" | "text/html") {
            return Err(wrong("contentType", "text/plain or text/html"));
        }
        let from = Address::parse(&required(fields, "from")?);
        Ok(Self {
            personalizations: [Receivers { to: receivers(fields)? }],
            from: from.ok_or_else(|| wrong("from", "an address: name@host"))?,
            subject: required(fields, "subject")?,
            content: [Content { media, value: required(fields, "content")? }],
        })
    }
}

/// One address, several with commas, or a list of them.
fn receivers(fields: &Fields<'_>) -> Result<Vec<Address>, Problem> {
    let broken = || wrong("to", "an address, name@host, or a list of them");
    let mut receivers = Vec::new();
    for item in fields.get("to").map(items).unwrap_or_default() {
        for address in scalar(item).ok_or_else(broken)?.split(',') {
            receivers.push(Address::parse(address).ok_or_else(broken)?);
        }
    }
    if receivers.is_empty() { Err(broken()) } else { Ok(receivers) }
}

impl Address {
    /// Reads `name@host` or `Name <name@host>`; whether anybody is there, the service knows.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, email) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, email)) => (name.trim().trim_matches('"'), email.trim()),
            None => ("", text),
        };
        let (user, host) = email.rsplit_once('@')?;
        let plain = !email.contains(|c: char| c.is_whitespace() || c.is_control());
        (plain && !user.is_empty() && !host.is_empty()).then(|| Self {
            email: email.to_owned(),
            name: (!name.is_empty()).then(|| name.to_owned()),
        })
    }
}

fn required(fields: &Fields<'_>, name: &str) -> Result<String, Problem> {
    let missing = || wrong_input(&format!("The SENDGRID task's input needs `{name}`"));
    fields.text(name)?.filter(|text| !text.trim().is_empty()).ok_or_else(missing)
}

fn wrong_input(message: &str) -> Problem {
    Problem::new(Code::InvalidInput, message)
}
