//! The request as a task's input describes it, read once and checked before anything is sent.

use std::fmt;
use std::time::Duration;

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, StatusCode};
use bytes::Bytes;
use kernel::Json;
use reqwest::Url;
use serde_json::value::RawValue;

use super::fields::{Fields, items, scalar, wrong};
use super::problem::{Code, Problem};
use super::statuses::Statuses;
use super::uri;

/// `connectionTimeOut` and `readTimeOut` of requests that do not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// How long a known service may be silent.
const SERVICE_PATIENCE: Duration = Duration::from_secs(30);

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// One HTTP request and the conditions of its success.
///
/// Shown with [`fmt::Display`] as the method and the URL without what may be secret; there is no
/// `Debug` that would show the rest.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; `http` or `https`.
    pub url: Url,
    /// Every header but those the connection itself needs.
    pub headers: HeaderMap,
    /// What to send, if anything.
    pub body: Option<Bytes>,
    /// Longest wait for a connection: name resolution, TCP and TLS. No limit of its own if absent.
    pub connect_timeout: Option<Duration>,
    /// Longest silence of the peer once connected: before the answer's head, and between any two
    /// parts of its body. It does not limit the sum, as a long download is no failure; a peer that
    /// sends a little now and then meets the limit of the whole call, `Settings::call_max`. No
    /// limit of its own if absent.
    pub read_timeout: Option<Duration>,
    /// Statuses that count as success. A redirect among them is not followed.
    pub accepted: Statuses,
    /// Most copies sent in all, of which the first success counts; at least 1.
    pub hedges: usize,
    /// How long the copies sent so far may be silent before another one goes out; that of the
    /// settings if absent.
    pub hedge_after: Option<Duration>,
    /// What the input itself says about waiting for an update from outside after the call; it goes
    /// before what the definition says.
    pub async_complete: Option<bool>,
}

impl Request {
    /// A request without headers or body and with default limits.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            connect_timeout: Some(TIMEOUT_DEFAULT),
            read_timeout: Some(TIMEOUT_DEFAULT),
            accepted: Statuses::default(),
            hedges: 1,
            hedge_after: None,
            async_complete: None,
        }
    }

    /// A POST of JSON to a service that this program knows, with an `Authorization` of that text.
    ///
    /// It is more patient than a request of an author's making: what a service has accepted but
    /// not answered in time would be done twice by the retry.
    ///
    /// # Errors
    /// An authorization that no header can carry; it is not repeated.
    pub(crate) fn post(url: Url, authorization: &str, body: &Json) -> Result<Self, Problem> {
        let mut request = Self::new(Method::POST, url);
        let mut secret = header_value("Authorization", authorization)?;
        secret.set_sensitive(true);
        request.headers.insert(header::AUTHORIZATION, secret);
        request.headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        request.body = Some(Bytes::copy_from_slice(body.text().as_bytes()));
        request.read_timeout = Some(SERVICE_PATIENCE);
        Ok(request)
    }

    /// Reads a task's input: its member `http_request` if there is one, otherwise the input itself.
    ///
    /// Members: `uri`, `method`, `headers`, `body`, `accept`, `contentType`, `connectionTimeOut` and
    /// `readTimeOut` (milliseconds, 0 for none), `encode`, `acceptedStatusCodes` (numbers, texts,
    /// families `4xx`, ranges `200-399`), `hedgingConfig`. Others are ignored. A header in `headers`
    /// goes before `accept` and `contentType`. `Content-Length` and `Transfer-Encoding` are ignored:
    /// they follow from the body, and a wrong one would let one request pose as two.
    ///
    /// `hedgingConfig.maxAttempts` is obeyed where a request can be repeated safely: for the
    /// idempotent methods of RFC 9110, for a request with an `Idempotency-Key`, and for any other
    /// if `hedgingConfig.nonIdempotent` is true. `hedgingConfig.delay` (milliseconds) says when the
    /// next copy goes out.
    ///
    /// # Errors
    /// The first problem found, always a terminal one.
    pub fn parse(input: &Json) -> Result<Self, Problem> {
        let not_object = || wrong_input("The HTTP task's input must be an object");
        let outer = Fields::of(input.text()).ok_or_else(not_object)?;
        let inner = match outer.get("http_request") {
            Some(request) => {
                Some(Fields::of(request.get()).ok_or_else(|| wrong("http_request", "an object"))?)
            }
            None => None,
        };
        let mut request = Self::read(inner.as_ref().unwrap_or(&outer))?;
        request.async_complete = outer.flag("asyncComplete")?;
        Ok(request)
    }

    fn read(fields: &Fields<'_>) -> Result<Self, Problem> {
        let url = url(fields)?;
        let content_type = fields.text("contentType")?.filter(|text| !text.is_empty());
        let mut request = Self::new(method(fields)?, url);
        request.headers = headers(fields)?;
        request.accept(fields)?;
        request.content(fields.get("body"), content_type.as_deref())?;
        request.connect_timeout = fields.limit("connectionTimeOut", TIMEOUT_DEFAULT)?;
        request.read_timeout = fields.limit("readTimeOut", TIMEOUT_DEFAULT)?;
        request.accepted = accepted(fields)?;
        request.hedge(fields)?;
        Ok(request)
    }

    /// The same, and the other side is told of which span the call is part, unless the author tells it
    /// something else.
    #[must_use]
    pub(crate) fn traced(mut self, traceparent: Option<&str>) -> Self {
        const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
        let value = traceparent.and_then(|text| HeaderValue::from_str(text).ok());
        if let Some(value) = value {
            self.headers.entry(TRACEPARENT).or_insert(value);
        }
        self
    }

    /// Whether a status is a success of this request.
    pub fn accepts(&self, status: StatusCode) -> bool {
        self.accepted.contains(status)
    }

    fn hedge(&mut self, fields: &Fields<'_>) -> Result<(), Problem> {
        let Some(config) = fields.get("hedgingConfig") else {
            return Ok(());
        };
        let config = Fields::of(config.get()).ok_or_else(|| wrong("hedgingConfig", "an object"))?;
        let attempts = config.count("maxAttempts")?.unwrap_or(1).max(1) as usize;
        let safe = self.method.is_idempotent()
            || self.headers.contains_key("idempotency-key")
            || config.flag("nonIdempotent")?.unwrap_or(false);
        self.hedges = if safe { attempts } else { 1 };
        self.hedge_after = config.count("delay")?.map(|ms| Duration::from_millis(ms.into()));
        Ok(())
    }

    fn accept(&mut self, fields: &Fields<'_>) -> Result<(), Problem> {
        if self.headers.contains_key(header::ACCEPT) {
            return Ok(());
        }
        let wanted = fields.get("accept").map(items).unwrap_or_default();
        let wanted: Option<Vec<_>> = wanted.into_iter().map(scalar).collect();
        let mut wanted = wanted.ok_or_else(|| wrong("accept", "a string or a list of strings"))?;
        wanted.retain(|media| !media.trim().is_empty());
        let wanted = if wanted.is_empty() { JSON.to_owned() } else { wanted.join(", ") };
        let wanted = header_value("accept", &wanted)?;
        self.headers.insert(header::ACCEPT, wanted);
        Ok(())
    }

    /// Sets the body and its type. The type is sent only with a body, or if the author named one.
    fn content(
        &mut self,
        body: Option<&RawValue>,
        content_type: Option<&str>,
    ) -> Result<(), Problem> {
        let media = match self.headers.get(header::CONTENT_TYPE) {
            Some(own) => own.to_str().unwrap_or_default().to_owned(),
            None => content_type.unwrap_or(JSON).to_owned(),
        };
        self.body = body.map(|body| encoded(body, &media)).transpose()?;
        if self.body.is_some() || content_type.is_some() {
            let media = header_value("contentType", &media)?;
            let entry = self.headers.entry(header::CONTENT_TYPE);
            entry.or_insert(media);
        }
        Ok(())
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, uri::shown(&self.url))
    }
}

