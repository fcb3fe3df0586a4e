//! Questions to sources that speak HTTP: who asks, within which limits, and what came back.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kernel::Json;
use parking_lot::Mutex;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::order::Order;
use super::{Trouble, unknown, wrong};
use crate::http::{Client, Problem, Request, Response, Settings};

/// Clients that were made for certificates of monitors; beyond, all are made anew.
const CLIENTS_MAX: usize = 32;
/// Characters of an answer that are quoted in a reason.
const QUOTED_MAX: usize = 300;

/// The client of all checks, and those of checks that trust certificates of their own.
pub(super) struct Clients {
    shared: Client,
    settings: Settings,
    own: Mutex<BTreeMap<String, Client>>,
}

impl Clients {
    pub(super) fn new(shared: Client, settings: Settings) -> Self {
        Self { shared, settings, own: Mutex::default() }
    }

    /// The client for an order.
    pub(super) fn of(&self, order: &Order) -> Result<Client, Trouble> {
        let Some(pem) = order.authority()? else { return Ok(self.shared.clone()) };
        let mut own = self.own.lock();
        if let Some(client) = own.get(&pem) {
            return Ok(client.clone());
        }
        let roots = self.settings.extra_roots.as_deref().unwrap_or_default();
        let settings =
            Settings { extra_roots: Some(format!("{roots}\n{pem}")), ..self.settings.clone() };
        let client = Client::new(settings).map_err(|why| wrong(format!("`tls.ca`: {why}")))?;
        if own.len() >= CLIENTS_MAX {
            own.clear();
        }
        own.insert(pem, client.clone());
        Ok(client)
    }
}

/// A question in the making.
pub(super) struct Question {
    method: String,
    url: String,
    headers: Map<String, Value>,
    body: Option<Value>,
    follow: bool,
}

impl Question {
    /// With the credentials and headers among the settings: `bearer`, `user` and `password`,
    /// `headers`.
    pub(super) fn new(
        order: &Order,
        method: &str,
        url: impl Into<String>,
    ) -> Result<Self, Trouble> {
        let mut headers = match order.settings.get("headers") {
            Some(Value::Object(headers)) => headers.clone(),
            Some(_) => return Err(wrong("`headers` must be a map")),
            None => Map::new(),
        };
        let authorization = if let Some(token) = order.settings.text("bearer")? {
            Some(format!("Bearer {token}"))
        } else if let Some(user) = order.settings.text("user")? {
            let password = order.settings.text("password")?.unwrap_or_default();
            Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
        } else {
            None
        };
        if let Some(authorization) = authorization {
            headers.retain(|name, _| !name.eq_ignore_ascii_case("Authorization"));
            headers.insert("Authorization".to_owned(), authorization.into());
        }
        Ok(Self { method: method.to_owned(), url: url.into(), headers, body: None, follow: true })
    }

    /// Without any credentials.
    pub(super) fn bare(method: &str, url: impl Into<String>) -> Self {
        let (method, url) = (method.to_owned(), url.into());
        Self { method, url, headers: Map::new(), body: None, follow: false }
    }

    /// With a header.
    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), Value::String(value.into()));
        self
    }

    /// With a body: a text as it is, an object as a form if the headers say so, otherwise JSON.
    pub(super) fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// With parameters in the URL.
    pub(super) fn parameter(mut self, name: &str, value: &str) -> Self {
        // What is no URL is complained about when it is asked.
        if let Ok(mut url) = Url::parse(&self.url) {
            url.query_pairs_mut().append_pair(name, value);
            self.url = url.into();
        }
        self
    }

    /// Whether redirects are followed.
    pub(super) fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Asks; every status is an answer.
    ///
    /// # Errors
    /// The settings are at fault, or the words of what happened, to follow the name of the request.
    pub(super) async fn ask(
        self,
        client: &Client,
        patience: Duration,
    ) -> Result<(String, Result<Response, Problem>), Trouble> {
        let accepted = if self.follow { json!(["2xx", "4xx", "5xx"]) } else { json!(["200-599"]) };
        let millis = patience.as_millis() as u64;
        let input = json!({
            "uri": self.url, "method": self.method, "headers": self.headers, "body": self.body,
            "connectionTimeOut": millis, "readTimeOut": millis, "acceptedStatusCodes": accepted,
        });
        let request =
            Request::parse(&Json::of(&input)).map_err(|problem| wrong(problem.message))?;
        let named = request.to_string();
        let answer = tokio::time::timeout(patience, client.send(&request)).await;
        let late = || {
            let seconds = patience.as_secs_f64();
            let words = format!("gave no complete answer within {seconds} s (timeout)");
            Err(Problem::new(crate::http::Code::CallTimedOut, words))
        };
        Ok((named, answer.unwrap_or_else(|_| late())))
    }

    /// Asks a source that must answer with 2xx.
    ///
    /// # Errors
    /// There is no such answer.
    pub(super) async fn answer(
        self,
        client: &Client,
        patience: Duration,
    ) -> Result<Response, Trouble> {
        let (named, answer) = self.ask(client, patience).await?;
        let response = answer.map_err(|problem| {
            let why = format!("{named} {}", problem.message);
            // What the configuration refuses, it refuses every time.
            if problem.code.is_terminal() { wrong(why) } else { unknown(why) }
        })?;
        if response.status.is_success() {
            return Ok(response);
        }
        let status = status_text(&response);
        Err(unknown(match complaint(&response) {
            Some(said) => format!("{named} answered {status}: {said}"),
            None => format!("{named} answered {status}"),
        }))
    }
}

/// A status with its name.
pub(super) fn status_text(response: &Response) -> String {
    format!("{} {}", response.status.as_u16(), response.reason_phrase()).trim().to_owned()
}

/// What an unhappy answer says: the message that most APIs wrap in JSON, or its text.
fn complaint(response: &Response) -> Option<String> {
    let text = text(response);
    let said = serde_json::from_str::<Value>(&text).ok().and_then(|body| {
        let member = |name: &str| body.get(name)?.as_str().map(str::to_owned);
        ["error", "message", "reason"].into_iter().find_map(member)
    });
    let said = said.unwrap_or_else(|| text.trim().to_owned());
    (!said.is_empty()).then(|| quoted(&said))
}

/// A text that others wrote, on one line and not too long.
pub(super) fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The body as text, whatever it claims to be.
pub(super) fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// The body as JSON, whatever it claims to be.
///
/// # Errors
/// It is none.
pub(super) fn json_of(response: &Response, who: &str) -> Result<Value, Trouble> {
    serde_json::from_slice(&response.body).map_err(|_| {
        let text = text(response);
        unknown(match text.trim() {
            "" => format!("{who} answered nothing where JSON was expected"),
            text => format!("{who} answered what is no JSON: {}", quoted(text)),
        })
    })
}
