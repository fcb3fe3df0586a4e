//! `CHECK_HTTP`: is a web server well, or which rows does it answer?
//!
//! Without `rows` or `jq` the server itself is watched: whatever keeps it from answering is a
//! failure. With them it is asked for rows, and no answer leaves everything unknown.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use kernel::Json;
use kernel::alert::{Condition, Status};
use serde_json::{Map, Value, json};

use super::expect::failed_part;
use super::order::{Order, span};
use super::rest::{Question, json_of, quoted, status_text, text};
use super::rows::{Shape, path, rows_of};
use super::seen::{Seen, attrs};
use super::{Means, Source, Trouble, tls, unknown, wrong};
use crate::http::{Code, Response};

/// Asks web servers.
pub(super) struct Http;

#[async_trait]
impl Source for Http {
    const TYPE: &'static str = "CHECK_HTTP";

    async fn look(&self, order: &Order, means: &Arc<Means>) -> Result<Seen, Trouble> {
        let url = order.settings.required("url")?;
        let method = order.settings.text("method")?.unwrap_or_else(|| "GET".to_owned());
        let mut question = Question::new(order, &method, url.as_str())?
            .follow(order.settings.flag("follow", true)?);
        if let Some(body) = order.settings.get("body") {
            question = question.body(body.clone());
        }
        let client = means.clients.of(order)?;
        let rows = order.settings.text("rows")?;
        let jq = order.settings.text("jq")?;
        if rows.is_some() || jq.is_some() {
            let shape = Shape::of(order)?;
            let rows = rows.map(|rows| path("rows", &rows)).transpose()?;
            let response = question.answer(&client, order.patience).await?;
            let mut body = json_of(&response, "the server")?;
            if let Some(rows) = rows {
                body = rows.read(&body);
                if body.is_null() {
                    return Err(unknown("the answer has nothing where `rows` points"));
                }
            }
            if let Some(program) = jq {
                body = transformed(means, program, body).await?;
            }
            return shape.observe(rows_of(body));
        }
        let wanted = Wanted::read(order)?;
        let begun = Instant::now();
        let (named, answer) = question.ask(&client, order.patience).await?;
        let ms = begun.elapsed().as_millis() as u64;
        let (status, text, details) = match answer {
            Ok(response) => {
                let body = quoted(&text(&response));
                let (status, text) = wanted.judge(&response, ms).map_err(unknown)?;
                let mut details = json!({ "code": response.status.as_u16(), "ms": ms });
                if status == Status::Fail {
                    details["failed"] = wanted.failed(&response, ms).into();
                    details["body"] = body.into();
                }
                (status, text, details)
            }
            Err(problem) if problem.code == Code::Cancelled => {
                return Err(unknown(problem.message));
            }
            // That is no news about the server.
            Err(problem) if problem.code == Code::AddressRefused => {
                return Err(wrong(format!("{named} {}", problem.message)));
            }
            Err(problem) => {
                let details = json!({ "error": problem.code });
                (Status::Fail, format!("{named} {}", problem.message), details)
            }
        };
        let mut seen = (status, text, attrs(details));
        if let Some(left_min) = span(&order.settings, "tls_expiry")?
            && seen.0 == Status::Ok
            && url.starts_with("https:")
        {
            let end = order.within("the TLS handshake", tls::expiry_of(&url, order, means)).await?;
            expiry(&mut seen, end, left_min, order);
        }
        let value = seen.2.get("ms").cloned().unwrap_or_default();
        Ok(Seen::one(seen.0, &seen.1, value, seen.2))
    }
}

/// Adds when the certificate ends, and warns if that is soon.
pub(super) fn expiry(
    seen: &mut (Status, String, Map<String, Value>),
    end: kernel::Timestamp,
    left_min: std::time::Duration,
    order: &Order,
) {
    let left = end.since(order.now);
    let days = left / 86_400_000;
    seen.2.insert("tls_days_left".to_owned(), days.into());
    seen.2.insert("tls_until".to_owned(), end.to_string().into());
    if left <= 0 {
        (seen.0, seen.1) = (Status::Fail, format!("the TLS certificate ended on {end}"));
    } else if left < left_min.as_millis() as i64 {
        (seen.0, seen.1) = (Status::Warn, format!("the TLS certificate ends on {end}"));
    }
}

