//! `OPS_GENIE`: an alert through Opsgenie's `POST /v2/alerts`.
//!
//! The service answers 202 at once and creates the alert afterwards; the task is complete with that
//! answer, whose body holds the `requestId` under which the service tells what came of it. One with
//! the `alias` of an open alert counts up that alert, so a repeated call alerts nobody twice.

use async_trait::async_trait;
use engine::{Handoff, Outcome, TaskRunner};
use kernel::Json;
use reqwest::Url;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::http::fields::{Fields, wrong};
use crate::http::{self, Client, Code, Problem, Request};

/// Where the service is; accounts in Europe are at `https://api.eu.opsgenie.com`.
pub const URL: &str = "https://api.opsgenie.com";

/// Longest texts that the service takes, in characters. What is longer is cut: half a description
/// wakes somebody, a refused alert nobody. An alias is never cut, it would become another's.
const LONGEST: [(&str, usize); 3] = [("message", 130), ("description", 15_000), ("entity", 512)];

/// Runs tasks of type `OPS_GENIE`.
pub struct OpsGenie {
    client: Client,
    url: Url,
}

impl OpsGenie {
    /// Makes the runner from a client whose connections it shares and the service's address
    /// without a path, usually [`URL`].
    ///
    /// # Errors
    /// An address that is no absolute `http` or `https` URL.
    pub fn new(client: Client, url: &str) -> Result<Self, Problem> {
        Ok(Self { client, url: http::endpoint(url, "/v2/alerts")? })
    }

    fn request(&self, input: &Json) -> Result<Request, Problem> {
        let not_object = || wrong_input("The OPS_GENIE task's input must be an object");
        let fields = Fields::of(input.text()).ok_or_else(not_object)?;
        let token = fields.text("token")?.filter(|token| !token.trim().is_empty());
        let token = token.ok_or_else(|| wrong_input("The OPS_GENIE task's input needs `token`"))?;
        let alert = Json::of(&alert(&fields)?);
        Request::post(self.url.clone(), &format!("GenieKey {}", token.trim()), &alert)
    }
}

#[async_trait]
impl TaskRunner for OpsGenie {
    fn task_type(&self) -> &'static str {
        "OPS_GENIE"
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

/// The alert as the service reads it. It insists on a message; the alias serves where there is none.
fn alert(fields: &Fields<'_>) -> Result<Map<String, Value>, Problem> {
    let mut alert = Map::new();
    for name in ["alias", "message", "description", "entity"] {
        let Some(mut text) = fields.text(name)?.filter(|text| !text.is_empty()) else { continue };
        if let Some((_, longest)) = LONGEST.iter().find(|(cut, _)| *cut == name) {
            text = text.chars().take(*longest).collect();
        }
        alert.insert(name.to_owned(), text.into());
    }
    if !alert.contains_key("message") {
        let alias = alert.get("alias").and_then(Value::as_str);
        let words = "The OPS_GENIE task's input needs a `message` or an `alias`";
        let message: String = alias.ok_or_else(|| wrong_input(words))?.chars().take(130).collect();
        alert.insert("message".to_owned(), message.into());
    }
    if let Some(priority) = fields.text("priority")?.filter(|text| !text.trim().is_empty()) {
        let priority = priority.trim().to_ascii_uppercase();
        if !matches!(priority.as_str(), "P1" | "P2" | "P3" | "P4" | "P5") {
            return Err(wrong("priority", "P1, P2, P3, P4 or P5"));
        }
        alert.insert("priority".to_owned(), priority.into());
    }
    for name in ["responders", "visibleTo"] {
        add(&mut alert, name, list(fields, name)?.into_iter().map(person).collect());
    }
    for name in ["actions", "tags"] {
        let words = list(fields, name)?.into_iter().map(|value| text_of(&value).into());
        add(&mut alert, name, words.collect());
    }
    if let Some(details) = fields.get("details") {
        alert.insert("details".to_owned(), details_of(details)?);
    }
    Ok(alert)
}

fn add(alert: &mut Map<String, Value>, name: &str, values: Vec<Value>) {
    if !values.is_empty() {
        alert.insert(name.to_owned(), Value::Array(values));
    }
}

/// A list; one value alone; or a text that is a list in JSON or words with commas.
fn list(fields: &Fields<'_>, name: &str) -> Result<Vec<Value>, Problem> {
    let Some(given) = fields.get(name) else { return Ok(Vec::new()) };
    let value = parsed(given).ok_or_else(|| wrong(name, "valid JSON"))?;
    Ok(match value {
        Value::Array(items) => items.into_iter().filter(|item| !item.is_null()).collect(),
        Value::String(text) => {
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Into::into).collect()
        }
        other => vec![other],
    })
}

/// A value; a text that holds an object or a list in JSON is read as that.
fn parsed(raw: &RawValue) -> Option<Value> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let structure = value
        .as_str()
        .filter(|text| text.trim_start().starts_with(['[', '{']))
        .and_then(|text| serde_json::from_str(text).ok());
    Some(structure.unwrap_or(value))
}

/// A member of `responders` or `visibleTo`: an object is passed on, a name is a user's.
fn person(value: Value) -> Value {
    match value {
        Value::Object(_) => value,
        name => json!({"type": "user", "username": text_of(&name)}),
    }
}

/// Details are a map of texts; anything but an object gets the name `details`.
fn details_of(raw: &RawValue) -> Result<Value, Problem> {
    let value = parsed(raw).ok_or_else(|| wrong("details", "valid JSON"))?;
    let members = match value {
        Value::Object(members) => members,
        other => Map::from_iter([("details".to_owned(), other)]),
    };
    Ok(members.into_iter().map(|(name, value)| (name, Value::from(text_of(&value)))).collect())
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn wrong_input(message: &str) -> Problem {
    Problem::new(Code::InvalidInput, message)
}