fn url(fields: &Fields<'_>) -> Result<Url, Problem> {
    let missing = || wrong_input("Missing HTTP URI: the HTTP task's input needs a `uri`");
    let text = fields.text("uri")?.filter(|uri| !uri.trim().is_empty());
    uri::parse(&text.ok_or_else(missing)?, fields.flag("encode")?.unwrap_or(true))
}

fn method(fields: &Fields<'_>) -> Result<Method, Problem> {
    let missing =
        || wrong_input("No HTTP method specified: the HTTP task's input needs a `method`");
    let text = fields.text("method")?.ok_or_else(missing)?;
    let text = text.trim().to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        // CONNECT asks a proxy for a tunnel; there is no answer to report.
        Ok(method) if method != Method::CONNECT => Ok(method),
        _ => Err(Problem::new(
            Code::InvalidMethod,
            format!("Invalid HTTP method: {:?}", text.chars().take(20).collect::<String>()),
        )),
    }
}

fn headers(fields: &Fields<'_>) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    let Some(given) = fields.get("headers") else {
        return Ok(headers);
    };
    let given = Fields::of(given.get()).ok_or_else(|| wrong("headers", "an object"))?;
    for (name, value) in given.iter() {
        let key = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| wrong_input(&format!("Invalid HTTP header name {name:?}")))?;
        if key == header::CONTENT_LENGTH || key == header::TRANSFER_ENCODING {
            continue;
        }
        for item in items(value) {
            if item.get() != "null" {
                let text = scalar(item).unwrap_or_else(|| item.get().to_owned());
                headers.append(&key, header_value(name, &text)?);
            }
        }
    }
    Ok(headers)
}

/// The value is not repeated in the complaint: it may be a token.
fn header_value(name: &str, text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text.trim()).map_err(|_| {
        wrong_input(&format!(
            "The value of the HTTP header {name:?} holds a character that headers cannot carry"
        ))
    })
}

/// A string goes out as it is, an object as a form where the media type says so, all else as JSON.
fn encoded(body: &RawValue, media: &str) -> Result<Bytes, Problem> {
    let text = body.get();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if text.starts_with('"') {
        let Some(text) = scalar(body) else {
            return Err(wrong("body", "a string of valid Unicode"));
        };
        return Ok(text.into());
    }
    if essence.eq_ignore_ascii_case(FORM) {
        let pairs = Fields::of(text)
            .ok_or_else(|| wrong("body", "an object or a string when it is sent as a form"))?;
        return Ok(form(&pairs).into());
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

/// A list repeats its name; an object inside a form becomes JSON; null is left out.
fn form(pairs: &Fields<'_>) -> String {
    let mut out = String::new();
    for (name, value) in pairs.iter() {
        for item in items(value) {
            let text = scalar(item).unwrap_or_else(|| item.get().to_owned());
            uri::push_form_pair(&mut out, name, &text);
        }
    }
    out
}

fn accepted(fields: &Fields<'_>) -> Result<Statuses, Problem> {
    let Some(given) = fields.get("acceptedStatusCodes") else {
        return Ok(Statuses::default());
    };
    let expected =
        "a list of status codes (100 to 599), families (\"4xx\") or ranges (\"200-399\")";
    Statuses::read(given).ok_or_else(|| wrong("acceptedStatusCodes", expected))
}

fn wrong_input(message: &str) -> Problem {
    Problem::new(Code::InvalidInput, message)
}