async fn transformed(means: &Arc<Means>, program: String, body: Value) -> Result<Value, Trouble> {
    let means = Arc::clone(means);
    let run = move || means.jq.run(&program, &Json::of(&body));
    let outputs = tokio::task::spawn_blocking(run).await;
    let outputs = outputs.map_err(|_| unknown("the jq program could not be run"))?;
    let outputs = outputs.map_err(|error| match error.kind {
        kernel::ScriptErrorKind::Syntax => wrong(format!("`jq`: {}", error.message)),
        _ => unknown(format!("the jq program fails on the answer: {}", quoted(&error.message))),
    })?;
    let mut values: Vec<Value> = outputs.iter().map(Json::parse).collect();
    Ok(match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    })
}

/// What a good answer is.
struct Wanted {
    expect: Option<Condition>,
    expect_text: String,
    contains: Vec<String>,
}

impl Wanted {
    fn read(order: &Order) -> Result<Self, Trouble> {
        let expect_text = order.settings.text("expect")?;
        let expect = expect_text.as_deref().map(Condition::parse).transpose();
        Ok(Self {
            expect: expect.map_err(|why| wrong(format!("`expect`: {why}")))?,
            expect_text: expect_text.unwrap_or_default(),
            contains: order.settings.texts("contains")?,
        })
    }

    /// Whether the answer is good.
    ///
    /// # Errors
    /// Why nobody can tell: `expect` speaks of what the answer does not have.
    fn judge(&self, response: &Response, ms: u64) -> Result<(Status, String), String> {
        let status = status_text(response);
        let body = text(response);
        let facts = facts(response, &body, ms);
        let holds = match &self.expect {
            Some(condition) => {
                let columns = facts.keys().cloned().collect();
                condition.holds(&facts, &columns)
            }
            None => Ok(response.status.is_success()),
        };
        let expect = &self.expect_text;
        let failed = match holds {
            Ok(true) => None,
            Ok(false) if expect.is_empty() => Some(format!("the server answered {status}")),
            Ok(false) => Some(format!("{status}, expected {}", self.failed(response, ms))),
            // A page in the place of JSON is what is wrong.
            Err(_) if facts["body"].is_string() && expect.contains("body.") => {
                Some(format!("the server answered {status}, whose body is no JSON: {expect}"))
            }
            Err(why) => {
                let has = members(&facts["body"]);
                return Err(format!("`expect` ({expect}) cannot be judged: {why}{has}"));
            }
        };
        if let Some(text) = failed {
            return Ok((Status::Fail, text));
        }
        match self.contains.iter().find(|part| !body.contains(part.as_str())) {
            Some(part) => {
                Ok((Status::Fail, format!("the answer {status} does not contain {part:?}")))
            }
            None => Ok((Status::Ok, format!("the server answered {status}"))),
        }
    }
}

/// What the body has, for an author who has named something else.
fn members(body: &Value) -> String {
    const LISTED_MAX: usize = 20;
    let Value::Object(members) = body else { return String::new() };
    let listed: Vec<&str> = members.keys().take(LISTED_MAX).map(String::as_str).collect();
    format!("; body has {}", listed.join(", "))
}

impl Wanted {
    /// Which part of what is wanted an answer fails.
    fn failed(&self, response: &Response, ms: u64) -> String {
        let body = text(response);
        let facts = facts(response, &body, ms);
        let columns = facts.keys().cloned().collect();
        // What nobody can tell is not met either.
        let holds = |part: &Condition| part.holds(&facts, &columns).unwrap_or(false);
        match &self.expect {
            Some(condition) if !holds(condition) => {
                failed_part(&self.expect_text, holds).to_owned()
            }
            None if !response.status.is_success() => "status 200 to 299".to_owned(),
            _ => {
                let absent = self.contains.iter().find(|part| !body.contains(part.as_str()));
                absent.map(|part| format!("contains {part:?}")).unwrap_or_default()
            }
        }
    }
}

/// What a condition may speak of.
fn facts(response: &Response, body: &str, ms: u64) -> Map<String, Value> {
    let headers: Map<String, Value> = response
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
        .collect();
    let json: Value = serde_json::from_str(body).unwrap_or_else(|_| body.into());
    attrs(json!({
        "status": response.status.as_u16(), "ms": ms, "body": json, "text": body,
        "size": response.body.len(), "headers": headers,
    }))
}
